"""Checkpoints that are damaged, or of other settings."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.broken_off import EACH_STEP, QUIET, SMALL, assert_the_same, killed_before
from helpers.models import tiny_vae

from tfvae.core.types import InputError
from tfvae.training import train
from tfvae.training.checkpoints import CheckpointStore
from tfvae.training.checkpoints.state import apply_metrics

pytestmark = pytest.mark.usefixtures("eagerly")


def damage(path: Path, name: str, kind: str) -> None:
    file = path / name
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif kind == "flipped":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    elif kind == "emptied":
        file.write_bytes(b"")
    else:
        file.unlink()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was broken off, with two checkpoints."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        killed_before(
            7,
            patch,
            lambda: train(SMALL, folder, monitoring=QUIET, checkpointing=EACH_STEP),
        )
    return folder


def copy_of(folder: Path, there: Path) -> Path:
    subprocess.run(["cp", "-r", str(folder), str(there)], check=True)
    return there


def test_the_last_two_checkpoints_are_kept(stopped):
    names = sorted(p.name for p in (stopped / "checkpoints").iterdir())
    assert names == ["000000000005", "000000000006"]
    manifest = json.loads(
        (stopped / "checkpoints" / "000000000006" / "manifest.json").read_text()
    )
    assert manifest["config"] == SMALL.to_dict()
    assert manifest["versions"].keys() >= {"tfvae", "tensorflow", "keras", "numpy"}
    assert set(manifest["sha256"]) == {"state.npz", "history.csv"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("state.npz", "history.csv", "manifest.json")
        for kind in ("cut", "flipped", "emptied", "removed")
        # A digit of a version may be another: the manifest is then still whole.
        if (name, kind) != ("manifest.json", "flipped")
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_word(name, kind, stopped, tmp_path):
    folder = copy_of(stopped, tmp_path / "run")
    damage(folder / "checkpoints" / "000000000006", name, kind)
    found, skipped = CheckpointStore(folder / "checkpoints").newest()
    assert found.position.step == 5
    assert len(skipped) == 1
    assert "000000000006 is skipped" in skipped[0]
    assert name in skipped[0]


def rewritten(folder: Path, content: bytes) -> None:
    """Puts another state there, whose checksum is right."""
    (folder / "state.npz").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["state.npz"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def packed(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def with_objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array([object], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (packed(weights=np.zeros(10**7)), "it is packed"),
        (with_objects(), "allow_pickle=False"),
        (b"PK", "not a zip"),
    ],
    ids=["bomb", "pickle", "no zip"],
)
def test_a_checkpoint_made_to_harm_is_skipped(content, words, stopped, tmp_path):
    folder = copy_of(stopped, tmp_path / "run")
    rewritten(folder / "checkpoints" / "000000000006", content)
    found, skipped = CheckpointStore(folder / "checkpoints").newest()
    assert found.position.step == 5
    assert words in skipped[0]


@pytest.mark.slow
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    stopped, tmp_path, capsys
):
    folder = copy_of(stopped, tmp_path / "run")
    damage(folder / "checkpoints" / "000000000006", "state.npz", "flipped")
    train(SMALL, folder, monitoring=QUIET, checkpointing=EACH_STEP)
    assert "note: checkpoint 000000000006 is skipped" in capsys.readouterr().out
    train(SMALL, tmp_path / "unbroken", monitoring=QUIET)
    assert_the_same(folder, tmp_path / "unbroken")


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_kept(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path / "run")
    for path in (folder / "checkpoints").iterdir():
        damage(path, "state.npz", "cut")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="no whole checkpoint"):
        train(SMALL, folder, monitoring=QUIET)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_checkpoint_of_another_run_is_refused(stopped, tmp_path):
    other = dataclasses.replace(SMALL, seed=1)
    folder = copy_of(stopped, tmp_path / "run")
    record = json.loads((folder / "config.json").read_text())
    record["config"] = other.to_dict()
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="of another run: seed differs"):
        train(other, folder, monitoring=QUIET)


# -- changed settings ------------------------------------------------------------------


def test_a_changed_setting_is_refused_with_the_difference_shown(stopped, tmp_path):
    changed = dataclasses.replace(SMALL, learning_rate=0.02, num_samples=3)
    with pytest.raises(InputError) as caught:
        train(changed, copy_of(stopped, tmp_path / "run"), monitoring=QUIET)
    message = str(caught.value)
    assert "learning_rate is 0.01 there and 0.02 here" in message
    assert "num_samples is 2 there and 3 here" in message
    assert "--allow-changed num_samples learning_rate" in message


def test_a_change_that_is_allowed_takes_effect_and_is_recorded(stopped, tmp_path):
    changed = dataclasses.replace(SMALL, learning_rate=0.02)
    folder = copy_of(stopped, tmp_path / "run")
    run = train(changed, folder, monitoring=QUIET, allow_changed=("learning_rate",))
    assert float(run.vae.optimizer.learning_rate) == np.float32(0.02)
    record = json.loads((folder / "config.json").read_text())
    assert record["config"]["learning_rate"] == 0.02
    assert record["changes"] == [{"learning_rate": [0.01, 0.02]}]
    train(changed, folder, monitoring=QUIET)  # nothing is changed since


@pytest.mark.slow
def test_a_run_goes_on_wherever_its_data_lie(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path / "run")
    for path in (folder / "config.json", *folder.glob("checkpoints/*/manifest.json")):
        record = json.loads(path.read_text())
        record["config"]["manual_dir"] = "/elsewhere"
        path.write_text(json.dumps(record))
    run = train(SMALL, folder, monitoring=QUIET)
    assert int(run.vae.steps) == 12
    record = json.loads((folder / "config.json").read_text())
    assert record["changes"] == [{"manual_dir": ["/elsewhere", None]}]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("seed", "part of what the run is"),
        ("batch_size", "part of what the run is"),
        ("latent_size", "part of what the run is"),
        ("learning-rate", "no setting"),
        ("", "no setting"),
    ],
)
def test_what_cannot_change_is_named(name, words, tmp_path):
    with pytest.raises(InputError, match=words):
        train(SMALL, tmp_path / "run", allow_changed=(name,))
    assert not (tmp_path / "run").exists()


def test_the_running_epochs_means_of_before_are_read():
    """Version 0.1 kept a sum and a weight for each name, in place of all in one."""
    vae = tiny_vae()
    vae.compile("sgd")
    kept = {"loss": (60.0, 20.0), "elbo": (-58.0, 20.0), "ess": (20.0, 20.0)}
    arrays = {
        f"metrics/{name}/{i}": np.float32(number)
        for name, numbers in kept.items()
        for i, number in enumerate(numbers)
    }
    apply_metrics(vae, arrays)
    found = vae.get_metrics_result()
    assert {name: float(found[name]) for name in kept} == {
        name: np.float32(total) / np.float32(count)
        for name, (total, count) in kept.items()
    }
    assert vae.examples_seen == 20
