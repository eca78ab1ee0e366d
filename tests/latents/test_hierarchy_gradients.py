"""The gradients of hierarchies against exact ones, and against each other."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.evaluations import with_counts
from helpers.hierarchies import SHAPE, Chain, X, at_states, model, small, together
from helpers.learned import with_random_layer
from helpers.models import binary_images, standard_error

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import BatchShard
from tfvae.estimators import (
    ESTIMATORS,
    Estimator,
    GumbelRao,
    Reinmax,
    StraightThrough,
    get_estimator,
)
from tfvae.estimators.relaxed_families import Bits
from tfvae.latents import Hierarchy
from tfvae.models import VAE, Batch
from tfvae.objectives import Elbo, Iwae, Objective


def gradients(
    vae: VAE, x, objective: Objective, estimator: str | Estimator, samples: int, seed
):
    with tf.GradientTape() as tape:
        x = tf.cast(x, tf.float64)
        batch = vae.variational_batch(x, samples, seed, True, objective)
        surrogate = get_estimator(estimator).estimate(batch).surrogate
        surrogate = tf.reduce_mean(surrogate)
    return tape.gradient(surrogate, vae.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["normal", "logistic", "bin_concrete"])
def test_the_pathwise_gradient_is_that_of_central_differences(family):
    vae, x = model(family), binary_images(3, shape=SHAPE)
    found = gradients(vae, x, Iwae(), "pathwise", 4, seed=7)

    def value() -> float:
        terms = vae.log_weight_terms(x, 4, seed=7)
        return float(tf.reduce_mean(Iwae().value(terms.log_weights())))

    rng = np.random.default_rng(0)
    for variable, gradient in zip(vae.trainable_variables, found, strict=True):
        direction = rng.normal(size=variable.shape)
        start, values = variable.numpy(), []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-5 * direction)
            values.append(value())
        variable.assign(start)
        slope = (values[0] - values[1]) / 2e-5
        # Rounding: 1e-15 * 10 / 1e-5; the rule's own error has 1e-10 of a third
        # derivative.
        expected = np.sum(gradient.numpy() * direction)
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)


COPIES, SEEDS = 8000, 50


def repeated(
    vae: VAE,
    objective: Objective,
    estimator: str | Estimator,
    samples: int = 2,
    seeds: int = SEEDS,
):
    """Independent means of COPIES gradients, [seeds, ...] a variable."""
    x = np.tile(binary_images(1, seed=4, shape=SHAPE), [COPIES, 1, 1, 1])
    step = tf.function(
        lambda seed: gradients(vae, x, objective, estimator, samples, seed)
    )
    draws = [step(derive_seed(11, "test", index)) for index in range(seeds)]
    return [np.stack([d[i] for d in draws]) for i in range(len(draws[0]))]


@functools.cache
def pathwise(objective: Objective):
    return repeated(small("normal"), objective, "pathwise")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "objective"), [("stl", Elbo()), ("dreg", Elbo()), ("dreg", Iwae())]
)
def test_estimators_without_the_score_have_pathwises_mean(estimator, objective):
    found = repeated(small("normal"), objective, estimator)
    for one, other in zip(found, pathwise(objective), strict=True):
        difference = one - other  # of the same draws
        error = standard_error(difference)
        # Variables on which both agree draw by draw differ by rounding.
        assert np.all(np.abs(difference.mean(axis=0)) < 5 * error + 1e-12)
        size = np.linalg.norm(other.mean(axis=0))
        assert np.linalg.norm(5 * error) < 0.05 * size, "5 % would not be seen"


@pytest.mark.slow
def test_sticking_the_landing_is_seen_to_be_biased_for_iwae():
    found = repeated(small("normal"), Iwae(), "stl")
    off = [
        np.any(np.abs((a - b).mean(axis=0)) > 5 * standard_error(a - b) + 1e-12)
        for a, b in zip(found, pathwise(Iwae()), strict=True)
    ]
    names = [v.path for v in small("normal").trainable_variables]
    wrong = {n.split("_")[0] for n, is_off in zip(names, off, strict=True) if is_off}
    assert wrong == {"encoder", "up"}


def test_a_stopped_posterior_has_the_gradient_of_z_alone():
    vae, x = model("normal"), tf.constant(binary_images(3, shape=SHAPE), tf.float64)
    head, z = vae.encoder.head, vae.encode(x).sample(2, seed=1)
    slopes = []
    for make in (head, head.stopped):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(z)
            density = make(vae.encoder.params(x)).log_prob(z)
        slopes.append(tape.gradient(density, z))
        others = tape.gradient(density, vae.encoder.trainable_variables)
        assert len(others) == 8
        assert [g is None for g in others] == [make == head.stopped] * 8
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-12)


@pytest.mark.parametrize("objective", [Elbo(), Iwae()])
@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_with_the_exact_posterior_the_encoders_gradient_is_zero(estimator, objective):
    vae = Chain().vae()
    posteriors = {v.path for v in vae.encoder.trainable_variables}
    assert {path.split("_")[0] for path in posteriors} == {"encoder", "up"}
    seen = {}
    for name in (estimator, "pathwise"):
        slopes = gradients(vae, X, objective, name, 3, seed=1)
        for variable, slope in zip(vae.trainable_variables, slopes, strict=True):
            seen[name, variable.path] = np.abs(slope).max()
    for variable in vae.trainable_variables:
        if variable.path in posteriors:
            assert seen[estimator, variable.path] < 1e-12
            assert seen["pathwise", variable.path] > 1e-3
        else:
            assert seen[estimator, variable.path] > 1e-3


def exact_gradient(vae: VAE, objective: Objective, samples: int):
    x = binary_images(1, seed=4, shape=SHAPE)
    with tf.GradientTape() as tape:
        terms = at_states(vae, x)
        tuples = np.array(list(itertools.product(range(16), repeat=samples)))
        log_weights = tf.gather(terms.log_weights()[:, 0], tuples)  # [n, S]
        values = objective.value(tf.transpose(log_weights))
        log_q = tf.gather(terms.log_posterior[:, 0], tuples)
        expected = tf.reduce_sum(tf.exp(tf.reduce_sum(log_q, axis=1)) * values)
    return tape.gradient(expected, vae.trainable_variables)


UNBIASED = ["reinforce", "vimco", "disarm", "bitflip", "ugc", "rebar", "relax"]


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("estimator", "objective"),
    [*itertools.product(UNBIASED, [Elbo(), Iwae()]), ("ovis", Iwae())],
)
def test_discrete_estimators_are_unbiased_for_bernoulli_layers(estimator, objective):
    vae = small("bernoulli")
    posterior = vae.encode(binary_images(1, shape=SHAPE))
    made = with_random_layer(ESTIMATORS[estimator](), posterior)
    noisy = estimator == "relax"  # its control variate is a random network
    found = repeated(vae, objective, made, seeds=3 * SEEDS if noisy else SEEDS)
    wanted = exact_gradient(vae, objective, 2)
    for draws, slope in zip(found, wanted, strict=True):
        error = standard_error(draws)
        assert np.all(np.abs(draws.mean(axis=0) - slope) < 5 * error + 1e-12)
        size = np.linalg.norm(slope)
        assert np.linalg.norm(5 * error) < 0.05 * size, "5 % would not be seen"


# -- through z, layer by layer ---------------------------------------------------------


def of_the_mean(logits, z, u):
    return tf.sigmoid(logits)


def of_two_classes(logits, z, u):
    """Algorithm 2 of Liu et al. (2023), at temperature 1, for classes (1, 0)."""
    both = tf.stack([logits, tf.zeros_like(logits)], axis=-1)
    one_hot = tf.stack([z, 1 - z], axis=-1)
    middle = tf.stop_gradient(0.5 * (one_hot + tf.nn.softmax(both)))
    moved = tf.nn.softmax(tf.math.log(middle) + both - tf.stop_gradient(both))
    return (2 * moved - 0.5 * tf.nn.softmax(both))[..., 0]


def of_a_relaxed_draw(logits, z, u):
    return tf.sigmoid((logits + u - tf.stop_gradient(logits)) / 0.7)


@pytest.mark.parametrize("objective", [Elbo(), Iwae()])
@pytest.mark.parametrize(
    ("estimator", "stand_in"),
    [
        (StraightThrough(), of_the_mean),
        (Reinmax(), of_two_classes),
        (GumbelRao(0.7, 1), of_a_relaxed_draw),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_biased_estimators_go_through_the_draws_of_every_layer(
    estimator, stand_in, objective
):
    """By hand, with networks called one by one and densities written out."""
    vae, samples, seed = model("bernoulli", (3, 2, 4)), 3, 5
    x = tf.constant(binary_images(4, shape=SHAPE), tf.float64)
    found = gradients(vae, x, objective, estimator, samples, seed)
    batch = vae.variational_batch(x, samples, seed, True, objective)
    drawn = tf.split(batch.draw(), vae.latent.sizes, axis=-1)

    def run(network, z):
        flat = network(tf.reshape(z, [-1, z.shape[-1]]), training=False)
        return tf.reshape(flat, [*z.shape[:-1], -1])

    def log_prob(logits, value):
        return tf.reduce_sum(value * logits - tf.nn.softplus(logits), axis=-1)

    with tf.GradientTape() as tape:
        logits, chain, log_weights = vae.encoder.params(x), [], 0.0
        for k, z in enumerate(drawn):
            u = Bits(logits).perturbed(batch, z, layer=k)
            through = stand_in(logits, z, u)
            chain.append(z + through - tf.stop_gradient(through))
            log_weights -= log_prob(logits, chain[-1])
            if k < 2:
                logits = run(vae.latent.upward[k], chain[-1])
        log_weights += log_prob(tf.zeros(4, tf.float64), chain[2])
        for k in range(2):
            logits = run(vae.latent.downward[k], chain[k + 1])
            log_weights += log_prob(logits, chain[k])
        pixels = run(vae.decoder.network, chain[0])
        log_weights += log_prob(pixels, tf.reshape(x, [4, -1]))
        value = tf.reduce_mean(objective.value(log_weights))
    wanted = tape.gradient(value, vae.trainable_variables)
    for one, other in zip(found, wanted, strict=True):
        assert np.any(np.abs(other) > 1e-4)
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.quick(1)
@pytest.mark.parametrize("estimator", ["disarm", "ugc", "rebar", "gumbel_rao"])
def test_three_layers_of_bits_train(estimator):
    vae, x = model("bernoulli", (3, 2, 4)), binary_images(40, shape=SHAPE)
    vae.compile(keras.optimizers.Adam(0.03), "elbo", 4, estimator, seed=1)
    before = [v.numpy() for v in vae.trainable_variables]
    first = vae.evaluate(x, verbose=0, return_dict=True)["elbo"]
    vae.fit(x, epochs=30, batch_size=20, verbose=0)
    after = vae.evaluate(x, verbose=0, return_dict=True)["elbo"]
    assert after > first + 0.2
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        assert np.any(old != variable.numpy()), variable.path


def summed(vae: VAE, batch: Batch, estimator: str) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        given = vae.variational_batch(batch, 3, 5, True, Elbo())
        surrogate = tf.reduce_sum(get_estimator(estimator).estimate(given).surrogate)
    return tape.gradient(surrogate, vae.trainable_variables)


LAYER_BY_LAYER = ["disarm", "bitflip", "ugc", "rebar", "gumbel_rao"]


@pytest.mark.parametrize("estimator", LAYER_BY_LAYER)
def test_replicas_draw_what_one_device_draws_for_every_layer(estimator):
    vae = model("bernoulli", (3, 2, 4))
    x = tf.constant(binary_images(5, shape=SHAPE), tf.float64)
    whole = summed(vae, Batch(x), estimator)
    parts = [
        summed(
            vae, Batch(x[a:b], shard=BatchShard(*map(tf.constant, shard))), estimator
        )
        for a, b, shard in ((0, 2, (0, 2, 5)), (2, 5, (2, 3, 5)))
    ]
    for one, *others in zip(whole, *parts, strict=True):
        assert np.any(np.abs(one) > 1e-3)
        np.testing.assert_allclose(sum(others), one, rtol=0, atol=1e-11)


@pytest.mark.quick(2)
@pytest.mark.parametrize("estimator", LAYER_BY_LAYER)
def test_gradients_of_layers_are_the_same_in_a_graph_and_under_xla(estimator):
    vae = model("bernoulli", (3, 2, 4))
    batch = Batch(tf.constant(binary_images(4, shape=SHAPE), tf.float64))
    eager = summed(vae, batch, estimator)
    for jit_compile in (False, True):
        step = tf.function(
            lambda: summed(vae, batch, estimator), jit_compile=jit_compile
        )
        for one, other in zip(step(), eager, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_layers_have_noise_of_their_own():
    vae = model("bernoulli", (3, 3))
    x = tf.constant(binary_images(500, shape=SHAPE), tf.float64)
    batch = vae.variational_batch(x, 4, 5)
    z = tf.ones([4, 500, 3], tf.float64)
    logits = Bits(tf.zeros([500, 3], tf.float64))
    lower, upper = (logits.perturbed(batch, z, layer=k).numpy() for k in (0, 1))
    found = np.corrcoef(lower.ravel(), upper.ravel())[0, 1]
    assert abs(found) < 5 / np.sqrt(lower.size)


class ReadsAll(Hierarchy):
    """Its decoder reads both layers."""

    def decoder_input(self, z):
        first, second = self.split(z)
        return first + 2.0 * second


def reading_all() -> VAE:
    plain = model("bernoulli", (2, 2), ())
    parts = plain.latent
    latent = ReadsAll(parts.layers, parts.upward, parts.downward)
    return together(
        plain.encoder.network,
        latent.posterior_head(),
        plain.decoder.network,
        plain.decoder.head,
        latent,
    )


@pytest.mark.parametrize(
    "make", [lambda: small("bernoulli"), reading_all], ids=["layer 1", "all layers"]
)
@pytest.mark.parametrize("given", [*LAYER_BY_LAYER, "relax", "reinmax", "vimco"])
def test_a_step_has_the_evaluations_and_slopes_that_are_said(make, given):
    """Of every layer that the decoder reads, and of those above none."""
    vae = make()
    vae.compile(estimator=given, objective=Elbo(), num_samples=3)
    x = tf.constant(binary_images(2, shape=SHAPE), tf.float64)
    batch, counted = with_counts(vae.variational_batch(x, 3, 5))
    # The way back to the weights of what is learned comes on top.
    vae.estimator.estimate(dataclasses.replace(batch, learned=None))
    assert sum(counted) == vae.evaluations_per_step


@pytest.mark.parametrize("estimator", ["disarm", "rebar"])
def test_a_decoder_that_reads_an_upper_layer_is_asked_about_it(estimator):
    vae = reading_all()
    found = repeated(vae, Elbo(), ESTIMATORS[estimator]())
    for draws, slope in zip(found, exact_gradient(vae, Elbo(), 2), strict=True):
        error = standard_error(draws)
        assert np.all(np.abs(draws.mean(axis=0) - slope) < 5 * error + 1e-12)
        assert np.linalg.norm(5 * error) < 0.05 * np.linalg.norm(slope)
