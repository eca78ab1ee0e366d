"""What every head says of itself: its support, its formula, its parameters."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.heads import COUNTS, LEVELS, head_of, some_params, some_values
from scipy import special, stats

from tfvae.heads import HEADS, BernoulliHead

NAMES = sorted(HEADS)
REAL = [n for n in NAMES if n not in (*LEVELS, *COUNTS) and "bernoulli" not in n]
IN_WORDS = {
    "bernoulli": "0 and 1",
    "continuous_bernoulli": "values in [0, 1]",
    "categorical": "levels k / 15 in [0, 1]",
    "discretized_logistic": "levels k / 15 in [0, 1]",
    "discretized_logistic_mixture": "levels k / 15 in [0, 1]",
    **dict.fromkeys(COUNTS, "counts 0, 1, 2, ..."),
    **dict.fromkeys(REAL, "real numbers"),
}
# A value, and which supports it is in.
BITS, UNIT, LEVEL, COUNT, ANY = "bits", "unit", "level", "count", "any"
VALUES = {
    0.0: {BITS, UNIT, LEVEL, COUNT, ANY},
    1.0: {BITS, UNIT, LEVEL, COUNT, ANY},
    0.2: {UNIT, LEVEL, ANY},  # 3 / 15
    0.21: {UNIT, ANY},
    2.0: {COUNT, ANY},
    -1.0: {ANY},
    1e6: {COUNT, ANY},
    np.nan: set(),
    np.inf: set(),
    -np.inf: set(),
}


def kind_of(name: str) -> str:
    kinds = {"bernoulli": BITS, "continuous_bernoulli": UNIT}
    kinds |= dict.fromkeys(LEVELS, LEVEL) | dict.fromkeys(COUNTS, COUNT)
    return kinds.get(name, ANY)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_the_support_holds_the_values_that_have_a_probability(name, dtype):
    head = head_of(name, (1, 1, 1))
    for value, kinds in VALUES.items():
        x = np.zeros([4, 1, 1, 1], dtype)
        x[2] = value
        assert head.in_support(x) is (kind_of(name) in kinds), value


@pytest.mark.parametrize("name", NAMES)
def test_the_support_in_words_is_that_of_the_head(name):
    assert head_of(name).support == IN_WORDS[name]
    assert head_of(name).exact_binary == (name == "bernoulli")


def test_grey_targets_widen_the_support_of_a_bernoulli():
    grey, exact = BernoulliHead((1,), grey_targets=True), BernoulliHead((1,))
    x = np.array([[0.0], [0.3], [1.0]])
    assert grey.in_support(x) and not exact.in_support(x)
    for wrong in (x + 0.1, x - 0.1, x * np.nan):
        assert not grey.in_support(wrong)
    assert grey.support == "values in [0, 1]" and exact.support == "0 and 1"


@pytest.mark.parametrize("name", NAMES)
def test_every_head_names_its_formula_and_its_paper_in_one_line_each(name):
    for text in (HEADS[name].formula, HEADS[name].paper, HEADS[name].support):
        assert text.isascii() and text == text.strip() != "" and "\n" not in text
    assert any(f"({year})" in HEADS[name].paper for year in range(1700, 2030))


def logistic_levels(
    loc: np.ndarray, scale: np.ndarray, x: np.ndarray, last: int = 15
) -> np.ndarray:
    """Probabilities of levels x, as differences of SciPy's cdf or its mirror image."""
    k = np.round(x * last)
    high = np.where(k == last, np.inf, (k + 0.5) / last)
    low = np.where(k == 0, -np.inf, (k - 0.5) / last)
    oracle, mirrored = stats.logistic(loc, scale), stats.logistic(-loc, scale)
    up = mirrored.cdf(-low) - mirrored.cdf(-high)
    return np.where(low > loc, up, oracle.cdf(high) - oracle.cdf(low))


def categorical(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    k = np.round(x * 15).astype(int)[..., None]
    return np.take_along_axis(special.log_softmax(logits, axis=-1), k, -1)[..., 0]


def mixture(logits, loc, scale, x: np.ndarray) -> np.ndarray:
    weights = special.softmax(logits, axis=-1)
    return np.log(np.sum(weights * logistic_levels(loc, scale, x[..., None]), -1))


def cross_entropy(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    return x * logits - np.logaddexp(0, logits)


# Log-densities of single elements from the named parameters alone.
REBUILT = {
    "bernoulli": lambda x, logits: cross_entropy(logits, x),
    "continuous_bernoulli": lambda x, logits: (
        cross_entropy(logits, x) + np.log(logits / np.tanh(logits / 2))
    ),
    "bin_concrete": lambda x, logits: stats.logistic.logpdf(x, logits / 0.6, 1 / 0.6),
    "normal": lambda x, mean, scale: stats.norm.logpdf(x, mean, scale),
    "normal_fixed_scale": lambda x, mean, scale: stats.norm.logpdf(x, mean, scale),
    "normal_shared_scale": lambda x, mean, scale: stats.norm.logpdf(x, mean, scale),
    "laplace": lambda x, mean, scale: stats.laplace.logpdf(x, mean, scale),
    "logistic": lambda x, mean, scale: stats.logistic.logpdf(x, mean, scale),
    "student_t": lambda x, mean, scale, df: stats.t.logpdf(x, df, mean, scale),
    "poisson": lambda x, log_rate, mean: x * log_rate - mean - special.gammaln(x + 1),
    "negative_binomial": lambda x, mean, inverse_dispersion: stats.nbinom.logpmf(
        x, inverse_dispersion, inverse_dispersion / (inverse_dispersion + mean)
    ),
    "categorical": lambda x, logits, mean: categorical(logits, x),
    "discretized_logistic": lambda x, mean, loc, scale: np.log(
        logistic_levels(loc, scale, x)
    ),
    "discretized_logistic_mixture": lambda x, mean, logits, loc, scale: mixture(
        logits, loc, scale, x
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_named_parameters_are_enough_for_the_distribution(name):
    head = head_of(name, (2, 3))
    params, x = some_params(head, 4), some_values(name, [4, 2, 3])
    distribution = head(params)
    named = {k: v.numpy() for k, v in head.named_params(distribution).items()}
    for key, value in named.items():
        assert value.shape[:3] == (4, 2, 3), key
    found = distribution.log_prob(x)
    # The oracle's differences of cdfs keep 11 digits or more.
    np.testing.assert_allclose(
        REBUILT[name](x, **named).sum(axis=(1, 2)), found, rtol=1e-10
    )
    if "mean" in named:
        np.testing.assert_array_equal(named["mean"], distribution.mean())
