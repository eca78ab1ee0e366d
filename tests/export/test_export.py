"""What is exported gives the model's own numbers, without this package."""

from __future__ import annotations

import json
import os
import pathlib
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import IMAGE_SHAPE, slow_but, tiny_vae
from tensorflow_serving.apis import prediction_log_pb2

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.export import export_saved_model, verify_saved_model
from tfvae.export.layout import ANSWERS, CARD, REQUESTS, WARMUP, to_columns, to_rows
from tfvae.export.versions import next_version
from tfvae.latents import LATENTS
from tfvae.models import VAE
from tfvae.reports.exporting import _card
from tfvae.training.runs import Run, RunRecord, check_workdir, versions

RNG = np.random.default_rng(0)
BITS = (RNG.random((5, *IMAGE_SHAPE)) < 0.3).astype(np.float32)
GREY = np.float32(RNG.random((5, *IMAGE_SHAPE)))
SEEDS = np.array([[1, 2], [3, 4], [-5, 6], [2**31 - 1, -(2**31)], [0, 0]], np.int32)
SAMPLES = 7  # K of the signature score
# float32 sums of 64 terms in another order
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


class Served(NamedTuple):
    """A model, and what its exported self answers."""

    vae: VAE
    path: os.PathLike
    ask: dict


@pytest.fixture(scope="module", params=slow_but(("normal", "bernoulli"), LATENTS))
def served(request, tmp_path_factory) -> Served:
    vae = tiny_vae(request.param)
    folder = tmp_path_factory.mktemp("served") / request.param
    path = export_saved_model(vae, folder, num_samples=SAMPLES, examples=GREY[:3])
    loaded = tf.saved_model.load(str(path))
    ask = {
        name: lambda _f=function, **inputs: {
            key: value.numpy()
            for key, value in _f(
                **{k: tf.constant(v) for k, v in inputs.items()}
            ).items()
        }
        for name, function in loaded.signatures.items()
    }
    ask["kept alive"] = loaded
    return Served(vae, path, ask)


def numbers(tensors) -> dict:
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}


def assert_same(found, expected, **tolerances):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(
            found[name], value, err_msg=name, **(tolerances or CLOSE)
        )


# -- the numbers -----------------------------------------------------------------------


@pytest.mark.quick(1)
def test_encode_and_reconstruct_give_the_models_numbers(served):
    vae, _, ask = served
    posterior = numbers(vae.encoder.head.named_params(vae.encode(BITS)))
    assert_same(ask["encode"](x=BITS), posterior)
    assert_same(ask["serving_default"](x=BITS), posterior)
    means = {"mean": vae.reconstruct(BITS).numpy()}
    assert_same(ask["reconstruct"](x=BITS), means)


def test_sample_and_decode_give_the_models_numbers(served):
    vae, _, ask = served
    drawn = ask["sample"](seed=SEEDS)
    for row, seed in enumerate(SEEDS):
        one = vae.sample(1, seed=tf.constant(seed))
        np.testing.assert_allclose(drawn["z"][row], one.z[0], **CLOSE)
        np.testing.assert_allclose(drawn["mean"][row], one.mean[0], **CLOSE)
    assert_same(ask["decode"](z=drawn["z"]), {"mean": drawn["mean"]})


def test_score_gives_the_models_log_weights(served):
    vae, _, ask = served
    found = ask["score"](x=BITS, seed=SEEDS)
    for row, seed in enumerate(SEEDS):
        terms = vae.log_weight_terms(BITS[row : row + 1], SAMPLES, tf.constant(seed))
        log_weights = np.float64(terms.log_weights())[:, 0]
        expected = {
            "elbo": log_weights.mean(),
            "iwae": np.log(np.mean(np.exp(log_weights - log_weights.max())))
            + log_weights.max(),
            "rate": np.mean(terms.rate),
            "distortion": -np.mean(terms.log_likelihood),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][row], value, rtol=1e-5, atol=1e-4)


# -- a server's rules ------------------------------------------------------------------


def test_a_rows_answer_does_not_depend_on_its_batch(served):
    """To the rounding of products of other sizes; draws are the same."""
    _, _, ask = served
    z = ask["sample"](seed=SEEDS)["z"]
    inputs = {
        "encode": {"x": GREY},
        "reconstruct": {"x": GREY},
        "decode": {"z": z},
        "sample": {"seed": SEEDS},
        "score": {"x": GREY, "seed": SEEDS},
    }
    for name, asked in inputs.items():
        together = ask[name](**asked)
        assert all(len(value) == len(SEEDS) for value in together.values())
        alone = ask[name](**{key: value[2:3] for key, value in asked.items()})
        tolerances = {"rtol": 1e-5, "atol": 1e-4} if name == "score" else CLOSE
        assert_same({k: v[2:3] for k, v in together.items()}, alone, **tolerances)


