"""A preset gives back the model that was saved, and nothing in one is executed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys

import h5py
import keras
import numpy as np
import pytest
from helpers import hostile_files as hostile
from helpers.models import binary_images, tiny_vae

import tfvae
from tfvae import InputError
from tfvae.conditions import OneHot
from tfvae.models import VAE, PresetCard, PresetScore, SemiSupervisedVAE
from tfvae.models.presets import read_preset
from tfvae.networks import mlp

pytestmark = pytest.mark.usefixtures("eagerly")
SHAPE, X = (8, 8, 1), binary_images(20)
CLASSES = np.arange(20) % 4
GIVEN = {"condition_shape": (4,)}
SCORE = PresetScore("log p(x)", -20.5, 0.1, 100, "test", 360, "dynamic", 0, 0)


def two_level() -> VAE:
    return tfvae.build(
        SHAPE,
        latent_size=3,
        upper_latent_sizes=(2,),
        upper_hidden_sizes=(4,),
        hidden_sizes=(5,),
    )


def conditional() -> VAE:
    return tfvae.build(
        SHAPE,
        condition=OneHot(4),
        prior="conditional",
        latent_size=2,
        hidden_sizes=(5,),
    )


def semi_supervised() -> VAE:
    return SemiSupervisedVAE(
        mlp(SHAPE, (4,), [5], **GIVEN),
        mlp((2,), SHAPE, [5], **GIVEN),
        mlp(SHAPE, (4,), [5]),
        class_probabilities=[0.1, 0.2, 0.3, 0.4],
    )


def of_users_networks() -> VAE:
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(6),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.LayerNormalization(),
            layers.Dense(4),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(64),
            layers.Activation("tanh"),
            layers.Reshape(SHAPE),
        ]
    )
    return VAE(encoder, decoder)


MODELS = {
    "normal": tiny_vae,
    "binconcrete": lambda: tiny_vae("bin_concrete", "conv"),
    "flow": lambda: tiny_vae("flow"),
    "mixture prior": lambda: tfvae.build(
        SHAPE, prior="mixture", latent_size=2, hidden_sizes=(5,), objective="iwae"
    ),
    "missing": lambda: tiny_vae().with_missing("mar"),
    "two layers": two_level,
    "conditional": conditional,
    "semi-supervised": semi_supervised,
    "a user's networks": of_users_networks,
}


def trained(name: str) -> VAE:
    """A model whose weights and optimizer have moved."""
    vae = MODELS[name]()
    if not vae.compiled:
        vae.compile("adam", "iwae", 2)
    vae.fit(X, beside(vae), batch_size=10, verbose=0)
    return vae


def beside(vae: VAE) -> np.ndarray | None:
    return CLASSES if vae.role_beside else None


def bounds(vae: VAE) -> np.ndarray:
    roles = {"x": X}
    if vae.role_beside:
        roles[vae.role_beside] = CLASSES
    return np.asarray(vae.log_weight_terms(roles, 3, seed=5).log_weights())


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", MODELS)
def test_a_preset_gives_the_same_log_weights_bit_for_bit_and_trains_on(name, tmp_path):
    vae = trained(name)
    vae.save_to_preset(tmp_path / "preset")
    loaded = VAE.from_preset(tmp_path / "preset")
    assert type(loaded) is type(vae) and not loaded.compiled
    assert int(loaded.steps) == 2
    before = bounds(loaded)
    np.testing.assert_array_equal(before, bounds(vae))
    loaded.compile("adam", "elbo")
    loaded.fit(X, beside(loaded), batch_size=10, verbose=0)
    assert np.abs(bounds(loaded) - before).max() > 0.01


def test_the_folder_has_no_optimizer_and_says_what_it_is(tmp_path):
    vae, folder = trained("normal"), tmp_path / "of" / "mine"
    card = PresetCard("a test", trained_on="noise", scores=(SCORE,), licence="CC0")
    vae.save_to_preset(folder, card)
    names = {"config.json", "metadata.json", "model.weights.h5", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    with h5py.File(folder / "model.weights.h5") as root:
        assert "optimizer" not in root and "encoder" in root
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["parameter_count"] == vae.count_params()
    assert metadata["keras_version"] == keras.__version__
    assert metadata["tfvae_version"] == tfvae.__version__
    config = json.loads((folder / "config.json").read_text())
    assert config["registered_name"] == "tfvae>VAE" and "compile_config" not in config
    text = (folder / "README.md").read_text()
    for said in ("# mine", "a test", "noise", "L_100 = -20.50", "CC0", "iwae of 2"):
        assert said in text, said
    found = read_preset(folder)
    assert found.card == dataclasses.replace(
        card, objective="iwae of 2 by pathwise", steps=2
    )


def test_classes_are_held_to(tmp_path):
    semi_supervised().save_to_preset(tmp_path / "m2")
    tiny_vae().save_to_preset(tmp_path / "vae")
    assert type(VAE.from_preset(tmp_path / "m2")) is SemiSupervisedVAE
    assert type(SemiSupervisedVAE.from_preset(tmp_path / "m2")) is SemiSupervisedVAE
    with pytest.raises(InputError, match="is a VAE, which is no SemiSupervisedVAE"):
        SemiSupervisedVAE.from_preset(tmp_path / "vae")


@keras.saving.register_keras_serializable(package="tests_of_presets")
class Own(VAE):
    pass


class Unregistered(VAE):
    pass


def of_class(kind: type) -> VAE:
    vae = tiny_vae()
    return kind(vae.encoder, vae.decoder, vae.latent)


def test_a_registered_class_of_a_user_is_loaded_and_another_is_refused(tmp_path):
    of_class(Own).save_to_preset(tmp_path / "own")
    assert type(VAE.from_preset(tmp_path / "own")) is Own
    with pytest.raises(InputError, match="is not registered"):
        of_class(Unregistered).save_to_preset(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    rewrite(tmp_path / "own", "metadata.json", "tests_of_presets>Own", "else>Own")
    with pytest.raises(InputError, match="'else>Own', which is not known here"):
        VAE.from_preset(tmp_path / "own")


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["mixture prior", "conditional", "a user's networks"])
def test_fresh_weights_are_a_function_of_the_seed(name, tmp_path):
    trained(name).save_to_preset(tmp_path / "preset")

    def fresh(seed):
        return VAE.from_preset(tmp_path / "preset", load_weights=False, seed=seed)

    one, again, other = fresh(1), fresh(1), fresh(2)
    np.testing.assert_array_equal(bounds(one), bounds(again))
    assert int(one.steps) == 0
    pairs = list(zip(one.get_weights(), other.get_weights(), strict=True))
    drawn = [np.any(a != b) for a, b in pairs if a.ndim == 2 and np.any(a)]
    assert len(drawn) > 1 and all(drawn)
    with pytest.raises(InputError, match="has no effect"):
        VAE.from_preset(tmp_path / "preset", seed=1)


# -- What is refused -------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "preset"
    tiny_vae().save_to_preset(path)
    return path


@pytest.fixture
def preset(saved, tmp_path):
    """A copy, to be damaged."""
    copy = tmp_path / "preset"
    copy.mkdir()
    for path in saved.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def rewrite(folder, name, before, after) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))


def signed(folder) -> None:
    """Makes the digests those of the files, as whoever means harm can."""
    content = json.loads((folder / "metadata.json").read_text())
    for name in content["sha256"]:
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        content["sha256"][name] = found
    (folder / "metadata.json").write_text(json.dumps(content))


def with_metadata(**changes):
    def change(folder):
        content = json.loads((folder / "metadata.json").read_text())
        content = {**content, **changes}
        content = {k: v for k, v in content.items() if v is not None}
        (folder / "metadata.json").write_text(json.dumps(content))

    return change


CARD = PresetCard(scores=(SCORE,)).to_dict()


def with_score(**changes):
    return with_metadata(card={**CARD, "scores": [{**CARD["scores"][0], **changes}]})


def with_config(change):
    def changed(folder):
        content = json.loads((folder / "config.json").read_text())
        content = change(content) or content
        (folder / "config.json").write_text(json.dumps(content))
        signed(folder)

    return changed


def with_kernel(**how):
    def changed(folder):
        with h5py.File(folder / "model.weights.h5", "a") as root:
            hostile.replaced(root, **how)
        signed(folder)

    return changed


def with_link(folder):
    with h5py.File(folder / "model.weights.h5", "a") as root:
        hostile.linked(root, h5py.ExternalLink("/etc/passwd", "x"))
    signed(folder)


def flip(folder):
    path = folder / "model.weights.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def as_pipe(folder):
    (folder / "metadata.json").unlink()
    os.mkfifo(folder / "metadata.json")


def longer(name, size):
    return lambda folder: os.truncate(folder / name, size)


def unbuilt(config):
    """Another size, which the weights could have, and do not."""
    network = config["config"]["encoder"]["config"]["network"]["config"]
    dense = [e for e in network["layers"] if e["class_name"] == "Dense"]
    dense[0]["config"]["units"] = 9


DAMAGED = {
    "no config": (lambda p: (p / "config.json").unlink(), "lacks config.json"),
    "no weights": (lambda p: (p / "model.weights.h5").unlink(), "lacks model.w"),
    "no JSON": (lambda p: (p / "metadata.json").write_text("{"), "is damaged"),
    "a list": (lambda p: (p / "metadata.json").write_text("[]"), "no JSON object"),
    "no digests": (with_metadata(sha256=None), "lacks 'sha256'"),
    "digests of none": (with_metadata(sha256={}), "not the one that"),
    "a text for a number": (with_metadata(parameter_count="all"), "parameter_count"),
    "another number": (with_metadata(parameter_count=9), "9 parameters"),
    "an unknown field": (
        with_metadata(card={**CARD, "score": 1}),
        "'score'",
    ),
    "a card with NaN": (with_score(value=float("nan")), "value nan"),
    "a card with text": (with_score(value="high"), "value 'high'"),
    "fewer than no samples": (with_score(num_samples=-3), "num_samples -3"),
    "a share above 1": (with_score(accuracy=7), "accuracy 7"),
    "steps of text": (with_metadata(card={**CARD, "steps": "x"}), "steps 'x'"),
    "a date that is none": (with_metadata(date_saved=5), "date_saved 5"),
    "a version that is none": (with_metadata(tfvae_version=[1]), "tfvae_version"),
    "a pipe": (as_pipe, "is no file"),
    "a flipped bit": (flip, "model.weights.h5 is not the one"),
    "an edited config": (
        lambda p: rewrite(p, "config.json", '"units": 8', '"units": 7'),
        "config.json is not the one",
    ),
    "deep JSON": (with_metadata(card=json.loads("[" * 900 + "]" * 900)), "card"),
    "huge JSON": (longer("config.json", 9 << 20), "bytes"),
    "huge weights": (longer("model.weights.h5", 1 << 40), "are the most"),
    "short weights": (longer("model.weights.h5", 99), "not the one"),
    "a list for a config": (with_config(lambda c: [c]), "holds no model"),
    "another class": (
        with_config(lambda c: {**c, "registered_name": "tfvae>SemiSupervisedVAE"}),
        "another class",
    ),
    "another size": (with_config(unbuilt), "is damaged"),
    "a kernel of another shape": (
        with_kernel(shape=(3, 2), dtype="float32"),
        "does not hold the weights",
    ),
    "a kernel elsewhere": (with_link, "have a link"),
    "a kernel that is promised": (
        with_kernel(shape=(1 << 20, 8), dtype="float32", chunks=(8, 8)),
        "promise",
    ),
    "a kernel of objects": (
        with_kernel(shape=(3, 8), dtype=h5py.string_dtype()),
        "plain array",
    ),
}


@pytest.mark.quick(6)
@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_one_line(name, preset):
    change, said = DAMAGED[name]
    change(preset)
    with pytest.raises(InputError) as caught:
        VAE.from_preset(preset)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert str(preset) in str(caught.value)


PAYLOADS = {
    "a lambda": hostile.lambda_layer,
    "a lambda of ours": lambda m: {
        **hostile.lambda_layer(m),
        "registered_name": "tfvae>Lambda",
    },
    "os.mknod": lambda m: hostile.called("os", "mknod", path=str(m)),
    "a SavedModel": lambda m: hostile.called(
        "keras.layers", "TFSMLayer", filepath=str(m.parent)
    ),
    "a lambda under another module": lambda m: hostile.called(
        "keras", "Lambda", function=str(m)
    ),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("where", ["a layer", "latent", "dtype"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_is_executed(name, where, preset, tmp_path):
    marker = tmp_path / "marker"
    payload = PAYLOADS[name](marker)

    def change(config):
        if where != "a layer":
            config["config"][where] = payload
            return
        network = config["config"]["decoder"]["config"]["network"]["config"]
        network["layers"][-1] = {**network["layers"][-1], **payload}

    with_config(change)(preset)
    with pytest.raises(InputError, match="is not let through"):
        VAE.from_preset(preset)
    assert not marker.exists()


def test_a_model_that_would_be_refused_is_not_saved(tmp_path):
    inputs = keras.Input(SHAPE)
    outputs = keras.layers.Dense(6)(keras.layers.Flatten()(inputs))
    outputs = keras.layers.Lambda(lambda x: x)(outputs)
    vae = VAE(keras.Model(inputs, outputs), tiny_vae().decoder)
    with pytest.raises(InputError, match="Lambda"):
        vae.save_to_preset(tmp_path / "preset")
    assert not list(tmp_path.iterdir())


def test_nothing_that_is_there_is_written_over(saved, tmp_path):
    before = hostile.snapshot(saved)
    with pytest.raises(InputError, match="is there"):
        tiny_vae(seed=1).save_to_preset(saved)
    assert hostile.snapshot(saved) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is there"):
        tiny_vae().save_to_preset(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        tiny_vae().save_to_preset(tmp_path / "file" / "below")
    with pytest.raises(InputError, match="PresetCard"):
        tiny_vae().save_to_preset(tmp_path / "new", {"description": "x"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"description": object()}, "description <object"),
        ({"steps": "many"}, "steps 'many'"),
        ({"steps": float("nan")}, "steps nan"),
        ({"scores": ("x",)}, "give a tuple of PresetScore"),
        ({"scores": 5}, "give a tuple of PresetScore"),
        ({"settings": {}}, "give a tfvae Config"),
    ],
)
def test_a_card_of_what_is_none_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        PresetCard(**fields)


def test_a_score_of_one_example_has_no_error():
    score = dataclasses.replace(SCORE, standard_error=None, num_examples=1)
    assert "-20.50 +- ? nats" in str(score)
    assert PresetCard.from_dict(PresetCard(scores=(score,)).to_dict()).scores == (
        score,
    )


def test_a_folder_with_the_name_of_a_preset_is_not_taken_in_silence(
    saved, tmp_path, monkeypatch
):
    shutil.copytree(saved, tmp_path / "digits-cvae")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=r"give '\./digits-cvae' for the folder"):
        packaged = VAE.from_preset("digits-cvae")
    assert packaged.condition is not None
    assert VAE.from_preset("./digits-cvae").condition is None
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, and no folder"):
        VAE.from_preset("file")
    with pytest.raises(InputError, match="load_weights 'no'"):
        VAE.from_preset("digits-cvae", load_weights="no")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "preset None"),
        ("", "preset ''"),
        ("digits-bincrete", "did you mean 'digits-binconcrete'"),
        ("kaggle://a/b", "hf://USER/NAME"),
        ("hf://alone", "hf://USER/NAME"),
        ("hf://a/../b", "hf://USER/NAME"),
    ],
)
def test_what_is_no_preset_is_said(given, said):
    with pytest.raises(InputError) as caught:
        VAE.from_preset(given)
    assert said in str(caught.value)


# -- The hub ---------------------------------------------------------------------------


def test_without_its_package_the_hub_is_refused_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'tfvae\[hub\]'"):
        VAE.from_preset("hf://someone/model")


@pytest.fixture
def hub(saved, tmp_path, monkeypatch):
    """The cache of Hugging Face's package, offline, which holds someone/model."""
    pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--model"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs").mkdir()
    for path in saved.iterdir():  # as the package does: links to blobs
        (repository / "blobs" / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return commit


def test_an_address_of_the_hub_is_loaded_by_its_own_code(hub, saved):
    wanted = bounds(VAE.from_preset(saved))
    for address in ("hf://someone/model", f"hf://someone/model@{hub}"):
        np.testing.assert_array_equal(bounds(VAE.from_preset(address)), wanted)
    with pytest.raises(InputError, match="hf://someone/other' cannot be had"):
        VAE.from_preset("hf://someone/other")


def test_damage_from_the_hub_is_found(hub, tmp_path):
    blobs = tmp_path / "hub" / "models--someone--model" / "blobs"
    flip(blobs)
    with pytest.raises(InputError, match="model.weights.h5 is not the one"):
        VAE.from_preset("hf://someone/model")


# -- The package's own -----------------------------------------------------------------


def test_the_attribute_lists_what_the_class_loads():
    assert set(SemiSupervisedVAE.presets) < set(VAE.presets)
    for name, preset in VAE.presets.items():
        assert preset.description and preset.num_parameters > 0, name
