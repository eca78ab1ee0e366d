"""Samples that can be drawn in parts, and are the same as those drawn at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import tensorflow as tf

Drawn = TypeVar("Drawn")

_LEAST_BLOCK = 64
_MOST_BLOCKS = 256


class Chunk(NamedTuple):
    """Samples index * size to index * size + kept of those that are drawn.

    Attributes:
        size: Samples in a chunk.
        index: Of the chunk.
        kept: How many of its samples there are: fewer in the last chunk.
    """

    size: int
    index: int | tf.Tensor
    kept: int


def block_size(num_samples: int) -> int:
    """Returns how many samples of S are drawn from one seed.

    Samples are drawn in blocks, so that a part of them can be drawn alone: of 64, or
    of a larger power of two if S is above 16,384.
    """
    wanted = -(-num_samples // _MOST_BLOCKS)
    return max(_LEAST_BLOCK, 1 << (wanted - 1).bit_length())


def drawn(
    sample: Callable[..., Drawn],
    num_samples: int,
    seed: tf.Tensor,
    chunk: Chunk | None = None,
) -> Drawn:
    """Returns tensors [S, ...] of samples that are a function of the seed and of S.

    Block b has the seed fold_in(seed, b); a single block has the seed itself.

    Args:
        sample: Called as `sample(n, seed=...)`, draws tensors [n, ...].
        num_samples: S.
        seed: [2].
        chunk: Which samples alone to draw; None: all.
    """
    block = block_size(num_samples)
    if num_samples <= block:
        samples = sample(num_samples, seed=seed)
        return samples if chunk is None else _part(samples, chunk, 0)
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
