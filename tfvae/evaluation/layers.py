"""Rates and means of the latent variables of one batch, layer by layer."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfvae.distributions import Distribution, independent_variables, kl_divergence
from tfvae.heads.latent_hierarchy import LayerChain

# Variables whose mean varies more over the data depend on x (Burda et al., 2016).
ACTIVE_VARIANCE = 0.01


class LayerTerms(NamedTuple):
    """Rates and means of a layer of D variables, for B examples.

    Attributes:
        rates: [B, D] KL(q(z_d|x) || p(z_d)) in nats, or in a hierarchy the mean of
            log q(z_kd|z_(k-1)) - log p(z_kd|z_(k+1)). None where variables depend on
            each other under q or p.
        rates_sampled: Whether the rates are means over draws, and not closed forms.
        means: [B, D] E_q[z|x], or [B, D, K] for one-hots.
        noise: The variance of each mean that is made of draws; None where it is exact.
    """

    rates: tf.Tensor | None
    rates_sampled: bool
    means: tf.Tensor
    noise: tf.Tensor | None


def layer_terms(
    posterior: Distribution, prior: Distribution, draw: Callable[[], tf.Tensor]
) -> list[LayerTerms]:
    """Returns the terms of each layer, nearest x first, of q(z|x), batch [B], and p(z).

    `draw`, which returns draws from q, [S, B, ...], is called where there is no closed
    form.
    """
    if isinstance(posterior, LayerChain):
        z = draw()
        found: list[LayerTerms] = []
        for (q, value), (p, _) in zip(
            posterior.layers(z), prior.layers(z), strict=True
        ):
            # The distribution of layer 1 alone is the same for all draws.
            means = mean_of_draws(q.mean()) if found else (q.mean(), None)
            found.append(LayerTerms(*_sampled_rates(q, p, value), *means))
        return found
    try:
        means = (posterior.mean(), None)
    except NotImplementedError:
        means = mean_of_draws(draw())
    return [LayerTerms(*_rates(posterior, prior, draw), *means)]


def variance_of_means(means: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
    """Returns Var_x(E_q[z_d|x]), [D], of a layer's means and their noise."""
    variance = tf.math.reduce_variance(means, axis=0)
    if noise is not None:
        variance -= tf.reduce_mean(noise, axis=0)
    return of_variables(variance)


def of_variables(variances: tf.Tensor) -> tf.Tensor:
    """Returns [D] of [D] or [D, K]: a one-hot has that of its most variable class."""
    return tf.reduce_max(tf.reshape(variances, [tf.shape(variances)[0], -1]), axis=1)


def count_active(variances: tf.Tensor, threshold: float = ACTIVE_VARIANCE) -> tf.Tensor:
    """Returns how many variances [D] of means are above the threshold, an int32."""
    return tf.reduce_sum(tf.cast(variances > threshold, tf.int32))


def active_units(
    posterior_means: tf.Tensor, threshold: float = ACTIVE_VARIANCE
) -> tf.Tensor:
    """Returns how many latent variables depend on x: Var_x(E_q[z_d|x]) > 0.01.

    Burda et al. (2016), section 5.2. For a hierarchy, `tfvae.latents.layer_means` gives
    the means of each layer; `tfvae.evaluation.posterior_summary` does it for a data set
    in bounded memory.

    Args:
        posterior_means: [N, D] E_q[z|x] of N examples, exact.
        threshold: The least variance, in the squared units of z.

    Returns:
        An int32.
    """
    return count_active(variance_of_means(posterior_means, None), threshold)


def _rates(
    posterior: Distribution, prior: Distribution, draw: Callable[[], tf.Tensor]
) -> tuple[tf.Tensor | None, bool]:
    q, p = independent_variables(posterior), independent_variables(prior)
    if q is None or p is None:
        return None, False
    try:
        return kl_divergence(q, p), False
    except NotImplementedError:
        return _sampled_rates(posterior, prior, draw())


def _sampled_rates(
    posterior: Distribution, prior: Distribution, z: tf.Tensor
) -> tuple[tf.Tensor | None, bool]:
    q, p = independent_variables(posterior), independent_variables(prior)
    if q is None or p is None:
        return None, False
    return tf.reduce_mean(q.log_prob(z) - p.log_prob(z), axis=0), True  # [B, D]


def mean_of_draws(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean of draws [S, B, ...] with the variance of its noise."""
    noise = tf.math.reduce_variance(values, axis=0) / (values.shape[0] - 1)
    return tf.reduce_mean(values, axis=0), noise
