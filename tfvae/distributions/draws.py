"""Draws whose tails are those of their densities.

TensorFlow's float32 uniform has 2^23 values. The least of them stands for a mass of
1.2e-7, wherever a quantile function puts it: a Logistic made from it lies 87 scales
from its location with that probability, where its density says e^-87, and its
importance weight is then too large by a factor of e^20 and more. The draws here are
made from 64 random bits, of which a float keeps the leading ones: their tails are exact
to a mass of 2^-64, 44 scales of a Logistic, 9.3 of a Normal.

They are functions of the seed alone, on every device and under XLA to rounding.

Every draw of the package is a function of standard noise, of one of a few laws. Where
nothing else is said a law's numbers are a function of the seed. `recorded` keeps them
beside, and `given` puts others in their place, so that a model with draws is a function
of its noise: a runtime without random operations can then have it.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

Shape: TypeAlias = Sequence[int | tf.Tensor] | tf.Tensor

# -- the source of noise ---------------------------------------------------------------

Draw: TypeAlias = Callable[[Any, Any, Any], tf.Tensor]
"""(shape, seed, dtype) -> noise of this shape."""


class Law(NamedTuple):
    """The law of standard noise.

    Attributes:
        text: The law in words, for people.
        least: The least value that is taken; lesser ones are moved to it.
        largest: The largest value that is taken.
        in_place: The value that stands for a NaN, and for less than `least_size`.
        least_size: The least absolute value that seeds give, where a function of the
            noise has a pole at 0; else 0.
    """

    text: str
    least: float
    largest: float
    in_place: float
    least_size: float = 0.0

    def tamed(self, noise: tf.Tensor) -> tf.Tensor:
        """Returns given noise with values that the law may have."""
        shape = tf.shape(noise)
        noise = tf.reshape(noise, [-1])  # LiteRT selects along four axes at most
        in_place = tf.cast(self.in_place, noise.dtype)
        # tf2onnx makes products of a selection by another condition: 0 NaN is NaN.
        noise = tf.where(tf.math.is_nan(noise), in_place, noise)
        if self.least_size:
            noise = tf.where(tf.abs(noise) < self.least_size, in_place, noise)
        return tf.reshape(tf.clip_by_value(noise, self.least, self.largest), shape)


class Drawn(NamedTuple):
    """Noise that was drawn.

    Attributes:
        law: Its law.
        values: The numbers, of the shape that was asked for.
    """

    law: Law
    values: tf.Tensor


Source: TypeAlias = Callable[[Law, Draw, Any, Any, Any], tf.Tensor]
"""(law, its draws from seeds, shape, seed, dtype) -> noise of this shape."""

_SOURCE: ContextVar[Source] = ContextVar(
    "source of noise",
    default=lambda law, draw, shape, seed, dtype: draw(shape, seed, dtype),
)
_FROM_SEEDS = _SOURCE.get()
_GIVEN: ContextVar[bool] = ContextVar("noise is given", default=False)


def of_law(law: Law) -> Callable[[Draw], Draw]:
    """Returns what makes of draws from seeds draws from the source that is set."""

    def decorate(draw: Draw) -> Draw:
        # AutoGraph, which a data set's map uses, does not read such a lambda.
        from_source = tf.autograph.experimental.do_not_convert(
            lambda shape, seed, dtype: _SOURCE.get()(law, draw, shape, seed, dtype)
        )
        return functools.wraps(draw)(from_source)

    return decorate


def is_given() -> bool:
    """Returns whether noise is given, and so has one part for all samples."""
    return _GIVEN.get()


def wide_dtype() -> tf.DType:
    """Returns the dtype for sums that need more digits than float32.

    Where noise is given it is float32: small runtimes have no other kernels.
    """
    return tf.float32 if is_given() else tf.float64


def log1p(x: tf.Tensor) -> tf.Tensor:
    """Returns log(1 + x) with the digits of a small x, for x > -1.

    Where noise is given it is made of what every runtime has, since some make log(1 +
    x) of it: x log(u) / (u - 1) with u = 1 + x as it is rounded (Kahan).
    """
    if not is_given():
        return tf.math.log1p(x)
    small = tf.minimum(x, 1.0)
    u = 1.0 + small
    none = tf.equal(u, 1.0)
    distance = tf.where(none, tf.ones_like(u), u - 1.0)
    factor = tf.where(none, tf.ones_like(u), tf.math.log(u) / distance)
    return tf.where(x > 1.0, tf.math.log(1.0 + x), small * factor)


def expm1(x: tf.Tensor) -> tf.Tensor:
    """Returns e^x - 1 with the digits of a small x.

    Where noise is given it is tanh(x / 2) (e^x + 1), see `log1p`.
    """
    if not is_given():
        return tf.math.expm1(x)
    return tf.tanh(0.5 * x) * (tf.exp(x) + 1.0)


@contextlib.contextmanager
def recorded() -> Iterator[list[Drawn]]:
    """Yields a list that gets all noise drawn within, in order."""
    found: list[Drawn] = []

    def source(law: Law, draw: Draw, shape: Any, seed: Any, dtype: Any) -> tf.Tensor:
        with _set(_FROM_SEEDS, False):  # a law may be made of another one
            values = draw(shape, seed, dtype)
        found.append(Drawn(law, values))
        return values

    with _set(source, False):
        yield found


@contextlib.contextmanager
def given(numbers: Sequence[Callable[[], tf.Tensor]]) -> Iterator[None]:
    """Takes the numbers, in order, in the place of draws from seeds.

    Args:
        numbers: Functions that return the noise of the first draw, of the second, and
            so on, in the shapes that are asked for but for the batch's size.
    """
    left = iter(numbers)

    def source(law: Law, draw: Draw, shape: Any, seed: Any, dtype: Any) -> tf.Tensor:
        number = next(left, None)
        if number is None:
            raise AssertionError("more noise is drawn than is given")
        return tf.cast(law.tamed(number()), dtype)

    with _set(source, True):
        yield
    if next(left, None) is not None:
        raise AssertionError("more noise is given than is drawn")


@contextlib.contextmanager
def _set(source: Source, is_given: bool) -> Iterator[None]:
    tokens = _SOURCE.set(source), _GIVEN.set(is_given)
    try:
        yield
    finally:
        _SOURCE.reset(tokens[0])
        _GIVEN.reset(tokens[1])


# -- draws -----------------------------------------------------------------------------

# A generator of float32 gives 0 with a chance of 2^-24, the spacing of its numbers. Of
# a size as rare as that, it is no draw of the far tail, whose weight would be immense.
SIGNED_UNIFORM = Law("uniform on (-1, 1)", -1.0, 1.0, 2.0**-24, least_size=2.0**-64)
# 9.3 scales have a mass of 2^-64, as the least uniform number.
NORMAL = Law("standard normal", -9.3, 9.3, 0.0)


@of_law(SIGNED_UNIFORM)
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
    exponential = -tf.where(v > 0, tf.math.log(half), log1p(-half))
    return tf.cast(exponential, dtype)


def standard_gumbel(shape: Shape, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draws Gumbel(0, 1) numbers: P(x < t) = exp(-e^-t)."""
    made = tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
    return tf.cast(-tf.math.log(standard_exponential(shape, seed, made)), dtype)


@of_law(NORMAL)
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
    radius = tf.sqrt(-df * expm1(-2.0 * half)) * tf.exp(half)
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
    its probability to 2^-53. Of given noise they are in float32.
    """
    wide = wide_dtype()
    probabilities = tf.nn.softmax(tf.cast(logits, wide))
    reached = tf.cumsum(probabilities, axis=-1)[..., :-1]  # [..., K - 1]
    shape = tf.concat([shape, tf.shape(logits)[:-1]], axis=0)
    u = 0.5 * (1.0 + signed_uniform(shape, seed, wide))
    above = u[..., tf.newaxis] > reached  # [*shape, ..., K - 1]
    return tf.reduce_sum(tf.cast(above, tf.int32), axis=-1)
