"""What an estimator is given, what it returns, and what every estimator has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfvae.core.sharding import Rows, global_sum
from tfvae.core.types import InputError
from tfvae.distributions import Distribution, independent_variables, kl_divergence
from tfvae.estimators.draws import Chunk, drawn
from tfvae.objectives import LogWeightTerms, Objective


class Problem(NamedTuple):
    """One batch, as an estimator sees it.

    Attributes:
        objective: The bound whose gradient is wanted.
        posterior: q(z|x), batch shape [B].
        stopped_posterior: Makes the same distribution with its parameters stopped.
        prior: p(z), batch shape [].
        log_likelihood: z [S, B, ...] -> log p(x|z) [S, B].
        num_samples: S.
        kl_weight: The factor of the rate in the loss, 1 for a bound.
        seed: [2] Of the draws.
        posterior_params: [B, ...] What the posterior is made of, where it is known.
        remade: Makes the same problem of other `posterior_params`.
        rows: Of the global batch, which this replica holds; None: it is the only one.
        everyones: Makes the posterior of the global batch, of which only this
            replica's rows have a meaning.
    """

    objective: Objective
    posterior: Distribution
    stopped_posterior: Callable[[], Distribution]
    prior: Distribution
    log_likelihood: Callable[[tf.Tensor], tf.Tensor]
    num_samples: int
    kl_weight: float | tf.Tensor
    seed: tf.Tensor
    posterior_params: tf.Tensor | None = None
    remade: Callable[[tf.Tensor], Problem] | None = None
    rows: Rows | None = None
    everyones: Callable[[], Distribution] | None = None

    def of_params(self, params: tf.Tensor) -> Problem:
        """Returns the same problem of other `posterior_params`."""
        return self.remade(params)._replace(
            objective=self.objective,
            num_samples=self.num_samples,
            kl_weight=self.kl_weight,
            seed=self.seed,
        )

    def draw(self, chunk: Chunk | None = None) -> tf.Tensor:
        """Draws z_s ~ q(z|x), [S, B, ...], or a chunk of these samples."""
        return self._drawn("sample", chunk)

    def draw_with_density(
        self, chunk: Chunk | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws z_s ~ q(z|x) and returns it with log q(z_s|x), [S, B].

        A posterior made from noise takes log q from the noise: finding the noise of a z
        again costs more, and digits where scales are small.
        """
        return self._drawn("experimental_sample_and_log_prob", chunk)

    def _drawn(self, method: str, chunk: Chunk | None):
        if self.rows is None:
            sample = getattr(self.posterior, method)
        else:
            sample = self.rows.of_sampler(getattr(self.everyones(), method))
        return drawn(sample, self.num_samples, self.seed, chunk)

    def weigh(
        self, z: tf.Tensor, log_posterior: tf.Tensor | None = None
    ) -> LogWeightTerms:
        """Returns the terms of the log-weights of samples z [S, B, ...].

        Args:
            z: [S, B, ...].
            log_posterior: [S, B] log q(z_s|x), if it is known.

        Raises:
            InputError: The objective wants a rate that the distributions have not.
        """
        analytic = floored = None
        if self.objective.analytic_kl:
            analytic = analytic_rate(self.posterior, self.prior)
        if self.objective.free_bits:
            floored = _floored_rate(self, z)
        return LogWeightTerms(
            self.log_likelihood(z),
            self.prior.log_prob(z),
            self.posterior.log_prob(z) if log_posterior is None else log_posterior,
            analytic,
            floored,
        )

    def draw_and_weigh(self, chunk: Chunk | None = None) -> LogWeightTerms:
        """Returns the terms of the log-weights of fresh samples, or of a chunk."""
        return self.weigh(*self.draw_with_density(chunk))


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

    A new estimator is a frozen dataclass with `estimate`, `unbiased`, `needs`, `method`
    and `paper`, and an entry in `ESTIMATORS`.

    Attributes:
        needs: "reparameterised" or "discrete": the posteriors that it works for.
        gradient_through_z: Whether the decoder's gradient goes on through z.
        evaluations_per_sample: How often a step runs the decoder for each sample.
        method: How the gradient gets to the encoder, for people.
        paper: Where it comes from.
    """

    needs: ClassVar[str]
    gradient_through_z: ClassVar[bool] = True
    evaluations_per_sample: ClassVar[int] = 1
    method: ClassVar[str]
    paper: ClassVar[str]

    def unbiased(self, objective: Objective) -> bool:
        """Whether the gradient's mean is that of the objective's expectation."""
        raise NotImplementedError

    def estimate(self, problem: Problem) -> Estimate:
        """Draws the samples and returns their terms and a surrogate."""
        raise NotImplementedError

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """Refuses a combination that is not defined.

        Args:
            objective: The bound.
            posterior: q(z|x) for any batch.
            num_samples: S.

        Raises:
            InputError: The combination is not defined, or an option has no effect.
        """

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this estimator."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Estimator:
        """Rebuilds an estimator from `get_config`."""
        return cls(**config)


def surrogate_of(problem: Problem, terms: LogWeightTerms) -> Estimate:
    """Returns the surrogate sum_s stop(a_s) log w_s, whose gradient is the loss's."""
    log_weights = terms.loss_log_weights(problem.kl_weight)  # [S, B]
    coefficients = tf.stop_gradient(problem.objective.coefficients(log_weights))
    return Estimate(terms, tf.reduce_sum(coefficients * log_weights, axis=0))


