"""The images that a run is scored on, and the models that it holds."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

import tfvae.data
from tfvae.config import Config
from tfvae.config.settings import Scoring
from tfvae.core.types import InputError
from tfvae.evaluation import ImageScores, default_chunk_size, score_images
from tfvae.models import VAE
from tfvae.training.runs import Run, load_data, meaning, run_evaluation_batches

TWIN = "discrete twin"


class Images(NamedTuple):
    """Images to score a run on.

    Attributes:
        config: The run's, with the binarisation that the images have.
        batches: Of images [B, H, W, C], in order.
        size: How many images there are.
        batch_size: B.
    """

    config: Config
    batches: tf.data.Dataset
    size: int
    batch_size: int


def images_of(run: Run, scoring: Scoring) -> Images:
    """Returns the images that are asked for.

    Raises:
        InputError: There are none, they have changed since the run was trained, or its
            model is not of images of that binarisation.
    """
    config = _rebinarized(run, scoring.binarization)
    split = split_of(run, scoring.split)
    size = min(len(split), scoring.limit or len(split))
    batch_size = min(scoring.batch_size, size)
    batches = run_evaluation_batches(config, split, batch_size, scoring.limit)
    return Images(config, batches, size, batch_size)


def models_of(run: Run) -> dict[str, VAE]:
    """Returns the models that a run holds: of a relaxed one, its discrete twin too."""
    vae = run.vae
    models = {"relaxed model" if vae.latent.relaxed else "model": vae}
    if vae.latent.discrete() is not None:
        models[TWIN] = vae.discrete()
    return models


def meaning_of(name: str, config: Config) -> str:
    """Returns what the bounds of a model of `models_of` are bounds on, in words."""
    return meaning(config, twin=name == TWIN)


def chunk_size_of(run: Run, images: Images, scoring: Scoring) -> int:
    """Returns how many samples are drawn at a time."""
    shape = (images.batch_size, *run.vae.image_shape)
    return min(
        scoring.chunk_size or default_chunk_size(shape, scoring.num_samples),
        scoring.num_samples,
    )


def scored(
    vae: VAE, images: Images, scoring: Scoring, progress: Callable[[int], None] | None
) -> ImageScores:
    """Returns the scores of every image."""
    return score_images(
        vae,
        images.batches,
        scoring.num_samples,
        scoring.chunk_size,
        scoring.seed,
        progress,
    )


def progress_of(size: int, what: str, shown: bool) -> Callable[[int], None] | None:
    """Returns what shows a bar under a title, given the number done so far; or None."""
    if not shown:
        return None
    print(what, file=sys.stdout, flush=True)
    return keras.utils.Progbar(size, unit_name="image").update


def split_of(run: Run, name: str) -> tfvae.data.Split:
    """Returns a split of the run's data.

    Raises:
        InputError: There is none, or the data has changed since the run was trained.
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


def _rebinarized(run: Run, binarization: str | None) -> Config:
    """Returns the run's configuration with another binarisation, if it has a meaning.

    Raises:
        InputError: Images would be grey and the model is of binary ones, or the other
            way round.
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
