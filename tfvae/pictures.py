"""Pictures of a model and of its training, as Matplotlib figures.

The functions return figures and show or write nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfvae.models import VAE
from tfvae.types import Seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 1  # pixels between the images of a grid


def reconstructions(vae: VAE, originals: np.ndarray, inputs: np.ndarray) -> Figure:
    """Draws images, what the encoder was given, and the reconstruction means.

    Args:
        vae: The model.
        originals: [n, H, W, C] Grey or colour values.
        inputs: [n, H, W, C] The same images as the encoder sees them.
    """
    means = vae.reconstruct(inputs).numpy()
    rows = {"original": originals, "input": inputs, "mean of p(x|z)": means}
    if np.array_equal(originals, inputs):
        del rows["input"]
    return _rows_of_images(list(rows.values()), list(rows), "reconstructions")


def samples(vae: VAE, num_images: int, seed: Seed) -> Figure:
    """Draws images from the model: means of p(x|z), and draws from it.

    Args:
        vae: The model.
        num_images: In each of the two panels.
        seed: Of z and x.
    """
    drawn = vae.sample(num_images, seed)
    columns = math.ceil(math.sqrt(num_images))
    figure = _figure(9, 4.8)
    panels = {"means of p(x|z)": drawn.mean, "draws from p(x|z)": drawn.draw}
    axes = figure.subplots(1, 2)
    for axis, (title, images) in zip(axes, panels.items(), strict=True):
        _show(axis, _grid(images.numpy(), columns))
        axis.set_title(title)
    figure.suptitle("samples, z from the prior")
    return figure


def traversal(
    vae: VAE, inputs: np.ndarray, num_dims: int = 10, num_steps: int = 11
) -> Figure:
    """Draws what single latent variables do to an image.

    Every row takes the image's posterior mean and moves one variable through the
    prior's quantiles from 1 % to 99 %. The variables are those that change the image
    most.

    Args:
        vae: The model.
        inputs: [1, H, W, C] The image as the encoder sees it.
        num_dims: Rows, at most D.
        num_steps: Columns.
    """
    centre = vae.latent.centre(vae.encode(inputs)).numpy()[0]  # [D]
    levels = np.linspace(0.01, 0.99, num_steps, dtype=centre.dtype)
    values = vae.latent.traversal(levels).numpy()  # [columns, D]
    z = np.tile(centre, (len(centre), num_steps, 1))  # [D, columns, D]
    for dim in range(len(centre)):
        z[dim, :, dim] = values[:, dim]
    images = vae.decode(z).mean().numpy()  # [D, columns, H, W, C]
    change = np.square(images[:, -1] - images[:, 0]).sum(axis=(1, 2, 3))  # [D]
    dims = np.argsort(-change)[:num_dims]
    title = "traversal, prior quantiles 1 % to 99 %"
    return _rows_of_images(list(images[dims]), [f"z[{dim}]" for dim in dims], title)


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draws the numbers of `history.csv` against the epoch.

    Args:
        history: One mapping an epoch, with `epoch` and what `fit` reports.
    """
    figure = _figure(10, 3.6)
    panels = (("loss", "elbo"), ("distortion", "rate"), ("ess",))
    for axis, names in zip(figure.subplots(1, 3), panels, strict=True):
        for name in names:
            for key, style in ((name, "-"), (f"val_{name}", "--")):
                points = [(row["epoch"], row[key]) for row in history if key in row]
                if points:
                    marker = "o" if len(points) == 1 else None
                    sign, label = _loss_like(key)
                    epochs, values = np.transpose(points)
                    axis.plot(epochs, sign * values, style, label=label, marker=marker)
        axis.set_xlabel("epoch")
        if axis.lines:
            axis.legend(fontsize="small")
    figure.axes[0].set_ylabel("nats")
    figure.axes[1].set_ylabel("nats")
    figure.axes[2].set_ylabel("samples")
    return figure


def _loss_like(key: str) -> tuple[float, str]:
    """The elbo is drawn with the sign of the loss, so that the two lie together."""
    return (-1.0, f"-{key}") if key.endswith("elbo") else (1.0, key)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def _rows_of_images(
    rows: Sequence[np.ndarray], labels: Sequence[str], title: str
) -> Figure:
    columns = len(rows[0])
    height, width = rows[0].shape[1:3]
    size = 0.55
    figure = _figure(columns * size + 1.4, len(rows) * size * height / width + 0.6)
    axis = figure.subplots()
    _show(axis, _grid(np.concatenate(rows), columns))
    axis.set_title(title)
    centres = [row * (height + _GAP) + height / 2 - 0.5 for row in range(len(rows))]
    axis.set_yticks(centres, labels)
    axis.tick_params(left=False)
    return figure


def _grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images [n, H, W, C] out in rows, [rows * (H + 1), columns * (W + 1), C]."""
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    cell = (height + _GAP, width + _GAP)
    canvas = np.full((rows * cell[0] - _GAP, columns * cell[1] - _GAP, channels), 0.5)
    for index, image in enumerate(images):
        top, left = (index // columns) * cell[0], (index % columns) * cell[1]
        canvas[top : top + height, left : left + width] = np.clip(image, 0, 1)
    return canvas


def _show(axis, canvas: np.ndarray) -> None:
    if canvas.shape[-1] not in (3, 4):
        canvas = canvas[..., 0]  # colour needs three channels; else the first is shown
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
