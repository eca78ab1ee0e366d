"""`verify_saved_model` finds what is wrong with an artefact, and says it in a line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf
from helpers.models import tiny_vae

import tfvae.export.verify
from tfvae import cli
from tfvae.core.types import InputError
from tfvae.export import export_saved_model, verify_saved_model
from tfvae.export.layout import ANSWERS, CARD, REQUESTS, WARMUP, to_columns

VARIABLES = "variables/variables.data-00000-of-00001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return export_saved_model(tiny_vae(), folder, num_samples=2)


@pytest.fixture
def version(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model" / "1")


@pytest.fixture
def replayed_here(monkeypatch):
    """Replays in this process what `verify` has a process with TensorFlow alone for.

    That there is such a process, test_export.py shows.
    """

    def run(command, **how):
        script, path = command[-2:]
        hidden = ("tfvae", "keras", "tf_keras", "tensorflow_probability")
        modules = {name: sys.modules[name] for name in hidden if name in sys.modules}
        with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
            stack.callback(sys.modules.update, modules)
            stack.callback(sys.modules.pop, "layout", None)
            stack.callback(sys.modules.pop, "operations", None)
            patch.setattr(sys, "argv", [script, path])
            patch.setattr(sys, "path", [*sys.path])
            output = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            runpy.run_path(script, run_name="__main__")
        return subprocess.CompletedProcess(command, 0, output.getvalue(), "")

    monkeypatch.setattr(tfvae.export.verify.subprocess, "run", run)


def truncated(path):
    path.write_bytes(path.read_bytes()[:100])


def changed_weight(path):
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(20)
    path.write_bytes(bytes(content))


def with_card(version, **changes):
    card = json.loads((version / CARD).read_text()) | changes
    (version / CARD).write_text(json.dumps(card))


def changed_answer(version):
    path = version / ANSWERS / "score.json"
    answer = json.loads(path.read_text())
    answer["predictions"][1]["iwae"] += 1.0
    path.write_text(json.dumps(answer))


def without_rows(version):
    path = version / REQUESTS / "encode.json"
    path.write_text('{"signature_name": "encode", "instances": [{"y": 1}, {"y": 1}]}')


def fewer_signatures(version):
    card = json.loads((version / CARD).read_text())
    with_card(version, signatures={"encode": card["signatures"]["encode"]})


def other_shape(version):
    signatures = json.loads((version / CARD).read_text())["signatures"]
    signatures["decode"]["inputs"]["z"]["shape"] = [None, 4]
    with_card(version, signatures=signatures)


def other_name(version):
    path = version / REQUESTS / "encode.json"
    request = json.loads(path.read_text()) | {"signature_name": "decode"}
    path.write_text(json.dumps(request))


TENSORS = {"x": {"dtype": "float32", "shape": [1]}}
ANYWHERE = {"encode": {"inputs": TENSORS, "outputs": TENSORS}}
# What is done to it, and what the line must name.
DAMAGE = [
    (lambda v: truncated(v / "saved_model.pb"), "loader cannot read it"),
    (changed_answer, "score .*iwae differs by 1"),
    (fewer_signatures, "it has the signatures .*score"),
    (other_name, "is one of 'decode'"),
    (lambda v: (v / REQUESTS / "sample.json").unlink(), "sample.json cannot be read"),
    (lambda v: (v / ANSWERS / "encode.json").write_text("[]"), "record of 'encode'"),
    (lambda v: (v / CARD).unlink(), "tfvae export has not written it"),
    (lambda v: (v / CARD).write_text("{"), "cannot be read"),
    (lambda v: (v / CARD).write_text("[" * 100_000), "cannot be read"),
    (lambda v: (v / CARD).write_bytes(b"\xff\xfe"), "cannot be read"),
    (lambda v: (v / CARD).write_text("[1]"), "names no signatures"),
    (lambda v: with_card(v, signatures={}), "names no signatures"),
    (lambda v: with_card(v, signatures={"encode": 1}), "signature 'encode'"),
    (lambda v: with_card(v, signatures={"../../x": {}}), "signature '../../x'"),
    (lambda v: with_card(v, anywhere=ANYWHERE), "names no file of onnx"),
    (lambda v: with_card(v, format=2), "format 2"),
    (lambda v: with_card(v, format=True), "format True"),
    (lambda v: ((v / CARD).unlink(), os.mkfifo(v / CARD)), "has not written it"),
]


# Each of these loads a model; they are like the others.
SLOW = [
    (lambda v: changed_weight(v / VARIABLES), "loader cannot read it|differs"),
    (lambda v: (v / WARMUP).unlink(), "tf_serving_warmup_requests cannot be read"),
    (without_rows, "not the names x"),
    (lambda v: truncated(v / VARIABLES), "loader cannot read it"),
    (lambda v: (v / WARMUP).write_bytes(b"x" * 100), "warmup_requests cannot be read"),
    (lambda v: with_card(v, serving_default="decode"), "serving_default|differ|names"),
    (other_shape, "its card says"),
]


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("damage", "said"),
    [*DAMAGE, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_a_damaged_artefact_is_one_line(damage, said, version, replayed_here):
    damage(version)
    with pytest.raises(InputError, match=said) as caught:
        verify_saved_model(version)
    assert str(version) in str(caught.value) and "\n" not in str(caught.value)


def test_the_latest_version_is_verified(version):
    shutil.copytree(version, version.with_name("10"))
    (version.with_name("10") / CARD).unlink()
    with pytest.raises(InputError, match=r"model/10"):
        verify_saved_model(version.parent)


def test_a_foreign_saved_model_is_told_apart(tmp_path):
    module = tf.Module()
    module.f = tf.function(lambda x: x, [tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "theirs"))
    with pytest.raises(InputError, match="tfvae export has not written it"):
        verify_saved_model(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "not a folder"),
        (lambda path: path.write_text("x"), "not a folder"),
        (lambda path: path.mkdir(), "no version"),
        (lambda path: (path / "thesis").mkdir(parents=True), "thesis"),
        (lambda path: (path / "007").mkdir(parents=True), "'007'"),
        (lambda path: (path / f"{2**63}").mkdir(parents=True), "no version"),
        (lambda path: path.symlink_to("nowhere"), "not a folder"),
    ],
)
def test_what_is_no_model_is_one_line_and_status_2(make, said, tmp_path, capsys):
    make(tmp_path / "there")
    assert cli.main(["verify", str(tmp_path / "there")]) == 2
    output = capsys.readouterr()
    assert said in output.err and output.err.count("\n") == 1 and output.out == ""


def test_a_row_must_have_the_names_of_the_signature():
    assert to_columns([[1], [2]], ["z"]) == {"z": [[1], [2]]}
    assert to_columns([{"z": 1}, {"z": 2}], ["z"]) == {"z": [1, 2]}
    with pytest.raises(ValueError, match="seed, x"):
        to_columns([{"x": 1}], ["x", "seed"])
    with pytest.raises(ValueError, match="seed, x"):
        to_columns([1, 2], ["x", "seed"])