def test_whatever_goes_in_what_comes_out_is_finite(served):
    vae, _, ask = served
    bad = np.array([np.nan, np.inf, -np.inf, 1e38, -7.0, 0.5], np.float32)
    x = np.stack([np.full(IMAGE_SHAPE, value) for value in bad])
    z = np.stack([np.full(vae.latent.event_shape, value) for value in bad])
    seed = np.full((len(bad), 2), -(2**31), np.int32)
    for name, asked in {
        "encode": {"x": x},
        "reconstruct": {"x": x},
        "score": {"x": x, "seed": seed},
        "decode": {"z": z.astype(np.float32)},
        "sample": {"seed": seed},
    }.items():
        for key, value in ask[name](**asked).items():
            assert np.isfinite(value).all(), (name, key)
    # What is no number counts as black, and what is too bright as white.
    encoded = ask["encode"](x=x)
    for value in encoded.values():
        np.testing.assert_allclose(value[0], value[2], **CLOSE)
        np.testing.assert_allclose(value[1], value[3], **CLOSE)


@pytest.mark.parametrize("size", [1, 2, 64, 1024])
def test_one_trace_answers_every_batch_size(served, size):
    """A signature is one graph; the server has no Python to trace another."""
    _, _, ask = served
    x = np.resize(GREY, (size, *IMAGE_SHAPE))
    for value in ask["encode"](x=x).values():
        assert value.shape[0] == size
    assert ask["sample"](seed=np.zeros((size, 2), np.int32))["z"].shape[0] == size


# -- pixels ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def polled(tmp_path_factory) -> tuple[Served, dict[str, set[str]]]:
    """A model, and what who polls its folder sees of each version at first."""
    vae, folder = tiny_vae(), tmp_path_factory.mktemp("models") / "normal"
    done, seen = threading.Event(), {}

    def poll():
        while not done.is_set():
            for version in folder.glob("[0-9]*"):
                if version.name not in seen:
                    files = {str(p.relative_to(version)) for p in version.rglob("*")}
                    seen[version.name] = files
            time.sleep(0.001)

    server = threading.Thread(target=poll)
    server.start()
    try:
        path = export_saved_model(vae, folder, num_samples=2)
        time.sleep(0.05)
    finally:
        done.set()
        server.join()
    return Served(vae, path, tf.saved_model.load(str(path)).signatures), seen


@pytest.fixture(scope="module")
def normal(polled) -> Served:
    return polled[0]


@pytest.mark.slow
def test_grey_pixels_are_what_they_most_probably_were_in_training(normal):
    found = numbers(normal.ask["encode"](x=tf.constant(GREY)))
    expected = normal.vae.encode(np.float32(GREY >= 0.5))
    assert_same(found, numbers(normal.vae.encoder.head.named_params(expected)))


def test_the_score_of_grey_pixels_draws_them_as_in_training(normal):
    """The mean over seeds is that of binarised images, five standard errors."""
    grey = np.full((4000, *IMAGE_SHAPE), 0.5, np.float32)
    seed = np.stack([np.zeros(4000), np.arange(4000)], 1).astype(np.int32)
    found = normal.ask["score"](x=tf.constant(grey), seed=tf.constant(seed))
    drawn = (RNG.random(grey.shape) < 0.5).astype(np.float32)
    expected = normal.ask["score"](x=tf.constant(drawn), seed=tf.constant(seed + 1))
    one, other = found["distortion"].numpy(), expected["distortion"].numpy()
    error = np.sqrt((one.var() + other.var()) / 4000)
    assert abs(one.mean() - other.mean()) < 5 * error
    assert one.std() > 0


@pytest.mark.parametrize("name", ["encode", "reconstruct", "score"])
def test_uint8_images_are_the_same_images(normal, name):
    levels = RNG.integers(0, 256, (5, *IMAGE_SHAPE)).astype(np.uint8)
    more = {"seed": tf.constant(SEEDS)} if name == "score" else {}
    found = normal.ask[f"{name}_uint8"](x=tf.constant(levels), **more)
    grey = tf.constant(np.float32(levels) / np.float32(255))
    assert_same(numbers(found), numbers(normal.ask[name](x=grey, **more)))


@pytest.fixture(scope="module")
def levels(tmp_path_factory) -> dict:
    """The signatures of a model of grey levels, trained with another policy."""
    vae = tiny_vae(head="discretized_logistic", dtype="mixed_bfloat16")
    folder = tmp_path_factory.mktemp("models") / "levels"
    path = export_saved_model(vae, folder, num_samples=2)
    loaded = tf.saved_model.load(str(path))
    return {**loaded.signatures, "kept alive": loaded}


