#!/usr/bin/env python
"""Trains, scores and writes the presets of the package; see --help.

A run lies in runs/presets/NAME. What its folder holds already is not done again, and a
run that was stopped goes on. The same versions, processor and number of threads make
the same weights; others make ones that differ by rounding, which training carries on.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfvae.config.recipes import RECIPES
from tfvae.core.types import InputError
from tfvae.models.presets.places import PACKAGED
from tfvae.reports import evaluate_run, export_preset
from tfvae.training import train

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 1 << 20  # of a file of the repository
_DIGITS = (
    "data: Alpaydin and Kaynak's optical digits (UCI, CC BY 4.0), as scikit-learn has "
    "them; weights: Apache 2.0"
)
_MNIST = "data: LeCun and Cortes' MNIST (CC BY-SA 3.0); weights: Apache 2.0"


class Source(NamedTuple):
    """How a preset is trained.

    Attributes:
        recipe: The recipe.
        description: One line for people.
        licence: The terms of the data and of the weights.
        changes: The fields that differ from the recipe.
        num_samples: K of its score.
    """

    recipe: str
    description: str
    licence: str
    changes: Mapping[str, Any] = {}
    num_samples: int = 1000


SOURCES: Mapping[str, Source] = {
    "digits-binconcrete": Source(
        "digits-binconcrete",
        "32 relaxed Bernoulli variables, on 8 x 8 digits",
        _DIGITS,
        {"epochs": 100},
    ),
    "digits-cvae": Source(
        "digits-cvae", "p(x|class) of 8 x 8 digits, with a learned p(z|class)", _DIGITS
    ),
    "digits-m2": Source(
        "mnist-m2",
        "semi-supervised: 100 labels of 8 x 8 digits, the other classes summed out",
        _DIGITS,
        {
            "dataset": "digits",
            "validation_size": 0,
            "binarization": "dynamic",
            "grey_targets": False,
            "labels": 100,
            "label_repeats": 10,
            "latent_size": 10,
            "hidden_sizes": (128,),
            "output_start": "mean",
            "activation": "relu",
            "learning_rate": 2e-3,
            "batch_size": 100,
            "epochs": 60,
        },
    ),
    "mnist-small": Source(
        "mnist-best",
        "mnist-best's training with layers of 128 and 64, 20 variables, relu, 50 "
        "components and float32, so that it is small",
        _MNIST,
        {
            "hidden_sizes": (128, 64),
            "latent_size": 20,
            "epochs": 50,
            "activation": "relu",
            "center_inputs": False,
            "num_components": 50,
            "dtype_policy": "float32",
        },
        num_samples=100,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Makes what is asked for.

    Args:
        argv: The arguments; None: the program's.
    """
    args = _parser().parse_args(argv)
    for name in args.names or SOURCES:
        if name not in SOURCES:
            print(f"make_presets: there is no preset {name!r}", file=sys.stderr)
            return 2
        try:
            make(name, args)
        except InputError as error:
            print(f"make_presets: {name}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as error:
            print(f"make_presets: {name}: {error}", file=sys.stderr)
            return 130
    return 0


def make(name: str, args: argparse.Namespace) -> None:
    """Trains, scores and writes one preset, in the place of the one that was there."""
    source = SOURCES[name]
    run = args.runs / name
    config = dataclasses.replace(RECIPES[source.recipe].config, **source.changes)
    if config.dataset == "mnist":  # else the folders would have no effect
        config = dataclasses.replace(
            config, manual_dir=args.manual_dir, data_dir=args.data_dir
        )
    train(config, run)
    evaluate_run(run, num_samples=source.num_samples)
    target, new = args.out / name, args.out / ".new" / name  # the card has its name
    shutil.rmtree(new.parent, ignore_errors=True)
    command = f"scripts/make_presets.py {name}"
    export_preset(run, new, source.description, command, source.licence)
    for path in new.iterdir():
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} is larger than {MOST_BYTES:,} bytes")
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
    new.parent.rmdir()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SOURCES)}; all")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "presets")
    parser.add_argument("--out", type=Path, default=PACKAGED)
    parser.add_argument("--manual-dir", help="the folder of MNIST's four files")
    parser.add_argument("--data-dir", help="where prepared data are kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
