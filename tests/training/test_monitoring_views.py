"""What a step tracks for TensorBoard, and what is seen of a model, is exact."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.latents import DISCRETE

from tfvae.config import Config
from tfvae.core.seeds import derive_seed
from tfvae.evaluation.layers import mean_of_draws, variance_of_means
from tfvae.objectives import Elbo
from tfvae.training import make_model
from tfvae.training.runs import load_data, run_evaluation_batches
from tfvae.training.tensorboard.images import model_images
from tfvae.training.tensorboard.latent import active_units, codes, histograms
from tfvae.training.tensorboard.numbers import last_learning_rate

SMALL = Config(latent_size=3, hidden_sizes=(8,), num_samples=2, batch_size=400)


@pytest.fixture(scope="module")
def data():
    return load_data(SMALL)


@pytest.fixture(scope="module")
def held_out(data) -> tf.Tensor:
    return next(iter(run_evaluation_batches(SMALL, data.validation, 1000)))


# -- what a step tracks ----------------------------------------------------------------


def one_batch(data) -> tf.Tensor:
    return tf.cast(data.train.first(50)[0] > 0.5, tf.float32)


def expected_norm(vae, x, step: int) -> float:
    """The norm of the gradient of -objective, for the draws of a step."""
    with tf.GradientTape() as tape:
        seed = derive_seed(vae.seed, "train", step)
        terms = vae.log_weight_terms(x, vae.num_samples, seed)
        weights = terms.loss_log_weights(tf.convert_to_tensor(vae.kl_weight))
        loss = -tf.reduce_mean(vae.objective.value(weights))
    gradients = tape.gradient(loss, vae.trainable_variables)
    return math.sqrt(sum(float(tf.reduce_sum(tf.square(g))) for g in gradients))


def still(data, **compiled):
    """A model that training leaves as it is."""
    vae = make_model(SMALL, data)
    optimizer = compiled.pop("optimizer", None) or keras.optimizers.SGD(0.0)
    vae.compile(optimizer, "iwae", 3, kl_weight=0.5, seed=5, **compiled)
    return vae


@pytest.mark.slow
@pytest.mark.parametrize(("every", "seen"), [(1, [0, 1, 2]), (2, [0, 2])])
@pytest.mark.parametrize("scaled", [False, True])
def test_grad_norm_is_the_mean_norm_of_the_losss_gradient(every, seen, scaled, data):
    optimizer = keras.optimizers.SGD(0.0, clipnorm=1e-3)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    vae, x = still(data, optimizer=optimizer), one_batch(data)
    vae.track_gradients(every)
    vae.fit(tf.data.Dataset.from_tensors(x).repeat(), steps_per_epoch=3, verbose=0)
    wanted = np.mean([expected_norm(vae, x, step) for step in seen])
    # Sums of some thousand float32 in another order.
    assert vae.tracked()["grad_norm"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_a_gradient_that_overflows_its_scale_does_not_count(data):
    vae = still(
        data,
        optimizer=keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.0), initial_scale=3e38
        ),
    )
    vae.track_gradients(1)
    vae.train_on_batch(one_batch(data))
    assert set(vae.tracked()) == {"bound"}


def test_nobody_pays_for_gradients_that_nobody_asked_for(data):
    vae = still(data)
    vae.train_on_batch(one_batch(data))
    assert set(vae.tracked()) == {"bound"}


def test_the_bound_has_no_regularisation_and_no_free_bits(data):
    vae, x = still(data), one_batch(data)
    vae.encoder.network.layers[2].kernel_regularizer = keras.regularizers.L2(1.0)
    vae.compile(keras.optimizers.SGD(0.0), Elbo(free_bits=3.0), 4, seed=5)
    logs = vae.train_on_batch(x, return_dict=True)
    terms = vae.log_weight_terms(x, 4, derive_seed(5, "train", 0))
    wanted = float(tf.reduce_mean(terms.log_weights()))
    found = vae.tracked()["bound"]
    assert found == pytest.approx(wanted, rel=1e-6)  # float32
    assert found > -logs["loss"] + 1


def test_the_last_learning_rate_is_the_inner_optimizers():
    halved = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    inner = keras.optimizers.SGD(halved)
    variable = keras.Variable(1.0)
    outer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0)
    for step in range(3):
        outer.apply_gradients([(tf.constant(1.0), variable)])
        assert last_learning_rate(outer) == 0.5**step
    assert last_learning_rate(keras.optimizers.SGD(0.25)) == 0.25


# -- what the views show ---------------------------------------------------------------


def test_noise_of_draws_is_no_activity():
    draws, images = 25, 1000
    noise = tf.random.stateless_normal([draws, images, 2], [1, 2])
    signal = tf.random.stateless_normal([images, 2], [3, 4]) * [0.0, 1.0]
    found = variance_of_means(*mean_of_draws(noise + signal)).numpy()
    truth = np.array([0.0, 1.0])
    # Var of a variance of N normal means is 2 v^2 / N; that of the noise adds less.
    error = (truth + 1 / draws) * math.sqrt(2 / images) * 1.05
    assert (np.abs(found - truth) < 5 * error).all()
    assert found[0] < 0.01


def test_rates_of_dimensions_make_up_the_divergence(data, held_out):
    vae = still(data)
    rates = histograms(vae, vae.as_batch(held_out), 0)["rate_per_dimension"]
    posterior = vae.encode(held_out)
    wanted = tfp.distributions.kl_divergence(posterior, vae.prior())
    assert rates.shape == (3,)
    np.testing.assert_allclose(
        tf.reduce_sum(rates), tf.reduce_mean(wanted), rtol=1e-5
    )  # float32


FAMILIES = {
    "normal": {"rate_per_dimension", "posterior_mean", "posterior_scale"},
    "logistic": {"rate_per_dimension", "posterior_mean", "posterior_scale"},
    "multivariate_normal": {"posterior_mean", "posterior_scale"},
    "flow": {"posterior_base_loc", "posterior_base_scale"},
    "concrete": {"rate_per_dimension", "posterior_logits"},
    "bernoulli": {"rate_per_dimension", "posterior_logits"},
    "categorical": {"rate_per_dimension", "posterior_logits"},
    "layers": {
        "rate_per_dimension",
        "posterior_mean_1",
        "posterior_scale_1",
        "posterior_mean_2",
        "posterior_scale_2",
    },
}
NO_TRAVERSALS = {"concrete", "categorical", "layers"}


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_what_is_defined_for_it(family, data, held_out):
    discrete = family in DISCRETE
    config = Config(
        latent="normal" if family == "layers" else family,
        upper_latent_sizes=(2,) if family == "layers" else (),
        latent_size=3,
        hidden_sizes=(8,),
        num_samples=2,
        estimator="vimco" if discrete else "pathwise",
    )
    vae, x = make_model(config, data), held_out[:20]
    found = histograms(vae, vae.as_batch(x), 0)
    assert set(found) == FAMILIES[family] | {"log_weights"}
    assert all(np.isfinite(values).all() for values in found.values())
    seen = model_images(vae, vae.as_batch(x), 0)
    assert ("traversals" in seen) == (family not in NO_TRAVERSALS)
    shape = (6 * 9 - 1, 8 * 9 - 1, 1)  # 20 images in rows of 8, twice; with lines
    assert seen["reconstructions"].shape == shape
    assert np.isfinite(codes(vae, x)).all()
    assert 0 <= int(active_units(vae, vae.as_batch(x), 0)) <= 5


def test_reconstructions_stand_below_their_images(data, held_out):
    vae = still(data)
    grid = model_images(vae, vae.as_batch(held_out), 0)["reconstructions"].numpy()
    means = vae.reconstruct(held_out).numpy()
    for place, (row, column) in {0: (0, 0), 9: (2, 1), 31: (6, 7)}.items():
        top, left = 9 * row, 9 * column
        tile = grid[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(tile, 255 * held_out[place])
        below = grid[top + 9 : top + 17, left : left + 8]
        np.testing.assert_allclose(below, 255 * means[place], atol=0.51)  # uint8


def test_a_traversal_goes_from_quantile_to_quantile_of_one_variable(data, held_out):
    vae = still(data)
    grid = model_images(vae, vae.as_batch(held_out), 0)["traversals"].numpy()
    assert grid.shape == (3 * 9 - 1, 11 * 9 - 1, 1)
    centre = vae.encode(held_out[:1]).mean().numpy()[0]
    ends = tfp.distributions.Normal(0.0, 1.0).quantile([0.01, 0.99]).numpy()
    images = {}
    for dim in range(3):
        z = np.stack([centre, centre])
        z[:, dim] = ends
        images[dim] = vae.decode(z).mean().numpy()  # [2, H, W, C]
    change = {d: np.square(i[1] - i[0]).sum() for d, i in images.items()}
    for row, dim in enumerate(sorted(change, key=change.get, reverse=True)):
        for column, image in ((0, images[dim][0]), (10, images[dim][1])):
            tile = grid[9 * row : 9 * row + 8, 9 * column : 9 * column + 8]
            np.testing.assert_allclose(tile, 255 * image, atol=0.51)  # uint8
