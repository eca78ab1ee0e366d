"""What every entry of the tables can do, through saving and a fresh process."""

from __future__ import annotations

import functools
import itertools
import json
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.latents import ONE_HOT, RELAXED
from helpers.models import binary_images, estimator_for, slow_but, tiny_vae
from helpers.priors import vae_with

from tfvae.heads import HEADS
from tfvae.latents import LATENTS
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import NETWORKS
from tfvae.objectives import Elbo

# Every family with one network, and every network with two families.
MODELS = {
    f"{latent}-{network}": (latent, network)
    for latent, network in itertools.product(LATENTS, NETWORKS)
    if network == "mlp" or latent in ("normal", "bin_concrete")
}

# Loads every model, predicts, trains on as the parent process does, and predicts again.
GO_ON = """
import functools, json, pathlib, sys
import tfvae
import keras, numpy as np
folder = pathlib.Path(sys.argv[1])
report = {}
for path in sorted(folder.glob("*.keras")):
    vae, x = keras.models.load_model(path), np.load(folder / f"{path.stem}-x.npy")
    predict = functools.partial(vae.predict, verbose=0) if vae.compiled else vae
    found = {"before": predict(x), **vae.sample(3, seed=1)._asdict()}
    report[path.stem] = {"compiled": bool(vae.compiled)}
    if vae.compiled:
        report[path.stem]["iterations"] = int(vae.optimizer.iterations)
        logs = vae.fit(x, batch_size=8, shuffle=False, verbose=0).history
        report[path.stem]["logs"] = logs
        found["after"] = predict(x)
    np.savez(path.with_suffix(".npz"), **found)
(folder / "report.json").write_text(json.dumps(report))
"""


def schedule_of(latent: str) -> dict:
    ramp = keras.optimizers.schedules.PolynomialDecay
    schedules = {"kl_weight": ramp(0.1, 5, 0.9)}
    if latent in RELAXED:
        schedules["temperature"] = ramp(0.9, 5, 0.5)
    return schedules


def with_dropout() -> VAE:
    vae = tiny_vae()
    inputs = keras.Input(vae.image_shape)
    x = keras.layers.BatchNormalization()(inputs)
    x = keras.layers.Dropout(0.3, seed=1)(x)
    network = keras.Model(inputs, vae.encoder.network(x))
    encoder = ConditionalDistribution(network, vae.encoder.head)
    return VAE(encoder, vae.decoder, vae.latent)


# Each prior that has weights, with a family of its own.
PRIOR_OF = {"learned": "bernoulli", "mixture": "logistic", "vamp": "normal"}

NAMES = [*MODELS, *(f"head-{head}" for head in HEADS), "float64", "mixed", "stateful"]
NAMES += [f"prior-{prior}" for prior in PRIOR_OF]
COMPILED = [name for name in NAMES if not name.startswith("head-")]
# The steps of these are a graph's. Those of the others are eager, which is sooner done
# than tracing them here and there, and again a graph's in the slow suite.
IN_A_GRAPH = {"normal-conv", "bin_concrete-mlp", "mixed", "stateful"}
GRAPH = " in a graph"
# One that draws by location and scale, one in classes, and each way to be unlike them.
QUICK = ("normal-mlp", "categorical-mlp", "bin_concrete-conv", "head-categorical")
QUICK += ("float64", "stateful", "prior-vamp")


def cases(names) -> list:
    """Models by their names, of which some are quick; the slow ones in a graph too."""
    traced = [name for name in names if name in COMPILED and name not in IN_A_GRAPH]
    return slow_but(QUICK, [*names, *(name + GRAPH for name in traced)])


