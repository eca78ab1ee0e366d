"""Making a preset of a run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfvae.config import Config
from tfvae.models import PresetCard, PresetScore
from tfvae.models.presets import save_preset
from tfvae.reports.images import TWIN, read_evaluation
from tfvae.training.runs import Run, load_run


def export_preset(
    workdir: str | os.PathLike,
    path: str | os.PathLike,
    description: str = "",
    command: str | None = None,
    licence: str | None = None,
) -> Path:
    """Writes a run's model as a preset, for `VAE.from_preset`.

    Its card has the run's settings, without the paths of this machine, its data, and
    the scores of `evaluate_run`, if they are of this model.

    Args:
        workdir: The run's folder.
        path: The preset's folder, which is new or empty.
        description: One line for people; "": the latent family and the data.
        command: The command that makes the preset again.
        licence: The terms of the data and of the weights.

    Returns:
        The preset's folder.

    Raises:
        InputError: if there is no such run, or something is at `path`.
    """
    run = load_run(workdir)
    config = run.record.config
    settings = _without_paths(config)
    trained = f"{settings.dataset}, binarization {config.binarization!r}"
    sizes = run.record.data.get("sizes")
    if isinstance(sizes, Mapping) and "train" in sizes:
        trained += f", {sizes['train']:,} examples"
    card = PresetCard(
        description or f"{config.latent} latent variables, {settings.dataset}",
        trained_on=trained,
        objective=f"{config.objective} of {config.num_samples} by {config.estimator}",
        steps=int(run.vae.steps),
        scores=_scores(run),
        command=command,
        licence=licence,
        settings=settings,
    )
    return save_preset(run.vae, path, card)


def _scores(run: Run) -> tuple[PresetScore, ...]:
    """Returns the scores of the model and of its discrete twin, if they are known."""
    found = read_evaluation(run.folder.evaluation)
    if found is None or found.get("step") != int(run.vae.steps):
        return ()  # of an earlier model of the run
    sections = [found]
    if "discrete_twin" in found:
        sections.append({**found, **found["discrete_twin"], "model": TWIN})
    return tuple(_score(section) for section in sections)


def _score(section: Mapping[str, Any]) -> PresetScore:
    bound = section["results"]["log_likelihood"]
    return PresetScore(
        bounds=section["bounds"],
        value=bound["mean"],
        standard_error=bound["standard_error"],
        num_samples=section["num_samples"],
        split=section["split"],
        num_examples=section["num_images"],
        binarization=section["binarization"],
        binarization_seed=section["binarization_seed"],
        seed=section["seed"],
        accuracy=section.get("classification", {}).get("accuracy"),
    )


def _without_paths(config: Config) -> Config:
    """Returns a configuration that names data, and not where they lie here."""
    kind, colon, where = config.dataset.partition(":")
    name = f"{kind}{colon}{Path(where).name}"
    return dataclasses.replace(config, dataset=name, data_dir=None, manual_dir=None)
