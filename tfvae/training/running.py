"""Training a run in its folder, or going on with it."""

from __future__ import annotations

import os
import sys

import tfvae.data
from tfvae.building import steps_per_execution
from tfvae.callbacks import EpochLine
from tfvae.config import Config
from tfvae.files import locked
from tfvae.models import VAE
from tfvae.monitoring import Monitoring
from tfvae.runs import (
    Run,
    RunRecord,
    absolute_paths,
    check_workdir,
    load_data,
    meaning,
    read_record,
    remove_partials,
    versions,
    write_record,
)
from tfvae.startup import is_terminal
from tfvae.training.parts import FitParts, fit_parts, make_model
from tfvae.training.resuming import check_same_data, check_same_run, restore


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
) -> Run:
    """Trains a run in its folder, or goes on with one that was stopped.

    A run that goes on draws what the unbroken run would have drawn. Nothing is written
    before configuration and data are known to be good.

    Args:
        config: The configuration; it may ask for more epochs than the folder's run has.
        workdir: The run's folder, new, empty, or of the same configuration.
        progress_bar: Keras' bar, or one line an epoch; None: a bar in a terminal.
        monitoring: What is written for TensorBoard; None: the defaults.

    Raises:
        InputError: The folder holds another run, or configuration or data are bad.
    """
    config = absolute_paths(config)
    folder = check_workdir(workdir)
    if folder.config.exists():
        check_same_run(config, folder)
    data = load_data(config)
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    record = RunRecord(config, data.provenance, versions())
    if folder.config.exists():
        check_same_data(record, folder)
    vae = make_model(config, data)
    done = restore(vae, folder, steps_per_epoch)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        remove_partials(folder)
        if folder.config.exists():
            check_same_run(config, folder)  # it may be new since it was looked for
            record = record._replace(versions=read_record(folder).versions)
        if done >= config.epochs:
            print(f"{folder.path} is finished: {done} of {config.epochs} epochs")
            return Run(folder, record, vae)
        write_record(folder, record)
        for note in notes(config, config.epochs * steps_per_epoch):
            print(f"note: {note}")
        _note_profile(monitoring, done * steps_per_epoch, config, steps_per_epoch)
        parts = fit_parts(config, data, folder, done, monitoring)
        _fit(vae, config, parts, done, progress_bar)
    return Run(folder, record, vae)


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
    vae: VAE, config: Config, parts: FitParts, done: int, progress_bar: bool | None
) -> None:
    bar = is_terminal(sys.stdout) if progress_bar is None else progress_bar
    line = [] if bar else [EpochLine(config.epochs)]
    with parts.monitor:
        vae.fit(
            parts.batches,
            epochs=config.epochs,
            initial_epoch=done,
            steps_per_epoch=parts.steps_per_epoch,
            validation_data=parts.validation,
            verbose=1 if bar else 0,
            callbacks=[*line, *parts.callbacks],
        )
