"""The command `tfvae`.

Each command's arguments are a typed dataclass that tyro reads. TensorFlow is imported
when the arguments are known to be good.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfvae.benchmark.settings import Settings
from tfvae.config import Config
from tfvae.lookup import lookup
from tfvae.recipes import RECIPES
from tfvae.startup import import_tensorflow, is_terminal
from tfvae.types import InputError
from tfvae.version import __version__

_TYRO_CONFIG = (tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes)
_BENCHMARKED = "digits-binconcrete"  # by default: it needs no download


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """Train a run in its folder, or go on with one that was stopped."""

    workdir: Path
    """The run's folder: new, empty, or of the same settings."""
    config: Annotated[Config, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """Score a run's model: bounds on log p(x), with their standard errors."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    num_samples: int = 1000
    """K, the samples of z per image."""
    split: Literal["test", "validation", "train"] = "test"
    """Which images."""
    limit: int | None = None
    """Only the first so many images."""
    seed: int = 0
    """Of the samples."""
    batch_size: int = 100
    """Images at a time."""
    chunk_size: int | None = None
    """Samples at a time; None: what fits into about 64 MiB a tensor."""


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """Draw a run's pictures: reconstructions, samples, a traversal, training curves."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    seed: int = 0
    """Of the samples."""


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Write a run's model as the next version of a SavedModel."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    path: tyro.conf.Positional[Path]
    """The folder of the model's versions, for example saved_models/digits."""


@dataclasses.dataclass(frozen=True)
class BenchmarkArguments:
    """Time training and evaluation, and the matrix products in them alone."""

    settings: Annotated[Settings, tyro.conf.arg(name="")]
    config: tyro.conf.FlagConversionOff[Annotated[Config, tyro.conf.arg(name="")]]
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one line of JSON, and no table."""


def train_command(arguments: Sequence[str]) -> None:
    """`tfvae train RECIPE --workdir DIR [--any-field VALUE ...]`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: tfvae train RECIPE --workdir DIR [--any-field VALUE ...]\n")
        print("Every field can be seen with: tfvae train RECIPE --help\n")
        _print_recipes()
        if not arguments:
            raise InputError("train needs a recipe; choose one of the above")
        return
    name, *rest = arguments
    recipe = lookup(RECIPES, name, "recipe")
    given = _parse(
        TrainArguments,
        f"train {name}",
        rest,
        default=TrainArguments(tyro.MISSING, recipe.config),
        description=f"{recipe.summary[0].upper()}{recipe.summary[1:]}.",
    )
    import_tensorflow()
    from tfvae.training import train

    run = train(given.config, given.workdir)
    print(f"model, history and logs: {run.folder.path}")


def evaluate_command(arguments: Sequence[str]) -> None:
    """`tfvae evaluate DIR [--num-samples K]`."""
    given = _parse(EvaluateArguments, "evaluate", arguments)
    import_tensorflow()
    from tfvae.reports import evaluate_run, evaluation_text

    evaluation = evaluate_run(
        given.run,
        num_samples=given.num_samples,
        split=given.split,
        limit=given.limit,
        seed=given.seed,
        batch_size=given.batch_size,
        chunk_size=given.chunk_size,
        progress_bar=is_terminal(sys.stdout),
    )
    print(evaluation_text(evaluation))


def plot_command(arguments: Sequence[str]) -> None:
    """`tfvae plot DIR`."""
    given = _parse(PlotArguments, "plot", arguments)
    import_tensorflow()
    from tfvae.reports import plot_run

    for path in plot_run(given.run, given.seed):
        print(path)


def export_command(arguments: Sequence[str]) -> None:
    """`tfvae export DIR saved_models/NAME`."""
    given = _parse(ExportArguments, "export", arguments)
    import_tensorflow()
    from tfvae.export import export_saved_model
    from tfvae.runs import load_run

    print(export_saved_model(load_run(given.run).vae, given.path))


def benchmark_command(arguments: Sequence[str]) -> None:
    """`tfvae benchmark [RECIPE] [--any-field VALUE ...] [--json]`."""
    named = bool(arguments) and not arguments[0].startswith("-")
    name, *rest = arguments if named else (_BENCHMARKED, *arguments)
    recipe = lookup(RECIPES, name, "recipe")
    given = _parse(
        BenchmarkArguments,
        f"benchmark {name}",
        rest,
        flags=True,
        default=BenchmarkArguments(Settings(), recipe.config),
        description=(
            "Time training and evaluation of a recipe, and the matrix products in them "
            f"alone: tfvae benchmark [RECIPE], by default {_BENCHMARKED}."
        ),
    )
    import_tensorflow()
    from tfvae.benchmark import benchmark_text, run_benchmark

    progress = _progress if is_terminal(sys.stderr) else None
    result = run_benchmark(given.config, given.settings, progress)
    print(json.dumps(result.to_dict()) if given.json else benchmark_text(result))


def recipes_command(arguments: Sequence[str]) -> None:
    """`tfvae recipes [NAME]`."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(
            "usage: tfvae recipes [NAME]\n\nList the recipes, or show one's settings."
        )
    elif not arguments:
        _print_recipes()
    elif len(arguments) > 1:
        raise InputError(f"recipes takes one name, not {len(arguments)}")
    else:
        recipe = lookup(RECIPES, arguments[0], "recipe")
        print(f"{arguments[0]}: {recipe.summary}\nsource: {recipe.source}\n")
        for name, value in recipe.config.to_dict().items():
            print(f"  {name:24} {value}")


COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "plot": plot_command,
    "export": export_command,
    "benchmark": benchmark_command,
    "recipes": recipes_command,
}

_HELP = """usage: tfvae COMMAND ...

Train, evaluate, draw, export and time variational autoencoders.

commands:
  train RECIPE --workdir DIR  train a run, or go on with one that was stopped
  evaluate DIR                bounds on log p(x), with their standard errors
  plot DIR                    reconstructions, samples, a traversal, training curves
  export DIR PATH             a SavedModel in the next version folder of PATH
  benchmark [RECIPE]          images per second, and what part of the limit that is
  recipes [NAME]              list the recipes, or show one's settings

Each command explains itself with --help; --version prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, or 2 for bad input."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_HELP)
        return 0
    if name == "--version":
        print(f"tfvae {__version__}")
        return 0
    try:
        lookup(COMMANDS, name, "command")(arguments[1:])
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except (OSError, ImportError, MemoryError, RecursionError, OverflowError) as error:
        return _refuse(_in_one_line(error))
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        return _refuse(_in_one_line(error))
    except KeyboardInterrupt:
        print("tfvae: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _refuse(message: str) -> int:
    print(f"tfvae: {message}", file=sys.stderr)
    return 2


def _in_one_line(error: BaseException) -> str:
    """What the system or TensorFlow says, without its later lines."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first:.300}"


def _parse(
    kind: type, command: str, arguments: Sequence[str], flags: bool = False, **kwargs
) -> Any:
    """Reads arguments; `flags`: those without a value too."""
    config = _TYRO_CONFIG[1:] if flags else _TYRO_CONFIG
    prog = f"tfvae {command}"
    return tyro.cli(kind, prog=prog, args=arguments, config=config, **kwargs)


def _progress(text: str) -> None:
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


def _print_recipes() -> None:
    for name, recipe in RECIPES.items():
        print(f"{name:20} {recipe.summary}")
