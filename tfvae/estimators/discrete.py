"""Estimators for discrete latent variables, whose draws have no gradient.

With the value V of the objective for log-weights log w_s, and any learning signal l_s
whose baseline does not depend on z_s, the gradient of E[V] is the mean of that of

    sum_s a_s log p(x, z_s) + (l_s - kl_weight (a_s - 1 / S)) log q(z_s|x)

where a_s = d V / d log w_s, and nothing but the logarithms is differentiated; the
constant 1 / S changes no mean, and takes the elbo's noise away.
"""

import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import Distribution
from tfvae.estimators import layers
from tfvae.estimators.base import Estimate, Estimator, estimator_name
from tfvae.estimators.sum_over_samples import (
    Coefficients,
    ConstantSamples,
    surrogate_given,
)
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import LogWeightTerms, Objective
from tfvae.objectives.leave_one_out import sum_of_others


@dataclasses.dataclass(frozen=True)
class DiscreteEstimator(Estimator):
    """The base of the estimators of this module and of `bernoulli`."""

    needs = "discrete"

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if objective.two_objectives:
            raise InputError(
                f"objective {type(objective).__name__.lower()!r} has two objectives, "
                "for decoder and encoder, which discrete latent variables have no "
                "estimator for; use 'iwae' or 'miwae'"
            )


class ScoreFunction(DiscreteEstimator):
    """Unbiased estimators by the gradient of log q.

    Attributes:
        least_samples: The number of samples from which it is defined.
    """

    sampled_rate = True
    gradient_through_z = False
    least_samples: ClassVar[int] = 1

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if num_samples < self.least_samples:
            raise InputError(
                f"estimator {estimator_name(self)!r} was given num_samples "
                f"{num_samples} and needs {self.least_samples} or more, of which each "
                "is the others' baseline; change num_samples, or use 'reinforce'"
            )

    def unbiased(self, objective: Objective) -> bool:
        """Returns True."""
        return True


class _LearningSignals(ConstantSamples, ScoreFunction):
    """Those whose signals are functions of the log-weights."""

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the learning signals [S, B] of log-weights [S, B]."""
        raise NotImplementedError

    def coefficients(
        self, batch: VariationalBatch, terms: LogWeightTerms
    ) -> Coefficients:
        log_weights = constant_log_weights(batch, terms)
        return coefficients_of(
            batch, log_weights, self.signals(batch.objective, log_weights)
        )


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Reinforce(_LearningSignals):
    """The score function with a leave-one-out baseline.

    The signal of a sample is what it adds: V of all samples minus V of the others. For
    the elbo that is (log w_s - mean of the others) / S (Mnih and Rezende, 2016; Kool et
    al., 2019). One sample has no others, and so no baseline.
    """

    method = "log q's gradient; the baseline is the objective of the other samples"
    paper = "Williams (1992); Kool, van Hoof and Welling (2019)"

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if num_samples > 1:
            try:
                objective.check(num_samples - 1)
            except InputError as error:
                raise InputError(
                    "estimator 'reinforce' leaves one sample out, and the objective "
                    f"has no value for the others ({error}); use 'vimco'"
                ) from error

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns V - V of the other samples, [S, B]."""
        value = objective.value(log_weights)  # [B]
        if log_weights.shape[0] == 1:
            return value[tf.newaxis]
        return value - objective.value_without(log_weights)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Vimco(_LearningSignals):
    """The score function with VIMCO's baseline (Mnih and Rezende, 2016).

    The baseline of a sample is V with its log-weight replaced by the mean of the
    others' log-weights.
    """

    least_samples = 2
    method = "log q's gradient; the baseline has the mean log-weight of the others"
    paper = "Mnih and Rezende (2016)"

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns V - V with log w_s replaced by the mean of the others, [S, B]."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        mean_of_others = sum_of_others(log_weights) / (count - 1.0)  # [S, B]
        replaced = objective.value_with_replaced(log_weights, mean_of_others)
        return objective.value(log_weights) - replaced


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class StraightThrough(DiscreteEstimator):
    """Pretends that the gradient of a draw is that of its mean: biased.

    Bengio, Leonard and Courville (2013).
    """

    method = "through z as if it were the posterior's mean"
    paper = "Bengio, Leonard and Courville (2013)"

    def unbiased(self, objective: Objective) -> bool:
        """Returns False."""
        return False

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        values = layers.split(batch.posterior, tf.stop_gradient(batch.draw()))

        def with_gradient(k: int, layer: Distribution) -> tf.Tensor:
            through = self.stand_in(batch, k, layer, values[k])
            return values[k] + (through - tf.stop_gradient(through))

        terms = batch.log_weight_terms(layers.walk(batch.posterior, with_gradient))
        return Estimate(terms, batch.surrogate(terms))

    def stand_in(
        self, batch: VariationalBatch, k: int, layer: Distribution, z: tf.Tensor
    ) -> tf.Tensor:
        """Returns what gives z [S, B, ...] of layer k its gradient, here the mean.

        It broadcasts with z. The distribution of a layer above the first is given the
        draws below it, and has their gradient.
        """
        return layer.mean()


def constant_log_weights(batch: VariationalBatch, terms: LogWeightTerms) -> tf.Tensor:
    """Returns the loss's log-weights [S, B], through which no gradient goes."""
    log_weights = tf.stop_gradient(terms.loss_log_weights(batch.kl_weight))
    # TFP's one-hot log_prob forgets the number of samples if that of images is unknown.
    return tf.ensure_shape(log_weights, [batch.num_samples, None])


def coefficients_of(
    batch: VariationalBatch, log_weights: tf.Tensor, signals: tf.Tensor
) -> Coefficients:
    """Returns those of this module's docstring, for constants [S, B]."""
    a = batch.objective.coefficients(log_weights)
    return Coefficients(a, signals - batch.kl_weight * (a - 1.0 / batch.num_samples))


def surrogate_without_signals(
    batch: VariationalBatch, terms: LogWeightTerms
) -> tf.Tensor:
    """Returns the surrogate of this module's docstring for signals of 0, [B]."""
    log_weights = constant_log_weights(batch, terms)
    found = coefficients_of(batch, log_weights, tf.zeros_like(log_weights))
    return surrogate_given(batch, terms, found)
