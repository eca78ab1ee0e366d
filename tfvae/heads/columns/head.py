"""A head over the rows of a table, and the layer that an encoder reads them with."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.lookup import nearest
from tfvae.core.optional import is_frame, optional_package
from tfvae.core.types import InputError
from tfvae.distributions import tfd
from tfvae.heads.base import DistributionHead, with_parts
from tfvae.heads.columns.base import Column
from tfvae.heads.columns.choice import Choice, column_of
from tfvae.heads.columns.product import ColumnProduct

_SHOWN = 6  # columns in a line


@keras.saving.register_keras_serializable(package="tfvae")
class Columns(DistributionHead):
    """The rows of a table of mixed columns: a product of one law for each column.

    log p(x) is the sum over columns of their log-probabilities, in nats; x [..., D] has
    numbers as they are, and codes 0, 1, ... for categories and booleans. Parameters of
    a row lie one column after another. Standardisation is within the columns: networks
    put out numbers of about unit scale, and log-likelihoods are those of the data as
    they are given (Nazabal et al., 2020). Means are probabilities of Bernoulli columns,
    means of the codes of ordinal ones, and the most probable code of categorical ones.

        columns = Columns.from_frame(df)
        x = columns.encode(df)  # [N, D]
        encoder = keras.Sequential([keras.Input((D,)), columns.inputs(), ...])
        decoder = keras.Sequential([..., Dense(columns.params_shape[-1])])
        vae = tfvae.VAE(encoder, decoder, likelihood=columns)
        columns.decode(vae.sample(5).draw)  # a frame

    Args:
        columns: The columns, each of another name.

    Attributes:
        columns: The columns.
        elementwise: True: `distribution.log_prob_columns(x)` [..., D] has the terms of
            `log_prob`.
        is_density: True if any column is continuous.
        num_params: Of no use here: columns have different numbers of parameters.

    Raises:
        InputError: if there are no columns, or two have one name.
    """

    elementwise = True
    param_names = ("mean",)
    formula = "log p(x) = sum of the columns' log p(x_d)"
    paper = "Nazabal et al. (2020), Handling incomplete heterogeneous data using VAEs"

    def __init__(self, columns: Sequence[Column], **kwargs) -> None:
        usable = isinstance(columns, (list, tuple)) and columns
        if not usable or not all(isinstance(column, Column) for column in columns):
            raise InputError(
                f"columns {columns!r:.100} are not usable; give a list of columns, for "
                "example [NormalColumn('height')], or use Columns.from_frame(df)"
            )
        names = [column.name for column in columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise InputError(f"two columns are named {min(twice)!r}; rename one")
        super().__init__((len(columns),), **kwargs)
        self.columns = tuple(columns)
        self.is_density = any(column.is_density for column in columns)
        each = [f"{column.name}: {column.support}" for column in columns]
        self.support = _listed(each)

    @classmethod
    def from_frame(
        cls, frame: Any, kinds: Mapping[str, str] | None = None, **kwargs
    ) -> Columns:
        """Returns the columns of a pandas DataFrame, of kinds that fit their values.

        Booleans, and ints of 0 and 1, are Bernoulli; categories and text categorical,
        or ordinal if their dtype has an order; counts up to 1,000 Poisson, or negative
        binomial if they vary more, zero-inflated if there are more zeros than it gives;
        other numbers Normal, or log-normal if they are above 0 and strongly skewed.
        `choices` and `summary()` say what was chosen, and why.

        Args:
            frame: The training data; what it has missing makes a column nullable.
            kinds: Name of a column -> its kind, a name in `COLUMN_KINDS`, in place of
                what would be chosen.
            **kwargs: Other arguments of the head.

        Raises:
            InputError: if a column has no kind, or cannot have the one that is given.
        """
        _check_frame(frame)
        if not len(frame):
            raise InputError("the frame has no rows; give the training data")
        names, kinds = list(frame.columns), dict(kinds or {})
        for name in kinds:
            if name not in names:
                known = [str(other) for other in names]
                raise InputError(
                    f"kinds names {name!r:.60}, which is no column; "
                    f"{nearest(str(name), known)}the frame has {_listed(known)}"
                )
        return cls([column_of(frame[n], kinds.get(n)) for n in names], **kwargs)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def choices(self) -> dict[str, Choice]:
        """The kind of each column by its name, and why it was chosen."""
        return {column.name: Choice(column.kind, column.why) for column in self.columns}

    @functools.cached_property
    def params_shape(self) -> tuple[int, ...]:
        """The shape of the network's output for one row."""
        return (sum(column.num_params for column in self.columns),)

    def distribution(self, params: tf.Tensor) -> ColumnProduct:
        """Returns the distribution of rows, batch [...], event [D]."""
        return ColumnProduct(params, self.columns)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return self.distribution(params)

    def outside(self, x: tf.Tensor) -> tf.Tensor:
        """Returns where values [..., D] are not in the support of their column.

        Raises:
            InputError: if x does not end in D.
        """
        if not x.shape[-1:].is_compatible_with(self.event_shape):
            raise InputError(
                f"values have shape {tuple(x.shape)}, and {len(self.columns)} columns "
                f"need them to end in {self.event_shape}; give all columns"
            )
        each = [column.outside(x[..., i]) for i, column in enumerate(self.columns)]
        return tf.stack(each, axis=-1)

    @functools.cached_property
    def filler(self) -> np.ndarray:
        """The fillers of the columns, [D]."""
        return np.array([column.filler for column in self.columns])

    def element_log_probs(
        self, distribution: tfd.Distribution, x: tf.Tensor
    ) -> tf.Tensor:
        """Returns the columns' log-probabilities, [..., D], in nats."""
        return distribution.log_prob_columns(x)

    def expectation(
        self, distribution: tfd.Distribution, share: tf.Tensor
    ) -> tf.Tensor:
        """Returns the columns' means of a mixture of laws, [B, D]; see `Columns`."""
        parts = zip(self.columns, distribution.column_params, strict=True)
        each = [column.expectation(params, share) for column, params in parts]
        return tf.stack(each, axis=-1)

    def in_support(self, x: np.ndarray) -> bool:
        """Returns whether every row of [..., D] is in the support; others are not."""
        return np.shape(x)[-1:] == self.event_shape and super().in_support(x)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns parameters [*params_shape] of a mean [D]; see `Columns`."""
        parts = zip(self.columns, np.asarray(mean), strict=True)
        return np.concatenate([c.params_for_mean(float(value)) for c, value in parts])

    def named_params(self, distribution: ColumnProduct) -> dict[str, tf.Tensor]:
        """Returns "mean" [..., D], and each column's parameters as "column/param".

        Those are [...], or end in an axis of logits or thresholds.
        """
        found = {"mean": distribution.mean()}
        parts = zip(self.columns, distribution.column_params, strict=True)
        for column, params in parts:
            for name, value in column.named_params(params).items():
                found[f"{column.name}/{name}"] = value
        return found

    def encode(self, frame: Any) -> np.ndarray:
        """Returns the rows of a DataFrame as float32 [N, D], NaN for missing values.

        Other columns of the frame are left out, and float32 keeps 24 bits of a number.

        Raises:
            InputError: if a column is missing, or has values that are none of its kind.
        """
        _check_frame(frame)
        known = [str(name) for name in frame.columns]
        for name in self.names:
            if name not in frame.columns:
                raise InputError(
                    f"the frame has no column {name!r}; {nearest(name, known)}it has "
                    f"{_listed(known)}"
                )
        each = [column.encode(frame[column.name]) for column in self.columns]
        return np.stack(each, axis=-1)

    def decode(self, x: Any) -> Any:
        """Returns the DataFrame of rows [N, D], with the dtypes of the first frame.

        NaN is a missing value; where a dtype of pandas has none, its nullable twin is
        used. Codes and whole numbers are rounded, so that means can be decoded too.

        Raises:
            InputError: if x has another shape, or a code is none of its column's; or
                pandas is not installed.
        """
        rows = np.asarray(x)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise InputError(
                f"rows have shape {rows.shape}; give [N, {len(self.columns)}], for "
                "example the draw of vae.sample"
            )
        pandas = optional_package("pandas", "tables", "a frame")
        parts = enumerate(self.columns)
        return pandas.DataFrame(
            {column.name: column.decode(rows[:, i], pandas) for i, column in parts}
        )

    def inputs(self, **kwargs) -> ColumnInputs:
        """Returns the layer x [B, D] -> features [B, F] that an encoder begins with."""
        return ColumnInputs(self.columns, **kwargs)

    def summary(self) -> str:
        """Returns a table of the columns: name, kind, parameters, missing and why."""
        rows = [("column", "kind", "parameters", "missing", "because")]
        for c in self.columns:
            missing = "yes" if c.nullable else "no"
            rows.append((c.name, c.kind, str(c.num_params), missing, c.why))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = (zip(row, widths, strict=True) for row in rows)
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in line).rstrip()
            for line in lines
        )

    def __repr__(self) -> str:
        """Returns the columns with their kinds, in one line."""
        return f"Columns({_listed([f'{c.name}: {c.kind}' for c in self.columns])})"

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        config = super().get_config()
        del config["event_shape"]
        return {**config, "columns": _serialised(self.columns)}

    @classmethod
    def from_config(cls, config: dict) -> Columns:
        """Rebuilds a head from `get_config`."""
        return cls(**with_parts(config, ("columns",)))


@keras.saving.register_keras_serializable(package="tfvae")
class ColumnInputs(keras.layers.Layer):
    """From rows [..., D] to features [..., F], where an encoder begins.

    Numbers are standardised (logarithms of log-normal ones, and log(1 + x) of counts),
    booleans are 0 or 1, and categories, ordered or not, zeros with a one. Features of a
    value outside of its column's support are 0, as a number's mean has: whatever a hole
    is filled with, they are finite.

    Args:
        columns: The columns, as those of `Columns`.
    """

    def __init__(self, columns: Sequence[Column], **kwargs) -> None:
        kwargs["dtype"] = kwargs.get("dtype") or keras.config.floatx()
        super().__init__(**kwargs)
        self.columns = tuple(columns)
        self.built = True

    @property
    def num_features(self) -> int:
        """The number F of features."""
        return sum(column.num_features for column in self.columns)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the features [..., F] of rows [..., D]."""
        each = []
        for i, column in enumerate(self.columns):
            value, outside = x[..., i], column.outside(x[..., i])
            inside = tf.where(outside, tf.constant(column.inside, x.dtype), value)
            features = column.features(inside)
            zeros = tf.zeros_like(features)
            each.append(tf.where(outside[..., tf.newaxis], zeros, features))
        return tf.concat(each, axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:
        """Returns the features' shape.

        Raises:
            InputError: if rows have another number of columns.
        """
        if input_shape[-1] != len(self.columns):
            raise InputError(
                f"{self.name!r} is given rows of shape {tuple(input_shape)}, and has "
                f"{len(self.columns)} columns; begin with keras.Input"
                f"(({len(self.columns)},))"
            )
        return (*input_shape[:-1], self.num_features)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Stands for the features in a symbolic model."""
        return keras.KerasTensor(self.compute_output_shape(x.shape), self.compute_dtype)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this layer."""
        return {**super().get_config(), "columns": _serialised(self.columns)}

    @classmethod
    def from_config(cls, config: dict) -> ColumnInputs:
        """Rebuilds a layer from `get_config`."""
        return cls(**with_parts(config, ("columns",)))


def _serialised(columns: Sequence[Column]) -> list:
    return [keras.saving.serialize_keras_object(column) for column in columns]


def _listed(texts: Sequence[str]) -> str:
    """Returns texts in a line, of which the first ones stand for many."""
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _check_frame(frame: Any) -> None:
    """Refuses what is no DataFrame of pandas, or has a name twice."""
    if not is_frame(frame):
        raise InputError(
            f"a {type(frame).__name__} is no table; give a pandas DataFrame"
        )
    names = list(frame.columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice or not names:
        raise InputError(
            f"two columns are named {twice[0]!r}; rename one"
            if twice
            else "the frame has no columns; give at least one"
        )
