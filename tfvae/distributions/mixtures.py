"""Mixtures, with a fast log-probability where the components are Normals."""

from __future__ import annotations

import math

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.distributions import draws, tfd


def mixture(weights: tfd.Categorical, components: tfd.Distribution) -> Mixture:
    """Returns a mixture of K components, batch [K], event [D].

    It has a fast `log_prob` if they are Normals.
    """
    single = getattr(components, "distribution", None)
    if isinstance(components, tfd.Independent) and isinstance(single, tfd.Normal):
        return NormalMixture(weights, components)
    return Mixture(weights, components)


class Mixture(tfd.MixtureSameFamily):
    """`tfd.MixtureSameFamily`, whose draws are the same under XLA."""

    def _sample_n(self, n: tf.Tensor, seed: tf.Tensor | int | None = None) -> tf.Tensor:
        # TFP splits a seed into words that may be below 0, which XLA reads differently.
        seed = tfd.sanitize_seed(seed)
        of_all = self.components_distribution.sample(
            n, seed=derive_seed(seed, "components")
        )  # [n, ..., K, D]
        logits = self.mixture_distribution.logits_parameter()
        every = tf.concat([self.batch_shape_tensor(), tf.shape(logits)[-1:]], axis=0)
        logits = tf.broadcast_to(logits, every)  # [..., K]
        which = draws.categorical(logits, [n], derive_seed(seed, "component"))
        axis = self.batch_shape.rank + 1
        return tf.gather(of_all, which, axis=axis, batch_dims=axis)


class NormalMixture(Mixture):
    """A mixture of independent Normals whose log-density is a matrix product.

        log N(z; m, s) = sum_d -z_d^2 / (2 s_d^2) + z_d m_d / s_d^2 + constant

    The density of N points is [N, 2 D] times [2 D, K] in place of passes over N K D
    numbers. Float64 keeps float32's digits in the squares' difference; the product is
    small beside those of a decoder.
    """

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        normal = self.components_distribution.distribution  # batch [K, D]
        loc, scale = (tf.cast(v, tf.float64) for v in (normal.loc, normal.scale))
        if (
            z.shape.rank is None
            or loc.shape.rank != 2
            or draws.wide_dtype() != tf.float64
        ):
            return super()._log_prob(z)
        size = z.shape[-1]
        flat = tf.reshape(tf.cast(z, tf.float64), [-1, size])  # [N, D]
        precision = 1.0 / scale**2  # [K, D]
        factors = tf.concat([-0.5 * precision, loc * precision], axis=-1)  # [K, 2 D]
        terms = tf.concat([flat**2, flat], axis=-1)  # [N, 2 D]
        rest = tf.reduce_sum(
            -0.5 * (loc**2 * precision + math.log(2 * math.pi)) - tf.math.log(scale),
            axis=-1,
        )  # [K]
        logits = self.mixture_distribution.logits_parameter()
        rest += tf.nn.log_softmax(tf.cast(logits, tf.float64))
        each = tf.matmul(terms, factors, transpose_b=True) + rest  # [N, K]
        # The rest beside the largest needs no float64, whose exp is slow.
        largest = tf.stop_gradient(tf.reduce_max(each, axis=-1))  # [N]
        parts = tf.exp(tf.cast(each - largest[:, tf.newaxis], self.dtype))
        log_sum = tf.math.log(tf.reduce_sum(parts, axis=-1))
        value = largest + tf.cast(log_sum, tf.float64)
        return tf.cast(tf.reshape(value, tf.shape(z)[:-1]), self.dtype)
