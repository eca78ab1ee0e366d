"""Comparing two runs, image by image."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfvae.config import Config
from tfvae.config.settings import Scoring
from tfvae.core.types import InputError
from tfvae.data import BINARIZATIONS
from tfvae.evaluation import ImageScores
from tfvae.evaluation.scores import count_low_ess
from tfvae.evaluation.statistics import mean_with_error
from tfvae.heads import HEADS
from tfvae.models import Batch
from tfvae.models.batch import read_batch
from tfvae.reports.images import (
    COMPARED_SCORES,
    Images,
    images_of,
    meaning_of,
    models_of,
    score_differences,
    scored,
)
from tfvae.reports.text import binarization_text, low_ess_text, with_error
from tfvae.training.runs import BINARIZATION_SEED, Run, load_run

# Settings that can make two runs' images differ, for the message.
_ABOUT_IMAGES = (
    *("dataset", "image_size", "validation_size", "data_dir", "manual_dir"),
    *("binarization", "missing_share"),
)


def compare_runs(
    first: str | os.PathLike,
    second: str | os.PathLike,
    progress_bar: bool = False,
    **scoring: Any,
) -> dict[str, Any]:
    """Scores two runs on the same images, with the same seeds.

    A relaxed run has two models, and both are compared: with their likes, or each with
    the other run's one model.

    Args:
        first: A run's folder.
        second: Another run's folder.
        progress_bar: Show bars.
        **scoring: The fields of `tfvae.evaluation.Scoring`, all optional.

    Returns:
        The conditions, each model's means, and for each pair of models first - second
        with its standard error, paired over the images.

    Raises:
        InputError: if there is no such run or split, a value is out of range, or the
            runs have other images or likelihoods that cannot be compared.
    """
    how = Scoring(**scoring)
    runs = {"first": load_run(first), "second": load_run(second)}
    images = {name: images_of(run, how) for name, run in runs.items()}
    _check_comparable(runs["first"], runs["second"], *images.values())
    scores: dict[str, dict] = {"first": {}, "second": {}}
    found = {}
    for side, run in runs.items():
        for name, vae in models_of(run).items():
            title = f"{run.folder.path}, {name}"
            scores[side][name] = scored(vae, images[side], how, title, progress_bar)
        found[side] = _found(run, images[side], scores[side])
    return {
        "split": how.split,
        "num_images": images["first"].size,
        "limit": how.limit,
        "binarization": images["first"].config.binarization,
        "binarization_seed": BINARIZATION_SEED,
        "num_samples": how.num_samples,
        "seed": how.seed,
        "batch_size": images["first"].batch_size,
        **found,
        "differences": _differences(scores["first"], scores["second"]),
    }


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """Returns the result of `compare_runs` as a table for people."""
    count = comparison["num_samples"]
    sides = [comparison["first"], comparison["second"]]
    lines = [
        f"{sides[0]['dataset']}, {comparison['num_images']} {comparison['split']} "
        f"images, {binarization_text(comparison)}, K = {count}, seed "
        f"{comparison['seed']}, batches of {comparison['batch_size']}",
        "",
        f"{'nats':32} {f'L_{count}':>20} {'elbo':>20}",
    ]
    for number, side in enumerate(sides, start=1):
        steps, cost = side["step"], side["evaluations_per_step"]
        lines.append(
            f"{number}: {side['run']}, after {steps} training steps, each with {cost} "
            f"evaluation{'s' if cost > 1 else ''} of the decoder an image"
        )
        for name, model in side["models"].items():
            lines.append(_row(f"   {name}", model))
            lines += [f"      {line}" for line in low_ess_text(model, count)]
    lines += ["", "1 - 2, paired over the images"]
    for difference in comparison["differences"]:
        lines.append(
            _row(f"   {difference['first']} - {difference['second']}", difference)
        )
    bounds = {m["bounds"] for side in sides for m in side["models"].values()}
    lines += ["", "mean over images +- its standard error; lower bounds on"]
    return "\n".join([*lines, *(f"   {bound}" for bound in sorted(bounds))])


def _row(label: str, found: Mapping[str, Any]) -> str:
    columns = [f"{with_error(found[name], 3):>20}" for name in COMPARED_SCORES]
    return " ".join([f"{label:32}", *columns])


def _found(
    run: Run, images: Images, scores: Mapping[str, ImageScores]
) -> dict[str, Any]:
    models = {
        name: {
            "bounds": meaning_of(name, images.config),
            "images_with_ess_below_2": count_low_ess(values),
            **{
                score: mean_with_error(getattr(values, score))._asdict()
                for score in COMPARED_SCORES
            },
        }
        for name, values in scores.items()
    }
    return {
        "run": str(run.folder.path),
        "dataset": images.config.dataset,
        "step": int(run.vae.steps),
        "evaluations_per_step": run.vae.evaluations_per_step,
        "models": models,
    }


def _differences(
    first: Mapping[str, ImageScores], second: Mapping[str, ImageScores]
) -> list[dict[str, Any]]:
    """Returns first - second of like models, or of every model of one with the other's.

    The models of a relaxed run come in the same order as those of another.
    """
    paired = zip if len(first) == len(second) else itertools.product
    return [
        {"first": one, "second": other, **score_differences(first[one], second[other])}
        for one, other in paired(first, second)
    ]


def _check_comparable(first: Run, second: Run, images: Images, others: Images) -> None:
    """Refuses runs whose numbers mean different things.

    Raises:
        InputError: if they do; the message says which.
    """
    names = f"{str(first.folder.path)!r} and {str(second.folder.path)!r}"
    drawn = [i.config.binarization for i in (images, others)]
    # In evaluation, all binarisations that draw make the same draw.
    draws = {"drawn" if BINARIZATIONS[b].draws != "never" else b for b in drawn}
    if len(draws) > 1:
        raise InputError(
            f"{names} cannot be compared: binarization is {drawn[0]!r} and "
            f"{drawn[1]!r}; score both on the same images, with --binarization"
        )
    kinds = [_kind(i.config) for i in (images, others)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"{names} cannot be compared: likelihood "
            f"{images.config.likelihood!r} gives {kinds[0]} and "
            f"{others.config.likelihood!r} {kinds[1]}; compare runs of one kind"
        )
    same = images.size == others.size and all(
        _same(read_batch(one), read_batch(other))
        for one, other in zip(images.batches, others.batches, strict=True)
    )
    if not same:
        changed = first.record.config.differences(second.record.config)
        about = [
            f"{name} is {changed[name][0]!r} and {changed[name][1]!r}"
            for name in _ABOUT_IMAGES
            if name in changed
        ]
        raise InputError(
            f"{names} cannot be compared, for their images differ: "
            f"{', '.join(about) or 'the data has changed'}; compare runs on the same "
            "images"
        )


def _same(one: Batch, other: Batch) -> bool:
    """Returns whether two batches have the same images, and the same is missing."""
    first, second = one.observed, other.observed
    if first is None or second is None:
        return first is second and np.array_equal(one.x, other.x)
    return np.array_equal(one.x, other.x) and np.array_equal(first, second)


def _kind(config: Config) -> str:
    """Returns the kind of number that a likelihood gives, in words."""
    if config.grey_targets:
        return "an expected log-likelihood (grey targets)"
    return "a density" if HEADS[config.likelihood].is_density else "a probability"
