"""Columns of a table: their laws beside SciPy's, draws, and gradients."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from helpers.columns import (
    CASES,
    CODED,
    CONTINUOUS,
    COUNTED,
    NAMES,
    all_params,
    head_of,
    log_density,
    oracle,
    oracles,
    rows,
    some_params,
)
from helpers.models import standard_error
from scipy import stats

from tfvae.heads import COLUMN_KINDS, HEADS, Columns, NormalColumn, PoissonColumn

EPS32 = np.finfo("float32").eps


def test_there_is_a_case_of_every_kind():
    assert set(NAMES) == set(COLUMN_KINDS) and "columns" not in HEADS
    for name, (column, _) in CASES.items():
        assert column.kind == name
        assert type(column) is COLUMN_KINDS[name].column
        assert column.formula.isascii() and re.search(r"\(\d{4}\)", column.paper)
        assert column.is_density == (name in CONTINUOUS)


# -- the laws --------------------------------------------------------------------------


def test_log_probabilities_are_scipys_and_sum_over_columns():
    head, x, params = head_of(), rows(), all_params(5)
    wanted = np.stack(
        [
            [log_density(law)(v) for law, v in zip(oracles(p), r, strict=True)]
            for p, r in zip(params, x, strict=True)
        ]
    )
    distribution = head(params)
    # Rounding in float64 of numbers below 1000; a float32 anywhere is 1e-7 off.
    np.testing.assert_allclose(distribution.log_prob_columns(x), wanted, rtol=1e-10)
    np.testing.assert_allclose(distribution.log_prob(x), wanted.sum(-1), rtol=1e-10)


def test_float32_is_off_by_the_rounding_of_its_inputs_and_outputs():
    """Each input rounded by eps moves log p by eps |input dlogp/dinput|.

    A handful of such roundings follow each other: 16 are allowed. Counts have log(x!)
    besides, standardised numbers loc.
    """
    x = rows().astype("float32").astype("float64")
    params = all_params(5)
    head = head_of()
    tensors = [tf.constant(x), tf.constant(params)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(tensors)
        exact = head(tensors[1]).log_prob_columns(tensors[0])
        columns = tf.unstack(exact, axis=-1)
    by_params = [np.abs(tape.gradient(c, tensors[1]) * params).sum(-1) for c in columns]
    by_value = []
    for i, (name, column) in enumerate(zip(NAMES, head.columns, strict=True)):
        moved = 0.0
        if name in CONTINUOUS:
            slope = np.abs(tape.gradient(columns[i], tensors[0])[:, i])
            size = np.abs(x[:, i])
            slope = slope * size if name == "log_normal" else slope
            moved = slope * (1 if name == "log_normal" else size) + slope * column.loc
        if name in COUNTED:
            moved = x[:, i] * np.log1p(x[:, i])
        by_value.append(np.broadcast_to(moved, [5]))
    allowed = 1 + np.abs(exact) + np.stack(by_params, -1) + np.stack(by_value, -1)
    found = head_of("float32")(params.astype("float32"))
    log_probs = found.log_prob_columns(x.astype("float32")).numpy()
    error = np.abs(log_probs - exact)
    assert np.all(error < 16 * EPS32 * allowed), error / (EPS32 * allowed)


@pytest.mark.parametrize("name", CODED + COUNTED)
def test_discrete_columns_sum_to_one(name):
    column = CASES[name].column
    # With mean 30 and r 0.5 a negative binomial has less than e^-60 above 4000.
    last = {"bernoulli": 1, "categorical": 3, "ordinal": 3}.get(name, 4000)
    x = tf.range(last + 1, dtype=tf.float64)[:, None]
    params = tf.constant(some_params(column, 6))
    total = tf.reduce_sum(tf.exp(column.log_prob(params, x)), axis=0)
    # 4000 roundings of float64 and of their logarithms.
    np.testing.assert_allclose(total, 1, rtol=1e-10)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_columns_integrate_to_one(name):
    """By the trapezium rule, which is exact to rounding for what is smooth and ends.

    The density is that of t, where the value is a stretched t. Beyond the ends a
    Student-t with df above 1 has e^-40, a Normal e^-70.
    """
    column = CASES[name].column
    params = tf.constant(some_params(column, 4))
    law = column.law(params)
    loc = column.loc + column.scale * law.loc.numpy()
    scale = column.scale * law.scale.numpy()
    t, step = np.linspace(-12, 12, 4001, retstep=True)
    t = t[:, None]  # [T, 1], beside four rows of parameters
    x, slope = loc + scale * t, scale
    if name == "student_t":
        t, step = t * 40 / 12, step * 40 / 12
        x, slope = loc + scale * np.sinh(t), scale * np.cosh(t)
    if name == "log_normal":
        x = np.exp(x)
        slope = slope * x
    density = np.exp(column.log_prob(params, tf.constant(x)).numpy()) * slope
    np.testing.assert_allclose(density.sum(axis=0) * step, 1, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_means_are_scipys(name):
    column = CASES[name].column
    params = some_params(column, 5)
    found = column.mean(tf.constant(params)).numpy()
    wanted = [oracle(name, row).mean() for row in params]
    if name == "categorical":  # the most probable code
        wanted = params.argmax(axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_params_for_a_mean_have_it(name):
    column = CASES[name].column
    means = {"bernoulli": [0.01, 0.6], "categorical": [0.0, 3.0]}
    means |= {"ordinal": [0.1, 1.5, 2.9]}
    for mean in means.get(name, [0.02, 5.0, 300.0]):
        params = column.params_for_mean(mean)
        assert params.shape == (column.num_params,)
        # Bisection of a mean to float64's last digits.
        np.testing.assert_allclose(column.mean(tf.constant(params)), mean, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_outside_of_the_support_has_no_probability_and_no_gradient(name, dtype):
    column = CASES[name].column
    wrong = {"log_normal": [0.0, -1.0]} | dict.fromkeys(CODED, [0.5, -1.0, 4.0])
    wrong |= dict.fromkeys(COUNTED, [-1.0, 0.5])
    values = tf.constant([*wrong.get(name, []), np.inf, -np.inf, np.nan], dtype)
    params = tf.zeros([column.num_params], dtype)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = column.log_prob(params, values)
    assert np.all(log_prob == -np.inf) and np.all(column.outside(values))
    gradient = tape.gradient(log_prob, params)
    assert gradient is None or np.all(gradient == 0)
    assert not np.any(column.outside(tf.constant(CASES[name].values, dtype)))
    assert not column.outside(tf.constant(column.inside, dtype))


def test_at_zero_a_column_has_about_the_law_of_its_training_data():
    column = CASES["ordinal"].column
    np.testing.assert_allclose(
        column.log_probs(tf.zeros([3])), np.log(np.full(4, 1 / 4)), rtol=1e-5
    )
    for name in COUNTED:
        column = CASES[name].column
        np.testing.assert_allclose(column.own_mean(tf.zeros([3])), 5.0, rtol=1e-6)


# -- gradients -------------------------------------------------------------------------


def test_gradients_are_central_differences():
    head, x, params = head_of(), rows(), 0.5 * all_params(5, seed=4)
    tensor = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        log_prob = head(tensor).log_prob(x)
    found = tape.gradient(log_prob, tensor).numpy()
    step = 3e-4
    moved = step * np.eye(params.shape[1])[:, None]  # [P, 1, P], beside five rows

    def at(steps: int) -> np.ndarray:
        return head(params + steps * moved).log_prob(x).numpy()  # [P, 5]

    # Off by step^4 / 30 = 3e-16 of the fifth derivative, and by rounding of values up
    # to 1e4 over the step.
    wanted = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    np.testing.assert_allclose(found.T, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", NAMES)
def test_extreme_parameters_have_finite_values_gradients_means_and_draws(name):
    column, x = CASES[name]
    extremes = [-1e3, -30.0, 0.0, 30.0, 1e3]
    params = list(itertools.product(extremes, repeat=min(column.num_params, 3)))
    if column.num_params > 3:
        rng = np.random.default_rng(0)
        params = rng.choice(extremes, [200, column.num_params])
    params = tf.constant(params, tf.float32)[:, None]  # [P, 1, num_params]
    params = tf.tile(params, [1, len(x), 1])  # [P, X, num_params]
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = column.log_prob(params, tf.constant(x, tf.float32))
    gradient = tape.gradient(log_prob, params)
    assert np.all(np.isfinite(log_prob)) and np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(column.mean(params)))
    assert not np.any(column.outside(column.sample(params, tf.constant([1, 2]))))


# -- draws -----------------------------------------------------------------------------


def test_draws_have_the_means_that_are_said():
    head = head_of("float32")
    params = 0.5 * all_params(3, seed=7).astype("float32")
    draws = head(params).sample(20_000, seed=[1, 2]).numpy().astype("float64")
    wanted = np.stack([[law.mean() for law in oracles(row)] for row in params * 1.0])
    error = np.abs(draws.mean(axis=0) - wanted)
    assert np.all(error < 5 * standard_error(draws)), error / standard_error(draws)
    assert not np.any(head.outside(tf.constant(draws, tf.float32)))


@pytest.mark.parametrize("name", CODED + COUNTED)
def test_draws_are_as_frequent_as_they_are_probable(name):
    column = CASES[name].column
    params = tf.constant(some_params(column, 1, seed=5)[0], tf.float32)
    count = 40_000
    many = tf.broadcast_to(params, [count, column.num_params])
    draws = column.sample(many, tf.constant([3, 4])).numpy()
    last = {"bernoulli": 1, "categorical": 3, "ordinal": 3}.get(name, 15)
    values = np.arange(last + 1.0)
    p = np.exp(column.log_prob(params, tf.constant(values, tf.float32)).numpy())
    found = np.array([np.mean(draws == value) for value in values])
    # Five standard errors, and one draw where less than that is expected.
    assert np.all(np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / count) + 1 / count)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_have_the_whole_law(name):
    column = CASES[name].column
    params = some_params(column, 1, seed=6)[0]
    many = tf.broadcast_to(tf.constant(params, tf.float32), [10**5, len(params)])
    draws = column.sample(many, tf.constant([5, 6])).numpy()
    assert stats.kstest(draws, oracle(name, params).cdf).pvalue > 1e-6


@pytest.mark.parametrize("raw_df", [-4.0, -2.0, 0.0])
def test_student_t_draws_have_its_tails(raw_df):
    """Counts beyond distances that few of a million draws reach."""
    column, total = CASES["student_t"].column, 10**6
    params = np.array([0.3, 0.5, raw_df])
    law = oracle("student_t", params)
    many = tf.broadcast_to(tf.constant(params, tf.float32), [total, 3])
    draws = column.sample(many, tf.constant([7, 8])).numpy()
    for mass in (1e-2, 1e-3, 1e-4, 1e-5):
        above = np.count_nonzero(draws > law.isf(mass))
        below = np.count_nonzero(draws < law.ppf(mass))
        # A chance of 1e-8 for each of 24 counts.
        expected = stats.binom(total, mass)
        for count in (above, below):
            assert expected.sf(count - 1) > 1e-8 and expected.cdf(count) > 1e-8
    farthest = np.abs(draws - law.mean()).max()
    assert total * 2 * law.sf(law.mean() + farthest) > 1e-8


def test_draws_are_a_function_of_the_seed_and_columns_are_independent():
    head = Columns([NormalColumn("a"), NormalColumn("b"), PoissonColumn("c", 50.0)])
    distribution = head(tf.zeros([head.params_shape[0]]))
    first, again = (distribution.sample(20_000, seed=3).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, distribution.sample(20_000, seed=4))
    correlations = np.corrcoef(first.T)[np.triu_indices(3, 1)]
    assert np.all(np.abs(correlations) < 5 / np.sqrt(20_000))
