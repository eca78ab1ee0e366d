"""Seeds: functions of (root, purpose, step), and nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfvae.core.seeds import as_seed, derive_int, derive_seed
from tfvae.core.types import InputError

INTS = [0, 1, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**62 - 1, 12345678901]


def as_tuple(seed) -> tuple[int, ...]:
    return tuple(np.asarray(seed).tolist())


def test_every_int_is_a_seed_of_its_own():
    seeds = {as_tuple(as_seed(number)) for number in INTS}
    assert len(seeds) == len(INTS)
    assert {as_seed(number).dtype for number in INTS} == {tf.int32}


@pytest.mark.parametrize("number", [-1, 2**62, 2**64, np.int64(-1)])
def test_an_int_that_would_be_another_ones_seed_is_refused(number):
    with pytest.raises(InputError, match=str(number)):
        as_seed(number)


@pytest.mark.parametrize("number", [0, 7, 2**40])
def test_numpys_ints_are_pythons(number):
    assert as_tuple(as_seed(np.int64(number))) == as_tuple(as_seed(number))


@pytest.mark.parametrize(
    "given", [[3, 4], (3, 4), np.array([3, 4]), tf.constant([3, 4], tf.int64)]
)
def test_a_pair_is_taken_as_it_is(given):
    assert as_tuple(as_seed(given)) == (3, 4)


@pytest.mark.parametrize(
    "given", [None, True, 1.5, "3", [1.0, 2.0], [1, 2, 3], [[1, 2]], [], b"3"]
)
def test_what_is_no_seed_is_refused(given):
    with pytest.raises(InputError, match="seed") as caught:
        as_seed(given)
    assert "\n" not in str(caught.value)


def test_seeds_differ_by_root_purpose_and_every_step():
    cases = itertools.product([0, 1, 2], ["train", "test"], range(20), range(5))
    seeds = [as_tuple(derive_seed(root, use, *steps)) for root, use, *steps in cases]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 20 * 5


def test_a_seed_is_the_same_every_time_in_any_process():
    # Written down once: a saved run goes on with the same draws for ever.
    assert as_tuple(derive_seed(0, "train", 1)) == (1634584974, 1)
    assert derive_int(0, "encoder") == 734746516
    assert 0 <= derive_int(-5, "x") < 2**31


def test_steps_may_be_tensors_in_graphs_and_under_xla():
    eager = as_tuple(derive_seed(3, "train", 5))
    for jit in (False, True):
        traced = tf.function(
            lambda step: derive_seed(3, "train", step), jit_compile=jit
        )
        assert as_tuple(traced(tf.constant(5, tf.int64))) == eager


def test_draws_of_neighbouring_steps_are_not_correlated():
    draws = np.stack(
        [
            tf.random.stateless_normal([2000], derive_seed(0, "train", step))
            for step in range(6)
        ]
    )
    # A correlation of independent draws has a standard error of 1 / sqrt(2000).
    off_diagonal = np.corrcoef(draws)[np.triu_indices(6, 1)]
    assert np.all(np.abs(off_diagonal) < 5 / np.sqrt(2000))


def test_initial_seeds_differ_by_root_and_purpose():
    seeds = {derive_int(root, f"layer/{i}") for root in range(20) for i in range(20)}
    assert len(seeds) == 400
