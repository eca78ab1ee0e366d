"""Whole runs, with XLA and without: how often a step is traced, and what is trained."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.models import FLOAT64, binary_images, tiny_vae

from tfvae.data import evaluation_batches, steps_per_epoch, training_batches
from tfvae.data.splits import ArraySplit
from tfvae.heads import MIN_SCALE, NormalHead
from tfvae.models import VAE, ConditionalDistribution

tfd = tfp.distributions
BATCH_SIZE = 4
IMAGES = binary_images(13)  # three batches and one image more


class CountingVAE(VAE):
    """A VAE that notes each time that Python runs through a step: each trace."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.traces: list[str] = []

    def train_step(self, data) -> dict[str, tf.Tensor]:
        self.traces.append("train")
        return super().train_step(data)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        self.traces.append("test")
        return super().test_step(data)


def counting_vae(**how) -> CountingVAE:
    vae = tiny_vae()
    vae = CountingVAE(vae.encoder, vae.decoder, vae.latent)
    vae.compile("sgd", "iwae", 3, **how)
    return vae


def from_an_array(vae: VAE) -> None:
    vae.fit(
        IMAGES,
        batch_size=BATCH_SIZE,
        epochs=2,
        validation_data=(IMAGES, None),
        validation_batch_size=BATCH_SIZE,
        verbose=0,
    )


def from_the_pipeline(vae: VAE) -> None:
    split = ArraySplit("train", IMAGES)
    how = {"binarization": "dynamic", "seed": 0}
    vae.fit(
        training_batches(split, BATCH_SIZE, **how),
        steps_per_epoch=steps_per_epoch(split, BATCH_SIZE),
        epochs=2,
        validation_data=evaluation_batches(split, BATCH_SIZE, **how),
        verbose=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "jit_compile", "steps_per_execution"),
    [
        (from_an_array, False, 1),
        pytest.param(from_the_pipeline, False, 1, marks=pytest.mark.slow),
        pytest.param(from_an_array, True, 1, marks=pytest.mark.slow),
        pytest.param(from_the_pipeline, True, 2, marks=pytest.mark.slow),
    ],
)
def test_a_whole_run_is_one_trace_partial_batches_included(
    run: Callable[[VAE], None], jit_compile: bool, steps_per_execution: int
):
    vae = counting_vae(jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    run(vae)
    assert sorted(vae.traces) == ["test", "train"]
    # Another run of the same model, in a batch of another size, needs no trace either.
    vae.fit(IMAGES, batch_size=len(IMAGES), verbose=0)
    assert sorted(vae.traces) == ["test", "train"]
    assert int(vae.steps) == 2 * 4 + 1


# -- what is trained -------------------------------------------------------------------


class GivenNormal(tfd.Normal):
    """A Normal whose draws are no function of the seed, and so the same under XLA."""

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        shape = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        numbers = tf.cast(tf.range(tf.reduce_prod(shape)), self.dtype)
        # Between -1.5 and 1.5, in no order.
        noise = tf.reshape(1.5 * tf.sin(numbers * numbers), shape)  # [n, B, D]
        return self.loc + self.scale * noise


class GivenNormalHead(NormalHead):
    """A posterior with the draws of `GivenNormal`."""

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = self.split(params)
        return GivenNormal(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)


def trained(jit_compile: bool) -> tuple[dict[str, list[float]], list[np.ndarray]]:
    """The logs and the weights of two epochs whose last batch has one image."""
    vae = tiny_vae(**FLOAT64)
    head = GivenNormalHead.from_config(vae.encoder.head.get_config())
    encoder = ConditionalDistribution(vae.encoder.network, head)
    vae = VAE(encoder, vae.decoder, vae.latent)
    vae.compile(keras.optimizers.Adam(0.01), "iwae", 3, jit_compile=jit_compile)
    run = vae.fit(IMAGES, batch_size=BATCH_SIZE, epochs=2, shuffle=False, verbose=0)
    return run.history, [v.numpy() for v in vae.trainable_variables]


@pytest.mark.slow
def test_a_run_with_a_partial_batch_trains_the_same_with_xla():
    (plain_logs, plain), (xla_logs, xla) = trained(False), trained(True)
    start = tiny_vae(**FLOAT64).trainable_variables
    for one, other, first in zip(plain, xla, start, strict=True):
        assert np.any(one != first.numpy())
        # float64 rounding, over eight steps of Adam, which divides a gradient by its
        # size: only one below 1e-8 would lose digits.
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-9)
    assert plain_logs.keys() == xla_logs.keys() >= {"loss", "elbo", "ess"}
    for name, values in plain_logs.items():
        # Keras keeps its metrics in float32: 6e-8 of each of four sums.
        np.testing.assert_allclose(xla_logs[name], values, rtol=1e-6)
