"""Hierarchies as people use them: configured, trained, saved, loaded, refused."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.hierarchies import FAMILIES, hierarchy, model, together
from helpers.models import binary_images, slow_but

from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.core.types import InputError
from tfvae.data import load, steps_per_epoch, training_batches
from tfvae.estimators import ESTIMATORS
from tfvae.export import export_saved_model
from tfvae.latents import LATENTS, Hierarchy
from tfvae.networks import mlp
from tfvae.objectives import OBJECTIVES, Elbo
from tfvae.training.building import build_vae, check_config, compile_vae

SHAPE = (8, 8, 1)


def config(latent: str = "normal", **fields) -> Config:
    estimator = "vimco" if latent == "bernoulli" else "pathwise"
    fields = {
        "latent_size": 4,
        "upper_latent_sizes": (3, 2),
        "upper_hidden_sizes": (5,),
        "hidden_sizes": (16,),
        "num_samples": 4,
        "estimator": estimator,
        **fields,
    }
    return Config(latent=latent, **fields)


def built(latent: str = "normal", steps: int = 2, **fields):
    made = config(latent, **fields)
    vae = build_vae(made, SHAPE)
    compile_vae(vae, made, steps)
    return vae


# -- trained, saved, loaded ------------------------------------------------------------

LOAD = """
import json, pathlib, sys
import tfvae
import keras, numpy as np
folder = pathlib.Path(sys.argv[1])
x = np.load(folder / "x.npy")
found = {}
for path in sorted(folder.glob("*.keras")):
    vae = keras.models.load_model(path)
    model = vae.discrete() if path.stem == "bin_concrete" else vae
    found[path.stem] = {
        "weights": vae.log_weight_terms(x, 4, seed=5).log_weights().numpy().tolist(),
        "twin": model.log_weight_terms(x, 4, seed=5).log_weights().numpy().tolist(),
        "logs": vae.fit(x, batch_size=10, shuffle=False, verbose=0).history,
    }
