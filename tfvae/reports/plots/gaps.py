"""The ladder from the encoder's elbo to log p(x)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tfvae.evaluation import Gaps
from tfvae.evaluation.statistics import Mean
from tfvae.reports.plots.drawing import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    Undefined,
    new_figure,
    open_frame,
)

# What leads from each rung to the next: a gap, its words, and its colour.
_STEPS = (
    ("amortisation", "amortisation", VERMILLION),
    ("linear_gain", "a linear map", BLUE),
    ("flow_gain", "a flow", GREEN),
    ("rest", "the rest, to AIS", GREY),
)


def gap_ladder(elbo: float, gaps: Gaps, width: Mean | None = None) -> Figure:
    """Draws what each better posterior gains, from the encoder's elbo to log p(x).

    Args:
        elbo: The mean elbo of the encoder, in nats.
        gaps: The gaps, see `tfvae.evaluation.Ladder.gaps`.
        width: The width of the bracket of log p(x) (BDMC), a line at the end: what is
            narrower than it is not known.
    """
    figure = new_figure(2.9)
    axis = figure.subplots()
    labels, place = [], elbo
    for row, (name, words, colour) in enumerate(_STEPS):
        size, error = getattr(gaps, name)
        axis.barh(row, size, left=place, xerr=error, color=colour, capsize=3)
        place += size
        spread = "?" if error is None else f"{error:.2f}"
        labels.append(f"{words}\n{size:+.2f} ± {spread}")
    if width is not None:
        ends = [place, place + width.mean]
        axis.plot(ends, [len(_STEPS) - 0.5] * 2, color="black", lw=3, label="BDMC")
        axis.legend(loc="lower left")
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set_xlabel("bound on log p(x) [nats]")
    axis.set_title("from the encoder's elbo to log p(x)")
    open_frame(axis)
    return figure


def gap_ladder_of(section: Mapping[str, Any]) -> Figure:
    """Draws the section `gaps` of an evaluation, see `tfvae.reports.evaluate_run`.

    Raises:
        Undefined: if the section has another layout.
    """
    try:
        start = float(section["elbos"]["encoder"]["mean"])
        found = section["differences"]
        gaps = Gaps(**{name: _mean_of(found[name]) for name in Gaps._fields})
        width = section.get("bdmc_width")
        return gap_ladder(start, gaps, None if width is None else _mean_of(width))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Undefined(
            "the section gaps of the evaluation has another layout; write it again "
            "with: tfvae evaluate --gaps"
        ) from error


def _mean_of(found: Mapping[str, Any]) -> Mean:
    error = found["standard_error"]
    return Mean(float(found["mean"]), None if error is None else float(error))
