"""Draws whose tails are those of their densities.

TensorFlow's float32 uniform has 2^23 values. The least of them stands for a mass of
1.2e-7, wherever a quantile function puts it: a Logistic made from it lies 87 scales
from its location with that probability, where its density says e^-87, and its
importance weight is then too large by a factor of e^20 and more. The draws here are
made from 64 random bits, of which a float keeps the leading ones: their tails are exact
to a mass of 2^-64, 44 scales of a Logistic, 9.3 of a Normal.

They are functions of the seed alone, on every device and under XLA to rounding.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf

Shape: TypeAlias = Sequence[int | tf.Tensor] | tf.Tensor


def signed_uniform(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws uniform numbers v of (-1, 1), where |v| is exact down to 2^-64.

    The distance from 0 keeps all digits, so that a quantile function written in |v|,
    with the sign for which tail it is, has exact tails. The dtype float64 gives
    float64, any other float32, since one with less range would round the tail to 0.
    """
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int64
    )
    made = tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
    # Half a step up: 0 and -1 are as far from zero, and nothing is zero.
    return tf.cast(bits, made) * 2.0**-63 + 2.0**-64


def standard_logistic(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws Logistic(0, 1) numbers: P(|x| > t) = 2 / (1 + e^t) = |v|."""
    v = signed_uniform(shape, seed, dtype)
    size = tf.abs(v)
    return tf.cast(tf.sign(v) * tf.math.log((2.0 - size) / size), dtype)


def standard_laplace(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws Laplace(0, 1) numbers: P(|x| > t) = e^-t = |v|."""
    v = signed_uniform(shape, seed, dtype)
    return tf.cast(-tf.sign(v) * tf.math.log(tf.abs(v)), dtype)


def standard_exponential(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws Exponential(1) numbers: P(x > t) = e^-t, to P(x < t) = t for small t."""
    # e^-x is |v| / 2 above log 2, and 1 - |v| / 2 below: small ones keep their digits,
    # and large ones theirs.
    v = signed_uniform(shape, seed, dtype)
    half = 0.5 * tf.abs(v)
    exponential = -tf.where(v > 0, tf.math.log(half), tf.math.log1p(-half))
    return tf.cast(exponential, dtype)


def standard_gumbel(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws Gumbel(0, 1) numbers: P(x < t) = exp(-e^-t)."""
    made = tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
    return tf.cast(-tf.math.log(standard_exponential(shape, seed, made)), dtype)


def standard_normal(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws Normal(0, 1) numbers, two from each radius and angle.

    P(radius > t) = exp(-t^2 / 2), and the angle is uniform (Box and Muller, 1958).
    """
    shape = tf.convert_to_tensor(shape, tf.int32)
    count = tf.reduce_prod(shape)
    v = signed_uniform([2, (count + 1) // 2], seed, dtype)
    radius, angle = tf.sqrt(-2.0 * tf.math.log(tf.abs(v[0]))), math.pi * v[1]
    both = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)
    return tf.cast(tf.reshape(both[:count], shape), dtype)


def standard_student_t(
    shape: Shape, seed: tf.Tensor, dtype: tf.DType, df: tf.Tensor
) -> tf.Tensor:
    """Draws Student-t numbers of `df` degrees of freedom, which broadcasts to `shape`.

    They are radius * cos(angle), with P(radius > t) = (1 + t^2 / df)^(-df / 2) and a
    uniform angle (Bailey, 1994); for a large df this is the Normal's way. The sine is
    not independent of the cosine, and is left out. With e = -log|v|, an Exponential,

        radius^2 = df (e^(2 e / df) - 1) = df (1 - e^(-2 e / df)) e^(2 e / df)
    """
    shape = tf.convert_to_tensor(shape, tf.int32)
    v = signed_uniform(tf.concat([[2], shape], axis=0), seed, dtype)
    df = tf.cast(df, v.dtype)
    # A |v| that is rounded to 1 has a radius of 0, where the root has no slope by df:
    # it stands for e below half a unit in the last place, with half of this as mean.
    least = np.finfo(v.dtype.as_numpy_dtype).epsneg / 4
    half = tf.maximum(-tf.math.log(tf.abs(v[0])), least) / df  # e / df
    radius = tf.sqrt(-df * tf.math.expm1(-2.0 * half)) * tf.exp(half)
    return tf.cast(radius * tf.cos(math.pi * v[1]), dtype)


def bernoulli(logits: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
    """Returns 1 with probability sigmoid(logits), else 0, for uniform v of (-1, 1).

    With u = v / 2 for v > 0 and 1 + v / 2 below, it is 1 where u < sigmoid(logits), so
    that the draw of -v is the antithetic one, of 1 - u. The rarer value has its exact
    probability, however small. v broadcasts with the logits.
    """
    twice_rare = 2.0 * tf.sigmoid(-tf.abs(tf.cast(logits, v.dtype)))
    likely_one = logits > 0
    w = tf.where(likely_one, -v, v)
    rare = (w > 0) & (w < twice_rare)
    return tf.cast(rare ^ likely_one, logits.dtype)


def categorical(logits: tf.Tensor, shape: Shape, seed: tf.Tensor) -> tf.Tensor:
    """Draws classes [*shape, ...] with probabilities softmax(logits), as int32.

    The logits are [..., K]. The cumulated probabilities are in float64: each class has
    its probability to 2^-53.
    """
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float64))
    reached = tf.cumsum(probabilities, axis=-1)[..., :-1]  # [..., K - 1]
    shape = tf.concat([shape, tf.shape(logits)[:-1]], axis=0)
    u = 0.5 * (1.0 + signed_uniform(shape, seed, tf.float64))
    above = u[..., tf.newaxis] > reached  # [*shape, ..., K - 1]
    return tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)
