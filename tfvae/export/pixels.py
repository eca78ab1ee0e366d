"""The preprocessing of served images, as a part of the graph."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.data import BINARIZATIONS

_CALLED = (
    "x holds NaN where observed is True; set observed to False there, or give a number"
)


class Pixels(NamedTuple):
    """The preprocessing of served images, as the model was trained on them.

    Attributes:
        binarization: The binarisation of training; one that draws is drawn where there
            is a seed, and has its most probable value where there is none.
        num_levels: The grey levels of the likelihood, to the nearest of which values
            are moved; None: it has none.
        low: The least value.
        high: The largest value.
        holes: Whether values may be missing.
    """

    binarization: str
    num_levels: int | None
    low: float = 0.0
    high: float = 1.0
    holes: bool = False

    @property
    def drawn(self) -> bool:
        """True if chance makes the pixels binary."""
        return BINARIZATIONS[self.binarization].draws != "never"

    @property
    def unit(self) -> bool:
        """True if values go from 0 to 1, so that uint8 can stand for them."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def description(self) -> str:
        """The preprocessing in words, for people."""
        bounds = f"[{self.low:g}, {self.high:g}]"
        text = f"NaN becomes 0; values are clipped to {bounds}"
        if self.holes:
            text = (
                "x is not looked at where observed is False; NaN where it is True is "
                f"an error; values are clipped to {bounds}"
            )
        if self.unit:
            text = f"uint8 is divided by 255; {text}"
        if self.num_levels:
            return f"{text}; the nearest of {self.num_levels} levels is taken"
        if self.binarization == "none":
            return text
        text += "; a pixel is 1 where it is at least 1/2, else 0"
        if self.drawn:
            where = "score and impute" if self.holes else "score"
            text += f" ({where}: it is drawn, 1 with its value as probability)"
        return text

    def clean(self, x: tf.Tensor, observed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns images with values in the range, float32, whatever came in.

        Where a NaN is called observed an assertion says so, and where XLA leaves that
        out the value stays NaN, and so does the answer.
        """
        given = x
        if x.dtype == tf.uint8:
            x = tf.cast(x, tf.float32) / 255.0
        x = tf.where(tf.math.is_nan(x), 0.0, x)
        x = tf.clip_by_value(x, self.low, self.high)
        if self.num_levels:
            last = self.num_levels - 1.0
            x = tf.round(x * last) / last
        if observed is None or given.dtype == tf.uint8:
            return x
        bad = tf.logical_and(observed, tf.math.is_nan(given))
        right = tf.logical_not(tf.reduce_any(bad))
        with tf.control_dependencies([tf.debugging.Assert(right, [_CALLED])]):
            return tf.where(bad, math.nan, x)

    def certain(self, x: tf.Tensor, observed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns images as the model takes them, without chance."""
        how = "threshold" if self.drawn else self.binarization
        return self._binary(how, self.clean(x, observed), None)

    def seeded(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns a clean image as the model takes it, drawn if it was in training."""
        return self._binary(self.binarization, x, seed)

    def _binary(self, how: str, x: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        binary = BINARIZATIONS[how].apply(x, seed)
        return tf.where(tf.math.is_nan(x), x, binary) if self.holes else binary


def range_of(value_range: tuple[float, float]) -> tuple[float, float]:
    """Returns the least and the largest value of a range that can be used.

    Raises:
        InputError: if it is none.
    """
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"value_range {value_range!r} is not usable; give the least and the "
            "largest value, for example (0, 1)"
        )
    return low, high
