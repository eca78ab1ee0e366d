"""TFP's distributions, with draws that follow their densities to the tails.

Each differs from its parent only in its draws, see `tfvae.distributions.draws`. TFP's
own Poisson and Gamma draw in float64. Two sums of independent variables have
log-probabilities of few kernels.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from tfvae.core.types import Seed
from tfvae.distributions import draws, tfd

# The product of so many numbers from 1/2 to 1 is far above float32's smallest number.
_MOST_FACTORS = 64


def _location_scale(
    family: tfd.Distribution, n: tf.Tensor, seed: Seed | None, standard: Callable
) -> tf.Tensor:
    """Returns loc + scale * noise, [n, ...]."""
    loc, scale = tf.convert_to_tensor(family.loc), tf.convert_to_tensor(family.scale)
    batch = tf.broadcast_dynamic_shape(tf.shape(loc), tf.shape(scale))
    drawn = standard(
        tf.concat([[n], batch], axis=0), tfd.sanitize_seed(seed), family.dtype
    )
    return loc + scale * drawn


class Normal(tfd.Normal):
    """`tfd.Normal`, whose draws go on beyond 5.7 scales."""

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        return _location_scale(self, n, seed, draws.standard_normal)


class Logistic(tfd.Logistic):
    """`tfd.Logistic`, with exact tails."""

    def _mean(self) -> tf.Tensor:
        # As the Normal's: other runtimes have no kernel for TFP's broadcast of shapes.
        return self.loc * tf.ones_like(self.scale)

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        return _location_scale(self, n, seed, draws.standard_logistic)


class Laplace(tfd.Laplace):
    """`tfd.Laplace`, with exact tails."""

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        return _location_scale(self, n, seed, draws.standard_laplace)


class StudentT(tfd.StudentT):
    """`tfd.StudentT`, the same under XLA, with exact tails."""

    def _mean(self) -> tf.Tensor:
        mean = self.loc * tf.ones_like(self.scale) * tf.ones_like(self.df)
        return tf.where(self.df > 1.0, mean, tf.cast(math.nan, mean.dtype))

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        if not draws.is_given():
            return super()._log_prob(x)
        # Small runtimes have no log-gamma.
        df, scale = tf.convert_to_tensor(self.df), tf.convert_to_tensor(self.scale)
        y = (x - self.loc) / scale
        normaliser = log_gamma_step(0.5 * df) - 0.5 * tf.math.log(math.pi * df)
        kernel = -0.5 * (df + 1.0) * draws.log1p(y * y / df)
        return kernel + normaliser - tf.math.log(scale)

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        df, loc = tf.convert_to_tensor(self.df), tf.convert_to_tensor(self.loc)
        shape = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        drawn = draws.standard_student_t(shape, tfd.sanitize_seed(seed), self.dtype, df)
        return loc + tf.convert_to_tensor(self.scale) * drawn


class Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` of logits, whose rarer value has its exact probability."""

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        logits = self.logits_parameter()
        shape = tf.concat([[n], tf.shape(logits)], axis=0)
        v = draws.signed_uniform(shape, tfd.sanitize_seed(seed), logits.dtype)
        return tf.cast(draws.bernoulli(logits, v), self.dtype)


class Categorical(tfd.Categorical):
    """`tfd.Categorical`, the same on every device."""

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        drawn = draws.categorical(self.logits_parameter(), [n], tfd.sanitize_seed(seed))
        return tf.cast(drawn, self.dtype)


class OneHotCategorical(tfd.OneHotCategorical):
    """`tfd.OneHotCategorical`, with the gradient of `log_prob` by the value.

        log p(z) = sum_k z_k log softmax(logits)_k

    TFP stops it, and the estimator 'straight_through' would miss a part.
    """

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        logits = self.logits_parameter()
        x = tf.cast(x, logits.dtype)
        return tf.reduce_sum(x * tf.nn.log_softmax(logits), axis=-1)

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        logits = self.logits_parameter()
        drawn = draws.categorical(logits, [n], tfd.sanitize_seed(seed))
        return tf.one_hot(drawn, tf.shape(logits)[-1], dtype=self.dtype)


class ExpRelaxedOneHotCategorical(tfd.ExpRelaxedOneHotCategorical):
    """`tfd.ExpRelaxedOneHotCategorical`, with exact tails."""

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        temperature = tf.convert_to_tensor(self.temperature)
        logits = self.logits_parameter()
        batch = tf.broadcast_dynamic_shape(tf.shape(temperature), tf.shape(logits)[:-1])
        shape = tf.concat([[n], batch, tf.shape(logits)[-1:]], axis=0)
        gumbel = draws.standard_gumbel(shape, tfd.sanitize_seed(seed), self.dtype)
        return tf.nn.log_softmax((logits + gumbel) / temperature[..., tf.newaxis])


