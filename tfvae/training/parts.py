"""The parts of a training: the run's model, and the arguments of `fit`."""

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

import tfvae.data
from tfvae.conditions import OneHot
from tfvae.config import Config
from tfvae.config.settings import Checkpointing, Monitoring
from tfvae.core.types import InputError
from tfvae.data import StreamSplit, partly_labelled
from tfvae.heads import BernoulliHead
from tfvae.models import VAE
from tfvae.models.batch import read_batch
from tfvae.training.building import (
    binarizes_on_device,
    build_vae,
    compile_vae,
    warmup_epochs,
)
from tfvae.training.callbacks import (
    EarlyStopping,
    HistoryFile,
    ModelFile,
    ReduceLROnPlateau,
    StopIfNotFinite,
    direction,
)
from tfvae.training.checkpoints import (
    CheckpointStore,
    Position,
    SaveCheckpoints,
    StopRequest,
)
from tfvae.training.resuming import Resumed
from tfvae.training.runs import (
    BINARIZATION_SEED,
    RunFolder,
    holes_of,
    labels_of,
    parse_history,
    run_evaluation_batches,
    versions,
)
from tfvae.training.tensorboard import Monitor, Watched

_LOOKED_AT = 1000  # images whose values are compared with the likelihood's support
_WATCHED = 1000  # images that TensorBoard's statistics are made of, at most
_WATCHED_NUMBERS = 2**24  # in all of them together
_PROJECTED = 10_000  # test images in TensorBoard's projector


class FitParts(NamedTuple):
    """The arguments of `fit` in every run.

    The batches are without end; `steps_per_epoch` of them show every image once. The
    monitor, one of the callbacks, writes for TensorBoard.
    """

    batches: tf.data.Dataset
    steps_per_epoch: int
    validation: tf.data.Dataset | None
    callbacks: list[keras.callbacks.Callback]
    monitor: Monitor


def check_binarization(config: Config, data: tfvae.data.ImageData) -> None:
    """Refuses to draw the channels of colour images as black or white, for new runs.

    Raises:
        InputError: if the configuration asks for it.
    """
    channels = data.image_shape[-1]
    if config.binarization == "none" or channels == 1:
        return
    images, _ = data.train.first(_LOOKED_AT)
    if not BernoulliHead([1]).in_support(images):
        raise InputError(
            f"dataset {config.dataset!r} has images of {channels} channels, each of "
            f"which binarization {config.binarization!r} would make black or white; "
            "give binarization none and a likelihood of colours, for example "
            "--binarization none --likelihood discretized_logistic"
        )


def make_model(config: Config, data: tfvae.data.ImageData) -> VAE:
    """Returns the model of a run as it begins, compiled.

    Raises:
        InputError: if the parts do not go together, or not with the data.
    """
    steps_per_epoch = epoch_steps(config, data)
    images, _ = data.train.first(_LOOKED_AT)
    mean, condition = data.train.mean_image(), condition_of(config, data)
    vae = build_vae(config, data.image_shape, mean, images, condition)
    head = vae.decoder.head
    if config.binarization == "none" and not head.in_support(images):
        raise InputError(
            f"dataset {config.dataset!r} has grey values outside the support of "
            f"likelihood {config.likelihood!r}: {head.support}; choose another "
            "likelihood, or likelihood_levels (17 for digits)"
        )
    compile_vae(vae, config, steps_per_epoch)
    return vae


def condition_of(config: Config, data: tfvae.data.ImageData) -> OneHot | None:
    """Returns the condition that a configuration names, for data with labels.

    Raises:
        InputError: if images have no labels, or unknown ones.
    """
    if config.condition is None:
        return None
    splits = [s for s in (data.train, data.validation, data.test) if s is not None]
    for split in splits:
        known = split.has_labels and (split.labels is None or split.labels.min() >= 0)
        if not known:
            raise InputError(
                f"condition {config.condition!r} needs the label of every image, and "
                f"dataset {config.dataset!r} lacks some in its {split.name} split; "
                "give data with labels, or leave condition out (--condition)"
            )
    names = data.provenance.get("classes")
    if names:
        return OneHot(list(names))
    return OneHot(1 + max(_largest_label(split) for split in splits))


