"""Ways from grey values to the binary pixels that a Bernoulli decoder scores."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfvae.core.types import Seed
from tfvae.distributions.draws import Law, of_law

UNIFORM = Law("uniform on [0, 1)", 0.0, 1.0 - 2.0**-24, 0.5)


class Binarization(NamedTuple):
    """One way to make an image binary.

    Attributes:
        description: One line for the command line and docs/parts.md.
        draws: The time of the draws: "never", "once" (one draw per image) or "step"
            (a fresh draw whenever an image is used to train).
        is_binary: True if every pixel that comes out is 0 or 1.
        apply: The function of grey values in [0, 1] and a seed (unused where
            `draws` is "never") that returns float32 of the same shape.
    """

    description: str
    draws: str
    is_binary: bool
    apply: Callable[[tf.Tensor, Seed | None], tf.Tensor]


@of_law(UNIFORM)
def uniform(shape: tf.Tensor, seed: Seed, dtype: tf.DType) -> tf.Tensor:
    """Draws numbers of [0, 1)."""
    return tf.random.stateless_uniform(shape, seed, dtype=dtype)


def bernoulli(grey: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Draws float32 zeros and ones, with the grey values as probabilities of a 1."""
    # u < x with u in [0, 1): black is never drawn as 1 and white always is.
    u = uniform(tf.shape(grey), seed, grey.dtype)
    return tf.cast(u < grey, tf.float32)


def threshold(grey: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
    """Returns 1 where the grey value is at least 0.5, else 0."""
    return tf.cast(grey >= 0.5, tf.float32)


def keep_grey(grey: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
    """Returns the grey values as they are."""
    return grey


BINARIZATIONS: dict[str, Binarization] = {
    "dynamic": Binarization(
        "a fresh Bernoulli draw each time an image is used", "step", True, bernoulli
    ),
    "fixed": Binarization(
        "one seeded Bernoulli draw per image", "once", True, bernoulli
    ),
    "threshold": Binarization(
        "1 where the grey value is at least 0.5", "never", True, threshold
    ),
    "none": Binarization("grey values in [0, 1]", "never", False, keep_grey),
}
