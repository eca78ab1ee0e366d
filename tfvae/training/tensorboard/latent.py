"""Statistics of a model's latent variables on fixed images, as graphs to run."""

from __future__ import annotations

import math

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.evaluation.layers import (
    LayerTerms,
    count_active,
    layer_terms,
    variance_of_means,
)
from tfvae.models import VAE, Batch

_DRAWS = 25_000  # of all images together, where E_q[z|x] has no closed form
_WEIGHED = 100  # images whose log-weights are shown


def active_units(vae: VAE, batch: Batch, seed: Seed) -> tf.Tensor:
    """Returns how many latent variables depend on x, an int32.

    These have Var_x(E_q[z_d|x]) > 0.01, as in `tfvae.evaluation.active_units`, over all
    layers. Where E_q[z|x] has no closed form it is a mean over draws, and the variance
    of its noise is estimated and subtracted. Of one-hots the class with the largest
    variance counts.
    """
    variances = [
        variance_of_means(each.means, each.noise) for each in _terms(vae, batch, seed)
    ]
    return tf.add_n([count_active(each) for each in variances])


def histograms(vae: VAE, batch: Batch, seed: Seed) -> dict[str, tf.Tensor]:
    """Returns arrays by name, whose histograms are shown.

    - `rate_per_dimension` [D]: the rate of each latent variable, a mean over the
      images, in nats, where variables are independent; closed forms, or means over
      draws.
    - `posterior_mean`, `posterior_scale`, or the parameters of another family, of each
      image and variable.
    - `log_weights`: S for each of the first 100 images, in nats.
    """
    found = {}
    rates = [each.rates for each in _terms(vae, batch, seed)]  # [n, D] of each layer
    if not any(each is None for each in rates):
        means = [tf.reduce_mean(each, axis=0) for each in rates]
        found["rate_per_dimension"] = tf.concat(means, axis=0)
    posterior = vae.encode(batch)
    for name, values in vae.encoder.head.named_params(posterior).items():
        found[f"posterior_{name}"] = values
    terms = vae.log_weight_terms(batch.rows(0, _WEIGHED), vae.num_samples, seed)
    found["log_weights"] = terms.log_weights()
    return found


def codes(vae: VAE, batch: Batch) -> tf.Tensor:
    """Returns E_q[z|x] [n, numbers], or point estimates where it has no closed form."""
    posterior = vae.encode(batch)
    try:
        means = posterior.mean()
    except NotImplementedError:
        means = vae.latent.point_estimate(posterior)
    return tf.reshape(means, [tf.shape(means)[0], math.prod(vae.latent.event_shape)])


def _terms(vae: VAE, batch: Batch, seed: Seed) -> list[LayerTerms]:
    """Returns the terms of each layer; with more images fewer draws of each."""
    batch = vae.with_condition(batch)
    posterior = vae.encode(batch)
    count = min(max(_DRAWS // batch.size, 25), 100)
    seed = derive_seed(seed, "monitor")
    prior = vae.prior(batch.condition)
    return layer_terms(posterior, prior, lambda: posterior.sample(count, seed=seed))
