"""Every estimator's mean gradient against the exact one.

The exact expectation of an objective is a finite sum: over all tuples of states for
discrete latent variables, over the nodes of a Gauss-Hermite rule for a Normal one. A
batch of B copies of one problem, each with parameters of its own, gives B independent
estimates of its gradient, of which mean and standard error are compared.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.evaluations import with_counts
from helpers.exact_gradients import (
    PARAMS,
    assert_means,
    assert_unbiased,
    estimates,
    exact,
    posterior,
    problem,
    states,
)

from tfvae.core.types import InputError
from tfvae.estimators import (
    ESTIMATORS,
    Ovis,
    Rws,
    check_combination,
    get_estimator,
)
from tfvae.objectives import Ciwae, Elbo, Iwae, Miwae, Piwae, Renyi, Tvo

BOUNDS = [Elbo(), Iwae(), Renyi(0.4), Ciwae(0.3), Tvo(3, 0.1)]


def name_of(value: object) -> str | None:
    return type(value).__name__ if hasattr(value, "formula") else None


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("objective", BOUNDS, ids=name_of)
@pytest.mark.parametrize("name", ["reinforce", "vimco"])
def test_score_function_estimators_are_unbiased(name, objective, family):
    assert_unbiased(name, family, objective, num_samples=3)


@pytest.mark.quick(3)
@pytest.mark.parametrize("objective", BOUNDS, ids=name_of)
@pytest.mark.parametrize("name", ["disarm", "bitflip", "ugc"])
def test_estimators_of_the_logits_are_unbiased(name, objective):
    assert_unbiased(name, "bernoulli", objective, num_samples=2)


@pytest.mark.quick(2)
@pytest.mark.parametrize("num_samples", [2, 3, 5])
@pytest.mark.parametrize("objective", [Elbo(), Renyi(1.0), Ciwae(1.0)], ids=name_of)
def test_coupled_samples_are_unbiased(objective, num_samples):
    assert_unbiased("arms", "bernoulli", objective, num_samples)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["reinforce", "disarm", "bitflip", "ugc"])
def test_one_sample_is_unbiased_too(name):
    assert_unbiased(name, "bernoulli", Elbo(), num_samples=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vimco", "disarm", "bitflip", "ugc"])
def test_discrete_estimators_take_groups(name):
    assert_unbiased(name, "bernoulli", Miwae(2), num_samples=4)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "name", ["reinforce", "vimco", "disarm", "bitflip", "ugc", "arms"]
)
def test_discrete_estimators_are_unbiased_for_the_loss_with_a_kl_weight(name):
    objective = Elbo() if name == "arms" else Iwae()
    assert_unbiased(name, "bernoulli", objective, num_samples=2, kl_weight=0.4)


@pytest.mark.quick(3)
@pytest.mark.parametrize("objective", [*BOUNDS, Miwae(2), Piwae(2)], ids=name_of)
@pytest.mark.parametrize("name", ["pathwise", "dreg"])
def test_reparameterised_estimators_are_unbiased(name, objective):
    assert_unbiased(name, "normal", objective, num_samples=2)


@pytest.mark.parametrize("name", ["pathwise", "dreg"])
def test_reparameterised_estimators_are_unbiased_with_a_kl_weight(name):
    assert_unbiased(name, "normal", Iwae(), num_samples=2, kl_weight=0.4)


def test_stl_is_unbiased_for_the_elbo():
    assert_unbiased("stl", "normal", Elbo(), num_samples=2)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("name", "family", "objective"),
    [
        ("stl", "normal", Iwae()),
        ("straight_through", "bernoulli", Elbo()),
        ("straight_through", "bernoulli", Iwae()),
        ("straight_through", "categorical", Elbo()),
    ],
)
def test_estimators_that_say_so_are_biased(name, family, objective):
    estimator = ESTIMATORS[name]()
    assert not estimator.unbiased(objective)
    wanted = exact(family, objective, 2, 1.0)[0]
    draws = estimates(name, family, objective, 2, 1.0, 400_000)[0]
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert np.any(np.abs(draws.mean(axis=0) - wanted) > 5 * error)
    # The decoder's gradient has nothing to do with it.
    wanted = exact(family, objective, 2, 1.0)[1]
    draws = estimates(name, family, objective, 2, 1.0, 400_000)[1]
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - wanted) < 5 * error)


@pytest.mark.parametrize("objective", [*BOUNDS, Miwae(2)], ids=name_of)
def test_what_is_claimed_to_be_unbiased_is_tested_above(objective):
    claimed = {n for n, make in ESTIMATORS.items() if make().unbiased(objective)}
    tested = {"pathwise", "dreg", "reinforce", "vimco", "disarm"}
    tested |= {"bitflip", "ugc"}
    tested |= {"rebar", "relax"}  # in test_relaxations.py, double_cv and rodeo in
    # test_control_variates.py
    special = {Elbo(): {"stl", "arms", "double_cv", "rodeo"}, Iwae(): {"ovis"}}
    assert claimed == tested | special.get(objective, set())


COUNTED = [*ESTIMATORS, Ovis(num_auxiliary=5)]


@pytest.mark.parametrize("given", COUNTED, ids=str)
@pytest.mark.parametrize("num_samples", [2, 5])
def test_a_step_has_the_evaluations_and_slopes_that_are_said(given, num_samples):
    """Rows through log p(x|z), and those of gradients by z within the estimate."""
    estimator = get_estimator(given)
    family = "normal" if estimator.needs == "reparameterised" else "bernoulli"
    objective = Iwae() if isinstance(estimator, Ovis) else Elbo()
    parts = [tf.constant(np.tile(p, [3, 1])) for p in PARAMS[family]]
    batch = problem(family, objective, parts, num_samples, 1.0)
    counting, counted = with_counts(batch)
    estimator.estimate(counting)
    assert sum(counted) == estimator.evaluations(num_samples)


# -- encoders that follow something else -----------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("kl_weight", [1.0, 0.4])
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_ovis_without_gamma_is_unbiased(family, kl_weight):
    assert_unbiased("ovis", family, Iwae(), 3, kl_weight)


@pytest.mark.quick(1)
@pytest.mark.parametrize("kl_weight", [1.0, 0.4])
@pytest.mark.parametrize("num_auxiliary", [1, 3])
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_ovis_by_draws_is_unbiased(family, num_auxiliary, kl_weight):
    estimator = Ovis(num_auxiliary=num_auxiliary)
    assert_unbiased(estimator, family, Iwae(), 3, kl_weight)


def test_ovis_by_draws_takes_away_the_mean_over_a_sample_given_the_others():
    """E[d_s | z_t, t != s], which is a sum over the states of z_s."""
    parts = [tf.constant(p) for p in PARAMS["bernoulli"]]
    copies = [tf.tile(p[tf.newaxis], [4, 1]) for p in parts]
    batch = problem("bernoulli", Iwae(), copies, 3, 1.0)
    terms = batch.draw_log_weight_terms()
    z, chances = states("bernoulli", parts)
    single = problem("bernoulli", Iwae(), parts, 1, 1.0)
    of_states = single.log_weight_terms(z).log_weights().numpy()  # [n]
    chances = np.reshape(chances, [-1, 1])  # [n, 1]
    weights = np.exp(terms.log_weights().numpy())  # [S, B]

    def d(own, others):
        return np.log((own + others) / 3) - own / (own + others)

    for s in range(3):
        others = np.delete(weights, s, axis=0).sum(axis=0)  # [B]
        each = d(np.exp(of_states)[:, np.newaxis], others)  # [n, B]
        mean = np.sum(chances * each, axis=0)
        variance = np.sum(chances * each**2, axis=0) - mean**2
        wanted = d(weights[s], others) - mean
        count = 20_000
        found = Ovis(num_auxiliary=count).coefficients(batch, terms).score[s]
        error = np.sqrt(variance / count)
        assert np.all(np.abs(found - wanted) < 5 * error)
        assert np.all(5 * error < 0.05 * np.sqrt(variance))


def exact_wake(family, num_samples):
    """The encoder's mean gradient in the wake part of rws, over all tuples."""
    parts = [tf.Variable(p) for p in PARAMS[family]]
    with tf.GradientTape() as tape:
        z, probabilities = map(tf.stop_gradient, states(family, parts))
        terms = problem(family, Iwae(), parts, 1, 1.0).log_weight_terms(z)
        weights = tf.stop_gradient(terms.log_weights())  # [n]
        tuples = np.array(list(itertools.product(range(len(z)), repeat=num_samples)))
        shares = tf.nn.softmax(tf.gather(weights, tuples), axis=1)  # [n^S, S]
        chances = tf.reduce_prod(tf.gather(probabilities, tuples), axis=1)
        scores = tf.reduce_sum(shares * tf.gather(terms.log_posterior, tuples), axis=1)
        total = tf.reduce_sum(chances * scores)
    return tape.gradient(total, parts[0]).numpy()