def estimator_name(estimator: Estimator) -> str:
    """Returns what a user calls it, for messages: StraightThrough, straight_through."""
    return re.sub(r"\B(?=[A-Z])", "_", type(estimator).__name__).lower()


def refuse_rates(estimator: Estimator, objective: Objective) -> None:
    """Refuses rates that are not those of the samples.

    Raises:
        InputError: The objective has `analytic_kl` or `free_bits`.
    """
    for option in ("analytic_kl", "free_bits"):
        if getattr(objective, option):
            raise InputError(
                f"estimator {estimator_name(estimator)!r} works on the sampled rate, "
                f"and the objective has {option} {getattr(objective, option)}; leave "
                f"it out, or use estimator 'pathwise'"
            )


def analytic_rate(posterior: Distribution, prior: Distribution) -> tf.Tensor:
    """Returns KL(q(z|x) || p(z)), [B], in nats.

    Raises:
        InputError: TFP has no closed form for the two families.
    """
    try:
        return kl_divergence(posterior, prior)
    except NotImplementedError as error:
        raise InputError(
            "analytic_kl is set, and TFP has no closed form for the KL divergence of "
            f"{posterior.name} from {prior.name}; use the sampled rate "
            "(analytic_kl=False)"
        ) from error


def _floored_rate(problem: Problem, z: tf.Tensor) -> tf.Tensor:
    """Returns [S, B] the rate in which each variable counts for `free_bits` or more.

    Where the mean rate of a variable over samples and batch is below, it is replaced by
    the constant, and so has no gradient (Kingma et al., 2016).
    """
    q, p = single_variables(problem.posterior), single_variables(problem.prior)
    if problem.objective.analytic_kl:
        rates = analytic_rate(q, p)[tf.newaxis]  # [1, B, D]
    else:
        rates = q.log_prob(z) - p.log_prob(z)  # [S, B, D]
    floor = tf.cast(problem.objective.free_bits, rates.dtype)
    counts = _mean_of_rows(rates, problem.rows) > floor  # [D]
    floored = tf.reduce_sum(tf.where(counts, rates, floor), axis=-1)  # [S or 1, B]
    return tf.broadcast_to(floored, tf.shape(z)[:2])


def _mean_of_rows(values: tf.Tensor, rows: Rows | None) -> tf.Tensor:
    """Returns the mean [D] of values [S, B, D] over samples and the global batch."""
    if rows is None:
        return tf.reduce_mean(values, axis=(0, 1))
    per_row = tf.reduce_mean(values, axis=0)  # [B, D]
    return global_sum(tf.reduce_sum(per_row, axis=0)) / tf.cast(
        rows.total, values.dtype
    )


def single_variables(distribution: Distribution) -> Distribution:
    """Returns the distribution of independent latent variables one by one.

    Raises:
        InputError: They are not independent, or are not single numbers.
    """
    inner = independent_variables(distribution)
    if inner is not None and inner.event_shape.rank == 0:
        return inner
    raise InputError(
        f"free_bits needs independent latent variables, and {distribution.name} has "
        "none; set free_bits 0, or choose another latent family or prior"
    )
