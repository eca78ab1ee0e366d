"""What only real processes show: two in one workdir, and a bound on memory."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from helpers import hostile_files as hostile

from tfvae import cli
from tfvae.training.runs import load_run, read_history

ROOT = pathlib.Path(__file__).parents[2]
TRAIN = (
    "train digits-binconcrete --latent-size 3 --hidden-sizes 8 --batch-size 10"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npz"
    images = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)
    np.savez(path, x_train=images, x_test=images[:9])
    return path


def started(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tfvae", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )


@pytest.mark.slow
def test_of_two_processes_in_one_workdir_one_trains_and_one_is_told(data, tmp_path):
    run = tmp_path / "run"
    how = [*TRAIN, "--epochs", 10**6, "--workdir", run, "--dataset", f"npz:{data}"]
    first = started(*how)
    try:
        while not (run / "history.csv").exists():
            assert first.poll() is None, first.communicate()
            time.sleep(0.2)
        other = started(*how)
        reader = started("evaluate", run, "--num-samples", 2)
        _, said = other.communicate(timeout=200)
        assert other.returncode == 2
        assert said.startswith("tfvae: another process is writing")
        assert said.count("\n") == 1
        _, said = reader.communicate(timeout=200)
        assert reader.returncode == 0, said
    finally:
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=200)
    assert first.returncode == 130 and "goes on" in said
    epochs = [row["epoch"] for row in read_history(run / "history.csv")]
    assert epochs == list(range(1, len(epochs) + 1))
    assert int(load_run(run).vae.steps) % 4 == 0


LIMITED = """
import resource, sys
from tfvae import cli
from tfvae.core.startup import import_tensorflow

import_tensorflow()
good, run, data, extra, *lines = sys.argv[1:]
assert cli.main(["evaluate", good, "--num-samples", "2", "--limit", "3"]) == 0
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(extra)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    bytearray(2 * int(extra))
except MemoryError:
    print("the limit holds")
for line in lines:
    print(cli.main(line.split()), line, flush=True)
"""
EXTRA = 256 << 20  # bytes above what a command has that succeeds


@pytest.mark.slow
def test_no_bomb_takes_more_than_a_quarter_of_a_gigabyte(data, tmp_path, fresh_python):
    """Each holds or promises half a gigabyte or more."""
    good = tmp_path / "good"
    how = ["--epochs", "1", "--workdir", str(good), "--dataset", f"npz:{data}"]
    assert cli.main([*TRAIN, *how]) == 0
    lines = []

    def bombed(name, change):
        run = shutil.copytree(good, tmp_path / name)
        change(run / "model.keras")
        lines.append(f"evaluate {run} --num-samples 2 --limit 3")

    zeros = bytes(1 << 29)
    bombed("config", lambda p: hostile.rewrite(p, {hostile.CONFIG: zeros}, 8))
    bombed("weights", lambda p: hostile.rewrite(p, {hostile.WEIGHTS: zeros}, 8))
    big = {"shape": (30_000, 30_000), "dtype": "f4", "chunks": True}
    reshaped = functools.partial(hostile.replaced, **big)
    bombed("shape", lambda p: hostile.with_weights(p, reshaped))

    def loaded(name, content, packing, promised):
        path = tmp_path / f"{name}.npz"
        hostile.npz(path, packing, x_train=content)
        hostile.lie(path, "x_train.npy", promised)
        lines.append(" ".join([*TRAIN, f"--workdir {tmp_path}/new"]))
        lines[-1] += f" --dataset npz:{path}"

    image = hostile.npy((1, 1 << 29), zeros)
    loaded("bzip2", image, zipfile.ZIP_BZIP2, len(image) >> 10)
    loaded("honest", image, zipfile.ZIP_DEFLATED, 3 << 30)
    run = shutil.copytree(good, tmp_path / "json")
    (run / "config.json").write_bytes(b"[" + b"[]," * (40 << 20) + b"[]]")
    lines.append(f"report {run}")
    run = shutil.copytree(good, tmp_path / "small_json")
    (run / "config.json").write_bytes(b"[" + b"[]," * (2 << 20) + b"[]]")
    lines.append(f"report {run}")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": None}
    done = fresh_python(LIMITED, good, good, data, EXTRA, *lines, **quiet)
    shown = done.stdout.splitlines()
    assert "the limit holds" in shown
    assert [line[:2] for line in shown[-len(lines) :]] == ["2 "] * len(lines)
    errors = [line for line in done.stderr.splitlines() if line.startswith("tfvae: ")]
    assert len(errors) == len(lines), done.stderr
    assert not [line for line in errors if "Memory" in line or "alloc" in line]
