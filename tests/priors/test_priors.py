"""Priors against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvae import priors

Z = np.random.default_rng(0).normal(0, 3, [5, 2, 4])
CASES = {
    "normal": (priors.standard_normal(4, "float64"), stats.norm()),
    "multivariate": (priors.standard_multivariate_normal(4, "float64"), stats.norm()),
    "logistic": (priors.standard_logistic(4, "float64"), stats.logistic()),
    "tempered": (
        priors.tempered_logistic(4, tf.constant(0.4, tf.float64)),
        stats.logistic(0, 1 / 0.4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_log_density_mean_and_spread_are_scipys(name):
    prior, oracle = CASES[name]
    np.testing.assert_allclose(prior.log_prob(Z), oracle.logpdf(Z).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(prior.mean(), np.full(4, oracle.mean()))
    np.testing.assert_allclose(prior.stddev(), np.full(4, oracle.std()), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_one_event_and_no_batch(name):
    prior = CASES[name][0]
    assert prior.batch_shape == () and prior.event_shape == (4,)
    assert prior.sample(3, seed=[1, 2]).shape == (3, 4)


@pytest.mark.parametrize("name", CASES)
def test_draws_follow_the_distribution(name):
    prior, oracle = CASES[name]
    draws = prior.sample(2500, seed=[5, 6]).numpy().ravel()
    # Seeded, so it cannot flicker; a wrong scale of 5 % has a p-value below 1e-6.
    assert stats.kstest(draws, oracle.cdf).pvalue > 1e-6


@pytest.mark.parametrize("name", ["bernoulli", "one_hot", "concrete"])
def test_discrete_priors_favour_no_value(name):
    prior = {
        "bernoulli": priors.fair_bernoulli(3, "float64"),
        "one_hot": priors.uniform_one_hot(3, 4, "float64"),
        "concrete": priors.uniform_concrete(3, 4, tf.constant(0.3, tf.float64)),
    }[name]
    draws = prior.sample(4000, seed=[1, 2]).numpy()
    assert prior.batch_shape == () and prior.dtype == tf.float64
    if name == "bernoulli":
        chance, ones = 1 / 2, draws
    else:
        chance, ones = 1 / 4, np.eye(4)[draws.argmax(-1)]
        turned = prior.log_prob(np.roll(draws, 1, axis=-1))
        np.testing.assert_allclose(turned, prior.log_prob(draws), rtol=1e-12)
    error = np.sqrt(chance * (1 - chance) / 4000)
    assert np.all(np.abs(ones.mean(0) - chance) < 5 * error)


def test_a_temperature_of_one_is_the_standard_logistic():
    tempered = priors.tempered_logistic(4, tf.ones([], tf.float64))
    standard = priors.standard_logistic(4, "float64")
    np.testing.assert_array_equal(tempered.log_prob(Z), standard.log_prob(Z))
