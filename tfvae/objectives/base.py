"""What objectives are functions of, and what every objective has."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import tensorflow as tf
from check_shapes import check_shapes


class LogWeightTerms(NamedTuple):
    """What a log-weight is made of, in nats.

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
        """[S, B] What the loss has for log w_s; no bound's if `kl_weight` is not 1."""
        rate = self.rate if self.floored_rate is None else self.floored_rate
        return self.log_likelihood - kl_weight * rate


@dataclasses.dataclass(frozen=True)
class Objective:
    """A bound on log p(x): a value to report, and how much each sample counts.

    A new objective is a frozen dataclass with `value`, `coefficients`, `diagonal`,
    `formula` and `paper`, and an entry in `OBJECTIVES`.

    Attributes:
        formula: The value, for people.
        paper: Where it comes from.
        analytic_kl: Whether the rate is taken in closed form.
        free_bits: Nats below which the rate of a latent variable costs nothing more.
    """

    formula: ClassVar[str]
    paper: ClassVar[str]
    analytic_kl: ClassVar[bool] = False
    free_bits: ClassVar[float] = 0.0

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
        """Refuses a number of samples for which the objective is not defined.

        Raises:
            InputError: It is.
        """

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the bound [B], in nats, for log-weights [S, B]."""
        raise NotImplementedError

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns a_s = d value / d log w_s, [S, B], for log-weights [S, B]."""
        raise NotImplementedError

    def diagonal(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns d a_s / d log w_s, [S, B], for log-weights [S, B]."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this objective."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Objective:
        """Rebuilds an objective from `get_config`."""
        return cls(**config)


@check_shapes("log_weights: [S, B]", "return: [B]")
def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns (sum_s w_s)^2 / sum_s w_s^2 of each example, between 1 and S.

    Kong (1992); computed from weights relative to the largest, so that log-weights of
    any size are safe.
    """
    largest = tf.reduce_max(log_weights, axis=0)  # [B]
    weights = tf.exp(log_weights - largest)  # [S, B]
    squares = tf.reduce_sum(tf.square(weights), axis=0)
    return tf.square(tf.reduce_sum(weights, axis=0)) / squares
