#!/usr/bin/env python3
"""Measures the gradient's signal-to-noise ratio against the number of samples.

Prints a table of slopes and writes a picture. Run it with the project's own Python:

    .venv/bin/python scripts/compare_estimators.py [--out FILE.png] [--fast]
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure
from studies import FAST, FULL, Curve, Size, compare_estimators, table

from tfvae.core.types import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("runs/estimators.png"),
        metavar="FILE.png",
        help="the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--fast", action="store_true", help="up to K = 256, in some twenty seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw")
    given = parser.parse_args(arguments)
    size = FAST if given.fast else FULL
    try:
        check(given.out)
        curves = compare_estimators(size, given.seed)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    draw(curves, size).savefig(given.out)
    print(table(curves))
    print(f"\nslopes of log SNR against log K from K = {size.fit_from}; {given.out}")
    return 0


def check(out: pathlib.Path) -> None:
    """Refuses, before the work is done, a file that cannot be written.

    Raises:
        InputError: It is no PNG file, or its folder cannot be made.
    """
    if out.suffix != ".png" or out.is_dir():
        raise InputError(f"--out {out} is not usable; give a file that ends in .png")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {out}: its folder cannot be made ({error.strerror}); give another"
        ) from error
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise InputError(f"--out {out} cannot be written to; give another")


def draw(curves: Sequence[Curve], size: Size) -> Figure:
    """Returns a figure with a panel for each network, both axes logarithmic."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", dpi=120)
    panels = dict(zip(("encoder", "decoder"), figure.subplots(1, 2), strict=True))
    # The decoder's curves of the iwae lie on one another.
    styles = dict(zip(("pathwise", "stl", "dreg"), ("o-", "s--", "^:"), strict=True))
    for curve in curves:
        axis = panels[curve.part]
        axis.errorbar(
            curve.num_samples,
            curve.ratio,
            curve.ratio * curve.error,
            fmt=styles[curve.estimator],
            color="0.5" if curve.objective == "elbo" else None,
            label=f"{curve.objective} {curve.estimator}: slope {curve.slope:+.3f} "
            f"\N{PLUS-MINUS SIGN} {curve.slope_error:.3f}",
            markersize=4,
            linewidth=1.2,
        )
    for part, axis in panels.items():
        axis.set(xscale="log", yscale="log", xlabel="K samples", title=part)
        floor = size.copies**-0.5
        axis.axhline(floor, color="0.8", linewidth=1, label="1 / sqrt(copies)")
        axis.axvline(size.fit_from, color="0.9", linewidth=1, label="fitted from here")
        axis.legend(fontsize="small")
    panels["encoder"].set_ylabel("signal-to-noise ratio of the gradient")
    return figure


if __name__ == "__main__":
    sys.exit(main())
