"""The kinds of columns by name, and which of them a column of a frame is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfvae.core.lookup import lookup
from tfvae.core.types import InputError
from tfvae.heads.columns.base import Column
from tfvae.heads.columns.codes import BernoulliColumn, CategoricalColumn, OrdinalColumn
from tfvae.heads.columns.counts import NegativeBinomialColumn, PoissonColumn
from tfvae.heads.columns.numbers import LogNormalColumn, NormalColumn, StudentTColumn
from tfvae.heads.columns.series import as_numbers, categories_of, kind_of, present

# Larger ints are amounts, years or identifiers, and no counts of events.
_LARGEST_COUNT = 1000
# One-hot and logits of more take most of a network.
_MOST_CATEGORIES = 1000
_STRONG_SKEWNESS = 1.5  # an exponential's is 2, a Normal's 0
_ERRORS = 3.0  # standard errors that count as a difference
_LEAST_EXCESS = 0.02  # zeros in excess, of all values, that are worth a parameter


class Kind(NamedTuple):
    """A kind of column: its class, and arguments that make it this kind."""

    column: type[Column]
    arguments: Mapping[str, Any] = {}


_ZEROS = {"zero_inflated": True}
KINDS: Mapping[str, Kind] = {
    "normal": Kind(NormalColumn),
    "student_t": Kind(StudentTColumn),
    "log_normal": Kind(LogNormalColumn),
    "bernoulli": Kind(BernoulliColumn),
    "categorical": Kind(CategoricalColumn),
    "ordinal": Kind(OrdinalColumn),
    "poisson": Kind(PoissonColumn),
    "negative_binomial": Kind(NegativeBinomialColumn),
    "zero_inflated_poisson": Kind(PoissonColumn, _ZEROS),
    "zero_inflated_negative_binomial": Kind(NegativeBinomialColumn, _ZEROS),
}


class Choice(NamedTuple):
    """The kind that was chosen for a column, and why, in words."""

    kind: str
    why: str


def column_of(series: Any, kind: str | None = None) -> Column:
    """Returns the column of a pandas Series, of a kind that is given or chosen.

    Raises:
        InputError: if the kind is unknown or cannot have these values, all values are
            missing, or there is no kind for them.
    """
    name = series.name
    missing = np.asarray(series.isna(), bool)
    if missing.all():
        raise InputError(f"column {name!r} has missing values alone; leave it out")
    choice = Choice(kind, "given") if kind else chosen(series)
    found = lookup(KINDS, choice.kind, f"kind of column {name!r}")
    if choice.kind == "ordinal" and kind_of(series) not in "Cbiuf":
        raise InputError(
            f"column {name!r} is text, whose order is not known; make it an ordered "
            "category (pandas.Categorical(..., categories=[...], ordered=True))"
        )
    facts = {
        "name": name,
        "nullable": bool(missing.any()),
        "dtype": str(series.dtype),
        "why": choice.why,
        **found.arguments,
    }
    return found.column.from_series(series, facts)


def chosen(series: Any) -> Choice:
    """Returns the kind of a pandas Series by its dtype and values.

    Raises:
        InputError: if there is none for it.
    """
    kind = kind_of(series)
    if kind == "b":
        return Choice("bernoulli", "True or False")
    if kind == "C":
        return _of_categories(series)
    if kind in "iuf":
        return _of_numbers(str(series.name), series)
    values = present(series)[1] if kind in "OTU" else []
    if values and all(isinstance(value, bool) for value in values):
        return Choice("bernoulli", "True or False")
    if values and all(isinstance(value, str) for value in values):
        return _of_categories(series)
    held = sorted({type(value).__name__ for value in values})
    raise InputError(
        f"column {series.name!r} has dtype {series.dtype}"
        + (f" and holds {', '.join(held)}" if held else "")
        + ", for which there is no kind; make it numbers or text, or leave it out"
    )


def _of_categories(series: Any) -> Choice:
    found = categories_of(series)
    count = len(found["categories"])
    if count > _MOST_CATEGORIES:
        raise InputError(
            f"column {series.name!r} has {count} categories; leave it out, make fewer "
            "of them, or give its kind"
        )
    if found.get("ordered") and count > 1:
        return Choice("ordinal", f"{count} categories with an order")
    return Choice("categorical", f"{count} categories")


def _of_numbers(name: str, series: Any) -> Choice:
    every = as_numbers(name, series)
    values = every[~np.isnan(every)]
    # pandas makes floats of ints with missing values.
    whole = kind_of(series) in "iu" or len(values) < len(every)
    whole = whole and bool(np.all(values == np.floor(values)))
    if whole and set(np.unique(values)) <= {0.0, 1.0}:
        return Choice("bernoulli", "0 or 1")
    if whole and values.min() >= 0 and values.max() <= _LARGEST_COUNT:
        return _of_counts(values)
    skewness = _skewness(values)
    if values.min() > 0 and skewness > _STRONG_SKEWNESS:
        if abs(_skewness(np.log(values))) < skewness:
            return Choice("log_normal", f"above 0, with a skewness of {skewness:.2g}")
    return Choice("normal", "numbers")


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    scale = centred.std()
    return float(np.mean((centred / scale) ** 3)) if scale > 0 else 0.0


def _of_counts(values: np.ndarray) -> Choice:
    """Returns the kind of counts [N] by their variance and their zeros."""
    mean, variance, count = values.mean(), values.var(), len(values)
    if mean == 0:
        return Choice("poisson", "counts that are 0")
    ratio = variance / mean
    said = f"counts whose variance is {ratio:.2g} of their mean"
    # Of a Poisson, the ratio has a standard error of sqrt(2 / N).
    if ratio <= 1 + _ERRORS * np.sqrt(2 / count):
        return Choice("poisson", said)
    r = mean**2 / (variance - mean)
    zeros, expected = np.mean(values == 0), (r / (r + mean)) ** r
    error = np.sqrt(expected * (1 - expected) / count)
    if zeros - expected <= max(_ERRORS * error, _LEAST_EXCESS):
        return Choice("negative_binomial", said)
    base = "negative_binomial" if _is_spread(values[values > 0]) else "poisson"
    more = f", with {zeros:.0%} zeros, more than {expected:.0%}"
    return Choice(f"zero_inflated_{base}", said + more)


def _is_spread(values: np.ndarray) -> bool:
    """Returns whether counts above 0 vary more than a Poisson's that are above 0."""
    mean, rate = values.mean(), values.mean()
    for _ in range(100):  # mean = rate / (1 - exp(-rate)), by iteration
        rate = mean * -np.expm1(-rate)
    wanted = mean * (1 + rate - mean)
    ratio = values.var() / max(wanted, 1e-6)
    return bool(ratio > 1 + _ERRORS * np.sqrt(2 / len(values)))
