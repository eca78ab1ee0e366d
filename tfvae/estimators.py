"""How a gradient gets from log-weights to parameters.

An estimator draws the samples, and returns the terms of their log-weights with a
surrogate: a tensor whose gradient is the estimate of the objective's gradient, and
whose value means nothing and is never reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.lookup import lookup
from tfvae.objectives import LogWeightTerms, Objective
from tfvae.types import InputError

tfd = tfp.distributions

LogJoint = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""z [S, B, D] -> (log p(x|z), log p(z)), each [S, B]."""


class Estimate(NamedTuple):
    """What one estimator says of one batch.

    Attributes:
        terms: The log-weights' terms, to report.
        surrogate: [B] Only its gradient has a meaning.
    """

    terms: LogWeightTerms
    surrogate: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A way to estimate the gradient of E_q[objective].

    A new estimator is a frozen dataclass with `estimate`, and an entry in
    `ESTIMATORS`.
    """

    def estimate(
        self,
        objective: Objective,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        log_joint: LogJoint,
        num_samples: int,
        kl_weight: float | tf.Tensor,
        seed: tf.Tensor,
    ) -> Estimate:
        """Draws the samples and returns their terms and a surrogate.

        Args:
            objective: The bound whose gradient is wanted.
            posterior: q(z|x), batch shape [B], event shape [D].
            prior: p(z), for the closed form of the rate.
            log_joint: z [S, B, D] -> (log p(x|z), log p(z)).
            num_samples: S.
            kl_weight: The factor of the rate, 1 for a bound.
            seed: [2] Of the draws.
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this estimator."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Estimator:
        """Rebuilds an estimator from `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Pathwise(Estimator):
    """The gradient through the samples (Kingma and Welling, 2014).

    Unbiased for every objective, for posteriors that can be reparameterised.
    """

    def estimate(
        self,
        objective: Objective,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        log_joint: LogJoint,
        num_samples: int,
        kl_weight: float | tf.Tensor,
        seed: tf.Tensor,
    ) -> Estimate:
        """See `Estimator.estimate`; the surrogate is sum_s stop(a_s) log w_s."""
        terms = sample_terms(
            posterior, prior, log_joint, num_samples, seed, objective.analytic_kl
        )
        log_weights = terms.log_weights(kl_weight)  # [S, B]
        coefficients = tf.stop_gradient(objective.coefficients(log_weights))
        return Estimate(terms, tf.reduce_sum(coefficients * log_weights, axis=0))


def sample_terms(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    log_joint: LogJoint,
    num_samples: int,
    seed: tf.Tensor,
    analytic_kl: bool = False,
) -> LogWeightTerms:
    """Draws z_s ~ q(z|x) and returns the terms of the log-weights.

    Raises:
        InputError: `analytic_kl`, and TFP has no closed form for the two families.
    """
    z = posterior.sample(num_samples, seed=seed)  # [S, B, D]
    log_likelihood, log_prior = log_joint(z)
    rate = analytic_rate(posterior, prior) if analytic_kl else None
    return LogWeightTerms(log_likelihood, log_prior, posterior.log_prob(z), rate)


def analytic_rate(posterior: tfd.Distribution, prior: tfd.Distribution) -> tf.Tensor:
    """Returns KL(q(z|x) || p(z)), [B], in nats.

    Raises:
        InputError: TFP has no closed form for the two families.
    """
    try:
        return tfd.kl_divergence(posterior, prior)
    except NotImplementedError as error:
        raise InputError(
            "analytic_kl is set, and TFP has no closed form for the KL divergence of "
            f"{posterior.name} from {prior.name}; use the sampled rate "
            "(analytic_kl=False)"
        ) from error


ESTIMATORS: Mapping[str, type[Estimator]] = {"pathwise": Pathwise}


def get_estimator(estimator: str | Estimator) -> Estimator:
    """Returns an estimator given itself or its name in `ESTIMATORS`.

    Raises:
        InputError: It is neither.
    """
    if isinstance(estimator, Estimator):
        return estimator
    if not isinstance(estimator, str):
        raise InputError(
            f"estimator {estimator!r} is neither a name nor an Estimator; "
            f"choose one of {', '.join(ESTIMATORS)}"
        )
    return lookup(ESTIMATORS, estimator, "estimator")()
