"""A number that is not finite is noticed at its step, named, and left out if wanted."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, slow_but, tiny_vae

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.heads import BernoulliHead
from tfvae.latents import NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import mlp
from tfvae.training import train
from tfvae.training.checkpoints import CheckpointStore


@keras.saving.register_keras_serializable(package="test_nonfinite")
class InfiniteGradient(keras.layers.Layer):
    """Passes its input on; its only weight has an infinite gradient."""

    def build(self, input_shape) -> None:
        self.offset = self.add_weight(name="offset", shape=(), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x + tf.sqrt(tf.abs(self.offset))  # d sqrt(|v|) / dv at 0


def batches(bad: set[int], count: int = 6) -> tf.data.Dataset:
    images = [binary_images(4, seed=i) for i in range(count)]
    for i in bad:
        images[i][1, 2, 3, 0] = np.nan
    return tf.data.Dataset.from_tensor_slices(np.stack(images))


def compiled(**settings) -> VAE:
    vae = tiny_vae()
    vae.compile(keras.optimizers.Adam(0.01), **settings)
    return vae


def numbers_of(vae: VAE) -> list[np.ndarray]:
    return [np.array(v) for v in (*vae.trainable_weights, *vae.optimizer.variables)]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps_per_execution", "jit_compile"),
    slow_but([(1, True)], [(1, False), (3, False), (1, True), (3, True)]),
)
def test_the_step_and_its_terms_are_named(steps_per_execution, jit_compile):
    vae = compiled(steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    vae.check_finite()
    with pytest.raises(InputError, match="the images hold other values"):
        vae.fit(batches({2}), epochs=1, verbose=0)
    with pytest.raises(InputError, match="training step 3 is not finite") as caught:
        vae.check_finite()
    assert "log p(x|z) nan" in str(caught.value)
    assert "encoder" in str(caught.value)
    assert "skip_nonfinite" in str(caught.value)


def test_a_gradient_alone_is_noticed_and_its_parameter_named():
    latent = NormalLatent(2)
    decoder = keras.Sequential(
        [keras.Input((2,)), InfiniteGradient(), keras.layers.Dense(64)]
    )
    decoder.add(keras.layers.Reshape((8, 8, 1)))
    vae = VAE(
        ConditionalDistribution(
            mlp((8, 8, 1), latent.posterior_head().params_shape, ()),
            latent.posterior_head(),
        ),
        ConditionalDistribution(decoder, BernoulliHead((8, 8, 1))),
        latent,
    )
    vae.compile("sgd")
    logs = vae.train_step(binary_images(4))
    assert np.isfinite(float(logs["loss"]))
    with pytest.raises(InputError, match="the gradient of .*offset;") as caught:
        vae.check_finite()
    assert "nan" not in str(caught.value)  # the terms were finite


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_that_is_left_out_changes_nothing(jit_compile):
    vae = compiled(skip_nonfinite=2, jit_compile=jit_compile)
    good, bad = (list(batches(which, 1)) for which in (set(), {0}))
    step = tf.function(vae.train_step, jit_compile=jit_compile)
    step(good[0])
    before = numbers_of(vae)
    logs = step(bad[0])
    assert equal(numbers_of(vae), before)
    assert int(vae.skipped_steps) == 1
    assert float(logs["skipped_steps"]) == 1
    assert np.isfinite(float(logs["loss"]))  # the mean over the steps that were taken
    assert int(vae.steps) == 2
    vae.check_finite()
    step(good[0])
    assert not equal(numbers_of(vae), before)


def test_one_more_than_is_tolerated_is_an_error_with_its_step():
    vae = compiled(skip_nonfinite=2)
    history = vae.fit(batches({1, 3}), epochs=1, verbose=0)
    vae.check_finite()
    assert history.history["skipped_steps"] == [2]
    assert np.isfinite(history.history["loss"][0])
    said = "step 11 is not finite after 2 skipped ones"
    with pytest.warns(RuntimeWarning, match=said):
        vae.fit(batches({4}), epochs=1, verbose=0)
    with pytest.raises(InputError, match=said):
        vae.check_finite()
    vae.fit(batches(set()), epochs=1, verbose=0)  # says it once, of its own steps


def test_a_model_of_nan_imputes_nothing():
    """Its draws and means would pass for values."""
    vae = tiny_vae().with_missing("mar")
    weight = vae.decoder.trainable_variables[-1]
    weight.assign(np.full(weight.shape, np.nan))
    x = np.array(binary_images(3))
    x[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="imputed for example 1 is not finite"):
        vae.impute(x, num_samples=5)


@pytest.mark.slow
def test_without_bad_steps_skipping_changes_nothing():
    runs = []
    for tolerated in (0, 3):
        vae = compiled(skip_nonfinite=tolerated)
        vae.fit(batches(set()), epochs=2, verbose=0)
        runs.append(numbers_of(vae))
    assert equal(*runs)


def test_a_model_reads_back_what_it_tolerates(tmp_path):
    compiled(skip_nonfinite=2).save(tmp_path / "model.keras")
    vae = keras.saving.load_model(tmp_path / "model.keras")
    vae.train_step(next(iter(batches({0}, 1))))
    assert int(vae.skipped_steps) == 1


@pytest.mark.parametrize("value", [-1, 1.5, True, "2", None])
def test_skip_nonfinite_is_a_count(value):
    with pytest.raises(InputError, match="skip_nonfinite"):
        compiled(skip_nonfinite=value)


DIVERGING = Config(
    latent_size=3,
    hidden_sizes=(8,),
    epochs=2,
    batch_size=50,
    optimizer="sgd",
    learning_rate=1e6,
)


def test_a_diverging_run_stops_with_the_step_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(InputError, match="training step [0-9]+ is not finite"):
        train(DIVERGING, tmp_path / "run")
    found, skipped = CheckpointStore(tmp_path / "run" / "checkpoints").newest()
    assert not skipped
    for name, array in found.arrays.items():
        if name.startswith("weights/"):
            assert np.isfinite(array).all()


@pytest.mark.slow
def test_skipped_steps_are_a_column_of_the_history(tmp_path):
    config = dataclasses.replace(
        DIVERGING, learning_rate=0.01, epochs=1, skip_nonfinite=5
    )
    run = train(config, tmp_path / "run")
    assert "skipped_steps" in run.folder.history.read_text().splitlines()[0]


def test_clipping_bounds_the_step_by_the_global_norm(tmp_path):
    # A step of plain SGD is the learning rate times the gradient, clipped as a whole.
    def step_of(clip_norm: float | None) -> np.ndarray:
        vae = tiny_vae()
        vae.compile(keras.optimizers.SGD(1.0, global_clipnorm=clip_norm))
        before = [np.array(w) for w in vae.trainable_weights]
        vae.train_step(binary_images(4))
        return np.concatenate(
            [
                (np.array(w) - b).ravel()
                for w, b in zip(vae.trainable_weights, before, strict=True)
            ]
        )

    free, clipped = step_of(None), step_of(0.01)
    assert np.linalg.norm(free) > 0.01
    # float32: relative error 1e-7 of each difference, of weights up to 1
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.01, rtol=1e-3)
    np.testing.assert_allclose(clipped, free * (0.01 / np.linalg.norm(free)), atol=3e-7)


@pytest.mark.slow
def test_a_run_clips_as_it_is_told(tmp_path):
    config = dataclasses.replace(DIVERGING, learning_rate=0.01, epochs=1, clip_norm=0.5)
    assert train(config, tmp_path / "run").vae.optimizer.global_clipnorm == 0.5