(folder / "found.json").write_text(json.dumps(found))
"""
JOURNEYS = ("bin_concrete", "bernoulli")
ANNEALED = {
    "temperature": 0.8,
    "final_temperature": 0.5,
    "prior_temperature": 0.7,
    "final_prior_temperature": 0.4,
    "temperature_steps": 8,
}


@pytest.fixture(scope="module")
def journey(tmp_path_factory, fresh_python):
    """Trains, saves, and goes on here and in a fresh process."""
    folder = tmp_path_factory.mktemp("hierarchies")
    x = binary_images(20)
    np.save(folder / "x.npy", x)
    here = {}
    for name in JOURNEYS:
        vae = built(name, **(ANNEALED if name == "bin_concrete" else {}))
        how = {"batch_size": 10, "shuffle": False, "verbose": 0}
        vae.fit(x, epochs=2, **how)
        vae.save(folder / f"{name}.keras")
        twin = vae.discrete() if name == "bin_concrete" else vae
        here[name] = {
            "weights": vae.log_weight_terms(x, 4, seed=5).log_weights().numpy(),
            "twin": twin.log_weight_terms(x, 4, seed=5).log_weights().numpy(),
            "logs": vae.fit(x, **how).history,
        }
    fresh_python(LOAD, folder)
    return here, json.loads((folder / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", JOURNEYS)
def test_a_loaded_hierarchy_is_the_same_and_trains_on_as_if_unbroken(journey, name):
    here, there = journey[0][name], journey[1][name]
    for terms in ("weights", "twin"):
        np.testing.assert_array_equal(np.float32(there[terms]), here[terms])
    assert there["logs"] == here["logs"]


@pytest.mark.quick(1)
@pytest.mark.parametrize("how", ["copied", "loaded"])
def test_a_rebuilt_hierarchy_has_one_set_of_networks(how, tmp_path):
    vae = built("bin_concrete")
    if how == "copied":
        other = type(vae).from_config(vae.get_config())
    else:
        vae.save(tmp_path / "vae.keras")
        other = keras.models.load_model(tmp_path / "vae.keras")
    assert len(other.weights) == len(vae.weights)
    for one, two in zip(other.encoder.head.upward, other.latent.upward, strict=True):
        assert one is two
    twin = other.discrete()
    assert {id(v) for v in twin.trainable_variables} == {
        id(v) for v in other.trainable_variables
    }


@pytest.mark.slow
def test_one_temperature_and_one_prior_temperature_reach_every_layer(eagerly_here):
    vae = built("bin_concrete", **ANNEALED)
    x, z = binary_images(3), tf.random.stateless_normal([3, 9], [1, 2])

    def scales(distribution) -> list[float]:
        return [
            float(np.mean(layer.distribution.scale))
            for layer, _ in distribution.layers(z)
        ]

    np.testing.assert_allclose(scales(vae.encode(x)), [1 / 0.8] * 3, rtol=1e-6)
    np.testing.assert_allclose(scales(vae.prior()), [1 / 0.7] * 3, rtol=1e-6)
    history = vae.fit(np.tile(x, [30, 1, 1, 1]), batch_size=10, verbose=0).history
    assert history["temperature"] == pytest.approx([0.5])
    np.testing.assert_allclose(scales(vae.encode(x)), [2] * 3, rtol=1e-6)
    np.testing.assert_allclose(scales(vae.prior()), [2.5] * 3, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", slow_but(["bin_concrete"], ["normal", "bin_concrete", "bernoulli"])
)
def test_training_on_digits_lowers_the_loss_and_moves_every_weight(name):
    data, size = load("digits"), 100
    made = config(name, latent_size=8, hidden_sizes=(32,), learning_rate=3e-3)
    vae = build_vae(made, data.image_shape, data.train.mean_image())
    steps = steps_per_epoch(data.train, size)
    compile_vae(vae, made, steps)
    before = [v.numpy() for v in vae.trainable_variables]
    batches = training_batches(data.train, size, binarization="dynamic", seed=0)
    history = vae.fit(batches, epochs=4, steps_per_epoch=steps, verbose=0).history
    # The loss of an epoch of 1,258 images has a standard error of 0.1.
    assert history["loss"][-1] < history["loss"][0] - 0.5
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        assert np.any(old != variable.numpy()), variable.path


@pytest.mark.quick(1)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_networks_between_layers_have_the_policy_and_densities_float32(
    policy, eagerly_here
):
    vae = built("normal", dtype_policy=policy)
    for network in (*vae.latent.upward, *vae.latent.downward):
        assert {layer.dtype_policy.name for layer in network.layers[1:]} == {policy}
    terms = vae.log_weight_terms(binary_images(3), 2, seed=0)
    assert {term.dtype for term in terms[:3]} == {tf.float32}
    loss = vae.fit(binary_images(20), batch_size=10, verbose=0).history["loss"]
    assert np.all(np.isfinite(loss))


@pytest.mark.slow
def test_a_hierarchy_trains_with_xla():
    sizes = {"upper_latent_sizes": (3,), "upper_hidden_sizes": (), "hidden_sizes": ()}
    vae = built("normal", estimator="dreg", num_samples=2, jit_compile=True, **sizes)
    x = np.tile(binary_images(1), [10, 1, 1, 1])
    losses = vae.fit(x, batch_size=10, epochs=30, verbose=0).history["loss"]
    # Of 64 bits at first 44 nats; one image can be learnt by heart.
    assert losses[-1] < losses[0] - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_xla_weighs_a_given_z_as_eager_does(name):
    vae, x = model(name), binary_images(3, shape=(2, 2, 1))
    z = vae.encode(x).sample(4, seed=1)

    def terms(z):
        return vae.encode(x).log_probs(z), vae.prior().log_probs(z)

    for found, wanted in zip(
        tf.function(terms, jit_compile=True)(z), terms(z), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_a_hierarchy_is_exported_and_pictured(tmp_path):
    vae, x = built("bin_concrete", upper_latent_sizes=(2,)), binary_images(3)
    path = export_saved_model(vae, tmp_path / "served", num_samples=2)
    served = tf.saved_model.load(str(path))
    found = served.signatures["reconstruct"](x=tf.constant(x))["mean"]
    np.testing.assert_allclose(found, vae.reconstruct(x), rtol=1e-5, atol=1e-6)
    encoded = served.signatures["encode"](x=tf.constant(x))
    assert sorted(encoded) == ["logits_1", "logits_2"]
    drawn = served.signatures["sample"](seed=tf.constant([[1, 2], [3, 4]]))
    assert drawn["z"].shape == (2, 6)
    assert vae.latent.traversal(np.zeros(1)) is None


# -- configured ------------------------------------------------------------------------


def test_the_recipe_is_burda_et_als_two_layer_model():
    vae = build_vae(RECIPES["mnist-iwae-2l"].config, (28, 28, 1))

    def units(network: keras.Model) -> list[int]:
        return [layer.units for layer in network.layers if hasattr(layer, "units")]

    assert vae.latent.sizes == (100, 50)
    assert units(vae.encoder.network) == [200, 200, 2 * 100]
    assert units(vae.latent.upward[0]) == [100, 100, 2 * 50]
    assert units(vae.latent.downward[0]) == [100, 100, 2 * 100]
    assert units(vae.decoder.network) == [200, 200, 784]


def test_upper_networks_are_linear_two_layers_deep_or_in_reverse_on_the_way_down():
    wanted = {(): ([], []), None: ([100, 100], [100, 100]), (7, 6): ([7, 6], [6, 7])}
    for sizes, (up, down) in wanted.items():
        vae = build_vae(config(upper_hidden_sizes=sizes), SHAPE)
        for network, units in (
            (vae.latent.upward[1], up),
            (vae.latent.downward[1], down),
        ):
            dense = [layer for layer in network.layers if hasattr(layer, "units")]
            assert [layer.units for layer in dense[:-1]] == units
            assert {layer.activation.__name__ for layer in dense[:-1]} <= {"tanh"}


def test_initial_weights_are_a_function_of_the_seed():
    one, same, other = (build_vae(config(seed=s), SHAPE) for s in (1, 1, 2))
    for a, b, c in zip(one.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        if a.path.endswith("kernel"):
            assert np.any(a.numpy() != c.numpy())
    kernels = [np.ravel(n.get_weights()[0]) for n in one.latent.upward]
    assert np.all(kernels[0][:3] != kernels[1][:3])


def test_json_keeps_the_upper_layers():
    for sizes in (None, (), (5, 4)):
        made = config(upper_hidden_sizes=sizes)
        assert Config.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def refused(attempt) -> bool:
    try:
        attempt()
    except InputError:
        return True
    return False


OF_ONE_LAYER = ("arms", "double_cv", "rodeo")


def is_defined(latent, objective, estimator, option) -> bool:
    """For four samples; written out apart from the classes."""
    through = estimator in ("pathwise", "stl", "dreg")
    if option or estimator in OF_ONE_LAYER:
        return False
    if estimator == "rws":
        return objective != "piwae"
    if through == (latent == "bernoulli"):
        return False
    if estimator == "ovis":
        return objective == "iwae"
    grouped = objective in ("miwae", "piwae")
    if estimator == "reinforce" and grouped:  # three are left
        return False
    return through or objective != "piwae"


@pytest.mark.slow
def test_compile_lets_in_what_is_defined():
    options = [{}, {"analytic_kl": True}, {"free_bits": 0.1}]
    for latent in FAMILIES:
        vae = build_vae(config(latent), SHAPE)
        for objective, estimator in itertools.product(OBJECTIVES, ESTIMATORS):
            for option in options if objective == "elbo" else options[:1]:
                case = (latent, objective, estimator, option)
                made = Elbo(**option) if option else OBJECTIVES[objective]()
                compiles = not refused(
                    functools.partial(vae.compile, "sgd", made, 4, estimator)
                )
                assert is_defined(*case) == compiles, case


# -- refused ---------------------------------------------------------------------------

BAD = [
    ({"upper_latent_sizes": (0,)}, "upper_latent_sizes [0]"),
    ({"upper_latent_sizes": 3}, "upper_latent_sizes 3"),
    ({"upper_hidden_sizes": (5, 0)}, "upper_hidden_sizes [5, 0]"),
    ({"upper_latent_sizes": ()}, "upper_hidden_sizes [5] has no effect"),
    ({"latent": "flow"}, "FlowLatent"),
    ({"latent": "concrete"}, "ConcreteLatent"),
    ({"prior": "learned"}, "LearnedPrior"),
    ({"objective": "elbo", "analytic_kl": True}, "analytic_kl is set"),
    ({"objective": "elbo", "free_bits": 0.5}, "free_bits needs independent"),
    (
        {"latent": "bernoulli", "estimator": "arms", "objective": "elbo"},
        "estimator 'arms' is for Bernoulli posteriors of one layer",
    ),
]


@pytest.mark.parametrize(("fields", "said"), BAD)
def test_a_bad_configuration_is_refused_in_one_line(fields, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        check_config(dataclasses.replace(config(), **fields))
    assert said in str(caught.value)


def normal(size: int = 2, **how):
    return LATENTS["normal"](size, **how)


def net(source: int = 2, target: int = 4) -> keras.Model:
    return mlp((source,), (target,), ())


RELAXED = LATENTS["bin_concrete"]
PARTS = [
    (lambda: Hierarchy([normal()], [], []), "two or more"),
    (lambda: Hierarchy(normal(), [net()], [net()]), "two or more"),
    (lambda: Hierarchy([normal(), 3], [net()], [net()]), "NormalLatent"),
    (
        lambda: Hierarchy([normal(), LATENTS["flow"](2)], [net()], [net()]),
        "no conditional prior",
    ),
    (
        lambda: Hierarchy([normal(), LATENTS["bernoulli"](2)], [net()], [net()]),
        "both discrete and continuous",
    ),
    (
        lambda: Hierarchy([RELAXED(2), RELAXED(2, 0.7)], [net()], [net()]),
        "temperature 0.5, 0.7",
    ),
    (
        lambda: Hierarchy([normal(), normal(dtype="float64")], [net()], [net()]),
        "dtype",
    ),
    (
        lambda: Hierarchy([normal(), normal()], [net()], [net()], dtype="float64"),
        "leave dtype out",
    ),
    (lambda: Hierarchy([normal(), normal()], [], [net()]), "upward of Hierarchy"),
    (lambda: Hierarchy([normal(), normal()], net(), [net()]), "upward of Hierarchy"),
    (
        lambda: Hierarchy([normal(), normal()], [net(target=3)], [net()]),
        "upward[0] of Hierarchy maps (2,) to (3,)",
    ),
    (
        lambda: Hierarchy([normal(), normal(3)], [net(2, 6)], [net()]),
        "downward[0] of Hierarchy maps (2,) to (4,)",
    ),
    (
        lambda: Hierarchy(
            [normal(), normal()], [keras.Sequential([keras.layers.Dense(4)])], [net()]
        ),
        "upward[0]",
    ),
]


@pytest.mark.parametrize(("make", "said"), PARTS)
def test_parts_that_do_not_fit_are_refused_in_one_line(make, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        make()
    assert said in str(caught.value)


def test_the_head_of_another_hierarchy_is_refused():
    vae, other = model("normal"), hierarchy("normal", (3, 2), (5,))
    parts = vae.decoder.network, vae.decoder.head
    with pytest.raises(InputError, match=r"^the encoder's head[^\n]*posterior_head"):
        together(vae.encoder.network, other.posterior_head(), *parts, vae.latent)


def test_a_hierarchy_that_relaxes_nothing_has_no_twin():
    with pytest.raises(InputError, match=r"^Hierarchy relaxes no[^\n]*$"):
        built("normal").discrete()


@pytest.mark.parametrize(
    ("latent", "how", "said"),
    [
        ("normal", {"objective": Elbo(analytic_kl=True)}, "analytic_kl"),
        ("normal", {"objective": Elbo(free_bits=0.1)}, "free_bits"),
        ("bernoulli", {"estimator": "rodeo", "num_samples": 3}, "one layer"),
        ("normal", {"estimator": "vimco", "num_samples": 4}, "reparameterised"),
        ("normal", {"temperature": 0.5}, "temperature 0.5"),
    ],
)
def test_what_has_no_meaning_for_a_hierarchy_is_refused_in_one_line(latent, how, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        build_vae(config(latent), SHAPE).compile(**how)
    assert said in str(caught.value)
