"""A head over dependent real values, for posteriors."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import MultivariateNormalTriL, tfd
from tfvae.heads.base import MIN_SCALE, DistributionHead

# Bounds of the elements below a diagonal of 1, and of the elements of the inverse: with
# a scale of 1e-5 beside it, the inverse stays within float32.
MAX_BELOW = 10.0
MAX_INVERSE = 1e30


@keras.saving.register_keras_serializable(package="tfvae")
class MultivariateNormalHead(DistributionHead):
    """Normal(loc, L L^T) with L lower triangular, both from the network.

        L = diag(s) (I + N),    s = softplus(raw) + 1e-5,    N = c tanh(raw / c)

    N lies below the diagonal. After the D locations come the D (D + 1) / 2 raw numbers
    of s and N, in the order of TFP's `fill_triangular`. N is relative to s, so that
    a small scale makes a small row, and bounded by c = 10 (for D > 29, by the
    (1e30)^(1 / (D - 1)) - 1 that keeps the inverse of L within float32: 3.1 for D =
    50).

    Raises:
        InputError: if `event_shape` has not one axis.
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
        """The shape of the network's output for one example."""
        (size,) = self.event_shape
        return (size + size * (size + 1) // 2,)

    @property
    def bound(self) -> float:
        """The bound c of N."""
        size = self.event_shape[0]
        return min(MAX_BELOW, MAX_INVERSE ** (1 / max(size - 1, 1)) - 1)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Normal of (loc, raw L) [..., *params_shape], batch [...]."""
        size = self.event_shape[0]
        loc, raw = tf.split(params, [size, -1], axis=-1)
        raw = tfd.fill_triangular(raw)  # [..., D, D]
        # A mask, and not set_diag, whose gradient XLA cannot compile for batches of
        # unknown size.
        eye = tf.eye(size, dtype=params.dtype)
        s = tf.nn.softplus(tf.reduce_sum(raw * eye, axis=-1)) + MIN_SCALE  # [..., D]
        below = self.bound * tf.tanh(raw * (1.0 - eye) / self.bound)
        scale = s[..., tf.newaxis] * (eye + below)  # [..., D, D]
        return MultivariateNormalTriL(loc, scale)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return self.distribution(params)

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the means and the single variables' scales, [..., *event_shape]."""
        return {"mean": distribution.mean(), "scale": distribution.stddev()}
