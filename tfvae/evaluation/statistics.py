"""Pure functions of arrays that summarise how a model does."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Of the variance over images of a latent variable's mean (Burda et al., 2016).
ACTIVE_VARIANCE = 0.01


class Mean(NamedTuple):
    """A mean over examples.

    Attributes:
        mean: The mean.
        standard_error: Of the mean; None for one example, which says nothing of the
            spread.
    """

    mean: float
    standard_error: float | None


def mean_with_error(values: np.ndarray) -> Mean:
    """Returns the mean of independent values [N] with its standard error."""
    error = None
    if len(values) > 1:
        error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return Mean(float(np.mean(values)), error)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Mean:
    """Returns the mean of first - second, two scores [N] of the same examples.

    What makes an example easy or hard for both cancels, so that the standard error is
    that of the differences, and not of two independent means.
    """
    return mean_with_error(np.subtract(first, second))


def bits_per_dim(nats: float, image_shape: tuple[int, ...]) -> float:
    """Returns a negative log-likelihood in bits per pixel and channel.

    Args:
        nats: The negative log-likelihood of one image, in nats.
        image_shape: (H, W, C), whose product is the number of dimensions.
    """
    return nats / (math.log(2.0) * math.prod(image_shape))


def active_units(
    posterior_means: tf.Tensor, threshold: float = ACTIVE_VARIANCE
) -> tf.Tensor:
    """Returns how many latent variables depend on x: Var_x(E_q[z_d|x]) > 0.01.

    Burda et al. (2016), section 5.2. For a hierarchy, `tfvae.latents.layer_means` gives
    the means of each layer; `tfvae.evaluation.posterior_summary` does it for a data set
    in bounded memory.

    Args:
        posterior_means: [N, D] E_q[z|x] of N examples.
        threshold: In the squared units of z.

    Returns:
        An int32 scalar.
    """
    variance = tf.math.reduce_variance(posterior_means, axis=0)  # [D]
    return tf.reduce_sum(tf.cast(variance > threshold, tf.int32))
