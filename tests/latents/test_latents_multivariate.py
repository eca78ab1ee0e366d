"""The normal posterior with a full covariance against SciPy and closed formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.models import standard_error
from scipy import stats

from tfvae.distributions import MultivariateNormalDiag
from tfvae.heads import MIN_SCALE
from tfvae.latents import MultivariateNormalLatent, NormalLatent

tfd = tfp.distributions
SIZE = 3
PARAMS = np.random.default_rng(2).normal(0, 1, [2, SIZE + SIZE * (SIZE + 1) // 2])


def family() -> MultivariateNormalLatent:
    return MultivariateNormalLatent(SIZE, dtype="float64")


def lower(raw: np.ndarray) -> np.ndarray:
    """TFP's order, spelt out for three variables: [[4, 0, 0], [6, 5, 0], [3, 2, 1]]."""
    first, second, third, fourth, fifth, sixth = raw
    scales = np.logaddexp(0, [fourth, fifth, first]) + MIN_SCALE
    below = np.array([[0, 0, 0], [sixth, 0, 0], [third, second, 0]])
    return np.diag(scales) @ (np.eye(3) + 10 * np.tanh(below / 10))


def moments() -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance for each example."""
    factors = [lower(raw) for raw in PARAMS[:, SIZE:]]
    return [(p[:SIZE], f @ f.T) for p, f in zip(PARAMS, factors, strict=True)]


def test_log_density_and_moments_are_scipys():
    posterior = family().posterior_head()(PARAMS)
    z = np.random.default_rng(4).normal(0, 2, [6, 2, SIZE])
    for index, (mean, covariance) in enumerate(moments()):
        oracle = stats.multivariate_normal(mean, covariance)
        found = posterior.log_prob(z)[:, index]
        np.testing.assert_allclose(found, oracle.logpdf(z[:, index]), rtol=1e-10)
        np.testing.assert_allclose(
            posterior.covariance()[index], covariance, rtol=1e-10, atol=1e-12
        )
    named = family().posterior_head().named_params(posterior)
    np.testing.assert_array_equal(named["mean"], PARAMS[:, :SIZE])
    scales = [np.sqrt(np.diag(covariance)) for _, covariance in moments()]
    np.testing.assert_allclose(named["scale"], scales, rtol=1e-10)


def test_draws_have_the_mean_and_the_covariance():
    draws = family().posterior_head()(PARAMS).sample(4000, seed=[1, 2]).numpy()
    for index, (mean, covariance) in enumerate(moments()):
        off = draws[:, index] - mean
        assert np.all(np.abs(off.mean(0)) < 5 * standard_error(off))
        products = off[:, :, np.newaxis] * off[:, np.newaxis]  # [N, D, D]
        error = np.abs(products.mean(0) - covariance)
        assert np.all(error < 5 * standard_error(products))


def test_the_closed_rate_is_the_formula():
    posterior, prior = family().posterior_head()(PARAMS), family().prior()
    expected = [
        0.5 * (np.trace(c) + m @ m - SIZE - np.linalg.slogdet(c)[1])
        for m, c in moments()
    ]
    found = tfd.kl_divergence(posterior, prior)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_prior_is_that_of_independent_variables():
    z = np.random.default_rng(4).normal(0, 2, [6, 2, SIZE])
    oracle = stats.norm().logpdf(z).sum(-1)
    np.testing.assert_allclose(family().prior().log_prob(z), oracle, rtol=1e-12)


def test_without_covariances_it_is_the_normal_family():
    raw = PARAMS[:, SIZE:].copy()
    raw[:, [1, 2, 5]] = 0  # what lies below the diagonal
    params = np.concatenate([PARAMS[:, :SIZE], raw], axis=1)
    diagonal = np.concatenate([PARAMS[:, :SIZE], raw[:, [3, 4, 0]]], axis=1)
    z = np.random.default_rng(4).normal(0, 2, [6, 2, SIZE])
    independent = NormalLatent(SIZE, dtype="float64").posterior_head()(diagonal)
    np.testing.assert_allclose(
        family().posterior_head()(params).log_prob(z),
        independent.log_prob(z),
        rtol=1e-10,
    )


@pytest.mark.parametrize("raw", [-1e4, 1e4])
def test_extreme_scales_are_finite_in_float32(raw):
    head = MultivariateNormalLatent(SIZE).posterior_head()
    params = tf.Variable(np.full([1, 9], raw, "float32") * [0, 0, 0, 1, 0, 0, 1, 1, 0])
    params = tf.cast(params, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(params)
        posterior = head(params)
        density = posterior.log_prob(posterior.sample(10, seed=[1, 2]))
        rate = tfd.kl_divergence(posterior, MultivariateNormalLatent(SIZE).prior())
    assert np.all(np.isfinite(density)) and np.all(np.isfinite(rate))
    assert np.all(np.isfinite(tape.gradient([density, rate], params)))


@pytest.mark.parametrize("below", [1.0, -2.0, 1e4])
def test_a_draw_keeps_the_density_of_its_noise(below):
    # z rounds the noise of a later variable away (its scale is 1e-5, and its z of the
    # order of the first ones' 1e6): what is found from z again has no digit left.
    head = MultivariateNormalLatent(SIZE).posterior_head()
    raw = np.diag([1e6, 1e6, -1e4]) + np.tril(np.full([SIZE, SIZE], below), -1)
    params = np.concatenate([np.ones(SIZE), tfp.math.fill_triangular_inverse(raw)])
    posterior = head(tf.constant(params[np.newaxis], tf.float32))
    z, found = posterior.experimental_sample_and_log_prob(100, seed=(1, 2))
    standard = MultivariateNormalDiag(tf.zeros([1, SIZE]), tf.ones([1, SIZE]))
    noise = standard.sample(100, seed=(1, 2))
    scale = head(tf.constant(params[np.newaxis])).scale
    np.testing.assert_allclose(z, 1 + scale.matvec(noise), rtol=1e-5, atol=1e-5)
    wanted = stats.norm().logpdf(noise).sum(-1) - scale.log_abs_determinant()
    # float32 sums of numbers of up to 20.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [2, 30, 50, 200])
def test_the_largest_inverse_is_finite_in_float32(size):
    head = MultivariateNormalLatent(size).posterior_head()
    raw = np.tril(np.full([size, size], -1e4))  # the diagonal too: scales of 1e-5
    raw = tfp.math.fill_triangular_inverse(raw).numpy()
    params = tf.constant(np.concatenate([np.zeros(size), raw])[np.newaxis], tf.float32)
    z = tf.ones([1, size])
    with tf.GradientTape() as tape:
        tape.watch(z)
        scale = head(params).scale
        solved = scale.solvevec(z)
    assert np.all(np.isfinite(solved))
    assert np.all(np.isfinite(tape.gradient(solved, z)))
