"""Which rows of the global batch a replica holds, and what follows from it.

A replica draws for the whole global batch and takes the numbers of its own rows. So a
draw is a function of (seed, step, place in the global batch), and n replicas train as
one device does. The price is that every replica makes all random numbers of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import keras
import tensorflow as tf

Drawn = TypeVar("Drawn")


class Rows(NamedTuple):
    """The rows start to start + size of the global batch's `total`, each an int32."""

    start: tf.Tensor
    size: tf.Tensor
    total: tf.Tensor

    def own(self, values: tf.Tensor, axis: int = 0) -> tf.Tensor:
        """Returns this replica's part of values that the global batch has."""
        index = [slice(None)] * axis + [slice(self.start, self.start + self.size)]
        return values[tuple(index)]

    def padded(self, values: tf.Tensor) -> tf.Tensor:
        """Returns [total, ...]: values [size, ...] at their rows, zeros elsewhere."""
        after = self.total - self.start - self.size
        rest = [[0, 0]] * (values.shape.rank - 1)
        padded = tf.pad(values, [[self.start, after], *rest])
        return tf.ensure_shape(padded, [None, *values.shape[1:]])

    def of_sampler(self, sample: Callable[..., Drawn]) -> Callable[..., Drawn]:
        """Returns a sampler of [S, size, ...], given that of [S, total, ...]."""

        def sample_own(*args, **kwargs) -> Drawn:
            drawn = sample(*args, **kwargs)
            return tf.nest.map_structure(lambda each: self.own(each, axis=1), drawn)

        return sample_own


def several_replicas() -> bool:
    """Whether this is one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def several_workers(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether the replicas, of the strategy in force or another, are in processes."""
    strategy = strategy or tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def rows_held(batch) -> Rows | None:
    """Returns where the rows of this replica are; None: it is the only one.

    The replicas tell each other how many they have, so that nothing depends on how a
    batch was split: evenly or not, or with nothing for some. All must call it.

    Args:
        batch: A tensor [size, ...], or a structure of such.
    """
    if not several_replicas():
        return None
    context = tf.distribute.get_replica_context()
    number = context.replica_id_in_sync_group
    # As floats, which every device reduces; they are exact up to 2^24 rows.
    size = tf.cast(tf.shape(tf.nest.flatten(batch)[0])[0], tf.float32)
    sizes = size * tf.one_hot(number, context.num_replicas_in_sync)
    sizes = tf.cast(global_sum(sizes), tf.int32)  # [replicas]
    before = tf.range(context.num_replicas_in_sync) < number
    start = tf.reduce_sum(tf.where(before, sizes, 0))
    return Rows(start, tf.cast(size, tf.int32), tf.reduce_sum(sizes))


def own_share(value: tf.Tensor, rows: Rows | None) -> tf.Tensor:
    """Returns this replica's part of a scalar that all have; parts add up to it."""
    if rows is None:
        return value
    return value * tf.cast(rows.size, value.dtype) / tf.cast(rows.total, value.dtype)


def do_if(condition: tf.Tensor, action: Callable[[], None]) -> None:
    """Does something to variables if a condition holds, the same on all replicas.

    Args:
        condition: Boolean.
        action: What it uses of the step is the same on all replicas as well.
    """
    if not several_replicas():
        tf.cond(condition, action, lambda: None)
        return

    def together(strategy: tf.distribute.Strategy, conditions: tf.Tensor) -> None:
        one = strategy.experimental_local_results(conditions)[0]

        def act() -> None:
            strategy.extended.call_for_each_replica(action)

        # Here, since within a replica a branch may not update variables together.
        tf.cond(one, act, lambda: None)

    context = tf.distribute.get_replica_context()
    context.merge_call(together, args=(condition,))


def global_sum(values: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a tensor over all replicas, which all must call."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def summed_gradients(
    gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
) -> list[tf.Tensor | tf.IndexedSlices | None]:
    """Returns the gradients summed over all replicas; of a single one, as they are."""
    if not several_replicas():
        return list(gradients)
    given = [gradient for gradient in gradients if gradient is not None]
    summed = iter(global_sum(given) if given else ())
    return [None if gradient is None else next(summed) for gradient in gradients]


def leave_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Tells an optimizer that the gradients it gets are summed over replicas.

    Keras' optimizers sum what they are given, after they have clipped it, and after a
    loss that is scaled was looked at for overflow: both must see the whole gradient,
    or several replicas train another model than one does.
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


def draw_rows(
    draw: Callable[[Sequence[int | tf.Tensor]], tf.Tensor],
    shape: Sequence[int | tf.Tensor],
    rows: Rows | None,
    axis: int = 0,
) -> tf.Tensor:
    """Draws numbers for the global batch, and returns those of the rows along `axis`.

    Args:
        draw: A shape -> numbers of that shape.
        shape: Of what is returned.
        rows: Those of `axis`; None: all there are.
        axis: Of the rows.
    """
    if rows is None:
        return draw(shape)
    return rows.own(draw([*shape[:axis], rows.total, *shape[axis + 1 :]]), axis)
