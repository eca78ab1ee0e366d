"""The layers of a posterior: of a chain of them, or the one that there is.

Layer 0 is nearest x; a posterior goes up from it.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.distributions import Distribution
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.heads.latent_hierarchy import LayerChain
from tfvae.objectives import LogWeightTerms


def walk(
    posterior: Distribution, pick: Callable[[int, Distribution], tf.Tensor]
) -> tf.Tensor:
    """Returns the z of a choice of each layer's value.

    `pick` maps (k, the distribution of layer k given the choices before) to the value.
    """
    if isinstance(posterior, LayerChain):
        return posterior.walk(pick)
    return pick(0, posterior)


def split(posterior: Distribution, z: tf.Tensor) -> list[tf.Tensor]:
    """Returns the layers' values, of z [..., D]; of one layer z has any shape."""
    if isinstance(posterior, LayerChain):
        return tf.split(z, posterior.sizes, axis=-1)
    return [z]


def logits_of(layer: Distribution) -> tf.Tensor:
    """Returns the logits of independent Bernoulli or one-hot variables."""
    return getattr(layer, "distribution", layer).logits_parameter()


def layer_seed(seed: tf.Tensor, layer: int) -> tf.Tensor:
    """Returns the seed of a layer's own noise: for layer 0 the seed itself."""
    return derive_seed(seed, "layer", layer) if layer else seed


def terms_of_changed(
    batch: VariationalBatch, terms: LogWeightTerms, layer: int, z: tf.Tensor
) -> LogWeightTerms:
    """Returns the terms [n S, B] of z in which no layer below `layer` was changed.

    The samples that they were are those of `terms` [S, B], n times. Above layer 0 the
    decoder says of them what it has said, if it reads layer 0 alone.
    """
    if layer == 0 or not batch.first_layer_alone:
        return batch.log_weight_terms(z)
    copies = z.shape[0] // batch.num_samples
    return LogWeightTerms(
        tf.tile(terms.log_likelihood, [copies, 1]),
        batch.prior.log_prob(z),
        batch.posterior.log_prob(z),
    )
