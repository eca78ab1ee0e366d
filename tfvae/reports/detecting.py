"""Outliers by a run's model, with p-values from its held-out images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import tfvae.data
from tfvae.config.settings import Detection
from tfvae.core.files import write_text
from tfvae.core.types import InputError
from tfvae.core.validation import require_path
from tfvae.data.sources.npz import read_examples
from tfvae.evaluation import anomaly
from tfvae.evaluation.anomaly.detector import check_alpha
from tfvae.reports.images import check_writable, progress_of, split_of
from tfvae.training.runs import BINARIZATION_SEED, Run, labels_of, load_run

_BATCH = 100  # images at a time; nothing depends on it
_FILES = (".npy", ".npz")


class Found(NamedTuple):
    """The outliers among images.

    Attributes:
        data: The images' data set or file, and the split.
        scores: [N] Higher is stranger.
        p_values: [N]
        flagged: [N] Whether p <= alpha.
        alpha: The share of false alarms that is accepted.
        holdout: The images that calibrate, in words.
        how: The score and the samples.
        path: The CSV file.
    """

    data: str
    scores: np.ndarray
    p_values: np.ndarray
    flagged: np.ndarray
    alpha: float
    holdout: str
    how: Detection
    path: Path


def detect_run(
    workdir: str | os.PathLike,
    data: str,
    out: str | os.PathLike,
    alpha: float = 0.01,
    *,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    progress_bar: bool = False,
    **detection: Any,
) -> Found:
    """Writes scores and p-values of images as CSV, by a run's model.

    The run's validation images calibrate, or its test images if it has none; what they
    gave is `calibration.json` in the run's folder, for `tfvae.anomaly.load`.

    Args:
        workdir: The run's folder.
        data: A name that `tfvae.data.load` takes, or the path of a .npy or .npz file.
        out: The CSV file, with the columns index, score, p_value and flagged (0 or 1).
        alpha: The share of false alarms that is accepted.
        data_dir: TFDS' folder; None: the run's, if `data` is its data set.
        manual_dir: A folder of original files; None: as `data_dir`.
        progress_bar: Show bars.
        **detection: The fields of `tfvae.config.settings.Detection`, all optional.

    Raises:
        InputError: if there is no such run, data or folder, or the images are not of
            the model's shape, are those that calibrate, or cannot be flagged at alpha.
    """
    how, path = Detection(**detection), _checked_target(out)
    run = load_run(workdir)
    check_writable(run, run.folder.calibration)
    name, holdout = _holdout(run)
    score = anomaly.SCORES[how.score]
    check_alpha(alpha, len(holdout) - len(holdout) // 2 * score.fits)
    new = _new_images(run, data, how.split, name, data_dir, manual_dir)
    size = min(len(new), how.limit or len(new))
    images, its = _batches(run, new, 1, how.limit), _batches(run, holdout, 0)
    progress = progress_of(len(holdout), f"{name} images", progress_bar)
    detector = anomaly.calibrate(
        run.vae, its, how.score, how.num_samples, how.seed, progress=progress
    )
    detector.save(run.folder.calibration)
    scores = detector.scores(images, progress_of(size, "new images", progress_bar))
    p_values = detector.p_values_of(scores)
    flagged = p_values <= alpha
    _write(path, scores, p_values, flagged)
    kind = f"{detector.size} {name} images"
    return Found(data, scores, p_values, flagged, alpha, kind, how, path)


def detection_text(found: Found) -> str:
    """Returns the result in lines for people."""
    size = len(found.scores)
    return "\n".join(
        [
            f"{found.data}: {int(found.flagged.sum())} of {size} images are flagged at "
            f"alpha {found.alpha:g}; {found.alpha * size:.1f} would be if all were of "
            "the kind that was trained on",
            f"score {found.how.score}, K = {found.how.num_samples}, calibrated with "
            f"{found.holdout}",
            str(found.path),
        ]
    )


def _checked_target(out: str | os.PathLike) -> Path:
    """Returns the path of the CSV file, before anything takes time."""
    path = require_path("out (--out)", out)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(
            f"out (--out) {str(path)!r} is a folder, or is in none; give the path of a "
            "file in a folder that exists"
        )
    return path


def _holdout(run: Run) -> tuple[str, tfvae.data.Split]:
    """Returns the images of a run that it was not trained on, and their name."""
    try:
        return "validation", split_of(run, "validation")
    except InputError:
        return "test", split_of(run, "test")


def _new_images(
    run: Run,
    data: str,
    split_name: str,
    holdout: str,
    data_dir: str | None,
    manual_dir: str | None,
) -> tfvae.data.Split:
    """Returns the images to look at.

    Raises:
        InputError: if there are none, they have another shape than the model's, or they
            are those that calibrate.
    """
    config = run.record.config
    if data.endswith(_FILES) and ":" not in data:
        split: tfvae.data.Split | None = read_examples(data)
    else:
        if data == config.dataset:
            data_dir = data_dir or config.data_dir
            manual_dir = manual_dir or config.manual_dir
        found = tfvae.data.load(
            data, data_dir, manual_dir, config.image_size, config.validation_size
        )
        if found.provenance == run.record.data and split_name == holdout:
            raise InputError(
                f"the {split_name} images of {data!r} calibrate; choose another split "
                "(--split), or other data"
            )
        split = getattr(found, split_name)
    if split is None:
        raise InputError(f"{data!r} has no {split_name} images; choose another split")
    if tuple(split.image_shape) != run.vae.image_shape:
        raise InputError(
            f"the images of {data!r} have shape {tuple(split.image_shape)} and the "
            f"model takes {run.vae.image_shape}; give such images"
        )
    return split


def _batches(
    run: Run, split: tfvae.data.Split, draw: int, limit: int | None = None
) -> tf.data.Dataset:
    """Returns images as they were trained on, with the condition if there is one.

    Where they are drawn binary, new images have another draw than held-out ones: with
    the same, those of one place would not be independent.
    """
    config = run.record.config
    given = {} if config.labels is not None else labels_of(config)
    return tfvae.data.evaluation_batches(
        split,
        _BATCH,
        binarization=config.binarization,
        seed=BINARIZATION_SEED + draw,
        limit=limit,
        **given,
    )


def _write(
    path: Path, scores: np.ndarray, p_values: np.ndarray, flagged: np.ndarray
) -> None:
    rows = zip(scores.tolist(), p_values.tolist(), flagged.astype(int), strict=True)
    lines = [f"{index},{s!r},{p!r},{f}" for index, (s, p, f) in enumerate(rows)]
    write_text(path, "\n".join(["index,score,p_value,flagged", *lines, ""]))
