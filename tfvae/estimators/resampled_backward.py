"""A backward pass for the few samples that count."""

import dataclasses

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import draw_for_shard
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.distributions import Distribution
from tfvae.estimators.base import Estimate
from tfvae.estimators.two_passes import (
    TwoPasses,
    refuse_large_chunk,
    surrogate_of_kept,
    weigh_in_chunks,
)
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import Objective

# Added to every weight before they are compared: a sample whose weight is 0 in float32
# can be kept as well, and then counts for nothing.
_LEAST = 1e-12


# The name under which version 0.1.0 saved it.
@keras.saving.register_keras_serializable(package="tfvae", name="Survivors")
@dataclasses.dataclass(frozen=True)
class ResampledBackward(TwoPasses):
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

    def evaluations(self, num_samples: int, layers: int = 1) -> int:
        """Returns those of its estimator and m: what is kept goes forward again."""
        return self.estimator.evaluations(num_samples, layers) + self.backward_samples

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if self.backward_samples > num_samples:
            raise InputError(
                f"backward_samples {self.backward_samples} is more than num_samples "
                f"{num_samples}; give fewer, or leave it out"
            )
        if objective.constant_coefficients:
            name = type(objective).__name__.lower()
            raise InputError(
                f"backward_samples has no use with objective {name!r}, for which every "
                f"sample counts as much; set num_samples {self.backward_samples} "
                "instead, and leave backward_samples out"
            )
        if self.sample_chunk is not None:
            refuse_large_chunk(self.sample_chunk, num_samples)
            if self.estimator.gradient_through_z:
                _location_and_scale(posterior)

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        return self.estimate_seeded(batch, derive_seed(batch.seed, "survivors"))

    def estimate_seeded(self, batch: VariationalBatch, seed: tf.Tensor) -> Estimate:
        """Returns the estimate for a seed of the resampling alone, [2]."""
        inner = self.estimator
        if self.sample_chunk is None:
            z, log_posterior = batch.draw_with_density()  # [S, B, ...], [S, B]
            terms = batch.log_weight_terms(
                tf.stop_gradient(z), tf.stop_gradient(log_posterior)
            )
        else:
            terms, z = weigh_in_chunks(batch, self.sample_chunk)
        found = inner.coefficients(batch, terms)  # each [S, B]
        weights = inner.importance(batch, terms, found)
        offset = draw_for_shard(
            lambda shape: tf.random.stateless_uniform(shape, seed, dtype=tf.float64),
            [tf.shape(weights)[1]],
            batch.shard,
        )  # [B]
        numbers, inverse = optimal_resampling(
            weights, self.backward_samples, offset
        )  # [m, B]
        kept = _kept(z, numbers)
        if self.sample_chunk is not None and inner.gradient_through_z:
            kept = _noise_again(batch.posterior, kept)
        few = found.map(lambda c: _kept(c, numbers))
        few = few._replace(joint=few.joint * inverse, score=few.score * inverse)
        surrogate = surrogate_of_kept(inner, batch, kept, few) + inner.beside(batch)
        return Estimate(terms, surrogate)


def _kept(values: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Returns values[numbers[i, b], b] [m, B, ...] of values [S, B, ...]."""
    images = tf.broadcast_to(
        tf.range(tf.shape(numbers, tf.int64)[1]), tf.shape(numbers)
    )
    return tf.gather_nd(values, tf.stack([numbers, images], axis=-1))


def _noise_again(posterior: Distribution, z: tf.Tensor) -> tf.Tensor:
    """Returns z as a function of the posterior's parameters, for the noise it is of."""
    loc, scale = _location_and_scale(posterior)
    return loc + scale * tf.stop_gradient((z - loc) / scale)


def _location_and_scale(posterior: Distribution) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns them, if these are all that the posterior's variables have.

    Raises:
        InputError: if there are others.
    """
    single = getattr(posterior, "distribution", None)
    if single is not None and hasattr(single, "loc") and hasattr(single, "scale"):
        return single.loc, single.scale
    raise InputError(
        "backward_samples with sample_chunk needs a posterior of independent numbers "
        f"with a location and a scale, and {posterior.name} is none; leave "
        "sample_chunk out, or choose another latent family"
    )


def optimal_resampling(
    weights: tf.Tensor, kept: int, offset: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keeps `kept` different samples of each image, so that sums stay unbiased.

    Sample s is kept with the probability min(1, c w_s), where c makes the sum of the
    probabilities `kept`; those that are not sure are drawn by systematic resampling.
    Of all unbiased ways to keep so many, this has the least expected squared error of
    the weights (Fearnhead and Clifford, 2003, section 5.2).

    Args:
        weights: [S, B] Of 0 or more.
        kept: The number of samples to keep, up to S.
        offset: [B] Draws from U(0, 1), float64.

    Returns:
        The kept samples' numbers [kept, B], int32, and 1 / probability [kept, B].
    """
    p = tf.cast(tf.transpose(weights), tf.float64) + _LEAST  # [B, S]
    p, order = tf.math.top_k(p, k=p.shape[-1] or tf.shape(p)[-1])  # from the largest
    tail = tf.cumsum(p, axis=-1, reverse=True)  # [B, S], tail_i = sum from i on
    # With the i largest sure, the others have (kept - i) w / tail_i: the first i for
    # which that is at most 1.
    order = tf.cast(order, tf.int64)
    size = tf.shape(p, tf.int64)[-1]
    left = tf.range(kept, 0, -1, dtype=p.dtype)  # [kept]
    too_large = left * p[:, :kept] > tail[:, :kept]  # [B, kept]
    sure = tf.reduce_sum(tf.cast(too_large, tf.int64), axis=-1, keepdims=True)  # [B, 1]
    rest = tf.gather(tail, sure, batch_dims=1)  # [B, 1]
    among = tf.cast(kept - sure, p.dtype) / rest  # c
    place = tf.range(size)[tf.newaxis]  # [1, S]
    # Sample i takes a piece of [0, kept] as long as its probability, which ends here.
    after = tf.concat([tail[:, 1:], tf.zeros_like(tail[:, :1])], axis=-1)
    ends = tf.where(
        place < sure,
        tf.cast(place + 1, p.dtype),
        tf.cast(sure, p.dtype) + among * (rest - after),
    )
    points = tf.range(kept, dtype=p.dtype) + offset[:, tf.newaxis]  # [B, kept]
    chosen = tf.searchsorted(ends, points, side="right", out_type=tf.int64)
    chosen = tf.minimum(chosen, size - 1)  # [B, kept]
    probability = tf.where(
        chosen < sure,
        tf.ones([], p.dtype),
        tf.minimum(among * tf.gather(p, chosen, batch_dims=1), 1.0),
    )
    numbers = tf.gather(order, chosen, batch_dims=1)
    inverse = tf.cast(1.0 / probability, weights.dtype)
    return tf.transpose(numbers), tf.transpose(inverse)
