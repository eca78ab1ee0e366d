"""Drawing the plots of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tfvae.core.files import atomic_write
from tfvae.core.lookup import lookup
from tfvae.core.seeds import as_seed
from tfvae.core.types import InputError
from tfvae.evaluation import posterior_summary
from tfvae.evaluation.layers import ACTIVE_VARIANCE
from tfvae.models.batch import concatenate_batches, read_batch
from tfvae.reports.images import split_of
from tfvae.reports.plots import PLOTS, LayerRates, PlotInputs, Undefined, png_bytes
from tfvae.training.runs import Run, load_run, read_history, run_evaluation_batches

if TYPE_CHECKING:
    from tfvae.reports.plots.drawing import Figure

_IMAGES = 1000  # of the test set, the first ones
_BATCH = 100


class Plots(NamedTuple):
    """The plots that `plot_run` drew.

    Attributes:
        paths: The PNG files.
        skipped: The plots that are not defined for the run, each with the reason.
    """

    paths: list[Path]
    skipped: dict[str, str]


def plot_run(
    workdir: str | os.PathLike, kind: str | None = None, seed: int = 0
) -> Plots:
    """Draws a run's plots into its folder.

    Args:
        workdir: The run's folder.
        kind: A name in `tfvae.reports.plots.PLOTS`; None: all that are defined.
        seed: The seed of all draws.

    Raises:
        InputError: if there is no such run, no model yet, no such plot, or `kind` is
            not defined for the run.
    """
    if kind is not None:
        lookup(PLOTS, kind, "picture (KIND)")
    run = load_run(workdir)
    given = plot_inputs(run, seed)
    target = run.folder.plots
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{str(target)!r} cannot be made ({error.strerror}); change its "
            "permissions, or copy the run"
        ) from error
    plots = Plots([], {})
    for name, figure in figures_of(given, kind):
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
    given: PlotInputs, kind: str | None = None
) -> Iterator[tuple[str, Figure | Undefined]]:
    """Yields plots by name, one at a time, or the reason why one is not defined."""
    for name in PLOTS if kind is None else (kind,):
        try:
            figure: Figure | Undefined = PLOTS[name](given)
        except Undefined as reason:
            figure = reason
        yield name, figure


def plot_inputs(run: Run, seed: int = 0) -> PlotInputs:
    """Returns the inputs of a run's plots, with its first test images.

    Raises:
        InputError: if the data cannot be had, or has changed since the run was trained,
            or the seed is not usable.
    """
    as_seed(seed)  # refuses it before anything is drawn
    split = split_of(run, "test")
    count = min(len(split), _IMAGES)
    originals, labels = split.first(count)
    batches = list(run_evaluation_batches(run.record.config, split, _BATCH, count))

    def layer_rates() -> list[LayerRates]:
        # The aggregate posterior is not drawn, so one image will do for it.
        summary = posterior_summary(run.vae, batches, num_aggregate=1, seed=seed)
        found = []
        for layer in summary.layers:
            variances = layer.mean_variances
            active = None if variances is None else variances > ACTIVE_VARIANCE
            found.append(LayerRates(layer.variable_rates, layer.rate_errors, active))
        return found

    return PlotInputs(
        vae=run.vae,
        originals=originals,
        inputs=concatenate_batches(map(read_batch, batches)),
        labels=labels,
        history=read_history(run.folder.history),
        num_samples=run.record.config.num_samples,
        seed=seed,
        layer_rates=layer_rates,
    )
