"""A run that was stopped at any moment ends as the unbroken one, to the last bit."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfvae.callbacks import ModelFile
from tfvae.checkpoints import Checkpointing, CheckpointStore, Interrupted, StopRequest
from tfvae.config import Config
from tfvae.monitoring import Monitor, Monitoring
from tfvae.reports import evaluate_run
from tfvae.runs import Run, load_run, read_history
from tfvae.training import train
from tfvae.types import InputError

QUIET = Monitoring(histograms_every=0, images_every=0, projector=False)
EACH_STEP = Checkpointing(1)
# 1,258 digits to train on: 4 steps an epoch, the last of them smaller.
SMALL = Config(
    objective="elbo",
    latent_size=3,
    hidden_sizes=(8,),
    num_samples=2,
    epochs=3,
    batch_size=400,
    steps_per_execution=1,
    learning_rate=0.01,
)
KINDS = {
    "elbo": SMALL,
    "survivors": dataclasses.replace(
        SMALL, objective="iwae", num_samples=6, backward_samples=2, optimizer="rmsprop"
    ),
    "annealed": dataclasses.replace(
        SMALL,
        objective="iwae",
        latent="bin_concrete",
        temperature=0.9,
        final_temperature=0.5,
        temperature_steps=10,
        kl_warmup_steps=6,
        learning_rate_schedule="cosine",
        steps_per_execution=2,
    ),
}


def numbers_of(vae: keras.Model) -> list[np.ndarray]:
    return [np.array(w) for w in (*vae.weights, *vae.optimizer.variables)]


def rows_of(folder: Path) -> list[dict[str, float]]:
    rows = read_history(folder / "history.csv")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def curves_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that TensorBoard shows, but for speeds."""
    curves = {}
    for part in ("train", "validation"):
        events = EventAccumulator(
            str(folder / "logs" / part), size_guidance={"tensors": 0}
        )
        events.Reload()
        for tag in events.Tags()["tensors"]:
            points = [
                (event.step, tf.make_ndarray(event.tensor_proto))
                for event in events.Tensors(tag)
            ]
            if tag != "images_per_second" and points[0][1].size == 1:
                curves[f"{part}/{tag}"] = [(n, value.item()) for n, value in points]
    return curves


def assert_the_same(run: Path, unbroken: Path, curves: bool = True) -> None:
    for one, other in zip(
        numbers_of(load_run(run).vae), numbers_of(load_run(unbroken).vae), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert rows_of(run) == rows_of(unbroken)
    scores = [evaluate_run(path, num_samples=2)["results"] for path in (run, unbroken)]
    assert scores[0] == scores[1]
    if curves:
        assert curves_of(run) == curves_of(unbroken)


class Killed(Exception):
    pass


def killed_before(step: int, monkeypatch, use) -> None:
    """Runs `use`, and breaks it off before a training step (counted from 0)."""
    before = Monitor.on_train_batch_begin

    def kill(self, batch: int, logs: Mapping | None = None) -> None:
        before(self, batch, logs)
        if self._first_step + batch >= step:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Monitor, "on_train_batch_begin", kill)
        use()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The unbroken run of each kind, trained when it is asked for."""
    found = {}

    def get(kind: str) -> Path:
        if kind not in found:
            found[kind] = tmp_path_factory.mktemp(kind) / "run"
            train(KINDS[kind], found[kind], monitoring=QUIET)
        return found[kind]

    return get


@pytest.mark.parametrize(
    "kind",
    [
        "elbo",
        pytest.param("survivors", marks=pytest.mark.slow),
        pytest.param("annealed", marks=pytest.mark.slow),
    ],
)
def test_a_run_broken_off_within_epochs_ends_like_the_unbroken_one(
    kind, unbroken, tmp_path, monkeypatch
):
    def go(folder: Path = tmp_path / "run") -> Run:
        return train(KINDS[kind], folder, monitoring=QUIET, checkpointing=EACH_STEP)

    for step in (3, 6, 10):  # within the first epoch, the second, the third
        killed_before(step, monkeypatch, go)
    go()
    assert_the_same(tmp_path / "run", unbroken(kind))


def test_checkpoints_do_not_change_what_is_trained(unbroken, tmp_path):
    train(SMALL, tmp_path / "run", monitoring=QUIET, checkpointing=Checkpointing(3))
    assert_the_same(tmp_path / "run", unbroken("elbo"))


def test_the_seconds_of_a_broken_epoch_are_those_of_its_parts(tmp_path, monkeypatch):
    def go() -> Run:
        return train(SMALL, tmp_path / "run", monitoring=QUIET, checkpointing=EACH_STEP)

    killed_before(7, monkeypatch, go)
    found, _ = CheckpointStore(tmp_path / "run" / "checkpoints").newest()
    assert (found.position.step, found.position.epoch, found.position.batch) == (
        6,
        1,
        2,
    )
    run = go()
    rows = read_history(run.folder.history)
    assert rows[1]["seconds"] > found.position.seconds > 0


# -- signals ---------------------------------------------------------------------------


@pytest.fixture
def heard():
    """A process that hears Ctrl-C: those that run tests side by side do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_run_after_the_step_with_all_of_it_saved(
    signum, status, unbroken, tmp_path, monkeypatch, heard
):
    begin = Monitor.on_train_batch_begin

    def send(self, batch: int, logs: Mapping | None = None) -> None:
        begin(self, batch, logs)
        if self._first_step + batch == 5:
            os.kill(os.getpid(), signum)

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as caught:
        patch.setattr(Monitor, "on_train_batch_begin", send)
        train(SMALL, tmp_path / "run", monitoring=QUIET)
    assert caught.value.status == status
    assert "stopped after step 5; the same command goes on" in str(caught.value)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    found, _ = CheckpointStore(tmp_path / "run" / "checkpoints").newest()
    assert found.position.step == 5
    assert int(load_run(tmp_path / "run").vae.steps) == 5  # it can be evaluated
    train(SMALL, tmp_path / "run", monitoring=QUIET)
    assert_the_same(tmp_path / "run", unbroken("elbo"))


