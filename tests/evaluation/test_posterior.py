"""What is said of the latent variables is what enumeration and formulas say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.hierarchies import model as hierarchical
from helpers.latents import CLOSED_FORM, DEPENDENT
from helpers.models import (
    FLOAT64,
    binary_images,
    linear_gaussian,
    standard_error,
    tiny_vae,
)
from scipy import special, stats

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.evaluation import PosteriorSummary, posterior_summary
from tfvae.latents import LATENTS
from tfvae.models import VAE
from tfvae.priors import MixturePrior

KNOWN = linear_gaussian()
X = np.random.default_rng(0).normal(size=[30, 6])
SAMPLES = 7


def draws(vae: VAE, x: np.ndarray, seed: int = 0) -> tf.Tensor:
    """Those of the first batch."""
    seed = derive_seed(seed, "summary", 0, 0)
    return vae.encode(x).sample(SAMPLES, seed=seed)  # [S, B, ...]


def summary_of(vae: VAE, *batches, **arguments) -> PosteriorSummary:
    return posterior_summary(vae, batches, SAMPLES, **arguments)


def shaken(vae: VAE, size: float = 0.8) -> VAE:
    """With weights that make posteriors differ between images."""
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        variable.assign(rng.normal(0, size, variable.shape))
    return vae


def any_model(name: str) -> tuple[VAE, np.ndarray]:
    if name.startswith("two layers of "):
        vae = hierarchical(name.split()[-1])
    else:
        vae = shaken(tiny_vae(name, **FLOAT64))
    x = binary_images(9, shape=vae.image_shape).astype(vae.compute_dtype)
    return vae, x


FAMILIES = [*LATENTS, *(f"two layers of {n}" for n in ("normal", "bernoulli"))]


# -- the linear-Gaussian model ---------------------------------------------------------


def test_rates_and_variances_of_a_normal_posterior_are_those_of_the_formulas():
    found = summary_of(KNOWN.vae(), X[:20], X[20:])
    (layer,) = found.layers
    mean, variance = KNOWN.posterior_mean(X), KNOWN.variance  # [N, D], [D]
    rates = 0.5 * (mean**2 + variance - 1 - np.log(variance))
    np.testing.assert_allclose(layer.variable_rates, rates.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(layer.rate_errors, standard_error(rates), rtol=1e-10)
    np.testing.assert_allclose(layer.mean_variances, mean.var(axis=0), rtol=1e-10)
    assert not layer.rates_sampled and not layer.means_sampled
    assert found.num_images == 30 and found.num_samples == SAMPLES


def test_active_units_are_those_whose_mean_moves():
    near = KNOWN.bias + 0.05 * (X - X.mean(axis=0))
    (layer,) = summary_of(KNOWN.vae(), near).layers
    variances = KNOWN.posterior_mean(near).var(axis=0)
    wanted = np.sum(variances > 0.01)
    (all_of_them,) = summary_of(KNOWN.vae(), X).layers
    (none,) = summary_of(KNOWN.vae(), X[:1].repeat(5, axis=0)).layers
    assert [layer.active_units, all_of_them.active_units] == [wanted, 3]
    assert none.active_units == 0


def test_terms_of_the_aggregate_are_those_of_scipy_on_the_same_draws():
    vae = KNOWN.vae(shift=0.2, widen=1.5)
    found = summary_of(vae, X).aggregate
    z = draws(vae, X)[0].numpy()
    mean = KNOWN.posterior_mean(X) + 0.2  # [M, D]
    scale = 1.5 * np.sqrt(KNOWN.variance)
    pairs = stats.norm.logpdf(z[:, None], mean, scale).sum(-1)  # [M, M]
    mixed = special.logsumexp(pairs, axis=1) - np.log(len(X))
    prior = stats.norm.logpdf(z).sum(-1)
    own = np.diag(pairs)
    for name, wanted in {
        "rate": own - prior,
        "mutual_information": own - mixed,
        "divergence": mixed - prior,
    }.items():
        np.testing.assert_allclose(
            getattr(found, name), wanted, rtol=1e-9, atol=1e-9, err_msg=name
        )


def test_images_that_z_tells_apart_have_all_of_log_m_and_equal_ones_nothing():
    vae = KNOWN.vae()
    apart = summary_of(vae, 1e4 * X).aggregate.mutual_information
    np.testing.assert_allclose(apart, np.log(30), rtol=1e-12)
    equal = summary_of(vae, X[:1].repeat(30, axis=0)).aggregate
    np.testing.assert_allclose(equal.mutual_information, 0, atol=1e-12)
    np.testing.assert_allclose(equal.divergence, equal.rate, rtol=1e-12)


@pytest.mark.slow
def test_with_the_exact_posterior_on_its_own_data_the_aggregate_nears_the_prior():
    rng = np.random.default_rng(1)
    z = rng.normal(size=[1500, 3])
    x = z @ KNOWN.weights.T + KNOWN.bias + 0.7 * rng.normal(size=[1500, 6])
    found = summary_of(KNOWN.vae(), x, num_aggregate=1500).aggregate
    exact = -0.5 * np.sum(np.log(KNOWN.variance))  # I(x; z)
    # An image's own posterior is 1 / M of the mean: to first order, log q(z) is off by
    # at most the mean of q(z|x) / p(z) / M.
    bias = np.exp(found.rate).mean() / 1500
    assert bias < 0.02 * exact
    error = 5 * standard_error(found.mutual_information)
    assert abs(found.mutual_information.mean() - exact) < error + bias
    error = 5 * standard_error(found.divergence)
    assert abs(found.divergence.mean()) < error + bias


# -- three bits, all states of which can be listed -------------------------------------


@pytest.mark.slow
def test_bits_have_the_information_and_divergence_of_all_their_states():
    shape, copies = (2, 3, 1), 1000
    vae = shaken(
        tiny_vae("bernoulli", image_shape=shape, hidden_sizes=(4,), **FLOAT64), 1.5
    )
    x = binary_images(4, shape=shape).astype("float64")
    states = np.array(list(itertools.product([0.0, 1.0], repeat=3)))  # [8, D]
    log_q = vae.encode(x).log_prob(states[:, None]).numpy()  # [8, 4]
    q, mixed = np.exp(log_q), special.logsumexp(log_q, axis=1) - np.log(4)
    wanted = {
        "rate": np.sum(q * (log_q + 3 * np.log(2))) / 4,
        "mutual_information": np.sum(q * (log_q - mixed[:, None])) / 4,
        "divergence": np.sum(np.exp(mixed) * (mixed + 3 * np.log(2))),
    }
    assert 0.1 < wanted["mutual_information"] < 0.9 * np.log(4)
    # Copies of an image leave q(z) as it is, and have draws of their own.
    many = x.repeat(copies, axis=0)
    found = summary_of(vae, many[:1000], many[1000:], num_aggregate=len(many))
    for name, exact in wanted.items():
        values = getattr(found.aggregate, name)
        error = standard_error(values)
        assert abs(values.mean() - exact) < 5 * error, name
        assert 5 * error < 0.3 * exact, "30 % would not be seen"
    (layer,) = found.layers
    probs = vae.encode(x).mean().numpy()
    np.testing.assert_allclose(layer.mean_variances, probs.var(axis=0), rtol=1e-9)
    np.testing.assert_allclose(layer.variable_rates.sum(), wanted["rate"], rtol=1e-9)


# -- every family ----------------------------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_rate_is_information_and_divergence_and_that_of_the_same_draws(name):
    vae, x = any_model(name)
    found = summary_of(vae, x[:5], x[5:], num_aggregate=7).aggregate
    np.testing.assert_allclose(
        found.mutual_information + found.divergence, found.rate, rtol=0, atol=1e-12
    )
    assert np.all(found.mutual_information <= np.log(7) + 1e-12)
    assert len(found.rate) == 7  # of the second batch two images alone
    z = draws(vae, x[:5])[0]
    rate = vae.encode(x[:5]).log_prob(z) - vae.prior().log_prob(z)
    # Sums of log-densities of size 100, rounded.
    eps = np.finfo(tf.as_dtype(vae.compute_dtype).as_numpy_dtype).eps
    np.testing.assert_allclose(found.rate[:5], rate, rtol=0, atol=500 * eps)


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", FAMILIES)
def test_rates_of_single_variables_make_up_the_rate_where_they_are_defined(name):
    vae, x = any_model(name)
    layers = summary_of(vae, x).layers
    if name in DEPENDENT:
        assert layers[0].variable_rates is layers[0].rate_errors is None
        return
    z, posterior = draws(vae, x), vae.encode(x)
    if layers[0].rates_sampled:
        rates = posterior.log_prob(z) - vae.prior().log_prob(z)  # [S, B]
    else:
        assert name in CLOSED_FORM
        rates = posterior.kl_divergence(vae.prior())
    total = sum(layer.variable_rates.sum() for layer in layers)
    np.testing.assert_allclose(total, np.mean(rates), rtol=1e-4)  # float32 layers
    assert all(layer.variable_rates.ndim == 1 for layer in layers)


def test_a_hierarchy_has_rates_and_means_of_each_layer():
    vae, x = any_model("two layers of normal")
    layers = summary_of(vae, x).layers
    z, posterior = draws(vae, x), vae.encode(x)
    rates = posterior.log_probs(z) - vae.prior().log_probs(z)  # [K, S, B]
    assert len(layers) == len(rates)
    for layer, rate in zip(layers, rates, strict=True):
        assert layer.rates_sampled
        np.testing.assert_allclose(
            layer.variable_rates.sum(), np.mean(rate), rtol=1e-4, atol=1e-5
        )
    means = [q.mean().numpy() for q, _ in posterior.layers(z)]
    assert [layer.means_sampled for layer in layers] == [False, True]
    np.testing.assert_allclose(
        layers[0].mean_variances, means[0].var(axis=0), rtol=1e-4
    )
    noise = means[1].var(axis=0, ddof=1).mean(axis=0) / SAMPLES
    upper = means[1].mean(axis=0).var(axis=0) - noise
    np.testing.assert_allclose(layers[1].mean_variances, upper, rtol=1e-3, atol=1e-6)


def test_noise_of_sampled_means_is_not_taken_for_activity():
    """Couplings start as the identity: the mean is the base's, and known."""
    vae = tiny_vae("flow", **FLOAT64)
    x = binary_images(2000).astype("float64")
    exact = vae.encode(x).base.mean().numpy().var(axis=0)
    found = posterior_summary(vae, [x], 2).layers[0]
    noise = vae.encode(x).base.variance().numpy().mean(axis=0) / 2
    assert found.means_sampled and found.variable_rates is None
    # Of a variance over N: sqrt(2 / N) of the noise's part, as much again of the
    # estimate of it that is subtracted, and 2 sqrt(exact noise / N) of the product.
    error = noise * np.sqrt(4 / 2000) + 2 * np.sqrt(exact * noise / 2000)
    assert np.all(np.abs(found.mean_variances - exact) < 5 * error)
    assert np.all(noise > 5 * error), "noise would not be seen"