def epoch_steps(config: Config, data: tfvae.data.ImageData) -> int:
    """Returns the training steps in an epoch."""
    split = training_split(config, data.train)
    return tfvae.data.steps_per_epoch(split, config.batch_size)


def training_split(config: Config, split: tfvae.data.Split) -> tfvae.data.Split:
    """Returns the training images, of which few have a label if a run is of few."""
    if config.labels is None:
        return split
    if isinstance(split, StreamSplit):
        raise InputError(
            f"labels {config.labels} chooses among labels in memory, and dataset "
            f"{config.dataset!r} is read from disk; resize it, or leave labels out"
        )
    repeats = config.label_repeats or 1
    return partly_labelled(split, config.labels, config.seed, repeats)


def _largest_label(split: tfvae.data.Split) -> int:
    if split.labels is not None:
        return int(split.labels.max())
    assert isinstance(split, StreamSplit)  # others have them in memory
    labels = split.read(None).map(lambda image, label, number: label)
    return int(labels.reduce(tf.constant(0, tf.int64), tf.maximum))


def batches_from(
    config: Config, data: tfvae.data.ImageData, step: int
) -> tf.data.Dataset:
    """Returns a run's training batches from a step on."""
    return tfvae.data.training_batches(
        training_split(config, data.train),
        config.batch_size,
        binarization=config.binarization,
        seed=config.seed,
        binarization_seed=BINARIZATION_SEED,
        start_step=step,
        on_device=binarizes_on_device(config),
        **labels_of(config),
        holes=holes_of(config),
    )


def fit_parts(
    config: Config,
    data: tfvae.data.ImageData,
    folder: RunFolder,
    resumed: Resumed | None = None,
    monitoring: Monitoring | None = None,
    checkpointing: Checkpointing | None = None,
    stop: StopRequest | None = None,
) -> FitParts:
    """Returns the arguments of `fit`, but for those that only show its progress.

    The folder exists. Without `resumed` its run begins; without settings these are the
    defaults; without `stop` no signal ends the training.
    """
    position, checkpoint = resumed or Resumed(Position(0, 0), None)
    steps_per_epoch = epoch_steps(config, data)
    validation = data.validation and run_evaluation_batches(
        config, data.validation, min(config.batch_size, len(data.validation))
    )
    rows = parse_history(checkpoint.history) if checkpoint else []
    history = HistoryFile(folder.history, folder.metrics, rows, position.seconds)
    watched = _watched(config, data)
    monitor = Monitor(folder.logs, config, watched, steps_per_epoch, monitoring)
    start = warmup_epochs(config, steps_per_epoch)
    model_file = ModelFile(
        folder, config, config.monitored if config.keep_best else None, start
    )
    watching = [*_watchers(config, start), model_file]
    saving = SaveCheckpoints(
        CheckpointStore(folder.checkpoints),
        watching,
        history.text,
        config.to_dict(),
        versions(),
        checkpointing,
        stop,
        model_file.save_last,
        position.seconds,
    )
    # The checkpoint comes last: a run that goes on from it has all else of the epoch.
    callbacks = [StopIfNotFinite(), history, monitor, *watching, saving]
    return FitParts(
        batches_from(config, data, position.step),
        steps_per_epoch,
        validation,
        [*callbacks, monitor.at_end()],
        monitor,
    )


def _watchers(config: Config, start: int) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that act on how good an epoch was, from `start` on."""
    shared: dict[str, Any] = {"monitor": config.monitored, "start_from_epoch": start}
    shared["mode"] = direction(config.monitored)
    found = []
    if config.early_stopping is not None:
        found.append(EarlyStopping(patience=config.early_stopping, **shared))
    if config.reduce_on_plateau is not None:
        patience, factor = config.reduce_on_plateau, config.plateau_factor or 0.1
        found.append(ReduceLROnPlateau(patience=patience, factor=factor, **shared))
    return found


def _watched(config: Config, data: tfvae.data.ImageData) -> Watched:
    split = data.train if data.validation is None else data.validation
    count = min(_WATCHED, max(1, _WATCHED_NUMBERS // math.prod(data.image_shape)))
    batch = next(iter(run_evaluation_batches(config, split, count, count)))
    return Watched(
        read_batch(batch),
        data.validation is not None,
        test=lambda: run_evaluation_batches(config, data.test, _WATCHED, _PROJECTED),
        labels=data.test.labels,
    )
