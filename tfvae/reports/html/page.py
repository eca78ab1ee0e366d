"""The page of a run: its settings, numbers and plots in one HTML file."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.config.plots import PLOT_KINDS
from tfvae.core.files import write_text
from tfvae.latents import LATENTS
from tfvae.reports.html.markup import (
    POLICY,
    STYLE,
    definitions,
    escaped,
    section,
)
from tfvae.reports.html.results import (
    brief_html,
    evaluation_html,
    training_html,
    tree_html,
)
from tfvae.reports.images import check_writable, read_evaluation
from tfvae.reports.plots import Undefined, gap_ladder_of, png_bytes
from tfvae.reports.plotting import figures_of, plot_inputs
from tfvae.training.runs import Run, load_run, meaning, read_history

if TYPE_CHECKING:
    from tfvae.reports.plots.drawing import Figure

_NAME = "report.html"
_EVALUATIONS = ("", "_validation", "_train")  # of the test images first


def report_run(workdir: str | os.PathLike, seed: int = 0) -> Path:
    """Writes a run's report, `report.html` in its folder, and returns its path.

    It shows the results of `tfvae evaluate`, if there are any, and draws every plot
    that is defined for the run. The same run gives the same file.

    Args:
        workdir: The run's folder.
        seed: The seed of all draws.

    Raises:
        InputError: if there is no such run, no model yet, or a file of it is damaged.
    """
    run = load_run(workdir)
    target = run.folder.path / _NAME
    check_writable(run, target)
    history, path = read_history(run.folder.history), run.folder.evaluation
    paths = [path.with_stem(path.stem + suffix) for suffix in _EVALUATIONS]
    evaluations = [found for found in map(read_evaluation, paths) if found is not None]
    plots = figures_of(plot_inputs(run, seed))
    write_text(target, report_html(run, history, evaluations, plots))
    return target


def report_html(
    run: Run,
    history: Sequence[Mapping[str, float]],
    evaluations: Sequence[Mapping[str, Any]],
    plots: Iterable[tuple[str, Figure | Undefined]],
) -> str:
    """Returns a report as HTML that refers to nothing outside itself.

    Args:
        run: The run.
        history: One mapping an epoch.
        evaluations: Results of `evaluate_run`, in any layout: estimates are mappings
            with `mean` and `standard_error`, at any depth.
        plots: Plots by name, or the reason why one is not defined.
    """
    title = f"{run.folder.path.resolve().name}, a run on {run.record.config.dataset}"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escaped(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f"<header><h1>{escaped(title)}</h1>",
        f"<p>{escaped(_summary(run))}</p></header>",
        "<main>",
        *brief_html(evaluations, history),
        *section("Pictures", _plots(plots)),
        *section("Evaluation", (*evaluation_html(evaluations), *_gaps(evaluations))),
        *section("Training", training_html(history)),
        *section("Settings", _settings(run)),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _summary(run: Run) -> str:
    config, family = run.record.config, LATENTS[run.record.config.latent]
    sizes = " + ".join(map(str, (config.latent_size, *config.upper_latent_sizes)))
    samples = "1 sample" if config.num_samples == 1 else f"{config.num_samples} samples"
    learned = f"{config.prior}, learned"
    prior = family.prior_text if config.prior == "standard" else learned
    return (
        f"A variational autoencoder with {sizes} latent variables. Posterior: "
        f"{family.posterior_text}. Prior: {prior}. Likelihood: {config.likelihood}. "
        f"Trained for {int(run.vae.steps)} steps with objective {config.objective}, "
        f"{samples} an image and estimator {config.estimator}. Its bounds are on "
        f"{meaning(config)}."
    )


def _plots(plots: Iterable[tuple[str, Figure | Undefined]]) -> Iterator[str]:
    skipped = []
    yield '<div class="pictures">'
    for name, figure in plots:
        if isinstance(figure, Undefined):
            skipped.append((name, figure))
            continue
        title = name.replace("_", " ").capitalize()
        yield _figure(figure, title, PLOT_KINDS[name])
    yield "</div>"
    for name, reason in skipped:
        yield f"<p>No {escaped(name.replace('_', ' '))}: {escaped(reason)}.</p>"


def _figure(figure: Figure, title: str, content: str) -> str:
    encoded = base64.b64encode(png_bytes(figure)).decode("ascii")
    title, content = escaped(title), escaped(content)
    return (
        f"<figure><figcaption><strong>{title}</strong>: {content}</figcaption>"
        f'<img alt="{title}: {content}" src="data:image/png;base64,{encoded}">'
        "</figure>"
    )


def _gaps(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a picture of the gaps of each evaluation that has some."""
    for evaluation in evaluations:
        if "gaps" not in evaluation:
            continue
        title = f"Where the nats go, {evaluation.get('split', 'test')} images"
        try:
            figure = gap_ladder_of(evaluation["gaps"])
        except Undefined as reason:
            yield f"<p>No picture of the gaps: {escaped(str(reason))}.</p>"
        else:
            yield _figure(figure, title, "what each posterior gains, up to log p(x)")


def _settings(run: Run) -> Iterator[str]:
    config, data = run.record.config.to_dict(), run.record.data
    yield "<p>Settings that do not apply to this run are left out.</p>"
    used = {n: v for n, v in config.items() if v is not None and v != []}
    yield from definitions({name.replace("_", " "): v for name, v in used.items()})
    yield from tree_html("Data", data)
    yield from tree_html("Versions that trained it", run.record.versions)
