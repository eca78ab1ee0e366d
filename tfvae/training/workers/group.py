"""The processes and devices that one training runs on."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfvae.config.cluster import Worker, this_worker
from tfvae.config.settings import Distribution
from tfvae.core.types import InputError, LostWorkerError

# TensorFlow's errors in the workers that are left when one has gone, and its name for
# the one.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_NAMED = re.compile(
    r"(?:unhealthy|remote target)[^/]*/job:(\w+)/replica:\d+/task:(\d+)"
)


class WorkerGroup(NamedTuple):
    """The workers that take part in a training; this one's number counts from 0."""

    strategy: tf.distribute.Strategy
    number: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        """True for the worker that writes and prints."""
        return self.number == 0

    @property
    def replicas(self) -> int:
        """The number of devices that share a batch."""
        return self.strategy.num_replicas_in_sync

    def check_batch_size(self, batch_size: int) -> None:
        """Refuses batches that leave a device without work."""
        if batch_size < self.replicas:
            raise InputError(
                f"batch_size {batch_size} is smaller than the {self.replicas} replicas "
                "that share each batch; give at least that (--batch-size), or use "
                "fewer devices"
            )

    def all_gather(self, values: Sequence[int]) -> list[tuple[int, ...]]:
        """Returns the values of each worker, in their order, when all have come here.

        They are from 0 to 2^53, and as many on every worker.
        """
        if self.workers == 1:
            return [tuple(values)]

        def of_a_replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            number = context.replica_id_in_sync_group
            mine = tf.one_hot(number, self.replicas, dtype=tf.float64)[:, tf.newaxis]
            mine *= tf.constant(values, tf.float64)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        result = self.strategy.run(tf.function(of_a_replica))
        gathered = self.strategy.experimental_local_results(result)[0].numpy()
        each = self.replicas // self.workers
        return [tuple(map(int, row)) for row in gathered[::each]]

    def barrier(self) -> None:
        """Waits until all workers have come here."""
        self.all_gather([0])


@contextlib.contextmanager
def worker_group(distribution: Distribution | None) -> Iterator[WorkerGroup]:
    """Yields the group that settings ask for, and names a worker that is lost.

    Without settings it is one device. With several workers it waits for all of them,
    and must come before anything is computed: TensorFlow sets up its connections when
    it starts.

    Raises:
        InputError: if TF_CONFIG cannot be used.
        LostWorkerError: if a worker ended before the others, or cannot be reached.
    """
    strategy = "none" if distribution is None else distribution.strategy
    if strategy == "none":
        yield WorkerGroup(tf.distribute.get_strategy())
    elif strategy == "mirrored":
        yield WorkerGroup(tf.distribute.MirroredStrategy(_local_devices()))
    else:
        worker = this_worker(os.environ)
        with _lost_named(worker):
            made = _connected()
            yield WorkerGroup(made, worker.number, len(worker.addresses))


def _connected() -> tf.distribute.Strategy:
    """Returns the strategy of several workers, when all are there."""
    # TensorFlow takes SIGTERM to itself then, to tell the others of it; but nothing
    # here listens, and so the signal would end nothing.
    handler = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
    return strategy


def _local_devices() -> list[str]:
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


@contextlib.contextmanager
def _lost_named(worker: Worker) -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        if len(worker.addresses) == 1:
            raise
        named = _NAMED.search(str(error))
        lost = worker.address_of(*named.groups()) if named else None
        raise LostWorkerError(
            f"{f'worker {lost}' if lost else 'a worker'} ended, or cannot be reached "
            "any more, and so the training has; start all workers again, and they go "
            "on from what the chief saved"
        ) from error
