"""What a step owes to `tf.distribute`: its share of the loss, and draws of its own."""

from __future__ import annotations

import tensorflow as tf


def per_replica(loss: tf.Tensor) -> tf.Tensor:
    """Returns this replica's share of a loss; gradients are summed over replicas."""
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def several_replicas() -> bool:
    """Whether a step is shared by more than one replica."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Returns a seed of this replica's own; with one replica, the seed itself."""
    if not several_replicas():
        return seed
    context = tf.distribute.get_replica_context()
    return tf.random.fold_in(seed, context.replica_id_in_sync_group)
