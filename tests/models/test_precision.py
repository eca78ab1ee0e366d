"""Float types: float64 throughout, and mixed networks with float32 distributions."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import WRITTEN_OUT, binary_images, compiled, slow_but, tiny_vae

from tfvae.heads import HEADS
from tfvae.latents import LATENTS


@pytest.mark.quick(4)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("latent", sorted(LATENTS))
def test_distributions_are_float32_whatever_the_networks_policy(latent, policy):
    vae, x = tiny_vae(latent, dtype=policy), binary_images(2)
    assert vae.encoder.network.output.dtype == policy.removeprefix("mixed_")
    assert vae.encode(x).dtype == tf.float32
    for term in vae.log_weight_terms(x, 2, seed=0)[:3]:
        assert term.dtype == tf.float32
        assert np.all(np.isfinite(term))


PAIRS = list(itertools.product(sorted(LATENTS), sorted(HEADS)))


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("latent", "head"),
    slow_but((p for p in PAIRS if p[0] == "normal" or p[1] == "bernoulli"), PAIRS),
)
def test_a_float64_model_stays_float64(latent, head):
    vae = tiny_vae(latent, head=head, dtype="float64", head_dtype="float64")
    x = binary_images(2)
    terms = vae.log_weight_terms(x, 2, seed=0)
    parts = [*terms[:3], terms.rate, terms.log_weights(), *vae.sample(2, seed=0)]
    parts += [vae.reconstruct(x), vae.prior().sample(seed=[1, 2])]
    assert {part.dtype for part in parts} == {tf.float64}
    assert {v.dtype for v in vae.trainable_variables} == {"float64"}


def test_a_float64_models_training_and_settings_are_float64():
    vae = tiny_vae("bin_concrete", dtype="float64", head_dtype="float64")
    vae.compile(keras.optimizers.SGD(0.1), "iwae", 2, kl_weight=0.1)
    # 0.1 in float32 is 0.10000000149.
    assert float(vae.kl_weight.numpy()) == 0.1
    before = [v.numpy() for v in vae.trainable_variables]
    vae.train_on_batch(binary_images(2))
    for old, new in zip(before, vae.trainable_variables, strict=True):
        step = new.numpy() - old
        # float32 steps would be exactly representable in float32.
        assert np.any(step != step.astype("float32"))


def test_keras_float_type_is_that_of_heads_and_latents(float64):
    head, family = HEADS["normal"]((3,)), LATENTS["bin_concrete"](3)
    assert head(np.zeros([2, 6])).dtype == family.prior().dtype == tf.float64


def test_dtype_none_means_keras_float_type_and_not_the_mixed_policy():
    # None is Keras' own way to say: the default. A layer's default would be float16.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        head = HEADS["normal"]((3,), dtype=None)
        family = LATENTS["normal"](3, dtype=None)
    finally:
        keras.config.set_dtype_policy(before)
    assert (head.compute_dtype, family.compute_dtype) == ("float32", "float32")


def test_only_a_float16_network_gets_its_loss_scaled():
    scaled = keras.optimizers.LossScaleOptimizer
    for policy in ("float32", "float64", "mixed_bfloat16"):
        vae = tiny_vae(dtype=policy)
        vae.compile("adam")
        assert not isinstance(vae.optimizer, scaled), policy
    vae = tiny_vae(dtype="mixed_float16")
    vae.compile("adam")
    assert isinstance(vae.optimizer, scaled)
    mine = scaled(keras.optimizers.SGD(0.1))
    vae.compile(mine)
    assert vae.optimizer is mine
    vae.compile("adam", auto_scale_loss=False)
    assert not isinstance(vae.optimizer, scaled)


@pytest.mark.quick(2)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("latent", WRITTEN_OUT)  # a discrete draw may fall otherwise
def test_mixed_networks_follow_the_float32_gradient(latent, policy):
    x, moved = binary_images(16), {}
    for dtype in ("float32", policy):
        vae = tiny_vae(latent, dtype=dtype)
        start = vae.get_weights()
        compiled(vae, 0.1).train_on_batch(x)
        pairs = zip(start, vae.get_weights(), strict=True)
        moved[dtype] = np.concatenate([(new - old).ravel() for old, new in pairs])
    one, other = moved["float32"], moved[policy]
    assert np.linalg.norm(one) > 0
    # bfloat16 has 8 bits: about 1 % after a few layers; float16 has 11.
    assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(one)


@pytest.mark.slow
def test_a_mixed_float16_model_trains():
    vae, x = tiny_vae(dtype="mixed_float16"), binary_images(40)
    vae.compile(keras.optimizers.Adam(0.02), "iwae", 2)
    losses = vae.fit(x, epochs=10, batch_size=10, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0] - 1
