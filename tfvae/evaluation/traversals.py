"""Codes in which one latent variable at a time moves along its prior's quantiles."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.models import VAE, Batch

_DRAWS = 4096  # of a learned prior, whose quantiles have no formula


def traversal_levels(num_steps: int = 11) -> np.ndarray:
    """Returns the levels of a traversal's quantiles, from 1 % to 99 %."""
    return np.linspace(0.01, 0.99, num_steps)


def prior_quantiles(
    vae: VAE, levels: np.ndarray, seed: Seed, condition: Any = None
) -> tf.Tensor | None:
    """Returns the quantiles of single variables under p(z), [levels, D].

    The levels are numbers between 0 and 1, and the condition that of one example,
    [1, ...], of a model that has one.
    The quantiles of a learned prior are those of 4096 draws: each is the least draw
    below or at which the level's share of them lies, so that a Bernoulli variable has 0
    or 1. None where single variables have no order, or no known quantiles.
    """
    values = vae.latent.traversal(levels)
    if values is None or vae.prior_layer is None:
        return values
    shape, seed = [_DRAWS, 1], derive_seed(seed, "quantiles")
    draws = vae.draw_prior(shape, seed, condition)[:, 0]  # [n, D]
    places = np.ceil(levels * _DRAWS).astype(int) - 1
    return tf.gather(tf.sort(draws, axis=0), places)


def sample_conditions(vae: VAE, batch: Batch | None, rows: int, columns: int) -> Any:
    """Returns the conditions of rows * columns samples, row by row; None without one.

    Each row has one condition: classes in turn, and else those of a batch's examples.
    """
    if vae.condition is None:
        return None
    numbers = np.repeat(np.arange(rows), columns)
    count = getattr(vae.condition, "num_classes", None)
    if count is not None:
        return tf.constant(numbers % count, tf.int64)
    if batch is None or batch.condition is None:
        raise InputError("samples need conditions; give examples that have them")
    found = tf.nest.map_structure(
        lambda c: tf.gather(c, numbers % batch.size), batch.condition
    )
    return vae.condition.read(found)


def traverse(code: tf.Tensor, values: tf.Tensor, dims: tf.Tensor) -> tf.Tensor:
    """Returns the code [D] with one of the variables `dims` moved, [dims, levels, D].

    Each variable goes to its `values` [levels, D].
    """
    moved = tf.one_hot(dims, code.shape[0], on_value=True, off_value=False)
    values = tf.cast(values, code.dtype)
    return tf.where(moved[:, tf.newaxis], values, code)  # [dims, levels, D]
