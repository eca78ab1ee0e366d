"""Multi-sample bounds as functions of log-weights.

With S samples z_s ~ q(z|x), every bound is a function of the log-weights

    log w_s = log p(x|z_s) - kl_weight * rate_s,    rate_s = log q(z_s|x) - log p(z_s)

in nats. `LogWeightTerms.log_weights` is the only place where this is written. An
objective says, for log-weights [S, B], its value [B] and the coefficients
[S, B] = d value / d log w; it knows nothing of models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf
from check_shapes import check_shapes

from tfvae.lookup import lookup
from tfvae.types import InputError


class LogWeightTerms(NamedTuple):
    """What a log-weight is made of, in nats.

    Attributes:
        log_likelihood: [S, B] log p(x|z_s).
        log_prior: [S, B] log p(z_s).
        log_posterior: [S, B] log q(z_s|x).
        analytic_rate: [B] KL(q(z|x) || p(z)), where it takes the place of the
            sampled rate, else None.
    """

    log_likelihood: tf.Tensor
    log_prior: tf.Tensor
    log_posterior: tf.Tensor
    analytic_rate: tf.Tensor | None = None

    @property
    def rate(self) -> tf.Tensor:
        """[S, B] log q(z_s|x) - log p(z_s), whose mean over q is KL(q || p)."""
        if self.analytic_rate is None:
            return self.log_posterior - self.log_prior
        return tf.broadcast_to(self.analytic_rate, tf.shape(self.log_likelihood))

    def sampled_log_weights(self) -> tf.Tensor:
        """[S, B] log p(x, z_s) - log q(z_s|x), the importance weights' logarithms."""
        return self._replace(analytic_rate=None).log_weights()

    def log_weights(self, kl_weight: float | tf.Tensor = 1.0) -> tf.Tensor:
        """[S, B] log-weights; with another `kl_weight` than 1 they are no bound's."""
        return self.log_likelihood - kl_weight * self.rate


@dataclasses.dataclass(frozen=True)
class Objective:
    """A bound on log p(x): a value to report, and how much each sample counts.

    A new objective is a frozen dataclass with `value` and `coefficients`, and an
    entry in `OBJECTIVES`.
    """

    analytic_kl: ClassVar[bool] = False

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the bound [B], in nats, for log-weights [S, B]."""
        raise NotImplementedError

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns d value / d log w, [S, B], for log-weights [S, B]."""
        raise NotImplementedError

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
    """

    analytic_kl: bool = False

    @check_shapes("log_weights: [S, B]", "return: [B]")
    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns mean_s log w_s."""
        return tf.reduce_mean(log_weights, axis=0)

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns 1 / S for every sample."""
        num_samples = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return tf.ones_like(log_weights) / num_samples


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Iwae(Objective):
    """The importance-weighted bound, log mean_s w_s (Burda et al., 2016)."""

    @check_shapes("log_weights: [S, B]", "return: [B]")
    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns log mean_s exp(log w_s)."""
        num_samples = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
        return tf.reduce_logsumexp(log_weights, axis=0) - tf.math.log(num_samples)

    @check_shapes("log_weights: [S, B]", "return: [S, B]")
    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the normalised weights, softmax_s log w_s."""
        return tf.nn.softmax(log_weights, axis=0)


OBJECTIVES: Mapping[str, type[Objective]] = {"elbo": Elbo, "iwae": Iwae}


def get_objective(objective: str | Objective) -> Objective:
    """Returns an objective given itself or its name in `OBJECTIVES`.

    Raises:
        InputError: It is neither.
    """
    if isinstance(objective, Objective):
        return objective
    if not isinstance(objective, str):
        raise InputError(
            f"objective {objective!r} is neither a name nor an Objective; "
            f"choose one of {', '.join(OBJECTIVES)}"
        )
    return lookup(OBJECTIVES, objective, "objective")()
