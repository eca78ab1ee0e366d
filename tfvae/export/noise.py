"""Noise as an input of signatures, and the noise that a seed gives.

A body is run on few rows and samples, and what it draws is recorded. The axes whose
sizes follow those of rows and samples are known then, and every draw becomes an input
[B, K, ...]; the rest of its axes stay as the draw has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import draws as noise
from tfvae.export.drawings import Drawing, Draws, Roles

MakeDrawing = Callable[[int], Drawing]
"""K -> the drawing with K samples."""
_ROWS, _SAMPLES = -1, -2  # in the place of sizes


class Layout(NamedTuple):
    """The place of rows and samples in a draw.

    Attributes:
        law: The law of the noise.
        factors: For each axis of the draw its size, as factors from the slowest to the
            fastest: numbers, `_ROWS` and `_SAMPLES`.
    """

    law: noise.Law
    factors: tuple[tuple[int, ...], ...]

    @property
    def flat(self) -> list[int]:
        """The factors of all axes."""
        return [factor for axis in self.factors for factor in axis]

    @property
    def order(self) -> list[int]:
        """The places in `flat` of an input's axes: rows, samples, and the rest."""
        rank = {_ROWS: 0, _SAMPLES: 1}
        return sorted(range(len(self.flat)), key=lambda i: rank.get(self.flat[i], 2))

    @property
    def sampled(self) -> bool:
        """Whether each sample has noise of its own."""
        return _SAMPLES in self.flat

    def samples_in(self, drawn: np.ndarray | tf.Tensor) -> float:
        """Returns the number of samples in a draw of one row."""
        return math.prod(drawn.shape) / math.prod(n for n in self.flat if n > 0)

    def spec(self, name: str, num_samples: int) -> tf.TensorSpec:
        """Returns the input's shape and dtype."""
        sizes = [self._sizes(num_samples)[i] for i in self.order]
        return tf.TensorSpec([None if n == _ROWS else n for n in sizes], name=name)

    def as_drawn(self, value: tf.Tensor, num_samples: int) -> tf.Tensor:
        """Returns an input in the shape of the draw."""
        back = np.argsort(self.order)
        if list(back) != sorted(back):
            value = tf.transpose(value, back)
        sizes = self._sizes(num_samples)
        shape, start = [], 0
        for axis in self.factors:
            part = sizes[start : start + len(axis)]
            shape.append(-1 if _ROWS in part else math.prod(part))
            start += len(axis)
        return tf.reshape(value, shape)

    def as_input(self, drawn: Sequence[np.ndarray], num_samples: int) -> np.ndarray:
        """Returns a row of an input [K, ...] from draws of one row, block by block."""
        parts = []
        for each in drawn:
            samples = int(self.samples_in(each))
            sizes = [1 if n == _ROWS else n for n in self._sizes(samples)]
            parts.append(np.transpose(each.reshape(sizes), self.order)[0])
        if not self.sampled:
            return parts[0]
        return np.concatenate(parts)[:num_samples]

    def _sizes(self, num_samples: int) -> list[int]:
        return [num_samples if n == _SAMPLES else n for n in self.flat]


def noise_inputs(
    make: MakeDrawing, roles: Callable[[int], Roles], num_samples: int
) -> tuple[Draws, list[Layout]]:
    """Returns noise as the inputs of a drawing, `noise` or `noise_1`, `noise_2`, ...

    Args:
        make: The drawing, of a number of samples.
        roles: Some roles of a number of rows.
        num_samples: K.

    Raises:
        InputError: if the draws are of another form for another K.
    """
    layouts = _layouts(make, roles)
    names = [f"noise_{number + 1}" for number in range(len(layouts))]
    if len(names) == 1:
        names = ["noise"]
    specs = [
        layout.spec(name, num_samples)
        for name, layout in zip(names, layouts, strict=True)
    ]

    def answer(drawing: Drawing, roles: Roles, inputs: Sequence[tf.Tensor]) -> dict:
        rows = tf.shape(inputs[0])[0]
        inputs = [_of_rows(value, rows) for value in inputs]
        roles = tf.nest.map_structure(lambda value: _of_rows(value, rows), roles)
        numbers = [
            lambda value=value, layout=layout: layout.as_drawn(value, num_samples)
            for value, layout in zip(inputs, layouts, strict=True)
        ]
        with noise.given(numbers):
            return drawing.together(roles, rows)

    return Draws(dict(zip(names, specs, strict=True)), answer), layouts


def _of_rows(value: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns an input [rows, ...]; a runtime refuses one of other rows."""
    return tf.reshape(value, [rows, *value.shape[1:]])


def noise_of_row(
    layouts: Sequence[Layout], drawn: Sequence[noise.Drawn], num_samples: int
) -> list[np.ndarray]:
    """Returns the inputs of one row, from what its seed has drawn.

    Many samples are drawn in blocks: each of the draws that belong together comes once
    for the first block, then once for the second, and so on.
    """
    found: list[np.ndarray] = []
    place = 0
    while len(found) < len(layouts):
        first, rest = layouts[len(found)], drawn[place:]
        samples = first.samples_in(rest[0].values)
        blocks = math.ceil(num_samples / samples) if first.sampled else 1
        together = 1
        for layout, each in zip(layouts[len(found) + 1 :], rest[1:], strict=False):
            alike = layout.law == each.law and layout.sampled
            if blocks == 1 or not alike or layout.samples_in(each.values) != samples:
                break
            together += 1
        taken = [each.values.numpy() for each in rest[: blocks * together]]
        for number in range(together):
            layout = layouts[len(found)]
            values = layout.as_input(taken[number::together], num_samples)
            found.append(values.astype(np.float32))
        place += blocks * together
    return found


def _layouts(make: MakeDrawing, roles: Callable[[int], Roles]) -> list[Layout]:
    """Returns the layout of each draw, from three runs of the body."""
    runs = []
    for rows, samples in ((2, 2), (3, 2), (2, 3)):
        with noise.recorded() as drawn:
            make(samples).answer(roles(rows), rows, tf.zeros([2], tf.int32))
        runs.append([(each.law, tuple(each.values.shape)) for each in drawn])
    if len({len(run) for run in runs}) > 1:
        raise InputError(
            "the draws of this model are of another form for another number of "
            "samples, and noise cannot be given for them; export the format savedmodel"
        )
    return [
        Layout(law, _without_ones(map(_factors, first, more_rows, more_samples)))
        for (law, first), (_, more_rows), (_, more_samples) in zip(*runs, strict=True)
    ]


def _without_ones(axes: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Returns axes without samples of which there is one, which stand before rows."""
    found, after = [], False
    for axis in axes:
        after = after or _ROWS in axis
        found.append(axis if after or axis != (1,) else ())
    return tuple(found)


def _factors(size: int, more_rows: int, more_samples: int) -> tuple[int, ...]:
    """Returns the factors of an axis, of 2 or 3 rows, and of 2 or 3 samples.

    Samples are slower than rows, and both slower than what belongs to one of them: so
    are sample shapes, batch shapes and events of distributions.
    """
    found = []
    if more_samples != size:
        found.append(_SAMPLES)
        size //= 2
    if more_rows != size * (2 if found else 1):
        found.append(_ROWS)
        size //= 2
    return (*found, size) if size > 1 or not found else tuple(found)
