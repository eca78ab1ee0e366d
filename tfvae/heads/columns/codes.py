"""Columns of categories, whose values are codes 0, 1, ..., K - 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.lookup import nearest
from tfvae.core.types import InputError
from tfvae.distributions import Bernoulli, Categorical, tfd
from tfvae.heads.base import MIN_SCALE, clipped_logit, inverse_of_increasing
from tfvae.heads.base import softplus_inverse as raw_of
from tfvae.heads.columns.base import Column
from tfvae.heads.columns.series import (
    Scalar,
    categories_of,
    codes_to_series,
    present,
)
from tfvae.heads.discretized import log_softmax

_SHOWN = 8  # categories in a message


@dataclasses.dataclass(frozen=True)
class CodedColumn(Column):
    """The base of columns of K categories, with codes 0, 1, ..., K - 1.

    Args:
        categories: The values of the table, in the order of their codes.
        ordered: True if the frame's dtype says that categories have an order.
        categories_dtype: The dtype of categories in a frame's dtype "category".

    Raises:
        InputError: if there are no categories, one is there twice, or is neither text
            nor a number.
    """

    categories: tuple[Scalar, ...] = (False, True)
    ordered: bool = dataclasses.field(default=False, kw_only=True)
    categories_dtype: str = dataclasses.field(default="", kw_only=True)

    is_density: ClassVar[bool] = False
    least_categories: ClassVar[int] = 1
    most_categories: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "categories", tuple(self.categories))
        for category in self.categories:
            if not isinstance(category, (str, bool, int, float)):
                raise InputError(
                    f"column {self.name!r} has the category {category!r:.60}, a "
                    f"{type(category).__name__}; give text or numbers, for example by "
                    ".astype(str)"
                )
        count = len(self.categories)
        if len(set(self.categories)) < count:
            raise InputError(f"column {self.name!r} has a category twice; rename one")
        most = self.most_categories or count
        if not self.least_categories <= count <= most:
            wanted = f"{self.least_categories} or more" if most == count else f"{most}"
            raise InputError(
                f"column {self.name!r} has {count} categories, and kind {self.kind!r} "
                f"takes {wanted}; choose another kind"
            )

    @classmethod
    def from_series(cls, series: Any, facts: Mapping[str, Any]) -> Column:
        """See `Column.from_series`."""
        return cls(**categories_of(series), **facts)

    @property
    def num_categories(self) -> int:
        """The number K of categories."""
        return len(self.categories)

    @property
    def num_features(self) -> int:
        """One for each category."""
        return self.num_categories

    @property
    def support(self) -> str:
        """See `Column.support`."""
        return f"codes from 0 to {self.num_categories - 1}"

    def outside(self, value: tf.Tensor) -> tf.Tensor:
        """Returns where values are no codes."""
        last = self.num_categories - 1
        whole = tf.equal(value, tf.floor(value))
        return tf.logical_not((value >= 0) & (value <= last) & whole)

    def log_probs(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the log-probabilities [..., K] of all codes."""
        raise NotImplementedError

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution over codes."""
        return Categorical(logits=self.log_probs(params))

    def log_prob_inside(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """See `Column.log_prob_inside`."""
        # A product, and no gather: values may have more axes than the parameters.
        return tf.reduce_sum(self.features(value) * self.log_probs(params), axis=-1)

    def features(self, value: tf.Tensor) -> tf.Tensor:
        """Returns zeros with a one at the code, [..., K]."""
        codes = tf.cast(value, tf.int32)
        return tf.one_hot(codes, self.num_categories, dtype=value.dtype)

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the log-probabilities of the codes, [..., K]."""
        return {"logits": self.log_probs(params)}

    def encode(self, series: Any) -> np.ndarray:
        """See `Column.encode`."""
        mask, values = present(series)
        numbers = {category: code for code, category in enumerate(self.categories)}
        try:
            codes = [numbers[value] for value in values]
        except (KeyError, TypeError):
            unknown = next(v for v in values if _unknown(v, numbers))
            shown = ", ".join(map(repr, self.categories[:_SHOWN]))
            more = ", ..." if self.num_categories > _SHOWN else ""
            texts = [str(category) for category in self.categories]
            raise InputError(
                f"column {self.name!r} holds {unknown!r:.60}, which is no category of "
                f"it; {nearest(str(unknown), texts)}it has {shown}{more}"
            ) from None
        encoded = np.full(len(mask), np.nan, np.float32)
        encoded[mask] = codes
        return encoded

    def decode(self, values: np.ndarray, pandas: Any) -> Any:
        """See `Column.decode`; each value is that of the nearest code.

        Raises:
            InputError: if a value is further than 1/2 from every code.
        """
        last = self.num_categories - 1
        missing = np.isnan(values)
        if np.any(~missing & ~((values >= -0.5) & (values <= last + 0.5))):
            raise InputError(
                f"column {self.name!r} has values from {np.nanmin(values):g} to "
                f"{np.nanmax(values):g}; give {self.support}, or NaN"
            )
        codes = np.clip(np.round(np.where(missing, 0, values)), 0, last).astype(int)
        codes = np.where(missing, -1, codes)
        return codes_to_series(codes, self, pandas)


