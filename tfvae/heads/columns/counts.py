"""Columns of counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_number, require_real
from tfvae.distributions import draws, tfd
from tfvae.heads.base import MIN_SCALE, softplus_inverse
from tfvae.heads.columns.base import Column
from tfvae.heads.columns.numbers import NumberColumn
from tfvae.heads.columns.series import as_numbers
from tfvae.heads.counts import MeanNegativeBinomial

_RAW_ONE = math.log(math.expm1(1.0 - MIN_SCALE))  # softplus of it, + 1e-5, is 1
_LEAST_MEAN = 1e-3  # in place of a mean of 0


@dataclasses.dataclass(frozen=True)
class CountColumn(NumberColumn):
    """The base of columns of counts.

    The law's mean is rate (softplus(raw + 0.54) + 1e-5), which is `rate` at a raw 0.
    With `zero_inflated` there is one more parameter l, last, and

        P(0) = sigmoid(l) + sigmoid(-l) P'(0),    P(x) = sigmoid(-l) P'(x) for x > 0,

    where P' is the law without it (Lambert, 1992).

    Args:
        rate: The mean of the training data.
        zero_inflated: True if there are more zeros than the law itself gives.
        loc: The mean of log(1 + x) in the training data, for `features`.
        scale: The standard deviation of log(1 + x).

    Raises:
        InputError: if a number is not finite, or rate or scale not above 0.
    """

    rate: float = 1.0
    zero_inflated: bool = False
    loc: float = 0.0
    scale: float = 1.0

    is_density: ClassVar[bool] = False
    own_params: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"of column {self.name!r}:"
        for field in ("rate", "scale"):
            number = require_number(f"{field} {where}", getattr(self, field))
            object.__setattr__(self, field, number)
        object.__setattr__(self, "loc", require_real(f"loc {where}", self.loc))

    @classmethod
    def from_series(cls, series: Any, facts: Mapping[str, Any]) -> Column:
        """See `Column.from_series`."""
        values = as_numbers(str(series.name), series)
        values = values[~np.isnan(values)]
        wrong = values[(values < 0) | (values != np.floor(values))]
        if wrong.size:
            raise InputError(
                f"column {facts['name']!r} holds {wrong[0]:g}, which is no count; "
                "change it, or choose another kind"
            )
        logs = np.log1p(values)
        rate = max(float(values.mean()), _LEAST_MEAN)
        scale = float(logs.std()) or 1.0
        return cls(rate=rate, loc=float(logs.mean()), scale=scale, **facts)

    @property
    def support(self) -> str:
        """See `Column.support`."""
        return "counts 0, 1, 2, ..."

    @property
    def num_params(self) -> int:
        """Those of the law itself, and the logit of the zeros that are added."""
        return self.own_params + self.zero_inflated

    def outside(self, value: tf.Tensor) -> tf.Tensor:
        """Returns where values are not whole numbers of 0 or more."""
        whole = tf.equal(value, tf.floor(value))
        return tf.logical_not(tf.math.is_finite(value) & (value >= 0) & whole)

    def own_mean(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the mean [...] of the law without the zeros that are added."""
        return self.rate * (tf.nn.softplus(params[..., 0] + _RAW_ONE) + MIN_SCALE)

    def log_prob_inside(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """See `Column.log_prob_inside`."""
        law = self.law(params)
        if not self.zero_inflated:
            return law.log_prob(value)
        logit = params[..., -1]
        kept = tf.math.log_sigmoid(-logit)
        both = [
            tf.math.log_sigmoid(logit),
            kept + law.log_prob(tf.zeros_like(params[..., 0])),
        ]
        zero = tf.reduce_logsumexp(tf.stack(both), axis=0)
        return tf.where(tf.equal(value, 0), zero, kept + law.log_prob(value))

    def sample(self, params: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """See `Column.sample`."""
        counts = self.law(params).sample(seed=derive_seed(seed, "count"))
        if not self.zero_inflated:
            return counts
        logit, zeros = params[..., -1], derive_seed(seed, "zeros")
        v = draws.signed_uniform(tf.shape(logit), zeros, logit.dtype)
        return counts * (1.0 - draws.bernoulli(logit, v))

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """See `Column.mean`."""
        kept = tf.sigmoid(-params[..., -1]) if self.zero_inflated else 1.0
        return kept * self.own_mean(params)

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the law's own mean, and the logit of the zeros that are added."""
        zeros = {"zero_logit": params[..., -1]} if self.zero_inflated else {}
        return {"rate": self.own_mean(params), **zeros}

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns the raw mean, beside zeros; with `zero_inflated` half are zeros."""
        own = max(mean, _LEAST_MEAN) * (2.0 if self.zero_inflated else 1.0)
        least = 2 * MIN_SCALE  # softplus is above 0
        raw = softplus_inverse(max(own / self.rate, least) - MIN_SCALE) - _RAW_ONE
        return np.array([float(raw), *[0.0] * (self.num_params - 1)])

    def features(self, value: tf.Tensor) -> tf.Tensor:
        """Returns log(1 + value), standardised."""
        return ((tf.math.log1p(value) - self.loc) / self.scale)[..., tf.newaxis]


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class PoissonColumn(CountColumn):
    """Poisson, whose mean comes from the network."""

    own_params: ClassVar[int] = 1
    formula: ClassVar[str] = "log p(x) = x log(mean) - mean - log(x!)"
    paper: ClassVar[str] = "Gronbech et al. (2020), scVAE"

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        return "zero_inflated_poisson" if self.zero_inflated else "poisson"

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Poisson without the zeros that are added."""
        return tfd.Poisson(rate=self.own_mean(params))


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class NegativeBinomialColumn(CountColumn):
    """Negative binomial, whose mean and inverse dispersion come from the network.

    The inverse dispersion r is softplus(raw + 0.54) + 1e-5, which is 1 at a raw 0; the
    variance is mean + mean^2 / r.
    """

    own_params: ClassVar[int] = 2
    formula: ClassVar[str] = (
        "log p(x) = log Gamma(x + r) - log Gamma(r) - log(x!) "
        "+ r log(r / (r + mean)) + x log(mean / (r + mean))"
    )
    paper: ClassVar[str] = (
        "Lopez et al. (2018), Deep generative modeling for single-cell data"
    )

    @property
    def kind(self) -> str:
        """See `Column.kind`."""
        base = "negative_binomial"
        return f"zero_inflated_{base}" if self.zero_inflated else base

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the negative binomial without the zeros that are added."""
        r = tf.nn.softplus(params[..., 1] + _RAW_ONE) + MIN_SCALE
        return MeanNegativeBinomial(self.own_mean(params), r)

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the law's own mean, its inverse dispersion and the logit of zeros."""
        r = self.law(params).inverse_dispersion
        return {**super().named_params(params), "inverse_dispersion": r}
