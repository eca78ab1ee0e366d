"""Columns of every kind, what SciPy says of them, and a frame that has them all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from tfvae.heads import (
    BernoulliColumn,
    CategoricalColumn,
    Column,
    Columns,
    LogNormalColumn,
    NegativeBinomialColumn,
    NormalColumn,
    OrdinalColumn,
    PoissonColumn,
    StudentTColumn,
)

LETTERS = ("a", "b", "c", "d")


class Case(NamedTuple):
    """A column and values of its support."""

    column: Column
    values: np.ndarray


COUNTS = np.array([0.0, 0.0, 1.0, 3.0, 40.0])
CODES = np.array([0.0, 1.0, 2.0, 3.0, 3.0])
REALS = np.array([-300.0, 120.0, 131.5, 150.0, 700.0])
CASES = {
    "normal": Case(NormalColumn("x", 130.0, 20.0), REALS),
    "student_t": Case(StudentTColumn("x", 130.0, 20.0), REALS),
    "log_normal": Case(
        LogNormalColumn("x", 3.0, 1.5), np.array([1e-3, 1.0, 20.0, 300.0, 1e6])
    ),
    "bernoulli": Case(BernoulliColumn("x"), np.minimum(CODES, 1)),
    "categorical": Case(CategoricalColumn("x", LETTERS), CODES),
    "ordinal": Case(OrdinalColumn("x", LETTERS), CODES),
    "poisson": Case(PoissonColumn("x", 5.0), COUNTS),
    "negative_binomial": Case(NegativeBinomialColumn("x", 5.0), COUNTS),
    "zero_inflated_poisson": Case(PoissonColumn("x", 5.0, True), COUNTS),
    "zero_inflated_negative_binomial": Case(
        NegativeBinomialColumn("x", 5.0, True), COUNTS
    ),
}
CONTINUOUS = ("normal", "student_t", "log_normal")
CODED = ("bernoulli", "categorical", "ordinal")
NAMES = sorted(CASES)
COUNTED = tuple(name for name in CASES if name not in CONTINUOUS + CODED)


def softplus(raw: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, raw) + 1e-5


RAW_ONE = np.log(np.expm1(1 - 1e-5))


class Codes:
    """Probabilities [K] of codes, as a law of SciPy's manner."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.p = probabilities

    def logpmf(self, x: np.ndarray) -> np.ndarray:
        return np.log(self.p[np.asarray(x, int)])

    def mean(self) -> float:
        return float(self.p @ np.arange(len(self.p)))


class WithZeros:
    """Another law of counts, with zeros added."""

    def __init__(self, law, zero: float) -> None:
        self.law, self.zero = law, zero

    def logpmf(self, x: np.ndarray) -> np.ndarray:
        return np.log(self.zero * (x == 0) + (1 - self.zero) * self.law.pmf(x))

    def mean(self) -> float:
        return (1 - self.zero) * self.law.mean()


def ordinal(params: np.ndarray) -> Codes:
    """Even thresholds at 0: logits of 1/K, 2/K, ..."""
    k = len(params) + 1
    even = special.logit(np.arange(1, k) / k)
    gaps = softplus(params[1:] + np.log(np.expm1(np.diff(even) - 1e-5)))
    t = even[0] + params[0] + np.concatenate([[0.0], np.cumsum(gaps)])
    return Codes(np.diff(np.concatenate([[0.0], special.expit(t), [1.0]])))


