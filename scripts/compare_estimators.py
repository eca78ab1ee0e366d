#!/usr/bin/env python3
"""Compares gradient estimators; prints a table and writes a picture.

    .venv/bin/python scripts/compare_estimators.py [--out FILE.png] [--fast]

measures the signal-to-noise ratio against the number of samples, of estimators for
Normal z, and

    .venv/bin/python scripts/compare_estimators.py --latent bernoulli

the variance and the bias of those for discrete z, at equal cost.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from studies import (
    FAST,
    FAST_VARIANCE,
    FULL,
    FULL_VARIANCE,
    Curve,
    Size,
    Spread,
    compare_estimators,
    compare_variances,
    table,
    variance_table,
)
from studies.variance import PARTS

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
        "--fast", action="store_true", help="fewer samples and draws, in a minute"
    )
    parser.add_argument("--latent", choices=("normal", "bernoulli"), default="normal")
    parser.add_argument("--seed", type=int, default=0, help="of every draw")
    given = parser.parse_args(arguments)
    study = of_discrete if given.latent == "bernoulli" else of_normal
    try:
        check(given.out)
        figure, text = study(given.fast, given.seed)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    figure.savefig(given.out)
    print(f"{text}; {given.out}")
    return 0


def of_normal(fast: bool, seed: int) -> tuple[Figure, str]:
    """Returns the picture and the table of signal-to-noise ratios."""
    size = FAST if fast else FULL
    curves = compare_estimators(size, seed)
    said = f"slopes of log SNR against log K from K = {size.fit_from}"
    return draw(curves, size), f"{table(curves)}\n\n{said}"


def of_discrete(fast: bool, seed: int) -> tuple[Figure, str]:
    """Returns the picture and the table of variances."""
    size = FAST_VARIANCE if fast else FULL_VARIANCE
    spreads = compare_variances(size, seed)
    said = (
        f"the elbo's gradient of {size.images} digits, {size.latent_size} Bernoulli "
        f"variables, {size.copies} draws; over the exact gradient's squared norm"
    )
    return draw_variances(spreads), f"{variance_table(spreads)}\n\n{said}"


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


def draw_variances(spreads: Sequence[Spread]) -> Figure:
    """Returns a figure with a panel for each network, a curve for each estimator."""
    figure = Figure(figsize=(10, 4.8), layout="constrained", dpi=120)
    for part, axis in zip(PARTS, figure.subplots(1, 2), strict=True):
        for index, name in enumerate(dict.fromkeys(s.estimator for s in spreads)):
            own = [s for s in spreads if s.estimator == name]
            found = [s.variance[part] for s in own]
            axis.errorbar(
                [s.evaluations * 1.008**index for s in own],
                [m.value for m in found],
                [m.error for m in found],
                fmt=f"{'os^vDP*X'[index % 8]}{'-' if own[0].unbiased else ':'}",
                label=name if own[0].unbiased else f"{name} (biased)",
                markersize=4,
                linewidth=1.2,
            )
        axis.set(xscale="log", yscale="log", title=part)
        axis.set_xlabel("evaluations of the decoder for each image")
        counts = sorted({s.evaluations for s in spreads})
        axis.set_xticks(counts, map(str, counts))
        axis.xaxis.set_minor_locator(NullLocator())
    figure.axes[0].set_ylabel(
        "variance of the gradient / |gradient|\N{SUPERSCRIPT TWO}"
    )
    figure.axes[1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    sys.exit(main())
