"""What each head should say, from SciPy and NumPy, and heads to compare with it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy import special, stats

from tfvae.heads import (
    HEADS,
    DiscretizedLogisticHead,
    DiscretizedLogisticMixtureHead,
    DistributionHead,
)

# Moments of the discretized heads are sums of one level at a time, and 256 of them take
# long; test_heads_levels.py has those.
LEVELS = dict.fromkeys(
    ("categorical", "discretized_logistic", "discretized_logistic_mixture"), 16
)
SETTINGS = {
    "normal_fixed_scale": {"scale": 0.7},
    "normal_shared_scale": {"scale": 0.6},
    "bin_concrete": {"temperature": 0.6},
    "categorical": {"num_levels": 16},
    "discretized_logistic": {"num_levels": 16},
    "discretized_logistic_mixture": {"num_components": 3, "num_levels": 16},
}
NUM_PARAMS = {
    "normal": 2,
    "laplace": 2,
    "logistic": 2,
    "student_t": 3,
    "discretized_logistic": 2,
    "negative_binomial": 2,
    "discretized_logistic_mixture": 9,
    "categorical": 16,
}
COUNTS = ("poisson", "negative_binomial")
DISCRETE = ("bernoulli", *LEVELS, *COUNTS)
CONTINUOUS = tuple(name for name in HEADS if name not in DISCRETE)
UNIT_INTERVAL = ("continuous_bernoulli",)


def head_of(name: str, event_shape=(4,), dtype: str = "float64") -> DistributionHead:
    return HEADS[name](event_shape, dtype=dtype, **SETTINGS.get(name, {}))


def some_params(head: DistributionHead, *batch: int, seed: int = 0) -> np.ndarray:
    params = np.random.default_rng(seed).normal(0, 2, [*batch, *head.params_shape])
    if isinstance(head, (DiscretizedLogisticHead, DiscretizedLogisticMixtureHead)):
        # Locations near the levels, and no scale at which all levels but one have a
        # probability that float64 rounds to 0 in the oracle.
        params = 0.5 + 0.25 * params
    return params


def some_values(name: str, shape) -> np.ndarray:
    """Values that the head has a density or a probability for."""
    rng = np.random.default_rng(9)
    if name == "bernoulli":
        return rng.integers(0, 2, shape).astype(float)
    if name in LEVELS:
        return rng.integers(0, LEVELS[name], shape) / (LEVELS[name] - 1)
    if name in COUNTS:
        return rng.poisson(rng.gamma(0.7, 5, shape)).astype(float)
    if name in UNIT_INTERVAL:
        return rng.uniform(0, 1, shape)
    return rng.normal(0, 3, shape)


def frozen(name: str, params: np.ndarray, size: int):
    """The distribution for parameters [..., params of `size` elements]."""
    first, second = params[..., :size], params[..., size : 2 * size]
    softplus = functools.partial(np.logaddexp, 0)
    return {
        "bernoulli": lambda: stats.bernoulli(special.expit(first)),
        "normal": lambda: stats.norm(first, softplus(second) + 1e-5),
        "normal_fixed_scale": lambda: stats.norm(special.expit(first), 0.7),
        "normal_shared_scale": lambda: stats.norm(first, 0.6),
        "logistic": lambda: stats.logistic(first, softplus(second) + 1e-5),
        "laplace": lambda: stats.laplace(first, softplus(second) + 1e-5),
        "student_t": lambda: stats.t(
            3 + softplus(params[..., 2 * size :]), first, softplus(second) + 1e-5
        ),
        "bin_concrete": lambda: stats.logistic(first / 0.6, 1 / 0.6),
        "continuous_bernoulli": lambda: Tilted(first),
        "poisson": lambda: stats.poisson(np.exp(first)),
        "negative_binomial": lambda: negative_binomial(first, second),
        "categorical": lambda: categorical(params, size),
        "discretized_logistic": lambda: discretized_logistic(first, second),
        "discretized_logistic_mixture": lambda: discretized_mixture(params, size),
    }[name]()


def log_density(oracle) -> Callable[[np.ndarray], np.ndarray]:
    return oracle.logpdf if hasattr(oracle, "logpdf") else oracle.logpmf


class Tilted:
    """The density on [0, 1] that is proportional to exp(tilt x), by Gauss' rule.

    60 nodes integrate it exactly, to rounding, for tilts up to 30.
    """

    def __init__(self, tilt: np.ndarray) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(60)
        self.tilt, self.nodes = tilt, (nodes + 1) / 2
        mass = weights / 2 * np.exp(tilt[..., None] * self.nodes)
        self.total = mass.sum(axis=-1)
        self.mass = mass / self.total[..., None]

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        return self.tilt * x - np.log(self.total)

    def mean(self) -> np.ndarray:
        return self.mass @ self.nodes

    def std(self) -> np.ndarray:
        squared = (self.nodes - self.mean()[..., None]) ** 2
        return np.sqrt(np.sum(self.mass * squared, axis=-1))


class Levels:
    """Probabilities [..., num_levels] of the values k / (num_levels - 1)."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.p = probabilities
        self.values = np.linspace(0, 1, probabilities.shape[-1])

    def logpmf(self, x: np.ndarray) -> np.ndarray:
        k = np.round(x * (len(self.values) - 1)).astype(int)
        return np.log(np.take_along_axis(self.p, k[..., None], axis=-1)[..., 0])

    def mean(self) -> np.ndarray:
        return self.p @ self.values

    def std(self) -> np.ndarray:
        squared = (self.values - self.mean()[..., None]) ** 2
        return np.sqrt(np.sum(self.p * squared, axis=-1))


def negative_binomial(raw_mean: np.ndarray, raw_inverse_dispersion: np.ndarray):
    mean = np.logaddexp(0, raw_mean) + 1e-5
    r = np.logaddexp(0, raw_inverse_dispersion) + 1e-5
    return stats.nbinom(r, r / (r + mean))


def blocks(params: np.ndarray, size: int) -> np.ndarray:
    """[..., count * size] -> [..., size, count]."""
    *front, last = params.shape
    return np.swapaxes(params.reshape([*front, last // size, size]), -1, -2)


def categorical(params: np.ndarray, size: int) -> Levels:
    return Levels(special.softmax(blocks(params, size), axis=-1))


def logistic_levels(loc: np.ndarray, scale: np.ndarray, num_levels: int) -> np.ndarray:
    """Probabilities [..., num_levels], as differences of SciPy's cdf."""
    inner = (np.arange(num_levels - 1) + 0.5) / (num_levels - 1)
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    oracle = stats.logistic(loc[..., None], scale[..., None])
    # Above the location the survival function keeps the digits that the cdf loses.
    return np.where(
        edges[1:] > loc[..., None],
        -np.diff(oracle.sf(edges), axis=-1),
        np.diff(oracle.cdf(edges), axis=-1),
    )


def discretized_logistic(loc: np.ndarray, raw_scale: np.ndarray) -> Levels:
    return Levels(logistic_levels(loc, level_scale(raw_scale), 16))


def level_scale(raw_scale: np.ndarray) -> np.ndarray:
    """0.1 at a raw 0."""
    shift = np.log(np.expm1(0.1 - 1e-5))
    return np.logaddexp(0, raw_scale + shift) + 1e-5


def discretized_mixture(params: np.ndarray, size: int) -> Levels:
    logits, loc, raw_scale = np.split(blocks(params, size), 3, axis=-1)
    weights = special.softmax(logits, axis=-1)[..., None]
    each = logistic_levels(loc, level_scale(raw_scale), 16)
    return Levels(np.sum(weights * each, axis=-2))