def test_a_one_hot_counts_once():
    vae, x = any_model("categorical")
    (layer,) = summary_of(vae, x).layers
    probs = vae.encode(x).mean().numpy()  # [B, 3, 10]
    np.testing.assert_allclose(
        layer.mean_variances, probs.var(axis=0).max(axis=-1), rtol=1e-9
    )
    assert layer.active_units == np.sum(layer.mean_variances > 0.01)


def test_a_mixture_prior_leaves_single_variables_without_a_rate():
    plain = tiny_vae(**FLOAT64)
    vae = VAE(plain.encoder, plain.decoder, plain.latent, MixturePrior(plain.latent, 2))
    found = summary_of(vae, binary_images(4).astype("float64"))
    assert found.layers[0].variable_rates is None
    assert found.layers[0].active_units is not None


# -- batches, seeds, bad input ---------------------------------------------------------


def test_what_has_a_formula_does_not_depend_on_the_batches(monkeypatch):
    whole = summary_of(KNOWN.vae(), X).layers[0]
    # Two images at a time: 7 draws of 3 numbers each.
    monkeypatch.setattr("tfvae.evaluation.posterior.MAX_ELEMENTS", 2 * 7 * 3)
    parts = summary_of(KNOWN.vae(), X[:7], X[7:]).layers[0]
    for name in ("variable_rates", "rate_errors", "mean_variances"):
        np.testing.assert_allclose(
            getattr(parts, name), getattr(whole, name), rtol=1e-10
        )


