"""Stateless randomness: every draw is a function of (root seed, step, purpose)."""

from __future__ import annotations

import zlib

import tensorflow as tf

from tfvae.types import InputError, Seed


def as_seed(seed: Seed) -> tf.Tensor:
    """Returns the int32 tensor of shape [2] that TensorFlow's stateless draws take.

    Raises:
        InputError: `seed` is neither an int nor an integer tensor of shape [2].
    """
    if isinstance(seed, (bool, float, str, bytes)) or seed is None:
        raise InputError(f"seed {seed!r} is not usable; give an int, for example 0")
    if isinstance(seed, int):
        low, high = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
        words = [w - (1 << 32) if w >= 1 << 31 else w for w in (low, high)]
        return tf.constant(words, tf.int32)
    seed = tf.convert_to_tensor(seed)
    if not seed.dtype.is_integer or seed.shape.rank not in (0, 1):
        raise InputError(
            f"seed of dtype {seed.dtype.name} and shape {seed.shape} is not usable; "
            "give an int, or an integer tensor of shape [2]"
        )
    if seed.shape.rank == 0:
        seed = tf.stack([seed, tf.zeros_like(seed)])
    if not seed.shape.is_compatible_with([2]):
        raise InputError(f"seed has shape {seed.shape}; give an int or shape [2]")
    return tf.cast(seed, tf.int32)


def derive_seed(seed: Seed, purpose: str, *steps: int | tf.Tensor) -> tf.Tensor:
    """Returns the seed of one draw: a function of the root seed, its use and its step.

    Args:
        seed: The root seed.
        purpose: What is drawn, for example "posterior"; other purposes draw
            independently.
        *steps: Integers, Python's or tensors, that count: epoch, step, batch.
    """
    derived = tf.random.fold_in(as_seed(seed), zlib.crc32(purpose.encode()) >> 1)
    for step in steps:
        derived = tf.random.fold_in(derived, tf.cast(step, tf.int32))
    return derived


def derive_int(seed: int, purpose: str) -> int:
    """Returns a non-negative 31-bit seed for what takes only an int (initialisers)."""
    return zlib.crc32(f"{seed}/{purpose}".encode()) >> 1
