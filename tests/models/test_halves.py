"""Samples go through a large decoder in two halves, which changes nothing."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfvae
from tfvae.models import vae as module
from tfvae.models.checks import weights_of_rows

X = np.random.default_rng(0).integers(0, 2, [6, 4]).astype("float64")


def small(latent: str, **settings) -> tfvae.VAE:
    sizes = {"hidden_sizes": (5,), "dtype": "float64"}
    family = tfvae.latents.LATENTS[latent](3, dtype="float64")
    encoder = tfvae.networks.mlp((4,), family.posterior_head().params_shape, **sizes)
    decoder = tfvae.networks.mlp(family.decoder_shape, (4,), seed=1, **sizes)
    likelihood = tfvae.heads.BernoulliHead((4,), dtype="float64")
    vae = tfvae.VAE(encoder, decoder, family, likelihood=likelihood)
    vae.compile(keras.optimizers.SGD(1.0), "iwae", jit_compile=False, **settings)
    return vae


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("latent", "settings"),
    [
        ("normal", {"num_samples": 2}),
        ("normal", {"num_samples": 5, "estimator": "dreg"}),
        ("normal", {"num_samples": 9, "backward_samples": 3}),
        ("normal", {"num_samples": 7, "sample_chunk": 3}),
        ("bernoulli", {"num_samples": 5, "estimator": "vimco"}),
        ("bernoulli", {"num_samples": 3, "estimator": "disarm"}),
        ("bernoulli", {"num_samples": 3, "estimator": "ugc"}),
    ],
)
def test_halves_have_the_scores_and_the_step_of_all(latent, settings, monkeypatch):
    def numbers(least: int) -> tuple[int, list[np.ndarray]]:
        monkeypatch.setattr(module, "MANY_WEIGHTS", least)
        vae, called = small(latent, **settings), []
        decode = vae.decode
        vae.decode = lambda z, **more: called.append(z.shape[0]) or decode(z, **more)
        scores = vae.log_weight_terms(X, 5, seed=1).log_weights().numpy()
        logs = vae.train_on_batch(X, return_dict=True)
        return called, [scores, logs["loss"], *vae.get_weights()]

    whole, expected = numbers(10**9)
    halves, found = numbers(1)
    divided = [number for number in whole if number > 1]
    assert len(halves) == len(whole) + len(divided) and sum(halves) == sum(whole)
    for one, other in zip(found, expected, strict=True):
        # Sums of some ten numbers in another order, in float64.
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_one_sample_is_not_divided(monkeypatch):
    monkeypatch.setattr(module, "MANY_WEIGHTS", 1)
    vae, called = small("normal", num_samples=1), []
    decode = vae.decode
    vae.decode = lambda z, **more: called.append(z.shape[0]) or decode(z, **more)
    vae.train_on_batch(X)
    assert called == [1]


class OwnCall(keras.Model):
    """A network of known layers that does more than these."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        x = self.dense(x)
        return x - keras.ops.mean(x, axis=0)


def own_call() -> keras.Model:
    model = OwnCall()
    model(keras.Input([5]))
    model.inputs, model.outputs = [keras.Input([5])], [keras.Input([3])]
    model.input_shape, model.output_shape = (None, 5), (None, 3)
    return model


def graph(operation) -> keras.Model:
    inputs = keras.Input([5])
    return keras.Model(inputs, operation(layers.Dense(3)(inputs)))


def with_head(network: keras.Model) -> tfvae.ConditionalDistribution:
    head = tfvae.heads.BernoulliHead(tuple(network.output_shape[1:]))
    return tfvae.ConditionalDistribution(network, head)


def row_minus_mean(x):
    return x - keras.ops.mean(x, axis=0)


@pytest.mark.parametrize(
    "network",
    [
        own_call,
        lambda: graph(row_minus_mean),
        lambda: graph(layers.BatchNormalization()),
        lambda: graph(layers.Dropout(0.5)),
        lambda: graph(layers.GaussianNoise(0.5)),
        lambda: graph(layers.Dense(3, activation=row_minus_mean)),
        lambda: graph(layers.Dense(3, activity_regularizer="l2")),
        lambda: graph(keras.Sequential([layers.Dense(3), layers.BatchNormalization()])),
    ],
)
def test_a_network_whose_rows_may_depend_on_each_other_is_left_whole(network):
    assert weights_of_rows(with_head(network())) == 0


class OwnDecoder(tfvae.ConditionalDistribution):
    """A decoder that may do more than its network."""

    def call(self, inputs, training=None):
        return super().call(inputs - tf.reduce_mean(inputs, axis=0), training)


class OwnDecode(tfvae.VAE):
    """A model that decodes in a way of its own."""

    def decode(self, z, training=None):
        return super().decode(z - tf.reduce_mean(z, axis=0), training)


def test_a_class_that_decodes_in_its_own_way_is_given_all_samples(monkeypatch):
    monkeypatch.setattr(module, "MANY_WEIGHTS", 1)
    vae = small("normal", num_samples=4)
    own = OwnDecoder(vae.decoder.network, vae.decoder.head)
    for model in (
        tfvae.VAE(vae.encoder, own, vae.latent),
        OwnDecode(vae.encoder, vae.decoder, vae.latent),
    ):
        terms = model.variational_batch(X, 4, seed=1)
        z = terms.draw()
        whole = model.decode(z).log_prob(X)
        # Of halves the means are others: exactly the same kernels run here.
        np.testing.assert_array_equal(terms.log_likelihood(z), whole)


@pytest.mark.parametrize("activation", ["tanh", layers.LeakyReLU(0.3)])
@pytest.mark.parametrize("name", tfvae.networks.NETWORKS)
def test_networks_of_the_package_may_be_divided(name, activation):
    decoder = tfvae.networks.NETWORKS[name].decoder((3,), (4, 4, 1), (8,), activation)
    if not tf.config.list_physical_devices("GPU"):
        assert weights_of_rows(with_head(decoder)) == decoder.count_params() > 0
