"""Exporting a run's model with a card that says what it is."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tfvae.config.settings import EXPORTED_SAMPLES
from tfvae.core.types import InputError
from tfvae.export import export_saved_model
from tfvae.reports.images import meaning_of, models_of, split_of
from tfvae.training.runs import Run, load_run, read_json, versions

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
        InputError: There is no such run, or `path` cannot be written to or holds
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
    config = run.record.config
    now = datetime.datetime.now(datetime.timezone.utc)
    card = {
        "name": name,
        "description": f"a variational autoencoder with {config.latent} latent "
        f"variables, trained on {config.dataset}",
        "bounds": meaning_of(next(iter(models_of(run))), config),
        "created": now.isoformat(" ", "seconds"),
        "training": {**config.to_dict(), "data_dir": None, "manual_dir": None},
        "steps": int(run.vae.steps),
        "data": run.record.data,
        "evaluation": _evaluation(run),
        "versions": {"trained with": run.record.versions, "exported with": versions()},
    }
    kind, colon, where = config.dataset.partition(":")
    if not colon:
        return card
    # Whoever is given the model learns the data's name, not where it lay.
    here, short = (json.dumps(text)[1:-1] for text in (where, Path(where).name))
    return json.loads(json.dumps(card).replace(here, short))


def _evaluation(run: Run) -> dict[str, Any] | None:
    """Returns what `tfvae evaluate` found of this model; None if it has not."""
    path = run.folder.evaluation
    if not path.exists():
        return None
    found = read_json(path, "evaluation", "make one with: tfvae evaluate")
    if not isinstance(found, dict):
        raise InputError(
            f"{str(path)!r} is no evaluation; write it again with: tfvae evaluate"
        )
    return found if found.get("step") == int(run.vae.steps) else None
