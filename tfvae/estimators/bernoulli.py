"""Estimators for Bernoulli latent variables, by the gradient of their logits.

With the value V of the objective for samples z_s, and p_d = sigmoid(logit_d), the
gradient of E[V] that comes from the draws is

    d / d logit_d = sum_s p_d (1 - p_d) E[V with z_sd = 1 - V with z_sd = 0]

Each estimator has another way to an unbiased estimate of it. To this comes the mean of
the gradient of V with z fixed, for which `discrete` has the surrogate.
"""

import dataclasses
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import draw_for_shard
from tfvae.core.types import InputError
from tfvae.distributions import AnyBernoulli, Distribution, draws
from tfvae.estimators import layers
from tfvae.estimators.base import Estimate, Estimator, estimator_name
from tfvae.estimators.discrete import (
    ScoreFunction,
    constant_log_weights,
    surrogate_without_signals,
)
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.heads.latent_hierarchy import LayerChain
from tfvae.objectives import LogWeightTerms, Objective
from tfvae.objectives.leave_one_out import sum_of_others


class LogitsGradient(NamedTuple):
    """The result of a `BernoulliEstimator` for one batch.

    Attributes:
        terms: The log-weights' terms of its samples.
        gradient: [B, D] The estimate of the part of the logits' gradient that comes
            from the draws.
        moving: [] See `Adapted`.
    """

    terms: LogWeightTerms
    gradient: tf.Tensor
    moving: float | tf.Tensor = 0.0


@dataclasses.dataclass(frozen=True)
class BernoulliEstimator(ScoreFunction):
    """The base of the estimators for one layer, with `logits_gradient` of its own."""

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        bernoulli_of(self, posterior)

    def logits_gradient(
        self, batch: VariationalBatch, logits: tf.Tensor
    ) -> LogitsGradient:
        """Draws the samples; the logits [B, D] are constants."""
        raise NotImplementedError

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        logits = bernoulli_of(self, batch.posterior).logits  # [B, D]
        found = self.logits_gradient(batch, tf.stop_gradient(logits))
        gradient = tf.stop_gradient(found.gradient)
        through_logits = tf.reduce_sum(gradient * logits, axis=-1)
        surrogate = surrogate_without_signals(batch, found.terms)
        return Estimate(found.terms, surrogate + through_logits - found.moving)


class DrawnLayer(NamedTuple):
    """The samples of one layer.

    Attributes:
        logits: [B, D], or given the samples of the layer below, [S, B, D].
        v: [S, B, D] Uniform numbers of (-1, 1), of which the samples are made.
        z: [S, B, D] The samples.
    """

    logits: tf.Tensor
    v: tf.Tensor
    z: tf.Tensor


