"""The data and the model of a run, read back from its folder."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

import tfvae.data
from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.data.holes import Holes
from tfvae.heads import HEADS
from tfvae.latents import LATENTS
from tfvae.models import VAE
from tfvae.models.model_file import check_model_file, damage_is_said
from tfvae.training.runs.binding import check_own_model
from tfvae.training.runs.folder import RunFolder, RunRecord, read_record

# Evaluation data, and 'fixed' training data, are one draw that all runs share, so that
# runs with different seeds are scored on the same images.
BINARIZATION_SEED = 0


class Run(NamedTuple):
    """A run: its folder, the record of its settings and data, and its model."""

    folder: RunFolder
    record: RunRecord
    vae: VAE


def load_data(config: Config) -> tfvae.data.ImageData:
    """Loads the data set that a configuration names.

    Raises:
        InputError: if the data cannot be had or used.
    """
    return tfvae.data.load(
        config.dataset,
        data_dir=config.data_dir,
        manual_dir=config.manual_dir,
        image_size=config.image_size,
        validation_size=config.validation_size,
    )


def absolute_paths(config: Config) -> Config:
    """Returns the configuration with absolute paths, good from any working folder."""
    changed = {
        name: os.path.abspath(os.path.expanduser(value))
        for name in ("data_dir", "manual_dir")
        if (value := getattr(config, name))
    }
    changed["dataset"] = tfvae.data.absolute_name(config.dataset)
    return dataclasses.replace(config, **changed)


def run_evaluation_batches(
    config: Config, split: tfvae.data.Split, batch_size: int, limit: int | None = None
) -> tf.data.Dataset:
    """Returns a split's images in order, binarised as in the run, one shared draw.

    What is missing from them is one shared draw, too. A conditional model's have their
    labels as the condition, and a semi-supervised one's as the label.
    """
    return tfvae.data.evaluation_batches(
        split,
        batch_size,
        binarization=config.binarization,
        seed=BINARIZATION_SEED,
        limit=limit,
        **labels_of(config),
        holes=holes_of(config),
    )


def labels_of(config: Config) -> dict[str, Any]:
    """Returns the arguments of batches that say what becomes of their labels."""
    if config.condition is None:
        return {}
    role = "condition" if config.labels is None else "label"
    return {"labels": True, "label_role": role}


def holes_of(config: Config) -> Holes | None:
    """Returns the pixels that are missing from a run's images; None: none.

    They are one draw that all runs share, so that runs can be compared.
    """
    if config.missing_share is None:
        return None
    return Holes(config.missing_share, BINARIZATION_SEED)


def meaning(config: Config, twin: bool = False) -> str:
    """Returns the quantity that a run's bounds are bounds on, in words.

    With `twin` they are those of a relaxed model's discrete twin.
    """
    given = config.condition is not None and config.labels is None
    x = "x" if config.missing_share is None else "x_observed"
    text = f"log p({x}|{config.condition})" if given else f"log p({x})"
    head = HEADS[config.likelihood]
    if config.grey_targets:
        text = "the expected log-likelihood of a binarised image (grey targets)"
    if twin:
        text += " of the discrete twin"
    elif LATENTS[config.latent].relaxed:
        text += " of the relaxed model, and not of its discrete twin"
    return f"{text}, a density over {head.support}" if head.is_density else text


def load_run(workdir: str | os.PathLike) -> Run:
    """Reads a run's configuration and model.

    Raises:
        InputError: if there is no run, it has no model yet, or a file is damaged.
    """
    folder = RunFolder(Path(workdir))
    if not folder.path.is_dir():
        raise InputError(
            f"{str(folder.path)!r} is not a folder; make a run with: tfvae train "
            f"RECIPE --workdir {folder.path}"
        )
    record = read_record(folder)
    if not folder.model.exists():
        raise InputError(
            f"{str(folder.path)!r} holds no model yet (no {folder.model.name}); train "
            "it first with: tfvae train"
        )
    with reading_model(folder):
        vae = keras.models.load_model(folder.model)
        if not isinstance(vae, VAE):
            raise TypeError(f"it holds a {type(vae).__name__}")
    check_own_model(folder, record, vae)
    return Run(folder, record, vae)


@contextlib.contextmanager
def reading_model(folder: RunFolder) -> Iterator[None]:
    """Turns any error of reading a run's model into one line.

    Raises:
        InputError: if anything went wrong, or weights were left out.
    """
    advice = "restore it, or use another workdir"
    with damage_is_said(folder.model, advice, passing=InputError):
        check_model_file(folder.model)
        yield
