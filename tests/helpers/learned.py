"""Estimators with what they learn, whatever values it has."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from tfvae.distributions import Distribution
from tfvae.estimators import Estimate, Estimator, VariationalBatch


def random_layer(
    estimator: Estimator, posterior: Distribution, seed: int = 0
) -> keras.layers.Layer | None:
    """What it learns, with random weights of which none is 0."""
    layer = estimator.learned(posterior)
    rng = np.random.default_rng(seed)
    for variable in [] if layer is None else layer.trainable_variables:
        variable.assign(rng.uniform(0.3, 0.8, variable.shape) * rng.choice([-1, 1]))
    return layer


@dataclasses.dataclass(frozen=True)
class WithLayer(Estimator):
    """An estimator that finds this layer in every batch, without a model."""

    inner: Estimator
    layer: keras.layers.Layer | None

    def estimate(self, batch: VariationalBatch) -> Estimate:
        return self.inner.estimate(dataclasses.replace(batch, learned=self.layer))


def with_random_layer(estimator: Estimator, posterior: Distribution) -> Estimator:
    return WithLayer(estimator, random_layer(estimator, posterior))
