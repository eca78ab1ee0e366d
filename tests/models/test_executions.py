"""Executions of several steps end with the epoch, and change nothing trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, linear_gaussian, tiny_vae

from tfvae.core.types import InputError
from tfvae.models import VAE

X = binary_images(20)


def batches(endless: bool = True) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices(X).batch(4)  # 5 of them
    return data.repeat() if endless else data


def fitted(steps_per_execution: int, epochs: int = 2, **how) -> tuple[VAE, dict]:
    vae = tiny_vae()
    vae.compile(keras.optimizers.Adam(0.01), steps_per_execution=steps_per_execution)
    how = {"steps_per_epoch": 5, **how}
    return vae, vae.fit(batches(), epochs=epochs, verbose=0, **how).history


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 5, 20])
def test_an_epoch_has_its_steps_and_the_numbers_of_single_ones(size):
    (vae, history), (single, expected) = fitted(size), fitted(1)
    assert int(vae.steps) == int(single.steps) == 10
    for weight, same in zip(vae.weights, single.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert history == expected


@pytest.mark.quick(1)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_reports_the_exact_likelihood_over_uneven_batches(weighted):
    """Every log-weight of the exact posterior is log p(x), whatever the draws."""
    model, rng = linear_gaussian(), np.random.default_rng(3)
    x, weights = rng.normal(size=[7, 6]), rng.uniform(0.5, 2.0, size=7)
    vae = model.vae()
    vae.compile(keras.optimizers.SGD(0.0), "iwae", 4, steps_per_execution=2)
    rows = (x, np.zeros(7), weights) if weighted else x
    data = tf.data.Dataset.from_tensor_slices(rows).batch(3).repeat()  # 3, 3 and 1
    found = vae.fit(data, steps_per_epoch=3, verbose=0).history
    found = {name: values[0] for name, values in found.items()}
    exact, weight = model.log_marginal(x), weights if weighted else np.ones(7)
    # float32 sums of seven numbers of size 10.
    assert found["loss"] == pytest.approx(-np.mean(weight * exact), rel=1e-5)
    assert found["elbo"] == pytest.approx(np.average(exact, weights=weight), rel=1e-5)
    assert found["ess"] == pytest.approx(4, rel=1e-5)


def test_callbacks_are_called_once_an_execution_and_a_stop_ends_the_epoch():
    begun = []

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            begun.append(batch)
            if batch == 2:
                self.model.stop_training = True

    vae, _ = fitted(2, callbacks=[Stop()])
    assert begun == [0, 2] and int(vae.steps) == 4
    vae.fit(batches(), steps_per_epoch=5, verbose=0)  # begins a whole epoch
    assert int(vae.steps) == 9


def test_steps_of_other_epochs_have_the_same_trace():
    vae, _ = fitted(2)
    first = vae.train_function
    vae.fit(batches(), steps_per_epoch=3, verbose=0)
    assert vae.train_function is first and int(vae.steps) == 13
    assert first._run.experimental_get_tracing_count() == 1


def test_steps_per_execution_may_be_set_after_compile():
    vae, _ = fitted(2)
    begun = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: begun.append(batch)
    )
    vae.steps_per_execution = 4
    vae.fit(batches(), steps_per_epoch=5, verbose=0, callbacks=[count])
    assert begun == [0, 4] and int(vae.steps) == 15


@pytest.mark.slow
def test_a_strategy_of_one_device_changes_nothing():
    expected, _ = fitted(2)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        vae, _ = fitted(2)
    for weight, same in zip(vae.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(
            tf.convert_to_tensor(weight), tf.convert_to_tensor(same)
        )


def test_data_that_end_early_end_the_training_with_a_warning():
    vae = tiny_vae()
    vae.compile("sgd", steps_per_execution=3)
    with pytest.warns(UserWarning, match="ran out of data"):
        vae.fit(batches(endless=False), steps_per_epoch=9, verbose=0)
    assert int(vae.steps) == 5


class OwnStep(VAE):
    """A model whose step is its own, which Keras calls in whole executions."""

    def train_step(self, data):
        return super().train_step(data)


def test_a_step_of_ones_own_needs_executions_that_divide_an_epoch():
    plain = tiny_vae()
    vae = OwnStep(plain.encoder, plain.decoder, plain.latent)
    vae.compile("sgd", steps_per_execution=2)
    with pytest.raises(InputError, match="steps_per_epoch 5 is not a multiple"):
        vae.fit(batches(), steps_per_epoch=5, verbose=0)
    vae.fit(batches(), steps_per_epoch=4, verbose=0)
    assert int(vae.steps) == 4
