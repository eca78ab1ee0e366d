"""The images that a run is scored on, the models that it holds, and their scores."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

import tfvae.data
from tfvae.config import Config
from tfvae.config.names import Binarization
from tfvae.config.settings import Scoring
from tfvae.core.types import InputError
from tfvae.evaluation import ImageScores, paired_difference, score_images
from tfvae.models import VAE
from tfvae.training.runs import (
    Run,
    load_data,
    meaning,
    read_json,
    run_evaluation_batches,
)

TWIN = "discrete twin"
COMPARED_SCORES = ("log_likelihood", "elbo")


class Images(NamedTuple):
    """Images to score a run on.

    Attributes:
        config: The run's configuration, with the binarisation that the images have.
        batches: Batches of images [B, H, W, C], in order.
        size: The number of images.
        batch_size: B.
    """

    config: Config
    batches: tf.data.Dataset
    size: int
    batch_size: int


def images_of(run: Run, scoring: Scoring) -> Images:
    """Returns the images that are asked for.

    Raises:
        InputError: if there are none, they have changed since the run was trained, or
            its model is not of images of that binarisation.
    """
    config = _rebinarized(run, scoring.binarization)
    split = split_of(run, scoring.split)
    size = min(len(split), scoring.limit or len(split))
    batch_size = min(scoring.batch_size, size)
    batches = run_evaluation_batches(config, split, batch_size, scoring.limit)
    return Images(config, batches, size, batch_size)


def models_of(run: Run) -> dict[str, VAE]:
    """Returns the run's model by its name, and the discrete twin of a relaxed one."""
    vae = run.vae
    models = {"relaxed model" if vae.latent.relaxed else "model": vae}
    if vae.latent.discrete() is not None:
        models[TWIN] = vae.discrete()
    return models


def meaning_of(name: str, config: Config) -> str:
    """Returns the quantity that bounds of a model of `models_of` are on, in words."""
    return meaning(config, twin=name == TWIN)


def scored(
    vae: VAE, images: Images, scoring: Scoring, title: str, progress_bar: bool
) -> ImageScores:
    """Returns the scores of every image."""
    return score_images(
        vae,
        images.batches,
        scoring.num_samples,
        scoring.chunk_size,
        scoring.seed,
        progress_of(images.size, title, progress_bar),
    )


def score_differences(first: ImageScores, second: ImageScores) -> dict[str, Any]:
    """Returns first - second of each compared score, paired over the images."""
    pairs = {n: (getattr(first, n), getattr(second, n)) for n in COMPARED_SCORES}
    return {name: paired_difference(*pair)._asdict() for name, pair in pairs.items()}


def progress_of(size: int, title: str, shown: bool) -> Callable[[int], None] | None:
    """Returns the function that moves a bar to a number of images; None: no bar."""
    if not shown:
        return None
    print(title, flush=True)
    return keras.utils.Progbar(size, unit_name="image").update


def check_writable(run: Run, target: Path) -> None:
    """Refuses a file in a run's folder that cannot be written.

    Raises:
        InputError: if the folder does not allow it, or the path is a folder.
    """
    if not os.access(run.folder.path, os.W_OK) or target.is_dir():
        raise InputError(
            f"{str(target)!r} cannot be written; change its permissions, or copy the "
            "run"
        )


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """Returns what `evaluate_run` wrote; None if there is no file.

    Raises:
        InputError: if the file is damaged.
    """
    if not path.exists():
        return None
    advice = "write it again with: tfvae evaluate"
    found = read_json(path, "evaluation", advice)
    if not isinstance(found, dict):
        raise InputError(f"{str(path)!r} is no evaluation; {advice}")
    return found


def split_of(run: Run, name: str) -> tfvae.data.Split:
    """Returns a split of the run's data.

    Raises:
        InputError: if there is none, or the data has changed since the run was trained.
    """
    data = load_data(run.record.config)
    if data.provenance != run.record.data:
        raise InputError(
            f"dataset {run.record.config.dataset!r} has changed since "
            f"{str(run.folder.path)!r} was trained, so its {name} images may have been "
            "trained on; restore the data, or train again"
        )
    images = getattr(data, name, None)
    if images is None:
        raise InputError(
            f"the run {str(run.folder.path)!r} has no {name} images; choose another "
            "split (--split)"
        )
    return images


def _rebinarized(run: Run, binarization: Binarization | None) -> Config:
    """Returns the run's configuration with another binarisation, if it has a meaning.

    Raises:
        InputError: if images would be grey and the model is of binary ones, or the
            other way round.
    """
    config = run.record.config
    if binarization in (None, config.binarization):
        return config
    path = str(run.folder.path)
    if binarization == "none":
        raise InputError(
            f"binarization 'none' (--binarization) gives grey images, and {path!r} "
            f"holds a model of binary ones (binarization {config.binarization!r}); "
            "choose one of dynamic, fixed, threshold"
        )
    if config.binarization == "none" and not config.grey_targets:
        raise InputError(
            f"binarization {binarization!r} (--binarization) gives binary images, and "
            f"{path!r} holds a model of grey ones (likelihood {config.likelihood!r}); "
            "leave it out"
        )
    return dataclasses.replace(
        config,
        binarization=binarization,
        grey_targets=False,
        device_binarization="auto",
    )