def _unknown(value: Any, numbers: Mapping[Scalar, int]) -> bool:
    try:
        return value not in numbers
    except TypeError:  # a list, for one
        return True


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class BernoulliColumn(CodedColumn):
    """Bernoulli with a logit from the network: P(1) = sigmoid(logit).

    Its mean is P(1).
    """

    least_categories: ClassVar[int] = 2
    most_categories: ClassVar[int | None] = 2
    formula: ClassVar[str] = "log p(x) = x logit - log(1 + exp(logit))"
    paper: ClassVar[str] = "Kingma and Welling (2014), Auto-Encoding Variational Bayes"

    @classmethod
    def from_series(cls, series: Any, facts: Mapping[str, Any]) -> Column:
        """See `Column.from_series`; of False and True, or 0 and 1, one is enough."""
        found = categories_of(series)
        for both in ((False, True), (0, 1), (0.0, 1.0)):
            kinds = {type(value) for value in found["categories"]}
            if set(found["categories"]) <= set(both) and kinds <= {type(both[0])}:
                found["categories"] = both
        return cls(**found, **facts)

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "bernoulli"

    @property
    def num_features(self) -> int:
        """The value itself."""
        return 1

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Bernoulli."""
        return Bernoulli(logits=params[..., 0], dtype=params.dtype)

    def log_prob_inside(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """See `Column.log_prob_inside`."""
        return tf.math.log_sigmoid((2.0 * value - 1.0) * params[..., 0])

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the logit."""
        return {"logits": params[..., 0]}

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns the logit of the mean, clipped to [0.001, 0.999]."""
        return clipped_logit(np.array([mean]))

    def features(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the value itself."""
        return value[..., tf.newaxis]


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class CategoricalColumn(CodedColumn):
    """Categorical with K logits from the network.

    Its `mean` is the most probable code: a mean of codes without an order says nothing.
    """

    formula: ClassVar[str] = "P(k) = softmax(logits)_k"
    paper: ClassVar[str] = (
        "Nazabal et al. (2020), Handling incomplete heterogeneous data using VAEs"
    )

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "categorical"

    @property
    def num_params(self) -> int:
        """One for each category."""
        return self.num_categories

    def log_probs(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the log-probabilities [..., K] of all codes."""
        return log_softmax(params)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the most probable code [...]."""
        return tf.cast(tf.argmax(params, axis=-1), params.dtype)

    def expectation(self, params: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        """Returns the code that is the most probable one of the mixture, [B]."""
        probabilities = tf.exp(self.log_probs(params))  # [S, B, K]
        mixed = tf.reduce_sum(share[..., tf.newaxis] * probabilities, axis=0)
        return tf.cast(tf.argmax(mixed, axis=-1), params.dtype)

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns a logit of 1 for the nearest code, and 0 for the others."""
        code = int(np.clip(np.round(mean), 0, self.num_categories - 1))
        return np.eye(self.num_categories)[code]


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class OrdinalColumn(CodedColumn):
    """Ordered categories by a cumulative logit: P(x <= k) = sigmoid(t_k).

    The K - 1 thresholds come from the network: t_0 = c_0 + raw_0 and t_k = t_(k-1) +
    softplus(raw_k + d_k) + 1e-5, so that they have an order, with c and d such that all
    codes are equally probable at raw 0. raw_0 moves all thresholds. The mean is that of
    the codes (McCullagh, 1980).
    """

    least_categories: ClassVar[int] = 2
    formula: ClassVar[str] = "P(k) = sigmoid(t_k) - sigmoid(t_(k-1))"
    paper: ClassVar[str] = "McCullagh (1980), Regression models for ordinal data"

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "ordinal"

    @property
    def num_params(self) -> int:
        """One for each threshold."""
        return self.num_categories - 1

    @property
    def even_thresholds(self) -> np.ndarray:
        """The thresholds [K - 1] between categories that are equally probable."""
        k = np.arange(1, self.num_categories)
        return np.log(k) - np.log(self.num_categories - k)

    def gaps(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the distances [..., K - 2] of neighbouring thresholds."""
        raw = raw_of(np.diff(self.even_thresholds) - MIN_SCALE)
        return tf.nn.softplus(params[..., 1:] + raw.astype(params.dtype.name)) + (
            MIN_SCALE
        )

    def thresholds(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the thresholds [..., K - 1], in ascending order."""
        first = params[..., :1] + self.even_thresholds[0]
        steps = tf.concat([tf.zeros_like(first), self.gaps(params)], axis=-1)
        return first + tf.cumsum(steps, axis=-1)

    def log_probs(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the log-probabilities [..., K] of all codes."""
        # log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a)
        # + log(1 - exp(a - b)), in which nothing cancels; outer codes lack an edge.
        t = self.thresholds(params)
        zero = tf.zeros_like(t[..., :1])
        above = tf.concat([tf.math.log_sigmoid(t), zero], axis=-1)
        below = tf.concat([zero, tf.math.log_sigmoid(-t)], axis=-1)
        width = tf.math.log(-tf.math.expm1(-self.gaps(params)))
        return above + below + tf.concat([zero, width, zero], axis=-1)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the mean of the codes, the sum of P(x > k)."""
        return tf.reduce_sum(tf.sigmoid(-self.thresholds(params)), axis=-1)

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the thresholds [..., K - 1]."""
        return {"thresholds": self.thresholds(params)}

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns the shift of all thresholds that has a mean, clipped."""
        last = self.num_categories - 1

        def mean_of(shift: np.ndarray) -> np.ndarray:
            above = shift[..., None] - self.even_thresholds
            return np.sum(0.5 * (1 + np.tanh(0.5 * above)), axis=-1)

        wanted = np.array(np.clip(mean, 0.001 * last, 0.999 * last))
        shift = inverse_of_increasing(mean_of, wanted, -50.0, 50.0)
        return np.array([-float(shift), *[0.0] * (last - 1)])
