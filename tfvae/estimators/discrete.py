"""Estimators for discrete latent variables, whose draws have no gradient.

With the value V of the objective for log-weights log w_s, and any learning signal l_s
whose baseline does not depend on z_s, the gradient of E[V] is the mean of that of

    sum_s a_s log p(x, z_s) + (l_s - kl_weight (a_s - 1 / S)) log q(z_s|x)

where a_s = d V / d log w_s, and nothing but the logarithms is differentiated; the
constant 1 / S changes no mean, and takes the elbo's noise away.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import draw_for_shard
from tfvae.core.types import InputError
from tfvae.distributions import AnyBernoulli, Distribution, draws
from tfvae.estimators.base import Estimate, Estimator
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import LogWeightTerms, Objective


@dataclasses.dataclass(frozen=True)
class _Discrete(Estimator):
    """The base of the estimators of this module."""

    needs = "discrete"

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        super().check(objective, posterior, num_samples)
        if objective.two_objectives:
            raise InputError(
                f"objective {type(objective).__name__.lower()!r} has two objectives, "
                "for decoder and encoder, which discrete latent variables have no "
                "estimator for; use 'iwae' or 'miwae'"
            )


class _ScoreFunction(_Discrete):
    """Unbiased estimators by the gradient of log q."""

    sampled_rate = True
    gradient_through_z = False

    def unbiased(self, objective: Objective) -> bool:
        return True

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the learning signals [S, B] of log-weights [S, B]."""
        raise NotImplementedError

    def estimate(self, batch: VariationalBatch) -> Estimate:
        terms = batch.log_weight_terms(tf.stop_gradient(batch.draw()))
        log_weights = terms.loss_log_weights(batch.kl_weight)
        # TFP's one-hot log_prob forgets the number of samples if that of images is
        # unknown.
        log_weights = tf.ensure_shape(log_weights, [batch.num_samples, None])
        signals = self.signals(batch.objective, log_weights)
        return Estimate(terms, _surrogate(batch, terms, signals))


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Reinforce(_ScoreFunction):
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
        count = log_weights.shape[0]
        if count == 1:
            return value[tf.newaxis]
        samples = np.arange(count)
        rows = samples[:-1, np.newaxis]  # [S - 1, 1]
        others = tf.gather(log_weights, rows + (rows >= samples))  # [S - 1, S, B]
        return value - _value_of_each(objective, others)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Vimco(_ScoreFunction):
    """The score function with VIMCO's baseline (Mnih and Rezende, 2016).

    The baseline of a sample is V with its log-weight replaced by the mean of the
    others' log-weights.
    """

    method = "log q's gradient; the baseline has the mean log-weight of the others"
    paper = "Mnih and Rezende (2016)"

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if num_samples < 2:
            raise InputError(
                f"estimator 'vimco' was given num_samples {num_samples} and needs 2 or "
                "more, of which each is the others' baseline; change num_samples, or "
                "use 'reinforce'"
            )

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns V - V with log w_s replaced by the mean of the others, [S, B]."""
        count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        total = tf.reduce_sum(log_weights, axis=0)
        mean_of_others = (total - log_weights) / (count - 1.0)  # [S, B]
        replaced = _replaced(objective, log_weights, mean_of_others)
        return objective.value(log_weights) - replaced


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Disarm(_ScoreFunction):
    """Antithetic pairs of Bernoulli draws (Dong, Mnih and Tucker, 2020).

    Each sample z_s gets a twin made from 1 - u where z_s is made from u, so S samples
    cost 2 S evaluations. With V_s the value when z_s is replaced by its twin, the
    logits' gradient is

        sum_s (V - V_s) / 2 (-1)^twin [z_s != twin] sigmoid(|logits|)

    for any objective (their multi-sample form), and for the elbo the mean of
    the single-sample estimator over S pairs.
    """

    evaluations_per_sample = 2
    method = "antithetic pairs: the value's difference between a draw and its twin"
    paper = "Dong, Mnih and Tucker (2020)"

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        _bernoulli(posterior)

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        logits = _bernoulli(batch.posterior).logits  # [B, D]
        shape = [batch.num_samples, *tf.unstack(tf.shape(logits))]
        seed = derive_seed(batch.seed, "disarm")
        v = draw_for_shard(
            lambda shape: draws.signed_uniform(shape, seed, logits.dtype),
            shape,
            batch.shard,
            axis=1,
        )  # [S, B, D]
        z, twin = draws.bernoulli(logits, v), draws.bernoulli(logits, -v)
        terms = batch.log_weight_terms(tf.stop_gradient(z))
        log_weights = terms.loss_log_weights(batch.kl_weight)  # [S, B]
        twins = batch.log_weight_terms(tf.stop_gradient(twin))
        replaced = _replaced(
            batch.objective, log_weights, twins.loss_log_weights(batch.kl_weight)
        )
        difference = batch.objective.value(log_weights) - replaced  # [S, B]
        sign = (1.0 - 2.0 * twin) * tf.abs(z - twin)  # [S, B, D]
        slope = sign * tf.sigmoid(tf.abs(logits))
        gradient = tf.stop_gradient(0.5 * difference[..., tf.newaxis] * slope)
        through_logits = tf.reduce_sum(gradient * logits, axis=(0, 2))  # [B]
        zeros = tf.zeros_like(log_weights)
        return Estimate(terms, _surrogate(batch, terms, zeros) + through_logits)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class StraightThrough(_Discrete):
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
        mean = batch.posterior.mean()  # [B, ...]
        z = tf.stop_gradient(batch.draw()) + (mean - tf.stop_gradient(mean))
        terms = batch.log_weight_terms(z)
        return Estimate(terms, batch.surrogate(terms))


def _surrogate(
    batch: VariationalBatch, terms: LogWeightTerms, signals: tf.Tensor
) -> tf.Tensor:
    """Returns the surrogate of this module's docstring, [B]."""
    kl_weight = batch.kl_weight
    log_weights = terms.loss_log_weights(kl_weight)
    coefficients = tf.stop_gradient(batch.objective.coefficients(log_weights))
    score = tf.stop_gradient(signals) - kl_weight * (
        coefficients - 1.0 / batch.num_samples
    )
    log_joint = terms.log_likelihood + kl_weight * terms.log_prior
    return tf.reduce_sum(coefficients * log_joint + score * terms.log_posterior, axis=0)


def _replaced(
    objective: Objective, log_weights: tf.Tensor, instead: tf.Tensor
) -> tf.Tensor:
    """Returns [S, B] the value when the one log-weight s is replaced by `instead`."""
    count = log_weights.shape[0]
    diagonal = tf.eye(count, dtype=tf.bool)[..., tf.newaxis]  # [S, S, 1]
    each = tf.where(diagonal, instead[tf.newaxis], log_weights[:, tf.newaxis])
    return _value_of_each(objective, each)


def _value_of_each(objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
    """Values [S, B] of log-weights [samples, S, B]."""
    shape = tf.shape(log_weights)
    flat = tf.reshape(log_weights, [log_weights.shape[0], shape[1] * shape[2]])
    return tf.reshape(objective.value(flat), shape[1:])


def _bernoulli(posterior: Distribution) -> AnyBernoulli:
    inner = getattr(posterior, "distribution", posterior)
    if not isinstance(inner, AnyBernoulli):
        raise InputError(
            f"estimator 'disarm' is for Bernoulli posteriors, and this one is "
            f"{posterior.name}; use 'reinforce' or 'vimco'"
        )
    return inner
