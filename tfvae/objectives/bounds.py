"""Bounds on log p(x), as functions of log-weights: they know no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf

from tfvae.core.validation import require_number, require_real, require_share
from tfvae.objectives.leave_one_out import logsumexp_of_others, sum_of_others


class LogWeightTerms(NamedTuple):
    """The terms of log-weights, in nats.

    Attributes:
        log_likelihood: [S, B] log p(x|z_s).
        log_prior: [S, B] log p(z_s).
        log_posterior: [S, B] log q(z_s|x).
        analytic_rate: [B] KL(q(z|x) || p(z)), where it takes the place of the
            sampled rate, else None.
        floored_rate: [S, B] The rate with free bits, where the loss has it, else None.
    """

    log_likelihood: tf.Tensor
    log_prior: tf.Tensor
    log_posterior: tf.Tensor
    analytic_rate: tf.Tensor | None = None
    floored_rate: tf.Tensor | None = None

    @property
    def rate(self) -> tf.Tensor:
        """[S, B] log q(z_s|x) - log p(z_s), whose mean over q is KL(q || p)."""
        if self.analytic_rate is None:
            return self.log_posterior - self.log_prior
        return tf.broadcast_to(self.analytic_rate, tf.shape(self.log_likelihood))

    def sampled_log_weights(self) -> tf.Tensor:
        """[S, B] log p(x, z_s) - log q(z_s|x), the importance weights' logarithms."""
        return self._replace(analytic_rate=None).log_weights()

    def log_weights(self) -> tf.Tensor:
        """[S, B] log w_s, of which every bound is a function."""
        return self.log_likelihood - self.rate

    def loss_log_weights(self, kl_weight: float | tf.Tensor = 1.0) -> tf.Tensor:
        """[S, B] The loss's log w_s, which bounds nothing if `kl_weight` is not 1."""
        rate = self.rate if self.floored_rate is None else self.floored_rate
        return self.log_likelihood - kl_weight * rate


