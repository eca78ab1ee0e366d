"""Pictures of a model as arrays of pixels."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.models import VAE

_COLUMNS = 8
_PAIRS = 4  # rows of images, each with a row of their reconstructions
_TRAVERSED = 8  # variables
_LEVELS = np.linspace(0.01, 0.99, 11)  # quantiles of the prior
_DRAWS = 4096  # of a learned prior, whose quantiles have no formula
_LINE = 0.5  # grey


def pictures(vae: VAE, x: tf.Tensor, seed: Seed) -> dict[str, tf.Tensor]:
    """Returns pictures by name, uint8 [H, W, 1 or 3].

    - `reconstructions`: rows of images as the encoder sees them, each above a row of
      the means of p(x|z) at the means of q(z|x).
    - `samples`: means of p(x|z), z drawn from p(z), 8 x 8.
    - `traversals`: the code of the first image, with one variable a row moved from the
      prior's quantile 1 % to 99 %; the variables that change the image most, the
      strongest first. Where variables have an order and quantiles.

    Args:
        vae: The model.
        x: [n, H, W, C] Images.
        seed: Of the draws.
    """
    found = {
        "reconstructions": _reconstructions(vae, x[: _COLUMNS * _PAIRS]),
        "samples": _grid(vae.sample(_COLUMNS**2, seed).mean, _COLUMNS),
    }
    values = _quantiles(vae, seed)
    if values is not None:
        found["traversals"] = _traversals(vae, x[:1], values)
    return found


def _reconstructions(vae: VAE, x: tf.Tensor) -> tf.Tensor:
    # Fewer images than the grid has places leave some white.
    missing = -x.shape[0] % _COLUMNS
    both = [
        tf.pad(
            tf.cast(images, tf.float32), [[0, missing]] + [[0, 0]] * 3, "CONSTANT", 1
        )
        for images in (x, vae.reconstruct(x))
    ]
    rows = [tf.reshape(b, [-1, _COLUMNS, *vae.image_shape]) for b in both]
    pairs = tf.stack(rows, axis=1)  # [rows, 2, columns, H, W, C]
    return _grid(tf.reshape(pairs, [-1, *vae.image_shape]), _COLUMNS)


def _quantiles(vae: VAE, seed: Seed) -> tf.Tensor | None:
    """Returns those of single variables under p(z), [levels, D], if they have any."""
    values = vae.latent.traversal(_LEVELS)
    if values is None or vae.prior_layer is None:
        return values
    draws = vae.prior().sample(_DRAWS, seed=derive_seed(seed, "quantiles"))  # [n, D]
    places = np.ceil(_LEVELS * _DRAWS).astype(int) - 1
    return tf.gather(tf.sort(draws, axis=0), places)


def _traversals(vae: VAE, x: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    centre = vae.latent.point_estimate(vae.encode(x))[0]  # [D]
    size = centre.shape[0]

    def moved(dims: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
        """Returns the images [dims, levels, H, W, C]."""
        chosen = tf.one_hot(dims, size, dtype=centre.dtype)[:, tf.newaxis]  # [d, 1, D]
        z = centre + chosen * (tf.cast(levels, centre.dtype) - centre)  # [d, levels, D]
        return vae.decode(z).mean()

    ends = tf.stack([values[0], values[-1]])  # [2, D]
    low, high = tf.unstack(moved(tf.range(size), ends), axis=1)  # [D, H, W, C]
    change = tf.reduce_sum(tf.square(high - low), axis=(1, 2, 3))  # [D]
    strongest = tf.math.top_k(change, min(size, _TRAVERSED)).indices
    images = moved(strongest, values)
    return _grid(tf.reshape(images, [-1, *vae.image_shape]), len(_LEVELS))


def _grid(images: tf.Tensor, columns: int) -> tf.Tensor:
    """Lays images [n, H, W, C], n a multiple of `columns`, side by side, with lines."""
    images = tf.clip_by_value(tf.cast(images, tf.float32), 0.0, 1.0)
    if images.shape[-1] not in (1, 3):  # what a PNG has no colours for
        images = tf.reduce_mean(images, axis=-1, keepdims=True)
    padding = [[0, 0], [0, 1], [0, 1], [0, 0]]
    images = tf.pad(images, padding, constant_values=_LINE)
    _, height, width, channels = images.shape
    grid = tf.reshape(images, [-1, columns, height, width, channels])
    grid = tf.transpose(grid, [0, 2, 1, 3, 4])  # [rows, H, columns, W, C]
    grid = tf.reshape(grid, [-1, columns * width, channels])[:-1, :-1]
    return tf.cast(tf.round(255.0 * grid), tf.uint8)