def model(name: str) -> VAE:
    """One of everything, compiled or not."""
    eager = not name.endswith(GRAPH) and name not in IN_A_GRAPH
    name = name.removesuffix(GRAPH)
    if name.startswith("head-"):
        return tiny_vae(head=name.removeprefix("head-"))
    if name.startswith("prior-"):
        prior = name.removeprefix("prior-")
        vae, latent = vae_with(prior, PRIOR_OF[prior]), PRIOR_OF[prior]
        vae.compile("adam", "elbo", 4, estimator_for(latent), run_eagerly=eager)
    elif name in MODELS:
        latent, network = MODELS[name]
        vae = tiny_vae(latent, network)
        vae.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 9)),
            objective="iwae",
            num_samples=2,
            estimator=estimator_for(latent),
            seed=3,
            run_eagerly=eager,
            **schedule_of(latent),
        )
    elif name == "float64":
        vae = tiny_vae(dtype="float64", head_dtype="float64")
        vae.compile("rmsprop", Elbo(analytic_kl=True), run_eagerly=eager)
    else:
        vae = with_dropout() if name == "stateful" else tiny_vae(dtype="mixed_float16")
        vae.compile("adam", "iwae", 2)
    return vae


class Journey(NamedTuple):
    """What a model did here, and what it did in the process that loaded it."""

    here: dict
    there: dict
    report: dict


@pytest.fixture(scope="module")
def journeys(tmp_path_factory, fresh_python):
    """Trains, saves, loads in a fresh process and trains on, here and there.

    The quick models have one process, and all others, if they are asked for, one.
    """

    @functools.cache
    def of_all(quick: bool) -> dict[str, Journey]:
        folder = tmp_path_factory.mktemp("saved")
        names = [case for case in cases(NAMES) if isinstance(case, str)]
        slow = [case.values[0] for case in cases(NAMES) if not isinstance(case, str)]
        return journeys_of(names if quick else slow, folder, fresh_python)

    return lambda name: of_all(name in QUICK)[name]


def journeys_of(names, folder: pathlib.Path, fresh_python) -> dict[str, Journey]:
    here = {}
    for name in names:
        vae = model(name)
        x = binary_images(16, shape=vae.image_shape)
        np.save(folder / f"{name}-x.npy", x)
        found = here[name] = {}
        if vae.compiled:
            found["first"] = vae.fit(x, batch_size=8, shuffle=False, verbose=0).history
        vae.save(folder / f"{name}.keras")
        # A model that is not compiled predicts in a graph, which is traced: 15 of them.
        predict = functools.partial(vae.predict, verbose=0) if vae.compiled else vae
        found["before"] = predict(x)
        found |= vae.sample(3, seed=1)._asdict()
        if vae.compiled:
            found["logs"] = vae.fit(x, batch_size=8, shuffle=False, verbose=0).history
            found["after"] = predict(x)
    fresh_python(GO_ON, folder)
    report = json.loads((folder / "report.json").read_text())
    return {
        name: Journey(here[name], np.load(folder / f"{name}.npz"), report[name])
        for name in names
    }


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", cases(NAMES))
def test_a_loaded_model_predicts_the_same_bit_for_bit(journeys, name):
    here, there, report = journeys(name)
    for what in ("before", "z", "mean", "draw"):
        np.testing.assert_array_equal(there[what], here[what])
    assert report["compiled"] == (name.removesuffix(GRAPH) in COMPILED)


@pytest.mark.parametrize("name", cases(COMPILED))
def test_a_loaded_model_trains_on_bit_for_bit_as_if_unbroken(journeys, name):
    here, there, report = journeys(name)
    assert report["iterations"] == 2
    assert np.any(here["after"] != here["before"])
    np.testing.assert_array_equal(there["after"], here["after"])
    assert report["logs"] == here["logs"]


@pytest.mark.parametrize("name", cases(COMPILED))
def test_what_is_logged_is_finite(journeys, name):
    here = journeys(name).here
    for logs in (here["first"], here["logs"]):
        assert all(np.all(np.isfinite(values)) for values in logs.values())


