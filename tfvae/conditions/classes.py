"""Conditions that are one of several classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions.base import Condition
from tfvae.core.lookup import nearest
from tfvae.core.seeds import derive_int
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int

_SHOWN = 10  # names in a message


class _Classes(Condition):
    """The base of conditions that are classes.

    Args:
        classes: The number of classes, which are then 0, 1, ...; or their names, which
            stand for these numbers.

    Attributes:
        num_classes: C.
        names: The classes' names, or None.
    """

    def __init__(self, classes: int | Sequence[str], **kwargs) -> None:
        super().__init__(**kwargs)
        self.names: tuple[str, ...] | None = None
        if isinstance(classes, np.ndarray) and classes.dtype.kind in "UO":
            classes = classes.tolist()
        if isinstance(classes, (str, bytes)) or not isinstance(classes, Sequence):
            self.num_classes = require_int("classes", classes, least=1)
        else:
            self.names = tuple(classes)
            wrong = [n for n in self.names if not isinstance(n, str)]
            if wrong or len(set(self.names)) != len(self.names) or not self.names:
                raise InputError(
                    f"classes {classes!r:.100} are not usable; give their number, or "
                    "names, each another text"
                )
            self.num_classes = len(self.names)
        if self.names is None:
            self.served_dtype = tf.int64
            self.wanted = f"classes from 0 to {self.num_classes - 1}, as ints"
        else:
            self.served_dtype = tf.string
            shown = ", ".join(self.names[:_SHOWN])
            more = ", ..." if self.num_classes > _SHOWN else ""
            self.wanted = f"one of {self.num_classes} classes ({shown}{more})"

    @classmethod
    def from_data(cls, values: Any, *args, **kwargs):
        """Returns a condition of the classes that an array [N] has.

        They are its names, or the ints from 0 to its largest.
        """
        array = np.asarray(values) if not _is_ragged(values) else np.empty([0, 0])
        if array.dtype.kind == "O" and all(isinstance(v, str) for v in array.flat):
            array = array.astype(str)
        if array.ndim != 1 or array.dtype.kind not in "iuU" or not array.size:
            raise InputError(
                f"classes are taken from values of dtype {array.dtype} and shape "
                f"{array.shape}; give names or ints, [N]"
            )
        if array.dtype.kind == "U":
            return cls([str(name) for name in np.unique(array)], *args, **kwargs)
        if array.min() < 0:
            raise InputError(
                f"classes are taken from values down to {array.min()}; give ints of 0 "
                "and more"
            )
        return cls(int(array.max()) + 1, *args, **kwargs)

    @property
    def read_dtype(self) -> tf.DType:
        """Classes are numbers once they are read."""
        return tf.int64

    def checked_dtype(self, value: tf.Tensor, name: str) -> tf.Tensor:
        """Returns the classes' numbers, int64; that of an unknown name is -1."""
        if value.dtype == tf.string and self.names is not None:
            names = tf.constant(self.names)
            if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
                self._check_names(value.numpy(), name)
            hits = tf.equal(value[..., tf.newaxis], names)
            known = tf.reduce_any(hits, axis=-1)
            number = tf.argmax(tf.cast(hits, tf.int32), axis=-1)
            return tf.where(known, number, -tf.ones_like(number))
        if not tf.as_dtype(value.dtype).is_integer:
            raise InputError(
                f"the {name} has dtype {tf.as_dtype(value.dtype).name}; give "
                f"{self.wanted}"
            )
        return keras.ops.cast(value, "int64")

    def _check_names(self, values: np.ndarray, name: str) -> None:
        assert self.names is not None
        for given in np.unique(values):
            text = given.decode("utf-8", "replace")
            if text not in self.names:
                raise InputError(
                    f"the {name} holds {text!r}, which is no class that the model "
                    f"knows; {nearest(text, self.names)}give {self.wanted}"
                )

    def usable(self, value: tf.Tensor) -> tf.Tensor:
        """See `Condition.usable`."""
        return (value >= 0) & (value < self.num_classes)

    def examples(self, size: int) -> np.ndarray:
        """Returns one class after the other."""
        numbers = np.arange(size) % self.num_classes
        return numbers if self.names is None else np.asarray(self.names)[numbers]

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this condition."""
        return {**super().get_config(), "classes": self.names or self.num_classes}


def _is_ragged(values: Any) -> bool:
    try:
        np.asarray(values)
    except ValueError:
        return True
    return False


@keras.saving.register_keras_serializable(package="tfvae")
class OneHot(_Classes):
    """A class as a vector of zeros and a one, [C].

    Args:
        classes: The number of classes, which are then 0, 1, ...; or their names.
    """

    def __init__(self, classes: int | Sequence[str], **kwargs) -> None:
        super().__init__(classes, **kwargs)
        self.shape = (self.num_classes,)

    def call(self, value: tf.Tensor) -> tf.Tensor:
        """Returns [..., C] for classes [...]; NaN for those that are none."""
        found = keras.ops.one_hot(value, self.num_classes, dtype=self.compute_dtype)
        if isinstance(value, keras.KerasTensor):
            return found
        known = self.usable(value)[..., tf.newaxis]
        return tf.where(known, found, tf.constant(np.nan, found.dtype))


@keras.saving.register_keras_serializable(package="tfvae")
class Embedding(_Classes):
    """A class as a vector of weights that are trained with the model.

    Args:
        classes: The number of classes, which are then 0, 1, ...; or their names.
        size: E, the numbers of a class.
        seed: The seed of the first weights, which are normal draws / sqrt(E).

    Attributes:
        embeddings: [C, E] The weights.
    """

    def __init__(
        self, classes: int | Sequence[str], size: int = 8, seed: int = 0, **kwargs
    ) -> None:
        super().__init__(classes, **kwargs)
        self.size = require_int("size", size)
        self.shape = (self.size,)
        self.seed = require_int("seed", seed, 0, SEEDS)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_classes, self.size),
            initializer=keras.initializers.RandomNormal(
                stddev=self.size**-0.5, seed=derive_int(self.seed, "embedding")
            ),
        )

    def call(self, value: tf.Tensor) -> tf.Tensor:
        """Returns [..., E] for classes [...]; NaN for those that are none."""
        if isinstance(value, keras.KerasTensor):
            return keras.ops.take(self.embeddings, value, axis=0)
        known = self.usable(value)
        row = tf.where(known, value, tf.zeros_like(value))
        found = tf.gather(tf.convert_to_tensor(self.embeddings), row)
        nan = tf.constant(np.nan, found.dtype)
        return tf.where(known[..., tf.newaxis], found, nan)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this condition."""
        return {**super().get_config(), "size": self.size, "seed": self.seed}
