"""A condition of several named parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfvae.conditions.base import Condition
from tfvae.core.types import InputError


@keras.saving.register_keras_serializable(package="tfvae")
class Several(Condition):
    """Several conditions, each by its name; their features lie in one vector.

    Args:
        parts: Name -> condition. c is then a dictionary with the same names.
    """

    def __init__(self, parts: Mapping[str, Condition], **kwargs) -> None:
        super().__init__(**kwargs)
        usable = isinstance(parts, Mapping) and parts
        if not usable or not all(isinstance(p, Condition) for p in parts.values()):
            raise InputError(
                f"parts {parts!r:.100} are not usable; give a dictionary of names and "
                "conditions, for example {'digit': OneHot(10)}"
            )
        names = [name for name in parts if not _is_name(name)]
        if names:
            raise InputError(
                f"a part is named {names[0]!r:.40}; give names of letters, digits and "
                "underscores between them, as served models have"
            )
        if any(isinstance(part, Several) for part in parts.values()):
            raise InputError("a part of Several is Several; name its parts here")
        self.parts = dict(sorted(parts.items()))  # the order of tf.nest
        self.shape = (sum(math.prod(part.shape) for part in parts.values()),)
        each = (f"{name!r}: {part.wanted}" for name, part in self.parts.items())
        self.wanted = f"a dictionary of {'; '.join(each)}"

    def read(self, value: Any, name: str = "condition") -> dict[str, Any]:
        """See `Condition.read`; the value is a dictionary with all names."""
        if hasattr(value, "columns") and hasattr(value, "to_dict"):  # a DataFrame
            value = {str(column): value[column].to_numpy() for column in value.columns}
        if not isinstance(value, Mapping):
            raise InputError(
                f"the {name} is a {type(value).__name__}; give {self.wanted}"
            )
        if set(value) != set(self.parts):
            raise InputError(
                f"the {name} has the keys {sorted(map(str, value))}; give "
                f"{', '.join(self.parts)}"
            )
        return {
            key: part.read(value[key], f"{name} {key!r}")
            for key, part in self.parts.items()
        }

    def call(self, value: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the features [..., n] of all parts, one after another."""
        vectors = []
        for key, part in self.parts.items():
            found = part(value[key])
            rank = len(found.shape) - len(part.shape)
            front = tf.shape(found)[:rank]
            flat = tf.concat([front, [math.prod(part.shape)]], axis=0)
            static = found.shape[:rank].concatenate(math.prod(part.shape))
            vectors.append(tf.ensure_shape(tf.reshape(found, flat), static))
        front = tf.shape(vectors[0])[:-1]
        for vector in vectors[1:]:
            front = tf.broadcast_dynamic_shape(front, tf.shape(vector)[:-1])
        leading = vectors[0].shape[:-1]
        for vector in vectors[1:]:
            leading = tf.broadcast_static_shape(leading, vector.shape[:-1])
        spread = [
            tf.broadcast_to(v, tf.concat([front, [v.shape[-1]]], axis=0))
            for v in vectors
        ]
        return tf.ensure_shape(tf.concat(spread, -1), leading.concatenate(self.shape))

    def blank(self, size: int) -> dict[str, tf.Tensor]:
        """See `Condition.blank`."""
        return {key: part.blank(size) for key, part in self.parts.items()}

    def leading_shape(self, value: Mapping[str, tf.Tensor]) -> tf.TensorShape:
        """See `Condition.leading_shape`."""
        shapes = {k: part.leading_shape(value[k]) for k, part in self.parts.items()}
        first, *others = shapes.values()
        if not all(
            s.rank == first.rank and s.is_compatible_with(first) for s in others
        ):
            each = ", ".join(f"{k!r} {s}" for k, s in shapes.items())
            raise InputError(
                f"parts of the condition have other numbers of rows: {each}; give as "
                "many of each"
            )
        return first

    def broadcast(self, value: Mapping[str, tf.Tensor], size: int) -> dict[str, Any]:
        """See `Condition.broadcast`."""
        return {k: part.broadcast(value[k], size) for k, part in self.parts.items()}

    def examples(self, size: int) -> dict[str, Any]:
        """See `Condition.examples`."""
        return {key: part.examples(size) for key, part in self.parts.items()}

    def served_spec(self) -> dict[str, tf.TensorSpec]:
        """See `Condition.served_spec`."""
        return {key: part.served_spec() for key, part in self.parts.items()}

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this condition."""
        parts = {
            key: keras.saving.serialize_keras_object(part)
            for key, part in self.parts.items()
        }
        return {**super().get_config(), "parts": parts}

    @classmethod
    def from_config(cls, config: dict) -> Several:
        """Rebuilds a condition from `get_config`."""
        parts = {
            key: keras.saving.deserialize_keras_object(part)
            for key, part in config["parts"].items()
        }
        return cls(**{**config, "parts": parts})


def _is_name(name: object) -> bool:
    plain = isinstance(name, str) and name.isidentifier() and name.isascii()
    return plain and not str(name).endswith("_")