def test_pairs_are_weighed_in_parts_and_none_is_left_out(monkeypatch):
    vae = KNOWN.vae()
    whole = summary_of(vae, X).aggregate
    monkeypatch.setattr("tfvae.evaluation.aggregate.MAX_ELEMENTS", 4 * 30 * 3)
    np.testing.assert_allclose(summary_of(vae, X).aggregate, whole, rtol=1e-12)


def test_same_seed_gives_the_same_summary_and_another_others():
    vae = KNOWN.vae()
    first, again, other = (
        summary_of(vae, X, seed=seed).aggregate for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first.rate != other.rate)


def test_one_image_has_no_active_units_and_no_errors():
    found = summary_of(KNOWN.vae(), X[:1])
    (layer,) = found.layers
    assert layer.active_units is layer.mean_variances is layer.rate_errors is None
    assert layer.variable_rates is not None
    np.testing.assert_allclose(found.aggregate.mutual_information, 0, atol=1e-12)


def test_progress_counts_images():
    seen = []
    summary_of(KNOWN.vae(), X[:4], X[4:6], progress=seen.append)
    assert seen == [4, 6]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_samples": 1}, "num_samples 1"),
        ({"num_aggregate": 0}, "num_aggregate 0"),
        ({"seed": "x"}, "'x'"),
        ({"batches": []}, "no images"),
        ({"batches": [X[:, :2]]}, "(30, 2)"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        posterior_summary(KNOWN.vae(), **{"batches": [X], **arguments})
    assert said in str(caught.value)
