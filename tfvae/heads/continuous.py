"""Heads over real values."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.heads.base import MIN_SCALE, DistributionHead, clipped_logit
from tfvae.require import require_number

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfvae")
class NormalHead(DistributionHead):
    """Normal with a location and a scale = softplus(raw) + 1e-5 from the network."""

    num_params = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """(loc, raw scale) [..., 2 * last] -> Normal."""
        loc, raw_scale = self.split(params)
        return tfd.Normal(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself, beside a raw scale of 0 (a scale of log 2)."""
        return np.concatenate([mean, np.zeros_like(mean)], axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class FixedScaleNormalHead(DistributionHead):
    """Normal with a location in [0, 1], sigmoid(params), and one fixed scale.

    With scale 1 its negative log-density is half the squared error plus
    0.5 log(2 pi) for each element.
    """

    def __init__(
        self, event_shape: Sequence[int], scale: float = 1.0, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.scale = require_number("scale", scale)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Logit of the location [..., *event_shape] -> Normal."""
        loc = tf.sigmoid(params)
        return tfd.Normal(loc, tf.constant(self.scale, loc.dtype))

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The logit of the mean, clipped to [0.001, 0.999]."""
        return clipped_logit(mean)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tfvae")
class LogisticHead(DistributionHead):
    """Logistic with a location and a scale = softplus(raw) + 1e-5 from the network."""

    num_params = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """(loc, raw scale) [..., 2 * last] -> Logistic."""
        loc, raw_scale = self.split(params)
        return tfd.Logistic(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself, beside a raw scale of 0 (a scale of log 2)."""
        return np.concatenate([mean, np.zeros_like(mean)], axis=-1)