def exact_inclusive(family):
    """The gradient of -KL(p(z|x) || q(z|x)) by the encoder's parameters."""
    parts = [tf.Variable(p) for p in PARAMS[family]]
    with tf.GradientTape() as tape:
        z, probabilities = map(tf.stop_gradient, states(family, parts))
        terms = problem(family, Iwae(), parts, 1, 1.0).log_weight_terms(z)
        weights = probabilities * tf.exp(tf.stop_gradient(terms.log_weights()))
        weights /= tf.reduce_sum(weights)
        total = tf.reduce_sum(weights * terms.log_posterior)
    return tape.gradient(total, parts[0]).numpy()


@pytest.mark.quick(2)
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_the_bias_of_ovis_is_gamma_times_the_wake_part_of_rws(gamma):
    assert not Ovis(gamma).unbiased(Iwae())
    bound = exact("bernoulli", Iwae(), 3, 1.0)
    wanted = [bound[0] + gamma * exact_wake("bernoulli", 3), *bound[1:]]
    assert np.linalg.norm(wanted[0] - bound[0]) > 0.1 * np.linalg.norm(bound[0])
    found = estimates(Ovis(gamma), "bernoulli", Iwae(), 3, 1.0, 400_000)
    assert_means(found, wanted)


def test_ovis_has_the_published_coefficients():
    """Lievin et al. (2020): d_k - c_k with d_k = log Z - v_k and equation 17."""
    log_weights, gamma = np.random.default_rng(0).normal(0, 3, [5, 4]), 0.3
    weights = np.exp(log_weights)
    v = weights / weights.sum(axis=0)
    others = np.log((weights.sum(axis=0) - weights) / 4)
    control = others - gamma * v + (1 - gamma) * np.log(1 - 1 / 5)
    wanted = np.log(weights.mean(axis=0)) - v - control
    given, objective = tf.constant(log_weights), Iwae()
    signals = Ovis(gamma).signals(objective, given)
    found = signals - (objective.coefficients(given) - 1 / 5)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)


