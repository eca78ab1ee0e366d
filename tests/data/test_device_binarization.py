"""The training step draws the pixels that the pipeline would have drawn."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import tiny_vae

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.data import ArraySplit, drawn_at_step, steps_per_epoch, training_batches
from tfvae.training.building import binarizes_on_device

GREY = np.random.default_rng(0).integers(0, 256, [50, 8, 8, 1]).astype("uint8")


@pytest.mark.slow
@pytest.mark.parametrize("images", [GREY, (GREY / 255).astype("float32")])
def test_the_weights_are_those_of_the_pipelines_draws(images):
    split = ArraySplit("train", images)
    trained = []
    for on_device in (False, True):
        vae = tiny_vae()
        vae.compile(keras.optimizers.SGD(0.1), "iwae", 3, binarize=on_device, seed=7)
        batches = training_batches(
            split, 20, binarization="dynamic", seed=7, on_device=on_device
        )
        steps = steps_per_epoch(split, 20)
        history = vae.fit(batches, epochs=3, steps_per_epoch=steps, verbose=0).history
        trained.append([history["loss"], *(v.numpy() for v in vae.variables)])
    for ours, theirs in zip(*trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pixels_are_one_as_often_as_they_are_bright():
    draws = np.mean([drawn_at_step(GREY, 3, step) for step in range(400)], axis=0)
    share = GREY / 255
    error = np.sqrt(share * (1 - share) / 400)
    assert np.all(np.abs(draws - share) <= 5 * error)


@pytest.mark.slow
def test_arrays_of_grey_values_are_drawn_in_the_step():
    vae = tiny_vae()
    vae.compile("adam", "iwae", 3, binarize=True)
    vae.fit(GREY, batch_size=10, epochs=1, verbose=0)
    vae.fit({"image": tf.constant(GREY)}, batch_size=10, epochs=1, verbose=0)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_values_that_are_no_grey_are_refused(bad):
    x = (GREY / 255).astype("float32")
    x[3, 2, 1, 0] = bad
    vae = tiny_vae()
    vae.compile("adam", "iwae", 3, binarize=True)
    with pytest.raises(InputError):
        vae.fit(x, epochs=1, verbose=0)


def test_without_it_grey_integers_are_refused():
    vae = tiny_vae()
    vae.compile("adam", "iwae", 3)
    with pytest.raises(InputError, match="uint8"):
        vae.fit(GREY, epochs=1, verbose=0)


def test_it_survives_saving(tmp_path):
    vae = tiny_vae()
    vae.compile("adam", binarize=True)
    vae.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").binarize


def test_the_configuration_says_where():
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    assert binarizes_on_device(Config()) == on_gpu
    assert binarizes_on_device(Config(device_binarization=True))
    assert not binarizes_on_device(Config(device_binarization=False))
    assert not binarizes_on_device(Config(binarization="fixed"))
    with pytest.raises(InputError, match="device_binarization True has no effect"):
        Config(device_binarization=True, binarization="fixed")
    with pytest.raises(InputError, match="on_device has no effect"):
        training_batches(
            ArraySplit("train", GREY), 5, binarization="fixed", seed=0, on_device=True
        )
