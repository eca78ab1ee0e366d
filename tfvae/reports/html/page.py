"""One page that shows a run: settings, numbers and pictures, all in one HTML file."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.config.plots import PLOT_KINDS
from tfvae.core.files import write_text
from tfvae.core.types import InputError
from tfvae.latents import LATENTS
from tfvae.reports.html.markup import (
    POLICY,
    STYLE,
    definitions,
    escaped,
    section,
    words,
)
from tfvae.reports.html.results import evaluation_html, training_html, tree_html
from tfvae.reports.plots import Undefined, png_bytes
from tfvae.reports.plotting import figures_of, plot_inputs
from tfvae.training.runs import Run, load_run, meaning, read_history, read_json

if TYPE_CHECKING:
    from tfvae.reports.plots.drawing import Figure

_NAME = "report.html"
_EVALUATIONS = ("", "_validation", "_train")


def report_run(workdir: str | os.PathLike, seed: int = 0) -> Path:
    """Writes a run's report, `report.html` in its folder, and returns its path.

    It shows what `tfvae evaluate` has written, if it has, and draws every picture that
    is defined for the run. The same run gives the same file.

    Args:
        workdir: The run's folder.
        seed: Of all draws.

    Raises:
        InputError: There is no such run, no model yet, or a file of it is damaged.
    """
    run = load_run(workdir)
    target = run.folder.path / _NAME
    if not os.access(run.folder.path, os.W_OK) or target.is_dir():
        raise InputError(
            f"{str(target)!r} cannot be written; change its permissions, or copy the "
            "run"
        )
    history = read_history(run.folder.history)
    evaluations = _evaluations(run)
    pictures = figures_of(plot_inputs(run, seed))
    write_text(target, report_html(run, history, evaluations, pictures))
    return target


def report_html(
    run: Run,
    history: Sequence[Mapping[str, float]],
    evaluations: Sequence[Mapping[str, Any]],
    pictures: Iterable[tuple[str, Figure | Undefined]],
) -> str:
    """Returns a report as HTML that refers to nothing outside itself.

    Args:
        run: The run.
        history: One mapping an epoch.
        evaluations: What `evaluate_run` returned, in any layout: estimates are mappings
            with `mean` and `standard_error`, at any depth.
        pictures: By name, or the reason why one is not defined.
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
        *section("Evaluation", evaluation_html(evaluations)),
        *section("Training", training_html(history)),
        *section("Pictures", _pictures(pictures)),
        *section("Settings", _settings(run)),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _evaluations(run: Run) -> list[dict[str, Any]]:
    """Returns what `tfvae evaluate` wrote, the test images' first."""
    path = run.folder.evaluation
    paths = [path.with_stem(path.stem + suffix) for suffix in _EVALUATIONS]
    found = []
    for path in paths:
        if path.exists():
            advice = "write it again with: tfvae evaluate"
            content = read_json(path, "evaluation", advice)
            if not isinstance(content, dict):
                raise InputError(f"{str(path)!r} is no evaluation; {advice}")
            found.append(content)
    return found


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


def _pictures(pictures: Iterable[tuple[str, Figure | Undefined]]) -> Iterator[str]:
    skipped = []
    yield '<div class="pictures">'
    for name, figure in pictures:
        if isinstance(figure, Undefined):
            skipped.append((name, figure))
            continue
        encoded = base64.b64encode(png_bytes(figure)).decode("ascii")
        title, content = escaped(words(name)), escaped(PLOT_KINDS[name])
        yield (
            f"<figure><figcaption><strong>{title}</strong>: {content}</figcaption>"
            f'<img alt="{title}: {content}" src="data:image/png;base64,{encoded}">'
            "</figure>"
        )
    yield "</div>"
    for name, reason in skipped:
        yield f"<p>No {escaped(words(name))}: {escaped(reason)}.</p>"


def _settings(run: Run) -> Iterator[str]:
    config, data = run.record.config.to_dict(), run.record.data
    yield "<p>Settings that do not apply to this run are left out.</p>"
    used = {n: v for n, v in config.items() if v is not None and v != []}
    yield from definitions(used)
    yield from tree_html("Data", data)
    yield from tree_html("Versions that trained it", run.record.versions)
