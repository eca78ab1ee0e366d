"""Models with priors that have weights; test_contracts.py saves and loads them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.latents import DISCRETE, LEARNED_PRIORS
from helpers.models import binary_images
from helpers.priors import (
    IMAGES,
    SHAPE,
    WITH_WEIGHTS,
    encoder_of,
    family_of,
    prior_of,
    vae_with,
)

from tfvae.core.types import InputError
from tfvae.latents import LATENTS, NormalLatent
from tfvae.models import VAE
from tfvae.priors import PRIORS, LearnedPrior, MixturePrior, VampPrior, make_prior

WITHOUT = sorted(set(LATENTS) - set(LEARNED_PRIORS))


def compiled(vae: VAE, latent: str, **how) -> VAE:
    estimator = "reinforce" if latent in DISCRETE else "pathwise"
    vae.compile(keras.optimizers.Adam(0.05), "elbo", 4, estimator, seed=2, **how)
    return vae


def assert_trained_alone(prior_name: str, latent: str) -> None:
    """Trains the prior's weights alone: what lowers the loss is the prior."""
    vae, x = vae_with(prior_name, latent), binary_images(40, shape=SHAPE)
    vae.encoder.trainable = vae.decoder.trainable = False
    # Posteriors that differ from the prior and from each other.
    vae.encoder.set_weights([3 * w for w in vae.encoder.get_weights()])
    weights = vae.prior_layer.trainable_variables
    assert {id(w) for w in vae.trainable_variables} == {id(w) for w in weights}
    compiled(vae, latent, run_eagerly=True)
    before = vae.evaluate(x, verbose=0, return_dict=True)
    own = [w.numpy() for w in weights]
    vae.fit(x, batch_size=10, epochs=4, verbose=0)
    after = vae.evaluate(x, verbose=0, return_dict=True)
    # The same draws of z both times: the difference is the prior's alone.
    assert after["distortion"] == pytest.approx(before["distortion"], rel=1e-6)
    assert after["loss"] < before["loss"] and after["rate"] < before["rate"]
    for one, other in zip(own, weights, strict=True):
        assert np.all(one != other.numpy())


@pytest.mark.slow
@pytest.mark.parametrize("prior_name", WITH_WEIGHTS)
@pytest.mark.parametrize(
    "latent", [pytest.param("normal", marks=pytest.mark.slow), "categorical"]
)
def test_training_a_prior_alone_lowers_the_loss(prior_name, latent):
    assert_trained_alone(prior_name, latent)


# -- what is refused -------------------------------------------------------------------


def test_the_standard_prior_is_none():
    assert make_prior("standard", family_of("normal")) is None
    assert make_prior("standard", family_of("normal"), images=IMAGES) is None


@pytest.mark.parametrize("prior_name", WITH_WEIGHTS)
@pytest.mark.parametrize("name", WITHOUT)
def test_families_without_such_a_prior_are_named(name, prior_name):
    with pytest.raises(InputError) as refused:
        prior_of(prior_name, LATENTS[name](2))
    assert type(LATENTS[name](2)).__name__ in str(refused.value)
    assert "set prior 'standard'" in str(refused.value)


NORMAL = NormalLatent(2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: make_prior("gaussian", NORMAL), "unknown prior 'gaussian'"),
        (lambda: LearnedPrior("normal"), "LearnedPrior was given 'normal'"),
        (lambda: MixturePrior(NORMAL, 0), "num_components 0"),
        (lambda: MixturePrior(NORMAL, 2.5), "num_components 2.5"),
        (lambda: MixturePrior(NORMAL, 3, seed=-1), "seed -1"),
        (lambda: make_prior("mixture", NORMAL), "needs num_components"),
        (lambda: make_prior("learned", NORMAL, num_components=3), "has no effect"),
        (lambda: make_prior("standard", NORMAL, num_components=3), "has no effect"),
        (lambda: make_prior("vamp", NORMAL, images=IMAGES), "needs num_components"),
        (lambda: make_prior("vamp", NORMAL, num_components=3), "none are given"),
        (
            lambda: make_prior("vamp", NORMAL, num_components=13, images=IMAGES),
            "num_components 13 and 12 images",
        ),
        (lambda: VampPrior(NORMAL, 2 * IMAGES), "between 0 and 1"),
        (lambda: VampPrior(NORMAL, np.full([1, 4], np.nan)), "between nan and nan"),
        (lambda: VampPrior(NORMAL, np.zeros([0, 4])), "shape (0, 4)"),
        (lambda: VampPrior(NORMAL, np.zeros([4])), "shape (4,)"),
        (lambda: VampPrior(NORMAL, np.array([["a"]])), "dtype <U1"),
        (
            lambda: VampPrior(NORMAL, IMAGES[:, :3]).distribution(encoder_of(NORMAL)),
            "takes [..., 4, 4, 1]",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(make, said):
    with pytest.raises(InputError) as refused:
        make()
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_every_prior_says_in_words_what_a_table_needs():
    for prior in filter(None, PRIORS.values()):
        assert prior.text and prior.paper and "|" not in prior.text + prior.paper