class Twin(NamedTuple):
    """Samples beside z, and what the difference between the two says.

    With V_s the value when z_s alone is replaced by its twin, the mean of

        sum_s (V - V_s) (z_s - twin_s) weight

    is the gradient of the logits where the weight is not 0.

    Attributes:
        z: [S, B, D] The twins.
        weight: The logits' shape.
    """

    z: tf.Tensor
    weight: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Twinned(ScoreFunction):
    """The base of the estimators whose samples have twins.

    In a hierarchy each layer has twins of its own. The layers below are those of the
    samples, and the layers above are drawn anew, of the same uniform numbers.
    """

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        layers.walk(posterior, lambda k, layer: bernoulli_of(self, layer).mean())

    def twins(
        self, batch: VariationalBatch, drawn: DrawnLayer, number: int
    ) -> list[Twin]:
        """Returns the twins of the samples of layer `number`, which are constants."""
        raise NotImplementedError

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        drawn: list[DrawnLayer] = []

        def draw(k: int, layer: Distribution) -> tf.Tensor:
            logits = bernoulli_of(self, layer).logits
            tail = tf.shape(logits)[-2:]  # [B, D]
            v = _uniform(batch, estimator_name(self), tail, logits.dtype, k)
            z = draws.bernoulli(tf.stop_gradient(logits), v)
            drawn.append(DrawnLayer(logits, v, z))
            return z

        terms = batch.log_weight_terms(layers.walk(batch.posterior, draw))
        surrogate = surrogate_without_signals(batch, terms)
        for k in range(len(drawn)):
            surrogate += self._through_logits(batch, terms, drawn, k)
        return Estimate(terms, surrogate)

    def _through_logits(
        self,
        batch: VariationalBatch,
        terms: LogWeightTerms,
        drawn: list[DrawnLayer],
        k: int,
    ) -> tf.Tensor:
        """Returns [B] what has the gradient that goes through layer k's logits."""
        logits, _, z = layer = drawn[k]
        constant = layer._replace(logits=tf.stop_gradient(logits))
        twins = self.twins(batch, constant, k)
        changed = [_with_twin(batch.posterior, drawn, k, twin.z) for twin in twins]
        found = layers.terms_of_changed(batch, terms, k, tf.concat(changed, axis=0))
        instead = tf.stop_gradient(found.loss_log_weights(batch.kl_weight))
        instead = tf.unstack(tf.reshape(instead, [len(twins), batch.num_samples, -1]))
        log_weights = constant_log_weights(batch, terms)  # [S, B]
        value = batch.objective.value(log_weights)  # [B]
        gradient = tf.zeros_like(logits)
        for twin, other in zip(twins, instead, strict=True):
            replaced = batch.objective.value_with_replaced(log_weights, other)
            difference = (value - replaced)[..., tf.newaxis] * (z - twin.z)
            if logits.shape.rank == 2:
                difference = tf.reduce_sum(difference, axis=0)
            gradient += difference * twin.weight
        through = tf.reduce_sum(tf.stop_gradient(gradient) * logits, axis=-1)
        return through if logits.shape.rank == 2 else tf.reduce_sum(through, axis=0)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Disarm(_Twinned):
    """Antithetic pairs of Bernoulli draws (Dong, Mnih and Tucker, 2020).

    Each sample z_s gets a twin made from 1 - u where z_s is made from u, so S samples
    cost 2 S evaluations. With V_s the value when z_s is replaced by its twin, the
    logits' gradient is

        sum_s (V - V_s) / 2 (z_s - twin_s) sigmoid(|logits|)

    for any objective (their multi-sample form), and for the elbo the mean of
    the single-sample estimator over S pairs.
    """

    evaluations_per_sample = 2
    method = "antithetic pairs: the value's difference between a draw and its twin"
    paper = "Dong, Mnih and Tucker (2020)"

    def twins(
        self, batch: VariationalBatch, drawn: DrawnLayer, number: int
    ) -> list[Twin]:
        """Returns the antithetic one."""
        return [_antithetic(drawn)]


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Bitflip(_Twinned):
    """One variable of each sample is flipped (Kunes et al., 2023, bitflip-1).

    The twin of z_s has another value of one variable d, which is drawn uniformly from
    all D, so S samples cost 2 S evaluations. The gradient of this logit is

        sum_s (V - V_s) (z_sd - twin_sd) D p_d (1 - p_d)

    and 0 for the others. Its noise goes to zero faster than disarm's where logits are
    large, like p_d^2 against p_d, and is larger by a factor of order D elsewhere.
    """

    evaluations_per_sample = 2
    method = "the value's difference when one variable of a draw is flipped"
    paper = "Kunes et al. (2023)"

    def twins(
        self, batch: VariationalBatch, drawn: DrawnLayer, number: int
    ) -> list[Twin]:
        """Returns the one with a flipped variable."""
        anyone = tf.ones_like(drawn.logits, tf.bool)
        return [_flipped(self, batch, drawn, number, anyone)]


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Ugc(_Twinned):
    """`Disarm` for some variables and `Bitflip` for the others (Kunes et al., 2023).

    Their unbiased gradient variance clipping has one of the two for each variable. Here
    a variable whose rarer value has a probability r below 1 / (2 D) is flipped, one of
    these at a time. With differences of the value of one size, bitflip's second moment
    is at most 2 D r times that of disarm, and so is smaller there. S samples cost 3 S
    evaluations.
    """

    evaluations_per_sample = 3
    method = "disarm, and bitflip for variables that are nearly sure"
    paper = "Kunes et al. (2023)"

    def twins(
        self, batch: VariationalBatch, drawn: DrawnLayer, number: int
    ) -> list[Twin]:
        """Returns an antithetic and a flipped one."""
        size = tf.cast(tf.shape(drawn.logits)[-1], drawn.logits.dtype)
        sure = tf.sigmoid(-tf.abs(drawn.logits)) < 0.5 / size
        twin, weight = _antithetic(drawn)
        weight = tf.where(sure, tf.zeros_like(weight), weight)
        return [Twin(twin, weight), _flipped(self, batch, drawn, number, sure)]


