"""Objectives of samples in groups."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.objectives.bounds import Iwae, Objective


@dataclasses.dataclass(frozen=True)
class _Grouped(Objective):
    """Objectives of S = M K samples in M groups of K.

    Attributes:
        num_groups: M; it divides the number of samples.
    """

    num_groups: int = 2

    def __post_init__(self) -> None:
        require_int("num_groups", self.num_groups)

    def check(self, num_samples: int) -> None:
        if num_samples % self.num_groups:
            raise InputError(
                f"num_samples {num_samples} is not a multiple of num_groups "
                f"{self.num_groups}; change one of them"
            )


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Miwae(_Grouped):
    """The mean over M groups of the `iwae` of K samples (Rainforth et al., 2018)."""

    formula = "mean_m log mean_k w_mk"
    paper = "Rainforth et al. (2018)"

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:  # [B]
        """Returns mean_m log mean_k exp(log w_mk)."""
        groups = self._groups(log_weights)  # [K, M * B]
        shape = [self.num_groups, tf.shape(log_weights)[1]]
        bounds = tf.reshape(Iwae().value(groups), shape)  # [M, B]
        return tf.ensure_shape(tf.reduce_mean(bounds, axis=0), log_weights.shape[1:])

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns softmax_k log w_mk / M."""
        return self._of_groups(Iwae().coefficients, log_weights)

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns that of each group's iwae, divided by M."""
        return self._of_groups(Iwae().coefficient_derivative, log_weights)

    def _groups(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Lays the groups side by side, [M K, B] -> [K, M B]."""
        size = tf.shape(log_weights)[1]
        grouped = tf.reshape(log_weights, [self.num_groups, -1, size])
        grouped = tf.transpose(grouped, [1, 0, 2])  # [K, M, B]
        return tf.reshape(grouped, [-1, self.num_groups * size])

    def _of_groups(
        self, function: Callable[[tf.Tensor], tf.Tensor], log_weights: tf.Tensor
    ) -> tf.Tensor:
        size = tf.shape(log_weights)[1]
        values = function(self._groups(log_weights)) / self.num_groups  # [K, M B]
        values = tf.reshape(values, [-1, self.num_groups, size])
        values = tf.transpose(values, [1, 0, 2])  # [M, K, B]
        return tf.reshape(values, tf.shape(log_weights))


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Piwae(_Grouped, Iwae):
    """`iwae` of all M K samples for the decoder, `miwae` for the encoder.

    Rainforth et al. (2018). Value and coefficients are those of `iwae`.
    """

    two_objectives = True
    formula = "log mean_s w_s for the decoder, miwae for the encoder"
    paper = "Rainforth et al. (2018)"

    @property
    def encoder_objective(self) -> Miwae:
        """`miwae` with the same groups."""
        return Miwae(self.num_groups)
