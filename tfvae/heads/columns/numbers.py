"""Columns of real numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import Normal, StudentT, tfd
from tfvae.heads.base import MIN_SCALE
from tfvae.heads.columns.base import Column
from tfvae.heads.columns.series import as_numbers, numbers_to_series

_INITIAL_SCALE = math.log(2) + MIN_SCALE  # softplus(0) + 1e-5
# Softplus of it is 4: five degrees of freedom at a raw 0.
_RAW_DF = math.log(math.expm1(4.0))
# Least and largest scale, whose logarithm and quotients float32 has.
_SCALES = (1e-30, 1e30)
_EPSILON = 2.0**-23


@dataclasses.dataclass(frozen=True)
class NumberColumn(Column):
    """The base of columns that are kept as the numbers they are."""

    def encode(self, series: Any) -> np.ndarray:
        """See `Column.encode`."""
        values = as_numbers(self.name, series).astype(np.float32)
        wrong = self.outside(tf.constant(values)).numpy() & ~np.isnan(values)
        if wrong.any():
            raise InputError(
                f"column {self.name!r} holds {values[wrong][0]:g}, which is outside of "
                f"{self.support} ({self.kind}); change it, or choose another kind"
            )
        return values

    def decode(self, values: np.ndarray, pandas: Any) -> Any:
        """See `Column.decode`; whole dtypes have the nearest whole number."""
        return numbers_to_series(values, self.dtype, pandas)


@dataclasses.dataclass(frozen=True)
class StandardisedColumn(NumberColumn):
    """The base of columns that are standardised before their law is looked at.

    With u = (x - loc) / scale, log p(x) = log p(u) - log(scale), a density of x.

    Args:
        loc: What is subtracted, about the mean of the training data.
        scale: What is divided by, about their standard deviation.

    Raises:
        InputError: if loc or scale is not finite, or leaves float32 no digits.
    """

    loc: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "loc", float(self.loc))
        object.__setattr__(self, "scale", float(self.scale))
        low, high = _SCALES
        if not (math.isfinite(self.loc) and low <= self.scale <= high):
            raise InputError(
                f"column {self.name!r} has loc {self.loc:g} and scale {self.scale:g}; "
                f"give finite numbers, and a scale from {low:g} to {high:g}"
            )
        if abs(self.loc) * _EPSILON > 1e-3 * self.scale:
            raise InputError(
                f"column {self.name!r} has a mean of {self.loc:g} and a scale of "
                f"{self.scale:g}, which leaves float32 no digits; subtract an offset "
                "from it before"
            )

    @classmethod
    def from_series(cls, series: Any, facts: Mapping[str, Any]) -> Column:
        """See `Column.from_series`; a constant column has scale 1."""
        values = as_numbers(str(series.name), series)
        loc, scale = cls.location_and_scale(values[~np.isnan(values)])
        return cls(loc=loc, scale=scale if scale > 0 else 1.0, **facts)

    @classmethod
    def location_and_scale(cls, values: np.ndarray) -> tuple[float, float]:
        """Returns loc and scale of values [N] that are finite."""
        return _moments(values)

    @property
    def filler(self) -> float:
        """The location, whose feature is 0."""
        return self.loc

    def standardised(self, value: tf.Tensor) -> tf.Tensor:
        """Returns u = (value - loc) / scale."""
        return (value - self.loc) / self.scale

    def log_prob_inside(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """See `Column.log_prob_inside`; x - loc is exact where it is small."""
        u = self.standardised(value)
        return self.law(params).log_prob(u) - math.log(self.scale)

    def sample(self, params: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Column.sample`."""
        return self.loc + self.scale * self.law(params).sample(seed=seed)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """See `Column.mean`."""
        return self.loc + self.scale * params[..., 0]

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the location and the scale of x (of log x, if that is Normal)."""
        law = self.law(params)
        return {"loc": self.loc + self.scale * law.loc, "scale": self.scale * law.scale}

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns the standardised mean, beside zeros."""
        rest = [0.0] * (self.num_params - 1)
        return np.array([(mean - self.loc) / self.scale, *rest])

    def features(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the standardised value."""
        return self.standardised(value)[..., tf.newaxis]


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class NormalColumn(StandardisedColumn):
    """Normal: x = loc + scale (m + s e), with m and s = softplus(raw) + 1e-5 given."""

    formula: ClassVar[str] = (
        "log p(x) = -((u - m) / s)^2 / 2 - log(s scale) - log(2 pi) / 2"
    )
    paper: ClassVar[str] = "Kingma and Welling (2014), Auto-Encoding Variational Bayes"

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "normal"

    @property
    def num_params(self) -> int:
        """The location and the raw scale."""
        return 2

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Normal of u = (x - loc) / scale."""
        return Normal(params[..., 0], tf.nn.softplus(params[..., 1]) + MIN_SCALE)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class StudentTColumn(StandardisedColumn):
    """Student-t of location m, scale s and degrees of freedom df from the network.

    x = loc + scale (m + s t). s is softplus(raw) + 1e-5, and df is 1 + softplus(raw +
    3.98) + 1e-5, which is 5 at a raw 0. With df above 1 there is a mean, and above 2 a
    variance.
    Fitted to data, loc is their median, and scale their quartiles' distance over that
    of the Normal, which outliers leave as they are.
    """

    formula: ClassVar[str] = (
        "log p(x) = -(df + 1) / 2 log(1 + ((u - m) / s)^2 / df) - log(s scale) "
        "- log(df) / 2 - log B(1/2, df / 2)"
    )
    paper: ClassVar[str] = "Student (1908), The probable error of a mean"

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "student_t"

    @classmethod
    def location_and_scale(cls, values: np.ndarray) -> tuple[float, float]:
        """Returns the median and the quartiles' distance / 1.349."""
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        scale = float(high - low) / 1.349
        return float(middle), scale if scale > 0 else _moments(values)[1]

    @property
    def num_params(self) -> int:
        """The location, the raw scale and the raw degrees of freedom."""
        return 3

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Student-t of u = (x - loc) / scale."""
        loc, raw_scale, raw_df = tf.unstack(params, axis=-1)
        scale = tf.nn.softplus(raw_scale) + MIN_SCALE
        return StudentT(1.0 + tf.nn.softplus(raw_df + _RAW_DF) + MIN_SCALE, loc, scale)

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns location and scale of x, and the degrees of freedom."""
        return {**super().named_params(params), "df": self.law(params).df}


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class LogNormalColumn(StandardisedColumn):
    """Log-normal: log x = loc + scale (m + s e), with m and s from the network.

    loc and scale are those of log x. Draws and means beyond the float type's least and
    largest numbers are these.
    """

    inside: ClassVar[float] = 1.0
    formula: ClassVar[str] = (
        "log p(x) = -((u - m) / s)^2 / 2 - log(s scale x) - log(2 pi) / 2, "
        "u = (log x - loc) / scale"
    )
    paper: ClassVar[str] = (
        "Nazabal et al. (2020), Handling incomplete heterogeneous data using VAEs"
    )

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "log_normal"

    @property
    def support(self) -> str:
        """See `Column.support`."""
        return "numbers above 0"

    @property
    def num_params(self) -> int:
        """The location and the raw scale of the logarithm."""
        return 2

    @classmethod
    def location_and_scale(cls, values: np.ndarray) -> tuple[float, float]:
        """Returns mean and standard deviation of the logarithms."""
        return _moments(np.log(values))

    @classmethod
    def from_series(cls, series: Any, facts: Mapping[str, Any]) -> Column:
        """See `Column.from_series`."""
        cls(name=facts["name"]).encode(series)  # refuses what has no logarithm
        return super().from_series(series, facts)

    @property
    def filler(self) -> float:
        """The number whose logarithm has the feature 0, within float32."""
        return math.exp(min(max(self.loc, -80.0), 80.0))

    def outside(self, value: tf.Tensor) -> tf.Tensor:
        """Returns where values are not finite numbers above 0."""
        return tf.logical_not(tf.math.is_finite(value) & (value > 0))

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Normal of u = (log x - loc) / scale."""
        return Normal(params[..., 0], tf.nn.softplus(params[..., 1]) + MIN_SCALE)

    def standardised(self, value: tf.Tensor) -> tf.Tensor:
        """Returns u = (log(value) - loc) / scale."""
        return super().standardised(tf.math.log(value))

    def log_prob_inside(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """See `Column.log_prob_inside`."""
        return super().log_prob_inside(params, value) - tf.math.log(value)

    def sample(self, params: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Column.sample`."""
        return _bounded_exp(super().sample(params, seed))

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """Returns exp(loc + scale m + (scale s)^2 / 2)."""
        law = self.law(params)
        half_variance = 0.5 * tf.square(self.scale * law.scale)
        return _bounded_exp(self.loc + self.scale * law.loc + half_variance)

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns the location of a mean at a raw scale of 0."""
        least = float(np.finfo(np.float32).tiny)
        half_variance = 0.5 * (self.scale * _INITIAL_SCALE) ** 2
        return super().params_for_mean(math.log(max(mean, least)) - half_variance)


def _moments(values: np.ndarray) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))


def _bounded_exp(value: tf.Tensor) -> tf.Tensor:
    """Returns exp(value), kept among the normal numbers of its dtype, above 0."""
    info = np.finfo(value.dtype.as_numpy_dtype)
    # A thousandth inside: exp rounds, and the logarithm of the largest does too.
    low, high = math.log(float(info.tiny)) + 1e-3, math.log(float(info.max)) - 1e-3
    return tf.exp(tf.clip_by_value(value, low, high))
