"""Columns beside each other as one head: shapes, graphs, names and configs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.columns import (
    CASES,
    NAMES,
    all_params,
    head_of,
    oracles,
    rows,
)

from tfvae.core.types import InputError
from tfvae.heads import Columns, NormalColumn, PoissonColumn

EPS32 = np.finfo("float32").eps


# -- as a head -------------------------------------------------------------------------


@pytest.mark.slow
def test_shapes_are_batch_then_columns():
    head = head_of()
    size = sum(case.column.num_params for case in CASES.values())
    assert head.event_shape == (len(NAMES),) and head.params_shape == (size,)
    distribution = head(np.zeros([7, 4, size]))
    assert distribution.batch_shape == (7, 4)
    assert distribution.event_shape == (len(NAMES),)
    x = np.stack([rows()[:4]] * 3)[:, None]  # [3, 1, 4, D]
    assert distribution.log_prob(x).shape == (3, 7, 4)
    assert distribution.log_prob_columns(x).shape == (3, 7, 4, len(NAMES))
    assert distribution.sample([2, 3], seed=0).shape == (2, 3, 7, 4, len(NAMES))
    assert distribution.mean().shape == (7, 4, len(NAMES))


@pytest.mark.slow
def test_graphs_of_unknown_batches_compute_the_same():
    head, x, params = head_of("float32"), rows().astype("float32"), all_params(5)
    params = params.astype("float32")

    @tf.function(input_signature=[tf.TensorSpec([None, params.shape[1]])])
    def both(params):
        distribution = head(params)
        return distribution.log_prob(x), distribution.sample(3, seed=1)

    found, drawn = both(params)
    np.testing.assert_allclose(found, head(params).log_prob(x), rtol=1e-5)
    wanted = head(params).sample(3, seed=1)
    np.testing.assert_allclose(drawn, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.slow  # half a minute of compiling
def test_compiled_log_probabilities_and_gradients_are_the_same():
    head, x = head_of("float32"), rows().astype("float32")
    params = tf.constant(all_params(5), tf.float32)

    def both() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_probs = head(params).log_prob_columns(x)
        return log_probs, tape.gradient(log_probs, params)

    plain, xla = tf.function(both)(), tf.function(both, jit_compile=True)()
    for wanted, found in zip(plain, xla, strict=True):
        # Some 30 roundings, relative to the values or to terms of size 1.
        np.testing.assert_allclose(found, wanted, rtol=30 * EPS32, atol=30 * EPS32)


def test_a_head_says_what_it_is():
    head = head_of()
    assert head.elementwise and head.is_density and not head.is_probability
    assert head.compute_dtype == "float64"
    assert Columns([NormalColumn("a")]).compute_dtype == keras.config.floatx()
    counts = Columns([PoissonColumn("a")])
    assert not counts.is_density and counts.support == "a: counts 0, 1, 2, ..."
    assert "and 4 more" in head.support


def test_the_support_is_that_of_each_column():
    head, x = head_of(), rows()
    assert head.in_support(x)
    for i, name in enumerate(NAMES):
        wrong = x.copy()
        wrong[2, i] = np.nan
        outside = head.outside(tf.constant(wrong)).numpy()
        assert outside[2, i] and outside.sum() == 1, name
    with pytest.raises(InputError, match="end in"):
        head.outside(tf.zeros([3, 2]))
    assert not head.in_support(np.zeros([3, 2]))


def test_named_params_have_the_columns_names():
    head = head_of()
    named = head.named_params(head(all_params(5)))
    assert named["mean"].shape == (5, len(NAMES))
    assert named["categorical/logits"].shape == (5, 4)
    assert named["ordinal/thresholds"].shape == (5, 3)
    assert np.all(np.diff(named["ordinal/thresholds"]) > 0)
    others = set(named) - {"mean", "categorical/logits", "ordinal/thresholds"}
    assert all(named[name].shape == (5,) for name in others)
    laws = [oracles(row) for row in all_params(5)]
    wanted = [row[NAMES.index("normal")].std() for row in laws]
    np.testing.assert_allclose(named["normal/scale"], wanted, rtol=1e-12)


def test_params_for_the_mean_of_a_row_have_it():
    head = head_of()
    mean = np.full(len(NAMES), 2.0)
    mean[NAMES.index("bernoulli")] = 0.3
    found = head(head.params_for_mean(mean)).mean()
    np.testing.assert_allclose(found, mean, rtol=1e-9)


def test_a_head_is_rebuilt_from_its_config():
    head = head_of()
    rebuilt = Columns.from_config(head.get_config())
    assert rebuilt.columns == head.columns
    assert rebuilt.get_config() == head.get_config()
    params, x = all_params(5), rows()
    np.testing.assert_array_equal(rebuilt(params).log_prob(x), head(params).log_prob(x))
