"""Bernoulli, categorical and Concrete variables against NumPy, SciPy and each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.models import standard_error
from scipy import special, stats

from tfvae.latents import (
    BernoulliLatent,
    BinConcreteLatent,
    CategoricalLatent,
    ConcreteLatent,
)

tfd = tfp.distributions
RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0, 2, [2, 3, 4])  # [B, D, K]


def numpy_concrete(z: np.ndarray, logits: np.ndarray, temperature: float) -> np.ndarray:
    """Maddison et al. (2017), eq. 23 of appendix C.2, summed over variables."""
    size = logits.shape[-1]
    tempered = logits - temperature * z  # [..., D, K]
    each = (
        special.gammaln(size)
        + (size - 1) * np.log(temperature)
        + tempered.sum(-1)
        - size * special.logsumexp(tempered, axis=-1)
    )
    return each.sum(-1)


def on_the_simplex(shape: list[int], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return special.log_softmax(rng.normal(0, 3, shape), axis=-1)


# -- Bernoulli -------------------------------------------------------------------------


def test_bernoullis_log_probability_is_scipys():
    family = BernoulliLatent(4, dtype="float64")
    logits, z = LOGITS[:, 0], RNG.integers(0, 2, [5, 2, 4]).astype(float)
    oracle = stats.bernoulli(special.expit(logits)).logpmf(z).sum(-1)
    found = family.posterior_head()(logits).log_prob(z)
    np.testing.assert_allclose(found, oracle, rtol=1e-10)
    np.testing.assert_allclose(
        family.prior().log_prob(z), np.full([5, 2], -4 * np.log(2)), rtol=1e-12
    )


def test_bernoullis_probabilities_sum_to_one_over_all_states():
    states = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    posterior = BernoulliLatent(4, dtype="float64").posterior_head()(LOGITS[:1, 0])
    total = special.logsumexp(posterior.log_prob(states))
    np.testing.assert_allclose(total, 0, atol=1e-12)


def test_bernoullis_draws_are_zeros_and_ones_of_the_right_frequency():
    posterior = BernoulliLatent(4, dtype="float64").posterior_head()(LOGITS[:, 0])
    draws = posterior.sample(4000, seed=[1, 2]).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}
    chance = special.expit(LOGITS[:, 0])
    error = np.sqrt(chance * (1 - chance) / 4000)
    assert np.all(np.abs(draws.mean(0) - chance) < 5 * error)


# -- categorical -----------------------------------------------------------------------


def test_a_one_hots_log_probability_is_that_of_its_class():
    family = CategoricalLatent(3, 4, dtype="float64")
    classes = RNG.integers(0, 4, [5, 2, 3])
    z = np.eye(4)[classes]
    chances = np.take_along_axis(
        np.broadcast_to(special.log_softmax(LOGITS, axis=-1), z.shape),
        classes[..., np.newaxis],
        axis=-1,
    )
    found = family.posterior_head()(LOGITS).log_prob(z)
    np.testing.assert_allclose(found, chances[..., 0].sum(-1), rtol=1e-10)
    np.testing.assert_allclose(
        family.prior().log_prob(z), np.full([5, 2], -3 * np.log(4)), rtol=1e-12
    )


def test_one_hots_probabilities_sum_to_one_over_all_states():
    states = np.array(list(itertools.product(np.eye(4), repeat=3)))  # [64, D, K]
    posterior = CategoricalLatent(3, 4, dtype="float64").posterior_head()(LOGITS[:1])
    total = special.logsumexp(posterior.log_prob(states))
    np.testing.assert_allclose(total, 0, atol=1e-12)


def test_one_hots_draws_have_one_one_and_the_right_frequencies():
    posterior = CategoricalLatent(3, 4, dtype="float64").posterior_head()(LOGITS)
    draws = posterior.sample(4000, seed=[1, 2]).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0} and np.all(draws.sum(-1) == 1)
    chance = special.softmax(LOGITS, axis=-1)
    error = np.sqrt(chance * (1 - chance) / 4000)
    assert np.all(np.abs(draws.mean(0) - chance) < 5 * error)


def test_one_hots_closed_rate_is_the_sum_over_states():
    family = CategoricalLatent(3, 4, dtype="float64")
    log_chance = special.log_softmax(LOGITS, axis=-1)
    expected = np.sum(np.exp(log_chance) * (log_chance + np.log(4)), axis=(1, 2))
    found = tfd.kl_divergence(family.posterior_head()(LOGITS), family.prior())
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_one_hots_log_probability_has_its_gradient_for_straight_through():
    posterior = CategoricalLatent(3, 4, dtype="float64").posterior_head()(LOGITS)
    z = posterior.sample(seed=[1, 2])
    with tf.GradientTape() as tape:
        tape.watch(z)
        density = posterior.log_prob(z)
    expected = special.log_softmax(LOGITS, axis=-1)
    np.testing.assert_allclose(tape.gradient(density, z), expected, rtol=1e-12)


@pytest.mark.parametrize("family", [BernoulliLatent(3), CategoricalLatent(3, 4)])
def test_discrete_posteriors_are_finite_for_extreme_logits_in_float32(family):
    logits = np.zeros(family.event_shape, "float32")[np.newaxis]
    logits.flat[:2] = [1e6, -1e6]
    params = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(params)
        posterior = family.posterior_head()(params)
        z = posterior.sample(100, seed=[1, 2])
        density = posterior.log_prob(z)
    assert np.all(np.isfinite(density))
    assert np.all(np.isfinite(tape.gradient(density, params)))


# -- Concrete --------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_concretes_log_density_is_the_papers_formula(temperature):
    family = ConcreteLatent(3, 4, temperature, 0.7, dtype="float64")
    z = on_the_simplex([5, 2, 3, 4])
    found = family.posterior_head()(LOGITS).log_prob(z)
    oracle = numpy_concrete(z, LOGITS, temperature)
    np.testing.assert_allclose(found, oracle, rtol=1e-10)
    oracle = numpy_concrete(z, np.zeros_like(LOGITS), 0.7)
    np.testing.assert_allclose(family.prior().log_prob(z), oracle, rtol=1e-10)


def test_concretes_density_is_the_relaxed_one_hots_times_the_jacobian():
    head = ConcreteLatent(3, 4, 0.5, dtype="float64").posterior_head()
    z = on_the_simplex([5, 2, 3, 4])
    relaxed = tfd.RelaxedOneHotCategorical(tf.constant(0.5, tf.float64), LOGITS)
    outside = relaxed.log_prob(np.exp(z)) + z.sum(-1)  # dy = exp(z) dz
    np.testing.assert_allclose(
        head(LOGITS).log_prob(z), tf.reduce_sum(outside, -1), rtol=1e-9
    )


def test_two_classes_have_the_rate_of_bin_concrete():
    concrete = ConcreteLatent(3, 2, 0.6, 0.4, dtype="float64")
    binary = BinConcreteLatent(3, 0.6, 0.4, dtype="float64")
    logits = LOGITS[..., :2]
    z = on_the_simplex([5, 2, 3, 2])
    odds, bit = logits[..., 0] - logits[..., 1], z[..., 0] - z[..., 1]
    one = concrete.posterior_head()(logits).log_prob(z) - concrete.prior().log_prob(z)
    other = binary.posterior_head()(odds).log_prob(bit) - binary.prior().log_prob(bit)
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_concretes_draws_differ_by_logistic_variables():
    # z_j - z_k = (logits_j - logits_k + logistic noise) / temperature.
    head = ConcreteLatent(3, 4, 0.5, dtype="float64").posterior_head()
    draws = head(LOGITS).sample(4000, seed=[1, 2]).numpy()
    np.testing.assert_allclose(special.logsumexp(draws, axis=-1), 0, atol=1e-12)
    difference = draws[..., :-1] - draws[..., 1:]
    mean = (LOGITS[..., :-1] - LOGITS[..., 1:]) / 0.5
    within = 5 * standard_error(difference)
    assert np.all(np.abs(difference.mean(0) - mean) < within)
    squares = (difference - mean) ** 2
    variance = np.pi**2 / 3 / 0.5**2
    assert np.all(np.abs(squares.mean(0) - variance) < 5 * standard_error(squares))


@pytest.mark.parametrize("temperature", [1e-3, 0.5])
def test_the_largest_class_is_as_frequent_as_in_the_discrete_twin(temperature):
    family = ConcreteLatent(3, 4, temperature, dtype="float64")
    draws = family.posterior_head()(LOGITS).sample(4000, seed=[1, 2]).numpy()
    one_hot = np.eye(4)[draws.argmax(-1)]
    chance = family.discrete().posterior_head()(LOGITS).mean().numpy()
    error = np.sqrt(chance * (1 - chance) / 4000)
    assert np.all(np.abs(one_hot.mean(0) - chance) < 5 * error)


def test_draws_become_one_hots_as_the_temperature_goes_to_zero():
    temperature = 1e-3
    head = ConcreteLatent(3, 4, temperature, dtype="float64").posterior_head()
    missing = 1 - np.exp(head(LOGITS).sample(4000, seed=[1, 2]).numpy()).max(-1)
    # 1 - max <= sum_j exp(-gap_j / temperature), and a gap between two noisy logits has
    # a density of at most 1/4 on either side of 0: E <= pairs 2 temperature / 4.
    bound = 6 * 2 * temperature / 4
    assert np.all(missing.mean(0) < bound + 5 * standard_error(missing))


@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_concrete_is_finite_for_extreme_logits_in_float32(temperature):
    family = ConcreteLatent(1, 3, temperature)
    logits = [[[1e4, -1e4, 0]], [[1e6, 0, 0]], [[40, -90, 0]], [[-1e30, 0, 1e30]]]
    params = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(params)
        posterior = family.posterior_head()(params)
        z = posterior.sample(2000, seed=[1, 2])
        read = family.decoder_input(z)
        rate = posterior.log_prob(z) - family.prior().log_prob(z)
    assert np.all(np.isfinite(z)) and np.all(np.isfinite(rate))
    np.testing.assert_allclose(tf.reduce_sum(read, axis=-1), 1, rtol=1e-5)
    assert np.all(np.isfinite(tape.gradient([rate, read], params)))


def test_named_params_are_the_logits_that_were_given():
    for family in (CategoricalLatent(3, 4, dtype="float64"), ConcreteLatent(3, 4)):
        head = family.posterior_head()
        named = head.named_params(head(tf.cast(LOGITS, head.compute_dtype)))
        np.testing.assert_allclose(named["logits"], LOGITS, rtol=1e-6)
        assert named.keys() == {"logits"}
