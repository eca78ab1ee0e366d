"""Conditions that are numbers or images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions.base import Condition
from tfvae.core.types import InputError
from tfvae.core.validation import require_int


class _Numbers(Condition):
    """The base of conditions that are floats."""

    served_dtype = tf.float32

    def checked_dtype(self, value: tf.Tensor, name: str) -> tf.Tensor:
        """Returns floats; ints are the same numbers."""
        dtype = tf.as_dtype(value.dtype)
        if not (dtype.is_floating or dtype.is_integer):
            raise InputError(f"the {name} has dtype {dtype.name}; give {self.wanted}")
        return keras.ops.cast(value, self.compute_dtype)

    def usable(self, value: tf.Tensor) -> tf.Tensor:
        """See `Condition.usable`."""
        axes = list(range(value.shape.rank - len(self.event_shape), value.shape.rank))
        return tf.reduce_all(tf.math.is_finite(value), axis=axes)


@keras.saving.register_keras_serializable(package="tfvae")
class Numeric(_Numbers):
    """A number, or a vector of n, less its mean and over its standard deviation.

    Args:
        size: n; None: a single number, without an axis of its own.
        mean: What is subtracted, of each number or of all.
        scale: What is divided by.

    Raises:
        InputError: if a scale is not above 0, or there is another number of them.
    """

    def __init__(
        self,
        size: int | None = None,
        mean: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.size = None if size is None else require_int("size", size)
        self.event_shape = () if self.size is None else (self.size,)
        self.shape = (self.size or 1,)
        self.wanted = "a finite number"
        if self.size is not None:
            self.wanted = f"{self.size} finite numbers"
        self.mean, self.scale = self._each("mean", mean), self._each("scale", scale)
        if not (self.scale > 0).all():
            raise InputError(
                f"scale {scale!r:.100} is not usable; give numbers above 0"
            )

        # c is read as float32, which has 24 bits.
        coarse = np.abs(self.mean) * 2.0**-23 > 1e-3 * self.scale
        if coarse.any():
            raise InputError(
                f"a mean of {self.mean[coarse][0]:g} with a scale of "
                f"{self.scale[coarse][0]:g} leaves float32 no digits; subtract an "
                "offset from c before"
            )

    def _each(self, name: str, values: Any) -> np.ndarray:
        try:
            array = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            array = np.asarray(np.nan)
        if array.shape not in ((), (self.size or 1,)) or not np.isfinite(array).all():
            raise InputError(
                f"{name} {values!r:.100} is not usable; give a finite number, or one "
                f"for each of {self.size or 1}"
            )
        return np.broadcast_to(array, (self.size or 1,))

    @classmethod
    def from_data(cls, values: Any, **kwargs) -> Numeric:
        """Returns the condition whose mean and scale are those of values [N] or [N, n].

        A number that is the same in all examples keeps the scale 1.
        """
        try:
            array = np.asarray(values)
        except ValueError:  # ragged
            array = np.asarray([None])
        if array.dtype.kind not in "fiu" or array.ndim not in (1, 2) or not array.size:
            raise InputError(
                f"numbers are taken from values of dtype {array.dtype} and shape "
                f"{array.shape}; give floats [N] or [N, n]"
            )
        if not np.isfinite(array).all():
            raise InputError("the condition holds NaN or infinite values; remove them")
        array = array.astype(np.float64)
        mean, scale = array.mean(axis=0), array.std(axis=0)
        size = None if array.ndim == 1 else array.shape[1]
        scale = np.where(scale > 0, scale, 1.0)
        return cls(size, mean.tolist(), scale.tolist(), **kwargs)

    def call(self, value: tf.Tensor) -> tf.Tensor:
        """Returns [..., n] standardised."""
        if self.size is None:
            value = keras.ops.expand_dims(value, -1)
        mean = self.mean.astype(self.compute_dtype)
        return (value - mean) / self.scale.astype(self.compute_dtype)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this condition."""
        return {
            **super().get_config(),
            "size": self.size,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }


@keras.saving.register_keras_serializable(package="tfvae")
class Image(_Numbers):
    """An image or another array of floats, as it is.

    Args:
        shape: (H, W, C), or any other.
    """

    wanted = "finite floats"

    def __init__(self, shape: Sequence[int], **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(shape, (tuple, list)) or not shape:
            raise InputError(f"shape {shape!r:.60} is not usable; give (H, W, C)")
        self.shape = self.event_shape = tuple(require_int("a size", n) for n in shape)

    def checked_dtype(self, value: tf.Tensor, name: str) -> tf.Tensor:
        """Returns floats; ints may be pixels from 0 to 255, and are refused."""
        if not tf.as_dtype(value.dtype).is_floating:
            dtype = tf.as_dtype(value.dtype).name
            raise InputError(
                f"the {name} has dtype {dtype}; give {self.wanted}, pixels for example "
                "divided by 255"
            )
        return super().checked_dtype(value, name)

    def call(self, value: tf.Tensor) -> tf.Tensor:
        """Returns [..., *shape], unchanged."""
        return value

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this condition."""
        return {**super().get_config(), "shape": self.shape}
