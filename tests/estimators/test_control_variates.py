"""Learned control variates of leave-one-out estimators, against exact expectations."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.exact_gradients import (
    PARAMS,
    assert_means,
    estimates,
    exact,
    problem,
)
from helpers.learned import WithLayer, random_layer
from helpers.models import binary_images, tiny_vae

from tfvae.core.types import InputError
from tfvae.estimators import DoubleCv, Reinforce, Rodeo
from tfvae.estimators.control_variates import Sloped, SteinControl, surrogates
from tfvae.export import export_saved_model
from tfvae.objectives import Ciwae, Elbo, Renyi

BOTH = [DoubleCv(), Rodeo(hidden_sizes=(4,))]


def name_of(value: object) -> str:
    return type(value).__name__


def bits(copies: int = 1, num_samples: int = 1, kl_weight: float = 1.0):
    """The problem of two bits, and its variables."""
    parts = [tf.Variable(np.tile(p, [copies, 1])) for p in PARAMS["bernoulli"]]
    return problem("bernoulli", Elbo(), parts, num_samples, kl_weight), parts


def with_layer(estimator, seed: int = 0) -> WithLayer:
    return WithLayer(estimator, random_layer(estimator, bits()[0].posterior, seed))


def learn(given: WithLayer, steps: int, likelihood=None) -> None:
    """Steps down the noise, at draws of their own."""
    optimizer = keras.optimizers.Adam(0.05)
    weights = given.layer.trainable_variables
    optimizer.build(weights)
    for step in range(steps):
        parts = [tf.constant(np.tile(p, [50, 1])) for p in PARAMS["bernoulli"]]
        with tf.GradientTape() as tape:
            batch = problem("bernoulli", Elbo(), parts, 3, 1.0, seed=(5, step))
            likelihood = likelihood or batch.log_likelihood
            batch = dataclasses.replace(batch, log_likelihood=likelihood)
            loss = -tf.reduce_mean(given.estimate(batch).surrogate)
        optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)


def assert_unbiased(given, objective, num_samples, kl_weight=1.0) -> None:
    """As in `helpers.exact_gradients`, with draws that leave room for the network."""
    wanted = exact("bernoulli", objective, 1, kl_weight)  # the same for any number
    copies = 100_000
    found = estimates(given, "bernoulli", objective, num_samples, kl_weight, copies)
    assert_means(found, wanted)


# -- the mean --------------------------------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("num_samples", [2, 3, 5])
@pytest.mark.parametrize("objective", [Elbo(), Renyi(1.0), Ciwae(1.0)], ids=name_of)
@pytest.mark.parametrize("estimator", BOTH, ids=name_of)
def test_estimates_are_unbiased_for_random_parameters(
    estimator, objective, num_samples
):
    assert_unbiased(with_layer(estimator), objective, num_samples)


@pytest.mark.quick(1)
@pytest.mark.parametrize("estimator", BOTH, ids=name_of)
def test_estimates_are_unbiased_after_updates_and_with_a_kl_weight(estimator):
    given = with_layer(estimator, 1)
    before = given.layer.get_weights()
    learn(given, 10)
    moved = [
        np.any(a != b) for a, b in zip(before, given.layer.get_weights(), strict=True)
    ]
    assert all(moved)
    assert_unbiased(given, Elbo(), 3, kl_weight=0.4)


def test_a_surrogate_that_knows_its_own_sample_would_be_seen(monkeypatch):
    """The fault that the tests above are for: one sample among its own others."""
    from tfvae.estimators import control_variates

    def own_too(drawn, correction, num_others):
        own = drawn._replace(
            f=tf.roll(drawn.f, 1, 0), slopes=tf.roll(drawn.slopes, 1, 0)
        )
        return surrogates(own, correction, num_others)

    given = with_layer(Rodeo(hidden_sizes=(4,)))
    monkeypatch.setattr(control_variates, "surrogates", own_too)
    with pytest.raises(AssertionError):
        assert_unbiased(given, Elbo(), 3)


@pytest.mark.parametrize("estimator", [DoubleCv(0.0), Rodeo()], ids=name_of)
def test_both_start_as_leave_one_out_reinforce(estimator):
    found = [
        estimates(each, "bernoulli", Elbo(), 3, 0.7, 50)
        for each in (estimator, Reinforce())
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


# -- the operator, exactly -------------------------------------------------------------


def all_states(size: int) -> np.ndarray:
    return np.array(list(itertools.product([0.0, 1.0], repeat=size)))


def test_rodeo_is_the_formula_written_out_with_every_neighbour():
    """With h(y) = k(y) = the slopes' step, and the operator as a sum over states."""
    size, a, b = 3, 0.7, -0.4
    rng = np.random.default_rng(0)
    z = all_states(size)[rng.integers(0, 8, 4)]  # [S, D]
    logits, f, slopes = (
        rng.normal(size=size),
        rng.normal(size=4),
        rng.normal(size=z.shape),
    )
    p = 1 / (1 + np.exp(-logits))

    def h(s: int, y: np.ndarray) -> float:
        return np.mean([slopes[t] @ (y - z[t]) for t in range(4) if t != s])

    def operator(function, at: np.ndarray):
        total = 0.0
        for i in range(size):
            y = np.where(np.arange(size) == i, 1 - at, at)
            chance = p[i] if y[i] else 1 - p[i]
            total = total + chance * (function(y) - function(at))
        return total

    moved = [operator(lambda y, s=s: h(s, y), z[s]) for s in range(4)]
    wanted = 0.0
    for s in range(4):
        others = [f[t] + a * moved[t] for t in range(4) if t != s]
        wanted += (f[s] - np.mean(others)) * (z[s] - p)
        wanted += b * operator(lambda y, s=s: h(s, y) * (y - p), z[s])
    given = (
        z[:, np.newaxis],
        logits[np.newaxis],
        f[:, np.newaxis],
        slopes[:, np.newaxis],
    )
    drawn = Sloped(*map(tf.constant, given))
    found = Rodeo().gradient(drawn, SteinControl(a, b))
    np.testing.assert_allclose(found[0], wanted / 4, rtol=0, atol=1e-13)
    # The operator's mean over all states is 0, by which the estimate is unbiased.
    chances = np.prod(np.where(all_states(size) == 1, p, 1 - p), axis=1)
    means = [operator(lambda y: h(0, y) ** 3, state) for state in all_states(size)]
    assert np.max(np.abs(means)) > 0.1
    np.testing.assert_allclose(chances @ np.array(means), 0, atol=1e-13)


