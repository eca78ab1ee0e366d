"""The rows of the table of results: what is run, and what it is held against.

Each row is a recipe with its options, as the command line takes them, and the quantity
that is compared with a published one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfvae.config.recipes import RECIPES

# Of a Normal with scale 1, for each of 784 pixels; the TF1 tutorial leaves it out.
_NORMAL_CONSTANT = 784 * 0.5 * math.log(2 * math.pi)


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        recipe: Its name.
        reference: The published value, with what it was reached with; "-": none.
        options: What differs from the recipe, as arguments of `tfvae train`.
        num_samples: K of `tfvae evaluate`.
        quantity: A name of `QUANTITIES`.
        seeds: One run each.
        league: What the row is a part of, with a table of its own; "": the results.
    """

    recipe: str
    reference: str
    options: tuple[str, ...] = ()
    num_samples: int = 5000
    quantity: str = "NLL"
    seeds: tuple[int, ...] = (0,)
    league: str = ""

    @property
    def source(self) -> str:
        """Where the recipe comes from, in short."""
        return RECIPES[self.recipe].source.split(",")[0]


def _negative(section: Mapping[str, Any], name: str) -> tuple[float, float]:
    found = section["results"][name]
    return -found["mean"], found["standard_error"]


def nll(section: Mapping[str, Any]) -> tuple[float, float]:
    """Returns -L_K and its standard error over images, nats."""
    return _negative(section, "log_likelihood")


def negative_elbo(section: Mapping[str, Any]) -> tuple[float, float]:
    """Returns distortion + rate, nats."""
    return _negative(section, "elbo")


def squared_error_cost(section: Mapping[str, Any]) -> tuple[float, float]:
    """Returns half the squared error + rate: a Normal's, without its constant."""
    value, error = negative_elbo(section)
    return value - _NORMAL_CONSTANT, error


def accuracy(evaluation: Mapping[str, Any]) -> tuple[float, float]:
    """Returns how many of a hundred test images q(y|x) gives their class."""
    found = evaluation["classification"]
    share = found["accuracy"]
    return 100 * share, 100 * math.sqrt(share * (1 - share) / found["num_images"])


def section_of(evaluation: Mapping[str, Any], quantity: str) -> Mapping[str, Any]:
    """Returns what was found of the model that a quantity is of."""
    return evaluation["discrete_twin"] if quantity == _OF_TWIN else evaluation


_OF_TWIN = "NLL, discrete"
# Each of what `section_of` returns.
QUANTITIES: Mapping[str, Callable[[Mapping[str, Any]], tuple[float, float]]] = {
    "NLL": nll,
    _OF_TWIN: nll,
    "-ELBO": negative_elbo,
    "NLL given the class": nll,
    "NLL of what is observed": nll,
    "accuracy, %": accuracy,
    "test cost": negative_elbo,
    "test cost without constant": squared_error_cost,
}

_THREE = (0, 1, 2)
# The first four of Burda et al.'s eight stages: 1 + 3 + 9 + 27 epochs.
_FOUR_STAGES = ("--epochs", "40")
# In place of 10^7 steps of 64 images at a constant rate; the longer of the two shows
# where the gap to the published values goes.
_SHORT, _LONG = (
    (
        *("--epochs", epochs, "--batch-size", "100"),
        *("--learning-rate", "1e-3", "--learning-rate-schedule", "cosine"),
    )
    for epochs in ("30", "300")
)
_VIMCO = (
    *("--latent", "bernoulli", "--estimator", "vimco"),
    *("--temperature", "None", "--prior-temperature", "None"),
)
# m = 5 of Maddison et al.'s table: BinConcrete, VIMCO; 10^7 steps, L_50000.
_CONCRETE = {
    "200": ("104.9", "101.9"),
    "200nl": ("89.5", "91.4"),
    "200-200": ("99.9", "91.7"),
    "200nl-200nl": ("86.3", "86.4"),
}


def _iwae(recipe: str, references: Mapping[int, str]) -> dict[str, Row]:
    return {
        f"{recipe.removeprefix('mnist-')}-k{k}": Row(
            recipe,
            f"{reference} (3,280 epochs)",
            (*_FOUR_STAGES, "--num-samples", str(k)),
        )
        for k, reference in references.items()
    }


def _concrete(schedule: tuple[str, ...]) -> dict[str, Row]:
    rows = {}
    for name, values in _CONCRETE.items():
        recipe = f"mnist-concrete-{name}"
        relaxed, vimco = (f"{value} (L_50000, 10^7 steps)" for value in values)
        rows[f"concrete-{name}"] = Row(
            recipe, relaxed, schedule, quantity="NLL, discrete"
        )
        rows[f"vimco-{name}"] = Row(recipe, vimco, (*schedule, *_VIMCO))
    return rows


