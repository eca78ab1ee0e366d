"""What a run is made of before it begins: its model, and what `fit` is given."""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfvae.data
from tfvae.building import binarizes_on_device, build_vae, compile_vae
from tfvae.callbacks import Checkpoint, HistoryFile, StopIfNotFinite
from tfvae.config import Config
from tfvae.models import VAE
from tfvae.monitoring import Monitor, Monitoring, Watched
from tfvae.runs import BINARIZATION_SEED, RunFolder, evaluation_batches, read_history
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
