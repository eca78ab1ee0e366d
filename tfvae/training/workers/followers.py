"""The agreement of several workers, and the training of all but the chief."""

import json
import time
import zlib
from collections.abc import Callable

import keras
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.data import ImageData
from tfvae.models import VAE
from tfvae.training.callbacks import EarlyStopping, ReduceLROnPlateau, StopIfNotFinite
from tfvae.training.checkpoints import CheckpointStore, Interrupted, StopRequest
from tfvae.training.parts import fit_parts
from tfvae.training.resuming import restore
from tfvae.training.runs import Run, RunRecord
from tfvae.training.workers import WorkerGroup

# These callbacks decide how the training goes on, from numbers that all workers have.
_DECIDING = (StopIfNotFinite, EarlyStopping, ReduceLROnPlateau)
_PATIENCE = 10.0  # seconds


def check_agreement(group: WorkerGroup, record: RunRecord, vae: VAE) -> None:
    """Waits for all workers, and makes sure that they go on from the same place.

    Raises:
        InputError: if a worker has other settings or other data, or is at another step.
    """
    same = json.dumps([record.config.to_dict(), record.data], default=str)
    gathered = group.all_gather([int(vae.steps), zlib.crc32(same.encode())])
    step, settings = gathered[0]
    for number, (its_step, its_settings) in enumerate(gathered):
        if its_settings != settings:
            raise InputError(
                f"worker {number} has other settings or other data than the chief; "
                "give all workers the same arguments and the same data"
            )
        if its_step != step:
            raise InputError(
                f"worker {number} is at step {its_step} of the run, and the chief at "
                f"{step}; give all a workdir on storage that they share"
            )


class LeaveAfterTheChief(keras.callbacks.Callback):
    """Ends a worker some time after a signal came, if the chief has not ended before.

    The chief ends after the running step, and saves: for that it needs no other, but
    the step before it needs all.
    """

    def __init__(self, stop: StopRequest) -> None:
        super().__init__()
        self.stop = stop
        self._since: float | None = None

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Ends the worker once the chief has had its time since a signal came."""
        if self.stop.signum is None:
            return
        if self._since is None:
            self._since = time.monotonic()
        if time.monotonic() - self._since > _PATIENCE:
            raise Interrupted(self.stop.signum, "stopped; all workers stop with this")


def follow(
    run: Run, data: ImageData, group: WorkerGroup, fit: Callable[..., None]
) -> Run:
    """Trains as the chief does, without writing or printing anything.

    `fit` trains, called with model, configuration, data, parts, the place to go on
    from, no bar, and `quiet`.

    Raises:
        InputError: if the workers do not agree, or the loss is not finite.
        Interrupted: if a signal came.
    """
    config, folder, vae = run.record.config, run.folder, run.vae
    resumed = restore(vae, config, folder, CheckpointStore(folder.checkpoints))
    check_agreement(group, run.record, vae)
    position = resumed.position
    if position.epoch >= config.epochs or position.stopped_early:
        return run
    with StopRequest() as stop:
        parts = fit_parts(config, data, folder, resumed)
        kept = [c for c in parts.callbacks if isinstance(c, _DECIDING)]
        parts = parts._replace(callbacks=[*kept, LeaveAfterTheChief(stop)])
        try:
            fit(vae, config, data, parts, resumed, False, quiet=True)
            group.barrier()
        except tf.errors.OpError:
            if stop.signum is None:
                raise
            raise Interrupted(stop.signum, "stopped with the chief") from None
    return run


def group_notes(group: WorkerGroup, config: Config) -> list[str]:
    """Returns notes on the devices for readers of the numbers, a line each."""
    lines = []
    if group.replicas > 1:
        lines.append(
            f"{group.replicas} replicas share each batch of {config.batch_size}"
        )
        if config.steps_per_execution not in (None, 1):
            lines.append("steps_per_execution is 1, as it must be on several replicas")
    elif tf.distribute.get_strategy() is not group.strategy:
        lines.append("there is one device here, and so one replica")
    return lines