def test_a_signal_while_an_epoch_ends_waits_for_its_end(tmp_path, monkeypatch):
    def send(self, epoch: int, logs: Mapping | None = None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="step 4;"):
        patch.setattr(ModelFile, "on_epoch_end", send)
        train(SMALL, tmp_path / "run", monitoring=QUIET)
    found, _ = CheckpointStore(tmp_path / "run" / "checkpoints").newest()
    assert (found.position.epoch, found.position.batch) == (1, 0)


def test_a_second_signal_ends_the_run_at_once(tmp_path, monkeypatch, heard):
    def send_two(self, batch: int, logs: Mapping | None = None) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        raise AssertionError("it did not end")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
        patch.setattr(Monitor, "on_train_batch_begin", send_two)
        train(SMALL, tmp_path / "run", monitoring=QUIET)
    assert not isinstance(caught.value, Interrupted)


def test_a_signal_that_is_ignored_stays_so(heard):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.signum == signal.SIGTERM


def test_the_command_exits_with_the_status_of_the_signal(tmp_path):
    arguments = ["digits-binconcrete", "--workdir", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tfvae", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.startswith("tfvae: stopped after step ")
    assert errors.endswith("; the same command goes on\n")


# -- kills, full disks -----------------------------------------------------------------


def killed_run(folder: Path, config: Config, every: int, *n: int) -> subprocess.Popen:
    settings = folder.parent / "config.json"
    settings.write_text(json.dumps(config.to_dict()))
    script = Path(__file__).with_name("killed_run.py")
    words = [sys.executable, script, folder, settings, every, *n]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "times",
    [
        # A checkpoint is five syncs and a rename. Within the second checkpoint, and
        # within the files at the end of an epoch.
        (9, 30),
        pytest.param(tuple(range(3, 63, 3)), marks=pytest.mark.slow),
    ],
    ids=["2", "20"],
)
def test_a_run_killed_while_it_writes_ends_like_the_unbroken_one(
    times, unbroken, tmp_path
):
    for n in times:
        killed = killed_run(tmp_path / "run", SMALL, 1, n)
        killed.communicate(timeout=200)
        assert killed.returncode in (-signal.SIGKILL, 0)
    assert killed.returncode == -signal.SIGKILL or len(times) > 2
    train(SMALL, tmp_path / "run", monitoring=QUIET)
    # TensorBoard's files have what the killed processes wrote by default.
    assert_the_same(tmp_path / "run", unbroken("elbo"), curves=False)
    left = [p.name for p in (tmp_path / "run").rglob(".*") if p.name != ".lock"]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_at_twenty_random_moments_ends_like_the_unbroken_one(
    kind, tmp_path
):
    config = dataclasses.replace(KINDS[kind], epochs=100)
    train(config, tmp_path / "unbroken", monitoring=QUIET)
    moments, kills = random.Random(0), 0
    for _ in range(20):
        process = killed_run(tmp_path / "run", config, 1)
        process.stdout.readline()  # the training is about to begin
        try:
            process.wait(moments.uniform(0, 8))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    process = killed_run(tmp_path / "run", config, 1)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert kills >= 10
    assert_the_same(tmp_path / "run", tmp_path / "unbroken", curves=False)


