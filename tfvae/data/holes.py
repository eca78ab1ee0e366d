"""Pixels that are taken out of images at random, to study what is missing."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.data.splits import ArraySplit

_CHUNK = 1_000  # images; the draws depend on it, so never change it


class Holes(NamedTuple):
    """A fixed draw of the pixels that are missing, all channels of one together.

    It is a function of the seed, the split's name and the image's place (its id, where
    images are streamed): the same in every epoch, order and batch.

    Attributes:
        share: The probability that a pixel is missing.
        seed: The root seed.
    """

    share: float
    seed: Seed

    def observed(self, split: ArraySplit, size: int) -> tf.Tensor:
        """Returns where the first images are known, bool [size, H, W, C]."""
        root = self._root(split.name)
        chunks = []
        with tf.device("CPU:0"):
            for chunk, start in enumerate(range(0, size, _CHUNK)):
                rows = min(_CHUNK, len(split) - start)
                shape = (rows, *split.image_shape)
                chunks.append(self._drawn(shape, tf.random.fold_in(root, chunk)))
            return tf.concat(chunks, axis=0)[:size]

    def observed_of(
        self, name: str, identity: tf.Tensor, image: tf.Tensor
    ) -> tf.Tensor:
        """Returns where an image [H, W, C] of a split is known, bool, by its id."""
        seed = tf.random.fold_in(self._root(name), tf.cast(identity, tf.int32))
        return self._drawn(tf.shape(image), seed)

    def _root(self, name: str) -> tf.Tensor:
        return derive_seed(self.seed, f"holes/{name}")

    def _drawn(self, shape: tuple[int, ...] | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        pixels = tf.concat([shape[:-1], [1]], axis=0)
        kept = tf.random.stateless_uniform(pixels, seed) >= self.share
        return tf.broadcast_to(kept, shape)
