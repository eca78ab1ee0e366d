"""One batch with its distributions, as an estimator sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import keras
import tensorflow as tf

from tfvae.core.sharding import BatchShard, mean_over_batch
from tfvae.core.types import InputError
from tfvae.distributions import (
    Distribution,
    draws,
    independent_variables,
    kl_divergence,
)
from tfvae.objectives import LogWeightTerms, Objective

Drawn = TypeVar("Drawn")

_LEAST_BLOCK = 64
_MOST_BLOCKS = 256


class Chunk(NamedTuple):
    """Samples index * size to index * size + kept of those that are drawn.

    Attributes:
        size: Samples in a chunk.
        index: The chunk's number.
        kept: The number of its samples: fewer in the last chunk.
    """

    size: int
    index: int | tf.Tensor  # type: ignore[assignment]  # tuple.index is not used
    kept: int


@dataclasses.dataclass(frozen=True)
class VariationalBatch:
    """The distributions of one batch of B examples, and what is wanted of them.

    Attributes:
        objective: The bound whose gradient is wanted.
        num_samples: S.
        kl_weight: The factor of the rate in the loss, 1 for a bound.
        seed: [2] The seed of the draws.
        posterior_params: [B, ...] The encoder's output, from which q(z|x) is made.
        make_posterior: posterior_params -> q(z|x), batch shape [B].
        make_stopped_posterior: The same, through which no gradient goes to parameters
            or weights.
        make_prior: () -> p(z), batch shape [].
        log_likelihood: z [S, B, ...] -> log p(x|z) [S, B].
        shard: The rows of the global batch that this replica holds; None: all.
        dream_log_posterior: () -> log q(z'|x') [B] of one draw for each example of the
            model's own z' ~ p(z) and x' ~ p(x|z'), which have no gradient.
        learned: What the estimator learns of its own; None: nothing.
        first_layer_alone: Whether log p(x|z) is known to depend on a hierarchy's first
            layer alone.
        posterior: q(z|x).
        prior: p(z).
    """

    objective: Objective
    num_samples: int
    kl_weight: float | tf.Tensor
    seed: tf.Tensor
    posterior_params: tf.Tensor
    make_posterior: Callable[[tf.Tensor], Distribution]
    make_stopped_posterior: Callable[[tf.Tensor], Distribution]
    make_prior: Callable[[], Distribution]
    log_likelihood: Callable[[tf.Tensor], tf.Tensor]
    shard: BatchShard | None = None
    dream_log_posterior: Callable[[], tf.Tensor] | None = None
    learned: keras.layers.Layer | None = None
    first_layer_alone: bool = False
    posterior: Distribution = dataclasses.field(init=False)
    prior: Distribution = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Makes the distributions."""
        posterior = self.make_posterior(self.posterior_params)
        object.__setattr__(self, "posterior", posterior)
        object.__setattr__(self, "prior", self.make_prior())

    def with_posterior_params(
        self, params: tf.Tensor, head: Any = None
    ) -> VariationalBatch:
        """Returns the same batch with the posterior that other parameters make.

        The prior is made anew too, so that what is computed of the result within a
        gradient of its own depends on the prior's weights.

        Args:
            params: [B, ...] The parameters.
            head: What makes q(z) of them, by a call, and by `stopped` as
                `make_stopped_posterior` does; None: the same as before.
        """
        if head is None:
            return dataclasses.replace(self, posterior_params=params)
        return dataclasses.replace(
            self,
            posterior_params=params,
            make_posterior=head,
            make_stopped_posterior=head.stopped,
        )

    def stopped_posterior(self) -> Distribution:
        """Returns q(z|x) through whose parameters and weights no gradient goes."""
        return self.make_stopped_posterior(self.posterior_params)

    def draw(self, chunk: Chunk | None = None) -> tf.Tensor:
        """Draws z_s ~ q(z|x), [S, B, ...], or a chunk of these samples."""
        sample = self._sampler("sample")
        return sample_in_blocks(sample, self.num_samples, self.seed, chunk)

    def draw_with_density(
        self, chunk: Chunk | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws z_s ~ q(z|x) and returns it with log q(z_s|x), [S, B].

        A posterior made from noise takes log q from the noise: finding the noise of a z
        again costs more, and digits where scales are small.
        """
        sample = self._sampler("experimental_sample_and_log_prob")
        return sample_in_blocks(sample, self.num_samples, self.seed, chunk)

    def log_weight_terms(
        self, z: tf.Tensor, log_posterior: tf.Tensor | None = None
    ) -> LogWeightTerms:
        """Returns the terms of the log-weights of samples z [S, B, ...].

        `log_posterior` is log q(z_s|x) [S, B], if it is known.

        Raises:
            InputError: if the objective wants a rate that the distributions have not.
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

    def draw_log_weight_terms(self, chunk: Chunk | None = None) -> LogWeightTerms:
        """Returns the terms of the log-weights of fresh samples, or of a chunk."""
        return self.log_weight_terms(*self.draw_with_density(chunk))

    def surrogate(self, terms: LogWeightTerms) -> tf.Tensor:
        """Returns sum_s stop(a_s) log w_s, [B], whose gradient is the objective's."""
        log_weights = terms.loss_log_weights(self.kl_weight)  # [S, B]
        coefficients = tf.stop_gradient(self.objective.coefficients(log_weights))
        return tf.reduce_sum(coefficients * log_weights, axis=0)

    def _sampler(self, method: str) -> Callable:
        """Returns a method of q(z|x) that samples, for this replica's rows of all."""
        shard = self.shard
        if shard is None:
            return getattr(self.posterior, method)
        global_posterior = self.make_posterior(shard.padded(self.posterior_params))
        sample = getattr(global_posterior, method)

        def sample_own(*args, **kwargs):
            samples = sample(*args, **kwargs)  # [S, total, ...]
            return tf.nest.map_structure(lambda x: shard.own(x, axis=1), samples)

        return sample_own


def analytic_rate(posterior: Distribution, prior: Distribution) -> tf.Tensor:
    """Returns KL(q(z|x) || p(z)), [B], in nats.

    Raises:
        InputError: if TFP has no closed form for the two families.
    """
    try:
        return kl_divergence(posterior, prior)
    except NotImplementedError as error:
        raise InputError(
            "analytic_kl is set, and TFP has no closed form for the KL divergence of "
            f"{posterior.name} from {prior.name}; use the sampled rate "
            "(analytic_kl=False)"
        ) from error


def _floored_rate(batch: VariationalBatch, z: tf.Tensor) -> tf.Tensor:
    """Returns [S, B] the rate in which each variable counts for `free_bits` or more.

    Where the mean rate of a variable over samples and batch is below, it is replaced by
    the constant, and so has no gradient (Kingma et al., 2016).
    """
    q, p = single_variables(batch.posterior), single_variables(batch.prior)
    if batch.objective.analytic_kl:
        rates = analytic_rate(q, p)[tf.newaxis]  # [1, B, D]
    else:
        rates = q.log_prob(z) - p.log_prob(z)  # [S, B, D]
    floor = tf.cast(batch.objective.free_bits, rates.dtype)
    counts = mean_over_batch(rates, batch.shard) > floor  # [D]
    floored = tf.reduce_sum(tf.where(counts, rates, floor), axis=-1)  # [S or 1, B]
    return tf.broadcast_to(floored, tf.shape(z)[:2])


def single_variables(distribution: Distribution) -> Distribution:
    """Returns the distribution of independent latent variables one by one.

    Raises:
        InputError: if they are not independent, or are not single numbers.
    """
    inner = independent_variables(distribution)
    if inner is not None and inner.event_shape.rank == 0:
        return inner
    raise InputError(
        f"free_bits needs independent latent variables, and {distribution.name} has "
        "none; set free_bits 0, or choose another latent family or prior"
    )


def block_size(num_samples: int) -> int:
    """Returns how many samples of S are drawn from one seed.

    Samples are drawn in blocks, so that a part of them can be drawn alone: of 64, or
    of a larger power of two if S is above 16,384.
    """
    wanted = -(-num_samples // _MOST_BLOCKS)
    return max(_LEAST_BLOCK, 1 << (wanted - 1).bit_length())


def sample_in_blocks(
    sample: Callable[..., Drawn],
    num_samples: int,
    seed: tf.Tensor,
    chunk: Chunk | None = None,
) -> Drawn:
    """Returns tensors [S, ...] of samples that are a function of the seed and of S.

    Block b has the seed fold_in(seed, b); a single block has the seed itself. Noise
    that is given in the place of draws from seeds is that of all samples at once.
    `sample(n, seed=...)` draws tensors [n, ...].
    """
    if num_samples <= _LEAST_BLOCK or draws.is_given():
        samples = sample(num_samples, seed=seed)
        return samples if chunk is None else _part(samples, chunk, 0)
    block = block_size(num_samples)
    chunk = chunk or Chunk(num_samples, 0, num_samples)
    first = chunk.index * chunk.size // block
    blocks = [
        sample(block, seed=tf.random.fold_in(seed, first + number))
        for number in range(_most_blocks(chunk.size, block))
    ]
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *blocks)
    return _part(joined, chunk, first * block)


def _part(values, chunk: Chunk, first: int | tf.Tensor):
    """Returns the chunk of tensors [n, ...] whose first sample is number `first`."""
    start = chunk.index * chunk.size - first

    def part(each: tf.Tensor) -> tf.Tensor:
        rest = tf.shape(each)[1:]
        begin = tf.concat([[start], tf.zeros_like(rest)], axis=0)
        cut = tf.slice(each, begin, tf.concat([[chunk.kept], rest], axis=0))
        return tf.ensure_shape(cut, [chunk.kept, *each.shape[1:]])

    return tf.nest.map_structure(part, values)


def _most_blocks(size: int, block: int) -> int:
    """Returns how many blocks a chunk of this size may have a part in."""
    if size % block == 0:
        return size // block
    if block % size == 0:
        return 1
    return -(-size // block) + 1
