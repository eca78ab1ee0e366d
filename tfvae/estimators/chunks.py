"""A backward pass for all samples, in bounded memory."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from tfvae.core.validation import require_int
from tfvae.distributions import Distribution
from tfvae.estimators.base import Estimate
from tfvae.estimators.sum_over_samples import Coefficients, surrogate_given
from tfvae.estimators.two_passes import (
    TwoPasses,
    refuse_large_chunk,
    surrogate_of_kept,
    weigh_in_chunks,
)
from tfvae.estimators.variational_batch import Chunk, VariationalBatch
from tfvae.objectives import LogWeightTerms, Objective


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

    def evaluations(self, num_samples: int, layers: int = 1) -> int:
        """Returns those of its estimator and S: all go forward again."""
        return self.estimator.evaluations(num_samples, layers) + num_samples

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        refuse_large_chunk(self.sample_chunk, num_samples)

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""

        @tf.custom_gradient
        def estimated(params: tf.Tensor) -> tuple[tuple, Callable]:
            given = batch.with_posterior_params(params)
            terms, _ = weigh_in_chunks(given, self.sample_chunk, keep_z=False)
            found = self.estimator.coefficients(batch, terms)  # each [S, B]
            value = surrogate_given(batch, terms, found)

            def gradient(upstream: tf.Tensor, *_, variables=()) -> tuple:
                of_params, *others = self._gradient(
                    batch, params, list(variables), found, upstream
                )
                return (of_params, others) if variables else of_params

            return (value, *terms[:3]), gradient

        value, *terms = estimated(batch.posterior_params)
        value += self.estimator.beside(batch)
        return Estimate(LogWeightTerms(*map(tf.stop_gradient, terms)), value)

    def _gradient(
        self,
        batch: VariationalBatch,
        params: tf.Tensor,
        variables: list[tf.Variable],
        found: Coefficients,
        upstream: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Returns the surrogate's gradient, a sum over chunks."""
        size = self.sample_chunk

        def of_chunk(index: int | tf.Tensor, kept: int) -> list[tf.Tensor]:
            # No a[start : end], of which XLA does not see that its size is known.
            some = found.map(lambda c: tf.slice(c, [index * size, 0], [kept, -1]))
            with tf.GradientTape() as tape:
                leaf = tf.identity(params)
                tape.watch(leaf)
                given = batch.with_posterior_params(leaf)
                z = given.draw(Chunk(size, index, kept))
                value = surrogate_of_kept(self.estimator, given, z, some)
                total = tf.reduce_sum(upstream * value)
            slopes = tape.gradient(
                total, [leaf, *variables], unconnected_gradients="zero"
            )
            return [tf.convert_to_tensor(slope) for slope in slopes]

        whole, rest = divmod(batch.num_samples, size)
        sums = [tf.zeros_like(params), *(tf.zeros_like(v) for v in variables)]
        if whole:
            _, sums = tf.while_loop(
                lambda index, _: index < whole,
                lambda index, sums: (
                    index + 1,
                    _added(sums, of_chunk(index, size)),
                ),
                (tf.constant(0), sums),
                parallel_iterations=1,
            )
        return _added(sums, of_chunk(whole, rest)) if rest else sums


def _added(sums: list[tf.Tensor], more: list[tf.Tensor]) -> list[tf.Tensor]:
    return [one + other for one, other in zip(sums, more, strict=True)]
