"""Heads over counts: SciPy, the Poisson limit, sums, and extremes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers.heads import COUNTS
from scipy import special, stats

from tfvae.heads import HEADS, PoissonHead
from tfvae.heads.counts import MeanNegativeBinomial

MEANS = [1e-5, 0.1, 1.0, 7.0, 300.0]
INVERSE_DISPERSIONS = [1e-5, 0.3, 7.99, 8.0, 8.01, 50.0, 1e4, 1e6]
X = np.array([0.0, 1.0, 2.0, 10.0, 300.0, 1000.0])


def grid(dtype: str) -> tuple[tf.Tensor, tf.Tensor]:
    """All means with all inverse dispersions, [M, R]."""
    m, r = np.meshgrid(MEANS, INVERSE_DISPERSIONS, indexing="ij")
    return tf.constant(m, dtype), tf.constant(r, dtype)


def rounding(x: np.ndarray, m: np.ndarray, eps: float) -> np.ndarray:
    """What rounding the terms of a log-probability of counts can amount to."""
    terms = m + x * (np.abs(np.log(m)) + np.log1p(x) + 12) + 12  # 12: -log(1e-5)
    return 4 * eps * terms


def test_negative_binomial_is_scipys_for_any_mean_and_dispersion():
    m, r = (parameter.numpy() for parameter in grid("float64"))
    x = X[:, None, None]
    found = MeanNegativeBinomial(*grid("float64")).log_prob(x)
    wanted = stats.nbinom.logpmf(x, r, r / (r + m))
    # SciPy takes r / (r + m), whose distance from 1 float64 rounds by r / m, and
    # subtracts log Gamma(r) from its like.
    eps = np.finfo("float64").eps
    scipys = eps * (x * (1 + r / m) + 4 * np.abs(special.gammaln(x + r)))
    assert np.all(np.abs(found - wanted) < 1e-10 * np.abs(wanted) + scipys)


def test_negative_binomial_is_the_product_formula_to_ten_digits():
    # Gamma(x + r) / Gamma(r) = r (r + 1) ... (r + x - 1), in which nothing cancels.
    m, r = (parameter.numpy() for parameter in grid("float64"))
    distribution = MeanNegativeBinomial(*grid("float64"))
    for x in (0, 1, 2, 10, 300):
        i = np.arange(x)[:, None, None]
        rising = np.sum(np.log1p(i / r), axis=0)  # log of it, less x log r
        wanted = rising - special.gammaln(x + 1)
        wanted += x * np.log(m) - (x + r) * np.log1p(m / r)
        found = distribution.log_prob(np.float64(x))
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_negative_binomial_tends_to_the_poisson(dtype):
    r = 1e8 if dtype == "float32" else 1e12
    m, x = np.array(MEANS), X[:, None]
    found = MeanNegativeBinomial(
        tf.constant(m, dtype), tf.fill([len(m)], tf.constant(r, dtype))
    ).log_prob(tf.constant(x, dtype))
    wanted = stats.poisson.logpmf(x, m)
    # The first term of their difference is ((x - m)^2 - x) / (2 r).
    differ = ((x - m) ** 2 + x) / r
    error = np.abs(found.numpy() - wanted)
    assert np.all(error < differ + rounding(x, m, np.finfo(dtype).eps))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 0)])
def test_counts_sum_to_one(dtype, tolerance):
    x = np.arange(3000)[:, None, None]
    m, r = np.meshgrid([0.1, 1.0, 7.0, 30.0], [0.3, 5.0, 8.0, 1e4], indexing="ij")
    m, r = tf.constant(m, dtype), tf.constant(r, dtype)
    # At mean 30 and r 0.3 less than (1 + 0.01)^-3000 is above 3,000.
    binomial = MeanNegativeBinomial(m, r)
    poisson = PoissonHead((1,), dtype=dtype)(tf.math.log(m)[..., None])
    log_probs = [
        binomial.log_prob(tf.constant(x, dtype)),
        poisson.log_prob(tf.constant(x[..., None], dtype)),
    ]
    for log_prob in log_probs:
        total = np.exp(log_prob.numpy().astype("float64")).sum(axis=0)
        np.testing.assert_allclose(total, 1, atol=tolerance or 1e-6 * len(x), rtol=0)


def test_any_mean_and_dispersion_has_finite_values_and_gradients():
    m, r = np.meshgrid([1e-6, 1.0, 1e4, 1e6], [1e-6, 1.0, 8.0, 1e4, 1e6, 1e10])
    m, r = tf.constant(m, tf.float32), tf.constant(r, tf.float32)
    x = tf.constant([0.0, 1.0, 100.0, 1e4, 1e6])[:, None, None]
    with tf.GradientTape() as tape:
        tape.watch([m, r])
        log_prob = MeanNegativeBinomial(m, r).log_prob(x)
    gradients = tape.gradient(log_prob, [m, r])
    assert all(np.all(np.isfinite(found)) for found in [log_prob, *gradients])


def test_poisson_is_finite_up_to_the_log_rate_that_float32_has_a_rate_for():
    log_rate, x = np.meshgrid([-1e4, -100.0, 0.0, 50.0, 88.0], [0.0, 1.0, 1e4])
    log_rate = tf.constant(log_rate[..., None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(log_rate)
        log_prob = PoissonHead((1,))(log_rate).log_prob(x[..., None])
    gradient = tape.gradient(log_prob, log_rate)
    assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_no_count_has_no_probability(name):
    head = HEADS[name]((1,))
    distribution = head(np.zeros([1, *head.params_shape], "float32"))
    for wrong in (-1.0, 0.5, 2.25, -0.5):
        assert distribution.log_prob(tf.constant([[wrong]]))[0] == -np.inf, wrong
        assert not head.in_support(np.array([1.0, wrong])), wrong
    assert head.in_support(np.array([0.0, 1.0, 2.0, 1e6]))
    for wrong in (np.inf, np.nan):
        assert not distribution.log_prob(tf.constant([[wrong]]))[0] > -np.inf
        assert not head.in_support(np.array([wrong]))


@pytest.mark.parametrize("name", COUNTS)
def test_params_for_a_mean_of_zero_give_a_thousandth(name):
    head = HEADS[name]((3,), dtype="float64")
    params = head.params_for_mean(np.array([0.0, 1e-3, 250.0]))
    np.testing.assert_allclose(
        head(params[None]).mean(), [[1e-3, 1e-3, 250.0]], rtol=1e-10
    )


def test_negative_binomial_draws_have_mean_and_variance_for_any_dispersion():
    m = np.array([0.5, 5.0, 40.0])[:, None] * np.ones(4)
    r = np.array([0.5, 3.0, 100.0, 1e6]) * np.ones([3, 1])
    distribution = MeanNegativeBinomial(m, r)
    draws = distribution.sample(20_000, seed=[1, 2]).numpy()
    assert np.all(draws == np.floor(draws)) and np.all(draws >= 0)
    np.testing.assert_allclose(distribution.variance(), m + m**2 / r, rtol=1e-14)
    error = np.abs(draws.mean(axis=0) - m)
    assert np.all(error < 5 * np.sqrt((m + m**2 / r) / 20_000))
    squares = (draws - m) ** 2
    error = np.abs(squares.mean(axis=0) - (m + m**2 / r))
    assert np.all(error < 5 * squares.std(axis=0, ddof=1) / np.sqrt(20_000))