@pytest.mark.slow
def test_a_model_of_grey_levels_is_given_levels(levels):
    exact = np.round(GREY * 255) / np.float32(255)
    found = levels["score"](x=tf.constant(GREY), seed=tf.constant(SEEDS))
    expected = levels["score"](x=tf.constant(exact), seed=tf.constant(SEEDS))
    assert_same(numbers(found), numbers(expected))
    assert np.isfinite(found["iwae"]).all()


def test_float32_comes_out_whatever_the_training_policy(levels):
    for name in set(levels) - {"kept alive"}:
        for spec in levels[name].structured_outputs.values():
            assert spec.dtype == tf.float32


# -- what lies beside it ---------------------------------------------------------------


def test_recorded_requests_are_answered_by_the_rules_of_a_rest_server(served):
    """Row format: named columns of one length, and one column alone without a name."""
    _, path, ask = served
    card = json.loads((path / CARD).read_text())
    assert set(card["signatures"]) == set(ask) - {"serving_default", "kept alive"}
    for name, signature in card["signatures"].items():
        request = json.loads((path / REQUESTS / f"{name}.json").read_text())
        assert request["signature_name"] == name
        columns = to_columns(request["instances"], list(signature["inputs"]))
        inputs = {
            key: np.asarray(column, signature["inputs"][key]["dtype"])
            for key, column in columns.items()
        }
        answer = json.loads((path / ANSWERS / f"{name}.json").read_text())
        rows = to_rows(ask[name](**inputs), single_plain=True)
        assert answer["predictions"] == rows
        for key, described in signature["inputs"].items():
            assert described["shape"][1:] == list(inputs[key].shape[1:])


def test_the_warm_up_has_every_signature_with_tensors_that_it_takes(served):
    _, path, ask = served
    asked = set()
    for record in tf.data.TFRecordDataset(str(path / WARMUP)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        name = request.model_spec.signature_name
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        assert ask[name](**inputs)
        asked.add((name, len(next(iter(inputs.values())))))
    names = set(ask) - {"serving_default", "kept alive"}
    assert asked == {(name, rows) for name in names for rows in (1, 3)}


def test_a_process_with_tensorflow_alone_answers_the_same(normal):
    found = verify_saved_model(normal.path.parent)
    assert found.path == normal.path
    assert set(found.signatures) == set(normal.ask) - {"serving_default"}
    for row in found.signatures.values():
        assert row["rows"] == 2 and row["TF2"] < 1e-5 and row["session"] < 1e-5


@pytest.mark.slow
def test_tensorflows_own_command_runs_every_signature(normal, tmp_path, fresh_python):
    arrays = {"z": np.zeros((5, 3), np.float32), "seed": SEEDS, "x": GREY}
    np.savez(tmp_path / "float.npz", **arrays)
    np.savez(tmp_path / "uint8.npz", **arrays | {"x": np.uint8(GREY * 255)})
    script = """
import sys
sys.modules.update(dict.fromkeys(("tfvae", "keras", "tensorflow_probability")))
from absl import flags
from tensorflow.python.tools import saved_model_cli
model, folder, *names = sys.argv[1:]
for name in names:
    file = folder + ("/uint8.npz" if "uint8" in name else "/float.npz")
    keys = {"decode": "z", "sample": "seed"}.get(name, "x").split()
    keys += ["seed"] if "score" in name else []
    flags.FLAGS(["saved_model_cli", "--dir", model, "--tag_set", "serve",
                 "--signature_def", name,
                 "--inputs", ";".join(f"{key}={file}[{key}]" for key in keys)])
    saved_model_cli.run()
    print("ran", name)
"""
    names = sorted(set(normal.ask) - {"serving_default"})
    output = fresh_python(script, normal.path, tmp_path, *names).stdout
    assert output.count("ran ") == len(names) == 8
    assert "nan" not in output


# -- versions --------------------------------------------------------------------------


def publish(folder: pathlib.Path) -> pathlib.Path:
    """Writes the next version as an export does, with a file for a model."""
    with next_version(folder) as written:
        written[0].mkdir()
        (written[0] / "saved_model.pb").write_text("ours")
    return written[0]


def test_versions_count_up_and_stay(tmp_path):
    assert publish(tmp_path / "model").name == "1"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "model" / "1").rglob("*")}
    (tmp_path / "model" / "7").mkdir()
    assert publish(tmp_path / "model").name == "8"
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["1", "7", "8"]
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "model" / "1").rglob("*")}
    assert before == after


