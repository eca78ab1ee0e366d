"""The results of a run, and of its training, as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfvae.reports.html.markup import (
    brief,
    decimal,
    definitions,
    escaped,
    table,
    with_error,
)
from tfvae.reports.html.titles import title_of

_UNITS = {"ess": "samples", "acceptance": "share of proposals"}
_HISTORY = ("loss", "elbo", "distortion", "rate", "ess")
_ESTIMATE = {"mean", "standard_error"}
_BRIEF = ("elbo", "distortion", "rate", "ess")  # of a run without an evaluation
_INLINE = "results"  # the name that `evaluate_run` gives to the estimates of a model


def brief_html(
    evaluations: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, float]]
) -> Iterator[str]:
    """Yields the four numbers that matter: of the first evaluation, or the last epoch.

    Of an evaluation: L_K, bits per dimension (or the elbo), rate and active units. Of
    an epoch: elbo, distortion, rate and effective sample size.
    """
    if evaluations:
        yield from definitions(dict(_evaluated(evaluations[0])), "brief")
    elif history:
        yield from definitions(dict(_trained(history[-1])), "brief")


def _evaluated(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    results, split = _part(evaluation, "results"), evaluation.get("split")
    bound = _part(results, "log_likelihood")
    if _is_estimate(bound):
        images = "images" if split is None else f"{split} images"
        yield f"L_{evaluation.get('num_samples', 'K')}, {images}", _nats(bound)
    if _is_estimate(bound) and "bits_per_dim" in bound:
        error = bound.get("bits_per_dim_standard_error")
        yield "Bits per dimension", with_error(bound["bits_per_dim"], error)
    elif _is_estimate(results.get("elbo")):
        yield title_of("elbo"), _nats(results["elbo"])
    if _is_estimate(results.get("rate")):
        yield title_of("rate"), _nats(results["rate"])
    layers = _part(evaluation, "posterior").get("layers")
    active = [
        f"{brief(layer['active_units'])} of {len(layer['mean_variances'])}"
        for layer in (layers if isinstance(layers, list) else ())
        if isinstance(layer, Mapping)
        and layer.get("active_units") is not None
        and isinstance(layer.get("mean_variances"), list)
    ]
    if active:
        yield title_of("active_units"), ", ".join(active)


def _part(evaluation: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = evaluation.get(name)
    return part if isinstance(part, Mapping) else {}


def _nats(estimate: Mapping[str, Any]) -> str:
    return f"{with_error(estimate['mean'], estimate['standard_error'])} nats"


def _trained(last: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for name in _BRIEF:
        key = f"val_{name}" if f"val_{name}" in last else name
        if key in last:
            where = "validation" if key != name else "training"
            yield f"{title_of(name)}, {where}", f"{decimal(last[key], 2)} {_unit(name)}"


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
            rows.append([title_of(name), *numbers, _unit(name)])
    yield from table(["Quantity", "Training", "Validation", "Unit"], rows, (1, 2))


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
            listed = enumerate(value, 1)
            parts |= {f"{title_of(name)} {number}": each for number, each in listed}
        elif value is not None:
            facts[title_of(name)] = value
    if estimates or facts:
        yield f"<h{level}>{escaped(title)}</h{level}>"
    if estimates:
        yield from _estimates(estimates)
    if facts:
        yield from definitions(facts)
    for name, part in parts.items():
        # A level below h4 would say less than the path to it.
        path = title_of(name) if level < 4 else f"{title}, {title_of(name)}"
        part = part if isinstance(part, Mapping) else {name: part}
        yield from tree_html(path, part, 4)


def _is_estimate(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() >= _ESTIMATE


def _estimates(estimates: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    bits = any("bits_per_dim" in value for value in estimates.values())
    columns = ["Quantity", "Mean ± standard error", "Unit"]
    rows = []
    for name, value in estimates.items():
        number = with_error(value["mean"], value["standard_error"])
        row = [title_of(name), number, _unit(name)]
        if bits:
            found = value.get("bits_per_dim")
            error = value.get("bits_per_dim_standard_error")
            row.append("" if found is None else with_error(found, error))
        rows.append(row)
    if bits:
        columns.append("Bits per dimension")
    yield from table(columns, rows, (1, 3))


def _unit(name: str) -> str:
    return next((u for word, u in _UNITS.items() if word in name.split("_")), "nats")
