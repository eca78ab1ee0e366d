"""Every head: gradients, extremes, graphs and XLA, broadcasting, types and seeds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.heads import DISCRETE, NUM_PARAMS, head_of, some_params, some_values

from tfvae.core.types import InputError
from tfvae.heads import HEADS, SharedScaleNormalHead
from tfvae.models import ConditionalDistribution

tfd = tfp.distributions
NAMES = sorted(HEADS)


def central_difference(function, params: np.ndarray, step: float = 3e-4) -> np.ndarray:
    """d function / d params, both flat, by the five-point formula.

    It is off by step^4 / 30 = 3e-16 times the fifth derivative, and by rounding: 1e-12
    times the value.
    """
    moved = np.eye(params.size) * step
    difference = 8 * (function(params + moved) - function(params - moved))
    difference -= function(params + 2 * moved) - function(params - 2 * moved)
    return difference / (12 * step)


# -- gradients -------------------------------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_central_differences(name):
    head = head_of(name, (3,))
    # The smallest scale is about 0.04, so that fifth derivatives stay below 1e7.
    params = some_params(head, seed=2) * 0.5
    x = some_values(name, [3])
    tensor = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        log_prob = head(tensor).log_prob(x)
    found = tape.gradient(log_prob, tensor)
    wanted = central_difference(lambda p: head(p).log_prob(x).numpy(), params)
    np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("tilt", [0.0, 1e-8, 1e-3, 0.3, 20.0])
def test_continuous_bernoulli_near_zero_keeps_its_gradient(tilt):
    head = head_of("continuous_bernoulli", (1,), "float32")
    logits = tf.constant([[tilt], [-tilt]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = head(logits).log_prob([[0.7], [0.3]])
    # d log p / d logits is x less the mean.
    found = tape.gradient(log_prob, logits)[:, 0]
    mean = head(logits).mean()[:, 0]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    mass = weights * np.exp(tilt * (nodes + 1) / 2)
    oracle = np.sum(mass / mass.sum() * (nodes + 1) / 2)
    # float32; TFP subtracts terms of up to 4 from each other.
    np.testing.assert_allclose(mean, [oracle, 1 - oracle], atol=1e-6, rtol=0)
    np.testing.assert_allclose(found, [0.7 - oracle, oracle - 0.7], atol=2e-6, rtol=0)


EXTREMES = [-1e4, -50.0, -1e-3, 0.0, 1.0, 50.0, 1e4]
EDGES = {"bernoulli": [0.0, 1.0], "continuous_bernoulli": [0.0, 1e-7, 0.5, 1.0]}
EDGES |= dict.fromkeys(["poisson", "negative_binomial"], [0.0, 1.0, 1000.0])
EDGES["categorical"] = [0.0, 1 / 15, 1.0]
EDGES |= dict.fromkeys(
    ["discretized_logistic", "discretized_logistic_mixture"], [0.0, 0.2, 1.0]
)


@pytest.mark.parametrize("name", NAMES)
def test_extreme_parameters_have_finite_values_and_gradients(name):
    head = head_of(name, (1,), "float32")
    values = [p for p in EXTREMES if name != "poisson" or p <= 88]
    count = head.num_params
    rng = np.random.default_rng(0)
    # All pairs of extremes where there are one or two; draws from them where more.
    pairs = np.stack(np.meshgrid(*[values] * min(count, 2)), axis=-1)
    params = pairs.reshape([-1, pairs.shape[-1]])
    if count > 2:
        params = rng.choice(values, [300, count])
    params = tf.constant(params[:, None], tf.float32)  # [P, 1, count]
    x = tf.constant(EDGES.get(name, [-1e4, -1.0, 0.0, 0.5, 1e4]), tf.float32)
    params = tf.tile(params, [1, len(x), 1])  # [P, X, count]
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = head(params).log_prob(x[:, None])
    gradient = tape.gradient(log_prob, params)
    assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(head(params).mean()))


@pytest.mark.parametrize("family", [tfd.Normal, tfd.Laplace, tfd.Logistic])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_any_scale_has_finite_values_and_gradients(family, scale):
    loc = tf.constant([-1e4, 0.0, 0.5, 1e4])
    scales = tf.fill([4], scale)
    with tf.GradientTape() as tape:
        tape.watch([loc, scales])
        log_prob = family(loc, scales).log_prob(0.5)
    gradients = tape.gradient(log_prob, [loc, scales])
    assert all(np.all(np.isfinite(found)) for found in [log_prob, *gradients])


# -- one scale for all -----------------------------------------------------------------


def test_the_shared_scales_gradient_is_its_formula():
    head = SharedScaleNormalHead((2, 3), 0.4, dtype="float64")
    params, x = some_params(head, 5), some_values("normal", [5, 2, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(params).log_prob(x))
    (weight,) = head.trainable_variables
    found = tape.gradient(loss, weight.value)
    # d/ds sum(-(x - loc)^2 / (2 s^2) - log s) times ds/draw = 1 - exp(-(s - 1e-5)).
    wanted = np.sum((x - params) ** 2) / 0.4**3 - x.size / 0.4
    wanted *= 1 - np.exp(-(0.4 - 1e-5))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_the_best_shared_scale_is_the_root_mean_squared_error():
    x = np.random.default_rng(0).normal(0, 0.3, [50, 4])
    head = SharedScaleNormalHead((4,), np.sqrt(np.mean(x**2)), dtype="float64")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(np.zeros([50, 4])).log_prob(x))
    gradient = tape.gradient(loss, head.raw_scale.value)
    # Rounding of 200 terms of about 1.
    assert abs(gradient) < 1e-11 * x.size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [2e-5, 0.05, 1.0, 50.0])
def test_the_shared_scale_starts_where_it_is_told(scale, dtype):
    head = SharedScaleNormalHead((4,), scale, dtype=dtype)
    found = head.named_params(head(np.zeros([2, 4], dtype)))["scale"]
    assert found.shape == (2, 4) and found.dtype == dtype
    rtol = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(found, scale, rtol=rtol)


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1e-5, 1e-9, np.inf, True])
def test_a_shared_scale_that_cannot_be_learned_is_refused(wrong):
    with pytest.raises(InputError, match="scale .* is not usable; give a"):
        SharedScaleNormalHead((4,), wrong)


# -- graphs, XLA, shapes and types -----------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_eager_graph_and_xla_agree_for_any_batch(name):
    head = head_of(name, (2, 3))
    params, x = some_params(head, 3, 5), some_values(name, [5, 2, 3])

    def value_and_gradient(params, x):
        with tf.GradientTape() as tape:
            tape.watch(params)
            distribution = head(params)
            log_prob = distribution.log_prob(x)
        return log_prob, tape.gradient(log_prob, params), distribution.mean()

    unknown = [
        tf.TensorSpec([None, None, *head.params_shape], tf.float64),
        tf.TensorSpec([None, 2, 3], tf.float64),
    ]
    wanted = value_and_gradient(tf.constant(params), tf.constant(x))
    assert wanted[0].shape == (3, 5)
    for xla in (False, True):
        compiled = tf.function(
            value_and_gradient, input_signature=unknown, jit_compile=xla
        )
        for found, eager in zip(compiled(params, x), wanted, strict=True):
            assert found.dtype == tf.float64
            np.testing.assert_allclose(found, eager, rtol=1e-10, atol=1e-12)


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_images_meets_many_samples_of_parameters(name):
    head = head_of(name, (2, 3))
    params, x = some_params(head, 4, 5), some_values(name, [5, 2, 3])
    found = head(params).log_prob(x)
    looped = [
        [head(p).log_prob(y) for p, y in zip(row, x, strict=True)] for row in params
    ]
    np.testing.assert_allclose(found, looped, rtol=1e-12)


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_a_graph_takes_samples_of_batches_of_colour_images(name):
    # With a last axis of levels or components that makes six axes in all.
    head = head_of(name, (3, 2, 3), "float32")
    params = some_params(head, 4, 5).astype("float32")
    x = some_values(name, [5, 3, 2, 3]).astype("float32")

    def everything(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            distribution = head(params)
            log_prob = distribution.log_prob(x)
        found = log_prob, tape.gradient(log_prob, params), distribution.mean()
        return *found, distribution.variance(), distribution.sample(seed=[1, 2])

    eager = everything(tf.constant(params))
    for found, wanted in zip(tf.function(everything)(params), eager, strict=True):
        # Kernels differ by a few roundings of float32; a draw may move to a neighbour.
        share = np.mean(~np.isclose(found, wanted, rtol=1e-4, atol=1e-4))
        assert found.shape == wanted.shape and share < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_may_return_the_distribution(name):
    head = head_of(name)
    params, x = some_params(head, 3), some_values(name, [3, 4])
    found = tf.function(head.__call__)(tf.constant(params))
    np.testing.assert_allclose(found.log_prob(x), head(params).log_prob(x), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_float64_draws_and_moments_have_float64s_digits(name):
    head = head_of(name)
    distribution = head(some_params(head, 50))
    found = {
        "mean": distribution.mean(),
        "variance": distribution.variance(),
        "log_prob": distribution.log_prob(some_values(name, [50, 4])),
        **head.named_params(distribution),
    }
    if name not in DISCRETE:
        found["draw"] = distribution.sample(seed=[1, 2])
    for key, value in found.items():
        value = value.numpy()
        assert value.dtype == "float64", key
        if name in ("normal_fixed_scale", "normal_shared_scale", "bin_concrete"):
            if key in ("variance", "scale"):
                continue  # one number
        assert np.mean(value != value.astype("float32")) > 0.5, key


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_a_bfloat16_network_gets_a_float32_distribution(name):
    inputs = keras.Input((3,))
    width = 2 * NUM_PARAMS.get(name, 1)
    outputs = keras.layers.Dense(width, dtype="mixed_bfloat16")(inputs)
    head = head_of(name, (2,), "float32")
    network = keras.Model(inputs, outputs)
    assert network.output.dtype == "bfloat16"
    x = np.random.default_rng(0).normal(size=[4, 3]).astype("float32")
    distribution = ConditionalDistribution(network, head)(x)
    y = some_values(name, [4, 2]).astype("float32")
    draw = distribution.sample(seed=[1, 2])
    for part in (distribution.log_prob(y), distribution.mean(), draw):
        assert part.dtype == tf.float32 and np.all(np.isfinite(part))


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_a_draw_is_a_function_of_its_seed(name):
    head = head_of(name, (40,))
    params = tf.constant(some_params(head, 2))
    draw = head(params).sample(seed=[1, 2])
    np.testing.assert_array_equal(head(params).sample(seed=[1, 2]), draw)
    in_graph = tf.function(lambda: head(params).sample(seed=[1, 2]))
    np.testing.assert_allclose(in_graph(), draw, rtol=1e-12)
    assert np.any(head(params).sample(seed=[1, 3]) != draw)
    assert head.in_support(draw.numpy())
    assert np.all(np.isfinite(head(params).log_prob(draw)))
