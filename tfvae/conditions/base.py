"""The interface of conditions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError, first_line

HOLDS = "holds values that have no features"  # also of what a graph says


class Condition(keras.layers.Layer):
    """A layer from c [..., *event_shape] to features [..., *shape] for networks.

    A new condition overrides `checked_dtype`, `usable` and `call`, sets `event_shape`,
    `shape` and `wanted`, and has an entry in `CONDITIONS`.

    Attributes:
        event_shape: The shape of c for one example; () for a class or a number.
        shape: The shape of the features for one example, which a network's second
            input has.
        served_dtype: The dtype of c where a model is served.
        wanted: What c may be, in words that end a message.
    """

    event_shape: tuple[int, ...] = ()
    shape: tuple[int, ...]
    served_dtype: tf.DType
    wanted: str

    def __init__(self, **kwargs) -> None:
        kwargs["dtype"] = kwargs.get("dtype") or keras.config.floatx()
        super().__init__(**kwargs)
        self.built = True

    def read(self, value: Any, name: str = "condition") -> Any:
        """Returns c as `call` takes it, with values that can be used.

        Values that are known now are looked at now. In a graph an assertion looks at
        them, and where XLA leaves it out their features are NaN.

        Args:
            value: c as the data have it, [..., *event_shape]; tensors, arrays, lists
                or single values.
            name: What messages call it.

        Raises:
            InputError: if c has another type or shape, or holds values that have no
                features.
        """
        if value is None:
            raise InputError(f"the {name} is missing (None); give {self.wanted}")
        if not isinstance(value, (tf.Tensor, keras.KerasTensor)):
            value = self._as_tensor(value, name)
        value = self.checked_dtype(value, name)
        self._check_shape(value.shape, name)
        if isinstance(value, keras.KerasTensor):
            return value
        if hasattr(value, "numpy"):
            with tf.init_scope():  # a graph may have it as a constant
                usable = self.usable(value).numpy()
            if not usable.all():
                first = self.shown(value.numpy()[~usable][0])
                raise InputError(
                    f"the {name} holds {first}, which has no features; give "
                    f"{self.wanted}"
                )
            return value
        usable = self.usable(value)
        text = f"the {name} {HOLDS}; give {self.wanted}".replace("'", "")
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_all(usable), [text])]
        ):
            return tf.identity(value)

    def checked_dtype(self, value: tf.Tensor, name: str) -> tf.Tensor:
        """Returns c in the dtype of `call`.

        Raises:
            InputError: if it has one that is none of this condition's.
        """
        raise NotImplementedError

    def usable(self, value: tf.Tensor) -> tf.Tensor:
        """Returns which examples [...] have features."""
        raise NotImplementedError

    def shown(self, value: np.ndarray) -> str:
        """Returns an example's c as a message shows it."""
        return f"{value!r:.60}" if value.ndim else f"{value.item()!r:.60}"

    def blank(self, size: int) -> Any:
        """Returns some c that can be used, [size, *event_shape]."""
        return tf.zeros([size, *self.event_shape], self.read_dtype)

    @property
    def read_dtype(self) -> tf.DType:
        """The dtype of what `read` returns."""
        return tf.as_dtype(self.compute_dtype)

    def leading_shape(self, value: Any) -> tf.TensorShape:
        """Returns the axes of c before the example's own.

        Raises:
            InputError: if parts of it have others.
        """
        if value.shape.rank is None:
            return tf.TensorShape(None)
        return value.shape[: value.shape.rank - len(self.event_shape)]

    def broadcast(self, value: Any, size: int) -> Any:
        """Returns c of `size` examples from that of one, or of each, [size, ...].

        Raises:
            InputError: if it is that of another number.
        """
        leading = self.leading_shape(value)
        if leading.rank > 1 or leading.as_list() not in ([], [size]):
            raise InputError(
                f"the condition has {leading.as_list()} rows for {size} examples; give "
                "one for all, or one for each"
            )
        return tf.broadcast_to(value, [size, *self.event_shape])

    def examples(self, size: int) -> Any:
        """Returns c of `size` examples as a served model takes it, an array."""
        return np.zeros([size, *self.event_shape], self.served_dtype.as_numpy_dtype)

    def served_spec(self) -> Any:
        """Returns what is served: the dtype and shape of c, with an axis of rows."""
        return tf.TensorSpec([None, *self.event_shape], self.served_dtype)

    def _as_tensor(self, value: Any, name: str) -> tf.Tensor:
        try:
            array = np.asarray(value)
            if array.dtype.kind == "O":
                if any(item is None for item in array.flat):
                    raise InputError(
                        f"the {name} has missing values (None); give {self.wanted}"
                    )
                if all(isinstance(item, (str, bytes)) for item in array.flat):
                    array = array.astype(str)
            return tf.convert_to_tensor(array)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the {name} {value!r:.60} is no array ({first_line(error)}); give "
                f"{self.wanted}"
            ) from error

    def _check_shape(self, shape: Any, name: str) -> None:
        shape = tf.TensorShape(shape)
        number = len(self.event_shape)
        if shape.rank is None:
            return
        ends = shape[shape.rank - number :] if shape.rank >= number else None
        if ends is None or not ends.is_compatible_with(self.event_shape):
            raise InputError(
                f"the {name} has shape {tuple(shape)}; give {self.wanted}, of shape "
                f"{self.event_shape} for an example"
            )
