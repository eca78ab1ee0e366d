"""Priors without weights: batch shape [], event shape [D], or [D, K] for one-hots."""

import tensorflow as tf

from tfvae.distributions import (
    Bernoulli,
    ExpRelaxedOneHotCategorical,
    IndependentBernoulli,
    IndependentLogistic,
    Logistic,
    MultivariateNormalDiag,
    Normal,
    OneHotCategorical,
    tfd,
)


def standard_normal(latent_size: int, dtype: str = "float32") -> tfd.Distribution:
    """Normal(0, 1) in each of `latent_size` dimensions."""
    return tfd.Independent(
        Normal(tf.zeros([latent_size], dtype), tf.ones([], dtype)), 1
    )


def standard_multivariate_normal(
    latent_size: int, dtype: str = "float32"
) -> tfd.Distribution:
    """Normal(0, I): `standard_normal`, as TFP's closed KL from a full covariance wants.

    There is one between two multivariate normals, and none between a multivariate
    normal and independent ones.
    """
    zeros = tf.zeros([latent_size], dtype)
    return MultivariateNormalDiag(zeros, tf.ones_like(zeros))


def standard_logistic(latent_size: int, dtype: str = "float32") -> tfd.Distribution:
    """Logistic(0, 1) in each of `latent_size` dimensions."""
    return tempered_logistic(latent_size, tf.ones([], dtype))


def tempered_logistic(latent_size: int, temperature: tf.Tensor) -> tfd.Distribution:
    """Logistic(0, 1 / temperature): the logit of a fair BinConcrete.

    Maddison, Mnih and Teh (2017), appendix C. The temperature is a positive scalar
    tensor, whose dtype is the distribution's.
    """
    loc = tf.zeros([latent_size], temperature.dtype)
    return IndependentLogistic(Logistic(loc, 1.0 / temperature), 1)


def fair_bernoulli(latent_size: int, dtype: str = "float32") -> tfd.Distribution:
    """Bernoulli(1/2) in each of `latent_size` dimensions; draws are floats."""
    logits = tf.zeros([latent_size], dtype)
    return IndependentBernoulli(Bernoulli(logits=logits, dtype=logits.dtype), 1)


def uniform_one_hot(
    latent_size: int, num_classes: int, dtype: str = "float32"
) -> tfd.Distribution:
    """Uniform over the classes of each of `latent_size` one-hot variables, [D, K]."""
    logits = tf.zeros([latent_size, num_classes], dtype)
    return tfd.Independent(OneHotCategorical(logits=logits, dtype=logits.dtype), 1)


def uniform_concrete(
    latent_size: int, num_classes: int, temperature: tf.Tensor
) -> tfd.Distribution:
    """The logarithm of a relaxed one-hot variable with equal probabilities, [D, K].

    Maddison, Mnih and Teh (2017), appendix C. The temperature is a positive scalar
    tensor, whose dtype is the distribution's.
    """
    logits = tf.zeros([latent_size, num_classes], temperature.dtype)
    return tfd.Independent(ExpRelaxedOneHotCategorical(temperature, logits), 1)
