"""A VAE of Bernoulli latent variables against sums over all their states."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, standard_error, tiny_vae

from tfvae.estimators import ESTIMATORS
from tfvae.evaluation import estimate_log_likelihood
from tfvae.models import VAE
from tfvae.objectives import Elbo, Iwae, Objective

SHAPE = (2, 3, 1)
COPIES, CHUNKS = 2_000, 400


@functools.cache
def small(latent_size: int) -> VAE:
    """A float64 VAE whose posteriors differ between images and from the prior."""
    vae = tiny_vae(
        "bernoulli",
        image_shape=SHAPE,
        latent_size=latent_size,
        hidden_sizes=(4,),
        dtype="float64",
        head_dtype="float64",
    )
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        variable.assign(rng.normal(0, 0.8, variable.shape))
    return vae


def state_terms(vae: VAE, x: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """log w and log q(z|x) of every state z, each [2^D, B]."""
    size = vae.latent.latent_size
    z = np.array(list(itertools.product([0.0, 1.0], repeat=size)))
    z = np.repeat(z[:, np.newaxis], len(x), axis=1)  # [2^D, B, D]
    log_posterior = vae.encode(x).log_prob(z)
    log_joint = vae.decode(z).log_prob(x) + vae.prior().log_prob(z)
    return log_joint - log_posterior, log_posterior


@pytest.mark.slow
def test_ten_latent_variables_have_the_likelihood_and_elbo_of_all_their_states():
    vae, x = small(10), binary_images(4, shape=SHAPE)
    log_weights, log_posterior = state_terms(vae, x)
    log_likelihood = tf.reduce_logsumexp(log_weights + log_posterior, axis=0).numpy()
    elbo = tf.reduce_sum(tf.exp(log_posterior) * log_weights, axis=0).numpy()
    assert np.all(log_likelihood < 0) and np.all(elbo < log_likelihood - 0.1)
    draws = vae.log_weight_terms(x, 100_000, seed=1).log_weights().numpy()
    assert np.all(np.abs(draws.mean(axis=0) - elbo) < 5 * standard_error(draws))
    # The mean of the weights is the likelihood itself.
    ratio = np.exp(draws - log_likelihood)
    assert np.all(np.abs(ratio.mean(axis=0) - 1) < 5 * standard_error(ratio))
    bound = estimate_log_likelihood(vae, [x], 100_000)
    np.testing.assert_allclose(
        bound, log_likelihood, atol=5 * np.max(standard_error(ratio))
    )


def exact_gradient(vae: VAE, x: np.ndarray, objective: Objective, num_samples: int):
    """Of the expectation over all tuples of states."""
    variables = [v.value for v in vae.trainable_variables]
    with tf.GradientTape() as tape:
        log_weights, log_posterior = state_terms(vae, x)  # [2^D, 1]
        count = len(log_weights)
        tuples = np.array(list(itertools.product(range(count), repeat=num_samples))).T
        values = objective.value(tf.gather(log_weights[:, 0], tuples))  # [n^S]
        chances = tf.reduce_sum(tf.gather(log_posterior[:, 0], tuples), axis=0)
        expected = tf.reduce_sum(tf.exp(chances) * values)
    return tape.gradient(expected, variables)


NAMES = ["reinforce", "vimco", "disarm", "arms", "double_cv", "bitflip", "ugc"]


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("name", "objective"),
    [
        (name, objective)
        for name in NAMES
        for objective in (Elbo(), Iwae())
        if objective == Elbo() or name not in ("arms", "double_cv")
    ],
)
def test_every_parameter_of_the_networks_has_the_exact_mean_gradient(name, objective):
    vae, x = small(4), binary_images(1, seed=3, shape=SHAPE)
    many = np.repeat(x, COPIES, axis=0)
    variables = [v.value for v in vae.trainable_variables]

    @tf.function
    def gradients(seed: tf.Tensor) -> list[tf.Tensor]:
        """The mean of as many independent estimates as there are copies."""
        with tf.GradientTape() as tape:
            batch = vae.variational_batch(many, 2, seed, False, objective)
            surrogate = ESTIMATORS[name]().estimate(batch).surrogate
            total = tf.reduce_mean(surrogate)
        return tape.gradient(total, variables)

    wanted = exact_gradient(vae, x, objective, 2)
    found = zip(*(gradients(tf.constant([7, s])) for s in range(CHUNKS)), strict=True)
    for slope, draws in zip(wanted, found, strict=True):
        draws = np.stack(draws)  # [chunks, ...]
        error = standard_error(draws)
        assert np.all(np.abs(draws.mean(axis=0) - slope) < 5 * error + 1e-12)
        size = np.linalg.norm(slope)
        assert 5 * np.linalg.norm(error) < 0.05 * size, "5 % would not be seen"
