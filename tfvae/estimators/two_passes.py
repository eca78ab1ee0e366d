"""Estimators with a forward pass for all samples, and a backward pass for a part.

The gradient needs of the samples no more than the coefficients, which are functions of
the log-weights. So a first pass finds these, without keeping what a backward pass would
need, and a second one goes through the networks again: with a few survivors of the
samples, or with chunk after chunk of all.
"""

import dataclasses

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import Distribution
from tfvae.estimators.base import Estimator, estimator_name
from tfvae.estimators.sum_over_samples import (
    Coefficients,
    LateScale,
    SumOverSamples,
    surrogate_given,
)
from tfvae.estimators.variational_batch import Chunk, VariationalBatch
from tfvae.heads.base import with_parts
from tfvae.objectives import LogWeightTerms, Objective


@dataclasses.dataclass(frozen=True)
class TwoPasses(Estimator):
    """The base of both: it has the estimator that they speed up.

    Attributes:
        estimator: One of the `SumOverSamples`.
    """

    estimator: SumOverSamples
    needs = "any"  # what the inner one needs
    sampled_rate = True
    paper = ""

    def __post_init__(self) -> None:
        """Checks the estimator."""
        if not isinstance(self.estimator, SumOverSamples):
            raise InputError(
                f"estimator {estimator_name(self.estimator)!r} has no second pass; "
                "leave backward_samples and sample_chunk out, or use 'pathwise' or "
                "'dreg', or for discrete latent variables 'reinforce' or 'vimco'"
            )

    def unbiased(self, objective: Objective) -> bool:
        """Returns whether the estimator is unbiased."""
        return self.estimator.unbiased(objective)

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        self.estimator.check(objective, posterior, num_samples)
        super().check(objective, posterior, num_samples)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this estimator."""
        serialized = keras.saving.serialize_keras_object(self.estimator)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**fields, "estimator": serialized}

    @classmethod
    def from_config(cls, config: dict) -> Estimator:
        """Rebuilds an estimator from `get_config`."""
        return cls(**with_parts(config, ("estimator",)))


def refuse_large_chunk(sample_chunk: int, num_samples: int) -> None:
    """Refuses a chunk of more samples than there are.

    Raises:
        InputError: if it is.
    """
    if sample_chunk > num_samples:
        raise InputError(
            f"sample_chunk {sample_chunk} is more than num_samples {num_samples}; give "
            "a smaller one, or leave it out"
        )


def surrogate_of_kept(
    inner: SumOverSamples,
    batch: VariationalBatch,
    z: tf.Tensor,
    given: Coefficients,
) -> tf.Tensor:
    """Returns the surrogate [B] of samples z [n, B, ...] with coefficients [n, B]."""
    if not inner.gradient_through_z:
        z = tf.stop_gradient(z)
    log_posterior = inner.density(batch).log_prob(z)
    if given.through_z is not None:
        z = LateScale(given.through_z).on_the_way_back(z)
    terms = LogWeightTerms(
        batch.log_likelihood(z), batch.prior.log_prob(z), log_posterior
    )
    return surrogate_given(batch, terms, given)


def weigh_in_chunks(
    batch: VariationalBatch, size: int, keep_z: bool = True
) -> tuple[LogWeightTerms, tf.Tensor | None]:
    """Returns the terms [S, B], and z [S, B, ...] if it is to be kept, as constants."""
    whole, rest = divmod(batch.num_samples, size)

    def of_chunk(index: int | tf.Tensor, kept: int) -> tuple:
        z, log_posterior = batch.draw_with_density(Chunk(size, index, kept))
        terms = batch.log_weight_terms(z, log_posterior)[:3]
        parts = (*terms, z) if keep_z else terms
        return tuple(map(tf.stop_gradient, parts))

    parts = []
    if whole:
        # No tf.map_fn, whose numbers of chunks would come back from a GPU.
        dtype, count = batch.posterior.dtype, 4 if keep_z else 3
        _, arrays = tf.while_loop(
            lambda index, _: index < whole,
            lambda index, arrays: (
                index + 1,
                [
                    array.write(index, values)
                    for array, values in zip(arrays, of_chunk(index, size), strict=True)
                ],
            ),
            (tf.constant(0), [tf.TensorArray(dtype, whole) for _ in range(count)]),
            parallel_iterations=1,
        )
        stacked = [array.stack() for array in arrays]  # [whole, size, B, ...]
        parts.append(
            [tf.reshape(v, tf.concat([[-1], tf.shape(v)[2:]], axis=0)) for v in stacked]
        )
    if rest:
        parts.append(list(of_chunk(whole, rest)))
    joined = [tf.concat(each, axis=0) for each in zip(*parts, strict=True)]
    return LogWeightTerms(*joined[:3]), joined[3] if keep_z else None
