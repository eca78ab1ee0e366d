"""A SavedModel is a program: one that reaches out of its graph is not run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from helpers.hostile_files import refused
from helpers.models import tiny_vae

from tfvae.export import export_saved_model
from tfvae.export.layout import CARD, REQUESTS
from tfvae.export.operations import refused_operation


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return export_saved_model(tiny_vae(), folder, num_samples=2)


def writing(marker):
    tf.io.write_file(marker, "executed")


def python(marker):
    tf.py_function(lambda: open(marker, "w").close(), [], [])


def reading(marker):
    tf.print(tf.io.read_file(marker))


def saving(marker):
    tf.raw_ops.SaveV2(
        prefix=marker, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.zeros([])]
    )


def with_program(version, payload):
    """Puts another SavedModel under the card and the records of ours."""
    marker = version.parent.parent / "marker"
    module = tf.Module()

    def encode(x):
        payload(str(marker))
        return {"mean": x}

    spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")
    module.encode = tf.function(encode, input_signature=[spec])
    other = version.parent.parent / "other"
    tf.saved_model.save(module, str(other), signatures={"encode": module.encode})
    shutil.copy(other / "saved_model.pb", version / "saved_model.pb")
    shutil.rmtree(other)
    return marker


@pytest.mark.quick(1)
@pytest.mark.parametrize("payload", [writing, python, reading, saving])
def test_a_program_that_reaches_out_is_named(payload, whole, tmp_path):
    version = shutil.copytree(whole, tmp_path / "model" / "1")
    with_program(version, payload)
    assert refused_operation(version) in (
        *("WriteFile", "EagerPyFunc", "ReadFile", "SaveV2", "PrintV2"),
    )


@pytest.mark.slow
def test_a_program_that_reaches_out_is_not_run(whole, tmp_path, capsys):
    version = shutil.copytree(whole, tmp_path / "model" / "1")
    marker = with_program(version, writing)
    refused(["verify", str(version)], tmp_path, "operation 'WriteFile'", capsys)
    assert not marker.exists()


def test_our_own_programs_are_let_through(whole):
    assert refused_operation(whole) is None


def huge_request(version):
    path = version / REQUESTS / "encode.json"
    request = json.loads(path.read_text())
    request["instances"] = request["instances"] * 2
    path.write_text(json.dumps(request))


def nan_request(version):
    path = version / REQUESTS / "encode.json"
    request = json.loads(path.read_text())
    request["instances"][0]["x"] = np.full((8, 8, 1), np.nan).tolist()
    path.write_text(json.dumps(request))


def a_long_card(version):
    (version / CARD).write_bytes(b" " * (33 << 20))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [(huge_request, "encode"), (nan_request, "differs"), (a_long_card, "bytes")],
)
def test_other_records_are_one_line(damage, said, whole, tmp_path, capsys):
    version = shutil.copytree(whole, tmp_path / "model" / "1")
    damage(version)
    refused(["verify", str(version)], tmp_path, said, capsys)
