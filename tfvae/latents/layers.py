"""Rates and posterior means of a model's layers of latent variables."""

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.core.validation import require_int
from tfvae.distributions import tfd
from tfvae.heads.latent_hierarchy import LayerChain


def layer_rates(
    vae: keras.Model, x: tf.Tensor, num_samples: int, seed: Seed
) -> tf.Tensor:
    """Returns the rate of each layer, whose sum is the rate of `log_weight_terms`.

        rate_k = log q(z_k|z_(k-1)) - log p(z_k|z_(k+1))

    With z_0 = x, p(z_K) for the top layer, and draws from q. The mean rate of a lower
    layer can be below 0: p(z_k|z_(k+1)) knows z_(k+1), and q(z_k|z_(k-1)) does not.

    Args:
        vae: A `VAE`; one without a hierarchy has one layer.
        x: [B, *image_shape] The examples.
        num_samples: S, the number of draws, which are those of `log_weight_terms`.
        seed: The seed of the draws.

    Returns:
        [K, S, B], nearest x first, in nats.
    """
    posterior, z = _draws(vae, x, num_samples, seed)
    densities = [
        q.log_probs(z) if isinstance(q, LayerChain) else q.log_prob(z)[tf.newaxis]
        for q in (posterior, vae.prior(vae.with_condition(x).condition))
    ]
    return densities[0] - densities[1]


def layer_means(
    vae: keras.Model, x: tf.Tensor, num_samples: int, seed: Seed
) -> list[tf.Tensor]:
    """Returns E_q[z_k|x] of each layer, for `tfvae.evaluation.active_units`.

    The mean of layer 1 is exact, or that of the draws where its family has no closed
    form. The mean of a layer above is that of E[z_k|z_(k-1)] over S draws of the layers
    below: its noise adds (the variance of E[z_k|z_(k-1)] given x) / S to the variance
    over x, so S should be large enough for that to be far below 0.01.

    The arguments are those of `layer_rates`.

    Returns:
        [B, D_k] of each layer, nearest x first, of z itself: for BinConcrete the logit.
    """
    posterior, z = _draws(vae, x, num_samples, seed)
    if not isinstance(posterior, LayerChain):
        try:
            return [posterior.mean()]
        except NotImplementedError:
            return [tf.reduce_mean(z, axis=0)]
    first, *others = [layer.mean() for layer, _ in posterior.layers(z)]
    return [first, *(tf.reduce_mean(mean, axis=0) for mean in others)]


def _draws(
    vae: keras.Model, x: tf.Tensor, num_samples: int, seed: Seed
) -> tuple[tfd.Distribution, tf.Tensor]:
    posterior = vae.encode(x)
    num_samples = require_int("num_samples", num_samples)
    seed = derive_seed(seed, "posterior")
    return posterior, posterior.sample(num_samples, seed=seed)  # [S, B, D]
