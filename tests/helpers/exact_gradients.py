"""Small problems whose exact gradients are known, and estimates of these."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import OneHotCategorical
from tfvae.estimators import VariationalBatch, get_estimator

tfd = tfp.distributions

D = 2
# What is estimated: parameters of the encoder, of the decoder, and of the prior.
PARAMS = {
    "bernoulli": [np.array([0.4, -0.9]), np.array([1.3, -0.7]), np.array([0.2, -0.3])],
    "categorical": [
        np.array([0.4, -0.9, 0.3]),
        np.array([1.3, -0.7, 0.5]),
        np.array([0.2, -0.3, 0.1]),
    ],
    "normal": [np.array([0.3, -0.4]), np.array([0.9, -0.7]), np.array([-1.2])],
}


def posterior(family: str, params: tf.Tensor) -> tfd.Distribution:
    if family == "bernoulli":
        return tfd.Independent(tfd.Bernoulli(logits=params, dtype=tf.float64), 1)
    if family == "categorical":
        return OneHotCategorical(logits=params, dtype=tf.float64)
    loc, log_scale = params[..., :1], params[..., 1:]
    return tfd.Independent(tfd.Normal(loc, tf.exp(log_scale)), 1)


def prior(family: str, params: tf.Tensor) -> tfd.Distribution:
    if family == "normal":
        one = tf.ones([], tf.float64)
        return tfd.Independent(tfd.Normal(params, one), 1)
    return posterior(family, params)


def log_likelihood(z: tf.Tensor, params: tf.Tensor) -> tf.Tensor:
    """Some function that is neither linear nor symmetric; [S, B]."""
    if z.shape[-1] == 1:
        return -((params[..., 0] * tf.sin(2 * z[..., 0]) - params[..., 1]) ** 2)
    first = tf.reduce_sum(z * params, axis=-1)
    return -((first - 0.8) ** 2) * 2 + params[..., 0] * z[..., 0] * z[..., 1]


def problem(
    family, objective, parts, num_samples, kl_weight, seed=(1, 2)
) -> VariationalBatch:
    q, p_x, p_z = parts
    return VariationalBatch(
        objective=objective,
        posterior_params=tf.zeros([]),  # the functions below know theirs
        make_posterior=lambda _: posterior(family, q),
        make_stopped_posterior=lambda _: posterior(family, tf.stop_gradient(q)),
        make_prior=lambda: prior(family, p_z),
        log_likelihood=lambda z: log_likelihood(z, p_x),
        num_samples=num_samples,
        kl_weight=kl_weight,
        seed=tf.constant(seed),
    )


def states(family: str, parts) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples [n, ...] and their probabilities [n] that stand for q's expectation."""
    q = posterior(family, parts[0])
    if family == "normal":
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        loc, scale = q.distribution.loc, q.distribution.scale
        return loc + scale * nodes[:, None], tf.constant(weights / weights.sum())
    if family == "bernoulli":
        z = tf.constant(list(itertools.product([0.0, 1.0], repeat=D)), tf.float64)
    else:
        z = tf.eye(3, dtype=tf.float64)
    return z, q.prob(z)


def exact(family, objective, num_samples, kl_weight):
    """The gradient of E[objective]: the encoder's of the encoder's objective."""
    slopes = []
    for index, bound in enumerate([objective.encoder_objective, objective, objective]):
        parts = [tf.Variable(p) for p in PARAMS[family]]
        with tf.GradientTape() as tape:
            z, probabilities = states(family, parts)
            given = problem(family, bound, parts, 1, kl_weight)
            log_weights = given.log_weight_terms(z).loss_log_weights(kl_weight)  # [n]
            tuples = np.array(
                list(itertools.product(range(len(z)), repeat=num_samples))
            )  # [n^S, S]
            values = bound.value(tf.transpose(tf.gather(log_weights, tuples)))
            chances = tf.reduce_prod(tf.gather(probabilities, tuples), axis=1)
            expected = tf.reduce_sum(chances * values)
        slopes.append(tape.gradient(expected, parts)[index].numpy())
    return slopes


def estimates(name, family, objective, num_samples, kl_weight, copies):
    """Independent estimates of the three gradients, each [copies, size]."""
    parts = [tf.Variable(np.tile(p, [copies, 1])) for p in PARAMS[family]]
    with tf.GradientTape() as tape:
        given = problem(family, objective, parts, num_samples, kl_weight)
        surrogate = get_estimator(name).estimate(given).surrogate
    return [slope.numpy() for slope in tape.gradient(surrogate, parts)]


def assert_unbiased(name, family, objective, num_samples, kl_weight=1.0):
    wanted = exact(family, objective, num_samples, kl_weight)
    found = estimates(name, family, objective, num_samples, kl_weight, 400_000)
    assert_means(found, wanted)


def assert_means(found, wanted):
    """The means of draws are the exact gradients, and a 5 % error would be seen."""
    for slope, draws in zip(wanted, found, strict=True):
        error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
        size = np.linalg.norm(slope)
        assert np.all(5 * error < 0.05 * size), "a 5 % error would not be seen"
        # An estimate without noise (the prior's, at S = all) is exact to rounding.
        assert np.all(np.abs(draws.mean(axis=0) - slope) < 5 * error + 1e-9)