def oracle(name: str, params: np.ndarray):
    """The law that a column has for its parameters [num_params]."""
    if name.startswith("zero_inflated_"):
        law = oracle(name.removeprefix("zero_inflated_"), params[:-1])
        return WithZeros(law, special.expit(params[-1]))
    mean = 5.0 * softplus(params[0] + RAW_ONE)
    if name == "negative_binomial":
        r = softplus(params[1] + RAW_ONE)
        return stats.nbinom(r, r / (r + mean))
    if name == "student_t":
        df = 1 + softplus(params[2] + np.log(np.expm1(4.0)))
        return stats.t(df, 130 + 20 * params[0], 20 * softplus(params[1]))
    return {
        "normal": lambda: stats.norm(130 + 20 * params[0], 20 * softplus(params[1])),
        "log_normal": lambda: stats.lognorm(
            1.5 * softplus(params[1]), scale=np.exp(3 + 1.5 * params[0])
        ),
        "bernoulli": lambda: stats.bernoulli(special.expit(params[0])),
        "categorical": lambda: Codes(special.softmax(params)),
        "ordinal": lambda: ordinal(params),
        "poisson": lambda: stats.poisson(mean),
    }[name]()


def log_density(law):
    return law.logpdf if hasattr(law, "logpdf") else law.logpmf


def some_params(column: Column, count: int, seed: int = 0) -> np.ndarray:
    """[count, num_params], which float32 has."""
    params = np.random.default_rng(seed).normal(0, 1, [count, column.num_params])
    return params.astype("float32").astype("float64")


def head_of(dtype: str = "float64") -> Columns:
    """All columns beside each other, each with the name of its kind."""
    columns = []
    for name in NAMES:
        config = {**CASES[name].column.get_config(), "name": name}
        columns.append(type(CASES[name].column).from_config(config))
    return Columns(columns, dtype=dtype)


def rows() -> np.ndarray:
    """[5, D] Values of every column."""
    return np.stack([CASES[name].values for name in NAMES], axis=-1)


def all_params(count: int, seed: int = 0) -> np.ndarray:
    each = [some_params(CASES[n].column, count, seed + i) for i, n in enumerate(NAMES)]
    return np.concatenate(each, axis=-1)


def oracles(params: np.ndarray) -> list:
    """The laws of all columns for the parameters of one row."""
    sizes = [CASES[name].column.num_params for name in NAMES]
    parts = np.split(params, np.cumsum(sizes)[:-1])
    return [oracle(name, part) for name, part in zip(NAMES, parts, strict=True)]


def mixed_frame(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A column of each dtype and kind, some with missing values."""
    rng = np.random.default_rng(seed)
    sizes = ["small", "middle", "large"]
    frame = pd.DataFrame(
        {
            "height": rng.normal(170, 9, rows),
            "grade": rng.normal(0, 1, rows).astype("float32"),
            "balance": rng.normal(-20, 300, rows).round().astype("int64"),
            "income": rng.lognormal(10, 0.9, rows),
            "children": rng.poisson(2.0, rows),
            "visits": rng.negative_binomial(2, 0.1, rows).astype("int16"),
            "claims": np.where(rng.random(rows) < 0.6, 0, rng.poisson(6, rows)),
            "points": pd.array(rng.negative_binomial(2, 0.1, rows), dtype="Int64"),
            "member": rng.random(rows) < 0.3,
            "known": pd.array(rng.random(rows) < 0.5, dtype="boolean"),
            "flag": rng.integers(0, 2, rows).astype("uint8"),
            "city": rng.choice(["Bonn", "Ulm", "Köln"], rows),
            "colour": pd.Categorical(rng.choice(["red", "blue"], rows)),
            "size": pd.Categorical(rng.choice(sizes, rows), sizes, ordered=True),
            "shoe": pd.Categorical(rng.choice([38, 40, 42], rows)),
        }
    )
    for row, name in enumerate(["height", "points", "known", "city", "size"]):
        frame.loc[row, name] = None
    return frame


KINDS_OF_FRAME = {
    "height": "normal",
    "grade": "normal",
    "balance": "normal",
    "income": "log_normal",
    "children": "poisson",
    "visits": "negative_binomial",
    "claims": "zero_inflated_poisson",
    "points": "negative_binomial",
    "member": "bernoulli",
    "known": "bernoulli",
    "flag": "bernoulli",
    "city": "categorical",
    "colour": "categorical",
    "size": "ordinal",
    "shoe": "categorical",
}