def test_a_full_disk_ends_the_run_and_costs_nothing_that_was_written(
    unbroken, tmp_path, monkeypatch
):
    writes = []
    save = np.savez

    def full(file, **arrays) -> None:
        writes.append(file)
        if len(writes) == 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, **arrays)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(np, "savez", full)
        train(SMALL, tmp_path / "run", monitoring=QUIET, checkpointing=EACH_STEP)
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["000000000001", "000000000002"]
    train(SMALL, tmp_path / "run", monitoring=QUIET)
    assert_the_same(tmp_path / "run", unbroken("elbo"))


def test_a_file_system_that_is_full_ends_the_command_with_one_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here; it takes root's rights")
    try:
        arguments = ["digits-binconcrete", "--workdir", str(disk / "run")]
        done = subprocess.run(
            [sys.executable, "-m", "tfvae", "train", *arguments],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("tfvae: ")
        assert done.stderr.count("\n") == 1
        assert "No space left" in done.stderr or "space" in done.stderr.lower()
        assert not any(".partial" in p.name for p in disk.rglob("*"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# -- damaged checkpoints ---------------------------------------------------------------


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


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    stopped, unbroken, tmp_path, capsys
):
    folder = copy_of(stopped, tmp_path / "run")
    damage(folder / "checkpoints" / "000000000006", "state.npz", "flipped")
    train(SMALL, folder, monitoring=QUIET, checkpointing=EACH_STEP)
    assert "note: checkpoint 000000000006 is skipped" in capsys.readouterr().out
    assert_the_same(folder, unbroken("elbo"))


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


# -- early stopping, plateaus, the best model ------------------------------------------

WATCHED = dataclasses.replace(
    SMALL,
    epochs=12,
    batch_size=1258,
    learning_rate=1.0,  # so large that the bound does not get better for long
    early_stopping=3,
    reduce_on_plateau=2,
    plateau_factor=0.9,
    keep_best=True,
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    train(WATCHED, folder, monitoring=QUIET)
    return folder


def best_epoch(rows: list[dict[str, float]]) -> int:
    return min(range(len(rows)), key=lambda i: rows[i]["val_loss"]) + 1


def test_early_stopping_ends_a_run_that_gets_no_better(watched):
    rows = rows_of(watched)
    assert len(rows) < WATCHED.epochs
    assert len(rows) == best_epoch(rows) + WATCHED.early_stopping


def test_the_best_model_is_kept(watched):
    steps = int(load_run(watched).vae.steps)
    assert steps == best_epoch(rows_of(watched))  # an epoch is one step


def test_a_run_that_was_stopped_early_says_so(watched, capsys):
    train(WATCHED, watched, monitoring=QUIET)
    assert "is finished: early stopping ended it after" in capsys.readouterr().out


@pytest.mark.parametrize("step", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_what_watches_a_run_remembers(step, watched, tmp_path, monkeypatch):
    def go() -> Run:
        return train(
            WATCHED, tmp_path / "run", monitoring=QUIET, checkpointing=EACH_STEP
        )

    killed_before(step, monkeypatch, go)
    go()
    assert_the_same(tmp_path / "run", watched)


def test_early_stopping_waits_for_the_end_of_warm_up(tmp_path):
    config = dataclasses.replace(
        WATCHED,
        kl_warmup_steps=6,
        early_stopping=1,
        reduce_on_plateau=None,
        plateau_factor=None,
        keep_best=False,
    )
    train(config, tmp_path / "run", monitoring=QUIET)
    rows = rows_of(tmp_path / "run")
    # One of the first six epochs was worse than the one before, and it went on.
    worse = [
        b["val_loss"] > a["val_loss"] for a, b in zip(rows, rows[1:], strict=False)
    ]
    assert any(worse[:5])
    assert len(rows) > 7


def test_the_learning_rate_falls_on_a_plateau(watched):
    found, _ = CheckpointStore(watched / "checkpoints").newest()
    assert found.arrays["learning_rate"] < np.float32(1)
    assert found.position.stopped_early