def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns (sum_s w_s)^2 / sum_s w_s^2, [B], between 1 and S.

    Kong (1992); computed from weights relative to the largest, so that log-weights
    [S, B] of any size are safe.
    """
    if log_weights.shape[0] == 1:  # one sample is the commonest step
        return tf.ones_like(log_weights[0])
    largest = tf.reduce_max(log_weights, axis=0)  # [B]
    weights = tf.exp(log_weights - largest)  # [S, B]
    squares = tf.reduce_sum(tf.square(weights), axis=0)
    return tf.square(tf.reduce_sum(weights, axis=0)) / squares


@dataclasses.dataclass(frozen=True)
class Objective:
    """A bound on log p(x): a value to report, and how much each sample counts.

    A new objective is a frozen dataclass with `value`, `coefficients`,
    `coefficient_derivative`, `formula` and `paper`, and an entry in `OBJECTIVES`. With
    `value_with_replaced` and `value_without` of its own, estimators of discrete
    latent variables take O(S) operations in place of O(S^2).

    Attributes:
        formula: The value, for people.
        paper: The source.
        analytic_kl: Whether the rate is taken in closed form.
        free_bits: Nats below which the rate of a latent variable costs nothing more.
        two_objectives: Whether the encoder follows another one, `encoder_objective`.
    """

    formula: ClassVar[str]
    paper: ClassVar[str]
    analytic_kl: ClassVar[bool] = False
    free_bits: ClassVar[float] = 0.0
    two_objectives: ClassVar[bool] = False

    @property
    def is_bound(self) -> bool:
        """Whether the expected value is at most log p(x), with `kl_weight` 1."""
        return True

    @property
    def constant_coefficients(self) -> bool:
        """Whether every sample counts as much, whatever its log-weight."""
        return False

    @property
    def encoder_objective(self) -> Objective:
        """The objective that the encoder follows, if not this one."""
        return self

    def check(self, num_samples: int) -> None:
        """Raises InputError if the objective is not defined for so many samples."""

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the bound [B], in nats, for log-weights [S, B]."""
        raise NotImplementedError

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns a_s = d value / d log w_s, [S, B], for log-weights [S, B]."""
        raise NotImplementedError

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns d a_s / d log w_s, [S, B], for log-weights [S, B]."""
        raise NotImplementedError

    def value_with_replaced(
        self, log_weights: tf.Tensor, instead: tf.Tensor
    ) -> tf.Tensor:
        """Returns [S, B] the value when log w_s alone is replaced by that of `instead`.

        Both are [S, B]. Here sample by sample, in O(S B) memory and O(S^2 B) time.
        """
        rows = tf.range(log_weights.shape[0])[:, tf.newaxis]  # [S, 1]
        return self._value_of_each(
            log_weights, lambda s: tf.where(rows == s, instead, log_weights)
        )

    def value_without(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns [S, B] the value of the S - 1 samples other than s.

        Here sample by sample, in O(S B) memory and O(S^2 B) time.
        """
        rows = tf.range(log_weights.shape[0] - 1)  # [S - 1]
        return self._value_of_each(
            log_weights,
            lambda s: tf.gather(log_weights, rows + tf.cast(rows >= s, rows.dtype)),
        )

    def _value_of_each(
        self, log_weights: tf.Tensor, changed: Callable[[tf.Tensor], tf.Tensor]
    ) -> tf.Tensor:
        """Returns [S, B] the values of the log-weights changed(s)."""
        return tf.map_fn(
            lambda s: self.value(changed(s)),
            tf.range(log_weights.shape[0]),
            parallel_iterations=1,  # memory does not grow with S
            fn_output_signature=log_weights.dtype,
        )

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this objective."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Objective:
        """Rebuilds an objective from `get_config`."""
        return cls(**config)


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

    analytic_kl: bool = False  # type: ignore[misc]
    free_bits: float = 0.0  # type: ignore[misc]
    formula = "mean_s log w_s"
    paper = "Kingma and Welling (2014)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_number("free_bits", self.free_bits, zero=True)

    @property
    def constant_coefficients(self) -> bool:
        """Returns True: they are 1 / S."""
        return True

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:  # [B]
        """Returns mean_s log w_s."""
        return tf.reduce_mean(log_weights, axis=0)

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns 1 / S for every sample."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return tf.ones_like(log_weights) / count

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns zeros."""
        return tf.zeros_like(log_weights)

    def value_with_replaced(
        self, log_weights: tf.Tensor, instead: tf.Tensor
    ) -> tf.Tensor:  # [S, B]
        """Returns (sum of the others + instead) / S."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return (sum_of_others(log_weights) + instead) / count

    def value_without(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns the mean of the others."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return sum_of_others(log_weights) / (count - 1.0)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Iwae(Objective):
    """The importance-weighted bound, log mean_s w_s (Burda et al., 2016)."""

    formula = "log mean_s w_s"
    paper = "Burda, Grosse and Salakhutdinov (2016)"

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:  # [B]
        """Returns log mean_s exp(log w_s)."""
        if log_weights.shape[0] == 1:
            return log_weights[0]
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return tf.reduce_logsumexp(log_weights, axis=0) - tf.math.log(count)

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns the normalised weights, softmax_s log w_s."""
        if log_weights.shape[0] == 1:
            return tf.ones_like(log_weights)
        return tf.nn.softmax(log_weights, axis=0)

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns a_s (1 - a_s)."""
        return _softmax_derivative(self.coefficients(log_weights))

    def value_with_replaced(
        self, log_weights: tf.Tensor, instead: tf.Tensor
    ) -> tf.Tensor:  # [S, B]
        """Returns log (sum of the others' weights + exp(instead)) - log S."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        both = tf.stack([logsumexp_of_others(log_weights), instead])  # [2, S, B]
        return tf.reduce_logsumexp(both, axis=0) - tf.math.log(count)

    def value_without(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns the logarithm of the mean of the others' weights."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return logsumexp_of_others(log_weights) - tf.math.log(count - 1.0)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Renyi(Objective):
    """The variational Renyi bound (Li and Turner, 2016).

    log mean_s w_s^(1 - alpha) / (1 - alpha): `iwae` at alpha = 0, `elbo` at 1, and a
    lower bound for every alpha >= 0; below 0 it is no bound. Gradients follow its
    expectation over the samples that there are; see `VrIwae`.

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
        """Returns True for alpha 1, the elbo."""
        return self.alpha == 1

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:  # [B]
        """Returns log mean_s exp((1 - alpha) log w_s) / (1 - alpha)."""
        return self._of_powers(lambda bound, power: bound.value(power * log_weights))

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns softmax_s (1 - alpha) log w_s."""
        return tf.nn.softmax((1.0 - self.alpha) * log_weights, axis=0)

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns (1 - alpha) a_s (1 - a_s)."""
        return (1.0 - self.alpha) * _softmax_derivative(self.coefficients(log_weights))

    def value_with_replaced(
        self, log_weights: tf.Tensor, instead: tf.Tensor
    ) -> tf.Tensor:  # [S, B]
        """See `Objective.value_with_replaced`."""
        return self._of_powers(
            lambda bound, power: bound.value_with_replaced(
                power * log_weights, power * instead
            )
        )

    def value_without(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """See `Objective.value_without`."""
        return self._of_powers(
            lambda bound, power: bound.value_without(power * log_weights)
        )

    def _of_powers(self, of: Callable[[Objective, float], tf.Tensor]) -> tf.Tensor:
        """Returns what `iwae` has of w^(1 - alpha), / (1 - alpha), or the elbo."""
        power = 1.0 - self.alpha
        return of(Elbo(), 1.0) if power == 0 else of(Iwae(), power) / power


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class VrIwae(Renyi):
    """The VR-IWAE bound (Daudel, Benton, Shi and Doucet, 2023), from `iwae` to `elbo`.

    Its value is that of `Renyi`, and what differs is what this is a value of: the
    VR-IWAE bound is the expectation over S samples, for alpha in [0, 1), and grows with
    S. So its gradients have no bias, where the same are biased for the Renyi bound of
    infinitely many samples. Estimator `dreg` is the paper's doubly reparameterised one.

    Attributes:
        alpha: From 0 (`iwae`) to 1 (the limit, `elbo`).
    """

    paper = "Daudel, Benton, Shi and Doucet (2023)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_share("alpha", self.alpha)


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
        require_share("beta", self.beta)

    @property
    def constant_coefficients(self) -> bool:
        """Returns True for beta 1, the elbo."""
        return self.beta == 1

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:  # [B]
        """Returns beta elbo + (1 - beta) iwae."""
        return self._combined(lambda bound: bound.value(log_weights))

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns beta / S + (1 - beta) softmax_s log w_s."""
        return self._combined(lambda bound: bound.coefficients(log_weights))

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns (1 - beta) times that of iwae."""
        return (1.0 - self.beta) * Iwae().coefficient_derivative(log_weights)

    def value_with_replaced(
        self, log_weights: tf.Tensor, instead: tf.Tensor
    ) -> tf.Tensor:  # [S, B]
        """See `Objective.value_with_replaced`."""
        return self._combined(
            lambda bound: bound.value_with_replaced(log_weights, instead)
        )

    def value_without(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """See `Objective.value_without`."""
        return self._combined(lambda bound: bound.value_without(log_weights))

    def _combined(self, of: Callable[[Objective], tf.Tensor]) -> tf.Tensor:
        """Returns beta times what the elbo has, + (1 - beta) times what iwae has."""
        return self.beta * of(Elbo()) + (1.0 - self.beta) * of(Iwae())


def _softmax_derivative(softmax: tf.Tensor) -> tf.Tensor:
    return softmax * (1.0 - softmax)