def test_who_polls_the_folder_sees_whole_versions_alone(polled):
    served, seen = polled
    assert set(seen) == {"1"}
    whole = {str(p.relative_to(served.path)) for p in served.path.rglob("*")}
    assert seen["1"] == whole and WARMUP in whole and "saved_model.pb" in whole


def test_a_number_that_another_exporter_took_is_not_taken_again(tmp_path, monkeypatch):
    """The folder appears after this one has counted, as with two at a time."""
    rename, folder = os.rename, tmp_path / "model"

    def late(source, target):
        if not (folder / "1").exists():
            (folder / "1").mkdir()
            (folder / "1" / "saved_model.pb").write_text("theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert publish(folder).name == "2"
    assert (folder / "1" / "saved_model.pb").read_text() == "theirs"


def test_a_version_that_cannot_be_published_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(InputError, match="No space left on device"):
        publish(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", ["file", "foreign"])
def test_other_peoples_files_are_left_alone(kind, tmp_path):
    path = tmp_path / "model"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        export_saved_model(tiny_vae(), path)
    assert str(path) in str(caught.value)
    kept = path if kind == "file" else path / "thesis.tex"
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"binarization": "none"}, "'none'"),
        ({"binarization": "sometimes"}, "'sometimes'"),
        ({"num_samples": 0}, "--num-samples. 0"),
        ({"num_samples": 10**11}, "give 1048576 at most"),
        ({"value_range": (0, 2)}, "from 0 to 1"),
        ({"value_range": (1, 0)}, r"value_range \(1, 0\)"),
        ({"value_range": None}, "value_range None"),
        ({"card": {"loss": float("nan")}}, "card is not usable"),
        ({"card": {"loss": np.float32(1)}}, "card is not usable"),
        ({"examples": [[1.0], [2.0, 3.0]]}, r"\(0,\)"),
        ({"examples": BITS[:0]}, r"\(0, 8, 8, 1\)"),
        ({"examples": BITS[:, :4]}, r"\(5, 4, 8, 1\)"),
        ({"examples": BITS * 2}, "outside"),
        ({"examples": BITS + np.nan}, "outside"),
        ({"examples": BITS.astype(np.uint8)}, "uint8"),
    ],
)
def test_bad_arguments_are_one_line_and_nothing_is_written(arguments, said, tmp_path):
    with pytest.raises(InputError, match=said) as caught:
        export_saved_model(tiny_vae(), tmp_path / "model", **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("head", ["poisson", "negative_binomial"])
def test_a_model_of_counts_is_not_served(head, tmp_path):
    with pytest.raises(InputError, match="counts"):
        export_saved_model(tiny_vae(head=head), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_of_other_values_is_served_in_their_range(tmp_path):
    vae = tiny_vae(head="normal")
    how = {"num_samples": 2, "value_range": (-3.0, 3.0)}
    ask = tf.saved_model.load(
        str(export_saved_model(vae, tmp_path / "model", **how))
    ).signatures
    assert not any("uint8" in name for name in ask)
    x = np.float32(RNG.uniform(-4, 4, (5, *IMAGE_SHAPE)))
    expected = vae.encoder.head.named_params(vae.encode(np.clip(x, -3, 3)))
    assert_same(numbers(ask["encode"](x=tf.constant(x))), numbers(expected))


@pytest.mark.slow
def test_a_model_that_answers_with_nan_is_not_published(tmp_path):
    vae = tiny_vae()
    vae.set_weights([weight * np.nan for weight in vae.get_weights()])
    with pytest.raises(InputError, match="'encode' answers with mean that is not fin"):
        export_saved_model(vae, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_exporters_with_one_process_number_keep_apart(tmp_path, monkeypatch):
    """As in two containers that share a folder: in each, the program is process 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with next_version(tmp_path / "model") as first:
        with next_version(tmp_path / "model") as second:
            for written, text in ((first, "first"), (second, "second")):
                written[0].mkdir()
                (written[0] / "saved_model.pb").write_text(text)
    published = {p.parent.name: p.read_text() for p in tmp_path.glob("model/*/*")}
    assert published == {"1": "second", "2": "first"}


def test_records_of_a_run_name_no_folder_of_its_machine():
    config = Config(dataset="npz:/home/ada/secret/bits.npz", data_dir="/home/ada/tfds")
    data = {"name": config.dataset, "source": "/home/ada/secret/bits.npz"}
    folder = check_workdir("no-such-run")
    run = Run(folder, RunRecord(config, data, versions()), tiny_vae())
    card = _card(run, "bits")
    assert "/home" not in json.dumps(card)
    assert card["training"]["dataset"] == "npz:bits.npz"
