"""Pure functions of arrays that summarise how a model does."""

from __future__ import annotations

import math

import tensorflow as tf
from check_shapes import check_shapes


@check_shapes("log_weights: [S, B]", "return: [B]")
def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns (sum_s w_s)^2 / sum_s w_s^2 of each example, between 1 and S.

    Kong (1992); computed from the normalised weights, so that log-weights of any
    size are safe.
    """
    weights = tf.nn.softmax(log_weights, axis=0)  # [S, B]
    return 1.0 / tf.reduce_sum(tf.square(weights), axis=0)


def bits_per_dim(nats: float, image_shape: tuple[int, ...]) -> float:
    """Returns a negative log-likelihood in bits per pixel and channel.

    Args:
        nats: The negative log-likelihood of one image, in nats.
        image_shape: (H, W, C), whose product is the number of dimensions.
    """
    return nats / (math.log(2.0) * math.prod(image_shape))


@check_shapes("posterior_means: [N, D]", "return: []")
def active_units(posterior_means: tf.Tensor, threshold: float = 0.01) -> tf.Tensor:
    """Returns how many latent variables depend on x: Var_x(E_q[z_d|x]) > 0.01.

    Burda et al. (2016), section 5.2. For a hierarchy, `tfvae.latents.layer_means` gives
    the means of each layer.

    Args:
        posterior_means: E_q[z|x] of N examples.
        threshold: In the squared units of z.

    Returns:
        An int32.
    """
    variance = tf.math.reduce_variance(posterior_means, axis=0)  # [D]
    return tf.reduce_sum(tf.cast(variance > threshold, tf.int32))
