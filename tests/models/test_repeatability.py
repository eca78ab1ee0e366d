"""One seed gives one run: draws, networks with a state, several replicas."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, compiled, tiny_vae, with_layer

from tfvae.core.seeds import derive_seed
from tfvae.models import VAE


def trained_weights(seed: int, pipeline: bool) -> list[np.ndarray]:
    vae, x = tiny_vae(), binary_images(30)
    vae.compile(keras.optimizers.Adam(0.01), "iwae", 2, seed=seed)
    data = tf.data.Dataset.from_tensor_slices({"image": x}).batch(10)
    if pipeline:
        vae.fit(data, epochs=2, verbose=0)
    else:
        vae.fit(x, epochs=2, batch_size=10, shuffle=False, verbose=0)
    return vae.get_weights()


def rates(vae: VAE, x: np.ndarray, steps: int) -> list[float]:
    """The rate that each of some steps logs."""
    found = []
    for _ in range(steps):
        vae.reset_metrics()
        # Keras 3.12, the newest for Python 3.10, gives arrays.
        found.append(float(vae.train_on_batch(x, return_dict=True)["rate"]))
    return found


# -- the seed --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_of_one_seed_agree_bit_for_bit_and_of_another_do_not():
    first = trained_weights(seed=1, pipeline=False)
    for one, two in zip(first, trained_weights(1, pipeline=True), strict=True):
        np.testing.assert_array_equal(one, two)
    other = trained_weights(seed=2, pipeline=True)
    pairs = zip(first, other, strict=True)
    assert sum(np.any(one != two) for one, two in pairs) >= 8  # all that is trained


def test_every_training_step_draws_anew():
    vae, x = compiled(tiny_vae(), 0.0), binary_images(2)
    assert len(set(rates(vae, x, 4))) == 4


def test_a_scaled_loss_does_not_stop_the_draws_from_changing():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0))
    vae, x = compiled(tiny_vae(), optimizer=optimizer), binary_images(2)
    assert len(set(rates(vae, x, 4))) == 4


def test_every_step_of_an_accumulated_gradient_draws_anew():
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)
    vae, x = compiled(tiny_vae(), optimizer=optimizer), binary_images(2)
    assert len(set(rates(vae, x, 4))) == 4


def test_evaluation_repeats_itself_and_draws_anew_in_every_batch():
    vae = compiled(tiny_vae(), 0.0)
    x = np.repeat(binary_images(1), 4, axis=0)
    first = vae.evaluate(x, batch_size=2, verbose=0, return_dict=True)
    again = vae.evaluate(x, batch_size=2, verbose=0, return_dict=True)
    assert first == again
    # All images are the same: if the second batch drew what the first one drew, its
    # rate would be the same too.
    alone = vae.evaluate(x[:2], batch_size=2, verbose=0, return_dict=True)
    assert alone["rate"] != pytest.approx(first["rate"], rel=1e-4)


@pytest.mark.slow
def test_evaluation_changes_nothing_in_training():
    x, found = binary_images(4), []
    for validates in (False, True):
        vae = compiled(tiny_vae(), optimizer=keras.optimizers.Adam(0.01))
        data = (x, None) if validates else None
        vae.fit(x, epochs=2, shuffle=False, verbose=0, validation_data=data)
        found.append(vae.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("seed", [0, 2**40, np.int64(7)])
def test_samples_repeat_for_a_seed_and_differ_between_seeds(seed):
    vae = tiny_vae("bin_concrete")
    for one, two in zip(vae.sample(3, seed), vae.sample(3, seed), strict=True):
        np.testing.assert_array_equal(one, two)
    other = vae.sample(3, seed=1)
    assert np.all(vae.sample(3, seed).z.numpy() != other.z.numpy())


# -- networks with a state of their own ------------------------------------------------


def test_dropout_is_active_in_training_only():
    dropout = keras.layers.Dropout(0.5, seed=3)
    vae = compiled(with_layer(tiny_vae(), dropout), 0.0)
    x = binary_images(6)
    seeds = {"train": derive_seed(0, "train", 0), "test": derive_seed(0, "test", 0)}
    # log_weight_terms never drops.
    wanted = {
        name: float(tf.reduce_mean(vae.log_weight_terms(x, 4, seed).rate))
        for name, seed in seeds.items()
    }
    assert rates(vae, x, 1)[0] != pytest.approx(wanted["train"], rel=1e-3)
    vae.reset_metrics()
    logs = vae.test_on_batch(x, return_dict=True)
    assert logs["rate"] == pytest.approx(wanted["test"], rel=1e-5)


@pytest.mark.slow
def test_batch_normalisation_learns_its_statistics_in_training_only():
    layer = keras.layers.BatchNormalization(momentum=0.5)
    vae = with_layer(tiny_vae(), layer)
    vae.compile(keras.optimizers.SGD(0.0), "iwae", 2)
    x = binary_images(8)
    before = layer.moving_mean.numpy()
    vae.evaluate(x, verbose=0)
    vae.predict(x, verbose=0)
    np.testing.assert_array_equal(layer.moving_mean, before)
    vae.fit(x, epochs=1, verbose=0)
    hidden = keras.Model(vae.encoder.network.input, layer.input)(x).numpy()
    wanted = 0.5 * before + 0.5 * hidden.mean(axis=0)
    np.testing.assert_allclose(layer.moving_mean, wanted, rtol=1e-4, atol=1e-6)


# -- several replicas ------------------------------------------------------------------

# Trains one step on one device and on two; the posterior is so narrow that the draws
# do not matter.
TWO_REPLICAS = """
import sys
sys.path.insert(0, "tests")
import tfvae
import keras, numpy as np, tensorflow as tf
from helpers.models import linear_gaussian
cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)
exact = linear_gaussian()
x = np.random.default_rng(2).normal(0, 2, [8, len(exact.bias)])
moved = []
for strategy in (
    tf.distribute.get_strategy(),
    tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
):
    with strategy.scope():
        vae = exact.vae(shift=0.4, widen=1e-3)
        vae.compile(keras.optimizers.SGD(1.0), "elbo", 1, jit_compile=False)
    before = vae.decoder.get_weights()
    vae.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)
    after = vae.decoder.get_weights()
    moved.append([new - old for old, new in zip(before, after)])
for one, two in zip(*moved):
    assert np.abs(one).max() > 0.1
    # z moves by 1e-3 of its posterior scale, below 1.
    np.testing.assert_allclose(two, one, rtol=0.02, atol=0.02)
"""


@pytest.mark.slow
def test_two_replicas_follow_the_gradient_of_one(fresh_python):
    fresh_python(TWO_REPLICAS)
