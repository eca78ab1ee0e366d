"""Every replica its rows of each global batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def shared_out(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    """Returns batches, each split over the replicas.

    Replica r of n has the rows ceil(r B / n) to ceil((r + 1) B / n) of a batch of B,
    and so none of some batches that are smaller than n. TensorFlow's own way,
    `experimental_distribute_dataset`, may join the small last batch of an epoch with
    the first of the next, and shards over workers what it has split before.

    Every worker makes the whole batch and takes its part of it.

    Args:
        batches: Global batches, the same on every worker.
        strategy: Whose replicas they are for.
    """

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        total = context.num_replicas_in_sync
        each = total // context.num_input_pipelines
        first = context.input_pipeline_id * each
        numbers = tf.data.Dataset.range(first, first + each)

        def parts(*batch: Any) -> tf.data.Dataset:
            batch = batch if len(batch) > 1 else batch[0]
            return numbers.map(lambda number: part_of(batch, number, total))

        return batches.flat_map(parts).prefetch(each)

    shared = strategy.distribute_datasets_from_function(of_worker)
    # TensorFlow counts the parts for this worker, and Keras wants to know the batches.
    shared._cardinality = batches.cardinality().numpy()
    return shared


def shared_if_several(x: Any, strategy: tf.distribute.Strategy) -> Any:
    """Returns `shared_out(x)` of a data set if there are several replicas, else x."""
    if isinstance(x, tf.data.Dataset) and strategy.num_replicas_in_sync > 1:
        return shared_out(x, strategy)
    return x


def part_of(batch: Any, number: int | tf.Tensor, total: int) -> Any:
    """Returns replica `number`'s rows of a batch, for `total` replicas."""

    def bound(number: int | tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return (tf.cast(number, tf.int64) * size + total - 1) // total

    def part(values: tf.Tensor | None) -> tf.Tensor | None:
        if values is None:  # as in (x, None, sample_weight)
            return None
        size = tf.shape(values, tf.int64)[0]
        return values[bound(number, size) : bound(number + 1, size)]

    return tf.nest.map_structure(part, batch)
