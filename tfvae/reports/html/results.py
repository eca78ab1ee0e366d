"""The results of a run, and of its training, as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfvae.reports.html.markup import (
    decimal,
    definitions,
    escaped,
    table,
    with_error,
    words,
)

_UNITS = {"ess": "samples", "acceptance": "share of proposals"}
_HISTORY = ("loss", "elbo", "distortion", "rate", "ess")
_ESTIMATE = {"mean", "standard_error"}
_INLINE = "results"  # the name that `evaluate_run` gives to the estimates of a model


def evaluation_html(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields results of `evaluate_run`, in any layout.

    Mappings with `mean` and `standard_error`, at any depth, are estimates.
    """
    if not evaluations:
        yield (
            "<p>This run has not been evaluated: <code>tfvae evaluate</code> writes "
            "what is shown here.</p>"
        )
        return
    yield (
        "<p>Means over images &plusmn; their standard errors. Log-likelihoods and "
        "bounds in nats: higher is better; bits per dimension: lower is better.</p>"
    )
    for evaluation in evaluations:
        split = evaluation.get("split")
        title = "Results" if split is None else f"Results on the {split} images"
        yield from tree_html(title, evaluation)


def training_html(history: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yields the last epoch of `history.csv`."""
    if not history:
        yield "<p>There is no record of the training.</p>"
        return
    last = history[-1]
    yield (
        f"<p>Epoch {escaped(last['epoch'])}, the last one, after "
        f"{escaped(last['step'])} steps.</p>"
    )
    rows = []
    for name in _HISTORY:
        keys = (name, f"val_{name}")
        if any(key in last for key in keys):
            numbers = [decimal(last[key], 2) if key in last else "" for key in keys]
            rows.append([name, *numbers, _unit(name)])
    yield from table(["quantity", "training", "validation", "unit"], rows, (1, 2))


def tree_html(title: str, node: Mapping[str, Any], level: int = 3) -> Iterator[str]:
    """Yields a tree of names and values under a heading: estimates, facts, parts."""
    estimates, facts = {}, {}
    parts: dict[str, Any] = {}
    for name, value in node.items():
        if _is_estimate(value):
            estimates[name] = value
        elif isinstance(value, Mapping) and name == _INLINE and not estimates:
            inner = {n: v for n, v in value.items() if _is_estimate(v)}
            estimates |= inner
            parts[name] = {n: v for n, v in value.items() if n not in inner}
        elif isinstance(value, Mapping):
            parts[name] = value
        elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            parts |= {f"{name} {number}": v for number, v in enumerate(value, 1)}
        elif value is not None:
            facts[name] = value
    if estimates or facts:
        yield f"<h{level}>{escaped(title)}</h{level}>"
    if estimates:
        yield from _estimates(estimates)
    if facts:
        yield from definitions(facts)
    for name, part in parts.items():
        # A level below h4 would say less than the path to it.
        path = words(name) if level < 4 else f"{title}, {words(name)}"
        part = part if isinstance(part, Mapping) else {name: part}
        yield from tree_html(path, part, 4)


def _is_estimate(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() >= _ESTIMATE


def _estimates(estimates: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    bits = any("bits_per_dim" in value for value in estimates.values())
    columns = ["quantity", "mean ± standard error", "unit"]
    rows = []
    for name, value in estimates.items():
        number = with_error(value["mean"], value["standard_error"])
        row = [words(name), number, _unit(name)]
        if bits:
            found = value.get("bits_per_dim")
            error = value.get("bits_per_dim_standard_error")
            row.append("" if found is None else with_error(found, error))
        rows.append(row)
    if bits:
        columns.append("bits per dimension")
    yield from table(columns, rows, (1, 3))


def _unit(name: str) -> str:
    return next((u for word, u in _UNITS.items() if word in name.split("_")), "nats")
