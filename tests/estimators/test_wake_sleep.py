"""What the model dreams: the draws of its own that `rws` with `sleep` learns from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import FLOAT64, binary_images, tiny_vae

import tfvae
from tfvae.conditions import OneHot
from tfvae.core.sharding import BatchShard
from tfvae.core.types import InputError
from tfvae.estimators import Rws
from tfvae.heads import HEADS
from tfvae.models import VAE, Batch, SelfMasking
from tfvae.networks import mlp

SIZE = 6


def small(**how) -> VAE:
    """A model of six values whose encoder has a second input, the class or the mask."""
    head = HEADS[how.pop("likelihood", "bernoulli")]((SIZE,))
    beside = (3,) if "condition" in how else (SIZE,)
    latent = tfvae.latents.BernoulliLatent(2)
    given = {"condition_shape": beside}
    decoder_given = given if "condition" in how else {}
    return VAE(
        mlp((SIZE,), latent.posterior_head().params_shape, (5,), seed=1, **given),
        mlp(latent.decoder_shape, head.params_shape, (), seed=2, **decoder_given),
        latent,
        likelihood=head,
        **how,
    )


@pytest.mark.parametrize("part", [(0, 3), (3, 8)])
def test_replicas_dream_what_one_device_dreams(part):
    vae, x = tiny_vae("bernoulli", **FLOAT64), tf.constant(binary_images(8), tf.float64)
    whole = vae.variational_batch(Batch(x), 2, 5).dream_log_posterior()
    start, end = part
    shard = BatchShard(*map(tf.constant, (start, end - start, 8)))
    own = Batch(x[start:end], shard=shard)
    found = vae.variational_batch(own, 2, 5).dream_log_posterior()
    # Rows of a matrix product may be rounded otherwise than their equals are.
    np.testing.assert_allclose(found, whole[start:end], rtol=1e-12)
    assert len(np.unique(whole)) > 4


def test_a_dream_has_the_condition_of_its_example():
    vae = small(condition=OneHot(3))
    x = tf.zeros([600, SIZE])
    labels = tf.repeat(tf.range(3, dtype=tf.int64), 200)
    # p(x|z, c) says c: bits c and c + 3 are 1.
    kernel, bias = vae.decoder.network.weights[-2:]
    rows = np.zeros(kernel.shape)
    rows[-3:] = 60 * np.tile(np.eye(3), [1, 2])
    kernel.assign(rows)
    bias.assign(np.full(SIZE, -30.0))
    batch = vae.as_batch({"x": x, "condition": labels})
    _, dreamt = vae._dream(batch, 3)
    np.testing.assert_array_equal(dreamt, np.tile(np.eye(3), [1, 2])[labels])
    shard = BatchShard(*map(tf.constant, (150, 100, 600)))
    part = vae.as_batch({"x": x[150:250], "condition": labels[150:250]})
    _, own = vae._dream(part._replace(shard=shard), 3)
    np.testing.assert_array_equal(own, dreamt[150:250])


def test_a_dream_lacks_what_its_example_lacks():
    vae = small(missing="mar")
    x = np.zeros([1, SIZE], "float32")
    blind = Batch(x, observed=np.zeros([1, SIZE], bool))
    # Of nothing that is seen, q(z|x) is one posterior whatever was dreamt.
    posterior = vae.encode(blind)
    for seed in range(5):
        z, _ = vae._dream(vae.as_batch(blind), seed)
        found = vae.variational_batch(blind, 2, seed).dream_log_posterior()
        np.testing.assert_allclose(found, posterior.log_prob(z), rtol=1e-6)


def test_what_cannot_dream_is_refused():
    vae = small(missing=SelfMasking((SIZE,)), likelihood="normal")
    with pytest.raises(InputError, match="SelfMasking has no draws of the model"):
        vae.compile("adam", "iwae", 4, Rws(0.5))
    batch = tiny_vae("bernoulli").variational_batch(binary_images(2), 2, 0)
    with pytest.raises(InputError, match="sleep 0.5"):
        Rws(0.5).beside(dataclasses.replace(batch, dream_log_posterior=None))
    for share in (-0.1, 1.5, True, float("nan")):
        with pytest.raises(InputError, match="sleep"):
            Rws(share)
    tiny_vae("bernoulli").compile("adam", "elbo", 1, Rws(1.0))  # wake-sleep