@dataclasses.dataclass(frozen=True)
class OfMeans(BernoulliEstimator):
    """The base of the leave-one-out estimators of the gradient of a mean of f_s.

    Here f_s is log w_s: they are for objectives that count every sample as much.
    """

    least_samples = 2

    def unbiased(self, objective: Objective) -> bool:
        """Whether the objective is a mean over samples."""
        return objective.constant_coefficients

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if not objective.constant_coefficients:
            raise InputError(
                f"estimator {estimator_name(self)!r} is for a mean over samples, which "
                f"objective {type(objective).__name__.lower()!r} is not; use 'elbo', "
                "or estimator 'vimco' or 'disarm'"
            )


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Arms(OfMeans):
    """S samples that repel each other (Dimitriev and Zhou, 2021, Dirichlet copula).

    For each variable d_1 .. d_S ~ Dirichlet(1, ..., 1), and z_s has its rarer value,
    of probability r, where (1 - d_s)^(S - 1), which is uniform, is below r. Two samples
    both have it with probability

        r_2 = max(0, 2 r^(1 / (S - 1)) - 1)^(S - 1),

    so that their correlation is rho = (r_2 - r^2) / (r (1 - r)) <= 0. With
    f_s = log w_s the logits' gradient is that of leave-one-out reinforce,

        sum_s (f_s - mean of the other f) / S (z_s - p) / (1 - rho)

    For two samples it is `disarm` with one pair. A mean over samples does not see that
    they are coupled; a bound that is no mean would have another expectation.
    """

    method = "coupled draws: log q's gradient and the others' mean, by 1 - correlation"
    paper = "Dimitriev and Zhou (2021)"

    def logits_gradient(
        self, batch: VariationalBatch, logits: tf.Tensor
    ) -> LogitsGradient:
        """See `BernoulliEstimator.logits_gradient`."""
        shape = [batch.num_samples, *tf.unstack(tf.shape(logits))]
        seed = derive_seed(batch.seed, "arms")
        exponential = draw_for_shard(
            lambda shape: draws.standard_exponential(shape, seed, logits.dtype),
            shape,
            batch.shard,
            axis=1,
        )  # [S, B, D]
        z, factor = coupled_bernoulli(logits, exponential)
        terms = batch.log_weight_terms(z)
        f = constant_log_weights(batch, terms)  # [S, B]
        signals = (f - mean_of_others(f))[..., tf.newaxis]  # [S, B, 1]
        score = z - tf.sigmoid(logits)  # [S, B, D]
        gradient = tf.reduce_mean(signals * score, axis=0) * factor
        return LogitsGradient(terms, gradient)


def mean_of_others(values: tf.Tensor) -> tf.Tensor:
    """Returns [S, ...] the mean of the S - 1 values other than s."""
    return sum_of_others(values) / (values.shape[0] - 1)


