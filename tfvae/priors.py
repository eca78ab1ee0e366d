"""Distributions over the latent variable z: batch shape [], event shape [D]."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def standard_normal(latent_size: int, dtype: str = "float32") -> tfd.Distribution:
    """Normal(0, 1) in each of `latent_size` dimensions."""
    return tfd.Independent(
        tfd.Normal(tf.zeros([latent_size], dtype), tf.ones([], dtype)), 1
    )


def standard_logistic(latent_size: int, dtype: str = "float32") -> tfd.Distribution:
    """Logistic(0, 1) in each of `latent_size` dimensions."""
    return tempered_logistic(latent_size, tf.ones([], dtype))


def tempered_logistic(latent_size: int, temperature: tf.Tensor) -> tfd.Distribution:
    """Logistic(0, 1 / temperature): the logit of a fair BinConcrete.

    Maddison, Mnih and Teh (2017), appendix C.3.

    Args:
        latent_size: D.
        temperature: A positive scalar tensor, whose dtype is the distribution's.
    """
    loc = tf.zeros([latent_size], temperature.dtype)
    return tfd.Independent(tfd.Logistic(loc, 1.0 / temperature), 1)
