"""A head over dependent real values, for posteriors."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.heads.base import MIN_SCALE, DistributionHead
from tfvae.types import InputError

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfvae")
class MultivariateNormalHead(DistributionHead):
    """Normal(loc, L L^T) with L lower triangular, both from the network.

    After the D locations come the D (D + 1) / 2 elements of L, in the order of
    `tfp.math.fill_triangular`; the diagonal is softplus(raw) + 1e-5.

    Raises:
        InputError: `event_shape` has not one axis.
    """

    def __init__(self, event_shape: Sequence[int], **kwargs) -> None:
        super().__init__(event_shape, **kwargs)
        if len(self.event_shape) != 1:
            raise InputError(
                f"event_shape {self.event_shape} of MultivariateNormalHead is not "
                "usable; give one axis, for example (50,)"
            )

    @property
    def params_shape(self) -> tuple[int, ...]:
        """What the network must put out for one example."""
        (size,) = self.event_shape
        return (size + size * (size + 1) // 2,)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """(loc, raw L) [..., *params_shape] -> MultivariateNormal, batch [...]."""
        loc, raw = tf.split(params, [self.event_shape[0], -1], axis=-1)
        lower = tfp.math.fill_triangular(raw)  # [..., D, D]
        # A mask, and not set_diag, whose gradient XLA cannot compile for batches of
        # unknown size.
        eye = tf.eye(self.event_shape[0], dtype=params.dtype)
        diagonal = tf.nn.softplus(tf.reduce_sum(lower * eye, axis=-1)) + MIN_SCALE
        scale = lower * (1.0 - eye) + diagonal[..., tf.newaxis] * eye  # [..., D, D]
        return tfd.MultivariateNormalTriL(loc, scale)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return self.distribution(params)

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the means and the single variables' scales, [..., *event_shape]."""
        return {"mean": distribution.mean(), "scale": distribution.stddev()}
