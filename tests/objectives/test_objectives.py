"""Objectives as functions of log-weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import BOUNDS, NO_BOUNDS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfvae.core.types import InputError
from tfvae.estimators import Reinforce
from tfvae.objectives import (
    OBJECTIVES,
    Ciwae,
    Elbo,
    Iwae,
    LogWeightTerms,
    Miwae,
    Objective,
    Piwae,
    Renyi,
    Tvo,
    VrIwae,
    get_objective,
)

NAMES = sorted(OBJECTIVES)

log_weight_arrays = hnp.arrays(
    np.float64,
    st.tuples(st.sampled_from([1, 2, 4, 6, 12]), st.integers(1, 4)),
    elements=st.floats(-1000, 1000, allow_subnormal=False),
)


def random_log_weights(samples: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 5, [samples, 4])


def made(name: str, samples: int) -> Objective:
    """The objective, with two groups where the samples can be halved."""
    if "num_groups" in {field.name for field in dataclasses.fields(OBJECTIVES[name])}:
        return OBJECTIVES[name](num_groups=1 if samples % 2 else 2)
    return OBJECTIVES[name]()


def value(name: str, log_weights: np.ndarray) -> np.ndarray:
    return made(name, len(log_weights)).value(tf.constant(log_weights)).numpy()


def coefficients(name: str, log_weights: np.ndarray) -> np.ndarray:
    return made(name, len(log_weights)).coefficients(tf.constant(log_weights)).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_has_an_oracle_and_equals_it(name):
    log_weights = random_log_weights()
    # A few float64 roundings of numbers of size 10.
    np.testing.assert_allclose(
        value(name, log_weights), BOUNDS[name](log_weights), rtol=0, atol=1e-13
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(log_weight_arrays)
def test_every_bound_lies_between_elbo_and_iwae_and_below_the_largest_log_weight(
    log_weights,
):
    elbo, iwae = value("elbo", log_weights), value("iwae", log_weights)
    # float64 carries numbers of size 1000 to 1e-13 each; a dozen are summed.
    slack = 1e-11
    for name in sorted(set(NAMES) - {"elbo", "iwae", *NO_BOUNDS}):
        between = value(name, log_weights)
        assert np.all(elbo <= between + slack) and np.all(between <= iwae + slack)
    assert np.all(elbo <= iwae + slack)
    assert np.all(iwae <= log_weights.max(axis=0) + slack)
    # One sample alone, the others at weight zero, is the least that iwae can be.
    assert np.all(
        iwae >= log_weights.max(axis=0) - np.log(log_weights.shape[0]) - slack
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(log_weight_arrays, st.floats(-1000, 1000))
def test_a_constant_added_to_the_log_weights_is_added_to_every_bound(log_weights, c):
    for name in NAMES:
        moved = value(name, log_weights + c)
        np.testing.assert_allclose(
            moved, value(name, log_weights) + c, rtol=0, atol=1e-11
        )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(log_weight_arrays)
def test_coefficients_are_not_negative_and_sum_to_one(log_weights):
    for name in NAMES:
        found = coefficients(name, log_weights)
        # A larger log-weight takes weight from the others' means, which tvo has.
        assert np.all(found >= 0) or name == "tvo"
        np.testing.assert_allclose(found.sum(axis=0), 1, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_one_sample_makes_every_bound_the_log_weight_itself(name):
    log_weights = random_log_weights(samples=1)
    np.testing.assert_array_equal(value(name, log_weights), log_weights[0])
    np.testing.assert_array_equal(coefficients(name, log_weights), np.ones([1, 4]))


@pytest.mark.parametrize("name", NAMES)
def test_equal_log_weights_make_every_bound_that_number(name):
    log_weights = np.tile([[-3.0, 0.5]], [4, 1])
    np.testing.assert_allclose(value(name, log_weights), [-3, 0.5], rtol=1e-14)
    np.testing.assert_allclose(coefficients(name, log_weights), 0.25, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e3, 1e6])
@pytest.mark.parametrize("name", NAMES)
def test_large_log_weights_stay_finite(name, size, dtype):
    rows = np.array([[size, -size, 0.0], [size, -size, size], [-size, -size, -size]])
    log_weights = rows.astype(dtype)
    assert np.all(np.isfinite(value(name, log_weights)))
    found = coefficients(name, log_weights)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=4 * np.finfo(dtype).eps)


def test_iwae_of_large_log_weights_is_right_and_not_only_finite():
    log_weights = np.array([[1e6, -1e6], [1e6, -1e6 - 1], [-1e6, -1e6 - 2]])
    exact = [1e6 + np.log(2 / 3), -1e6 + np.log((1 + np.exp(-1) + np.exp(-2)) / 3)]
    # float64 carries 1e6 to 1.2e-10.
    np.testing.assert_allclose(value("iwae", log_weights), exact, rtol=0, atol=5e-10)


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_are_the_derivative_of_the_value(name):
    log_weights = tf.constant(random_log_weights())
    objective = made(name, 8)
    with tf.GradientTape() as tape:
        tape.watch(log_weights)
        total = tf.reduce_sum(objective.value(log_weights))
    np.testing.assert_allclose(
        objective.coefficients(log_weights),
        tape.gradient(total, log_weights),
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_coefficient_derivative_is_that_of_each_coefficient(name):
    log_weights = tf.constant(random_log_weights()[:, :1])
    objective = made(name, 8)
    with tf.GradientTape() as tape:
        tape.watch(log_weights)
        found = objective.coefficients(log_weights)[:, 0]
    jacobian = tape.jacobian(found, log_weights, unconnected_gradients="zero")
    jacobian = jacobian[:, :, 0].numpy()
    np.testing.assert_allclose(
        objective.coefficient_derivative(log_weights)[:, 0],
        np.diag(jacobian),
        rtol=0,
        atol=1e-14,
    )


def test_dreg_coefficients_are_the_published_ones():
    """Tucker et al. (2019): softmax^2 for iwae, 1 / S for elbo; theirs for renyi."""
    log_weights = random_log_weights()
    softmax = coefficients("iwae", log_weights)
    alpha = 0.3
    powers = np.exp((1 - alpha) * log_weights)
    powers /= powers.sum(axis=0)
    published = {
        Iwae(): softmax**2,
        Elbo(): np.full_like(softmax, 1 / 8),
        Renyi(alpha): alpha * powers + (1 - alpha) * powers**2,
    }
    for objective, expected in published.items():
        given = tf.constant(log_weights)
        found = objective.coefficients(given) - objective.coefficient_derivative(given)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0, 3.0])
def test_renyi_falls_with_alpha_from_iwae_through_elbo(alpha):
    log_weights = tf.constant(random_log_weights())
    found = Renyi(alpha).value(log_weights).numpy()
    if alpha == 0:
        np.testing.assert_array_equal(found, Iwae().value(log_weights))
    if alpha == 1:
        np.testing.assert_array_equal(found, Elbo().value(log_weights))
    assert np.all(found > Renyi(alpha + 0.1).value(log_weights).numpy())
    near = Renyi(alpha + 1e-7).value(log_weights)
    np.testing.assert_allclose(found, near, rtol=0, atol=1e-5)  # slope below 50


def test_ciwae_and_groups_have_elbo_and_iwae_at_their_ends():
    log_weights = tf.constant(random_log_weights())
    elbo, iwae = Elbo().value(log_weights), Iwae().value(log_weights)
    for same, bound in (
        (Ciwae(0.0), iwae),
        (Ciwae(1.0), elbo),
        (Miwae(1), iwae),
        (Miwae(8), elbo),
    ):
        np.testing.assert_allclose(same.value(log_weights), bound, rtol=1e-14)


def test_objectives_say_whether_they_are_bounds():
    found = {name for name in NAMES if not OBJECTIVES[name]().is_bound}
    assert found == set(NO_BOUNDS)


def test_a_renyi_bound_below_zero_is_none():
    assert not Renyi(-0.5).is_bound
    # It can exceed the largest bound of the same samples.
    log_weights = tf.constant(random_log_weights())
    above = Renyi(-5.0).value(log_weights) > Iwae().value(log_weights)
    assert np.all(above.numpy())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_vr_iwae_grows_with_the_samples_from_the_elbo(alpha):
    """Daudel et al. (2023), here over every pair of draws of a law of 8 log-weights."""
    draws = np.log(np.random.default_rng(0).gamma(1.0, size=8))
    pairs = np.stack(np.meshgrid(draws, draws)).reshape(2, -1)  # [2, 64]
    objective = VrIwae(alpha)
    assert objective.is_bound
    value = np.mean(objective.value(tf.constant(pairs)))
    np.testing.assert_array_equal(
        objective.value(tf.constant(pairs)), Renyi(alpha).value(tf.constant(pairs))
    )
    elbo, evidence = np.mean(draws), np.log(np.mean(np.exp(draws)))
    assert value <= evidence
    if alpha == 1:
        np.testing.assert_allclose(value, elbo, rtol=1e-14)
    else:
        assert value > elbo + 0.01


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), "half"])
def test_vr_iwae_refuses_an_alpha_for_which_it_is_none(alpha):
    with pytest.raises(InputError, match=f"alpha {alpha!r}"):
        VrIwae(alpha)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"miwae"}))
def test_the_order_of_the_samples_does_not_matter(name):
    log_weights = random_log_weights()
    order = np.random.default_rng(3).permutation(len(log_weights))
    np.testing.assert_allclose(
        value(name, log_weights[order]), value(name, log_weights), rtol=1e-14
    )
    np.testing.assert_allclose(
        coefficients(name, log_weights[order]),
        coefficients(name, log_weights)[order],
        rtol=1e-13,
        atol=1e-16,  # some of tvo's are differences of numbers up to 1
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_bounded_on_its_own(name):
    log_weights = random_log_weights()
    alone = [value(name, log_weights[:, [b]])[0] for b in range(4)]
    np.testing.assert_allclose(value(name, log_weights), alone, rtol=1e-14)


def test_log_weights_are_likelihood_minus_weighted_rate():
    likelihood, prior, posterior = np.random.default_rng(0).normal(size=[3, 5, 2])
    terms = LogWeightTerms(*map(tf.constant, (likelihood, prior, posterior)))
    np.testing.assert_array_equal(terms.rate, posterior - prior)
    np.testing.assert_allclose(
        terms.log_weights(), likelihood + prior - posterior, rtol=0, atol=1e-15
    )
    np.testing.assert_allclose(
        terms.loss_log_weights(0.3), likelihood - 0.3 * (posterior - prior), atol=1e-15
    )


def test_an_analytic_rate_takes_the_place_of_every_samples_own():
    likelihood, prior, posterior = np.random.default_rng(0).normal(size=[3, 5, 2])
    terms = LogWeightTerms(
        *map(tf.constant, (likelihood, prior, posterior)),
        analytic_rate=tf.constant([1.5, 2.5], tf.float64),
    )
    np.testing.assert_array_equal(terms.rate, np.tile([[1.5, 2.5]], [5, 1]))
    np.testing.assert_allclose(
        terms.loss_log_weights(2.0), likelihood - 2 * np.array([1.5, 2.5]), atol=1e-15
    )


@pytest.mark.parametrize(
    "objective",
    [
        Elbo(analytic_kl=True),
        Elbo(free_bits=0.5),
        Renyi(0.3),
        VrIwae(0.3),
        Ciwae(0.2),
        Miwae(3),
        Piwae(4),
        Iwae(),
        Tvo(3, 0.2),
    ],
)
def test_an_objective_is_rebuilt_from_its_config(objective):
    rebuilt = type(objective).from_config(objective.get_config())
    assert rebuilt == objective and type(rebuilt) is type(objective)


def test_an_objective_is_found_by_name_or_taken_as_it_is():
    assert get_objective("iwae") == Iwae()
    mine = Elbo(analytic_kl=True)
    assert get_objective(mine) is mine


# -- tvo -------------------------------------------------------------------------------


def test_tvo_is_the_elbo_for_one_partition_and_goes_to_iwae():
    log_weights = tf.constant(random_log_weights())
    elbo, iwae = Elbo().value(log_weights), Iwae().value(log_weights)
    np.testing.assert_allclose(Tvo(1).value(log_weights), elbo, rtol=1e-14)
    assert Tvo(1).constant_coefficients and not Tvo(2).constant_coefficients
    gaps = []
    for count in (2, 10, 100, 1_000, 10_000):
        value = Tvo(count, 1.0 / count).value(log_weights).numpy()
        assert np.all(elbo < value) and np.all(value < iwae)
        gaps.append(np.max(iwae - value))
    assert np.all(np.diff(gaps) < 0)
    # The step of beta at its end, log(n) / n, times the slope there, below 5.
    assert gaps[-1] < 5 * np.log(10_000) / 10_000


def test_tvo_of_many_partitions_and_samples_is_the_likelihood():
    # log w is Normal with the variance s^2, and the mean of w is 1: log p(x) = 0.
    spread = 1.5
    noise = np.random.default_rng(0).normal(size=[1_000_000, 1])
    log_weights = spread * noise - spread**2 / 2
    weights = np.exp(log_weights)
    error = weights.std() / np.sqrt(len(weights))
    # The mean at beta is (beta - 1 / 2) s^2, of which a left sum lacks half the steps.
    points = Tvo(100, 0.01).betas()
    lacks = np.sum(np.diff(points) ** 2) / 2 * spread**2
    found = Tvo(100, 0.01).value(tf.constant(log_weights)).numpy()[0]
    assert abs(found + lacks) < 5 * error < 0.05
    assert 5 * error < 0.5 < -Elbo().value(tf.constant(log_weights)).numpy()[0]


def test_tvo_has_its_points_in_equal_ratios():
    np.testing.assert_allclose(Tvo(3, 0.01).betas(), [0, 0.01, 0.1, 1], rtol=1e-15)
    np.testing.assert_allclose(Tvo().betas()[1], 0.025, rtol=1e-15)
    np.testing.assert_array_equal(Tvo(1).betas(), [0, 1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_partitions": 0}, "num_partitions 0"),
        ({"num_partitions": 1, "first_beta": 0.1}, "first_beta 0.1 has no effect"),
        ({"first_beta": 0.0}, "first_beta 0.0"),
        ({"first_beta": 1.0}, "first_beta 1.0"),
    ],
)
def test_a_partition_that_is_none_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        Tvo(**arguments)


def test_the_covariance_estimator_is_what_many_samples_make_of_reinforce():
    """Masrani et al. (2019), equation 11, for samples that have no gradient."""
    objective, errors = Tvo(3, 0.1), []
    for count in (20, 200):
        log_weights = np.random.default_rng(0).normal(0, 0.5, [count, 1])
        betas = objective.betas()
        wanted = np.zeros_like(log_weights)
        for beta, step in zip(betas[:-1], np.diff(betas), strict=True):
            weights = np.exp(beta * log_weights)
            weights /= weights.sum()
            mean = np.sum(weights * log_weights)
            wanted += step * count / (count - 1) * weights * (log_weights - mean)
        found = Reinforce().signals(objective, tf.constant(log_weights)).numpy()
        errors.append(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    # The relative error falls as 1 / S, up to the chance of the draws.
    assert errors[1] < errors[0] / 5 and errors[1] < 2e-3
