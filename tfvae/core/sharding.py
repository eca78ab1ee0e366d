"""The rows of the global batch that a replica holds, and sums over replicas.

A replica draws for the whole global batch and takes the numbers of its own rows. So a
draw is a function of (seed, step, place in the global batch), and n replicas train as
one device does. The price is that every replica makes all random numbers of a step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class BatchShard(NamedTuple):
    """The rows of the global batch that a replica holds.

    They are start to start + size of the global batch's `total`, each an int32.
    """

    start: tf.Tensor
    size: tf.Tensor
    total: tf.Tensor

    def own(self, values: tf.Tensor, axis: int = 0) -> tf.Tensor:
        """Returns the values of this replica's rows, of those of the global batch."""
        index = [slice(None)] * axis + [slice(self.start, self.start + self.size)]
        return values[tuple(index)]

    def padded(self, values: tf.Tensor) -> tf.Tensor:
        """Returns [total, ...]: values [size, ...] at their rows, zeros elsewhere."""
        after = self.total - self.start - self.size
        rest = [[0, 0]] * (values.shape.rank - 1)
        padded = tf.pad(values, [[self.start, after], *rest])
        return tf.ensure_shape(padded, [None, *values.shape[1:]])


class ShardExamples(NamedTuple):
    """The examples that a replica is given, and which rows of the batch they are."""

    examples: Any
    shard: BatchShard


def several_replicas() -> bool:
    """Returns whether this code runs on one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def several_workers(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Returns whether replicas, of a strategy or the one in force, are processes."""
    strategy = strategy or tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def shard_held(batch) -> BatchShard | None:
    """Returns this replica's rows of a structure of [size, ...]; None if it is alone.

    The replicas tell each other their numbers of rows, so that a batch may be split in
    any way, also with no rows for some. All must call it.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    number = context.replica_id_in_sync_group
    # As floats, which every device reduces; they are exact up to 2^24 rows.
    size = tf.cast(tf.shape(tf.nest.flatten(batch)[0])[0], tf.float32)
    sizes = size * tf.one_hot(number, context.num_replicas_in_sync)
    sizes = tf.cast(global_sum(sizes), tf.int32)  # [replicas]
    before = tf.range(context.num_replicas_in_sync) < number
    start = tf.reduce_sum(tf.where(before, sizes, 0))
    return BatchShard(start, tf.cast(size, tf.int32), tf.reduce_sum(sizes))


def replica_share(value: tf.Tensor, shard: BatchShard | None) -> tf.Tensor:
    """Returns this replica's share of a scalar that all have; shares add up to it."""
    if shard is None:
        return value
    return value * tf.cast(shard.size, value.dtype) / tf.cast(shard.total, value.dtype)


def mean_over_batch(values: tf.Tensor, shard: BatchShard | None) -> tf.Tensor:
    """Returns the mean [...] of values [S, B, ...] over samples and the global batch.

    With a shard all replicas must call it.
    """
    if shard is None:
        return tf.reduce_mean(values, axis=(0, 1))
    per_example = tf.reduce_mean(values, axis=0)  # [B, ...]
    total = global_sum(tf.reduce_sum(per_example, axis=0))
    return total / tf.cast(shard.total, values.dtype)


def cond_across_replicas(condition: tf.Tensor, action: Callable[[], None]) -> None:
    """Runs an action on variables if a condition holds.

    The condition and the action's inputs are the same on all replicas.
    """
    if not several_replicas():
        tf.cond(condition, action, lambda: None)
        return

    def together(strategy: tf.distribute.Strategy, conditions: tf.Tensor) -> None:
        one = strategy.experimental_local_results(conditions)[0]

        def act() -> None:
            strategy.extended.call_for_each_replica(action)

        # Outside of the replicas, where a branch may update variables of all.
        tf.cond(one, act, lambda: None)

    context = tf.distribute.get_replica_context()
    context.merge_call(together, args=(condition,))