class ContinuousBernoulli(tfd.ContinuousBernoulli):
    """`tfd.ContinuousBernoulli`, with exact tails at both ends of [0, 1].

    The distance y from the likelier end has P(y < t) = (1 - e^(-l t)) / (1 - e^-l) with
    l = |logits|, so that y = -log(1 - u (1 - e^-l)) / l for a uniform u.
    """

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        logits = self.logits_parameter()
        shape = tf.concat([[n], tf.shape(logits)], axis=0)
        v = draws.signed_uniform(shape, tfd.sanitize_seed(seed), logits.dtype)
        logits = tf.cast(logits, v.dtype)
        half = 0.5 * tf.abs(v)  # u where v is negative, 1 - u where it is positive
        size = tf.maximum(tf.abs(logits), 1e-20)
        mass = -draws.expm1(-size)
        # The rest, 1 - u mass, is e^-l + (1 - u) mass, which keeps the digits of a
        # small 1 - u; where l is small it is near 1, and u mass keeps them.
        near = (v < 0) | (size < 1.0)
        u = tf.where(v < 0, half, tf.where(near, 1.0 - half, tf.zeros_like(half)))
        rest = tf.exp(-size) + half * mass
        log_rest = tf.where(near, draws.log1p(-u * mass), tf.math.log(rest))
        y = tf.clip_by_value(-log_rest / size, 0.0, 1.0)
        return tf.cast(tf.where(logits > 0, 1.0 - y, y), self.dtype)


class _OfNormals:
    """What makes a multivariate normal of our Normal draws."""

    @functools.cached_property
    def distribution(self) -> tfd.Distribution:
        """The independent standard Normals that are scaled and shifted."""
        theirs = super().distribution  # type: ignore[misc]  # of the other base class
        single = theirs.distribution
        return tfd.Sample(Normal(single.loc, single.scale), theirs.sample_shape)


