"""Objectives of samples in groups."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.objectives.bounds import Iwae, Objective
from tfvae.objectives.leave_one_out import sum_of_others


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
        mean = tf.reduce_mean(self._bounds(log_weights), axis=0)
        return tf.ensure_shape(mean, log_weights.shape[1:])

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns softmax_k log w_mk / M."""
        return self._of_samples(Iwae().coefficients, log_weights) / self.num_groups

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns that of each group's iwae, divided by M."""
        derivative = self._of_samples(Iwae().coefficient_derivative, log_weights)
        return derivative / self.num_groups

    def value_with_replaced(
        self, log_weights: tf.Tensor, instead: tf.Tensor
    ) -> tf.Tensor:  # [S, B]
        """Returns (sum of the other groups' + that of the changed group) / M."""
        changed = self._of_samples(Iwae().value_with_replaced, log_weights, instead)
        others = sum_of_others(self._bounds(log_weights))  # [M, B]
        size = log_weights.shape[0] // self.num_groups
        return (tf.repeat(others, size, axis=0) + changed) / self.num_groups

    def _bounds(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the groups' `iwae`, [M, B]."""
        shape = [self.num_groups, tf.shape(log_weights)[1]]
        return tf.reshape(Iwae().value(self._groups(log_weights)), shape)

    def _groups(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Lays the groups side by side, [M K, B] -> [K, M B]."""
        size = tf.shape(log_weights)[1]
        grouped = tf.reshape(log_weights, [self.num_groups, -1, size])
        grouped = tf.transpose(grouped, [1, 0, 2])  # [K, M, B]
        return tf.reshape(grouped, [-1, self.num_groups * size])

    def _of_samples(
        self, function: Callable[..., tf.Tensor], *given: tf.Tensor
    ) -> tf.Tensor:
        """Returns [M K, B] a function of each group's tensors, given as [M K, B]."""
        values = function(*map(self._groups, given))  # [K, M B]
        shape = tf.shape(given[0])
        values = tf.reshape(values, [-1, self.num_groups, shape[1]])
        return tf.reshape(tf.transpose(values, [1, 0, 2]), shape)


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
