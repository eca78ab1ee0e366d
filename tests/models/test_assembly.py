"""Two plain networks and two names make the VAE of the keras.io example."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.core.types import InputError
from tfvae.heads import HEADS, BernoulliHead, NormalHead
from tfvae.latents import LATENTS, NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import mlp

SHAPE = (6, 6, 1)
X = (np.random.default_rng(0).random((16, *SHAPE)) < 0.3).astype(np.float32)


def networks(outputs: int = 4, size: int = 2, pixels: int = 1) -> tuple:
    encoder = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(outputs)]
    )
    decoder = keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(36 * pixels),
            keras.layers.Reshape((6, 6, pixels)),
        ]
    )
    return encoder, decoder


def test_the_defaults_are_a_gaussian_vae_of_bits():
    encoder, decoder = networks()
    vae = VAE(encoder, decoder)
    assert isinstance(vae.latent, NormalLatent) and vae.latent.latent_size == 2
    assert isinstance(vae.decoder.head, BernoulliHead)
    # The same networks with heads by hand have the same log-weights.
    latent = NormalLatent(2)
    by_hand = VAE(
        ConditionalDistribution(encoder, latent.posterior_head()),
        ConditionalDistribution(decoder, BernoulliHead(SHAPE)),
        latent,
    )
    for one, other in zip(
        vae.log_weight_terms(X, 3, 0)[:3],
        by_hand.log_weight_terms(X, 3, 0)[:3],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_it_trains_and_is_saved_with_its_parts(tmp_path):
    vae = VAE(*networks(pixels=2), prior="learned", likelihood="normal")
    vae.compile("adam", objective="elbo")
    vae.fit(X, verbose=0)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert isinstance(again.decoder.head, NormalHead) and again.prior_layer is not None
    np.testing.assert_array_equal(again.reconstruct(X), vae.reconstruct(X))


@pytest.mark.parametrize("latent", LATENTS)
def test_a_family_by_name_is_built_or_asks_for_the_family(latent):
    kind = LATENTS[latent]
    family = kind(2)
    outputs = int(np.prod(family.posterior_head().params_shape))
    encoder, decoder = networks(outputs, int(np.prod(family.decoder_shape)))
    if len(family.posterior_head().params_shape) > 1:
        shape = family.posterior_head().params_shape
        inputs = keras.Input(SHAPE)
        encoder = keras.Model(inputs, keras.layers.Reshape(shape)(encoder(inputs)))
    if family.decoder_shape == (2,):
        vae = VAE(encoder, decoder, latent)
        assert type(vae.latent) is kind
    else:
        with pytest.raises(InputError, match=f"tfvae.latents.{kind.__name__}"):
            VAE(encoder, decoder, latent)
    assert type(VAE(encoder, decoder, family).latent) is kind


@pytest.mark.parametrize("likelihood", HEADS)
def test_a_likelihood_by_name_is_of_the_data_that_the_encoder_takes(likelihood):
    head = HEADS[likelihood](SHAPE)
    encoder, _ = networks()
    decoder = mlp((2,), head.params_shape, ())
    assert VAE(encoder, decoder, likelihood=likelihood).data_shape == SHAPE


BAD = {
    "few outputs": (
        lambda: VAE(*networks(outputs=3)),
        ["encoder puts out (3,)", "NormalLatent needs (4,)", "4 units"],
    ),
    "few pixels": (
        lambda: VAE(*networks(), likelihood="normal"),
        ["decoder puts out (6, 6, 1)", "NormalHead needs (6, 6, 2)", "2 for each"],
    ),
    "latent": (lambda: VAE(*networks(), "gauss"), ["latent 'gauss'", "normal"]),
    "likelihood": (
        lambda: VAE(*networks(), likelihood="bernouli"),
        ["likelihood 'bernouli'", "bernoulli"],
    ),
    "no effect": (
        lambda: VAE(
            networks()[0],
            ConditionalDistribution(networks()[1], BernoulliHead(SHAPE)),
            likelihood="normal",
        ),
        ["likelihood 'normal' has no effect"],
    ),
    "no model": (lambda: VAE(networks()[0], tf.identity), ["no model of Keras 3"]),
    "no encoder": (lambda: VAE(tf.identity, networks()[1]), ["no model of Keras 3"]),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_told_how_many_outputs_are_needed(make, said):
    with pytest.raises(InputError) as caught:
        make()
    message = str(caught.value)
    assert all(part in message for part in said) and "\n" not in message, message


# -- from a recipe's fields ------------------------------------------------------------


def test_fields_of_a_recipe_build_a_compiled_model():
    vae = tfvae.build(
        SHAPE, latent="bin_concrete", latent_size=3, hidden_sizes=[8], num_samples=4
    )
    assert vae.num_samples == 4 and vae.latent.latent_size == 3
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"]).all()


def test_rows_of_a_table_are_examples_too():
    rows = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    vae = tfvae.build((5,), likelihood="normal", latent_size=2, objective="elbo")
    assert vae.fit(rows, verbose=0) and vae.embed(rows).shape == (16, 2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(latent_sizes=3), "latent_sizes"),
        (dict(dataset="mnist"), "dataset has no effect"),
        (dict(batch_size=10), "batch_size has no effect"),
        (dict(latent="bernoulli"), "'pathwise'"),
        (dict(learning_rate_schedule="cosine"), "give steps_per_epoch"),
        (dict(likelihood="poisson_"), "likelihood 'poisson_'"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(InputError) as caught:
        tfvae.build(SHAPE, **settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)
