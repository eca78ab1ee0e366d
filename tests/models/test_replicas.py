"""Several devices train as one does: the same data, noise, weights and numbers."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers import replicas as reference_replicas
from helpers.several import assert_alike, on_several

from tfvae.core.sharding import part_of, shared_out, sums_over_replicas
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
    for one, other in on_several(
        3, 200, "both", "reinforce", "rws", "free_bits"
    ).values():
        assert_alike(one, other)


# -- shares of a batch -----------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 9, 100])
def test_every_row_of_a_batch_has_one_replica_and_shares_differ_by_one(size, total):
    rows = tf.range(size)
    shares = [part_of(rows, number, total) for number in range(total)]
    parts = [share.examples.numpy() for share in shares]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part, (_, shard) in zip(parts, shares, strict=True):
        assert shard.size == len(part) and shard.total == size
        np.testing.assert_array_equal(shard.own(rows), part)


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


def test_a_sum_over_replicas_keeps_shapes_dtypes_and_what_there_is_not():
    def of_a_replica() -> list:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        one = tf.cast(1 + number, tf.float32)
        rows = tf.IndexedSlices(one * tf.ones([1, 2]), tf.constant([2]), [4, 2])
        matrix = one * tf.reshape(tf.range(6.0), [2, 3])
        return sums_over_replicas(
            [matrix, None, tf.cast(one, tf.float64), rows, one * tf.ones([2])]
        )

    found = tf.distribute.MirroredStrategy(["CPU:0"]).run(of_a_replica)
    matrix, none, scalar, rows, vector = found
    np.testing.assert_array_equal(matrix, np.arange(6.0).reshape(2, 3))
    assert none is None and scalar.dtype == tf.float64 and scalar.shape == ()
    np.testing.assert_array_equal(tf.convert_to_tensor(rows)[2], [1, 1])
    np.testing.assert_array_equal(vector, [1, 1])


def test_data_without_end_are_shared_out_without_end():
    """Else replicas ask each other before every step whether there is a batch."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    data = tf.data.Dataset.range(7).batch(3)
    endless = shared_out(data.repeat(), strategy)
    assert endless.cardinality == tf.data.INFINITE_CARDINALITY
    assert not endless._enable_get_next_as_optional
    assert shared_out(data, strategy)._enable_get_next_as_optional
    shards = [share.shard for share in shared_out(data, strategy)]
    assert [shard.total.numpy() for shard in shards] == [3, 3, 1]


def test_arrays_that_each_worker_would_shuffle_its_own_way_are_refused():
    x = np.zeros([4, 2])
    with pytest.raises(InputError, match="shuffle=False"):
        check_order(x, True)
    check_order(x, False)
    check_order(tf.data.Dataset.from_tensors(x), True)


def test_a_structure_is_shared_out_by_its_rows():
    batch = ({"image": tf.range(5), "label": tf.range(5, 10)}, None, tf.range(5))
    (x, y, w), shard = part_of(batch, 1, 2)
    assert [number.numpy() for number in shard] == [3, 2, 5]
    assert y is None
    assert x["image"].numpy().tolist() == w.numpy().tolist() == [3, 4]
    assert x["label"].numpy().tolist() == [8, 9]


def test_a_role_of_another_length_than_x_is_not_cut_to_it():
    """The step refuses it then, as on one device."""
    (x, _, w), shard = part_of((tf.range(4), None, tf.range(6)), 1, 2)
    assert len(x) == shard.size == 2 and len(w) == 3
