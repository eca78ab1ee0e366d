"""Samples that can be drawn in parts, and are the same as those drawn at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import tensorflow as tf

Drawn = TypeVar("Drawn")

# Samples are drawn from their seed in blocks of so many, so that a part of them can be
# drawn alone.
DRAWN_AT_ONCE = 64


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
    if num_samples <= DRAWN_AT_ONCE:
        samples = sample(num_samples, seed=seed)
        return samples if chunk is None else _part(samples, chunk, 0)
    chunk = chunk or Chunk(num_samples, 0, num_samples)
    first = chunk.index * chunk.size // DRAWN_AT_ONCE
    blocks = [
        sample(DRAWN_AT_ONCE, seed=tf.random.fold_in(seed, first + number))
        for number in range(_most_blocks(chunk.size))
    ]
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *blocks)
    return _part(joined, chunk, first * DRAWN_AT_ONCE)


def _part(values, chunk: Chunk, first: int | tf.Tensor):
    """Returns the chunk of tensors [n, ...] whose first sample is number `first`."""
    start = chunk.index * chunk.size - first

    def part(each: tf.Tensor) -> tf.Tensor:
        rest = tf.shape(each)[1:]
        begin = tf.concat([[start], tf.zeros_like(rest)], axis=0)
        cut = tf.slice(each, begin, tf.concat([[chunk.kept], rest], axis=0))
        return tf.ensure_shape(cut, [chunk.kept, *each.shape[1:]])

    return tf.nest.map_structure(part, values)


def _most_blocks(size: int) -> int:
    """Returns how many blocks a chunk of this size may have a part in."""
    if size % DRAWN_AT_ONCE == 0:
        return size // DRAWN_AT_ONCE
    if DRAWN_AT_ONCE % size == 0:
        return 1
    return -(-size // DRAWN_AT_ONCE) + 1
