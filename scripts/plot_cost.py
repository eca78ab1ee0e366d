#!/usr/bin/env python3
"""Draws how the cost of training grows with samples, batch and width.

The cost is the time for one image, through `fit`; beside it, that of the matrix
products alone. The recipe is mnist-iwae with batch 100, of which one number at a time
is changed.

    .venv/bin/python scripts/plot_cost.py [--out FILE.png] [--manual-dir PATH/TO/mnist]
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from tfvae.benchmark import Benchmark, run_benchmark
from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.config.settings import Benchmarking
from tfvae.core.types import InputError

VALUES = {
    "num_samples": (1, 5, 15, 50, 150, 500),
    "batch_size": (10, 20, 100, 500),
    "hidden_sizes": (50, 100, 200, 400, 800),
}
AXES = {
    "num_samples": "K samples",
    "batch_size": "batch",
    "hidden_sizes": "hidden units",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("cost.png"))
    parser.add_argument("--data-dir", help="as of tfvae train")
    parser.add_argument("--manual-dir", help="as of tfvae train")
    given = parser.parse_args(arguments)
    base = dataclasses.replace(
        RECIPES["mnist-iwae"].config,
        batch_size=100,
        data_dir=given.data_dir,
        manual_dir=given.manual_dir,
    )
    try:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        figure = draw(measure(base))
        figure.savefig(given.out)
    except (InputError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(given.out)
    return 0


def measure(base: Config) -> dict[str, list[tuple[int, Benchmark, Benchmark]]]:
    """Returns (value, dense, with 8 survivors) by what is changed."""
    settings = Benchmarking(
        blocks=3, block_seconds=0.7, evaluation_samples=1, evaluation_images=100
    )
    found = {}
    for field, values in VALUES.items():
        found[field] = []
        for value in values:
            changed = (value, value) if field == "hidden_sizes" else value
            config = dataclasses.replace(base, **{field: changed})
            dense = run_benchmark(config, settings)
            few = dense
            if config.num_samples > 8:
                config = dataclasses.replace(config, backward_samples=8)
                few = run_benchmark(config, settings)
            found[field].append((value, dense, few))
            print(
                f"{field} {value}: {dense.training.rate.images_per_s:,.0f} images/s, "
                f"{few.training.rate.images_per_s:,.0f} with 8 survivors",
                flush=True,
            )
    return found


def draw(found: dict[str, list[tuple[int, Benchmark, Benchmark]]]) -> Figure:
    """Returns a figure with a panel for each number that is changed."""
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    for axis, (field, rows) in zip(
        figure.subplots(1, len(found), sharey=True), found.items(), strict=True
    ):
        values = [value for value, _, _ in rows]
        curves = {
            "training": [dense.training.rate for _, dense, _ in rows],
            "8 survivors": [few.training.rate for _, _, few in rows],
            "products alone": [dense.training.limit for _, dense, _ in rows],
        }
        for (label, rates), style in zip(
            curves.items(), ("o-", "s-", ":"), strict=True
        ):
            times = [1e6 / rate.images_per_s for rate in rates]
            axis.plot(values, times, style, label=label, markersize=4)
        axis.set(xscale="log", yscale="log", xlabel=AXES[field])
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("microseconds an image")
    first.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(main())
