"""Priors with weights: their densities, and where they start."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.latents import DISCRETE, LEARNED_PRIORS
from helpers.priors import (
    IMAGES,
    WITH_WEIGHTS,
    encoder_of,
    family_of,
    prior_of,
)
from scipy import special, stats

from tfvae.latents import Latent, NormalLatent
from tfvae.priors import (
    LearnedPrior,
    MixturePrior,
    VampPrior,
    make_prior,
)

tfd = tfp.distributions


def shaken(prior, seed: int = 4):
    """The prior with other weights than it starts with."""
    rng = np.random.default_rng(seed)
    prior.set_weights([w + rng.normal(size=w.shape) for w in prior.get_weights()])
    return prior


def numpy_log_prob(name: str, params: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log q(z) [N] for one set of parameters, from the formulas."""
    if name == "bernoulli":
        return stats.bernoulli(special.expit(params)).logpmf(z).sum(-1)
    if name == "categorical":
        return np.sum(z * special.log_softmax(params, axis=-1), axis=(-2, -1))
    loc, raw = params[:2], params[2:]
    scale = np.logaddexp(0, raw) + 1e-5
    if name == "multivariate_normal":  # TFP's order: [[third, 0], [second, first]]
        below = 10 * np.tanh(raw[1] / 10)
        lower = np.array([[scale[2], 0], [scale[0] * below, scale[0]]])
        return stats.multivariate_normal(loc, lower @ lower.T).logpdf(z)
    kind = {"normal": stats.norm, "logistic": stats.logistic}[name]
    return kind(loc, scale).logpdf(z).sum(-1)


def some_z(family: Latent) -> np.ndarray:
    return family.prior().sample(7, seed=[3, 4]).numpy()


# -- densities -------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_a_learned_prior_starts_as_the_familys_own(name):
    family = family_of(name)
    found = LearnedPrior(family).distribution(None)
    z = some_z(family)
    np.testing.assert_allclose(
        found.log_prob(z), family.prior().log_prob(z), rtol=1e-12
    )
    assert found.batch_shape == () and found.event_shape == family.event_shape


@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_a_learned_prior_has_the_density_of_its_weights(name):
    family = family_of(name)
    prior = shaken(LearnedPrior(family))
    z = some_z(family)
    oracle = numpy_log_prob(name, prior.get_weights()[0], z)
    np.testing.assert_allclose(prior.distribution(None).log_prob(z), oracle, rtol=1e-10)


@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_a_mixtures_density_is_numpys_log_sum_exp(name):
    family = family_of(name)
    prior = shaken(MixturePrior(family, 3))
    params, logits = prior.get_weights()
    z = some_z(family)
    each = np.stack([numpy_log_prob(name, one, z) for one in params])  # [K, N]
    weights = special.log_softmax(logits)[:, np.newaxis]
    oracle = special.logsumexp(each + weights, axis=0)
    found = prior.distribution(None)
    np.testing.assert_allclose(found.log_prob(z), oracle, rtol=1e-10)
    assert found.batch_shape == () and found.event_shape == family.event_shape


@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_a_vamps_density_is_the_mean_of_the_posteriors_densities(name):
    family = family_of(name)
    encoder = encoder_of(family)
    prior = shaken(prior_of("vamp", family))
    pseudo_inputs = special.expit(prior.get_weights()[0])
    np.testing.assert_allclose(prior.pseudo_inputs, pseudo_inputs, rtol=1e-12)
    params = encoder.params(pseudo_inputs).numpy()
    z = some_z(family)
    each = np.stack([numpy_log_prob(name, one, z) for one in params])  # [K, N]
    oracle = special.logsumexp(each, axis=0) - np.log(3)
    found = prior.distribution(encoder)
    np.testing.assert_allclose(found.log_prob(z), oracle, rtol=1e-10)
    assert found.batch_shape == () and found.event_shape == family.event_shape


@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_the_rate_of_the_pseudo_input_of_a_vamp_of_one_is_zero(name):
    family = family_of(name)
    encoder = encoder_of(family)
    prior = VampPrior(family, IMAGES[:1])
    posterior = encoder(prior.pseudo_inputs)
    z = posterior.sample(9, seed=[1, 2])
    rate = posterior.log_prob(z) - prior.distribution(encoder).log_prob(z)
    # Rounding of float64 densities below 100.
    np.testing.assert_allclose(rate, 0, atol=1e-12)


