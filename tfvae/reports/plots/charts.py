"""Plots of numbers: rates, importance weights, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfvae.objectives.bounds import effective_sample_size
from tfvae.reports.plots.drawing import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    Undefined,
    new_figure,
    open_frame,
)

_LEAST = -6.0  # log10 of a weight; those below it share a bar
_BIN = 0.25
_INDEXED = 24  # bars; of more, the numbers below them could not be read

_PANELS = (("loss", "elbo"), ("distortion", "rate"), ("ess",))
_SETTINGS = ("kl_weight", "temperature", "prior_temperature")
_UNITS = {"loss": "nats", "distortion": "nats", "ess": "samples", "setting": "value"}
_COLOURS = (BLUE, VERMILLION, GREEN)


class LayerRates(NamedTuple):
    """Rates of one layer of D latent variables.

    Attributes:
        rates: [D] Means over images, in nats; None where they are not defined.
        errors: [D] The standard errors of the rates, or None.
        active: [D] True for each variable that depends on x, or None.
    """

    rates: np.ndarray | None
    errors: np.ndarray | None = None
    active: np.ndarray | None = None


def rates(layers: Sequence[LayerRates]) -> Figure:
    """Draws the rate of each latent variable, largest first, and which are active.

    Args:
        layers: The layers, nearest x first.

    Raises:
        Undefined: if no layer's variables have rates of their own.
    """
    shown = [(k, x, x.rates) for k, x in enumerate(layers, 1) if x.rates is not None]
    if not shown:
        raise Undefined(
            "rates of single variables are not defined for this model: they depend on "
            "each other under q(z|x) or p(z); use a model of independent variables, "
            "for example latent 'normal' with prior 'standard'"
        )
    figure = new_figure(2.9 * len(shown) + 0.3)
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axis, (number, layer, values) in zip(axes, shown, strict=True):
        _rates(axis, layer, values)
        which = f"layer {number}: " if len(layers) > 1 else ""
        axis.set_title(f"{which}rates, sum {values.sum():.2f} nats")
    return figure


def _rates(axis: Axes, layer: LayerRates, values: np.ndarray) -> None:
    order = np.argsort(-values, kind="stable")
    values, places = values[order], np.arange(len(order))
    active = np.ones(len(order), bool) if layer.active is None else layer.active[order]
    for which, colour, name in (
        (active, BLUE, f"active: {active.sum()} of {len(order)}"),
        (~active, GREY, "not active"),
    ):
        if which.any():
            label = None if layer.active is None else name
            axis.bar(places[which], values[which], color=colour, label=label)
    if layer.errors is not None:
        axis.errorbar(
            places, values, layer.errors[order], fmt="none", ecolor="black", lw=0.8
        )
    if layer.active is not None:
        axis.legend()
    if len(order) <= _INDEXED:
        axis.set_xticks(places, order)
        axis.set_xlabel("latent variable")
    else:
        axis.set_xlabel("latent variables, by their rate")
    axis.set_ylabel("rate [nats]")
    open_frame(axis)


def importance_weights(log_weights: np.ndarray) -> Figure:
    """Draws how the normalised importance weights of single images are spread.

    The histogram counts every sample of every image. Below it is the share of the
    weight that an image's largest samples have, a mean over the images.

    Args:
        log_weights: [S, N], in nats.

    Raises:
        Undefined: if there is one sample, whose weight is always 1.
    """
    count, images = log_weights.shape
    if count < 2:
        raise Undefined(
            "importance weights are not defined for num_samples 1, whose weight is "
            "always 1; use a model with num_samples (--num-samples) of 2 or more"
        )
    log_weights = log_weights.astype("float64")
    log_weights = log_weights - np.logaddexp.reduce(log_weights, axis=0)
    figure = new_figure(5.6)
    above, below = figure.subplots(2, 1)
    _weight_histogram(above, log_weights / np.log(10), count)
    shares = np.sort(np.exp(log_weights), axis=0)[::-1].cumsum(axis=0)  # [S, N]
    ranks = np.arange(1, count + 1)
    below.plot(ranks, shares.mean(axis=1), color=BLUE, label="mean over images")
    below.plot(ranks, ranks / count, color=GREY, ls=":", label="equal weights")
    below.set(xlabel="largest samples [number]", ylabel="share of the weight")
    below.set(xscale="log", ylim=(0, 1.03))
    below.set_xticks(_one_two_five(count))
    below.xaxis.set_major_formatter("{x:.0f}")
    below.minorticks_off()
    below.legend()
    open_frame(below)
    ess = float(np.mean(effective_sample_size(log_weights)))
    figure.suptitle(
        f"importance weights: {count} samples of {images} images, mean ess {ess:.1f}",
        size="medium",
    )
    return figure


def _one_two_five(count: int) -> list[int]:
    """Returns 1, 2, 5, 10, ... up to a count."""
    powers = [10**digits for digits in range(len(str(count)))]
    return [n for power in powers for n in (power, 2 * power, 5 * power) if n <= count]


def _weight_histogram(axis: Axes, log10: np.ndarray, count: int) -> None:
    # The first bar is of all weights that are smaller still.
    edges = np.arange(_LEAST - _BIN, _BIN / 2, _BIN)
    clipped = np.clip(log10, _LEAST - _BIN / 2, 0.0)
    heights, _ = np.histogram(clipped, edges)
    colours = [GREY, *[BLUE] * (len(heights) - 1)]
    axis.bar(edges[:-1], heights, 0.92 * _BIN, align="edge", color=colours)
    axis.axvline(-np.log10(count), color=VERMILLION, ls="--", label="1 / samples")
    ticks = np.arange(_LEAST, 0.5)
    axis.set_xticks(ticks, [f"$10^{{{tick:.0f}}}$" for tick in ticks])
    axis.set(xlabel="normalised weight (grey: all below)", ylabel="samples [number]")
    axis.set(yscale="log", ylim=(0.5, None))
    axis.legend()
    open_frame(axis)


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draws the numbers of `history.csv` against the epoch.

    Args:
        history: One mapping an epoch, with `epoch` and what `fit` reports.

    Raises:
        Undefined: if there is no epoch.
    """
    if not history:
        raise Undefined(
            "training curves are not defined without an epoch; train with tfvae train"
        )
    panels = [*_PANELS]
    settings = tuple(n for n in _SETTINGS if any(n in row for row in history))
    if settings:
        panels.append(settings)
    figure = new_figure(2.1 * len(panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True)
    for axis, names in zip(all_axes, panels, strict=True):
        for name, colour in zip(names, _COLOURS, strict=False):
            _curve(axis, history, name, colour, "-")
            _curve(axis, history, f"val_{name}", colour, "--")
        axis.set_ylabel(_UNITS.get(names[0], _UNITS["setting"]))
        if axis.lines:  # above the chart, where no curve runs
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
            axis.legend(**place, ncols=4, fontsize="small", frameon=False)
        open_frame(axis)
    all_axes[-1].set_xlabel("epoch")
    all_axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle("training (solid) and validation (dashed)")
    return figure


def _curve(
    axis: Axes, history: Sequence[Mapping[str, float]], key: str, colour: str, line: str
) -> None:
    points = [(row["epoch"], row[key]) for row in history if key in row]
    if not points:
        return
    # The elbo is drawn with the sign of the loss, so that the two lie together.
    sign, label = (-1.0, f"-{key}") if key.endswith("elbo") else (1.0, key)
    epochs, values = np.transpose(points)
    marker = "o" if len(points) == 1 else None
    axis.plot(epochs, sign * values, line, color=colour, label=label, marker=marker)
