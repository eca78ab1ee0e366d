"""The model against answers that are known exactly."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import (
    SOME_LATENTS,
    LinearGaussian,
    binary_images,
    linear_gaussian,
    standard_error,
    tiny_vae,
)

from tfvae.core.seeds import derive_seed
from tfvae.latents import LATENTS
from tfvae.objectives import OBJECTIVES, Elbo
from tfvae.objectives.bounds import effective_sample_size


@pytest.fixture(scope="module")
def exact() -> LinearGaussian:
    return linear_gaussian()


@pytest.fixture(scope="module")
def points(exact) -> np.ndarray:
    """Some likely and some unlikely x, [B, X]."""
    return np.random.default_rng(2).normal(0, 2, [4, len(exact.bias)])


# -- with the true posterior every log-weight is log p(x) ------------------------------


@pytest.mark.parametrize("num_samples", [1, 5, 50])
def test_true_posterior_makes_every_log_weight_the_log_marginal(
    exact, points, num_samples
):
    terms = exact.vae().log_weight_terms(points, num_samples, seed=3)
    wanted = np.tile(exact.log_marginal(points), [num_samples, 1])
    # Rounding in float64 of numbers below 1000.
    np.testing.assert_allclose(terms.log_weights(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_true_posterior_makes_every_objective_the_log_marginal(exact, points, name):
    terms = exact.vae().log_weight_terms(points, 8, seed=3)
    found = OBJECTIVES[name]().value(terms.log_weights())
    np.testing.assert_allclose(found, exact.log_marginal(points), rtol=0, atol=1e-10)


def test_true_posterior_makes_the_effective_sample_size_all_samples(exact, points):
    terms = exact.vae().log_weight_terms(points, 7, seed=3)
    ess = effective_sample_size(terms.log_weights())
    np.testing.assert_allclose(ess, 7, rtol=0, atol=1e-9)


@pytest.mark.quick(2)
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_evaluate_reports_the_exact_log_marginal(
    exact, points, objective, eagerly_here
):
    vae = exact.vae()
    vae.compile(objective=objective, num_samples=4)
    logs = vae.evaluate(points, batch_size=3, verbose=0, return_dict=True)
    # Keras' metrics are float32: 24 bits of a number of size 30, a few times.
    wanted = exact.log_marginal(points).mean()
    np.testing.assert_allclose(-logs["loss"], wanted, rtol=1e-6)
    np.testing.assert_allclose(logs["elbo"], wanted, rtol=1e-6)
    np.testing.assert_allclose(logs["ess"], 4, rtol=1e-6)
    kl = exact.kl(exact.posterior_mean(points), exact.variance)
    assert kl.mean() > 1  # the rate below is not trivially small
    np.testing.assert_allclose(
        logs["elbo"], -logs["distortion"] - logs["rate"], rtol=1e-5
    )


def test_with_an_analytic_rate_ess_is_still_that_of_the_importance_weights(
    exact, points
):
    vae = exact.vae()
    vae.compile(objective=Elbo(analytic_kl=True), num_samples=5)
    logs = vae.evaluate(points, verbose=0, return_dict=True)
    # The posterior is the true one, so every importance weight is the same.
    np.testing.assert_allclose(logs["ess"], 5, rtol=1e-5)
    kl = exact.kl(exact.posterior_mean(points), exact.variance)
    np.testing.assert_allclose(logs["rate"], kl.mean(), rtol=1e-6)


# -- with a wrong posterior, expectations are known ------------------------------------


@pytest.mark.slow
def test_wrong_posterior_gives_the_closed_form_elbo(exact, points):
    vae = exact.vae(shift=0.4, widen=1.3)
    log_weights = vae.log_weight_terms(points, 20_000, seed=5).log_weights().numpy()
    wanted = exact.elbo(
        points, exact.posterior_mean(points) + 0.4, 1.3**2 * exact.variance
    )
    assert np.all(wanted < exact.log_marginal(points) - 0.1)
    error = np.abs(log_weights.mean(axis=0) - wanted)
    assert np.all(error < 5 * standard_error(log_weights))


@pytest.mark.slow
def test_wrong_posterior_gives_rates_that_average_to_the_kl(exact, points):
    vae = exact.vae(shift=0.4, widen=1.3)
    rate = vae.log_weight_terms(points, 20_000, seed=6).rate.numpy()
    wanted = exact.kl(exact.posterior_mean(points) + 0.4, 1.3**2 * exact.variance)
    assert np.all(np.abs(rate.mean(axis=0) - wanted) < 5 * standard_error(rate))


@pytest.mark.slow
def test_bounds_grow_with_the_samples_towards_the_log_marginal(exact, points):
    vae = exact.vae(shift=0.4, widen=1.3)
    drawn = vae.log_weight_terms(points, 3000 * 20, seed=7).log_weights().numpy()
    groups = drawn.reshape([20, 3000 * len(points)])
    value = OBJECTIVES["iwae"]().value
    bounds = [
        value(tf.constant(groups[:k])).numpy().reshape([3000, len(points)])
        for k in (1, 2, 5, 20)
    ]  # the draws are paired
    for fewer, more in zip(bounds, bounds[1:], strict=False):
        gain = more - fewer
        assert np.all(gain.mean(axis=0) > 5 * standard_error(gain))
    gap = exact.log_marginal(points) - bounds[-1]
    assert np.all(gap.mean(axis=0) > -5 * standard_error(gap))
    # The mean weight is unbiased for p(x).
    ratio = np.exp(drawn - exact.log_marginal(points))
    assert np.all(np.abs(ratio.mean(axis=0) - 1) < 5 * standard_error(ratio))


# -- one definition, however it is run -------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("latent", sorted(LATENTS))
def test_a_graph_gives_the_log_weights_of_eager(latent):
    vae = tiny_vae(latent, dtype="float64", head_dtype="float64")
    x = binary_images(4)

    def log_weights() -> tf.Tensor:
        return vae.log_weight_terms(x, 3, seed=11).log_weights()

    # The same float64 operations, in another order at most.
    np.testing.assert_allclose(tf.function(log_weights)(), log_weights(), rtol=1e-12)


@pytest.mark.quick(2)
# XLA's stateless draws are other numbers than those of TensorFlow's own kernels, for
# the same seed; so z is given here, and only what is made of it is compared.
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # float32: 64 terms of size 1 are summed, each rounded to 6e-8 of a total near 45.
    [("float64", 1e-10), ("float32", 64 * 45 * 6e-8)],
)
@pytest.mark.parametrize("latent", SOME_LATENTS)
def test_xla_gives_the_log_weights_of_eager_for_the_same_draws(
    latent, dtype, tolerance
):
    vae = tiny_vae(latent, dtype=dtype, head_dtype=dtype)
    x = binary_images(4)
    z = vae.encode(x).sample(3, seed=[1, 2])

    def log_weights() -> tf.Tensor:
        rate = vae.encode(x).log_prob(z) - vae.latent.prior().log_prob(z)
        return vae.decode(z).log_prob(x) - rate

    xla = tf.function(log_weights, jit_compile=True)()
    np.testing.assert_allclose(xla, log_weights(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_batch_is_encoded_as_its_images_are_one_by_one(network):
    vae = tiny_vae(network=network, dtype="float64", head_dtype="float64")
    x = binary_images(5)
    together = vae.encode(x).mean()
    alone = [vae.encode(x[i : i + 1]).mean()[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_an_image_has_the_same_log_weight_whatever_its_batch():
    vae = tiny_vae(dtype="float64", head_dtype="float64")
    x = binary_images(3)
    z = vae.encode(x).sample(4, seed=[1, 2])  # [S, B, D]
    together = vae.decode(z).log_prob(x)
    for b in range(3):
        alone = vae.decode(z[:, b : b + 1]).log_prob(x[b : b + 1])
        np.testing.assert_allclose(together[:, b], alone[:, 0], rtol=1e-12)


def test_log_weights_depend_on_the_seed_and_on_nothing_else():
    vae, x = tiny_vae(), binary_images(2)
    first = vae.log_weight_terms(x, 2, seed=1).log_weights()
    tf.random.normal([3])
    np.testing.assert_array_equal(
        vae.log_weight_terms(x, 2, seed=1).log_weights(), first
    )
    other = vae.log_weight_terms(x, 2, seed=2).log_weights()
    assert np.all(other.numpy() != first.numpy())
    tensor = vae.log_weight_terms(x, 2, seed=derive_seed(1, "x")).log_weights()
    assert np.all(tensor.numpy() != first.numpy())


def test_dropout_plays_no_part_in_log_weights():
    shape = (8, 8, 1)
    vae = tiny_vae()
    network = keras.Sequential(
        [keras.Input(shape), keras.layers.Dropout(0.5), vae.encoder.network]
    )
    dropping = type(vae)(
        type(vae.encoder)(network, vae.encoder.head), vae.decoder, vae.latent
    )
    x = binary_images(3)
    np.testing.assert_array_equal(
        dropping.log_weight_terms(x, 2, seed=1).log_weights(),
        vae.log_weight_terms(x, 2, seed=1).log_weights(),
    )


# -- what one gets out -----------------------------------------------------------------


def test_predict_gives_reconstruction_means():
    vae, x = tiny_vae(), binary_images(5)
    wanted = vae.decode(vae.encode(x).mean()).mean()
    # Another batch size may sum in another order.
    np.testing.assert_allclose(
        vae.predict(x, batch_size=2, verbose=0), wanted, rtol=1e-5
    )
    np.testing.assert_array_equal(vae(x), wanted)
    batches = tf.data.Dataset.from_tensor_slices({"image": x, "label": range(5)})
    np.testing.assert_allclose(
        vae.predict(batches.batch(2), verbose=0), wanted, rtol=1e-5
    )


def test_normal_samples_come_from_the_model_itself(exact):
    samples = exact.vae().sample(20_000, seed=1)
    assert samples.z.shape == (20_000, 3) and samples.draw.shape == (20_000, 6)
    np.testing.assert_allclose(
        samples.mean, samples.z.numpy() @ exact.weights.T + exact.bias, rtol=1e-10
    )
    z, draw = samples.z.numpy(), samples.draw.numpy()
    assert np.all(np.abs(z.mean(axis=0)) < 5 * standard_error(z))
    second = z**2
    assert np.all(np.abs(second.mean(axis=0) - 1) < 5 * standard_error(second))
    noise = ((draw - samples.mean.numpy()) / exact.scale) ** 2
    assert np.all(np.abs(noise.mean(axis=0) - 1) < 5 * standard_error(noise))
