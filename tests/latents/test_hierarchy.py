"""Several layers of latent variables against formulas and exact answers."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.hierarchies import (
    FAMILIES,
    SHAPE,
    Chain,
    X,
    at_states,
    hierarchy,
    model,
    small,
    terms_at,
    together,
)
from helpers.models import (
    binary_images,
    numpy_mlp,
    softplus_inverse,
    standard_error,
    tiny_vae,
)
from scipy import special, stats

from tfvae.core.seeds import derive_seed
from tfvae.evaluation.layers import active_units
from tfvae.heads import MIN_SCALE
from tfvae.latents import LATENTS, layer_means, layer_rates
from tfvae.models import VAE

# -- formulas --------------------------------------------------------------------------


def numpy_layers(vae: VAE, family: str, x: np.ndarray, z: np.ndarray):
    """log q and log p of every layer, [K, S, B], and log p(x|z), from the formulas."""
    sizes, tempered = vae.latent.sizes, family == "bin_concrete"
    values = np.split(z, np.cumsum(sizes)[:-1], axis=-1)

    def read(value):
        return special.expit(value) if tempered else value

    def density(params, value, temperature):
        if family == "bernoulli":
            return np.sum(value * params - np.logaddexp(0, params), axis=-1)
        if tempered:
            scipy = stats.logistic(params / temperature, 1 / temperature)
        else:
            loc, raw = np.split(params, 2, axis=-1)
            kind = {"normal": stats.norm, "logistic": stats.logistic}[family]
            scipy = kind(loc, np.logaddexp(0, raw) + 1e-5)
        return scipy.logpdf(value).sum(axis=-1)

    flat = np.reshape(x, [len(x), -1])
    log_q = [density(numpy_mlp(vae.encoder.network, flat), values[0], 0.7)]
    log_p = []
    for k, (lower, upper) in enumerate(itertools.pairwise(values)):
        up = numpy_mlp(vae.latent.upward[k], read(lower))
        down = numpy_mlp(vae.latent.downward[k], read(upper))
        log_q.append(density(up, upper, 0.7))
        log_p.append(density(down, lower, 0.4))
    zeros = np.zeros(sizes[-1])
    if family in ("normal", "logistic"):
        kind = {"normal": stats.norm, "logistic": stats.logistic}[family]
        log_p.append(kind.logpdf(values[-1]).sum(axis=-1))
    else:
        log_p.append(density(zeros, values[-1], 0.4))
    logits = numpy_mlp(vae.decoder.network, read(values[0]))
    log_likelihood = np.sum(flat * logits - np.logaddexp(0, logits), axis=-1)
    return np.array(log_q), np.array(log_p), log_likelihood


def test_every_layered_family_is_among_the_tests():
    assert set(FAMILIES) == {name for name, kind in LATENTS.items() if kind.layered}


@pytest.mark.quick(2)
@pytest.mark.parametrize("sizes", [(3, 2), (2, 4, 3)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_term_of_the_log_weights_is_its_formula(family, sizes):
    vae, x = model(family, sizes), binary_images(4, shape=SHAPE)
    z = np.random.default_rng(5).normal(0, 2, [6, 4, sum(sizes)])
    if family == "bernoulli":
        z = (z > 0).astype(float)
    log_q, log_p, log_likelihood = numpy_layers(vae, family, x, z)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    close(vae.encode(x).log_probs(z), log_q)
    close(vae.prior().log_probs(z), log_p)
    found = terms_at(vae, x, z).log_weights()
    close(found, log_likelihood + log_p.sum(axis=0) - log_q.sum(axis=0))


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_draws_have_the_distribution_of_their_layers(family):
    """Each layer's mean and variance, given the layer before."""
    vae, x = model(family), binary_images(1, shape=SHAPE)
    for distribution in (vae.encode(x), vae.prior()):
        z = distribution.sample(20_000, seed=3)
        again = distribution.sample(20_000, seed=3)
        np.testing.assert_array_equal(z, again)
        for layer, value in distribution.layers(z):
            off = (value - layer.mean()).numpy()
            square = off**2 - layer.variance().numpy()
            for error in (off, square):  # each of mean 0
                wrong = np.abs(error.mean(axis=0))
                # Equal, both 0, for a fair bit's square.
                assert np.all(wrong <= 5 * standard_error(error))