def test_surrogates_take_as_many_other_samples_as_they_are_told():
    rng = np.random.default_rng(0)
    shapes = [(5, 1, 2), (1, 2), (5, 1), (5, 1, 2)]
    drawn = Sloped(*(tf.constant(rng.normal(size=shape)) for shape in shapes))
    for others in (1, 3, 4, 9):
        here = surrogates(drawn, None, others)[0].numpy()[..., 0, 0]  # [S]
        z, slopes = (v.numpy()[:, 0] for v in (drawn.z, drawn.slopes))
        for s in range(5):
            behind = [(s + t) % 5 for t in range(1, 1 + min(others, 4))]
            wanted = np.mean([slopes[t] @ (z[s] - z[t]) for t in behind])
            np.testing.assert_allclose(here[s], wanted, rtol=0, atol=1e-13)


# -- what they learn -------------------------------------------------------------------


def mild(z: tf.Tensor) -> tf.Tensor:
    """Nearly linear, so that slopes tell what a step changes."""
    return 3.0 * z[..., 0] - 2.0 * z[..., 1] + 0.5 * z[..., 0] * z[..., 1]


@pytest.mark.parametrize("estimator", BOTH, ids=name_of)
def test_what_is_learned_lowers_the_variance(estimator):
    given = WithLayer(estimator, estimator.learned(bits()[0].posterior))

    def variance() -> float:
        batch, parts = bits(20_000, 3)
        with tf.GradientTape() as tape:
            batch = dataclasses.replace(batch, log_likelihood=mild)
            surrogate = given.estimate(batch).surrogate
        return float(tape.gradient(surrogate, parts[0]).numpy().var(axis=0).sum())

    start = variance()
    learn(given, 60, mild)
    # 20,000 draws know a variance to 2 % or so.
    assert variance() < 0.7 * start


@pytest.mark.parametrize("estimator", BOTH, ids=name_of)
def test_what_is_learned_descends_the_mean_square_of_the_logits_gradient(estimator):
    given = with_layer(estimator)

    def slopes():
        batch, parts = bits(20, 3)
        weights = [v.value for v in given.layer.trainable_variables]
        with tf.GradientTape() as tape:
            surrogate = tf.reduce_mean(given.estimate(batch).surrogate)
        found = tape.gradient(surrogate, [parts[0], *weights])
        return found[0].numpy(), found[1:]

    found = slopes()[1]
    for variable, slope in zip(given.layer.trainable_variables, found, strict=True):
        start = variable.numpy()
        direction = np.random.default_rng(0).normal(size=start.shape)
        ends = []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-5 * direction)
            ends.append(np.log(np.mean(np.sum(np.square(slopes()[0]), axis=-1))))
        variable.assign(start)
        wanted = (ends[0] - ends[1]) / 2e-5
        # A step goes up the surrogate. Rounding: 1e-14 over 2e-5.
        np.testing.assert_allclose(-np.sum(slope * direction), wanted, atol=1e-8)
        assert abs(wanted) > 1e-4


@pytest.mark.parametrize("estimator", BOTH, ids=name_of)
def test_what_is_learned_is_saved_with_the_model_and_not_exported(estimator, tmp_path):
    vae, x = (
        tiny_vae("bernoulli", dtype="float64", head_dtype="float64"),
        binary_images(4),
    )
    vae.compile(keras.optimizers.SGD(0.05), "elbo", 3, estimator, run_eagerly=True)
    start = vae.learned.get_weights()
    vae.train_on_batch(x), vae.train_on_batch(x)
    pairs = zip(start, vae.learned.get_weights(), strict=True)
    assert all(np.any(old != new) for old, new in pairs)
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.estimator == estimator
    for step in range(2):  # as saved, and after one more step of both
        for one, other in zip(again.weights, vae.weights, strict=True):
            np.testing.assert_array_equal(one, other)
        if not step:
            again.train_on_batch(x), vae.train_on_batch(x)
    export_saved_model(vae, tmp_path / "served")
    (index,) = (tmp_path / "served").rglob("variables.index")
    names = [name for name, _ in tf.train.list_variables(str(index.with_suffix("")))]
    weights = [name for name in names if name.endswith("VARIABLE_VALUE")]
    assert len(weights) == len(vae.encoder.weights + vae.decoder.weights)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DoubleCv(float("nan")), "coefficient nan"),
        (lambda: DoubleCv("1"), "coefficient '1'"),
        (lambda: Rodeo(hidden_sizes=(3, 0)), "hidden_sizes 0"),
        (lambda: Rodeo(num_others=0), "num_others 0"),
        (lambda: Rodeo(num_others=1.5), "num_others 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