def global_sum(values: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a tensor over all replicas, which all must call."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def sums_over_replicas(
    values: Sequence[tf.Tensor | tf.IndexedSlices | None],
) -> list[tf.Tensor | tf.IndexedSlices | None]:
    """Returns values summed over all replicas, which all must call; None stays None.

    Those of a dtype travel as one vector: an exchange takes its time whatever its size.
    """
    found = list(values)
    dense: dict[tf.DType, dict[int, tf.Tensor]] = {}
    for index, value in enumerate(values):
        if isinstance(value, tf.IndexedSlices):
            found[index] = global_sum(value)
        elif value is not None:
            dense.setdefault(value.dtype, {})[index] = value
    for given in dense.values():
        flat = tf.concat([tf.reshape(value, [-1]) for value in given.values()], axis=0)
        parts = tf.split(global_sum(flat), [tf.size(v) for v in given.values()])
        for (index, value), part in zip(given.items(), parts, strict=True):
            found[index] = tf.reshape(part, tf.shape(value))
    return found


def leave_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Tells an optimizer that the gradients it gets are summed over replicas.

    Keras' optimizers sum gradients after they clip them, and after they check a scaled
    loss for overflow. Both must see the whole gradient, or several replicas train
    another model than one does.
    """
    while optimizer is not None:
        optimizer._all_reduce_sum_gradients = list
        optimizer = getattr(optimizer, "inner_optimizer", None)


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Returns a seed of this replica's own; with one replica, the seed itself."""
    if not several_replicas():
        return seed
    context = tf.distribute.get_replica_context()
    return tf.random.fold_in(seed, context.replica_id_in_sync_group)


def draw_for_shard(
    draw: Callable[[Sequence[int | tf.Tensor]], tf.Tensor],
    shape: Sequence[int | tf.Tensor],
    shard: BatchShard | None,
    axis: int = 0,
) -> tf.Tensor:
    """Draws numbers for the global batch, and returns those of a shard: `shape`.

    The shard has rows along `axis`; None: all rows. `draw` makes numbers of a shape.
    """
    if shard is None:
        return draw(shape)
    whole = [*shape[:axis], shard.total, *shape[axis + 1 :]]
    return shard.own(draw(whole), axis)


def shared_out(batches: Any, strategy: tf.distribute.Strategy) -> Any:
    """Returns a data set of `ShardExamples` of each batch; other data unchanged.

    Replica r of n has the rows ceil(r B / n) to ceil((r + 1) B / n) of a batch of B,
    and so none of some batches that are smaller than n. TensorFlow's own way,
    `experimental_distribute_dataset`, may join the small last batch of an epoch with
    the first of the next, and shards over workers after it has split.

    Every worker makes the whole batch, the same on each, and takes its part of it.
    """
    if not isinstance(batches, tf.data.Dataset):
        return batches

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        total = context.num_replicas_in_sync
        each = total // context.num_input_pipelines
        first = context.input_pipeline_id * each
        numbers = tf.data.Dataset.range(first, first + each)

        def parts(*batch: Any) -> tf.data.Dataset:
            batch = batch if len(batch) > 1 else batch[0]
            return numbers.map(lambda number: part_of(batch, number, total))

        found = batches.flat_map(parts)
        if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
            # Else replicas ask each other before each step whether there is one.
            found = found.apply(
                tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            )
        return found.prefetch(each).with_options(batches.options())

    shared = strategy.distribute_datasets_from_function(of_worker)
    # TensorFlow counts the parts for this worker, and Keras wants to know the batches.
    shared._cardinality = batches.cardinality().numpy()
    return shared


def part_of(batch: Any, number: int | tf.Tensor, total: int) -> ShardExamples:
    """Returns replica `number`'s rows of a batch, for `total` replicas."""

    def bounds(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        size, first = tf.shape(values, tf.int64)[0], tf.cast(number, tf.int64)
        start, stop = ((n * size + total - 1) // total for n in (first, first + 1))
        return start, stop, size

    def part(values: tf.Tensor | None) -> tf.Tensor | None:
        if values is None:  # as in (x, None, sample_weight)
            return None
        # By its own size: a role of another length than x stays one, and is refused.
        start, stop, _ = bounds(values)
        return values[start:stop]

    given = [values for values in tf.nest.flatten(batch) if values is not None]
    start, stop, size = bounds(given[0])
    numbers = (tf.cast(value, tf.int32) for value in (start, stop - start, size))
    return ShardExamples(tf.nest.map_structure(part, batch), BatchShard(*numbers))
