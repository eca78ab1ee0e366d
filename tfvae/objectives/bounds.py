"""Objectives that treat all samples alike."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf
from check_shapes import check_shapes

from tfvae.core.types import InputError
from tfvae.core.validation import require_number, require_real
from tfvae.objectives.base import Objective


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Elbo(Objective):
    """The evidence lower bound, mean_s log w_s (Kingma and Welling, 2014).

    Attributes:
        analytic_kl: Take KL(q(z|x) || p(z)) in closed form, where TFP has one,
            instead of the mean of the sampled rates. The expectation is the same.
        free_bits: Nats. The rate of each latent variable, a mean over the batch,
            counts for at least this much in the loss (Kingma et al., 2016),
            which bounds the elbo from below.
    """

    analytic_kl: bool = False
    free_bits: float = 0.0
    formula = "mean_s log w_s"
    paper = "Kingma and Welling (2014)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_number("free_bits", self.free_bits, zero=True)

    @property
    def constant_coefficients(self) -> bool:
        """Always: 1 / S."""
        return True

    @check_shapes("log_weights: [S, B]", "return: [B]")
    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns mean_s log w_s."""
        return tf.reduce_mean(log_weights, axis=0)

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns 1 / S for every sample."""
        return tf.ones_like(log_weights) / _count(log_weights)

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def diagonal(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns zeros."""
        return tf.zeros_like(log_weights)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Iwae(Objective):
    """The importance-weighted bound, log mean_s w_s (Burda et al., 2016)."""

    formula = "log mean_s w_s"
    paper = "Burda, Grosse and Salakhutdinov (2016)"

    @check_shapes("log_weights: [S, B]", "return: [B]")
    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns log mean_s exp(log w_s)."""
        return tf.reduce_logsumexp(log_weights, axis=0) - tf.math.log(
            _count(log_weights)
        )

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the normalised weights, softmax_s log w_s."""
        return tf.nn.softmax(log_weights, axis=0)

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def diagonal(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns a_s (1 - a_s)."""
        return _softmax_diagonal(self.coefficients(log_weights))


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Renyi(Objective):
    """The variational Renyi bound (Li and Turner, 2016).

    log mean_s w_s^(1 - alpha) / (1 - alpha): `iwae` at alpha = 0, `elbo` at 1, and a
    lower bound for every alpha >= 0; below 0 it is no bound.

    Attributes:
        alpha: Any finite number.
    """

    alpha: float = 0.5
    formula = "log mean_s w_s^(1 - alpha) / (1 - alpha)"
    paper = "Li and Turner (2016)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_real("alpha", self.alpha)

    @property
    def is_bound(self) -> bool:
        """Whether alpha is 0 or more."""
        return self.alpha >= 0

    @property
    def constant_coefficients(self) -> bool:
        """For alpha 1, the elbo."""
        return self.alpha == 1

    @check_shapes("log_weights: [S, B]", "return: [B]")
    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns log mean_s exp((1 - alpha) log w_s) / (1 - alpha)."""
        power = 1.0 - self.alpha
        if power == 0:
            return Elbo().value(log_weights)
        return Iwae().value(power * log_weights) / power

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns softmax_s (1 - alpha) log w_s."""
        return tf.nn.softmax((1.0 - self.alpha) * log_weights, axis=0)

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def diagonal(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns (1 - alpha) a_s (1 - a_s)."""
        return (1.0 - self.alpha) * _softmax_diagonal(self.coefficients(log_weights))


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Ciwae(Objective):
    """A convex combination, beta elbo + (1 - beta) iwae (Rainforth et al., 2018).

    Attributes:
        beta: Between 0 (`iwae`) and 1 (`elbo`).
    """

    beta: float = 0.5
    formula = "beta mean_s log w_s + (1 - beta) log mean_s w_s"
    paper = "Rainforth et al. (2018)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        if require_real("beta", self.beta) < 0 or self.beta > 1:
            raise InputError(f"beta {self.beta!r} is not usable; give 0 to 1")

    @property
    def constant_coefficients(self) -> bool:
        """For beta 1, the elbo."""
        return self.beta == 1

    @check_shapes("log_weights: [S, B]", "return: [B]")
    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns beta elbo + (1 - beta) iwae."""
        elbo, iwae = Elbo().value(log_weights), Iwae().value(log_weights)
        return self.beta * elbo + (1.0 - self.beta) * iwae

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns beta / S + (1 - beta) softmax_s log w_s."""
        elbo, iwae = Elbo().coefficients(log_weights), Iwae().coefficients(log_weights)
        return self.beta * elbo + (1.0 - self.beta) * iwae

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def diagonal(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns (1 - beta) times that of iwae."""
        return (1.0 - self.beta) * Iwae().diagonal(log_weights)


def _count(log_weights: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(log_weights)[0], log_weights.dtype)


def _softmax_diagonal(softmax: tf.Tensor) -> tf.Tensor:
    return softmax * (1.0 - softmax)
