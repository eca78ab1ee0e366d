"""The interface of single columns of a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import tfd


@dataclasses.dataclass(frozen=True)
class Column:
    """What one column of a table holds, and the law of its values given parameters.

    Parameters [..., num_params] come from a network; at 0 the law is about that of the
    training data. Values are as the table has them, or codes 0, 1, ... of categories. A
    new kind overrides `law` (or `log_prob_inside`, `sample` and `mean`), `num_params`,
    `params_for_mean` and `features`, and has an entry in `KINDS`.

    Args:
        name: The column's name in the table.
        nullable: True if values may be missing. It is a fact for those who ask, and
            changes no law.
        dtype: The dtype of the column in its frame; empty if it is from none.
        why: Why this kind was chosen, in words.

    Attributes:
        num_params: The parameters that the network gives for this column.
        is_density: True if `log_prob` is the logarithm of a density, False if it is
            that of a probability.
        support: The values that have a density or a probability, in words.
        inside: A value that is in the support.
        num_features: The numbers that an encoder reads of this column.
        formula: The log-density or log-probability, in ASCII.
        paper: The source of the law.
    """

    name: str
    nullable: bool = dataclasses.field(default=False, kw_only=True)
    dtype: str = dataclasses.field(default="", kw_only=True)
    why: str = dataclasses.field(default="", kw_only=True)

    is_density: ClassVar[bool] = True
    inside: ClassVar[float] = 0.0
    formula: ClassVar[str]
    paper: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(
                f"a column is named {self.name!r:.60}; give its name as text, for "
                "example by df.columns = df.columns.astype(str)"
            )

    @classmethod
    def from_series(cls, series: Any, facts: Mapping[str, Any]) -> Column:
        """Returns the column whose settings fit the values of a pandas Series.

        Args:
            series: The values.
            facts: Other arguments of the class.

        Raises:
            InputError: if the values are none of this kind's.
        """
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """The name of this kind in `KINDS`."""
        raise NotImplementedError

    @property
    def num_params(self) -> int:
        """The parameters that the network gives for this column."""
        return 1

    @property
    def num_features(self) -> int:
        """The numbers that an encoder reads of this column."""
        return 1

    @property
    def support(self) -> str:
        """The values that have a density or a probability, in words."""
        return "real numbers"

    def law(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution, batch [...], of parameters [..., num_params]."""
        raise NotImplementedError

    def log_prob(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) [...] in nats; -inf outside of the support, and for NaN.

        Args:
            params: [..., num_params] The parameters.
            value: [...] The values, of the same dtype.
        """
        # A gradient goes through both branches of `where`, and NaN would through it.
        outside = self.outside(value)
        value = tf.where(outside, tf.constant(self.inside, value.dtype), value)
        log_prob = self.log_prob_inside(params, value)
        return tf.where(outside, tf.constant(-math.inf, value.dtype), log_prob)

    def log_prob_inside(self, params: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Returns log p(value) [...] in nats for values in the support."""
        return self.law(params).log_prob(value)

    def sample(self, params: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns one draw [...] for each row of parameters [..., num_params]."""
        return tf.cast(self.law(params).sample(seed=seed), params.dtype)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the mean [...] of parameters [..., num_params]."""
        return self.law(params).mean()

    def outside(self, value: tf.Tensor) -> tf.Tensor:
        """Returns where values, of any shape, are not in the support; NaN never is."""
        return tf.logical_not(tf.math.is_finite(value))

    def params_for_mean(self, mean: float) -> np.ndarray:
        """Returns parameters [num_params] whose mean is a number."""
        raise NotImplementedError

    def named_params(self, params: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the law's usual parameters, each [...] or [..., K]."""
        raise NotImplementedError

    def features(self, value: tf.Tensor) -> tf.Tensor:
        """Returns what an encoder reads of values [...], [..., num_features]."""
        raise NotImplementedError

    def encode(self, series: Any) -> np.ndarray:
        """Returns the values [N] of a pandas Series as float32, NaN where missing.

        Raises:
            InputError: if there are values that are none of this column's.
        """
        raise NotImplementedError

    def decode(self, values: np.ndarray, pandas: Any) -> Any:
        """Returns the Series of values [N] that `encode` or `sample` made.

        Args:
            values: [N] Floats, NaN where missing.
            pandas: The package.
        """
        raise NotImplementedError

    @property
    def filler(self) -> float:
        """The value that stands in the place of a missing one, where networks read."""
        return self.inside

    def expectation(self, params: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        """Returns the mean [B] of a mixture of laws [S, B] with probabilities [S, B].

        It is what `mean` is of a single law.
        """
        return tf.reduce_sum(share * self.mean(params), axis=0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that rebuild this column."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # Keras writes a tuple as an object of its own.
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Column:
        """Rebuilds a column from `get_config`."""
        return cls(**config)
