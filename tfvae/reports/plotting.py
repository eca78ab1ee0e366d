"""The pictures of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfvae.core.files import atomic_write
from tfvae.core.lookup import lookup
from tfvae.core.seeds import as_seed
from tfvae.core.types import InputError
from tfvae.evaluation import posterior_summary
from tfvae.evaluation.statistics import ACTIVE_VARIANCE
from tfvae.models import VAE
from tfvae.reports.images import split_of
from tfvae.reports.plots import PICTURES, LayerRates, Subject, Undefined, png_bytes
from tfvae.training.runs import Run, evaluation_batches, load_run, read_history

if TYPE_CHECKING:
    from tfvae.reports.plots.drawing import Figure

_IMAGES = 1000  # of the test set, the first ones
_BATCH = 100


class Plots(NamedTuple):
    """What `plot_run` drew.

    Attributes:
        paths: PNG files.
        skipped: Pictures that are not defined for the run, each with the reason.
    """

    paths: list[Path]
    skipped: dict[str, str]


def plot_run(
    workdir: str | os.PathLike, kind: str | None = None, seed: int = 0
) -> Plots:
    """Draws a run's pictures into its folder.

    Args:
        workdir: The run's folder.
        kind: A name in `tfvae.reports.plots.PICTURES`; None: all that are defined.
        seed: Of all draws.

    Raises:
        InputError: There is no such run, no model yet, no such picture, or `kind` is
            not defined for the run.
    """
    if kind is not None:
        lookup(PICTURES, kind, "picture (KIND)")
    run = load_run(workdir)
    subject = subject_of(run, seed)
    target = run.folder.pictures
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{str(target)!r} cannot be made ({error.strerror}); change its "
            "permissions, or copy the run"
        ) from error
    plots = Plots([], {})
    for name, figure in figures_of(subject, kind):
        if isinstance(figure, Undefined):
            if kind is not None:
                raise figure
            plots.skipped[name] = str(figure)
            continue
        plots.paths.append(target / f"{name}.png")
        with atomic_write(plots.paths[-1]) as partial:
            partial.write_bytes(png_bytes(figure))
    return plots


def figures_of(
    subject: Subject, kind: str | None = None
) -> Iterator[tuple[str, Figure | Undefined]]:
    """Yields pictures by name, one at a time, or why one is not defined.

    Args:
        subject: What they are made from.
        kind: A name in `tfvae.reports.plots.PICTURES`; None: all.
    """
    for name in PICTURES if kind is None else (kind,):
        try:
            figure = PICTURES[name].draw(subject)
        except Undefined as reason:
            figure = reason
        yield name, figure


def subject_of(run: Run, seed: int = 0) -> Subject:
    """Returns what the pictures of a run are made from: its first test images.

    Raises:
        InputError: The data cannot be had, or has changed since the run was trained, or
            the seed is not usable.
    """
    as_seed(seed)  # refuses it before anything is drawn
    split = split_of(run, "test")
    count = min(len(split), _IMAGES)
    originals, labels = split.first(count)
    batches = list(evaluation_batches(run.record.config, split, _BATCH, count))
    return Subject(
        vae=run.vae,
        originals=originals,
        inputs=np.concatenate([batch.numpy() for batch in batches]),
        labels=labels,
        history=read_history(run.folder.history),
        num_samples=run.record.config.num_samples,
        seed=seed,
        layer_rates=_layer_rates(run.vae, batches, seed),
    )


def _layer_rates(
    vae: VAE, batches: Sequence, seed: int
) -> Callable[[], list[LayerRates]]:
    def rates() -> list[LayerRates]:
        # The aggregate posterior is not drawn, so one image will do for it.
        summary = posterior_summary(vae, batches, num_aggregate=1, seed=seed)
        return [
            LayerRates(
                layer.variable_rates,
                layer.rate_errors,
                None
                if layer.mean_variances is None
                else layer.mean_variances > ACTIVE_VARIANCE,
            )
            for layer in summary.layers
        ]

    return rates
