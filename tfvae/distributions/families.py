"""TFP's distributions, with draws that follow their densities to the tails.

Each is its parent in all but how it draws: see `tfvae.distributions.draws`. TFP's
Poisson and Gamma draw in float64 as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from tfvae.distributions import draws, tfd

Seed = tf.Tensor | int | None


def _seed(seed: Seed) -> tf.Tensor:
    return tfd.sanitize_seed(seed)


def _location_scale(
    family: tfd.Distribution, n: tf.Tensor, seed: Seed, standard: Callable
) -> tf.Tensor:
    """Returns loc + scale * noise, [n, ...]."""
    loc, scale = tf.convert_to_tensor(family.loc), tf.convert_to_tensor(family.scale)
    batch = tf.broadcast_dynamic_shape(tf.shape(loc), tf.shape(scale))
    noise = standard(tf.concat([[n], batch], axis=0), _seed(seed), family.dtype)
    return loc + scale * noise


class Normal(tfd.Normal):
    """`tfd.Normal`, whose draws go on beyond 5.7 scales."""

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return _location_scale(self, n, seed, draws.standard_normal)


class Logistic(tfd.Logistic):
    """`tfd.Logistic`, with exact tails."""

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return _location_scale(self, n, seed, draws.standard_logistic)


class Laplace(tfd.Laplace):
    """`tfd.Laplace`, with exact tails."""

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        return _location_scale(self, n, seed, draws.standard_laplace)


class Bernoulli(tfd.Bernoulli):
    """`tfd.Bernoulli` of logits, whose rarer value has its exact probability."""

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        logits = self.logits_parameter()
        shape = tf.concat([[n], tf.shape(logits)], axis=0)
        v = draws.signed_uniform(shape, _seed(seed), logits.dtype)
        return tf.cast(draws.bernoulli(logits, v), self.dtype)


class Categorical(tfd.Categorical):
    """`tfd.Categorical`, the same on every device."""

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        drawn = draws.categorical(self.logits_parameter(), [n], _seed(seed))
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

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        logits = self.logits_parameter()
        drawn = draws.categorical(logits, [n], _seed(seed))
        return tf.one_hot(drawn, tf.shape(logits)[-1], dtype=self.dtype)


class ExpRelaxedOneHotCategorical(tfd.ExpRelaxedOneHotCategorical):
    """`tfd.ExpRelaxedOneHotCategorical`, with exact tails."""

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        temperature = tf.convert_to_tensor(self.temperature)
        logits = self.logits_parameter()
        batch = tf.broadcast_dynamic_shape(tf.shape(temperature), tf.shape(logits)[:-1])
        shape = tf.concat([[n], batch, tf.shape(logits)[-1:]], axis=0)
        noise = draws.standard_gumbel(shape, _seed(seed), self.dtype)
        return tf.nn.log_softmax((logits + noise) / temperature[..., tf.newaxis])


class ContinuousBernoulli(tfd.ContinuousBernoulli):
    """`tfd.ContinuousBernoulli`, with exact tails at both ends of [0, 1].

    The distance y from the likelier end has P(y < t) = (1 - e^(-l t)) / (1 - e^-l) with
    l = |logits|, so that y = -log(1 - u (1 - e^-l)) / l for a uniform u.
    """

    def _sample_n(self, n: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        logits = self.logits_parameter()
        shape = tf.concat([[n], tf.shape(logits)], axis=0)
        v = draws.signed_uniform(shape, _seed(seed), logits.dtype)
        logits = tf.cast(logits, v.dtype)
        half = 0.5 * tf.abs(v)  # u where v is negative, 1 - u where it is positive
        size = tf.maximum(tf.abs(logits), 1e-20)
        mass = -tf.math.expm1(-size)
        # The rest, 1 - u mass, is e^-l + (1 - u) mass, which keeps the digits of a
        # small 1 - u; where l is small it is near 1, and u mass keeps them.
        near = (v < 0) | (size < 1.0)
        u = tf.where(v < 0, half, tf.where(near, 1.0 - half, tf.zeros_like(half)))
        rest = tf.exp(-size) + half * mass
        log_rest = tf.where(near, tf.math.log1p(-u * mass), tf.math.log(rest))
        y = tf.clip_by_value(-log_rest / size, 0.0, 1.0)
        return tf.cast(tf.where(logits > 0, 1.0 - y, y), self.dtype)


class MultivariateNormalTriL(tfd.MultivariateNormalTriL):
    """`tfd.MultivariateNormalTriL`, made of our Normal draws."""

    @functools.cached_property
    def distribution(self) -> tfd.Distribution:
        """What is shifted and scaled, independent standard Normals."""
        return _standard_normals(super().distribution)


class MultivariateNormalDiag(tfd.MultivariateNormalDiag):
    """`tfd.MultivariateNormalDiag`, made of our Normal draws."""

    @functools.cached_property
    def distribution(self) -> tfd.Distribution:
        """What is shifted and scaled, independent standard Normals."""
        return _standard_normals(super().distribution)


def _standard_normals(theirs: tfd.Sample) -> tfd.Sample:
    single = theirs.distribution
    return tfd.Sample(Normal(single.loc, single.scale), theirs.sample_shape)
