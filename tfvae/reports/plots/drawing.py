"""Sizes, colours, and grids of images, shared by all plots."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfvae.core.types import InputError

# Inches. A telephone's 360 pixels then still show 10 point letters at a readable size.
WIDTH = 5.6
_DPI = 144
_GAP = 1  # pixels between the images of a grid

# Okabe and Ito's colours, which can be told apart without red or green cones.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY = "#9A9A9A"
# Tol's "muted" scheme and black: ten classes, likewise.
CLASSES = (
    *("#332288", "#DDCC77", "#117733", "#CC6677", "#88CCEE"),
    *("#882255", "#44AA99", "#999933", "#AA4499", "#000000"),
)


class Undefined(InputError):
    """A plot is not defined for a model; the message says why, in one line."""


def new_figure(height: float) -> Figure:
    """Returns an empty figure, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained", dpi=_DPI)


def png_bytes(figure: Figure) -> bytes:
    """Returns a figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def image_rows(rows: Sequence[np.ndarray], labels: Sequence[str], title: str) -> Figure:
    """Draws rows of images, each with a label.

    Args:
        rows: The images of each row, [columns, H, W, C].
        labels: One label a row.
        title: The figure's title.
    """
    columns = len(rows[0])
    height, width = rows[0].shape[1:3]
    margin = 0.15 + 0.085 * max(map(len, labels))  # inches, for letters of 10 points
    cell = min((WIDTH - margin) / columns, 0.8)
    figure = new_figure(len(rows) * cell * height / width + 0.5)
    axis = figure.subplots()
    show(axis, grid(np.concatenate(rows), columns))
    axis.set_title(title)
    axis.set_yticks(_centres(len(rows), height), labels)
    axis.tick_params(length=0)
    return figure


def label_columns(figure: Figure, labels: Sequence[str], width: int) -> None:
    """Writes a label under each column of images that are `width` pixels wide."""
    figure.axes[0].set_xticks(_centres(len(labels), width), labels)


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images [n, H, W, C] out in rows, [rows * (H + 1), columns * (W + 1), C]."""
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    cell = (height + _GAP, width + _GAP)
    canvas = np.full((rows * cell[0] - _GAP, columns * cell[1] - _GAP, channels), 0.5)
    for index, image in enumerate(images):
        top, left = (index // columns) * cell[0], (index % columns) * cell[1]
        canvas[top : top + height, left : left + width] = np.clip(image, 0, 1)
    return canvas


def show(axis: Axes, canvas: np.ndarray) -> None:
    """Draws pixels [H, W, C], without ticks or a frame."""
    if canvas.shape[-1] not in (3, 4):
        canvas = canvas[..., 0]  # colour needs three channels; else the first is shown
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def open_frame(axis: Axes) -> None:
    """Leaves a chart the two axes that carry numbers."""
    axis.spines[["top", "right"]].set_visible(False)


def _centres(count: int, size: int) -> list[float]:
    """Returns the middles of a grid's cells, in pixels."""
    return [index * (size + _GAP) + size / 2 - 0.5 for index in range(count)]
