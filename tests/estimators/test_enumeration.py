"""A VAE of Bernoulli latent variables against sums over all their states."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, standard_error, tiny_vae

from tfvae.estimators import Rws, get_estimator
from tfvae.evaluation import estimate_log_likelihood
from tfvae.models import VAE
from tfvae.objectives import Elbo, Iwae, Objective, Tvo

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


def mean_gradients(vae: VAE, x: np.ndarray, objective: Objective, estimator):
    """Each variable's gradient by CHUNKS means of COPIES estimates, [CHUNKS, ...]."""
    many = np.repeat(x, COPIES, axis=0)
    variables = [v.value for v in vae.trainable_variables]

    @tf.function
    def gradients(seed: tf.Tensor) -> list[tf.Tensor]:
        """The mean of as many independent estimates as there are copies."""
        with tf.GradientTape() as tape:
            batch = vae.variational_batch(many, 2, seed, False, objective)
            surrogate = get_estimator(estimator).estimate(batch).surrogate
            total = tf.reduce_mean(surrogate)
        return tape.gradient(total, variables)

    found = [gradients(tf.constant([7, s])) for s in range(CHUNKS)]
    return [np.stack(draws) for draws in zip(*found, strict=True)]


def assert_means(found: list[np.ndarray], wanted: list[tf.Tensor]) -> None:
    for slope, draws in zip(wanted, found, strict=True):
        error = standard_error(draws)
        assert np.all(np.abs(draws.mean(axis=0) - slope) < 5 * error + 1e-12)
        size = np.linalg.norm(slope)
        assert 5 * np.linalg.norm(error) < 0.05 * size, "5 % would not be seen"


NAMES = ["reinforce", "vimco", "disarm", "bitflip", "ugc"]


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("name", "objective"),
    [
        *itertools.product(NAMES, [Elbo(), Iwae()]),
        ("arms", Elbo()),
        ("double_cv", Elbo()),
        ("ovis", Iwae()),
        ("vimco", Tvo(3)),
    ],
)
def test_every_parameter_of_the_networks_has_the_exact_mean_gradient(name, objective):
    vae, x = small(4), binary_images(1, seed=3, shape=SHAPE)
    wanted = exact_gradient(vae, x, objective, 2)
    assert_means(mean_gradients(vae, x, objective, name), wanted)


def exact_sleep(vae: VAE) -> list[tf.Tensor]:
    """The gradient of the mean of log q(z|x) over the model's own z and x."""
    z = np.array(list(itertools.product([0.0, 1.0], repeat=vae.latent.latent_size)))
    images = list(itertools.product([0.0, 1.0], repeat=int(np.prod(SHAPE))))
    x = np.array(images).reshape([-1, *SHAPE])
    each = z[:, np.newaxis]  # [2^D, 1, D]
    log_joint = vae.prior().log_prob(each) + vae.decode(each).log_prob(x)  # [2^D, 2^P]
    np.testing.assert_allclose(tf.reduce_logsumexp(log_joint), 0, atol=1e-12)
    with tf.GradientTape() as tape:
        expected = tf.reduce_sum(tf.exp(log_joint) * vae.encode(x).log_prob(each))
    variables = [v.value for v in vae.encoder.trainable_variables]
    return tape.gradient(expected, variables)


def exact_wake(vae: VAE, x: np.ndarray, num_samples: int) -> list[tf.Tensor]:
    """The wake part's mean by all tuples of states, for the encoder."""
    variables = [v.value for v in vae.encoder.trainable_variables]
    with tf.GradientTape() as tape:
        terms = state_terms(vae, x)
        log_weights, log_posterior = (each[:, 0] for each in terms)
        numbers = range(len(log_weights))
        tuples = np.array(list(itertools.product(numbers, repeat=num_samples)))
        shares = tf.nn.softmax(tf.gather(log_weights, tuples), axis=1)  # [n^S, S]
        scores = tf.gather(log_posterior, tuples)
        chances = tf.exp(tf.reduce_sum(scores, axis=1, keepdims=True))
        expected = tf.reduce_sum(tf.stop_gradient(chances * shares) * scores)
    return tape.gradient(expected, variables)


@pytest.mark.quick(3)
@pytest.mark.parametrize("sleep", [0.0, 0.5, 1.0])
def test_reweighted_wake_sleep_has_its_own_exact_encoder_and_iwaes_decoder(sleep):
    vae, x = small(4), binary_images(1, seed=3, shape=SHAPE)
    parts = zip(exact_wake(vae, x, 2), exact_sleep(vae), strict=True)
    wanted = [(1 - sleep) * wake + sleep * own for wake, own in parts]
    wanted += exact_gradient(vae, x, Iwae(), 2)[len(wanted) :]
    assert_means(mean_gradients(vae, x, Iwae(), Rws(sleep)), wanted)
