"""Exporting a run's model with a card that describes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tfvae.config.settings import EXPORTED_SAMPLES
from tfvae.core.types import InputError
from tfvae.export import export_saved_model
from tfvae.reports.images import meaning_of, models_of, read_evaluation, split_of
from tfvae.training.runs import Run, load_run, utc_now, versions

_EXAMPLES = 2  # images of the recorded requests


def export_run(
    workdir: str | os.PathLike,
    path: str | os.PathLike,
    num_samples: int = EXPORTED_SAMPLES,
) -> Path:
    """Writes a run's model as the next version of a SavedModel.

    Its card has the run's settings, data and evaluation, without the paths of this
    machine. The recorded requests show test images, or noise where the data is not.

    Args:
        workdir: The run's folder.
        path: The folder of the model's versions, for example saved_models/digits.
        num_samples: K of the signature `score`.

    Returns:
        The version's folder.

    Raises:
        InputError: if there is no such run, or `path` cannot be written to or holds
            something else.
    """
    run = load_run(workdir)
    examples = _examples(run)
    shown = "noise" if examples is None else "the first test images"
    return export_saved_model(
        run.vae,
        path,
        binarization=run.record.config.binarization,
        num_samples=num_samples,
        examples=examples,
        card={**_card(run, Path(path).resolve().name), "requests show": shown},
    )


def _examples(run: Run) -> np.ndarray | None:
    try:
        images, _ = split_of(run, "test").first(_EXAMPLES)
    except InputError:  # a machine that exports may not have the data
        return None
    return images


def _card(run: Run, name: str) -> dict[str, Any]:
    config, step = run.record.config, int(run.vae.steps)
    evaluation = read_evaluation(run.folder.evaluation)
    if evaluation is not None and evaluation.get("step") != step:
        evaluation = None  # of an earlier model of the run
    card = {
        "name": name,
        "description": f"a variational autoencoder with {config.latent} latent "
        f"variables, trained on {config.dataset}",
        "bounds": meaning_of(next(iter(models_of(run))), config),
        "created": utc_now(),
        "training": {**config.to_dict(), "data_dir": None, "manual_dir": None},
        "steps": step,
        "data": run.record.data,
        "evaluation": evaluation,
        "versions": {"trained with": run.record.versions, "exported with": versions()},
    }
    kind, colon, where = config.dataset.partition(":")
    if not colon:
        return card
    # Whoever is given the model learns the data's name, not where it lay.
    here, short = (json.dumps(text)[1:-1] for text in (where, Path(where).name))
    return json.loads(json.dumps(card).replace(here, short))
