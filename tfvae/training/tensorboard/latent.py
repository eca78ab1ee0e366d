"""Statistics of a model's latent variables on fixed images, as graphs to run."""

from __future__ import annotations

import math

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.distributions import Distribution, independent_variables, kl_divergence
from tfvae.evaluation.layers import ACTIVE_VARIANCE
from tfvae.heads.latent_hierarchy import LayerChain
from tfvae.models import VAE

_DRAWS = 25_000  # of all images together, where E_q[z|x] has no closed form
_WEIGHED = 100  # images whose log-weights are shown


def active_units(vae: VAE, x: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Returns how many latent variables depend on x [n, *image_shape], an int32.

    These have Var_x(E_q[z_d|x]) > 0.01, as in `tfvae.evaluation.active_units`, over all
    layers. Where E_q[z|x] has no closed form it is a mean over draws, and the variance
    of its noise is estimated and subtracted. Of one-hots the class with the largest
    variance counts.
    """
    posterior = vae.encode(x)
    if isinstance(posterior, LayerChain):
        z = _draws(posterior, x, seed)  # [S, n, D]
        first, *others = [layer.mean() for layer, _ in posterior.layers(z)]
        variances = [_variance(first), *(_variance_of_draws(mean) for mean in others)]
    else:
        try:
            variances = [_variance(posterior.mean())]
        except NotImplementedError:
            variances = [_variance_of_draws(_draws(posterior, x, seed))]
    active = [tf.cast(v > ACTIVE_VARIANCE, tf.int32) for v in variances]
    return tf.add_n([tf.reduce_sum(each) for each in active])


def histograms(vae: VAE, x: tf.Tensor, seed: Seed) -> dict[str, tf.Tensor]:
    """Returns arrays by name, whose histograms are shown.

    - `rate_per_dimension` [D]: the rate of each latent variable, a mean over the
      images, in nats, where variables are independent; closed forms, or means over
      draws.
    - `posterior_mean`, `posterior_scale`, or the parameters of another family, of each
      image and variable.
    - `log_weights`: S for each of the first 100 images, in nats.
    """
    posterior, prior = vae.encode(x), vae.prior()
    found = {}
    rates = _rates(posterior, prior, x, seed)
    if rates is not None:
        found["rate_per_dimension"] = rates
    for name, values in vae.encoder.head.named_params(posterior).items():
        found[f"posterior_{name}"] = values
    terms = vae.log_weight_terms(x[:_WEIGHED], vae.num_samples, seed)
    found["log_weights"] = terms.log_weights()
    return found


def codes(vae: VAE, x: tf.Tensor) -> tf.Tensor:
    """Returns E_q[z|x] [n, numbers], or point estimates where it has no closed form."""
    posterior = vae.encode(x)
    try:
        means = posterior.mean()
    except NotImplementedError:
        means = vae.latent.point_estimate(posterior)
    return tf.reshape(means, [tf.shape(means)[0], math.prod(vae.latent.event_shape)])


def _rates(
    posterior: Distribution, prior: Distribution, x: tf.Tensor, seed: Seed
) -> tf.Tensor | None:
    """Returns rates [D] in nats, layer after layer; None: they are not defined."""
    if isinstance(posterior, LayerChain):
        z = _draws(posterior, x, seed)
        pairs = zip(posterior.layers(z), prior.layers(z), strict=True)
        rates = [_sampled_rates(q, p, value) for (q, value), (p, _) in pairs]
        return None if None in rates else tf.concat(rates, axis=0)
    q, p = independent_variables(posterior), independent_variables(prior)
    if q is None or p is None:
        return None
    try:
        return tf.reduce_mean(kl_divergence(q, p), axis=0)
    except NotImplementedError:
        return _sampled_rates(posterior, prior, _draws(posterior, x, seed))


def _sampled_rates(q: Distribution, p: Distribution, z: tf.Tensor) -> tf.Tensor | None:
    q, p = independent_variables(q), independent_variables(p)
    if q is None or p is None:
        return None
    return tf.reduce_mean(q.log_prob(z) - p.log_prob(z), axis=(0, 1))


def _draws(posterior: Distribution, x: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Draws z [S, n, ...], fewer for each image the more images there are."""
    count = min(max(_DRAWS // x.shape[0], 25), 100)
    return posterior.sample(count, seed=derive_seed(seed, "monitor"))


def _variance(means: tf.Tensor) -> tf.Tensor:
    """Returns the variance over images [n, D, ...] of each variable, [D]."""
    return _of_variables(tf.math.reduce_variance(means, axis=0))


def _variance_of_draws(values: tf.Tensor) -> tf.Tensor:
    """Returns the variance of means over draws [S, n, D, ...], without their noise."""
    count = values.shape[0]
    noise = tf.math.reduce_variance(values, axis=0) / (count - 1)  # [n, D, ...]
    variance = tf.math.reduce_variance(tf.reduce_mean(values, axis=0), axis=0)
    return _of_variables(variance - tf.reduce_mean(noise, axis=0))


def _of_variables(variance: tf.Tensor) -> tf.Tensor:
    """Returns [D] from [D, ...]: the largest of a one-hot's classes."""
    return tf.reduce_max(tf.reshape(variance, [tf.shape(variance)[0], -1]), axis=1)
