"""Several devices train as one does: the same data, noise, weights and numbers."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import replicas as reference_replicas
from helpers.several import assert_alike, on_several

from tfvae.core.sharding import part_of
from tfvae.core.types import InputError
from tfvae.models.batch import check_order
from tfvae.models.checks import check_replicas

SCRIPT = pathlib.Path(reference_replicas.__file__)
ALL = tuple(reference_replicas.cases())


@pytest.mark.slow
def test_two_replicas_train_as_one_with_an_empty_share_now_and_then():
    for one, other in on_several(2, 5, "survivors").values():
        assert_alike(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("names", [ALL[:5], ALL[5:10], ALL[10:15], ALL[15:]])
def test_two_replicas_have_the_weights_of_one_after_200_steps(names):
    for one, other in on_several(2, 200, *names).values():
        assert_alike(one, other)


@pytest.mark.slow
def test_three_replicas_have_the_weights_of_one_after_200_steps():
    for one, other in on_several(3, 200, "both", "reinforce", "free_bits").values():
        assert_alike(one, other)


# -- shares of a batch -----------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 100])
def test_every_row_of_a_batch_has_one_replica_and_shares_differ_by_one(size, total):
    rows = tf.range(size)
    parts = [part_of(rows, number, total).numpy() for number in range(total)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steps_per_execution": 2}, "steps_per_execution 2"),
        ({"jit_compile": True}, "jit_compile True"),
        ({"own_loss": True}, "compute_loss of its own"),
    ],
)
def test_what_several_replicas_cannot_have_is_refused(arguments, said):
    given = {
        "steps_per_execution": 1,
        "jit_compile": "auto",
        "own_loss": False,
        **arguments,
    }
    with pytest.raises(InputError, match=said):
        check_replicas(**given)


def test_arrays_that_each_worker_would_shuffle_its_own_way_are_refused():
    x = np.zeros([4, 2])
    with pytest.raises(InputError, match="shuffle=False"):
        check_order(x, True)
    check_order(x, False)
    check_order(tf.data.Dataset.from_tensors(x), True)


def test_a_structure_is_shared_out_by_its_rows():
    batch = ({"image": tf.range(5), "label": tf.range(5, 10)}, None, tf.range(5))
    x, y, w = part_of(batch, 1, 2)
    assert y is None
    assert x["image"].numpy().tolist() == w.numpy().tolist() == [3, 4]
    assert x["label"].numpy().tolist() == [8, 9]
