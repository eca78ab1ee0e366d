"""Plots made of images: reconstructions, samples, traversals, interpolations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfvae.core.types import Seed
from tfvae.distributions import FULLY_REPARAMETERIZED
from tfvae.evaluation.traversals import (
    prior_quantiles,
    sample_conditions,
    traversal_levels,
    traverse,
)
from tfvae.models import VAE, Batch
from tfvae.models.batch import read_batch
from tfvae.reports.plots.drawing import (
    Undefined,
    grid,
    image_rows,
    label_columns,
    new_figure,
    show,
)

_MOST_ROWS = 12  # of samples, one class each


def reconstructions(vae: VAE, originals: np.ndarray, inputs: Any) -> Figure:
    """Draws images, the encoder's inputs, and the reconstruction means.

    Args:
        vae: The model.
        originals: [n, H, W, C] Grey or colour values.
        inputs: The same images as the encoder sees them: [n, H, W, C], or a `Batch`.
    """
    inputs = read_batch(inputs)
    means = vae.reconstruct(inputs).numpy()
    rows = {"original": originals, "input": np.asarray(inputs.x), "mean": means}
    if np.array_equal(originals, rows["input"]):
        del rows["input"]
    title = "reconstructions: the mean of p(x|z) at z for x"
    return image_rows(list(rows.values()), list(rows), title)


def samples(
    vae: VAE, num_images: int, seed: Seed, inputs: Batch | None = None
) -> Figure:
    """Draws images from the model: means of p(x|z), and draws from it.

    A conditional model's have one condition a row: the classes one after the other.

    Args:
        vae: The model.
        num_images: The number of images in each of the two panels.
        seed: The seed of z and x.
        inputs: Examples whose conditions are taken, where they are no classes.
    """
    columns = math.ceil(math.sqrt(num_images))
    title = "samples, z from the prior"
    given: dict[str, Any] = {}
    if vae.condition is not None:
        rows = -(-num_images // columns)
        count = getattr(vae.condition, "num_classes", rows)
        rows = count if count <= _MOST_ROWS else rows
        num_images, title = rows * columns, f"{title}, one condition a row"
        given["condition"] = sample_conditions(vae, inputs, rows, columns)
    drawn = vae.sample(num_images, seed, **given)
    panels = {"means of p(x|z)": drawn.mean, "draws from p(x|z)": drawn.draw}
    canvases = [grid(images.numpy(), columns) for images in panels.values()]
    height, width = canvases[0].shape[:2]
    figure = new_figure(min(2.7 * height / width, 6.0) + 0.6)
    for axis, name, canvas in zip(figure.subplots(1, 2), panels, canvases, strict=True):
        show(axis, canvas)
        axis.set_title(name)
    figure.suptitle(title)
    return figure


def traversal(
    vae: VAE,
    inputs: Any,
    num_dims: int = 10,
    num_steps: int = 11,
    seed: Seed = 0,
) -> Figure:
    """Draws the effect of single latent variables on an image.

    Every row takes the image's posterior mean and moves one variable through the
    prior's quantiles from 1 % to 99 %. The variables are those that change the image
    most.

    Args:
        vae: The model.
        inputs: The image as the encoder sees it: [1, H, W, C], or a `Batch`.
        num_dims: The number of rows, at most D.
        num_steps: The number of columns.
        seed: The seed of the draws that give a learned prior's quantiles.

    Raises:
        Undefined: if single variables have no order, or no known quantiles.
    """
    inputs = vae.with_condition(inputs).rows(0, 1)
    c = inputs.condition
    values = _quantiles(vae, traversal_levels(num_steps), seed, c)
    code = vae.latent.point_estimate(vae.encode(inputs))[0]  # [D]
    title = "one variable of one image's code moved"
    return _traversal(vae, code, values, num_dims, title, c)


def prior_traversal(
    vae: VAE,
    num_dims: int = 10,
    num_steps: int = 11,
    seed: Seed = 0,
    condition: Any = None,
) -> Figure:
    """Draws the effect of single latent variables, the others at the prior's median.

    It is `traversal` without an image, and has its arguments and errors. `condition` is
    that of one example, [1, ...], of a model that has one.
    """
    levels = np.append(traversal_levels(num_steps), 0.5)
    values = _quantiles(vae, levels, seed, condition)
    title = "one variable moved, the others at their median"
    return _traversal(vae, values[-1], values[:-1], num_dims, title, condition)


def interpolations(vae: VAE, inputs: Any, num_steps: int = 7) -> Figure:
    """Draws the steps between the codes of two images, one pair of images a row.

    The codes are posterior means, and the steps between them equal. Where images have
    conditions, there are equal steps between their features too.

    Args:
        vae: The model.
        inputs: Images as the encoder sees them: [2 n, H, W, C], or a `Batch`; each
            row's first, then each row's last.
        num_steps: The number of images between the two, both reconstructions included.

    Raises:
        Undefined: if nothing lies between two codes, or there are no pairs.
    """
    inputs = vae.with_condition(inputs)
    pairs = inputs.size // 2
    if pairs < 1 or inputs.size % 2:
        raise Undefined(
            f"interpolations are not defined for {inputs.size} images, which are no "
            "pairs; give an even number, 2 or more"
        )
    posterior = vae.encode(inputs)
    kind = type(vae.latent).__name__
    if len(vae.latent.event_shape) > 1:
        raise Undefined(
            f"interpolations are not defined for {kind}: a mix of two one-hots is "
            "none; use a model of single numbers, for example latent 'normal'"
        )
    if posterior.reparameterization_type != FULLY_REPARAMETERIZED:
        raise Undefined(
            f"interpolations are not defined for {kind}: nothing lies between 0 and 1; "
            "use a model of continuous variables, for example latent 'normal'"
        )
    centres = vae.latent.point_estimate(posterior).numpy()  # [2 n, D]
    share = np.linspace(0, 1, num_steps, dtype=centres.dtype)[:, np.newaxis]
    x, rows = np.asarray(inputs.x), []
    features = None
    if vae.decoder.condition_shape is not None:
        features = vae.condition(inputs.condition).numpy()  # [2 n, ...]
    for row in range(pairs):
        first, last = centres[row], centres[pairs + row]  # [D]
        z, given = (1 - share) * first + share * last, {}
        if features is not None:
            steps = share.reshape([-1] + [1] * (features.ndim - 1))
            mixed = (1 - steps) * features[row] + steps * features[pairs + row]
            given["condition"] = mixed
        decoded = vae.decoder(vae.latent.decoder_input(tf.constant(z)), **given)
        images = decoded.mean().numpy()
        rows.append(np.concatenate([x[[row]], images, x[[pairs + row]]]))
    figure = image_rows(rows, [""] * pairs, "interpolations between two codes")
    between = [""] * num_steps
    between[0], between[-1] = "0", "1"
    label_columns(figure, ["from", *between, "to"], x.shape[2])
    return figure


def _quantiles(
    vae: VAE, levels: np.ndarray, seed: Seed, condition: Any = None
) -> tf.Tensor:
    values = prior_quantiles(vae, levels, seed, condition)
    if values is None:
        one_hot = len(vae.latent.event_shape) > 1
        reason = (
            "the classes of a variable have no order"
            if one_hot
            else "the quantiles of its variables under p(z) are not known"
        )
        raise Undefined(
            f"traversals are not defined for {type(vae.latent).__name__}: {reason}; "
            "use a model of one layer of single numbers, for example latent 'normal'"
        )
    return values


def _traversal(
    vae: VAE,
    code: tf.Tensor,
    values: tf.Tensor,
    num_dims: int,
    title: str,
    condition: Any = None,
) -> Figure:
    """Draws the variables that change an image most.

    Args:
        vae: The model.
        code: [D] Where the other variables stay.
        values: [columns, D] Where each variable goes.
        num_dims: The number of rows, at most D.
        title: The figure's title.
        condition: That of all images, [1, ...].
    """
    codes = traverse(code, values, tf.range(code.shape[0]))  # [D, columns, D]
    given = {} if condition is None else {"condition": condition}
    images = vae.decode(codes, **given).mean().numpy()  # [D, columns, H, W, C]
    change = np.square(images[:, -1] - images[:, 0]).sum(axis=(1, 2, 3))  # [D]
    dims = np.argsort(-change)[:num_dims]
    figure = image_rows(list(images[dims]), [f"z[{dim}]" for dim in dims], title)
    between = [""] * len(values)
    between[0], between[len(values) // 2], between[-1] = "1 %", "50 %", "99 %"
    label_columns(figure, between, images.shape[3])
    figure.axes[0].set_xlabel("quantile under the prior")
    return figure
