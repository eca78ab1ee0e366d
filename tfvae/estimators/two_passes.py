"""Estimators with a forward pass for all samples, and a backward pass for a part.

The gradient needs of the samples no more than the coefficients, which are functions of
the log-weights. So a first pass finds these, without keeping what a backward pass would
need, and a second one goes through the networks again: with a few survivors of the
samples, or with chunk after chunk of all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.estimators.base import (
    Chunk,
    Estimate,
    Estimator,
    Problem,
    estimator_name,
    refuse_rates,
)
from tfvae.estimators.reparameterised import (
    Reparameterised,
    scaled_on_the_way_back,
    surrogate_given,
)
from tfvae.estimators.resampling import optimal_resampling
from tfvae.objectives import Elbo, LogWeightTerms, Objective
from tfvae.require import require_int
from tfvae.seeds import derive_seed
from tfvae.types import InputError

tfd = tfp.distributions


@dataclasses.dataclass(frozen=True)
class TwoPasses(Estimator):
    """What both have in common: the estimator that they speed up.

    Attributes:
        estimator: `Pathwise`, `Stl` or `Dreg`.
    """

    estimator: Reparameterised
    needs = "reparameterised"
    paper = ""

    def __post_init__(self) -> None:
        """Checks the estimator."""
        if not isinstance(self.estimator, Reparameterised):
            raise InputError(
                f"estimator {estimator_name(self.estimator)!r} has no second pass; "
                "leave backward_samples and sample_chunk out, or use 'pathwise', 'stl' "
                "or 'dreg'"
            )

    def unbiased(self, objective: Objective) -> bool:
        """As the estimator is."""
        return self.estimator.unbiased(objective)

    def check(
        self, objective: Objective, posterior: tfd.Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        self.estimator.check(objective, posterior, num_samples)
        refuse_rates(self, objective)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this estimator."""
        serialized = keras.saving.serialize_keras_object(self.estimator)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**fields, "estimator": serialized}

    @classmethod
    def from_config(cls, config: dict) -> Estimator:
        """Rebuilds an estimator from `get_config`."""
        inner = keras.saving.deserialize_keras_object(config["estimator"])
        return cls(**{**config, "estimator": inner})


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Survivors(TwoPasses):
    """A backward pass for the few samples of each image that count.

    After the forward pass of all samples, `backward_samples` of each image are kept by
    `optimal_resampling` of their coefficients, and alone go through the decoder again
    and back. Over the resampling, the mean of the gradient is that of all samples.

    Attributes:
        backward_samples: m, of 1 or more.
        sample_chunk: Samples at a time in the forward pass; None: all.
    """

    backward_samples: int
    sample_chunk: int | None = None
    method = "as its estimator, on a few samples kept by optimal resampling"
    paper = "Fearnhead and Clifford (2003)"

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        require_int("backward_samples", self.backward_samples)
        if self.sample_chunk is not None:
            require_int("sample_chunk", self.sample_chunk)

    def check(
        self, objective: Objective, posterior: tfd.Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if self.backward_samples > num_samples:
            raise InputError(
                f"backward_samples {self.backward_samples} is more than num_samples "
                f"{num_samples}; give fewer, or leave it out"
            )
        if isinstance(objective, Elbo):
            raise InputError(
                "backward_samples has no use with objective 'elbo', for which every "
                f"sample counts as much; set num_samples {self.backward_samples} "
                "instead, and leave backward_samples out"
            )
        if self.sample_chunk is not None:
            _location_and_scale(posterior)

    def estimate(self, problem: Problem) -> Estimate:
        """See `Estimator.estimate`."""
        inner, objective = self.estimator, problem.objective
        if self.sample_chunk is None:
            z, log_posterior = problem.draw_with_density()  # [S, B, ...], [S, B]
            terms = problem.weigh(tf.stop_gradient(z), tf.stop_gradient(log_posterior))
        else:
            terms, z = _weigh_in_chunks(problem, self.sample_chunk)
        a, b = inner.coefficients(problem, terms)  # [S, B]
        log_weights = tf.stop_gradient(terms.loss_log_weights(problem.kl_weight))
        encoders = objective.encoder_objective.coefficients(log_weights)
        numbers, inverse = optimal_resampling(
            0.5 * (objective.coefficients(log_weights) + encoders),
            self.backward_samples,
            derive_seed(problem.seed, "survivors"),
        )  # [m, B]
        kept, a, b = (_kept(values, numbers) for values in (z, a, b))
        if self.sample_chunk is not None:
            kept = _noise_again(problem.posterior, kept)
        surrogate = _surrogate(inner, problem, kept, a * inverse, b * inverse)
        return Estimate(terms, surrogate)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Chunked(TwoPasses):
    """All samples, a chunk at a time: memory does not grow with their number.

    The gradient is that of all samples at once, to rounding, for a third more time.

    Attributes:
        sample_chunk: Samples at a time.
    """

    sample_chunk: int
    method = "as its estimator, chunk by chunk"

    def __post_init__(self) -> None:
        """Checks the number."""
        super().__post_init__()
        require_int("sample_chunk", self.sample_chunk)

    def estimate(self, problem: Problem) -> Estimate:
        """See `Estimator.estimate`."""

        @tf.custom_gradient
        def estimated(params: tf.Tensor) -> tuple[tuple, Callable]:
            given = problem.of_params(params)
            terms, _ = _weigh_in_chunks(given, self.sample_chunk, keep_z=False)
            a, b = self.estimator.coefficients(problem, terms)  # [S, B]
            value = surrogate_given(problem, terms, a, b)

            def gradient(upstream: tf.Tensor, *_, variables=()) -> tuple:
                of_params, *others = self._gradient(
                    problem, params, list(variables), a, b, upstream
                )
                return (of_params, others) if variables else of_params

            return (value, *terms[:3]), gradient

        value, *terms = estimated(problem.posterior_params)
        return Estimate(LogWeightTerms(*map(tf.stop_gradient, terms)), value)

    def _gradient(
        self,
        problem: Problem,
        params: tf.Tensor,
        variables: list[tf.Variable],
        a: tf.Tensor,
        b: tf.Tensor,
        upstream: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Returns the surrogate's gradient, a sum over chunks."""

        def of_chunk(chunk: Chunk) -> list[tf.Tensor]:
            start = chunk.index * chunk.size
            # No a[start : end], of which XLA does not see that its size is known.
            some_a, some_b = (tf.slice(x, [start, 0], [chunk.kept, -1]) for x in (a, b))
            with tf.GradientTape() as tape:
                leaf = tf.identity(params)
                tape.watch(leaf)
                given = problem.of_params(leaf)
                z = given.draw(chunk)
                value = _surrogate(self.estimator, given, z, some_a, some_b)
                total = tf.reduce_sum(upstream * value)
            slopes = tape.gradient(
                total, [leaf, *variables], unconnected_gradients="zero"
            )
            return [tf.convert_to_tensor(slope) for slope in slopes]

        whole, rest = divmod(problem.num_samples, self.sample_chunk)
        sums = [tf.zeros_like(params), *(tf.zeros_like(v) for v in variables)]
        if whole:
            _, sums = tf.while_loop(
                lambda index, _: index < whole,
                lambda index, sums: (
                    index + 1,
                    _added(sums, of_chunk(self._chunk(index, self.sample_chunk))),
                ),
                (tf.constant(0), sums),
                parallel_iterations=1,
            )
        return _added(sums, of_chunk(self._chunk(whole, rest))) if rest else sums

    def _chunk(self, index: int | tf.Tensor, kept: int) -> Chunk:
        return Chunk(self.sample_chunk, index, kept)


def in_two_passes(
    estimator: Estimator, backward_samples: int | None, sample_chunk: int | None
) -> Estimator:
    """Returns the estimator, or the one that speeds it up as these numbers say.

    Raises:
        InputError: It cannot.
    """
    if backward_samples is not None:
        return Survivors(estimator, backward_samples, sample_chunk)
    return estimator if sample_chunk is None else Chunked(estimator, sample_chunk)


def _surrogate(
    inner: Reparameterised, problem: Problem, z: tf.Tensor, a: tf.Tensor, b: tf.Tensor
) -> tf.Tensor:
    """Returns the surrogate [B] of samples z [n, B, ...] with these coefficients."""
    log_posterior = inner.density(problem).log_prob(z)
    if inner.differ(problem.objective):
        z = scaled_on_the_way_back(z, b / a)
    terms = LogWeightTerms(
        problem.log_likelihood(z), problem.prior.log_prob(z), log_posterior
    )
    return surrogate_given(problem, terms, a, b)


def _weigh_in_chunks(
    problem: Problem, size: int, keep_z: bool = True
) -> tuple[LogWeightTerms, tf.Tensor | None]:
    """Returns the terms [S, B], and z [S, B, ...] if it is to be kept, as constants."""
    whole, rest = divmod(problem.num_samples, size)

    def of_chunk(index: int | tf.Tensor, kept: int) -> tuple:
        z, log_posterior = problem.draw_with_density(Chunk(size, index, kept))
        terms = problem.weigh(z, log_posterior)[:3]
        parts = (*terms, z) if keep_z else terms
        return tuple(map(tf.stop_gradient, parts))

    parts = []
    if whole:
        dtype = problem.posterior.dtype
        stacked = tf.map_fn(
            lambda index: of_chunk(index, size),
            tf.range(whole),
            fn_output_signature=(dtype,) * (4 if keep_z else 3),
            parallel_iterations=1,
        )  # [whole, size, B, ...]
        parts.append([_unstacked(values) for values in stacked])
    if rest:
        parts.append(of_chunk(whole, rest))
    joined = [tf.concat(each, axis=0) for each in zip(*parts, strict=True)]
    return LogWeightTerms(*joined[:3]), joined[3] if keep_z else None


def _unstacked(values: tf.Tensor) -> tf.Tensor:
    """[a, b, ...] -> [a b, ...]."""
    return tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], axis=0))


def _kept(values: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Returns values[numbers[i, b], b] [m, B, ...] of values [S, B, ...]."""
    images = tf.broadcast_to(tf.range(tf.shape(numbers)[1]), tf.shape(numbers))
    return tf.gather_nd(values, tf.stack([numbers, images], axis=-1))


def _noise_again(posterior: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """Returns z as a function of the posterior's parameters, for the noise it is of."""
    loc, scale = _location_and_scale(posterior)
    return loc + scale * tf.stop_gradient((z - loc) / scale)


def _location_and_scale(posterior: tfd.Distribution) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns them, if these are all that the posterior's variables have.

    Raises:
        InputError: They are not.
    """
    single = getattr(posterior, "distribution", None)
    if isinstance(single, (tfd.Normal, tfd.Logistic)):
        return single.loc, single.scale
    raise InputError(
        "backward_samples with sample_chunk needs a posterior that is a location and a "
        f"scale, and {posterior.name} is not; leave sample_chunk out, or use latent "
        "'normal', 'logistic' or 'bin_concrete'"
    )


def _added(sums: list[tf.Tensor], more: list[tf.Tensor]) -> list[tf.Tensor]:
    return [one + other for one, other in zip(sums, more, strict=True)]