def coupled_bernoulli(
    logits: tf.Tensor, exponential: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns coupled draws of Bernoulli(sigmoid(logits)), and 1 / (1 - correlation).

    See `Arms`. Exponential(1) numbers [S, ...] divided by their sum are Dirichlet. The
    probability of the rarer value is exact however small it is, since 1 - d_s is made
    of the other numbers.

    Args:
        logits: [B, D]
        exponential: [S, B, D] Draws from Exponential(1), S 2 or more.

    Returns:
        The draws [S, B, D], and the factor [B, D], 1 - r to 1.
    """
    power = exponential.shape[0] - 1
    others = sum_of_others(exponential)
    # log r = -softplus(|logits|), and (1 - d)^power < r is 1 - d < r^(1 / power).
    distance = tf.nn.softplus(tf.abs(logits)) / power  # [B, D]
    rare = others < tf.exp(-distance) * (others + exponential)
    likely_one = logits > 0
    z = tf.cast(rare ^ likely_one, logits.dtype)
    # r_2 / r = (2 - r^(-1 / power))^power, which is 0 where r is 2^-power or less.
    together = tf.pow(tf.maximum(1.0 - tf.math.expm1(distance), 0.0), power)
    return z, tf.sigmoid(tf.abs(logits)) / (1.0 - together)


def bernoulli_of(estimator: Estimator, posterior: Distribution) -> AnyBernoulli:
    """Returns the Bernoulli distribution [B, D] of a posterior.

    Raises:
        InputError: if it is of another kind.
    """
    inner = getattr(posterior, "distribution", posterior)
    if not isinstance(inner, AnyBernoulli):
        chain = isinstance(posterior, LayerChain)
        raise InputError(
            f"estimator {estimator_name(estimator)!r} is for Bernoulli posteriors"
            f"{' of one layer' if chain else ''}, and this one is {posterior.name}; "
            f"use {'disarm' if chain else 'reinforce'!r} or 'vimco'"
        )
    return inner


def _with_twin(
    posterior: Distribution, drawn: list[DrawnLayer], k: int, twin: tf.Tensor
) -> tf.Tensor:
    """Returns the samples with layer k's twins, and the layers above drawn of them."""

    def pick(number: int, layer: Distribution) -> tf.Tensor:
        if number > k:
            return draws.bernoulli(layers.logits_of(layer), drawn[number].v)
        return twin if number == k else drawn[number].z

    return layers.walk(posterior, pick)


def _antithetic(drawn: DrawnLayer) -> Twin:
    """Returns the twins made of -v; see `Disarm`."""
    twin = draws.bernoulli(drawn.logits, -drawn.v)
    return Twin(twin, 0.5 * tf.sigmoid(tf.abs(drawn.logits)))


def _flipped(
    estimator: Estimator,
    batch: VariationalBatch,
    drawn: DrawnLayer,
    layer: int,
    among: tf.Tensor,
) -> Twin:
    """Returns twins with one variable `among`, of the logits' shape, flipped.

    Where there is none they are the samples.
    """
    logits, _, z = drawn
    purpose, tail = f"{estimator_name(estimator)} variable", tf.shape(logits)[-2:-1]
    # In float64, so that the variables are equally likely to 2^-53.
    u = 0.5 * (1.0 + _uniform(batch, purpose, tail, tf.float64, layer))
    among = tf.cast(among, logits.dtype)
    number = tf.reduce_sum(among, axis=-1)  # [B] or [S, B]
    wide = tf.cast(number, tf.float64)
    rank = tf.cast(tf.minimum(tf.floor(u * wide), wide - 1.0), logits.dtype)  # [S, B]
    before = tf.cumsum(among, axis=-1, exclusive=True)
    here = among * tf.cast(before == rank[..., tf.newaxis], logits.dtype)  # [S, B, D]
    variance = tf.sigmoid(logits) * tf.sigmoid(-logits)
    return Twin(tf.abs(z - here), number[..., tf.newaxis] * variance)


def _uniform(
    batch: VariationalBatch,
    purpose: str,
    tail: tf.Tensor,
    dtype: tf.DType,
    layer: int = 0,
) -> tf.Tensor:
    """Returns uniform numbers of (-1, 1) for a layer, [S, *tail], tail [B, ...]."""
    seed = derive_seed(layers.layer_seed(batch.seed, layer), purpose)
    return draw_for_shard(
        lambda shape: draws.signed_uniform(shape, seed, dtype),
        [batch.num_samples, *tf.unstack(tail)],
        batch.shard,
        axis=1,
    )
