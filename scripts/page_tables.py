"""The tables of docs/parts.md, made from those of the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tfvae.config.recipes import RECIPES
from tfvae.data import BINARIZATIONS, DATASETS
from tfvae.estimators import ESTIMATORS
from tfvae.estimators.base import Estimator
from tfvae.heads import HEADS
from tfvae.latents import LATENTS
from tfvae.models import VAE
from tfvae.objectives import OBJECTIVES
from tfvae.priors import PRIORS

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def recipes() -> str:
    """What each recipe is, and where its settings come from."""
    rows = [(name, recipe.summary, recipe.source) for name, recipe in RECIPES.items()]
    return _table(("recipe", "what", "source"), rows)


def objectives() -> str:
    """Value, bound or not, paper."""
    rows = [
        (name, make.formula, "yes" if make().is_bound else "no", make.paper)
        for name, make in OBJECTIVES.items()
    ]
    return _table(("objective", "value", "lower bound on log p(x)", "paper"), rows)


def estimators() -> str:
    """How the gradient gets to the encoder, and for what it is unbiased."""
    rows = [
        (name, make.needs, make.method, _unbiased(make()), make.paper)
        for name, make in ESTIMATORS.items()
    ]
    columns = ("estimator", "for draws", "the encoder's gradient", "unbiased", "paper")
    return _table(columns, rows)


def latents() -> str:
    """Posterior, prior, and what the decoder reads."""
    rows = [
        (n, f.posterior_text, f.prior_text, f.decoder_reads, f.paper)
        for n, f in LATENTS.items()
    ]
    columns = ("latent", "posterior", "standard prior", "the decoder reads", "paper")
    return _table(columns, rows)


def priors() -> str:
    """What it is, and where it comes from."""
    own = ("standard", "the family's own", "Kingma and Welling (2014)")
    others = [(name, p.text, p.paper) for name, p in PRIORS.items() if p is not None]
    return _table(("prior", "p(z)", "paper"), [own, *others])


def likelihoods() -> str:
    """Density, support and paper of the heads for p(x|z)."""
    rows = [
        (name, head.formula, _support(name), head.paper)
        for name, head in HEADS.items()
        if name != "bin_concrete"  # of latent variables
    ]
    return _table(("likelihood", "of one element", "support", "paper"), rows)


def datasets() -> str:
    """What each data set is."""
    return _table(
        ("data set", "what"), [(n, d.description) for n, d in DATASETS.items()]
    )


def binarizations() -> str:
    """What each binarisation does."""
    rows = [(name, kind.description) for name, kind in BINARIZATIONS.items()]
    return _table(("binarization", "what the model sees"), rows)


def presets() -> str:
    """What each preset is, its class, its size and its scores."""
    rows = [
        (
            name,
            preset.description,
            f"`{preset.class_name.removeprefix('tfvae>')}`",
            f"{preset.num_parameters:,}",
            "; ".join(map(str, preset.card.scores)),
        )
        for name, preset in VAE.presets.items()
    ]
    return _table(("preset", "what", "class", "parameters", "scores"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "recipes": recipes,
    "objectives": objectives,
    "estimators": estimators,
    "latents": latents,
    "priors": priors,
    "likelihoods": likelihoods,
    "datasets": datasets,
    "binarizations": binarizations,
    "presets": presets,
}


def with_tables(text: str) -> str:
    """Returns a text whose tables, between marks, are made anew."""
    return _MARKED.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)


def _support(name: str) -> str:
    return HEADS[name]((1,)).support


def _unbiased(estimator: Estimator) -> str:
    names = [n for n, make in OBJECTIVES.items() if estimator.unbiased(make())]
    if len(names) == len(OBJECTIVES):
        return "for every objective"
    return f"for {', '.join(names)} alone" if names else "no"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table whose first column is code."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for first, *rest in rows:
        cells = [f"`{first}`", *(cell.replace("|", "\\|") for cell in rest)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = Path("docs/parts.md")
    page.write_text(with_tables(page.read_text("utf-8")), encoding="utf-8")
