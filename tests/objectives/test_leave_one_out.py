"""Values with one log-weight replaced or left out, against one value after another."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import BOUNDS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfvae.objectives import (
    OBJECTIVES,
    Ciwae,
    Elbo,
    Iwae,
    Miwae,
    Objective,
    Piwae,
    Renyi,
)
from tfvae.objectives.leave_one_out import logsumexp_of_others, sum_of_others

S = 6
CLOSED = [
    Elbo(),
    Iwae(),
    Renyi(0.3),
    Renyi(1.0),
    Renyi(1.7),
    Renyi(-0.5),
    Ciwae(0.3),
    Miwae(1),
    Miwae(2),
    Miwae(S),
    Piwae(2),
]


@dataclasses.dataclass(frozen=True)
class Own(Objective):
    """A user's objective without closed forms: iwae of a half and the elbo."""

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        return 0.5 * (Iwae().value(log_weights) + Elbo().value(log_weights))


def replaced_one_by_one(objective, log_weights, instead) -> np.ndarray:
    values = []
    for s in range(len(log_weights)):
        changed = log_weights.copy()
        changed[s] = instead[s]
        values.append(objective.value(tf.constant(changed)).numpy())
    return np.stack(values)


def left_out_one_by_one(objective, log_weights) -> np.ndarray:
    return np.stack(
        [
            objective.value(tf.constant(np.delete(log_weights, s, axis=0))).numpy()
            for s in range(len(log_weights))
        ]
    )


def both(objective: Objective, log_weights: np.ndarray, instead: np.ndarray):
    """Pairs of what is found and what is wanted."""
    found = objective.value_with_replaced(
        tf.constant(log_weights), tf.constant(instead)
    ).numpy()
    yield found, replaced_one_by_one(objective, log_weights, instead)
    if getattr(objective, "num_groups", 1) == 1:
        found = objective.value_without(tf.constant(log_weights)).numpy()
        yield found, left_out_one_by_one(objective, log_weights)


def log_weights(kind: str, samples: int = S) -> np.ndarray:
    """[S, 4] float64."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=[samples, 4])
    first = np.arange(samples)[:, np.newaxis] == 0
    return {
        "usual": 5 * drawn,
        "equal": np.full_like(drawn, -90.0),
        "spread of 1e3": 1e3 * drawn,
        "one dominates": np.where(first, 0.0, -1e3 + drawn),
        "two dominate": np.where(drawn >= np.sort(drawn, axis=0)[-2], 1.0, -700.0),
        "close to the first": np.where(first, 0.0, -36.0 + drawn),
    }[kind]


KINDS = (
    *("usual", "equal", "spread of 1e3", "one dominates", "two dominate"),
    "close to the first",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", [*CLOSED, Own()], ids=str)
def test_one_pass_has_the_values_of_one_by_one(objective, kind):
    instead = np.random.default_rng(1).normal(-3, 30, [S, 4])
    for found, wanted in both(objective, log_weights(kind), instead):
        # A few roundings of numbers of size 1000 at most.
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


arrays = hnp.arrays(
    np.float64,
    st.tuples(st.just(2), st.sampled_from([2, 4, 8]), st.integers(1, 3)),
    elements=st.floats(-1000, 1000, allow_subnormal=False),
)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(arrays)
def test_any_log_weights_have_the_values_of_one_by_one(given_both):
    weights, instead = given_both
    for objective in (Elbo(), Iwae(), Renyi(0.4), Ciwae(0.6), Miwae(2)):
        for found, wanted in both(objective, weights, instead):
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", [Elbo(), Iwae(), Renyi(0.4), Miwae(2)], ids=str)
def test_weights_of_zero_have_the_values_of_one_by_one(objective):
    nothing = -np.inf
    weights = np.array(
        [
            [nothing, 1.0, nothing, nothing],
            [2.0, nothing, nothing, 3.0],
            [0.5, 2.0, nothing, nothing],
            [-0.7, nothing, nothing, nothing],
        ]
    )
    instead = np.array([[0.1, nothing, 2.0, 1.0]] * 4)
    for found, wanted in both(objective, weights, instead):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert not np.any(np.isnan(wanted))


def test_what_is_left_beside_a_large_weight_keeps_its_digits():
    weights = np.array([[0.0], [-100.0], [-101.0]])  # e^-100 is lost beside 1
    found = logsumexp_of_others(tf.constant(weights)).numpy()[:, 0]
    wanted = [-100 + np.log1p(np.exp(-1)), np.log1p(np.exp(-101)), np.exp(-100)]
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    sums = sum_of_others(tf.constant([[1e300], [1.0], [2.0]], tf.float64)).numpy()
    assert sums[0, 0] == 3.0


@pytest.mark.parametrize("name", ["elbo", "iwae", "renyi", "ciwae", "miwae"])
def test_float32_has_the_values_of_plain_numpy(name):
    weights = log_weights("usual", 200).astype("float32")
    instead = np.roll(weights, 1, axis=0)
    found = OBJECTIVES[name]().value_with_replaced(weights, instead).numpy()
    for s in (0, 1, 77, 199):
        changed = weights.astype("float64")
        changed[s] = instead[s]
        # Some 200 roundings, of numbers up to 20.
        np.testing.assert_allclose(found[s], BOUNDS[name](changed), atol=2e-5)


@pytest.mark.parametrize("objective", [Elbo(), Iwae(), Miwae(2), Own()], ids=str)
def test_xla_has_the_same_values(objective):
    weights = tf.constant(log_weights("usual"))
    function = tf.function(objective.value_with_replaced, jit_compile=True)
    np.testing.assert_allclose(
        function(weights, 2 * weights),
        objective.value_with_replaced(weights, 2 * weights),
        rtol=1e-13,
    )


def largest_tensor(function, shape: list[int]) -> int:
    """The most numbers in a tensor of a graph, loops included."""
    spec = tf.TensorSpec(shape, tf.float64)
    graph = tf.function(function).get_concrete_function(spec, spec).graph
    graphs = [graph, *(f.graph for f in graph._functions.values())]
    tensors = [out for g in graphs for op in g.get_operations() for out in op.outputs]
    return max(t.shape.num_elements() or 0 for t in tensors if t.shape.rank is not None)


@pytest.mark.parametrize("objective", [*CLOSED[:-1], Own()], ids=str)
def test_no_tensor_has_more_than_two_numbers_for_each_sample(objective):
    samples, size = 60, 5
    most = largest_tensor(objective.value_with_replaced, [samples, size])
    assert samples * size <= most <= 2 * samples * size


def test_a_tensor_of_all_pairs_would_be_seen():
    def pairs(log_weights: tf.Tensor, instead: tf.Tensor) -> tf.Tensor:
        def one(s: tf.Tensor) -> tf.Tensor:
            return log_weights + instead[s]

        return tf.map_fn(one, tf.range(60), fn_output_signature=tf.float64)

    assert largest_tensor(pairs, [60, 5]) == 60 * 60 * 5
