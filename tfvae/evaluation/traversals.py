"""Codes in which one latent variable at a time moves along its prior's quantiles."""

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.models import VAE

_DRAWS = 4096  # of a learned prior, whose quantiles have no formula


def traversal_levels(num_steps: int = 11) -> np.ndarray:
    """Returns the levels of a traversal's quantiles, from 1 % to 99 %."""
    return np.linspace(0.01, 0.99, num_steps)


def prior_quantiles(vae: VAE, levels: np.ndarray, seed: Seed) -> tf.Tensor | None:
    """Returns the quantiles of single variables under p(z), [levels, D].

    The levels are numbers between 0 and 1.
    The quantiles of a learned prior are those of 4096 draws: each is the least draw
    below or at which the level's share of them lies, so that a Bernoulli variable has 0
    or 1. None where single variables have no order, or no known quantiles.
    """
    values = vae.latent.traversal(levels)
    if values is None or vae.prior_layer is None:
        return values
    draws = vae.prior().sample(_DRAWS, seed=derive_seed(seed, "quantiles"))  # [n, D]
    places = np.ceil(levels * _DRAWS).astype(int) - 1
    return tf.gather(tf.sort(draws, axis=0), places)


def traverse(code: tf.Tensor, values: tf.Tensor, dims: tf.Tensor) -> tf.Tensor:
    """Returns the code [D] with one of the variables `dims` moved, [dims, levels, D].

    Each variable goes to its `values` [levels, D].
    """
    moved = tf.one_hot(dims, code.shape[0], on_value=True, off_value=False)
    values = tf.cast(values, code.dtype)
    return tf.where(moved[:, tf.newaxis], values, code)  # [dims, levels, D]
