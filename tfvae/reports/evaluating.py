"""Scoring a run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.config.settings import Annealing, Scoring
from tfvae.core.devices import device_name
from tfvae.core.files import atomic_write, write_json
from tfvae.core.types import InputError
from tfvae.evaluation import (
    ImageScores,
    Ladder,
    PosteriorSummary,
    default_chunk_size,
    inference_ladder,
    posterior_summary,
    summarise,
)
from tfvae.evaluation.ais import ais_log_likelihood, bdmc
from tfvae.evaluation.layers import ACTIVE_VARIANCE
from tfvae.evaluation.scores import count_low_ess, summarise_bound
from tfvae.evaluation.statistics import mean_with_error, paired_difference
from tfvae.models import VAE, SemiSupervisedVAE
from tfvae.models.semi_supervised import UNKNOWN, CalibrationError
from tfvae.reports.images import (
    TWIN,
    Images,
    check_writable,
    images_of,
    meaning_of,
    models_of,
    progress_of,
    score_differences,
    scored,
)
from tfvae.reports.plots import gap_ladder_of, png_bytes
from tfvae.training.runs import BINARIZATION_SEED, Run, load_run, utc_now, versions

# Draws an image times the root of the number of images. Where a mean is one of draws,
# the variance of means over images then has an error of 1.4 / _DRAWS times the variance
# of a draw: for Concrete variables of temperature 1/2, a tenth of the 0.01 above which
# a variable counts as active.
_DRAWS = 10_000


def evaluate_run(
    workdir: str | os.PathLike,
    annealing: Annealing | None = None,
    progress_bar: bool = False,
    **scoring: Any,
) -> dict[str, Any]:
    """Scores a run's model and writes `evaluation.json`, which it returns.

    A relaxed model's discrete twin is scored too, on the same images, and the gap
    between them is given. Other splits than the test images have a file of their own,
    `evaluation_validation.json`.

    Args:
        workdir: The run's folder.
        annealing: The settings of annealed importance sampling, and of the gaps that
            it shows, which are drawn into `evaluation_gaps.png` too; None: neither.
        progress_bar: Show bars.
        **scoring: The fields of `tfvae.evaluation.Scoring`, all optional.

    Raises:
        InputError: if there is no such run or split, a value is out of range, or an
            estimate is not defined for the model.
    """
    how, annealing = Scoring(**scoring), annealing or Annealing()
    run = load_run(workdir)
    target = run.folder.evaluation
    if how.split != "test":
        target = target.with_stem(f"evaluation_{how.split}")
    picture = target.with_name(f"{target.stem}_gaps.png")
    for path in (target, picture) if annealing.gaps else (target,):
        check_writable(run, path)
    images = images_of(run, how)
    annealed = None
    if annealing.wanted:  # first, for it may refuse the model
        annealed = _annealed(run, images, how, annealing, progress_bar)
    scores, sections = {}, {}
    for name, vae in models_of(run).items():
        scores[name] = scored(vae, images, how, name, progress_bar)
        sections[name] = _section(name, vae, images, how, scores[name])
    evaluation = {**_conditions(run, images, how), **next(iter(sections.values()))}
    if TWIN in sections:
        evaluation["discrete_twin"] = sections[TWIN]
        evaluation["gap"] = score_differences(*scores.values())
    if isinstance(run.vae, SemiSupervisedVAE):
        evaluation["classification"] = _classification(run.vae, images)
    if annealed is not None:
        found, values = annealed
        above = paired_difference(values, next(iter(scores.values())).log_likelihood)
        evaluation["ais"] = {**found, "above_log_likelihood": above._asdict()}
        if annealing.gaps:
            ladder = _ladder(run, images, how, annealing, progress_bar)
            evaluation["gaps"] = _gaps_section(ladder, values, found, annealing)
    evaluation["versions"] = versions()
    write_json(target, evaluation)
    if annealing.gaps:
        with atomic_write(picture) as partial:
            partial.write_bytes(png_bytes(gap_ladder_of(evaluation["gaps"])))
    else:  # one of the evaluation that this replaces
        picture.unlink(missing_ok=True)
    return evaluation


def _ladder(
    run: Run, images: Images, how: Scoring, annealing: Annealing, bar: bool
) -> Ladder:
    """Returns the elbos of better and better posteriors of each image."""
    name = next(iter(models_of(run)))
    return inference_ladder(
        run.vae,
        images.batches,
        annealing.gap_steps,
        num_samples=how.num_samples,
        seed=how.seed,
        progress=progress_of(images.size, f"posteriors of single images, {name}", bar),
    )


def _gaps_section(
    ladder: Ladder,
    log_likelihood: np.ndarray,
    ais: Mapping[str, Any],
    annealing: Annealing,
) -> dict[str, Any]:
    """Returns the gaps of N images, as a report has them.

    Args:
        ladder: The elbos.
        log_likelihood: [N] The bounds of annealed importance sampling.
        ais: The section of these bounds; of its BDMC is the width.
        annealing: The settings.
    """
    elbos = {**ladder._asdict(), "log_likelihood": log_likelihood}
    gaps = ladder.gaps(log_likelihood)._asdict()
    found: dict[str, Any] = {
        "model": ais["model"],
        "gap_steps": annealing.gap_steps,
        "elbos": {name: mean_with_error(v)._asdict() for name, v in elbos.items()},
        "differences": {name: gap._asdict() for name, gap in gaps.items()},
    }
    if "bdmc" in ais:
        found["bdmc_width"] = ais["bdmc"]["gap"]
    return found


def _classification(vae: SemiSupervisedVAE, images: Images) -> dict[str, float]:
    """Returns how well q(y|x) knows the classes of images that have a label."""
    accuracy, error = keras.metrics.Mean(), CalibrationError()
    known = 0
    for data in images.batches:
        batch = vae.as_batch(data)
        given = tf.cast(batch.label != UNKNOWN, tf.float32)
        probability = vae.class_probability(batch.x)
        right = tf.argmax(probability, axis=1) == batch.label
        accuracy.update_state(right, given)
        error.update_state(tf.reduce_max(probability, axis=1), right, given)
        known += int(tf.reduce_sum(given))
    return {
        "num_images": known,
        "accuracy": float(accuracy.result()),
        "calibration_error": float(error.result()),
    }


def _conditions(run: Run, images: Images, scoring: Scoring) -> dict[str, Any]:
    """Returns the conditions that are needed to repeat an evaluation."""
    shape, num_samples = (images.batch_size, *run.vae.image_shape), scoring.num_samples
    chunk_size = scoring.chunk_size or default_chunk_size(shape, num_samples)
    return {
        "dataset": images.config.dataset,
        "split": scoring.split,
        "limit": scoring.limit,
        "num_images": images.size,
        "binarization": images.config.binarization,
        "binarization_seed": BINARIZATION_SEED,
        "num_samples": num_samples,
        "seed": scoring.seed,
        "batch_size": images.batch_size,
        "chunk_size": min(chunk_size, num_samples),
        "step": int(run.vae.steps),
        "evaluations_per_step": run.vae.evaluations_per_step,
        "date": utc_now(),
        "device": device_name(),
    }


def _section(
    name: str, vae: VAE, images: Images, scoring: Scoring, scores: ImageScores
) -> dict[str, Any]:
    """Returns the results of one model."""
    num_samples = max(100, round(_DRAWS / math.sqrt(images.size)))
    posterior = posterior_summary(vae, images.batches, num_samples, seed=scoring.seed)
    return {
        "model": name,
        "bounds": meaning_of(name, images.config),
        "results": summarise(scores, vae.image_shape),
        "images_with_ess_below_2": count_low_ess(scores),
        "posterior": _posterior(posterior, vae),
    }


def _posterior(summary: PosteriorSummary, vae: VAE) -> dict[str, Any]:
    count = len(summary.aggregate.rate)
    terms = {
        name: mean_with_error(values)._asdict()
        for name, values in summary.aggregate._asdict().items()
    }
    if vae.prior_layer is not None and vae.prior_layer.conditional:
        del terms["divergence"]  # of q(z) from each p(z|c) it is none
    layers = [
        {
            "active_units": layer.active_units,
            "mean_variances": _list(layer.mean_variances),
            "means": "sampled" if layer.means_sampled else "closed form",
            "variable_rates": _list(layer.variable_rates),
            "variable_rates_standard_error": _list(layer.rate_errors),
            "rates": _how_rates(layer.variable_rates, layer.rates_sampled),
        }
        for layer in summary.layers
    ]
    return {
        "num_images": summary.num_images,
        "num_samples": summary.num_samples,
        "active_above": ACTIVE_VARIANCE,
        "layers": layers,
        "aggregate": {
            "method": f"estimated with {count} images, one draw each, q(z) being the "
            "mean of their posteriors (Hoffman and Johnson, 2016)",
            "num_images": count,
            **terms,
            "mutual_information_at_most": math.log(count),
        },
    }


def _list(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _how_rates(rates: np.ndarray | None, sampled: bool) -> str:
    if rates is None:
        return "not defined: the variables depend on each other under q(z|x) or p(z)"
    return "sampled" if sampled else "closed form"


def _conditions_of(vae: VAE, images: Images, size: int) -> Any:
    """Returns the conditions of the first images, from the start again after all."""
    batches = images.batches.repeat().unbatch().batch(size).take(1)
    return vae.as_batch(next(iter(batches))).condition


def _annealed(
    run: Run, images: Images, scoring: Scoring, annealing: Annealing, bar: bool
) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the results of annealed importance sampling, and its bounds [N]."""
    if isinstance(run.vae, SemiSupervisedVAE):
        raise InputError(
            "annealed importance sampling moves z, and y of a semi-supervised model is "
            "discrete; leave ais and gaps out, or give tfvae.evaluation.ais batches "
            "with a condition"
        )
    name = next(iter(models_of(run)))
    bits = run.vae.decoder.head.is_probability and run.vae.missing is None
    how_counted = (run.vae.image_shape, bits)
    how: dict[str, Any] = {
        "num_chains": annealing.ais_chains,
        "num_steps": annealing.ais_steps,
        "num_leapfrog_steps": annealing.ais_leapfrogs,
        "initial": annealing.ais_initial,
        "seed": scoring.seed,
    }
    progress = progress_of(images.size, f"AIS, {name}", bar)
    scores = ais_log_likelihood(run.vae, images.batches, **how, progress=progress)
    found = {
        "model": name,
        **how,
        "log_likelihood": summarise_bound(scores.log_likelihood, *how_counted),
        "acceptance": mean_with_error(scores.acceptance)._asdict(),
        "ess": mean_with_error(scores.ess)._asdict(),
    }
    size = annealing.bdmc_images
    if size:
        progress = progress_of(size, f"BDMC, images made by the {name}", bar)
        batch_size = min(scoring.batch_size, size)
        if run.vae.condition is not None:
            how["condition"] = _conditions_of(run.vae, images, size)
        both = bdmc(run.vae, size, **how, batch_size=batch_size, progress=progress)
        found["bdmc"] = {
            "num_images": size,
            "lower": summarise_bound(both.lower, *how_counted),
            "upper": summarise_bound(both.upper, *how_counted),
            "gap": paired_difference(both.upper, both.lower)._asdict(),
            "lower_acceptance": mean_with_error(both.lower_acceptance)._asdict(),
            "upper_acceptance": mean_with_error(both.upper_acceptance)._asdict(),
        }
    return found, scores.log_likelihood