# By the decoder's evaluations in a step, with those of slopes: estimator -> samples.
_ESTIMATORS = {
    2: {"disarm": 1, "reinforce": 2, "bitflip": 1, "rws": 2, "straight_through": 2}
    | {"gumbel_rao": 2, "reinmax": 2},
    3: {"arms": 3, "reinforce": 3, "ugc": 1, "relax": 1, "rebar": 1},
    4: {"double_cv": 2, "rodeo": 2},
}
# The training ELBO after 10^6 steps, as later papers print it.
_PRINTED = {
    "disarm-2": "102.75 (10^6 steps)",
    "rodeo-4": "101.89 (10^6 steps)",
    "arms-3": "100.84 (10^6 steps)",
}
BESIDE = "-5000"  # the end of the name of the row beside another
STEPS_AN_EPOCH = 500  # of 100 images of 50,000
_STEPS, _MORE_STEPS = (("--epochs", epochs) for epochs in ("200", "800"))
# The best three by L_100 after the fewer steps, and DisARM.
_LONGER = ("disarm-2", "gumbel_rao-2", "arms-3", "reinforce-3")
_ANNEALED = (
    *("--latent", "bin_concrete", "--estimator", "pathwise", "--num-samples", "2"),
    *("--temperature-schedule", "exponential", "--temperature-steps", "100000"),
    *("--temperature", "1.0", "--final-temperature", "0.2"),
    *("--prior-temperature", "1.0", "--final-prior-temperature", "0.2"),
)


def _discrete(
    recipe: str, league: str, *, longer: tuple[str, ...] = _LONGER
) -> dict[str, Row]:
    """Returns rows of the protocol: L_100 for three seeds, L_5000 beside for one.

    Args:
        recipe: What is trained.
        league: The table, with which the rows' names begin.
        longer: What is trained with more steps too.
    """
    estimators = {
        f"{estimator}-{evaluations}": (
            *("--estimator", estimator, "--num-samples", str(samples)),
        )
        for evaluations, samples_of in _ESTIMATORS.items()
        for estimator, samples in samples_of.items()
    }
    options = {name: (*given, *_STEPS) for name, given in estimators.items()}
    options["bin_concrete-2"] = (*_ANNEALED, *_STEPS)
    for name in longer:
        options[f"{name}-long"] = (*estimators[name], *_MORE_STEPS)
    rows = {}
    for num_samples, of_short, end in ((100, _THREE, ""), (5000, (0,), BESIDE)):
        for name, given in options.items():
            quantity = _OF_TWIN if "bin_concrete" in given else "NLL"
            of = name.removesuffix("-long")
            own = of_short if of == name else (0,)
            printed = _PRINTED.get(of, "-") if league == "discrete" else "-"
            rows[f"{league}-{name}{end}"] = Row(
                recipe, printed, given, num_samples, quantity, own, league
            )
    return rows


ROWS: Mapping[str, Row] = {
    "best": Row("mnist-best", "84.78 (IWAE, k = 50, 3,280 epochs)"),
    "best-any": Row("mnist-best-any", "-"),
    "best-discrete": Row("mnist-best-discrete", "-"),
    "aevb": Row(
        "mnist-aevb", "a curve", num_samples=100, quantity="-ELBO", seeds=_THREE
    ),
    "aevb-sampled-kl": Row(
        "mnist-aevb",
        "a curve",
        ("--analytic-kl", "False"),
        num_samples=100,
        quantity="-ELBO",
        seeds=_THREE,
    ),
    "mlp400": Row(
        "mnist-mlp400", "a curve", num_samples=100, quantity="-ELBO", seeds=_THREE
    ),
    "mlp500-bernoulli": Row(
        "mnist-mlp500-bernoulli",
        "97.75; its code run again 97.91",
        ("--epochs", "71"),
        num_samples=100,
        quantity="test cost",
        seeds=_THREE,
    ),
    "mlp500-gaussian": Row(
        "mnist-mlp500-gaussian",
        "18.66; its code run again 18.54",
        ("--epochs", "71"),
        num_samples=100,
        quantity="test cost without constant",
        seeds=_THREE,
    ),
    "binconcrete": Row("mnist-binconcrete", "-", num_samples=1000, seeds=_THREE),
    "binconcrete-discrete": Row(
        "mnist-binconcrete",
        "-",
        num_samples=1000,
        quantity="NLL, discrete",
        seeds=_THREE,
    ),
    **_iwae("mnist-iwae", {1: "86.76", 5: "85.54", 50: "84.78"}),
    **_iwae("mnist-dreg", {50: "84.32 (a re-run)"}),
    **_iwae("mnist-iwae-2l", {1: "85.33", 5: "83.89", 50: "82.90"}),
    **_concrete(_SHORT),
    "vimco-200-long": _concrete(_LONG)["vimco-200"],
    "cvae-k5": Row("mnist-cvae", "-", quantity="NLL given the class"),
    "miwae-half": Row("mnist-miwae", "-", quantity="NLL of what is observed"),
    "m2-100": Row(
        "mnist-m2",
        "93.19; the classifier alone 77.12 (up to 100 epochs)",
        ("--epochs", "40"),
        num_samples=10,
        quantity="accuracy, %",
    ),
    "m2-best-100": Row(
        "mnist-m2-best",
        "93.19; the classifier alone 77.12",
        num_samples=10,
        quantity="accuracy, %",
    ),
    "m2-3000": Row(
        "mnist-m2",
        "95.82; the classifier alone 91.08 (up to 100 epochs)",
        ("--epochs", "40", "--labels", "3000"),
        num_samples=10,
        quantity="accuracy, %",
    ),
    **_discrete("mnist-discrete", "discrete"),
    **_discrete("mnist-discrete-linear", "linear", longer=()),
    **_discrete("fashion-discrete", "fashion"),
}
# Rows that are asked for by one name.
GROUPS: Mapping[str, tuple[str, ...]] = {
    league: tuple(name for name, row in ROWS.items() if row.league == league)
    for league in ("discrete", "linear", "fashion")
}
