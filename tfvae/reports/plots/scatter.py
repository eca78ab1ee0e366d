"""Scatter plots of images in the space of the latent variables."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tfvae.reports.plots.drawing import (
    CLASSES,
    GREY,
    WIDTH,
    Undefined,
    new_figure,
    open_frame,
)

_MARKERS = "osD^v"  # the colours begin again with another one
_NAMED = 20  # classes; of more, no legend could be read


def principal_components(
    points: np.ndarray, count: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Returns points in the coordinates in which they vary most, largest first.

    The sign of each coordinate is such that its axis' largest entry is above 0.

    Args:
        points: [N, D].
        count: The number of coordinates to keep, at most D.

    Returns:
        The coordinates, [N, count], centred, and each one's share of the variance,
        [count].
    """
    centred = points - points.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)  # axes [., D]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, np.newaxis]
    variances = np.square(lengths)
    shares = variances / max(variances.sum(), np.finfo(variances.dtype).tiny)
    return centred @ axes[:count].T, shares[:count]


def latent_scatter(means: np.ndarray, labels: np.ndarray | None = None) -> Figure:
    """Draws posterior means: two of their variables, and two principal components.

    Args:
        means: Posterior means of images, [N, D], or [N, D, K] of one-hots.
        labels: [N] Integers, which give the colours; None: one colour.

    Raises:
        Undefined: if there is one variable, or fewer than three images.
    """
    points = means.reshape(len(means), -1).astype("float64")
    count, size = points.shape
    if size < 2 or count < 3:
        raise Undefined(
            f"a scatter is not defined for {size} latent variables and {count} images; "
            "use a model of 2 or more variables, and 3 or more images"
        )
    figure = new_figure(2 * WIDTH * 0.8)
    places = [np.unravel_index(i, means.shape[1:]) for i in range(2)]
    names = [f"E[z[{', '.join(map(str, at))}]|x]" for at in places]
    components, shares = principal_components(points)
    titles = [
        f"component {number}, {share:.0%} of the variance"
        for number, share in enumerate(shares, start=1)
    ]
    panels = (
        (points[:, :2], names, f"the first two of {size} coordinates"),
        (components, titles, "principal components"),
    )
    for axis, (xy, (x_name, y_name), title) in zip(
        figure.subplots(2, 1), panels, strict=True
    ):
        _scatter(axis, xy, labels)
        axis.set(xlabel=x_name, ylabel=y_name, title=title)
    figure.axes[1].set_aspect("equal", adjustable="datalim")
    handles, texts = figure.axes[0].get_legend_handles_labels()
    if 0 < len(texts) <= _NAMED:
        where: dict[str, Any] = {"loc": "outside lower center", "ncols": 5}
        figure.legend(handles, texts, **where, title="label", markerscale=2.5)
    figure.suptitle(f"posterior means of {count} images, latent units")
    return figure


def _scatter(axis: Axes, points: np.ndarray, labels: np.ndarray | None) -> None:
    open_frame(axis)
    small: dict[str, Any] = {"s": 9, "linewidths": 0}
    if labels is None:
        axis.scatter(*points.T, color=GREY, **small)
        return
    names = np.unique(labels)
    for index, label in enumerate(names):
        marker = _MARKERS[index // len(CLASSES) % len(_MARKERS)]
        look = {"color": CLASSES[index % len(CLASSES)], "marker": marker, **small}
        axis.scatter(*points[labels == label].T, label=str(label), **look)
    if len(names) > _NAMED:
        return
    # Each label stands at its points' median, so that colour is not needed.
    look = {"ha": "center", "va": "center", "weight": "bold", "size": 12}
    look["path_effects"] = [withStroke(linewidth=3, foreground="white")]
    for label in names:
        middle = np.median(points[labels == label], axis=0)
        axis.annotate(str(label), middle, **look)
