"""A run that was stopped at any moment ends as the unbroken one, to the last bit."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from helpers import hostile_files as hostile
from helpers import killed_run as killer
from helpers.broken_off import (
    EACH_STEP,
    KINDS,
    QUIET,
    SMALL,
    assert_the_same,
    killed_before,
)
from helpers.models import slow_but

from tfvae.config import Config
from tfvae.config.settings import Checkpointing
from tfvae.training import train
from tfvae.training.callbacks import ModelFile
from tfvae.training.checkpoints import CheckpointStore, Interrupted, StopRequest
from tfvae.training.runs import Run, load_run, read_history
from tfvae.training.tensorboard import Monitor


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "elbo",
        pytest.param("survivors", marks=pytest.mark.slow),
        pytest.param("annealed", marks=pytest.mark.slow),
        pytest.param("conditional", marks=pytest.mark.slow),
        "labels",
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


@pytest.mark.slow
def test_checkpoints_do_not_change_what_is_trained(unbroken, tmp_path):
    train(SMALL, tmp_path / "run", monitoring=QUIET, checkpointing=Checkpointing(3))
    assert_the_same(tmp_path / "run", unbroken("elbo"))


@pytest.mark.slow
def test_the_seconds_of_a_broken_epoch_are_those_of_its_parts(
    tmp_path, monkeypatch, eagerly_here
):
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "status"),
    slow_but([(signal.SIGINT, 130)], [(signal.SIGTERM, 143), (signal.SIGINT, 130)]),
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


def test_a_signal_while_an_epoch_ends_waits_for_its_end(
    tmp_path, monkeypatch, eagerly_here
):
    def send(self, epoch: int, logs: Mapping | None = None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="step 4;"):
        patch.setattr(ModelFile, "on_epoch_end", send)
        train(SMALL, tmp_path / "run", monitoring=QUIET)
    found, _ = CheckpointStore(tmp_path / "run" / "checkpoints").newest()
    assert (found.position.epoch, found.position.batch) == (1, 0)


def test_a_second_signal_ends_the_run_at_once(
    tmp_path, monkeypatch, heard, eagerly_here
):
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


@pytest.mark.slow
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
    script = Path(killer.__file__)
    words = [sys.executable, script, folder, settings, every, *n]
    return subprocess.Popen(
        list(map(str, words)),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.slow
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
        # Some epochs later, whatever the machine's speed, and a part of one.
        left = moments.randrange(5)
        while left and (line := process.stdout.readline()):
            left -= line.startswith("epoch ")
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    process = killed_run(tmp_path / "run", config, 1)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert kills >= 10
    assert_the_same(tmp_path / "run", tmp_path / "unbroken", curves=False)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_on_a_disk_that_was_full_ends_like_the_unbroken_one(
    unbroken, tmp_path, monkeypatch
):
    begin = Monitor.on_train_batch_begin

    def fill(self, batch: int, logs: Mapping | None = None) -> None:
        begin(self, batch, logs)
        if self._first_step + batch == 6:
            hostile.fill(disk)

    with hostile.small_disk(tmp_path / "disk") as disk:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(Monitor, "on_train_batch_begin", fill)
            train(SMALL, disk / "run", monitoring=QUIET, checkpointing=EACH_STEP)
        (disk / hostile.FILLER).unlink()
        train(SMALL, disk / "run", monitoring=QUIET)
        assert_the_same(disk / "run", unbroken("elbo"))
