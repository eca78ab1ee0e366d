"""Exporting a run's model with a card that describes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.evaluation import anomaly
from tfvae.export import FORMATS, export_model, export_web
from tfvae.export.layout import CARD
from tfvae.models import SemiSupervisedVAE
from tfvae.reports.images import meaning_of, models_of, read_evaluation, split_of
from tfvae.reports.text import with_error
from tfvae.training.runs import Run, load_run, utc_now, versions

_EXAMPLES = 2  # images of the recorded requests
_LEFT_OUT = "left out: "


def export_run(
    workdir: str | os.PathLike,
    path: str | os.PathLike,
    num_samples: int | None = None,
    formats: Sequence[str] = ("savedmodel",),
    quantize: Sequence[str] = (),
) -> Path:
    """Writes a run's model as the next version, in one or several formats.

    Its card has the run's settings, data and evaluation, without the paths of this
    machine. The recorded requests show test images, or noise where the data is not.

    Where `tfvae detect` has left a calibration of the model with score "likelihood",
    the signature `score` has p-values with it, unless `num_samples` says otherwise. Of
    a calibration that cannot be used, `p_value` in the card says why.

    Args:
        workdir: The run's folder.
        path: The folder of the model's versions, for example saved_models/digits.
        num_samples: K of the signatures `score` and `impute`; None: that of the
            calibration, or 100.
        formats: Names in `tfvae.export.FORMATS`, see `export_model`.
        quantize: Quantisations of the format litert: "float16", "int8".

    Returns:
        The version's folder.

    Raises:
        InputError: if there is no such run, or `path` cannot be written to or holds
            something else.
    """
    if num_samples is not None:
        require_int("num_samples (--num-samples)", num_samples)
    run = load_run(workdir)
    examples = _examples(run)
    shown = "noise" if examples is None else "the first test images"
    detector, said = None, None
    if any(name in FORMATS and FORMATS[name].scores for name in formats):
        detector, said = _detector(run, num_samples)
    if detector is not None and "savedmodel" not in formats:
        said = f"{_LEFT_OUT}it is of the format savedmodel"
    card = {**_card(run, Path(path).resolve().name), "requests show": shown}
    return export_model(
        run.vae,
        path,
        formats,
        quantize=quantize,
        binarization=run.record.config.binarization,
        num_samples=num_samples,
        detector=detector,
        examples=examples,
        card={**card, "p_value": said},
    )


def export_web_run(workdir: str | os.PathLike, path: str | os.PathLike) -> Path:
    """Writes a page that runs the decoder of a run's model in a browser.

    Its footer says what the model was trained on, and what `tfvae evaluate` has found.

    Args:
        workdir: The run's folder.
        path: The HTML file to write.

    Returns:
        The file's path.

    Raises:
        InputError: if there is no such run, or the page cannot be written; see
            `tfvae.export.export_web`.
    """
    run = load_run(workdir)
    card = _card(run, Path(path).stem)
    return export_web(run.vae, path, card=card["summary"])


def left_out(version: Path) -> str | None:
    """Returns why a version's scores have no p-values though there is a calibration."""
    said = json.loads((version / CARD).read_text(encoding="utf-8")).get("p_value")
    return said if said and said.startswith(_LEFT_OUT) else None


def _detector(
    run: Run, num_samples: int | None
) -> tuple[anomaly.Detector | None, str | None]:
    """Returns the detector of a run whose p-values are served, and a line on it."""
    path = run.folder.calibration
    if not path.exists():
        return None, None
    try:
        detector = anomaly.load(path, run.vae)
    except InputError as error:
        return None, f"{_LEFT_OUT}{error}".replace(str(path), path.name)
    reason = None
    if not isinstance(detector.score, anomaly.Likelihood):
        reason = (
            f"{path.name} is of score {type(detector.score).__name__}, and p-values of "
            "'likelihood' alone are served; make them with tfvae detect --score "
            "likelihood"
        )
    elif isinstance(run.vae, SemiSupervisedVAE):
        reason = f"scores are of p(x|condition), and {path.name} is of p(x)"
    elif num_samples not in (None, detector.num_samples):
        reason = (
            f"{path.name} has {detector.num_samples} samples an image, and "
            f"{num_samples} are asked for; leave --num-samples out, or make it with "
            f"tfvae detect --num-samples {num_samples}"
        )
    if reason is not None:
        return None, f"{_LEFT_OUT}{reason}"
    return detector, (
        f"the rank of the score -L_{detector.num_samples} among those of "
        f"{detector.size} held-out images"
    )


def _examples(run: Run) -> np.ndarray | None:
    try:
        images, _ = split_of(run, "test").first(_EXAMPLES)
    except InputError:  # a machine that exports may not have the data
        return None
    return images


def _summary(
    dataset: str, step: int, evaluation: Mapping[str, Any] | None
) -> dict[str, str]:
    """Returns what the footer of a page says of a run."""
    facts = {"Trained on": f"{dataset}, {step:,} steps"}
    if evaluation is not None:
        likelihood = evaluation["results"]["log_likelihood"]
        facts["Bound"] = (
            f"{evaluation['bounds']} > {with_error(likelihood)} nats, "
            f"L_{evaluation['num_samples']} of {evaluation['num_images']:,} "
            f"{evaluation['split']} images"
        )
    return facts


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
        "summary": _summary(config.dataset, step, evaluation),
        "versions": {"trained with": run.record.versions, "exported with": versions()},
    }
    kind, colon, where = config.dataset.partition(":")
    if not colon:
        return card
    # Whoever is given the model learns the data's name, not where it lay.
    here, short = (json.dumps(text)[1:-1] for text in (where, Path(where).name))
    return json.loads(json.dumps(card).replace(here, short))
