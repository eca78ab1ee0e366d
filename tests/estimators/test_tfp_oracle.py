"""`tfp.vi` as an oracle, for the same draws and so to rounding.

Where it is one: its values, and the gradients of the importance-weighted loss through
the samples, of the doubly reparameterised one for the encoder, and of VIMCO but for a
term of mean zero. Where it is none: its doubly reparameterised loss gives parameters of
the target, such as a decoder's, the encoder's coefficients softmax^2, so that their
gradient is biased; it refuses the score function for more than one importance sample;
and it has no objectives but the elbo, the iwae and means of it.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.models import standard_error

from tfvae.estimators import ESTIMATORS, VariationalBatch
from tfvae.objectives import Elbo, Iwae, Miwae, Objective

tfd = tfp.distributions
Gradients = tfp.vi.GradientEstimators

SEED = (3, 4)
B, D = 5, 3
SAMPLES = 6


class Model:
    """p(z) = N(0, I) or Bernoulli(0.3), and a likelihood that is not linear."""

    def __init__(self, discrete: bool = False, copies: int = 1) -> None:
        rng = np.random.default_rng(0)
        self.discrete = discrete
        shape = [B, D] if discrete else [B, 2 * D]
        encoder = rng.normal(size=shape)
        self.encoder = tf.Variable(np.tile(encoder, [copies, 1]))
        self.decoder = tf.Variable(rng.normal(size=[D]))

    def posterior(self, stopped: bool = False) -> tfd.Distribution:
        params = tf.convert_to_tensor(self.encoder)
        params = tf.stop_gradient(params) if stopped else params
        if self.discrete:
            return tfd.Independent(tfd.Bernoulli(logits=params, dtype=tf.float64), 1)
        loc, raw = tf.split(params, 2, axis=-1)
        return tfd.Independent(tfd.Normal(loc, tf.nn.softplus(raw)), 1)

    def prior(self) -> tfd.Distribution:
        if self.discrete:
            probs = tf.fill([D], tf.constant(0.3, tf.float64))
            return tfd.Independent(tfd.Bernoulli(probs=probs, dtype=tf.float64), 1)
        zeros = tf.zeros([D], tf.float64)
        return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), 1)

    def log_likelihood(self, z: tf.Tensor) -> tf.Tensor:
        reads = tf.reduce_sum(tf.sin(2.0 * z) * self.decoder, axis=-1)
        return -3.0 * tf.square(reads - 1.0)

    def log_joint(self, z: tf.Tensor) -> tf.Tensor:
        return self.prior().log_prob(z) + self.log_likelihood(z)

    def problem(
        self, objective: Objective, samples: int, seed: tf.Tensor
    ) -> VariationalBatch:
        return VariationalBatch(
            objective=objective,
            posterior_params=tf.zeros([]),  # the functions below know theirs
            make_posterior=lambda _: self.posterior(),
            make_stopped_posterior=lambda _: self.posterior(stopped=True),
            make_prior=lambda: self.prior(),
            log_likelihood=self.log_likelihood,
            num_samples=samples,
            kl_weight=1.0,
            seed=seed,
        )


def ours(model, estimator, objective, samples, seed=SEED):
    """Values [B] and the gradients of their sum, for the draws that TFP makes."""
    drawn = tfp.random.split_seed(tf.constant(seed), 2)[0]
    with tf.GradientTape() as tape:
        problem = model.problem(objective, samples, drawn)
        estimate = ESTIMATORS[estimator]().estimate(problem)
    value = objective.value(estimate.terms.log_weights())
    slopes = tape.gradient(estimate.surrogate, [model.encoder, model.decoder])
    return value.numpy(), *(slope.numpy() for slope in slopes)


def theirs(model, importance, samples=1, seed=SEED, **how):
    """The same, of TFP: the negative loss."""
    with tf.GradientTape() as tape:
        value = -tfp.vi.monte_carlo_variational_loss(
            model.log_joint,
            model.posterior(),
            sample_size=samples,
            importance_sample_size=importance,
            seed=tf.constant(seed),
            **how,
        )
    slopes = tape.gradient(value, [model.encoder, model.decoder])
    return value.numpy(), *(slope.numpy() for slope in slopes)


def assert_equal(found, wanted) -> None:
    # float64: a few dozen roundings of numbers of size 100.
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("objective", "groups", "importance"),
    [
        (Elbo(), SAMPLES, 1),
        (Iwae(), 1, SAMPLES),
        (Miwae(2), 2, SAMPLES // 2),
        (Miwae(3), 3, SAMPLES // 3),
    ],
    ids=["elbo", "iwae", "miwae-2", "miwae-3"],
)
def test_values_and_pathwise_gradients_are_tfps(objective, groups, importance):
    model = Model()
    found = ours(model, "pathwise", objective, SAMPLES)
    wanted = theirs(model, importance, groups)
    for mine, other in zip(found, wanted, strict=True):
        assert np.linalg.norm(other) > 0.1
        assert_equal(mine, other)


def test_sticking_the_landing_is_tfps_with_one_importance_sample():
    model = Model()
    found = ours(model, "stl", Elbo(), SAMPLES)
    stopped = model.posterior(stopped=True)
    wanted = theirs(
        model,
        1,
        SAMPLES,
        gradient_estimator=Gradients.DOUBLY_REPARAMETERIZED,
        stopped_surrogate_posterior=stopped,
    )
    for mine, other in zip(found, wanted, strict=True):
        assert_equal(mine, other)


def test_the_doubly_reparameterised_encoder_is_tfps_and_the_decoder_is_not():
    model = Model()
    value, encoder, decoder = ours(model, "dreg", Iwae(), SAMPLES)
    stopped = model.posterior(stopped=True)
    wanted = theirs(
        model,
        SAMPLES,
        gradient_estimator=Gradients.DOUBLY_REPARAMETERIZED,
        stopped_surrogate_posterior=stopped,
    )
    assert_equal(value, wanted[0])
    assert_equal(encoder, wanted[1])
    assert_equal(decoder, ours(model, "pathwise", Iwae(), SAMPLES)[2])
    assert np.linalg.norm(decoder - wanted[2]) > 0.1 * np.linalg.norm(decoder)


@pytest.mark.parametrize("samples", [2, SAMPLES])
def test_vimco_is_tfps_and_a_term_of_mean_zero(samples):
    model = Model(discrete=True)
    value, encoder, decoder = ours(model, "vimco", Iwae(), samples)
    wanted = theirs(model, samples, gradient_estimator=Gradients.VIMCO)
    assert_equal(value, wanted[0])
    assert_equal(decoder, wanted[2])
    # Ours takes the coefficients of log q without their mean, 1 / S.
    drawn = tfp.random.split_seed(tf.constant(SEED), 2)[0]
    with tf.GradientTape() as tape:
        posterior = model.posterior()
        score = tf.reduce_mean(
            posterior.log_prob(posterior.sample(samples, seed=drawn)), axis=0
        )
    score = tape.gradient(score, model.encoder).numpy()
    assert np.linalg.norm(score) > 0.1
    assert_equal(encoder, wanted[1] + score)


def test_reinforces_mean_is_that_of_tfps_score_function():
    model = Model(discrete=True, copies=40_000)
    found = ours(model, "reinforce", Elbo(), 2)[1]
    # Draws of its own, so that the two means err independently.
    wanted = theirs(
        model, 1, 2, seed=(5, 6), gradient_estimator=Gradients.SCORE_FUNCTION
    )[1]
    found, wanted = (draws.reshape([-1, B, D]) for draws in (found, wanted))
    error = np.hypot(standard_error(found), standard_error(wanted))
    mean = wanted.mean(axis=0)
    assert np.linalg.norm(5 * error) < 0.2 * np.linalg.norm(mean)
    assert np.all(np.abs(found.mean(axis=0) - mean) < 5 * error)
