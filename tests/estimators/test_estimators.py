"""Gradients against central differences, values against plain NumPy."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.estimators import PathwiseOfGivenDraws
from helpers.models import (
    BOUNDS,
    WRITTEN_OUT,
    binary_images,
    linear_gaussian,
    numpy_log_weights,
    slow_but,
    standard_error,
    tiny_vae,
)

from tfvae.core.types import InputError
from tfvae.estimators import (
    ESTIMATORS,
    Pathwise,
    VariationalBatch,
    analytic_rate,
    get_estimator,
)
from tfvae.objectives import OBJECTIVES, Elbo, Objective

SHAPE = (3, 3, 1)
SEED = tf.constant([5, 6])
OBJECTIVES_TO_CHECK = {name: make() for name, make in OBJECTIVES.items()}
CASES = [
    (latent, objective) for latent in WRITTEN_OUT for objective in OBJECTIVES_TO_CHECK
]
# Every family with one objective, and every objective with one family.
SOME_CASES = [c for c in CASES if c[0] == WRITTEN_OUT[0] or c[1] == "iwae"]


def small_vae(latent: str):
    """A float64 VAE of about 100 weights, none of them zero."""
    vae = tiny_vae(
        latent,
        image_shape=SHAPE,
        latent_size=2,
        hidden_sizes=(4,),
        dtype="float64",
        head_dtype="float64",
    )
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        variable.assign(rng.normal(0, 0.7, variable.shape))
    return vae


def problem(vae, x, objective=None, num_samples=4, kl_weight=1.0, seed=SEED):
    return VariationalBatch(
        objective=objective or Elbo(),
        posterior_params=tf.zeros([]),  # the functions below know theirs
        make_posterior=lambda _: vae.encode(x),
        make_stopped_posterior=lambda _: vae.encoder.head.stopped(
            vae.encoder.params(x)
        ),
        make_prior=lambda: vae.prior(),
        log_likelihood=lambda z: vae.decode(z).log_prob(x),
        num_samples=num_samples,
        kl_weight=kl_weight,
        seed=seed,
    )


def estimate(vae, x, objective: Objective, num_samples=4, kl_weight=1.0, seed=SEED):
    return Pathwise().estimate(problem(vae, x, objective, num_samples, kl_weight, seed))


def central_differences(function, variables, step: float = 1e-5) -> list[np.ndarray]:
    """d function / d variables; the error is of order step^2 plus 1e-15 / step."""
    gradients = []
    for variable in variables:
        values = variable.numpy()
        gradient = np.empty_like(values)
        for index in np.ndindex(values.shape):
            ends = []
            for sign in (1, -1):
                moved = values.copy()
                moved[index] += sign * step
                variable.assign(moved)
                ends.append(float(function()))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        variable.assign(values)
        gradients.append(gradient)
    return gradients


def assert_gradient_is_that_of_the_value(vae, objective, kl_weight):
    x = binary_images(2, shape=SHAPE)

    def slopes(parts, objective) -> list[np.ndarray]:
        @tf.function
        def value() -> tf.Tensor:
            terms = estimate(vae, x, objective, kl_weight=kl_weight).terms
            return tf.reduce_sum(objective.value(terms.loss_log_weights(kl_weight)))

        variables = [v for part in parts for v in part.trainable_variables]
        return central_differences(value, variables)

    @tf.function
    def gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            found = estimate(vae, x, objective, kl_weight=kl_weight)
            surrogate = tf.reduce_sum(found.surrogate)
        return tape.gradient(surrogate, [v.value for v in vae.trainable_variables])

    if objective.encoder_objective == objective:
        wanted = slopes([vae.encoder, vae.decoder], objective)
    else:
        wanted = slopes([vae.encoder], objective.encoder_objective)
        wanted += slopes([vae.decoder], objective)
    # Rounding: 1e-14 of a value near 20, over 2e-5. Curvature: 1e-10 times order 10.
    for one, other in zip(gradient(), wanted, strict=True):
        assert np.any(other != 0)
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.quick(1)
@pytest.mark.parametrize(("latent", "objective"), slow_but(SOME_CASES, CASES))
def test_pathwise_gradient_is_the_slope_of_the_objective(latent, objective):
    assert_gradient_is_that_of_the_value(
        small_vae(latent), OBJECTIVES_TO_CHECK[objective], kl_weight=1.0
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("objective", [Elbo(analytic_kl=True), OBJECTIVES["iwae"]()])
def test_pathwise_gradient_is_the_slope_with_another_kl_weight(objective):
    assert_gradient_is_that_of_the_value(small_vae("normal"), objective, kl_weight=0.3)


@pytest.mark.quick(4)
@pytest.mark.parametrize(("latent", "objective"), CASES)
def test_value_is_that_of_plain_numpy_for_the_same_draws(latent, objective):
    vae, x = small_vae(latent), binary_images(4, shape=SHAPE)
    draws = []

    def log_likelihood(z):
        draws.append(z.numpy())
        return vae.decode(z).log_prob(x)

    given = dataclasses.replace(
        problem(vae, x, num_samples=6), log_likelihood=log_likelihood
    )
    terms = given.draw_log_weight_terms()
    log_weights = numpy_log_weights(vae, latent, x, draws[0])
    # Rounding in float64 of numbers below 1000.
    np.testing.assert_allclose(terms.log_weights(), log_weights, rtol=1e-11)
    np.testing.assert_allclose(
        OBJECTIVES[objective]().value(terms.log_weights()),
        BOUNDS[objective](log_weights),
        rtol=1e-11,
    )


def test_pathwise_gradient_of_the_elbo_is_unbiased():
    # Analytic and sampled rates differ in every draw and agree in the mean.
    vae, x = small_vae("normal"), binary_images(1, shape=SHAPE)
    variables = [v.value for v in vae.encoder.trainable_variables]

    @tf.function
    def gradients(seed: tf.Tensor) -> tf.Tensor:
        found = []
        for objective in (Elbo(), Elbo(analytic_kl=True)):
            with tf.GradientTape() as tape:
                surrogate = estimate(vae, x, objective, 50, seed=seed).surrogate
            slopes = tape.gradient(surrogate, variables)
            found.append(tf.concat([tf.reshape(g, [-1]) for g in slopes], 0))
        return found[0] - found[1]

    gaps = np.stack([gradients(tf.constant([i, 7])) for i in range(200)])
    moving = gaps.std(axis=0) > 0
    assert moving.any()
    error = np.abs(gaps.mean(axis=0))[moving]
    assert np.all(error < 5 * standard_error(gaps)[moving])


# -- the analytic rate -----------------------------------------------------------------


def test_analytic_rate_is_the_mean_of_the_sampled_rates():
    vae, x = small_vae("normal"), binary_images(3, shape=SHAPE)
    rate = vae.log_weight_terms(x, 20_000, seed=1).rate.numpy()
    exact = analytic_rate(vae.encode(x), vae.latent.prior()).numpy()
    assert np.all(exact > 0.01)
    assert np.all(np.abs(rate.mean(axis=0) - exact) < 5 * standard_error(rate))


@pytest.mark.parametrize("latent", ["logistic", "bin_concrete"])
def test_analytic_rate_is_refused_where_there_is_no_closed_form(latent):
    vae = small_vae(latent)
    with pytest.raises(InputError, match="analytic_kl"):
        vae.compile(objective=Elbo(analytic_kl=True))


def test_a_refused_compile_leaves_the_model_as_it_was():
    vae = tiny_vae("logistic")
    vae.compile(keras.optimizers.SGD(0.1), "iwae", 2)
    with pytest.raises(InputError):
        vae.compile(objective=Elbo(analytic_kl=True))
    assert (vae.objective, vae.num_samples) == (OBJECTIVES["iwae"](), 2)
    assert np.all(np.isfinite(vae.train_on_batch(binary_images(2))))


def test_checking_for_a_closed_form_trains_nothing():
    # A pass over an image of zeros in training mode would move these statistics.
    vae = tiny_vae()
    network = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.BatchNormalization(), vae.encoder.network]
    )
    vae = type(vae)(
        type(vae.encoder)(network, vae.encoder.head), vae.decoder, vae.latent
    )
    before = [v.numpy() for v in network.variables]
    vae.compile(objective=Elbo(analytic_kl=True))
    for old, new in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(new, old)


# -- estimators as settings ------------------------------------------------------------


def test_an_estimator_is_found_by_name_or_taken_as_it_is():
    assert get_estimator("pathwise") == Pathwise()
    mine = Pathwise()
    assert get_estimator(mine) is mine


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_an_estimator_is_rebuilt_from_its_config(name):
    estimator = ESTIMATORS[name]()
    assert ESTIMATORS[name].from_config(estimator.get_config()) == estimator


@pytest.mark.slow
@pytest.mark.parametrize("latent", slow_but(["normal", "bin_concrete"], WRITTEN_OUT))
def test_a_train_step_is_the_same_eagerly_in_a_graph_and_under_xla(latent):
    # XLA's stateless draws are other numbers for the same seed, so these are given.
    x = binary_images(4)
    trained = {}
    for mode, how in {
        "eager": {"run_eagerly": True, "jit_compile": False},
        "graph": {"jit_compile": False},
        "xla": {"jit_compile": True},
    }.items():
        vae = tiny_vae(latent, dtype="float64", head_dtype="float64")
        vae.compile(keras.optimizers.SGD(0.1), "iwae", 3, PathwiseOfGivenDraws(), **how)
        logs = vae.train_on_batch(x, return_dict=True)
        trained[mode] = [v.numpy() for v in vae.trainable_variables]
        assert logs["loss"] > 0
    for mode, tolerance in (("graph", 1e-13), ("xla", 1e-10)):
        for one, other in zip(trained[mode], trained["eager"], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def test_a_train_step_with_its_own_draws_is_the_same_eagerly_and_in_a_graph():
    x = binary_images(4)
    trained = []
    for eager in (True, False):
        vae = tiny_vae(dtype="float64", head_dtype="float64")
        vae.compile(
            keras.optimizers.SGD(0.1), "iwae", 3, run_eagerly=eager, jit_compile=False
        )
        vae.train_on_batch(x)
        trained.append([v.numpy() for v in vae.trainable_variables])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_with_the_exact_posterior_the_encoder_has_no_gradient(estimator, objective):
    exact = linear_gaussian()
    vae = exact.vae()
    x = np.random.default_rng(1).normal(size=[4, *vae.image_shape])
    given = problem(vae, x, OBJECTIVES[objective]())
    with tf.GradientTape() as tape:
        surrogate = ESTIMATORS[estimator]().estimate(given).surrogate
    variables = [v.value for v in vae.trainable_variables]
    slopes = tape.gradient(surrogate, variables, unconnected_gradients="zero")
    count = len(vae.encoder.trainable_variables)
    assert 0 < count < len(slopes)
    for slope in slopes[:count]:
        # Rounding in float64: d log w / d z is a difference of numbers below 100.
        np.testing.assert_allclose(slope, 0, rtol=0, atol=1e-11)
    assert max(np.abs(slope).max() for slope in slopes[count:]) > 0.1


@pytest.mark.parametrize("floor", [1.5, 50.0])
@pytest.mark.parametrize("analytic_kl", [False, True])
def test_free_bits_floor_the_rate_of_each_variable_over_the_batch(floor, analytic_kl):
    vae, x = small_vae("normal"), binary_images(3, shape=SHAPE)
    objective = Elbo(analytic_kl=analytic_kl, free_bits=floor)
    given = problem(vae, x, objective)
    terms = Pathwise().estimate(given).terms
    q, z = vae.encode(x).distribution, given.draw()
    p = vae.prior().distribution
    if analytic_kl:
        rates = tf.reduce_mean(q.kl_divergence(p), axis=0)  # [D]
    else:
        rates = tf.reduce_mean(q.log_prob(z) - p.log_prob(z), axis=(0, 1))
    wanted = np.sum(np.maximum(rates, floor))
    np.testing.assert_allclose(tf.reduce_mean(terms.floored_rate), wanted, rtol=1e-12)
    # What is reported is the elbo itself.
    assert np.all(terms.rate != terms.floored_rate)


def test_a_variable_below_its_free_bits_has_no_gradient_from_the_rate():
    vae, x = small_vae("normal"), binary_images(3, shape=SHAPE)

    def slopes(objective, kl_weight):
        given = problem(vae, x, objective, kl_weight=kl_weight)
        with tf.GradientTape() as tape:
            surrogate = Pathwise().estimate(given).surrogate
        variables = [v.value for v in vae.trainable_variables]
        return tape.gradient(surrogate, variables, unconnected_gradients="zero")

    # All below the floor: the gradient is that of the distortion alone.
    floored, alone = slopes(Elbo(free_bits=1e3), 1.0), slopes(Elbo(), 0.0)
    for one, other in zip(floored, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