@pytest.mark.parametrize("name", cases(MODELS))
def test_schedules_go_on_where_they_were(journeys, name):
    logs = journeys(name).report["logs"]
    for setting, schedule in schedule_of(MODELS[name.removesuffix(GRAPH)][0]).items():
        # The last of steps 0 to 3; float32, in a graph that may fuse operations.
        np.testing.assert_allclose(logs[setting], [schedule(3)], rtol=2e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("latent", "network"),
    # The families that are not here learn in test_latents_models.py.
    slow_but([("normal", "conv"), ("bin_concrete", "mlp")], MODELS.values()),
    ids=MODELS,
)
def test_training_lowers_the_loss(latent, network):
    vae, x = tiny_vae(latent, network), np.tile(binary_images(2), [20, 1, 1, 1])
    vae.compile(keras.optimizers.Adam(0.03), "elbo", 4, estimator_for(latent))
    before = vae.evaluate(x, verbose=0, return_dict=True)
    vae.fit(x, batch_size=10, epochs=10, shuffle=False, verbose=0)
    after = vae.evaluate(x, verbose=0, return_dict=True)
    # Two images of 64 bits: it starts near 64 log 2 = 44 nats.
    assert after["loss"] < before["loss"] - 5
    # Keras 3.12, the newest for Python 3.10, gives tensors.
    assert float(after["loss"]) == pytest.approx(-float(after["elbo"]), rel=1e-5)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("latent", "network"), MODELS.values(), ids=MODELS)
def test_shapes_are_those_of_the_glossary(latent, network):
    vae, x = tiny_vae(latent, network, image_shape=(7, 5, 3)), np.zeros([2, 7, 5, 3])
    x = x.astype("float32")
    posterior, terms = vae.encode(x), vae.log_weight_terms(x, 4, seed=0)
    event_shape = vae.latent.event_shape
    assert event_shape == ((3, 10) if latent in ONE_HOT else (3,))
    assert (posterior.batch_shape, posterior.event_shape) == ((2,), event_shape)
    assert {term.shape.as_list() == [4, 2] for term in terms[:3]} == {True}
    likelihood = vae.decode(tf.zeros([4, 2, *event_shape]))
    assert (likelihood.batch_shape, likelihood.event_shape) == ((4, 2), (7, 5, 3))
    samples = vae.sample(6, seed=0)
    assert samples.z.shape == (6, *event_shape)
    assert samples.mean.shape == samples.draw.shape == (6, 7, 5, 3)
    assert vae.reconstruct(x).shape == (2, 7, 5, 3)
    assert vae.image_shape == (7, 5, 3)


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", MODELS)
def test_a_config_rebuilds_the_model_with_weights_to_be_set(name):
    vae, x = tiny_vae(*MODELS[name], seed=1), binary_images(3)
    rebuilt = VAE.from_config(vae.get_config())
    assert rebuilt.get_config() == vae.get_config()
    rebuilt.set_weights(vae.get_weights())
    np.testing.assert_array_equal(rebuilt(x), vae(x))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_part_is_saved_on_its_own(part, tmp_path):
    vae = tiny_vae()
    model = getattr(vae, part)
    model.save(tmp_path / "part.keras")
    loaded = keras.models.load_model(tmp_path / "part.keras")
    inputs = binary_images(2) if part == "encoder" else np.ones([2, 3], "float32")
    np.testing.assert_array_equal(loaded(inputs).mean(), model(inputs).mean())


def test_weights_alone_are_saved_and_loaded(tmp_path):
    vae, other, x = tiny_vae(seed=1), tiny_vae(seed=2), binary_images(2)
    assert np.any(vae(x) != other(x))
    vae.save_weights(tmp_path / "vae.weights.h5")
    other.load_weights(tmp_path / "vae.weights.h5")
    np.testing.assert_array_equal(vae(x), other(x))


def test_a_trained_model_goes_on_with_another_bound():
    vae, x = tiny_vae(), binary_images(8)
    vae.compile("adam", "elbo", kl_weight=0.5)
    vae.train_on_batch(x)
    vae.compile("adam", "iwae", 5)
    logs = vae.train_on_batch(x, return_dict=True)
    assert 1 < logs["ess"] <= 5 and float(vae.kl_weight.numpy()) == 1