class MultivariateNormalTriL(_OfNormals, tfd.MultivariateNormalTriL):
    """`tfd.MultivariateNormalTriL`, made of our Normal draws.

    A draw's density is that of its noise u, without solving for it again:

        z = loc + L u,    log q(z) = log Normal(u; 0, I) - sum_d log L_dd
    """

    def _mean(self) -> tf.Tensor:
        return self.loc + tf.zeros_like(tf.reduce_sum(self._lower, axis=-1))

    def _stddev(self) -> tf.Tensor:
        return tf.sqrt(tf.reduce_sum(self._lower**2, axis=-1))

    def _sample_and_log_prob(
        self, sample_shape: tf.Tensor, seed: Seed | None, **kwargs
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if not draws.is_given():
            return super()._sample_and_log_prob(sample_shape, seed, **kwargs)
        base = self._maybe_broadcast_distribution_batch_shape()
        u = base.sample(sample_shape, seed=seed)  # [..., D]
        lower = self._lower  # [..., D, D]
        z = self.loc + tf.linalg.matvec(lower, u)
        eye = tf.eye(lower.shape[-1], dtype=lower.dtype)
        diagonal = tf.reduce_sum(lower * eye, axis=-1)  # [..., D]
        log_normal = -0.5 * (u * u + math.log(2.0 * math.pi))
        return z, tf.reduce_sum(log_normal - tf.math.log(diagonal), axis=-1)

    @property
    def _lower(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.parameters["scale_tril"])


class MultivariateNormalDiag(_OfNormals, tfd.MultivariateNormalDiag):
    """`tfd.MultivariateNormalDiag`, made of our Normal draws."""


class IndependentBernoulli(tfd.Independent):
    """`tfd.Independent` of a `tfd.Bernoulli`, with a fast `log_prob`."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        logits = self.distribution.logits_parameter()
        x = tf.cast(x, logits.dtype)
        axes = int(tf.get_static_value(self.reinterpreted_batch_ndims))
        if x.shape.rank is None or x.shape.rank < axes:
            return super()._log_prob(x)
        event = logits.shape[-axes:] if axes else logits.shape[:0]
        if not event.is_fully_defined() or x.shape[x.shape.rank - axes :] != event:
            return super()._log_prob(x)
        size = [math.prod(event)]
        flat = [
            tf.reshape(values, tf.concat([tf.shape(values)[:-axes], size], axis=0))
            for values in (x, logits)
        ]
        return bernoulli_log_prob(*flat)


@tf.custom_gradient
def bernoulli_log_prob(
    x: tf.Tensor, logits: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Returns sum_p x_p logits_p - log(1 + exp(logits_p)), [...], in nats.

        log(1 + exp(l)) = max(l, 0) - log sigmoid(|l|)

    max(l, 0) is subtracted from x l pixel by pixel, so that sure pixels leave no
    rounding behind. The gradient with respect to the logits is x - sigmoid(logits).

    Args:
        x: [..., P] Values in [0, 1].
        logits: [..., P] The logits, with P known. Leading axes broadcast.
    """
    size = tf.abs(logits)
    # x l - max(l, 0) = ((2 x - 1) l - |l|) / 2
    linear = tf.reduce_sum((2.0 * x - 1.0) * logits - size, axis=-1)
    value = 0.5 * linear + _log_sigmoids(size)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        each = upstream[..., tf.newaxis]  # [..., 1]
        residual = x - tf.sigmoid(logits)
        return _summed_to(each * logits, x), _summed_to(residual * each, logits)

    return value, gradient


class IndependentLogistic(tfd.Independent):
    """`tfd.Independent` of a `tfd.Logistic`, with a fast `log_prob`."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        single = self.distribution
        axes = int(tf.get_static_value(self.reinterpreted_batch_ndims))
        if axes != 1 or self.event_shape[-1] is None:
            return super()._log_prob(x)
        scale = tf.broadcast_to(
            single.scale,
            tf.broadcast_dynamic_shape(tf.shape(single.scale), self.event_shape),
        )
        u = (x - single.loc) / single.scale
        return logistic_log_prob(u) - tf.reduce_sum(tf.math.log(scale), axis=-1)


@tf.custom_gradient
def logistic_log_prob(u: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns sum_d -u_d - 2 log(1 + exp(-u_d)), [...], in nats.

    That is the sum of 2 log sigmoid(|u|) - |u|, with the gradient -tanh(u / 2): the
    density of the standard logistic (Maddison, Mnih and Teh, 2017, appendix B).

    Args:
        u: [..., D] The standardised values, with D known.
    """
    size = tf.abs(u)
    value = 2.0 * _log_sigmoids(size) - tf.reduce_sum(size, axis=-1)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return -upstream[..., tf.newaxis] * tf.tanh(0.5 * u)

    return value, gradient


def _log_sigmoids(size: tf.Tensor) -> tf.Tensor:
    """Returns sum_p log sigmoid(size_p), [...], for sizes [..., P] of 0 or more.

    The logarithms are taken of products of up to 64 factors, which are at least 2^-64.
    """
    count = size.shape[-1]
    factors = max(n for n in range(1, _MOST_FACTORS + 1) if count % n == 0)
    groups = tf.concat([tf.shape(size)[:-1], [count // factors, factors]], axis=0)
    products = tf.reduce_prod(tf.reshape(tf.sigmoid(size), groups), axis=-1)
    return tf.reduce_sum(tf.math.log(products), axis=-1)


def log_gamma_step(a: tf.Tensor) -> tf.Tensor:
    """Returns log Gamma(a + 1/2) - log Gamma(a) for a > 0, from logarithms alone.

        Gamma(a + 1/2) / Gamma(a) = (a / (a + 1/2)) Gamma(a + 3/2) / Gamma(a + 1)

    moves a to 4 or more, where 1/2 log a - 1 / (8 a) + 1 / (192 a^3) - 1 / (640 a^5)
    is exact to 1e-7 (Abramowitz and Stegun, 1964, 6.1.47).
    """
    steps = tf.zeros_like(a)
    for _ in range(4):
        steps += tf.math.log(a / (a + 0.5))
        a += 1.0
    inverse = 1.0 / a
    square = inverse * inverse
    series = inverse * (-1.0 / 8.0 + square * (1.0 / 192.0 - square / 640.0))
    return steps + 0.5 * tf.math.log(a) + series


def _summed_to(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Returns the sum over the axes along which `like` was broadcast."""
    if values.shape == like.shape and like.shape.is_fully_defined():
        return values
    shape = tf.shape(like)
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(values))
    return tf.reshape(tf.reduce_sum(values, axes), shape)


def independent_variables(
    distribution: tfd.Distribution,
) -> tfd.Distribution | None:
    """Returns the variables of a distribution one by one, batch [..., D].

    A one-hot is one variable. None if the variables depend on each other.
    """
    if not isinstance(distribution, tfd.Independent):
        return None
    axes = tf.get_static_value(distribution.reinterpreted_batch_ndims)
    return distribution.distribution if axes == 1 else None
