"""From a configuration to data, a model, and a trained run in a folder."""

from __future__ import annotations

import math
import os
import sys
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfvae.data
from tfvae.building import (
    binarizes_on_device,
    build_vae,
    compile_vae,
    steps_per_execution,
)
from tfvae.callbacks import Checkpoint, EpochLine, HistoryFile, StopIfNotFinite
from tfvae.config import Config
from tfvae.files import locked
from tfvae.models import VAE
from tfvae.monitoring import Monitor, Monitoring, Watched
from tfvae.runs import (
    BINARIZATION_SEED,
    Run,
    RunFolder,
    RunRecord,
    absolute_paths,
    check_workdir,
    evaluation_batches,
    load_data,
    meaning,
    read_history,
    read_record,
    reading_model,
    remove_partials,
    versions,
    write_record,
)
from tfvae.startup import is_terminal
from tfvae.types import InputError

_LOOKED_AT = 1000  # images whose values are compared with the likelihood's support
_WATCHED = 1000  # images on which TensorBoard shows what the model does, at most
_WATCHED_NUMBERS = 2**24  # in all of them together
_PROJECTED = 10_000  # test images in TensorBoard's projector


class FitParts(NamedTuple):
    """What `fit` is given in every run.

    Attributes:
        batches: The training batches, without end.
        steps_per_epoch: How many of them show every image once.
        validation: The held-out batches; None if there are none.
        callbacks: What happens between epochs.
        monitor: The one of them that writes for TensorBoard.
    """

    batches: tf.data.Dataset
    steps_per_epoch: int
    validation: tf.data.Dataset | None
    callbacks: list[keras.callbacks.Callback]
    monitor: Monitor


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
        _check_same_run(config, folder)
    data = load_data(config)
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    record = RunRecord(config, data.provenance, versions())
    if folder.config.exists():
        _check_same_data(record, folder)
    vae = make_model(config, data)
    done = _restore(vae, folder, steps_per_epoch)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        remove_partials(folder)
        if folder.config.exists():
            _check_same_run(config, folder)  # it may be new since it was looked for
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


def make_model(config: Config, data: tfvae.data.ImageData) -> VAE:
    """Returns the model of a run as it begins, compiled.

    Args:
        config: The configuration.
        data: Of `load_data`.

    Raises:
        InputError: The parts do not go together, or not with the data.
    """
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    images, _ = data.train.first(_LOOKED_AT)
    vae = build_vae(config, data.image_shape, data.train.mean_image(), images)
    _check_support(vae, config, images)
    compile_vae(vae, config, steps_per_epoch)
    return vae


def fit_parts(
    config: Config,
    data: tfvae.data.ImageData,
    folder: RunFolder,
    done: int = 0,
    monitoring: Monitoring | None = None,
) -> FitParts:
    """Returns what `fit` is given in every run, whatever is shown of it.

    Args:
        config: The configuration.
        data: Of `load_data`.
        folder: Where the callbacks write; it exists.
        done: Epochs that the folder's run has behind it.
        monitoring: What is written for TensorBoard; None: the defaults.
    """
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    batches = tfvae.data.training_batches(
        data.train,
        config.batch_size,
        binarization=config.binarization,
        seed=config.seed,
        binarization_seed=BINARIZATION_SEED,
        start_step=done * steps_per_epoch,
        on_device=binarizes_on_device(config),
    )
    validation = data.validation and evaluation_batches(
        config, data.validation, min(config.batch_size, len(data.validation))
    )
    rows = [row for row in read_history(folder.history) if row["epoch"] <= done]
    watched = _watched(config, data)
    monitor = Monitor(folder.logs, config, watched, steps_per_epoch, monitoring)
    callbacks = [
        StopIfNotFinite(),
        HistoryFile(folder.history, folder.metrics, rows),
        monitor,  # before the model: a run goes on from it, and needs what was written
        Checkpoint(folder.model),
        monitor.at_end(),
    ]
    return FitParts(batches, steps_per_epoch, validation, callbacks, monitor)


def _watched(config: Config, data: tfvae.data.ImageData) -> Watched:
    held_out = data.validation is not None
    split = data.validation if held_out else data.train
    count = min(_WATCHED, max(1, _WATCHED_NUMBERS // math.prod(data.image_shape)))
    images = next(iter(evaluation_batches(config, split, count, count)))
    return Watched(
        images,
        held_out,
        test=lambda: evaluation_batches(config, data.test, _WATCHED, _PROJECTED),
        labels=data.test.labels,
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


def _check_support(vae: VAE, config: Config, images: np.ndarray) -> None:
    head = vae.decoder.head
    if config.binarization == "none" and not head.in_support(images):
        raise InputError(
            f"dataset {config.dataset!r} has grey values outside the support of "
            f"likelihood {config.likelihood!r}: {head.support}; choose another "
            "likelihood, or likelihood_levels (17 for digits)"
        )
    if config.binarization != "none" and not head.in_support(np.array([0.0, 1.0])):
        raise InputError(
            f"likelihood {config.likelihood!r} has no probability for 0 and 1; choose "
            "another"
        )


def _restore(vae: VAE, folder: RunFolder, steps_per_epoch: int) -> int:
    """Loads weights and optimizer, if there are any; returns the epochs done."""
    if not folder.model.exists():
        return 0
    with reading_model(folder):
        vae.load_weights(folder.model)
        done, rest = divmod(int(vae.steps), steps_per_epoch)
        if rest:
            raise ValueError(
                f"{int(vae.steps)} steps are no whole epochs of {steps_per_epoch}"
            )
    print(f"{folder.path} goes on after epoch {done}")
    return done


def _check_same_run(config: Config, folder: RunFolder) -> None:
    record = read_record(folder)
    changed = record.config.differences(config)
    epochs = changed.pop("epochs", None)
    if changed:
        name, (there, here) = next(iter(changed.items()))
        others = f" (and {', '.join(list(changed)[1:])})" if len(changed) > 1 else ""
        raise InputError(
            f"workdir {str(folder.path)!r} holds another run: {name} is {there!r} "
            f"there and {here!r} here{others}; give another workdir, or the same "
            "settings"
        )
    if epochs and epochs[1] < epochs[0] and folder.model.exists():
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run of {epochs[0]} epochs, "
            f"and {epochs[1]} are asked for; give {epochs[0]} or more, or another "
            "workdir"
        )


def _check_same_data(record: RunRecord, folder: RunFolder) -> None:
    if read_record(folder).data != record.data:
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run on other data: what dataset "
            f"{record.config.dataset!r} gives has changed since; give another workdir"
        )
