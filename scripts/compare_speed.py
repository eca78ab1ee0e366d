#!/usr/bin/env python3
r"""Times programs in turn, several times, and prints the ratios of their speeds.

Each program prints a JSON line with "images_per_s" last. Machines are noisy: the ratio
is that of programs that ran one after the other, and the median over the rounds. With
the four MNIST files in PATH/TO/mnist:

    export MNIST_DIR=PATH/TO/mnist
    .venv/bin/python scripts/compare_speed.py --all

times tfvae beside its peers, whose environments it makes in .peers/ the first time
(PyTorch, JAX: some gigabytes), and prints the rows of the README's table. Programs of
one's own are named:

    .venv/bin/python scripts/compare_speed.py \
        torch.compile=".peers/torch/bin/python scripts/peers/peer_torch.py --compile" \
        tfvae=".venv/bin/tfvae benchmark mnist-iwae --manual-dir $MNIST_DIR \
            --batch-size 100 --json"
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = {
    "torch": ("torch==2.13.0", "pyro-ppl", "pythae", "numpy"),
    "jax": ("jax", "optax", "numpyro", "numpy"),
}
# Program -> its environment, its file and its arguments.
PEERS = {
    "torch.compile": ("torch", "peer_torch.py --compile"),
    "JAX": ("jax", "peer_jax.py"),
    "NumPyro": ("jax", "peer_numpyro.py"),
    "Pyro": ("torch", "peer_pyro.py"),
    "pythae": ("torch", "peer_pythae.py"),
}
SAMPLES = (1, 5, 50)
SURVIVORS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the programs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--all",
        action="store_true",
        help="tfvae and its peers with K = 1, 5 and 50 samples",
    )
    parser.add_argument(
        "--samples", type=int, nargs="+", help="K, with --all; default: 1 5 50"
    )
    parser.add_argument("--batch", type=int, help="with --all; default: 100")
    parser.add_argument(
        "program", nargs="*", metavar="NAME=COMMAND", help="the first is compared with"
    )
    given = parser.parse_args(arguments)
    commands = dict(program.partition("=")[::2] for program in given.program)
    if given.rounds < 1 or not all(commands.values()):
        parser.error("give --rounds of 1 or more, and programs as NAME=COMMAND")
    if given.all == bool(commands):
        parser.error("give either --all, or programs as NAME=COMMAND")
    if not given.all and (given.samples or given.batch is not None):
        parser.error("--samples and --batch have no effect without --all")
    samples, batch = (
        given.samples or SAMPLES,
        100 if given.batch is None else given.batch,
    )
    if given.all and not (min(samples) >= 1 and 1 <= batch):
        parser.error("give --samples and --batch of 1 or more")
    try:
        folder = mnist_folder() if given.all else ""
    except ValueError as error:
        parser.error(str(error))
    try:
        if not given.all:
            print(table(rates_of(commands, given.rounds)))
            return 0
        for environment in ENVIRONMENTS:
            python_of(environment)
        for k in samples:
            rates = rates_of(all_commands(k, batch, folder), given.rounds)
            print(f"\nK = {k}, batch {batch}\n{table(rates)}", flush=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"{parser.prog}: {error!s:.300}", file=sys.stderr)
        return 2
    return 0


def mnist_folder() -> str:
    """Returns the folder of MNIST's files, which the environment names.

    Raises:
        ValueError: if it is not there.
    """
    folder = os.environ.get("MNIST_DIR", "")
    if not Path(folder, "train-images-idx3-ubyte.gz").exists():
        raise ValueError(
            f"MNIST_DIR is {folder!r}, which does not hold train-images-idx3-ubyte.gz; "
            "set it to the folder of MNIST's four files"
        )
    return folder


def all_commands(k: int, batch: int, folder: str) -> dict[str, str]:
    """Returns the programs of `--all` for K samples, by name; MNIST is in `folder`."""
    found = {}
    for name, (environment, program) in PEERS.items():
        file, *more = program.split()
        words = [python_of(environment), str(ROOT / "scripts" / "peers" / file), *more]
        # About two seconds a block, as tfvae's.
        words += ["--k", str(k), "--batch", str(batch), "--steps", str(4000 // k + 50)]
        found[name] = shlex.join(words)
    ours = [sys.executable, "-m", "tfvae_command", "benchmark", "mnist-iwae", "--json"]
    ours += ["--manual-dir", folder, "--batch-size", str(batch), "--num-samples"]
    ours += [str(k), "--evaluation-samples", "10", "--evaluation-images", str(batch)]
    found["tfvae"] = shlex.join(ours)
    if k > SURVIVORS:
        survivors = [*ours, "--backward-samples", str(SURVIVORS)]
        found[f"tfvae, {SURVIVORS} survivors"] = shlex.join(survivors)
    return found


def python_of(environment: str) -> str:
    """Returns the Python of a peers' environment, which is made if it is not there."""
    folder = ROOT / ".peers" / environment
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        print(f"setting up {folder} (some minutes, once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *ENVIRONMENTS[environment]], check=True)
        (folder / "whole").touch()
    return str(python)


def rates_of(commands: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Runs all programs in turn, several times; returns images/s by name.

    Raises:
        OSError: if one cannot be started.
        ValueError: if one failed, or its last line is no JSON.
    """
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            try:
                rates[name].append(float(result_of(command)["images_per_s"]))
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
    return rates


def result_of(command: str) -> dict[str, Any]:
    """Runs a command and returns the JSON of its last line.

    Raises:
        OSError: if it cannot be started.
        ValueError: if it failed, or its last line is no JSON.
    """
    run = subprocess.run(shlex.split(command), capture_output=True, text=True)
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:]
        raise ValueError(f"exit status {run.returncode}: {''.join(last):.200}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def table(rates: Mapping[str, Sequence[float]]) -> str:
    """Returns medians, and medians of each round's ratio to the first program."""
    first = next(iter(rates.values()))
    lines = [f"{'':24} {'images/s':>9} {'least':>9} {'most':>9} {'ratio':>6}"]
    for name, found in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(found, first, strict=True)]
        lines.append(
            f"{name:24} {statistics.median(found):9,.0f} {min(found):9,.0f} "
            f"{max(found):9,.0f} {statistics.median(ratios):6.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
