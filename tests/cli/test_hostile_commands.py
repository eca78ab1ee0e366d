"""Damaged and hostile runs: one line, status 2, and nothing in the folder changes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import pickle
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import hostile_files as hostile

from tfvae import cli

pytestmark = pytest.mark.usefixtures("eagerly")

TRAIN = (
    "digits-binconcrete --epochs 1 --latent-size 3 --hidden-sizes 8 --batch-size 10"
).split()

# Each command on a run; {good} is another, whole one.
COMMANDS = {
    "evaluate": "evaluate {run} --num-samples 2 --limit 3",
    "compare": "compare {good} {run} --num-samples 2 --limit 3",
    "detect": "detect {run} npz:{data} --out {new} --num-samples 2 --alpha 0.5",
    "impute": "impute {run} {data} --out {new} --num-samples 2",
    "plot": "plot {run} samples",
    "report": "report {run}",
    "export": "export {run} {new} --num-samples 2",
    "train": f"train {' '.join(TRAIN)} --workdir {{run}} --dataset npz:{{data}}",
}
# A training goes on from checkpoints, which have tests of their own.
READERS = [name for name in COMMANDS if name != "train"]
MODEL = "model.keras"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run on forty images, and the data beside it."""
    return hostile.good_run(tmp_path_factory.mktemp("good"), [*TRAIN])


@pytest.fixture
def paths(good, tmp_path):
    run = shutil.copytree(good, tmp_path / "run")
    names = {"good": good, "data": good.parent / "data.npz", "new": tmp_path / "new"}
    return {"run": run, **names}


def refused(command: str, paths: dict, said: str, capsys) -> None:
    words = [word.format(**paths) for word in command.split()]
    hostile.refused(words, paths["run"].parent, said, capsys)


def edited(run: pathlib.Path, **changes: object) -> None:
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def with_setting(run: pathlib.Path, **settings: object) -> None:
    config = json.loads((run / "config.json").read_text())["config"]
    edited(run, config={**config, **settings})


def without_setting(run: pathlib.Path, name: str) -> None:
    path = run / "config.json"
    content = json.loads(path.read_text())
    del content["config"][name]
    path.write_text(json.dumps(content))


