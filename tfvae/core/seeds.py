"""Stateless randomness: every draw is a function of (root seed, step, purpose)."""

import numbers
import zlib

import tensorflow as tf

from tfvae.core.types import InputError, Seed

# TensorFlow's own kernels and XLA read a negative word of a seed differently, so the
# words used here have 31 bits.
_WORD = 0x7FFFFFFF


def as_seed(seed: Seed) -> tf.Tensor:
    """Returns the int32 tensor of shape [2] that TensorFlow's stateless draws take.

    Raises:
        InputError: if `seed` is neither an int nor an integer tensor of shape [2].
    """
    if isinstance(seed, numbers.Integral) and not isinstance(seed, bool):
        if not 0 <= int(seed) < 2**62:
            raise InputError(
                f"seed {seed} is not usable; give an int from 0 to 2^62 - 1"
            )
        return tf.constant([seed & _WORD, seed >> 31], tf.int32)
    if seed is None or isinstance(seed, (bool, float, str, bytes)):
        raise InputError(f"seed {seed!r} is not usable; give an int, for example 0")
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

    Draws of other purposes ("posterior", for example) are independent. The steps are
    integers, Python's or tensors: the epoch, step or batch.
    """
    derived = as_seed(seed)
    for data in (zlib.crc32(purpose.encode()) >> 1, *steps):
        derived = tf.random.fold_in(derived & _WORD, tf.cast(data, tf.int32)) & _WORD
    return derived


def derive_int(seed: int, purpose: str) -> int:
    """Returns a non-negative 31-bit seed for initialisers, which take only an int."""
    return zlib.crc32(f"{seed}/{purpose}".encode()) >> 1
