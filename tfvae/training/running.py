"""Training a run in its folder, or going on with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

import tfvae.data
from tfvae.config import Config
from tfvae.config.settings import Checkpointing, Distribution, Monitoring
from tfvae.core.files import atomic_write, locked
from tfvae.core.startup import is_terminal
from tfvae.models import VAE
from tfvae.training.building import check_config, steps_per_execution
from tfvae.training.callbacks import EpochLine
from tfvae.training.checkpoints import CheckpointStore, Position, StopRequest
from tfvae.training.parts import FitParts, batches_from, fit_parts, make_model
from tfvae.training.resumable import ResumableCallbackList
from tfvae.training.resuming import (
    Resumed,
    check_allowed,
    check_same_data,
    check_same_run,
    restore,
)
from tfvae.training.runs import (
    Run,
    RunFolder,
    RunRecord,
    absolute_paths,
    check_workdir,
    load_data,
    meaning,
    read_record,
    reading_model,
    remove_partials,
    versions,
    write_record,
)
from tfvae.training.workers import WorkerGroup, worker_group
from tfvae.training.workers.followers import agree, followed, group_notes


def notes(config: Config, steps: int) -> list[str]:
    """Returns what a reader of the run's numbers must know, a line each.

    Args:
        config: The configuration.
        steps: Training steps of the whole run.
    """
    lines = [f"elbo bounds {meaning(config)}"]
    if config.kl_weight != 1:
        lines.append(f"loss has kl_weight {config.kl_weight:g} and is no bound")
    elif config.kl_warmup_steps:
        lines.append("loss is no bound before kl_weight reaches 1")
    used = steps_per_execution(config, steps // config.epochs)
    if config.steps_per_execution not in (None, used):
        lines.append(
            f"steps_per_execution is {used}, the largest up to "
            f"{config.steps_per_execution} that divides an epoch's "
            f"{steps // config.epochs} steps"
        )
    for name in ("kl_warmup_steps", "temperature_steps"):
        if getattr(config, name) > steps:
            lines.append(
                f"{name} {getattr(config, name)} is more than the run's {steps} steps"
            )
    return lines


def train(
    config: Config,
    workdir: str | os.PathLike,
    progress_bar: bool | None = None,
    monitoring: Monitoring | None = None,
    checkpointing: Checkpointing | None = None,
    allow_changed: Sequence[str] = (),
    distribution: Distribution | None = None,
) -> Run:
    """Trains a run in its folder, or goes on with one that was stopped.

    A run that goes on does what the unbroken run would have done, to the last bit on
    one device and with the same versions. Nothing is written before configuration and
    data are known to be good. Ctrl-C and SIGTERM end it after the running step, saved;
    a second signal ends it at once.

    Args:
        config: The configuration; it may ask for more epochs than the folder's run has.
        workdir: The run's folder, new, empty, or of the same configuration.
        progress_bar: Keras' bar, or one line an epoch; None: a bar in a terminal.
        monitoring: What is written for TensorBoard; None: the defaults.
        checkpointing: When checkpoints are written; None: the defaults.
        allow_changed: Fields in which the configuration may differ from the folder's,
            of `CHANGEABLE`.
        distribution: On which devices; None: on one. Of several workers, of which each
            calls this with a folder that all can read, the chief alone writes.

    Returns:
        The run, with the model that its folder now has.

    Raises:
        InputError: The folder holds another run, or configuration or data are bad.
        Interrupted: A signal came; a `KeyboardInterrupt`.
        LostWorkerError: Another worker ended.
    """
    check_allowed(allow_changed)
    config = absolute_paths(config)
    folder = check_workdir(workdir)
    if folder.config.exists():
        check_same_run(config, folder, allow_changed)
    with worker_group(distribution) as group:
        group.check_batch_size(config.batch_size)
        asked = _Asked(config, folder, group, monitoring, checkpointing, progress_bar)
        return _train(asked, allow_changed)


class _Asked(NamedTuple):
    """A training, as it was asked for."""

    config: Config
    folder: RunFolder
    group: WorkerGroup
    monitoring: Monitoring | None
    checkpointing: Checkpointing | None
    progress_bar: bool | None


def _train(given: _Asked, allow_changed: Sequence[str]) -> Run:
    config, folder, group = given[:3]
    check_config(config)
    data = load_data(config)
    record = RunRecord(config, data.provenance, versions())
    if folder.config.exists():
        check_same_data(record, folder)
    with group.strategy.scope():
        vae = make_model(config, data)
    run = Run(folder, record, vae)
    if not group.is_chief:
        return followed(run, data, group, _fit)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        store = CheckpointStore(folder.checkpoints)
        remove_partials(folder)
        store.remove_partials()
        # It may be new since it was looked for.
        run = run._replace(record=_goes_on(record, folder, allow_changed))
        resumed = restore(vae, config, folder, store)
        agree(group, record, vae)
        if not _is_finished(resumed.position, config, folder):
            write_record(folder, run.record)
            _say(given, data, resumed.position)
            _lead(given, vae, data, resumed)
        elif not folder.model.exists() and not config.keep_best:
            with atomic_write(folder.model) as partial:
                vae.save(partial)
        if config.keep_best:
            with reading_model(folder):
                vae.load_weights(folder.model)
    return run


def _lead(
    given: _Asked, vae: VAE, data: tfvae.data.ImageData, resumed: Resumed
) -> None:
    """Trains, as the only worker or the chief."""
    how = (given.monitoring, given.checkpointing)
    with StopRequest() as stop:
        parts = fit_parts(given.config, data, given.folder, resumed, *how, stop)
        _fit(vae, given.config, data, parts, resumed, given.progress_bar)
        given.group.barrier()


def _goes_on(
    record: RunRecord, folder: RunFolder, allow_changed: Sequence[str]
) -> RunRecord:
    """Returns the record of a run that begins, or the folder's with what is changed."""
    if not folder.config.exists():
        return record
    changed = check_same_run(record.config, folder, allow_changed)
    there = read_record(folder)
    for name, version in record.versions.items():
        if (before := there.versions.get(name, version)) != version:
            print(f"note: the run began with {name} {before}, and {version} is here")
    changes = [*there.changes, changed] if changed else there.changes
    return record._replace(versions=there.versions, changes=changes)


