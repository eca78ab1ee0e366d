"""Optimal resampling keeps m different samples, and sums unbiased."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfvae.estimators import optimal_resampling

RNG = np.random.default_rng(0)


def offsets(weights: tf.Tensor, seed: tuple[int, int]) -> tf.Tensor:
    """Draws from U(0, 1), one for each column of weights."""
    return tf.random.stateless_uniform(weights.shape[1:], seed, dtype=tf.float64)


def probabilities(weights: np.ndarray, kept: int) -> np.ndarray:
    """min(1, c w) [S] whose sum is `kept`; c by bisection, as the paper defines it."""
    low, high = 0.0, kept / weights[weights > 0].min()
    for _ in range(200):
        c = 0.5 * (low + high)
        low, high = (c, high) if np.minimum(1, c * weights).sum() < kept else (low, c)
    return np.minimum(1, high * weights)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


WEIGHTS = {
    "of a young model": softmax(RNG.normal(0, 1, 20)),
    "of a trained model": softmax(RNG.normal(0, 5, 20)),
    "equal": np.full(20, 1 / 20),
    "one, and all others equal": softmax(np.array([3.0, *np.zeros(19)])),
}


@pytest.mark.quick(5)
@pytest.mark.parametrize("kept", [1, 3, 8, 19, 20])
@pytest.mark.parametrize("case", WEIGHTS)
def test_each_sample_is_kept_with_its_probability(case, kept):
    weights, copies = WEIGHTS[case], 20_000
    given = tf.constant(np.tile(weights[:, None], [1, copies]))
    numbers, inverse = (
        x.numpy() for x in optimal_resampling(given, kept, offsets(given, (1, 2)))
    )
    assert numbers.shape == inverse.shape == (kept, copies)
    ordered = np.sort(numbers, axis=0)
    assert np.all(ordered[1:] > ordered[:-1]), "a sample is there twice"
    wanted = probabilities(weights + 1e-12, kept)  # which is added, as a floor
    counts = np.bincount(numbers.ravel(), minlength=20)
    error = np.sqrt(wanted * (1 - wanted) * copies)
    assert np.all(np.abs(counts - wanted * copies) <= 5 * error + 1e-6 * copies)

    np.testing.assert_allclose(inverse, 1 / wanted[numbers], rtol=1e-9)


def test_weights_above_the_threshold_are_kept_as_they_are():
    weights = softmax(np.array([9.0, 8.0, *np.linspace(0, 1, 18)]))
    given = tf.constant(np.tile(weights[:, None], [1, 1000]))
    numbers, inverse = (
        x.numpy() for x in optimal_resampling(given, 5, offsets(given, (3, 4)))
    )
    for sure in (0, 1):
        assert np.all((numbers == sure).sum(axis=0) == 1)
        assert np.all(inverse[numbers == sure] == 1)
    # The others have the threshold's weight, all the same.
    weight = (weights[numbers] * inverse)[numbers > 1]
    np.testing.assert_allclose(weight, weight[0], rtol=1e-7)


@pytest.mark.parametrize(
    "weights",
    [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.5, 0.5, 0.0, 0.0, 0.0],
        [1.0, 1e-30, 1e-38, 0.0, 0.0],
        [0.2, 0.2, 0.2, 0.2, 0.2],
    ],
)
@pytest.mark.parametrize("kept", [1, 3, 4, 5])
def test_weights_that_underflow_leave_numbers_finite_and_different(weights, kept):
    given = tf.constant(np.tile(np.array(weights, "float32")[:, None], [1, 200]))
    numbers, inverse = (
        x.numpy() for x in optimal_resampling(given, kept, offsets(given, (5, 6)))
    )
    ordered = np.sort(numbers, axis=0)
    assert np.all(ordered[1:] > ordered[:-1])
    assert np.all(np.isfinite(inverse)) and np.all(inverse >= 1)
    if kept >= np.count_nonzero(np.array(weights) > 1e-20):
        np.testing.assert_allclose(
            (given.numpy()[numbers, 0] * inverse).sum(axis=0), 1, rtol=1e-6
        )


def test_many_samples_of_many_images_are_different_each_time():
    logits = RNG.normal(0, 3, [5000, 100])
    given = tf.nn.softmax(tf.constant(logits, tf.float32), axis=0)
    numbers, _ = optimal_resampling(given, 64, offsets(given, (7, 8)))
    ordered = np.sort(numbers.numpy(), axis=0)
    assert np.all(ordered[1:] > ordered[:-1])


def test_the_compiled_function_keeps_the_same_samples():
    # Sums are rounded otherwise under XLA, so that no sample is left to chance here.
    given = tf.constant(np.tile([[0.0], [0.6], [0.0], [0.4]], [1, 3]), tf.float32)
    compiled = tf.function(optimal_resampling, jit_compile=True)
    for function in (optimal_resampling, compiled):
        numbers, inverse = function(given, 2, offsets(given, (1, 2)))
        np.testing.assert_array_equal(numbers, [[1] * 3, [3] * 3])
        np.testing.assert_array_equal(inverse, np.ones([2, 3]))
