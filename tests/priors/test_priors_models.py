"""Models with priors that have weights: trained, saved, loaded; what is refused."""

from __future__ import annotations

import json

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


def compiled(vae: VAE, latent: str) -> VAE:
    estimator = "reinforce" if latent in DISCRETE else "pathwise"
    vae.compile(keras.optimizers.Adam(0.05), "elbo", 4, estimator, seed=2)
    return vae


def assert_trained_alone(prior_name: str, latent: str) -> None:
    """Trains the prior's weights alone: what lowers the loss is the prior."""
    vae, x = vae_with(prior_name, latent), binary_images(40, shape=SHAPE)
    vae.encoder.trainable = vae.decoder.trainable = False
    # Posteriors that differ from the prior and from each other.
    vae.encoder.set_weights([3 * w for w in vae.encoder.get_weights()])
    weights = vae.prior_layer.trainable_variables
    assert {id(w) for w in vae.trainable_variables} == {id(w) for w in weights}
    compiled(vae, latent)
    before = vae.evaluate(x, verbose=0, return_dict=True)
    own = [w.numpy() for w in weights]
    vae.fit(x, batch_size=10, epochs=4, verbose=0)
    after = vae.evaluate(x, verbose=0, return_dict=True)
    # The same draws of z both times: the difference is the prior's alone.
    assert after["distortion"] == pytest.approx(before["distortion"], rel=1e-6)
    assert after["loss"] < before["loss"] and after["rate"] < before["rate"]
    for one, other in zip(own, weights, strict=True):
        assert np.all(one != other.numpy())


@pytest.mark.parametrize("prior_name", WITH_WEIGHTS)
@pytest.mark.parametrize(
    "latent", [pytest.param("normal", marks=pytest.mark.slow), "categorical"]
)
def test_training_a_prior_alone_lowers_the_loss(prior_name, latent):
    assert_trained_alone(prior_name, latent)


LOAD = """
import json, pathlib, sys
import tfvae
import keras, numpy as np
folder = pathlib.Path(sys.argv[1])
x = np.load(folder / "x.npy")
found = {}
for path in sorted(folder.glob("*.keras")):
    vae = keras.models.load_model(path)
    terms = vae.log_weight_terms(x, 4, seed=5)
    found[path.stem] = {
        "log_prior": terms.log_prior.numpy().tolist(),
        "z": vae.sample(3, seed=1).z.numpy().tolist(),
    }
    if path.stem == "vamp":  # whose gradient goes through the encoder too
        logs = vae.fit(x, batch_size=8, shuffle=False, verbose=0).history
        found["vamp"]["logs"] = logs
(folder / "found.json").write_text(json.dumps(found))
"""
SAVED = {"learned": "bernoulli", "mixture": "logistic", "vamp": "normal"}


@pytest.fixture(scope="module")
def journey(tmp_path_factory, fresh_python):
    """Trains, saves, and goes on here and in a fresh process."""
    folder, x = tmp_path_factory.mktemp("priors"), binary_images(16, shape=SHAPE)
    np.save(folder / "x.npy", x)
    here = {}
    for name, latent in SAVED.items():
        vae = compiled(vae_with(name, latent), latent)
        vae.fit(x, batch_size=8, shuffle=False, verbose=0)
        vae.save(folder / f"{name}.keras")
        here[name] = {
            "log_prior": vae.log_weight_terms(x, 4, seed=5).log_prior.numpy(),
            "z": vae.sample(3, seed=1).z.numpy(),
        }
        if name == "vamp":
            logs = vae.fit(x, batch_size=8, shuffle=False, verbose=0).history
            here[name]["logs"] = logs
    fresh_python(LOAD, folder)
    return here, json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", SAVED)
def test_a_loaded_model_has_its_prior_bit_for_bit(journey, name):
    here, there = journey[0][name], journey[1][name]
    np.testing.assert_array_equal(np.float32(there["log_prior"]), here["log_prior"])
    np.testing.assert_array_equal(np.float32(there["z"]), here["z"])


def test_a_loaded_model_with_a_vamp_trains_on_as_if_unbroken(journey):
    assert journey[1]["vamp"]["logs"] == journey[0]["vamp"]["logs"]


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
