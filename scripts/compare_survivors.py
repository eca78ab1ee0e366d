#!/usr/bin/env python3
"""Measures the variance that a backward pass for a few survivors adds.

Compares it, on a trained run, with the variance that the gradient has over minibatches
and draws. Run it with the project's own Python:

    .venv/bin/python scripts/compare_survivors.py RUN [--batches N]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

from studies import added_variance

from tfvae.core.types import InputError
from tfvae.data import training_batches
from tfvae.training.runs import BINARIZATION_SEED, load_data, load_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", metavar="RUN", help="the folder of a trained run")
    parser.add_argument("--batches", type=int, default=100, help="default: 100")
    parser.add_argument(
        "--kept",
        type=int,
        nargs="+",
        default=[2, 4, 8, 16],
        metavar="m",
        help="numbers of survivors (default: 2 4 8 16)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw")
    given = parser.parse_args(arguments)
    try:
        print(table(given))
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def table(given: argparse.Namespace) -> str:
    """Returns a line for each number of survivors."""
    run = load_run(given.run)
    config = run.record.config
    batches = training_batches(
        load_data(config).train,
        config.batch_size,
        binarization=config.binarization,
        seed=given.seed,
        binarization_seed=BINARIZATION_SEED,
    )
    rows = added_variance(
        run.vae,
        itertools.islice(batches, given.batches),
        config.num_samples,
        given.kept,
        seed=given.seed,
    )
    lines = [
        f"{config.objective}, K = {config.num_samples}, {given.batches} batches of "
        f"{config.batch_size}: variance added by resampling, in % of the gradient's own"
    ]
    for row in rows:
        share, error = 100 * row.ratio, 100 * row.standard_error
        lines.append(f"  m = {row.backward_samples:<4} {share:9.4f} +- {error:.4f} %")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
