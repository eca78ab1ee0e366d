"""Summaries of arrays."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfvae.evaluation.statistics import bits_per_dim, mean_with_error, paired_difference
from tfvae.objectives.bounds import effective_sample_size


def ess(log_weights) -> np.ndarray:
    return effective_sample_size(tf.constant(log_weights)).numpy()


def test_equal_weights_count_in_full_and_one_dominating_weight_counts_once():
    log_weights = np.array([[5.0, 0.0], [5.0, -900.0], [5.0, -900.0]])
    np.testing.assert_allclose(ess(log_weights), [3, 1], rtol=1e-14)


def test_it_is_kongs_ratio_whatever_the_scale():
    log_weights = np.random.default_rng(0).normal(0, 1, [20, 3])
    weights = np.exp(log_weights)
    wanted = weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)
    for constant in (0, -1000, 1e6):
        # float64 carries 1e6 to 1e-10, and so its exponential.
        np.testing.assert_allclose(ess(log_weights + constant), wanted, rtol=1e-8)


def test_two_of_four_equal_weights_count_as_two():
    np.testing.assert_allclose(ess([[0.0], [0.0], [-800.0], [-800.0]]), [2.0])


def test_one_sample_counts_once():
    np.testing.assert_array_equal(ess([[-45.0, 3.0]]), [1, 1])


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), (2, 1, 1)])
def test_a_coin_for_every_dimension_is_one_bit_per_dimension(shape):
    nats = np.prod(shape) * np.log(2)
    assert bits_per_dim(nats, shape) == pytest.approx(1, rel=1e-14)


def test_the_mean_has_the_textbooks_standard_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    error = np.sqrt((9 + 4 + 0 + 25) / 3 / 4)
    assert mean_with_error(values) == (4.0, pytest.approx(error, rel=1e-15))


def test_one_example_has_no_standard_error():
    assert mean_with_error(np.array([3.0])) == (3.0, None)


def test_a_paired_difference_knows_nothing_of_what_both_have_in_common():
    rng = np.random.default_rng(0)
    common, small = 100 * rng.normal(size=50), rng.normal(size=50)
    found = paired_difference(common + small, common)
    assert found.mean == pytest.approx(small.mean(), abs=1e-12)
    error = small.std(ddof=1) / np.sqrt(50)
    assert found.standard_error == pytest.approx(error, rel=1e-10)


def test_a_constant_difference_is_sure():
    values = np.arange(8.0)
    assert paired_difference(values + 2, values) == (2.0, 0.0)