def truncated(path: pathlib.Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def piped(path: pathlib.Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def linked(path: pathlib.Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def made_folder(path: pathlib.Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


# What is done to a run's config.json, and what the line must hold.
CONFIG = {
    "empty": (lambda r: (r / "config.json").write_text(""), "cannot be read"),
    "truncated": (lambda r: truncated(r / "config.json", 300), "cannot be read"),
    "a list": (lambda r: (r / "config.json").write_text("[1, 2]"), "'config'"),
    "a number": (lambda r: (r / "config.json").write_text("5"), "'config'"),
    "null": (lambda r: (r / "config.json").write_text("null"), "'config'"),
    "nested": (
        lambda r: (r / "config.json").write_text("[" * 200_000),
        "cannot be read",
    ),
    "100 MB": (
        lambda r: (r / "config.json").write_bytes(b" " * 100_000_000 + b"{}"),
        "100,000,002 bytes",
    ),
    "not UTF-8": (lambda r: (r / "config.json").write_bytes(b"{\xff}"), "utf-8"),
    "long number": (
        lambda r: (r / "config.json").write_text('{"config": ' + "9" * 9999 + "}"),
        "cannot be read",
    ),
    "a pipe": (lambda r: piped(r / "config.json"), "no file"),
    "a folder": (lambda r: made_folder(r / "config.json"), "no file"),
    "a link to nowhere": (
        lambda r: linked(r / "config.json", "no/where"),
        "config.json",
    ),
    "a link to itself": (
        lambda r: linked(r / "config.json", "config.json"),
        "config.json",
    ),
    "config a list": (lambda r: edited(r, config=[]), "'config'"),
    "config null": (lambda r: edited(r, config=None), "'config'"),
    "data a number": (lambda r: edited(r, data=5), "'data'"),
    "data a list": (lambda r: edited(r, data=[{}]), "'data'"),
    "versions a list": (lambda r: edited(r, versions=["2.21"]), "'versions'"),
    "versions text": (lambda r: edited(r, versions="2.21"), "'versions'"),
    "a later version's field": (lambda r: with_setting(r, depth=3), "'depth'"),
    "a later version's name": (lambda r: with_setting(r, latent="vmf"), "'vmf'"),
    "number as text": (lambda r: with_setting(r, epochs="1"), "epochs '1'"),
    "number as bool": (lambda r: with_setting(r, epochs=True), "epochs True"),
    "NaN": (lambda r: with_setting(r, kl_weight=float("nan")), "kl_weight nan"),
    "infinity": (lambda r: with_setting(r, kl_weight=float("inf")), "kl_weight inf"),
    "huge size": (lambda r: with_setting(r, latent_size=10**9), "latent_size"),
    "huge int": (lambda r: with_setting(r, seed=10**300), "seed"),
    "mapping as text": (lambda r: with_setting(r, dataset={"a": 1}), "dataset"),
    "escape codes": (lambda r: with_setting(r, optimizer="\x1b[2J\n"), r"\x1b[2J\n"),
}


def cases(table: dict, commands: list[str], each: int) -> list:
    """Pairs each entry of a table with some of the commands, by turns."""
    found = []
    for number, (name, (damage, said)) in enumerate(table.items()):
        for turn in range(each):
            step = turn * max(1, len(commands) // each)
            command = commands[(number + step) % len(commands)]
            case = pytest.param(command, damage, said, id=f"{command}-{name}")
            found.append(case)
    return found


@pytest.mark.quick(12)
@pytest.mark.parametrize(
    ("command", "damage", "said"), cases(CONFIG, list(COMMANDS), 2)
)
def test_a_damaged_configuration_is_one_line(command, damage, said, paths, capsys):
    damage(paths["run"])
    refused(COMMANDS[command], paths, said, capsys)


MIB = 1 << 20
DENSE = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}


def h5(change):
    return lambda run: hostile.with_weights(run / MODEL, change)


def member(name, content, packing=zipfile.ZIP_DEFLATED):
    return lambda run: hostile.rewrite(run / MODEL, {name: content}, packing)


def liar(run):
    hostile.rewrite(run / MODEL, {"config.json": bytes(90 * MIB)}, 8)
    hostile.lie(run / MODEL, "config.json", 1000)


def renamed(run, name):
    with zipfile.ZipFile(run / MODEL, "a") as archive:
        archive.writestr(name, "x")


def twice(run):
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(run / MODEL, "a") as archive,
    ):
        archive.writestr("config.json", "{}")


def sized(key, value):
    def change(config):
        layers = config["config"]["decoder"]["config"]["network"]["config"]["layers"]
        layers[1]["config"][key] = value

    return lambda run: hostile.with_config(run / MODEL, change)


MODELS = {
    "empty": (lambda r: (r / MODEL).write_bytes(b""), "damaged"),
    "no archive": (lambda r: (r / MODEL).write_bytes(b"PK\3\4no"), "damaged"),
    "truncated": (lambda r: truncated(r / MODEL, 3000), "damaged"),
    "a folder": (lambda r: made_folder(r / MODEL), "no file"),
    "a pipe": (lambda r: piped(r / MODEL), "no file"),
    "a link to nowhere": (lambda r: linked(r / MODEL, "no/where"), MODEL),
    "a byte of the weights": (
        lambda r: hostile.with_flipped_byte(r / MODEL, hostile.WEIGHTS),
        "CRC",
    ),
    "a byte of the configuration": (
        lambda r: hostile.with_flipped_byte(r / MODEL, hostile.CONFIG),
        "CRC",
    ),
    "no weights": (member(hostile.WEIGHTS, None), "lacks 'model.weights.h5'"),
    "no configuration": (member("config.json", None), "lacks 'config.json'"),
    "no metadata": (member("metadata.json", None), "lacks 'metadata.json'"),
    "weights that are text": (member(hostile.WEIGHTS, b"weights"), "damaged"),
    "empty weights": (member(hostile.WEIGHTS, b""), "damaged"),
    "configuration a list": (member("config.json", b"[]"), "damaged"),
    "configuration of another class": (member("config.json", b"{}"), "damaged"),
    "configuration not UTF-8": (member("config.json", b"\xff\xfe"), "damaged"),
    "nested configuration": (member("config.json", b"[" * 10**6), "damaged"),
    "a name with ..": (lambda r: renamed(r, "../../x"), "'../../x'"),
    "an absolute name": (lambda r: renamed(r, "/tmp/x"), "'/tmp/x'"),
    "an asset": (lambda r: renamed(r, "assets/vocabulary.txt"), "'assets/"),
    "a part twice": (twice, "twice"),
    "bomb in the configuration": (
        member("config.json", b" " * (90 * MIB)),
        "promises",
    ),
    "bomb in the weights": (member(hostile.WEIGHTS, bytes(90 * MIB)), "promises"),
    "long configuration": (member("config.json", b" " * (9 * MIB)), "longer than"),
    "long metadata": (member("metadata.json", b" " * (9 * MIB)), "longer than"),
    "bomb that lies": (liar, "damaged"),
    "bzip2": (member("config.json", b"{}", zipfile.ZIP_BZIP2), "packed"),
    "LZMA": (member("config.json", b"{}", zipfile.ZIP_LZMA), "packed"),
    "shape of terabytes": (
        h5(
            lambda f: hostile.replaced(f, shape=(2**20, 2**20), dtype="f4", chunks=True)
        ),
        "promise",
    ),
    "shape of a gigabyte": (
        h5(
            lambda f: hostile.replaced(f, shape=(2**14, 2**14), dtype="f4", chunks=True)
        ),
        "promise",
    ),
    "packed zeros": (
        h5(
            lambda f: hostile.replaced(
                f, data=np.zeros((2**11, 2**11), "f4"), compression="gzip"
            )
        ),
        "promise",
    ),
    "another shape": (
        h5(lambda f: hostile.replaced(f, data=np.zeros((2, 2), "f4"))),
        "damaged",
    ),
    "texts as weights": (
        h5(lambda f: hostile.replaced(f, data=np.array([["a"]], object))),
        "plain array",
    ),
    "weights in another file": (
        h5(lambda f: hostile.linked(f, h5py.ExternalLink("/etc/passwd", "/x"))),
        "link",
    ),
    "weights by a link": (
        h5(lambda f: hostile.linked(f, h5py.SoftLink("/nowhere"))),
        "link",
    ),
    "weights of raw bytes elsewhere": (
        h5(
            lambda f: hostile.replaced(
                f, shape=(4,), dtype="u1", external=[("/etc/passwd", 0, 4)]
            )
        ),
        "plain array",
    ),
    "a billion units": (sized("units", 10**9), "units 1000000000"),
    "as many as a float has": (sized("units", 1e300), "units 1e+300"),
    "units text": (sized("units", "many"), "damaged"),
}


@pytest.mark.quick(16)
@pytest.mark.parametrize(("command", "damage", "said"), cases(MODELS, READERS, 2))
def test_a_damaged_model_is_one_line(command, damage, said, paths, capsys):
    damage(paths["run"])
    refused(COMMANDS[command], paths, said, capsys)


PAYLOADS = {
    "a lambda": lambda m: hostile.lambda_layer(m),
    "a lambda of ours": lambda m: {
        **hostile.lambda_layer(m),
        "registered_name": "tfvae>Lambda",
    },
    "os.mknod": lambda m: hostile.called("os", "mknod", path=str(m)),
    "builtins.exec": lambda m: hostile.called(
        "builtins", "exec", source=f"__import__('os').mknod({str(m)!r})"
    ),
    "a module of the folder": lambda m: hostile.called("payload", "Layer"),
    "a module of ours that is not": lambda m: hostile.called("tfvae.payload", "Layer"),
    "a SavedModel": lambda m: hostile.called(
        "keras.layers", "TFSMLayer", filepath=str(m.parent)
    ),
    "a pickled torch module": lambda m: hostile.called(
        "keras.layers",
        "TorchModuleWrapper",
        module=base64.b64encode(pickle.dumps(hostile.Evil(m))).decode(),
    ),
    "another file's words": lambda m: hostile.called(
        "keras.layers", "StringLookup", vocabulary="/etc/passwd"
    ),
    "Keras' own settings": lambda m: hostile.called(
        "keras.config", "enable_unsafe_deserialization"
    ),
    "a download": lambda m: hostile.called(
        "keras.utils", "get_file", fname=str(m), origin="file:///etc/passwd"
    ),
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_no_code_of_a_model_is_executed(command, name, paths, capsys, monkeypatch):
    marker, folder = paths["run"].parent / "marker", paths["run"].parent
    (folder / "payload.py").write_text(f"import os\nos.mknod({str(marker)!r})\n")
    monkeypatch.syspath_prepend(folder)
    hostile.with_layer(paths["run"] / MODEL, PAYLOADS[name](marker))
    refused(COMMANDS[command], paths, "which is not let through", capsys)
    assert not marker.exists()


@pytest.mark.parametrize("where", ["optimizer", "objective", "latent", "prior"])
def test_no_part_of_a_model_may_be_a_lambda(where, paths, capsys):
    marker = paths["run"].parent / "marker"

    def change(config):
        owner = "config" if where in ("latent", "prior") else "compile_config"
        config[owner][where] = hostile.lambda_layer(marker)

    hostile.with_config(paths["run"] / MODEL, change)
    refused(COMMANDS["report"], paths, "'Lambda'", capsys)
    assert not marker.exists()


def test_a_lambda_is_what_keras_itself_would_execute(good, tmp_path):
    """The payload works: told to trust the file, Keras makes the marker."""
    path = shutil.copy(good / MODEL, tmp_path / MODEL)
    marker = tmp_path / "marker"
    hostile.with_layer(path, hostile.lambda_layer(marker))
    with contextlib.suppress(Exception):
        keras.models.load_model(path, safe_mode=False)
    assert marker.exists()


HISTORY = {
    "binary": (lambda p: p.write_bytes(bytes(range(256))), "cannot be read"),
    "NUL": (lambda p: p.write_bytes(b"epoch,step\n1,\x002\n"), "cannot be read"),
    "words": (lambda p: p.write_text("epoch,step\none,two\n"), "'one'"),
    "no epoch": (lambda p: p.write_text("step,loss\n1,2\n"), "epoch"),
    "an infinite epoch": (lambda p: p.write_text("epoch,step\ninf,2\n"), "infinity"),
    "an epoch that is none": (lambda p: p.write_text("epoch,step\nnan,2\n"), "NaN"),
    "a longer line": (lambda p: p.write_text("epoch,step\n1,2,3\n"), "history.csv"),
    "a shorter line": (lambda p: p.write_text("epoch,step\n1\n"), "history.csv"),
    "a long field": (lambda p: p.write_text("epoch\n" + "1" * 10**6), "history.csv"),
    "a folder": (made_folder, "no file"),
    "a pipe": (piped, "no file"),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("command", "damage", "said"), cases(HISTORY, ["plot", "report"], 1)
)
def test_a_damaged_history_is_one_line(command, damage, said, paths, capsys):
    damage(paths["run"] / "history.csv")
    refused(COMMANDS[command], paths, said, capsys)


EVALUATIONS = {
    "empty": ("", "cannot be read"),
    "truncated": ('{"results": {"elbo"', "cannot be read"),
    "a list": ("[1]", "is no evaluation"),
    "a number": ("1", "is no evaluation"),
    "text": ('"results"', "is no evaluation"),
    "nested": ('{"a":' * 100_000, "cannot be read"),
    "NUL": ("\0", "cannot be read"),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", EVALUATIONS)
@pytest.mark.parametrize("command", ["report", "export"])
def test_a_damaged_evaluation_is_one_line(command, name, paths, capsys):
    content, said = EVALUATIONS[name]
    (paths["run"] / "evaluation.json").write_text(content)
    refused(COMMANDS[command], paths, said, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        {
            **{"results": 5, "split": [1]},
            "<script>alert(1)</script>": {"mean": 1e308, "standard_error": 1e-320},
        },
        *(
            pytest.param(content, marks=pytest.mark.slow)
            for content in (
                {"results": {"elbo": {"mean": "x", "standard_error": {}}}},
                {"results": {"elbo": {"mean": None, "standard_error": None}}},
                {
                    "results": {
                        "elbo": {"mean": 1, "standard_error": 1, "bits_per_dim": []}
                    }
                },
                {"step": "1", "posterior": None, "discrete_twin": "no"},
            )
        ),
    ],
)
def test_a_report_shows_an_evaluation_of_other_types_as_text(content, paths, capsys):
    (paths["run"] / "evaluation.json").write_text(json.dumps(content))
    assert cli.main(COMMANDS["report"].format(**paths).split()) == 0
    assert "<script" not in (paths["run"] / "report.html").read_text()


SOURCES = {
    "gone": (lambda data: data.unlink(), "is no file"),
    "truncated": (lambda data: truncated(data, 500), "not a .npz file"),
    "another": (
        lambda data: np.savez(data, x_train=np.zeros((40, 4, 4), "u1")),
        "has changed",
    ),
    "of another shape": (
        lambda data: np.savez(data, x_train=np.zeros((40, 5, 5), "u1")),
        "has changed",
    ),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("command", ["evaluate", "compare", "plot", "report"])
def test_data_that_was_damaged_since_is_one_line(command, name, paths, capsys):
    damage, said = SOURCES[name]
    copy = paths["run"].parent / "data.npz"
    shutil.copy(paths["data"], copy)
    with_setting(paths["run"], dataset=f"npz:{copy}")
    path = paths["run"] / "config.json"
    path.write_text(path.read_text().replace(str(paths["data"]), str(copy)))
    damage(copy)
    refused(COMMANDS[command], paths, said, capsys)


TARGETS = {
    "a folder for the evaluation": (
        "evaluate",
        lambda p: made_folder(p["run"] / "evaluation.json"),
        "evaluation.json",
    ),
    "a folder for the report": (
        "report",
        lambda p: made_folder(p["run"] / "report.html"),
        "report.html",
    ),
    "a file for the pictures": (
        "plot",
        lambda p: (p["run"] / "pictures").write_text("mine"),
        "pictures",
    ),
    "a folder for a picture": (
        "plot",
        lambda p: (p["run"] / "pictures" / "samples.png").mkdir(parents=True),
        "samples.png",
    ),
    "a link to nowhere for the pictures": (
        "plot",
        lambda p: (p["run"] / "pictures").symlink_to("no/where"),
        "pictures",
    ),
    "a link to nowhere for the export": (
        "export",
        lambda p: p["new"].symlink_to("no/where"),
        "leads nowhere",
    ),
    "a pipe for the export": ("export", lambda p: os.mkfifo(p["new"]), "is a file"),
    "a folder for the lock": (
        "train",
        lambda p: made_folder(p["run"] / ".lock"),
        ".lock",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_what_stands_where_a_command_writes_is_named(name, paths, capsys):
    command, damage, said = TARGETS[name]
    damage(paths)
    refused(COMMANDS[command], paths, said, capsys)
