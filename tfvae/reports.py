"""What is done with a trained run: score it, draw it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfvae import pictures
from tfvae.evaluation import score_images, summarise
from tfvae.files import replacing, write_json
from tfvae.require import require_int
from tfvae.runs import (
    BINARIZATION_SEED,
    Run,
    evaluation_batches,
    load_data,
    load_run,
    meaning,
    read_history,
    versions,
)
from tfvae.types import InputError

_PICTURED = 10  # images in a row of reconstructions
_SAMPLED = 64


def evaluate_run(
    workdir: str | os.PathLike,
    num_samples: int = 1000,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 100,
    chunk_size: int | None = None,
    progress_bar: bool = False,
) -> dict[str, Any]:
    """Scores a run's model and writes `evaluation.json`, which it returns.

    Other splits than the test images have a file of their own,
    `evaluation_validation.json`.

    Args:
        workdir: The run's folder.
        num_samples: K, samples of z per image.
        split: "test", "validation" or "train".
        limit: Only the first so many images.
        seed: Of the samples.
        batch_size: Images at a time.
        chunk_size: Samples at a time, see `score_images`.
        progress_bar: Show one.

    Raises:
        InputError: There is no such run or split, or a number is out of range.
    """
    batch_size = require_int("batch_size", batch_size)
    if limit is not None:
        limit = require_int("limit", limit)
    run = load_run(workdir)
    config = run.record.config
    target = run.folder.evaluation
    if split != "test":
        target = target.with_stem(f"evaluation_{split}")
    if not os.access(run.folder.path, os.W_OK) or target.is_dir():
        raise InputError(
            f"{str(target)!r} cannot be written; change its permissions, or copy the "
            "run"
        )
    images = _split(run, split)
    size = min(len(images), limit or len(images))
    batches = evaluation_batches(config, images, min(batch_size, size), limit)
    bar = keras.utils.Progbar(size, unit_name="image") if progress_bar else None
    scores = score_images(
        run.vae, batches, num_samples, chunk_size, seed, bar and bar.update
    )
    evaluation = {
        "bounds": meaning(config),
        "dataset": config.dataset,
        "split": split,
        "num_images": len(scores.elbo),
        "binarization": config.binarization,
        "binarization_seed": BINARIZATION_SEED,
        "num_samples": num_samples,
        "seed": seed,
        "batch_size": batch_size,
        "chunk_size": chunk_size,
        "step": int(run.vae.steps),
        "results": summarise(scores, run.vae.image_shape),
        "versions": versions(),
    }
    write_json(target, evaluation)
    return evaluation


def evaluation_text(evaluation: dict[str, Any]) -> str:
    """Returns what `evaluate_run` found as a table for people."""
    count = evaluation["num_samples"]
    results = evaluation["results"]
    lines = [
        f"{evaluation['dataset']}, {evaluation['num_images']} {evaluation['split']} "
        f"images, binarization {evaluation['binarization']} (draw "
        f"{evaluation['binarization_seed']}), K = {count}, seed {evaluation['seed']}, "
        f"after {evaluation['step']} training steps",
        f"L_{count} and elbo are lower bounds on {evaluation['bounds']}",
        "",
        f"{'':14} {'nats':>20} {'bits per dimension':>24}",
    ]
    for name, result in results.items():
        label = f"L_{count}" if name == "log_likelihood" else name
        nats = _with_error(result["mean"], result["standard_error"], 2)
        bits = ""
        if "bits_per_dim" in result:
            error = result["bits_per_dim_standard_error"]
            bits = _with_error(result["bits_per_dim"], error, 4)
        lines.append(f"{label:14} {nats:>20} {bits:>24}".rstrip())
    lines.append("")
    lines.append("mean over images +- its standard error; ess in samples, of K")
    return "\n".join(lines)


def _with_error(mean: float, error: float | None, digits: int) -> str:
    spread = "?" if error is None else f"{error:.{digits}f}"
    return f"{mean:.{digits}f} +- {spread}"


def plot_run(workdir: str | os.PathLike, seed: int = 0) -> list[Path]:
    """Draws a run's pictures into its folder and returns their paths.

    Args:
        workdir: The run's folder.
        seed: Of the samples.

    Raises:
        InputError: There is no such run, or no model yet.
    """
    run = load_run(workdir)
    images = _split(run, "test")
    count = min(len(images), _PICTURED)
    batches = evaluation_batches(run.record.config, images, count, count)
    inputs = next(iter(batches)).numpy()
    originals, _ = images.first(count)
    history = read_history(run.folder.history)
    figures = {
        "reconstructions": pictures.reconstructions(run.vae, originals, inputs),
        "samples": pictures.samples(run.vae, _SAMPLED, seed),
    }
    if run.vae.latent.traversal(np.zeros(1)) is not None:
        figures["traversal"] = pictures.traversal(run.vae, inputs[:1])
    if history:
        figures["training_curves"] = pictures.training_curves(history)
    run.folder.pictures.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(run.folder.pictures / f"{name}.png")
        with replacing(paths[-1]) as partial:
            figure.savefig(partial)
    return paths


def _split(run: Run, name: str):
    data = load_data(run.record.config)
    if data.provenance != run.record.data:
        raise InputError(
            f"dataset {run.record.config.dataset!r} has changed since "
            f"{str(run.folder.path)!r} was trained, so its {name} images may have been "
            "trained on; restore the data, or train again"
        )
    images = getattr(data, name, None)
    if images is None:
        raise InputError(f"the run has no {name} images; choose another split")
    return images
