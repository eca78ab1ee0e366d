"""Images of a model's reconstructions, samples and traversals, as arrays of pixels."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfvae.core.types import Seed
from tfvae.evaluation.traversals import (
    prior_quantiles,
    sample_conditions,
    traversal_levels,
    traverse,
)
from tfvae.models import VAE, Batch

_COLUMNS = 8
_PAIRS = 4  # rows of images, each with a row of their reconstructions
_TRAVERSED = 8  # variables
_LINE = 0.5  # grey


def model_images(vae: VAE, batch: Batch, seed: Seed) -> dict[str, tf.Tensor]:
    """Returns images by name, uint8 [H, W, 1 or 3].

    - `reconstructions`: rows of images as the encoder sees them, each above a row of
      the means of p(x|z) at the means of q(z|x).
    - `samples`: means of p(x|z), z drawn from p(z), 8 x 8; with a condition, one for
      each row.
    - `traversals`: the code of the first image, with one variable a row moved from the
      prior's quantile 1 % to 99 %; the variables that change the image most, the
      strongest first. Only of models whose variables have an order and quantiles.

    Args:
        vae: The model.
        batch: n images [H, W, C], with their roles.
        seed: The seed of the draws.
    """
    batch = vae.with_condition(batch)
    condition = sample_conditions(vae, batch, _COLUMNS, _COLUMNS)
    given = {} if condition is None else {"condition": condition}
    found = {
        "reconstructions": _reconstructions(vae, batch.rows(0, _COLUMNS * _PAIRS)),
        "samples": _grid(vae.sample(_COLUMNS**2, seed, **given).mean, _COLUMNS),
    }
    first = batch.rows(0, 1).condition
    values = prior_quantiles(vae, traversal_levels(), seed, first)
    if values is not None:
        found["traversals"] = _traversals(vae, batch.rows(0, 1), values)
    return found


def _reconstructions(vae: VAE, batch: Batch) -> tf.Tensor:
    # Fewer images than the grid has places leave some white.
    padding = [[0, -batch.size % _COLUMNS]] + [[0, 0]] * 3
    both = [
        tf.pad(tf.cast(images, tf.float32), padding, constant_values=1)
        for images in (batch.x, vae.reconstruct(batch))
    ]
    rows = [tf.reshape(b, [-1, _COLUMNS, *vae.image_shape]) for b in both]
    pairs = tf.stack(rows, axis=1)  # [rows, 2, columns, H, W, C]
    return _grid(tf.reshape(pairs, [-1, *vae.image_shape]), _COLUMNS)


def _traversals(vae: VAE, batch: Batch, values: tf.Tensor) -> tf.Tensor:
    code = vae.latent.point_estimate(vae.encode(batch))[0]  # [D]
    size = code.shape[0]
    ends = tf.gather(values, [0, values.shape[0] - 1])  # [2, D]
    c = batch.condition
    given: dict[str, Any] = {} if c is None else {"condition": c}
    codes = traverse(code, ends, tf.range(size))
    moved = vae.decode(codes, **given).mean()  # [D, 2, H, W, C]
    low, high = tf.unstack(moved, axis=1)
    change = tf.reduce_sum(tf.square(high - low), axis=(1, 2, 3))  # [D]
    strongest = tf.math.top_k(change, min(size, _TRAVERSED)).indices
    images = vae.decode(traverse(code, values, strongest), **given).mean()
    return _grid(tf.reshape(images, [-1, *vae.image_shape]), values.shape[0])


def _grid(images: tf.Tensor, columns: int) -> tf.Tensor:
    """Lays images [n, H, W, C], n a multiple of `columns`, side by side, with lines."""
    images = tf.clip_by_value(tf.cast(images, tf.float32), 0.0, 1.0)
    if images.shape[-1] not in (1, 3):  # a PNG has grey values, or three colours
        images = tf.reduce_mean(images, axis=-1, keepdims=True)
    padding = [[0, 0], [0, 1], [0, 1], [0, 0]]
    images = tf.pad(images, padding, constant_values=_LINE)
    _, height, width, channels = images.shape
    grid = tf.reshape(images, [-1, columns, height, width, channels])
    grid = tf.transpose(grid, [0, 2, 1, 3, 4])  # [rows, H, columns, W, C]
    grid = tf.reshape(grid, [-1, columns * width, channels])[:-1, :-1]
    return tf.cast(tf.round(255.0 * grid), tf.uint8)
