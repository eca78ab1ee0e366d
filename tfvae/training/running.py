"""Training a run in its folder, or going on with it."""

import os
import sys
from collections.abc import Sequence

import tensorflow as tf

import tfvae.data
from tfvae.config import Config
from tfvae.config.settings import Checkpointing, Distribution, Monitoring
from tfvae.core.files import locked, remove_partials
from tfvae.core.startup import is_terminal
from tfvae.models import VAE
from tfvae.training.building import check_config
from tfvae.training.callbacks import EpochLine, TerminalLine
from tfvae.training.checkpoints import CheckpointStore, Position, StopRequest
from tfvae.training.parts import (
    FitParts,
    batches_from,
    check_binarization,
    epoch_steps,
    fit_parts,
    make_model,
)
from tfvae.training.resuming import (
    ResumableCallbackList,
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
    versions,
    write_model,
    write_record,
)
from tfvae.training.workers import WorkerGroup, worker_group
from tfvae.training.workers.followers import check_agreement, follow, group_notes


def notes(config: Config, steps: int) -> list[str]:
    """Returns notes on the numbers of a run of so many steps, a line each."""
    lines = [f"elbo bounds {meaning(config)}"]
    if config.kl_weight != 1:
        lines.append(f"loss has kl_weight {config.kl_weight:g} and is no bound")
    elif config.kl_warmup_steps:
        lines.append("loss is no bound before kl_weight reaches 1")
    if config.missing is not None and config.missing_share is None:
        lines.append(f"missing {config.missing!r}, and nothing is: see missing_share")
    on_cpu = not tf.config.list_physical_devices("GPU")
    if config.dtype_policy == "mixed_float16" and on_cpu:
        lines.append("mixed_float16 is many times slower on a CPU than mixed_bfloat16")
    for name in ("kl_warmup_steps", "temperature_steps"):
        if getattr(config, name) > steps:
            lines.append(
                f"{name} {getattr(config, name)} is more than the run's {steps} steps"
            )
    return lines


def cost_notes(vae: VAE) -> list[str]:
    """Returns a note on the cost of a step, if it is not one evaluation a sample."""
    evaluations, samples = vae.evaluations_per_step, vae.num_samples
    if evaluations == samples:
        return []
    return [
        f"a step evaluates the decoder {evaluations} times for each image, with "
        f"num_samples {samples}"
    ]


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
    one device, with the same versions and number of threads. Nothing is written before
    configuration and data are known to be good. Ctrl-C and SIGTERM end it after the
    running step, saved; a second signal ends it at once.

    Args:
        config: The configuration; it may ask for more epochs than the folder's run has.
        workdir: The run's folder, new, empty, or of the same configuration.
        progress_bar: Keras' bar, or one line an epoch; None: a bar in a terminal.
        monitoring: The settings of TensorBoard's files; None: the defaults.
        checkpointing: The settings of checkpoints; None: the defaults.
        allow_changed: Fields in `CHANGEABLE` in which the configuration may differ from
            the folder's.
        distribution: The devices; None: one. Of several workers, each of which calls
            this with a folder that all can read, the chief alone writes.

    Returns:
        The run, with the model that its folder now has.

    Raises:
        InputError: if the folder holds another run, or configuration or data are bad.
        Interrupted: if a signal came; a `KeyboardInterrupt`.
        LostWorkerError: if another worker ended.
    """
    check_allowed(allow_changed)
    config = absolute_paths(config)
    folder = check_workdir(workdir)
    if folder.config.exists():
        check_same_run(config, folder, allow_changed)
    with worker_group(distribution) as group:
        group.check_batch_size(config.batch_size)
        check_config(config)
        data = load_data(config)
        record = RunRecord(config, data.provenance, versions())
        if folder.config.exists():
            check_same_data(record, folder)
        else:
            check_binarization(config, data)
        with group.strategy.scope():
            run = Run(folder, record, make_model(config, data))
        if not group.is_chief:
            return follow(run, data, group, _fit)
        return _lead(
            run, data, group, progress_bar, monitoring, checkpointing, allow_changed
        )


def _lead(
    run: Run,
    data: tfvae.data.ImageData,
    group: WorkerGroup,
    progress_bar: bool | None,
    monitoring: Monitoring | None,
    checkpointing: Checkpointing | None,
    allow_changed: Sequence[str],
) -> Run:
    """Trains, as the only worker or the chief."""
    folder, config, vae = run.folder, run.record.config, run.vae
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        store = CheckpointStore(folder.checkpoints)
        remove_partials(folder.path)
        # Another process may have begun the run since the folder was checked.
        run = run._replace(record=_updated_record(run.record, folder, allow_changed))
        resumed = restore(vae, config, folder, store)
        check_agreement(group, run.record, vae)
        if not _is_finished(resumed.position, config, folder):
            write_record(folder, run.record)
            _announce(run, data, group, resumed.position, monitoring)
            with StopRequest() as stop:
                parts = fit_parts(
                    config, data, folder, resumed, monitoring, checkpointing, stop
                )
                _fit(vae, config, data, parts, resumed, progress_bar)
                group.barrier()
        elif not folder.model.exists() and not config.keep_best:
            write_model(folder, run.record.config, vae.save)
        if config.keep_best:
            with reading_model(folder):
                vae.load_weights(folder.model)
    return run


def _updated_record(
    record: RunRecord, folder: RunFolder, allow_changed: Sequence[str]
) -> RunRecord:
    """Returns the record of a new run, or the folder's with the changes to it."""
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


def _announce(
    run: Run,
    data: tfvae.data.ImageData,
    group: WorkerGroup,
    position: Position,
    monitoring: Monitoring | None,
) -> None:
    """Prints where the run goes on, and the notes for readers of its numbers."""
    config = run.record.config
    end = config.epochs * epoch_steps(config, data)
    if position.step:
        within = f", step {position.batch} of the next" if position.batch else ""
        print(f"goes on after epoch {position.epoch}{within}")
    lines = [
        *tfvae.data.describe(data),
        *notes(config, end),
        *cost_notes(run.vae),
        *group_notes(group, config),
    ]
    if monitoring is not None and monitoring.profile is not None:
        first, last = monitoring.profile
        if first > end or last <= position.step:
            lines.append(
                f"profile {first} {last} is not made: the steps to come are "
                f"{position.step + 1} to {end}"
            )
    for note in lines:
        print(f"note: {note}", flush=True)  # before a first epoch that may be long


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
    shown = TerminalLine if bar else EpochLine
    line = [] if quiet else [shown(config.epochs)]
    position, steps = resumed.position, parts.steps_per_epoch
    epoch = position.epoch
    callbacks = ResumableCallbackList(
        [*line, *parts.callbacks],
        resumed,
        add_history=True,
        add_progbar=False,
        verbose=0,
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
            verbose=0,
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
