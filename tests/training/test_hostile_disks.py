"""Full and read-only disks: one line, status 2, and what there was is still there."""

from __future__ import annotations

import contextlib
import pathlib
import resource
import shutil
import subprocess

import pytest
from helpers import hostile_files as hostile

from tfvae import cli
from tfvae.training.callbacks import EpochLine
from tfvae.training.runs import load_run, read_history

pytestmark = pytest.mark.usefixtures("eagerly")

TRAIN = (
    "digits-binconcrete --latent-size 3 --hidden-sizes 8 --batch-size 10 --epochs"
).split()
COMMANDS = {
    "train": ["train", *TRAIN, "2", "--workdir", "{run}", "--dataset", "npz:{data}"],
    "evaluate": "evaluate {run} --num-samples 2 --limit 3".split(),
    "plot": ["plot", "{run}", "samples"],
    "report": ["report", "{run}"],
    "export": ["export", "{run}", "{disk}/exported", "--num-samples", "2"],
    "new": ["train", *TRAIN, "1", "--workdir", "{disk}/new", "--dataset", "npz:{data}"],
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return hostile.good_run(tmp_path_factory.mktemp("good"), [*TRAIN, "1"])


@pytest.fixture
def disk(tmp_path, good):
    """A small disk that holds the run."""
    with hostile.small_disk(tmp_path / "disk") as folder:
        shutil.copytree(good, folder / "run")
        yield folder


@contextlib.contextmanager
def short_files(most: int):
    """Makes longer files than this fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_command(name, folder, good):
    names = {"run": folder / "run", "disk": folder, "data": good.parent / "data.npz"}
    return cli.main([word.format(**names) for word in COMMANDS[name]])


def kept(folder: pathlib.Path) -> dict:
    """What a run must not lose: all but the logs, which are added to, and the lock."""
    found = hostile.snapshot(folder)
    return {
        name: content
        for name, content in found.items()
        if "logs" not in name and name != hostile.FILLER and not name.endswith(".lock")
    }


def assert_one_line(status: int, error: str) -> None:
    assert status == 2, error
    assert error.startswith("tfvae: ") and error.count("\n") == 1, error


@pytest.mark.slow
def test_a_folder_removed_while_its_run_is_trained_is_one_line(
    tmp_path, capsys, monkeypatch
):
    run = tmp_path / "run"
    ended = EpochLine.on_epoch_end

    def remove(self, epoch, logs):
        ended(self, epoch, logs)
        shutil.rmtree(run)

    monkeypatch.setattr(EpochLine, "on_epoch_end", remove)
    few_steps = ["400" if word == "10" else word for word in TRAIN]
    assert cli.main(["train", *few_steps, "2", "--workdir", str(run)]) == 2
    error = capsys.readouterr().err
    assert_one_line(2, error)
    assert str(run) in error and "removed or moved" in error


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_disk_is_one_line(name, disk, good, capsys):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = hostile.snapshot(disk)
    capsys.readouterr()
    assert_one_line(run_command(name, disk, good), capsys.readouterr().err)
    assert hostile.snapshot(disk) == before


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_nothing_is_lost(name, disk, good, capsys):
    hostile.fill(disk)
    before = kept(disk)
    capsys.readouterr()
    assert_one_line(run_command(name, disk, good), capsys.readouterr().err)
    left = kept(disk)
    assert {k: v for k, v in left.items() if k in before} == before
    assert {v for k, v in left.items() if k not in before} <= {"folder"}


QUICK = [("train", 8_000), ("evaluate", 500)]
# AutoGraph's own files, in /tmp, are a few KiB, and it says more than a line of them.
LEAST = {"export": 8_000}
SLOW = [
    pytest.param(name, most, marks=pytest.mark.slow)
    for name in COMMANDS
    for most in (0, 500, 8_000, 40_000)
    if (name, most) not in QUICK and most >= LEAST.get(name, 0)
]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "most"), [*QUICK, *SLOW])
def test_a_write_that_fails_half_way_loses_nothing(name, most, good, tmp_path, capsys):
    shutil.copytree(good, tmp_path / "run")
    before = kept(tmp_path)
    capsys.readouterr()
    with short_files(most):
        status = run_command(name, tmp_path, good)
    error = capsys.readouterr().err
    if status:
        assert_one_line(status, error)
    left = kept(tmp_path)
    assert not any("partial" in path for path in left), sorted(left)
    assert left["run/model.keras"] == before["run/model.keras"]
    assert int(load_run(tmp_path / "run").vae.steps) == 4
    assert [row["epoch"] for row in read_history(tmp_path / "run/history.csv")][0] == 1