@pytest.mark.parametrize("prior_name", WITH_WEIGHTS)
@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_draws_have_the_mean_of_the_components(name, prior_name):
    family = family_of(name)
    encoder = encoder_of(family)
    prior = shaken(prior_of(prior_name, family))
    found = prior.distribution(encoder)
    draws = found.sample(4000, seed=[1, 2]).numpy()
    assert draws.shape == (4000, *family.event_shape)
    if prior_name == "learned":
        mean = found.mean().numpy()
    elif prior_name == "mixture":
        params, logits = prior.get_weights()
        means = prior.head(params).mean().numpy()
        mean = np.tensordot(special.softmax(logits), means, axes=1)
    else:
        mean = encoder(prior.pseudo_inputs).mean().numpy().mean(0)
    error = np.abs(draws.mean(0) - mean)
    assert np.all(error < 5 * draws.std(axis=0, ddof=1) / np.sqrt(4000))


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_the_density_is_the_same_in_a_graph_and_with_xla(name):
    family = family_of(name)
    encoder, z = encoder_of(family), some_z(family)
    for prior_name in WITH_WEIGHTS:
        prior = prior_of(prior_name, family)

        def density(z: tf.Tensor, prior=prior) -> tf.Tensor:
            return prior.distribution(encoder).log_prob(z)

        for jit in (False, True):
            found = tf.function(density, jit_compile=jit)(tf.constant(z))
            np.testing.assert_allclose(found, density(z), rtol=1e-10)


@pytest.mark.parametrize("name", ["normal", "multivariate_normal", *DISCRETE])
def test_a_learned_prior_keeps_the_closed_rate(name):
    family = family_of(name)
    posterior = encoder_of(family)(IMAGES[:1])
    prior = shaken(LearnedPrior(family)).distribution(None)
    z = posterior.sample(4000, seed=[1, 2])
    sampled = (posterior.log_prob(z) - prior.log_prob(z)).numpy()
    error = abs(sampled.mean() - float(tfd.kl_divergence(posterior, prior)[0]))
    assert error < 5 * sampled.std(ddof=1) / np.sqrt(4000)


# -- the start -------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_the_components_start_apart_by_their_locations_alone(name):
    family = family_of(name)
    prior = MixturePrior(family, 200, seed=3)
    off = prior.get_weights()[0] - family.prior_params()  # [K, *params_shape]
    locations = off[..., : family.event_shape[-1]]
    np.testing.assert_array_equal(off[..., family.event_shape[-1] :], 0)
    # Standard normal draws; the variance of their variance is 2 / K.
    assert np.all(np.abs(locations.mean(0)) < 5 / np.sqrt(200))
    assert np.all(np.abs((locations**2).mean(0) - 1) < 5 * np.sqrt(2 / 200))
    np.testing.assert_array_equal(prior.get_weights()[1], 0)


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_the_start_is_a_function_of_the_seed(name):
    first, same, other = (prior_of(name, family_of("normal"), s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.get_weights()[0], same.get_weights()[0])
    assert np.any(first.get_weights()[0] != other.get_weights()[0])


def test_a_vamp_starts_at_different_images_of_the_data():
    prior = make_prior("vamp", family_of("normal"), num_components=12, images=IMAGES)
    # All twelve, in another order; values beyond [0.01, 0.99] are clipped.
    found = np.sort(prior.pseudo_inputs.numpy().reshape([12, -1]), axis=0)
    expected = np.sort(np.clip(IMAGES, 0.01, 0.99).reshape([12, -1]), axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_pseudo_inputs_stay_between_zero_and_one_whatever_the_weights():
    prior = VampPrior(NormalLatent(2), np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(prior.pseudo_inputs, [[0.01, 0.99]], rtol=1e-5)
    prior.set_weights([np.array([[-80.0, 30.0]])])
    assert 0 <= prior.pseudo_inputs.numpy().min()
    assert prior.pseudo_inputs.numpy().max() <= 1


@pytest.mark.quick(4)
@pytest.mark.parametrize("prior_name", WITH_WEIGHTS)
@pytest.mark.parametrize("name", LEARNED_PRIORS)
def test_a_prior_is_rebuilt_from_its_config_with_weights_to_be_set(name, prior_name):
    family = family_of(name)
    prior, encoder, z = prior_of(prior_name, family), encoder_of(family), some_z(family)
    rebuilt = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(prior)))
    )
    assert rebuilt.get_config() == prior.get_config()
    rebuilt.set_weights(shaken(prior).get_weights())
    np.testing.assert_array_equal(
        rebuilt.distribution(encoder).log_prob(z),
        prior.distribution(encoder).log_prob(z),
    )
    assert rebuilt.compute_dtype == "float64"