def test_two_layers_draw_from_seeds_of_their_own():
    latent = hierarchy("normal", (2, 2), ())
    for network in latent.downward:  # p(z_1|z_2) is p(z_2): equal seeds, equal draws
        raw = softplus_inverse(np.ones(2) - MIN_SCALE)
        network.set_weights([np.zeros([2, 4]), np.concatenate([np.zeros(2), raw])])
    z = latent.prior().sample(20_000, seed=1).numpy()
    assert np.all(np.abs(np.corrcoef(z.T) - np.eye(4)) < 5 / np.sqrt(20_000))


@pytest.mark.parametrize("family", FAMILIES)
def test_leading_axes_are_those_of_single_evaluations(family):
    vae, x = model(family), binary_images(3, shape=SHAPE)
    posterior, prior = vae.encode(x), vae.prior()
    z = posterior.sample((2, 4), seed=1)  # [2, 4, B, D]
    assert z.shape == (2, 4, 3, 5)
    for distribution in (posterior, prior):
        whole = distribution.log_prob(z)
        assert whole.shape == (2, 4, 3)
        single = distribution.log_prob(z[1, 2])
        np.testing.assert_allclose(whole[1, 2], single, rtol=1e-12)
    np.testing.assert_allclose(
        prior.log_prob(z[1, 2, 0]), prior.log_prob(z)[1, 2, 0], rtol=1e-12
    )
    np.testing.assert_allclose(  # one z for every example
        posterior.log_prob(z[0, 0, 0])[0], posterior.log_prob(z)[0, 0, 0], rtol=1e-12
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_rates_sum_to_the_rate(family):
    vae, x = model(family, (3, 2, 2)), binary_images(4, shape=SHAPE)
    rates = layer_rates(vae, x, 5, seed=3)
    assert rates.shape == (3, 5, 4)
    total = vae.log_weight_terms(x, 5, seed=3).rate
    np.testing.assert_allclose(tf.reduce_sum(rates, 0), total, rtol=1e-10, atol=1e-10)


def test_the_centre_of_a_posterior_is_each_layers_given_the_one_below():
    for family in FAMILIES:
        vae, x = model(family), binary_images(3, shape=SHAPE)
        posterior = vae.encode(x)
        centre = vae.latent.point_estimate(posterior)
        for layer, value in posterior.layers(centre):
            middle = layer.mode() if family == "bernoulli" else layer.mean()
            np.testing.assert_allclose(value, middle, rtol=1e-12)
        np.testing.assert_array_equal(vae.reconstruct(x), vae.decode(centre).mean())
        named = vae.encoder.head.named_params(posterior)
        assert {name[-2:] for name in named} == {"_1", "_2"}


def test_a_relaxed_hierarchys_twin_shares_its_networks_and_logits():
    vae, x = model("bin_concrete"), binary_images(3, shape=SHAPE)
    twin = vae.discrete()
    ours = {id(v) for v in vae.trainable_variables}
    assert {id(v) for v in twin.trainable_variables} == ours
    hard = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    # sigmoid(+-60) is 1 and 0, so the networks between the layers read the same.
    soft = 120 * np.tile(hard, [3, 1]) - 60
    logits = [layer.mean() * 0.7 for layer, _ in vae.encode(x).layers(soft)]
    twins = [
        layer.distribution.logits
        for layer, _ in twin.encode(x).layers(np.tile(hard, [3, 1]))
    ]
    for one, other in zip(logits, twins, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


# -- a chain of which everything is known ----------------------------------------------


def test_with_the_exact_posterior_every_log_weight_is_log_p_of_x():
    log_weights = Chain().vae().log_weight_terms(X, 7, seed=1).log_weights()
    expected = np.tile(Chain().log_marginal(X), [7, 1])
    np.testing.assert_allclose(log_weights, expected, rtol=1e-10)


def test_the_layers_means_and_active_units_are_those_of_the_chain():
    chain, draws = Chain(), 4000
    first, second = layer_means(chain.vae(), X, draws, seed=1)
    np.testing.assert_allclose(first, chain.mean(X), rtol=1e-10)
    expected = chain.slope * (chain.mean(X) - chain.c)
    error = np.abs(chain.slope) * np.sqrt(chain.variance / draws)
    assert np.all(np.abs(second - expected) < 5 * error)
    assert int(active_units(second)) == 2


def test_active_units_are_those_whose_mean_has_a_variance_above_the_threshold():
    # Of values +-s the variance is s^2.
    signs = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    means = tf.constant(5 + signs * np.sqrt([[0.0, 0.0099, 0.0101, 4.0]]))
    assert int(active_units(means)) == 2
    assert int(active_units(means, threshold=0.001)) == 3
    assert int(active_units(means, threshold=5.0)) == 0


def test_a_model_of_one_layer_has_its_rate_and_mean_as_the_only_ones():
    vae = small("normal")
    plain = LATENTS["normal"](2, dtype="float64")
    one = together(
        vae.encoder.network,
        plain.posterior_head(),
        vae.decoder.network,
        vae.decoder.head,
        plain,
    )
    x = binary_images(3, shape=SHAPE)
    rates = layer_rates(one, x, 4, seed=2)
    np.testing.assert_array_equal(rates[0], one.log_weight_terms(x, 4, seed=2).rate)
    (means,) = layer_means(one, x, 4, seed=2)
    np.testing.assert_array_equal(means, one.encode(x).mean())


def test_a_posterior_without_a_closed_mean_has_that_of_its_draws():
    vae, x = tiny_vae("flow"), binary_images(3)
    (means,) = layer_means(vae, x, 50, seed=2)
    z = vae.encode(x).sample(50, seed=derive_seed(2, "posterior"))
    np.testing.assert_allclose(means, np.mean(z, axis=0), rtol=1e-5, atol=1e-6)


# -- two Bernoulli layers, by enumeration ----------------------------------------------


def test_bernoulli_layers_are_normalised():
    vae = small("bernoulli")
    x = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    terms = at_states(vae, np.reshape(x, [16, *SHAPE]))
    for log_density in (terms.log_posterior, terms.log_prior):
        totals = special.logsumexp(log_density, axis=0)
        np.testing.assert_allclose(totals, 0, atol=1e-12)
    log_p = special.logsumexp(terms.log_likelihood + terms.log_prior, axis=0)  # [16]
    np.testing.assert_allclose(special.logsumexp(log_p), 0, atol=1e-12)


@pytest.mark.slow
def test_the_mean_weight_of_bernoulli_layers_is_p_of_x():
    vae, x = small("bernoulli"), binary_images(3, shape=SHAPE)
    terms = at_states(vae, x)
    exact = np.exp(special.logsumexp(terms.log_likelihood + terms.log_prior, axis=0))
    weights = np.exp(vae.log_weight_terms(x, 20_000, seed=1).log_weights())  # [S, B]
    assert np.all(np.abs(weights.mean(axis=0) - exact) < 5 * standard_error(weights))
    assert np.all(5 * standard_error(weights) < 0.05 * exact)


@pytest.mark.parametrize("latent", ["normal", "bernoulli"])
def test_a_draw_with_its_density_is_the_draw_and_its_density(latent):
    vae = small(latent)
    posterior = vae.encode(binary_images(2, shape=vae.image_shape))
    z, density = posterior.experimental_sample_and_log_prob(5, seed=(3, 4))
    np.testing.assert_array_equal(z, posterior.sample(5, seed=(3, 4)))
    np.testing.assert_allclose(density, posterior.log_prob(z), rtol=1e-9)
