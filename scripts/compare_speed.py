#!/usr/bin/env python3
"""Times programs in turn, several times, and prints the ratios of their speeds.

Each program prints a JSON line with "images_per_s" last. Machines are noisy: the ratio
is that of programs that ran one after the other, and the median over the rounds. With
the four MNIST files in PATH/TO/mnist:

    export MNIST_DIR=PATH/TO/mnist
    .venv/bin/python scripts/compare_speed.py \
        torch.compile="PEER_PYTHON scripts/peers/peer_torch.py --k 50 --compile" \
        tfvae=".venv/bin/tfvae benchmark mnist-iwae --manual-dir $MNIST_DIR \
            --batch-size 100 --json"
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the programs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "program", nargs="+", metavar="NAME=COMMAND", help="the first is compared with"
    )
    given = parser.parse_args(arguments)
    commands = dict(program.partition("=")[::2] for program in given.program)
    if given.rounds < 1 or not all(commands.values()):
        parser.error("give --rounds of 1 or more, and programs as NAME=COMMAND")
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(given.rounds):
        for name, command in commands.items():
            try:
                rates[name].append(images_per_second(command))
            except (OSError, ValueError, KeyError, IndexError) as error:
                print(f"{parser.prog}: {name}: {error!r:.300}", file=sys.stderr)
                return 2
    print(table(rates))
    return 0


def images_per_second(command: str) -> float:
    """Runs a command and returns what its last line says.

    Raises:
        OSError: It cannot be started.
        ValueError: It failed, or its last line is no JSON.
    """
    run = subprocess.run(shlex.split(command), capture_output=True, text=True)
    if run.returncode:
        raise ValueError(f"exit status {run.returncode}: {run.stderr[-200:]}")
    return float(json.loads(run.stdout.strip().splitlines()[-1])["images_per_s"])


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