def _is_finished(position: Position, config: Config, folder: RunFolder) -> bool:
    of = f"{position.epoch} of {config.epochs} epochs"
    if position.epoch >= config.epochs:
        print(f"{folder.path} is finished: {of}")
    elif position.stopped_early:
        print(f"{folder.path} is finished: early stopping ended it after {of}")
    else:
        return False
    return True


def _say(given: _Asked, data: tfvae.data.ImageData, position: Position) -> None:
    """Tells where the run goes on, and what a reader of its numbers must know."""
    config = given.config
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    if position.step:
        within = f", step {position.batch} of the next" if position.batch else ""
        print(f"goes on after epoch {position.epoch}{within}")
    lines = notes(config, config.epochs * steps_per_epoch)
    for note in [*lines, *group_notes(given.group, config)]:
        print(f"note: {note}")
    _note_profile(given.monitoring, position.step, config, steps_per_epoch)


def _note_profile(
    monitoring: Monitoring | None, done: int, config: Config, steps_per_epoch: int
) -> None:
    """Says so if no step of this training is one to profile."""
    if monitoring is None or monitoring.profile is None:
        return
    (first, last), end = monitoring.profile, config.epochs * steps_per_epoch
    if first > end or last <= done:
        print(
            f"note: profile {first} {last} is not made: the steps to come are "
            f"{done + 1} to {end}"
        )


def _fit(
    vae: VAE,
    config: Config,
    data: tfvae.data.ImageData,
    parts: FitParts,
    resumed: Resumed,
    progress_bar: bool | None,
    quiet: bool = False,
) -> None:
    bar = is_terminal(sys.stdout) if progress_bar is None else progress_bar
    line = [] if bar or quiet else [EpochLine(config.epochs)]
    position, steps = resumed.position, parts.steps_per_epoch
    epoch, verbose = position.epoch, 1 if bar else 0
    callbacks = ResumableCallbackList(
        [*line, *parts.callbacks],
        resumed,
        add_history=True,
        add_progbar=bar,
        verbose=verbose,
        epochs=config.epochs,
        steps=steps,
        model=vae,
    )

    def fit(batches: tf.data.Dataset, until: int, steps: int) -> None:
        vae.fit(
            batches,
            epochs=until,
            initial_epoch=epoch,
            steps_per_epoch=steps,
            validation_data=parts.validation,
            verbose=verbose,
            callbacks=callbacks,
        )

    with parts.monitor:
        batches, goes_on = parts.batches, True
        if position.batch:
            fit(batches, epoch + 1, steps - position.batch)
            epoch += 1
            batches = batches_from(config, data, epoch * steps)
            goes_on = epoch < config.epochs and not vae.stop_training
        if goes_on:
            fit(batches, config.epochs, steps)
        callbacks.finish()