@pytest.mark.quick(2)
@pytest.mark.parametrize("kl_weight", [1.0, 0.4])
@pytest.mark.parametrize("family", ["bernoulli", "categorical", "normal"])
def test_rws_has_the_bounds_decoder_and_the_wake_parts_encoder(family, kl_weight):
    wanted = [exact_wake(family, 2), *exact(family, Iwae(), 2, kl_weight)[1:]]
    found = estimates("rws", family, Iwae(), 2, kl_weight, 400_000)
    assert_means(found, wanted)


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_the_bias_of_rws_falls_as_one_over_the_samples(family):
    wanted = exact_inclusive(family)
    errors = [np.linalg.norm(exact_wake(family, s) - wanted) for s in (2, 4, 8)]
    shares = np.array(errors) / np.linalg.norm(wanted)
    assert 0.3 < shares[0] < 0.9  # a bias that is no chance
    assert 0.45 < shares[2] / shares[1] < 0.55
    bound = exact(family, Iwae(), 2, 1.0)[0]
    assert np.linalg.norm(exact_wake(family, 2) - bound) > 0.1 * np.linalg.norm(bound)


def test_of_samples_alike_the_wake_part_has_no_gradient():
    """With q the posterior itself, as `stl` for the elbo; there is no noise."""
    q, p_z = PARAMS["bernoulli"][0], PARAMS["bernoulli"][0]
    parts = [tf.Variable(np.tile(p, [100, 1])) for p in (q, np.zeros(2), p_z)]
    with tf.GradientTape() as tape:
        given = problem("bernoulli", Iwae(), parts, 4, 1.0)
        given = dataclasses.replace(given, log_likelihood=lambda z: 0.0 * z[..., 0])
        surrogate = Rws().estimate(given).surrogate
    np.testing.assert_allclose(tape.gradient(surrogate, parts[0]), 0, atol=1e-15)


