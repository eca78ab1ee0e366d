"""Objectives and coefficients of log-weights as large as float32 makes them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.models import BOUNDS

from tfvae.estimators import ESTIMATORS, VariationalBatch
from tfvae.estimators.discrete import Reinforce
from tfvae.objectives import OBJECTIVES, Iwae, Miwae, Objective, Piwae
from tfvae.objectives.bounds import effective_sample_size

tfd = tfp.distributions


def made(objective: str, samples: int) -> Objective:
    """The objective, with one group where there is one sample."""
    names = {field.name for field in dataclasses.fields(OBJECTIVES[objective])}
    grouped = samples == 1 and "num_groups" in names
    return OBJECTIVES[objective](**({"num_groups": 1} if grouped else {}))


# -- objectives ------------------------------------------------------------------------


def log_weights(kind: str, samples: int) -> np.ndarray:
    """[S, 2] float32."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=[samples, 2])
    return {
        "all 1e4": 1e4 + drawn,
        "all -1e4": -1e4 + drawn,
        "both": 1e4 * np.sign(drawn),
        "spread": 1e4 * drawn,
        "one alone": np.where(np.arange(samples)[:, None] == 0, 1e4, -1e4 + drawn),
    }[kind].astype("float32")


KINDS = ["all 1e4", "all -1e4", "both", "spread", "one alone"]


@pytest.mark.parametrize("samples", [1, 5000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_of_huge_log_weights_are_right_in_float32(name, kind, samples):
    given = log_weights(kind, samples)
    objective = made(name, samples)
    wide = given.astype("float64")
    wanted = wide[0] if samples == 1 else BOUNDS[name](wide)
    with tf.GradientTape() as tape:
        variable = tf.constant(given)
        tape.watch(variable)
        value = objective.value(variable)
    slopes = tape.gradient(value, variable)
    coefficients = objective.coefficients(variable)
    # A serial sum rounds S times by up to ulp / 2, with a standard deviation of
    # ulp / sqrt(12); five of those. A single number is rounded as it is divided.
    ulp = float(np.spacing(np.float32(1e4 * samples))) / samples
    atol = ulp + 5 * np.sqrt(samples / 12) * ulp
    np.testing.assert_allclose(value, wanted, rtol=0, atol=atol)
    # exp of a difference that is known to 1e-3.
    np.testing.assert_allclose(coefficients, slopes, rtol=2e-3, atol=1e-7)
    np.testing.assert_allclose(np.sum(coefficients, axis=0), 1, rtol=1e-4)
    diagonal = objective.coefficient_derivative(variable).numpy()
    assert np.all(np.isfinite(diagonal)) and np.all(np.abs(diagonal) <= 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_effective_sample_size_of_huge_log_weights_is_between_one_and_s(kind):
    found = effective_sample_size(tf.constant(log_weights(kind, 5000))).numpy()
    assert np.all(found >= 1 - 1e-4) and np.all(found <= 5000 * (1 + 1e-4))


@pytest.mark.parametrize("name", ["iwae", "piwae", "renyi", "miwae"])
def test_a_sample_of_no_weight_counts_for_nothing(name):
    finite = np.array([[0.3], [-1.2], [0.8]], "float32")
    given = np.concatenate([finite, [[-np.inf]]]).astype("float32")
    far = np.where(np.isfinite(given), given, -1e4).astype("float32")
    objective = OBJECTIVES[name]()
    np.testing.assert_array_equal(objective.value(given), objective.value(far))
    coefficients = objective.coefficients(given).numpy()
    np.testing.assert_array_equal(coefficients, objective.coefficients(far))
    assert coefficients[-1] == 0


# -- groups of samples whose weights are nothing beside another's ----------------------


def quadratic(objective: Objective, estimator: str, steepness: float):
    """Float32 gradients of encoder [B, D] and decoder [D], and log-weights [S, B]."""
    encoder, decoder = tf.constant([[0.3, -0.2]] * 3), tf.constant([1.0, 0.7])

    def posterior(loc: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Normal(loc, 1.0), 1)

    with tf.GradientTape() as tape:
        tape.watch([encoder, decoder])
        problem = VariationalBatch(
            objective=objective,
            posterior_params=tf.zeros([]),  # the functions below know theirs
            make_posterior=lambda _: posterior(encoder),
            make_stopped_posterior=lambda _: posterior(tf.stop_gradient(encoder)),
            make_prior=lambda: posterior(tf.zeros([2])),
            log_likelihood=lambda z: (
                -steepness * tf.reduce_sum(tf.square(z * decoder - 1.0), axis=-1)
            ),
            num_samples=4,
            kl_weight=1.0,
            seed=tf.constant([1, 2]),
        )
        estimate = ESTIMATORS[estimator]().estimate(problem)
    slopes = tape.gradient(estimate.surrogate, [encoder, decoder])
    return *(slope.numpy() for slope in slopes), estimate.terms.log_weights().numpy()


@pytest.mark.parametrize("steepness", [1.0, 300.0, 3000.0])
@pytest.mark.parametrize("estimator", ["pathwise", "stl", "dreg"])
def test_piwae_has_iwaes_decoder_and_miwaes_encoder_however_far_groups_are_apart(
    estimator, steepness
):
    encoder, decoder, log_weights = quadratic(Piwae(2), estimator, steepness)
    best = np.max(np.reshape(log_weights, [2, 2, 3]), axis=1)  # [groups, B]
    if steepness > 1:  # exp(-104) is 0 in float32
        assert np.max(np.abs(best[0] - best[1])) > 104
    wanted = quadratic(Miwae(2), estimator, steepness)[0]
    # A dozen roundings in float32.
    np.testing.assert_allclose(encoder, wanted, rtol=2e-6, atol=1e-6 * steepness)
    assert np.linalg.norm(wanted) > 1e-3 * steepness
    wanted = quadratic(Iwae(), estimator, steepness)[1]
    np.testing.assert_allclose(decoder, wanted, rtol=2e-6, atol=1e-6 * steepness)


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_reinforce_leaves_each_sample_out_once(samples):
    given = np.random.default_rng(0).normal(size=[samples, 2])
    found = Reinforce().signals(Iwae(), tf.constant(given)).numpy()
    whole = BOUNDS["iwae"](given)
    for s in range(samples):
        others = np.delete(given, s, axis=0)
        without = BOUNDS["iwae"](others) if samples > 1 else 0.0
        np.testing.assert_allclose(found[s], whole - without, rtol=0, atol=1e-14)
