#!/usr/bin/env python3
r"""Measures the minutes of training until validation L_100 of MNIST reaches levels.

tfvae, with all samples and with 8 survivors, torch.compile and NumPyro train the model
of the recipe mnist-iwae (batch 100, Adam 0.001, fresh binarisation) from the same
weights, one after the other, each in a process of its own. With the four MNIST files in
PATH/TO/mnist:

    export MNIST_DIR=PATH/TO/mnist
    .venv/bin/python scripts/time_to_quality.py

prints a table and draws docs/time-to-quality.png. The curves are kept beside it as
JSON. Those of other programs and K that the file has already stay, so that one may
measure in parts.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from compare_speed import PEERS, ROOT, SAMPLES, mnist_folder, python_of, result_of
from compare_speed import SURVIVORS as KEPT
from matplotlib.figure import Figure
from peers.common import LEVELS

# As they are given -> as they are shown.
PROGRAMS = {
    "torch.compile": "torch.compile",
    "NumPyro": "NumPyro",
    "tfvae": "tfvae",
    "survivors": f"tfvae, {KEPT} survivors",
}
TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # minutes
SAME = 0.3  # nats between programs at the start; the draws of z make a tenth of it
Run = dict[str, Any]  # what a program printed, with its name, K and the limit


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the programs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--minutes", type=float, default=10, help="the most for each curve; default: 10"
    )
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES, metavar="K")
    parser.add_argument(
        "--programs",
        nargs="+",
        default=list(PROGRAMS),
        metavar="NAME",
        help=f"of {', '.join(PROGRAMS)}; default: all",
    )
    out = ROOT / "docs" / "time-to-quality.png"
    parser.add_argument("--out", type=Path, default=out, metavar="FILE.png")
    given = parser.parse_args(arguments)
    try:
        check(given)
        folder, kept = mnist_folder(), given.out.with_suffix(".json")
        runs = kept_runs(kept)
        measure(given, folder, kept, runs)
        print(table(runs))
        draw(runs).savefig(given.out)
    except (OSError, ValueError, CalledProcessError) as error:
        print(f"{parser.prog}: {error!s:.300}", file=sys.stderr)
        return 2
    return 0


def check(given: argparse.Namespace) -> None:
    """Refuses arguments that are not usable.

    Raises:
        ValueError: if there are such.
    """
    for name in given.programs:
        if name not in PROGRAMS:
            raise ValueError(
                f"program {name!r} is unknown; give --programs of {', '.join(PROGRAMS)}"
            )
    if min(given.samples) < 1:
        raise ValueError("give --samples of 1 or more")
    if not 0 < given.minutes < math.inf:
        raise ValueError("give --minutes above 0")
    if not wanted(given):
        raise ValueError(f"survivors are {KEPT}; give --samples above that")
    if given.out.suffix != ".png" or not given.out.parent.is_dir():
        raise ValueError(f"--out {given.out} is no .png in a folder that is there")


def wanted(given: argparse.Namespace) -> list[tuple[int, str]]:
    """Returns (K, name) of each curve that is to be measured."""
    return [
        (k, name)
        for k in given.samples
        for name in given.programs
        if name != "survivors" or k > KEPT
    ]


def kept_runs(kept: Path) -> list[Run]:
    """Returns the curves that a file has, none where there is no file.

    Raises:
        ValueError: if it is not what `measure` writes.
    """
    try:
        runs = json.loads(kept.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError:  # no JSON, or no text
        runs = None
    if not isinstance(runs, list) or not all(
        isinstance(run, dict) and run.keys() >= {"program", "k"} for run in runs
    ):
        raise ValueError(f"{kept} has no curves; restore it, or remove it")
    return runs


def measure(
    given: argparse.Namespace, folder: str, kept: Path, runs: list[Run]
) -> None:
    """Runs the programs in turn; each one's curve replaces its last one in a file.

    Raises:
        CalledProcessError, OSError: if a peer cannot be set up, or a program started.
        ValueError: if one failed, or its L_100 at the start is not that of the others.
    """
    python = {n: python_of(PEERS[n][0]) for _, n in wanted(given) if n in PEERS}
    with tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch, "start.npz")
        ours = [sys.executable, str(ROOT / "scripts" / "quality_curve.py")]
        ours += ["--manual-dir", folder]
        result_of(shlex.join([*ours, "--start", str(start)]))
        for k, name in wanted(given):
            if name in PEERS:
                file, *more = PEERS[name][1].split()
                peer = str(ROOT / "scripts" / "peers" / file)
                words = [python[name], peer, *more, "--curve", str(start), "--k"]
            else:
                few = ["--backward-samples", str(KEPT)] if name == "survivors" else []
                words = [*ours, *few, "--samples"]
            words += [str(k), "--minutes", str(given.minutes)]
            run = curve_of(words, PROGRAMS[name], k, given.minutes)
            others = [r for r in runs if (r["program"], r["k"]) != (PROGRAMS[name], k)]
            runs[:] = [*others, run]
            check_start(runs)
            kept.write_text(f"{json.dumps(runs)}\n", encoding="utf-8")
            print(row(run), flush=True)


def curve_of(words: Sequence[str], program: str, k: int, minutes: float) -> Run:
    """Runs a program, and returns what it printed, with what it is."""
    try:
        found = result_of(shlex.join(words))
        return {"program": program, "k": k, "minutes": minutes, **found}
    except (IndexError, ValueError) as error:
        raise ValueError(f"{program}, K = {k}: {error}") from error


def check_start(runs: Sequence[Run]) -> None:
    """Refuses curves that do not start together, as they do from the same weights.

    Raises:
        ValueError: if there are such.
    """
    first, last = (run["curve"][0][2] for run in (runs[0], runs[-1]))
    if not abs(last - first) < SAME:
        raise ValueError(
            f"L_100 of {runs[-1]['program']} with the first weights is {last:.2f}, and "
            f"of {runs[0]['program']} {first:.2f}; is its model another?"
        )


def minutes_until(level: float, curve: Sequence[Sequence[float]]) -> float | None:
    """Returns the minutes at which a curve reaches a level; None if it does not.

    Between two points it is taken for straight. It bends downwards, so that this is
    rather late.
    """
    (_, seconds, value), *rest = curve
    for _, later, higher in rest:
        if higher >= level:
            part = (level - value) / (higher - value)
            return (seconds + part * (later - seconds)) / 60
        seconds, value = later, higher
    return None


def table(runs: Sequence[Run]) -> str:
    """Returns the minutes until each level, as a table in Markdown."""
    names = " | ".join(f"{level}, min" for level in LEVELS)
    head = f"| K | program | {names} | L_100 at the end | images/s | compilation, s |"
    order = list(PROGRAMS.values())
    lines = sorted(runs, key=lambda run: (run["k"], order.index(run["program"])))
    return "\n".join(["", head, f"|{'---|' * (5 + len(LEVELS))}", *map(row, lines)])


def row(run: Run) -> str:
    """Returns a curve's row of the table."""
    found = [minutes_until(level, run["curve"]) for level in LEVELS]
    times = [f"> {run['minutes']:g}" if t is None else f"{t:.2f}" for t in found]
    _, seconds, value = run["curve"][-1]
    cells = [str(run["k"]), run["program"], *times]
    cells += [f"{value:.2f} after {seconds / 60:.1f} min"]
    cells += [f"{run['images_per_s']:,.0f}", f"{run['compilation_s']:.1f}"]
    return f"| {' | '.join(cells)} |"


def draw(runs: Sequence[Run]) -> Figure:
    """Returns a figure with a panel for each K: L_100 by minutes."""
    samples = sorted({run["k"] for run in runs})
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(samples), sharey=True, squeeze=False)[0]
    for axis, k in zip(panels, samples, strict=True):
        for number, name in enumerate(PROGRAMS.values()):
            for run in runs:
                if (run["program"], run["k"]) == (name, k):
                    _, seconds, values = zip(*run["curve"][1:], strict=True)
                    minutes = [s / 60 for s in seconds]
                    style = {"markersize": 3, "color": f"C{number}"}
                    axis.plot(minutes, values, ".-", label=name, **style)
        for level in LEVELS:
            axis.axhline(level, color="grey", linewidth=0.7, linestyle=":")
        axis.set(xscale="log", xlabel="minutes of training", title=f"K = {k}")
        low, high = axis.get_xlim()
        axis.set_xticks(
            ticks := [n for n in TICKS if low <= n <= high], map(str, ticks)
        )
        axis.minorticks_off()
        axis.set_ylim(LEVELS[0] - 25, LEVELS[-1] + 2)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("validation L_100, nats")
    panels[-1].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(main())