def test_baselines_lower_the_variance():
    spreads = [
        estimates(name, "bernoulli", Elbo(), 4, 1.0, 20_000)[0].std(axis=0)
        for name in ("vimco", "reinforce", "disarm")
    ]
    # For the elbo both baselines are the mean of the others.
    np.testing.assert_allclose(spreads[0], spreads[1], rtol=1e-12)
    plain = _without_baseline(20_000).std(axis=0)
    assert np.all(spreads[0] < 0.8 * plain)


def _without_baseline(copies: int) -> np.ndarray:
    parts = [tf.Variable(np.tile(p, [copies, 1])) for p in PARAMS["bernoulli"]]
    with tf.GradientTape() as tape:
        given = problem("bernoulli", Elbo(), parts, 4, 1.0)
        terms = given.draw_log_weight_terms()
        signal = tf.stop_gradient(Elbo().value(terms.log_weights()))
        surrogate = signal * tf.reduce_sum(terms.log_posterior, axis=0)
    return tape.gradient(surrogate, parts[0]).numpy()


@pytest.mark.parametrize(
    ("name", "family", "objective", "num_samples", "said"),
    [
        ("dreg", "bernoulli", Iwae(), 2, "reparameterised"),
        ("stl", "categorical", Elbo(), 2, "reparameterised"),
        ("pathwise", "bernoulli", Elbo(), 2, "'pathwise'"),
        ("vimco", "normal", Iwae(), 2, "discrete"),
        ("straight_through", "normal", Elbo(), 2, "discrete"),
        ("vimco", "bernoulli", Iwae(), 1, "num_samples 1"),
        ("disarm", "categorical", Elbo(), 2, "Bernoulli"),
        ("arms", "categorical", Elbo(), 2, "Bernoulli"),
        ("bitflip", "categorical", Elbo(), 2, "Bernoulli"),
        ("ugc", "categorical", Elbo(), 2, "Bernoulli"),
        ("double_cv", "categorical", Elbo(), 2, "Bernoulli"),
        ("rodeo", "categorical", Elbo(), 2, "Bernoulli"),
        ("arms", "bernoulli", Elbo(), 1, "num_samples 1"),
        ("double_cv", "bernoulli", Elbo(), 1, "num_samples 1"),
        ("rodeo", "bernoulli", Elbo(), 1, "num_samples 1"),
        ("arms", "bernoulli", Iwae(), 2, "which objective 'iwae' is not"),
        ("arms", "bernoulli", Ciwae(0.5), 2, "a mean over samples"),
        ("double_cv", "bernoulli", Iwae(), 2, "which objective 'iwae' is not"),
        ("rodeo", "bernoulli", Iwae(), 2, "which objective 'iwae' is not"),
        ("double_cv", "bernoulli", Piwae(2), 4, "'piwae'"),
        ("bitflip", "bernoulli", Elbo(analytic_kl=True), 1, "analytic_kl"),
        ("reinforce", "bernoulli", Miwae(2), 4, "num_groups"),
        ("vimco", "bernoulli", Piwae(2), 4, "'piwae'"),
        ("rws", "bernoulli", Piwae(2), 4, "'piwae'"),
        ("rws", "normal", Iwae(), 1, "num_samples 1"),
        ("rws", "normal", Elbo(analytic_kl=True), 2, "analytic_kl"),
        ("ovis", "bernoulli", Elbo(), 2, "'elbo'"),
        ("ovis", "bernoulli", Iwae(), 1, "num_samples 1"),
        ("ovis", "normal", Iwae(), 2, "discrete"),
        ("dreg", "normal", Elbo(analytic_kl=True), 1, "analytic_kl"),
        ("stl", "normal", Elbo(free_bits=0.1), 1, "free_bits"),
        ("reinforce", "bernoulli", Elbo(analytic_kl=True), 1, "analytic_kl"),
    ],
)
def test_what_is_not_defined_is_refused(name, family, objective, num_samples, said):
    given = posterior(family, tf.constant(PARAMS[family][0])[tf.newaxis])
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        check_combination(ESTIMATORS[name](), objective, given, num_samples)
    assert said in str(caught.value)
