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
from typing import Any

import tyro

from tfvae.benchmark.settings import Settings
from tfvae.checkpoints import Checkpointing
from tfvae.cli.arguments import (
    BenchmarkArguments,
    CompareArguments,
    EvaluateArguments,
    ExportArguments,
    PlotArguments,
    ReportArguments,
    TrainArguments,
    VerifyArguments,
)
from tfvae.lookup import lookup
from tfvae.monitoring.settings import Monitoring
from tfvae.pictures import KINDS
from tfvae.recipes import RECIPES
from tfvae.replicas.cluster import this_worker
from tfvae.replicas.settings import Distribution
from tfvae.startup import import_tensorflow, is_terminal
from tfvae.types import LOST_WORKER, InputError, LostWorkerError
from tfvae.version import __version__

_TYRO_CONFIG = (tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes)
_BENCHMARKED = "digits-binconcrete"  # by default: it needs no download


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
        default=TrainArguments(
            tyro.MISSING, Distribution(), Monitoring(), Checkpointing(), recipe.config
        ),
        description=f"{recipe.summary[0].upper()}{recipe.summary[1:]}.",
    )
    if given.distribution.strategy == "multi_worker":
        this_worker(os.environ)
    import_tensorflow()
    from tfvae.training import train

    run = train(
        given.config,
        given.workdir,
        monitoring=given.monitoring,
        checkpointing=given.checkpointing,
        allow_changed=given.allow_changed,
        distribution=given.distribution,
    )
    print(f"model, history and logs: {run.folder.path}")


def evaluate_command(arguments: Sequence[str]) -> None:
    """`tfvae evaluate DIR [--num-samples K] [--ais]`."""
    given = _parse(EvaluateArguments, "evaluate", arguments, flags=True)
    import_tensorflow()
    from tfvae.reports import evaluate_run, evaluation_text

    evaluation = evaluate_run(
        given.run,
        given.annealing,
        progress_bar=is_terminal(sys.stdout),
        **dataclasses.asdict(given.scoring),
    )
    print(evaluation_text(evaluation))


def compare_command(arguments: Sequence[str]) -> None:
    """`tfvae compare DIR1 DIR2 [--num-samples K]`."""
    given = _parse(CompareArguments, "compare", arguments)
    import_tensorflow()
    from tfvae.reports import compare_runs, comparison_text

    comparison = compare_runs(
        given.first,
        given.second,
        progress_bar=is_terminal(sys.stdout),
        **dataclasses.asdict(given.scoring),
    )
    print(comparison_text(comparison))


def plot_command(arguments: Sequence[str]) -> None:
    """`tfvae plot DIR [KIND]`."""
    kinds = "\n".join(f"  {name:20} {text}" for name, text in KINDS.items())
    description = f"{PlotArguments.__doc__}\n\nKIND is one of:\n\n{kinds}"
    given = _parse(PlotArguments, "plot", arguments, description=description)
    if given.kind is not None:
        lookup(KINDS, given.kind, "picture (KIND)")
    import_tensorflow()
    from tfvae.reports import plot_run

    plots = plot_run(given.run, given.kind, given.seed)
    for path in plots.paths:
        print(path)
    for name, reason in plots.skipped.items():
        print(f"no {name}: {reason}", file=sys.stderr)


def report_command(arguments: Sequence[str]) -> None:
    """`tfvae report DIR`."""
    given = _parse(ReportArguments, "report", arguments)
    import_tensorflow()
    from tfvae.html_report import report_run

    print(report_run(given.run, given.seed))


def export_command(arguments: Sequence[str]) -> None:
    """`tfvae export DIR saved_models/NAME`."""
    given = _parse(ExportArguments, "export", arguments)
    import_tensorflow()
    from tfvae.reports import export_run

    print(export_run(given.run, given.path, given.num_samples))


def verify_command(arguments: Sequence[str]) -> None:
    """`tfvae verify saved_models/NAME[/VERSION]`."""
    given = _parse(VerifyArguments, "verify", arguments)
    from tfvae.export.verify import verification_text, verify_saved_model

    print(verification_text(verify_saved_model(given.path)))


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
    if given.serving:
        given.settings.check_serving()
    import_tensorflow()
    from tfvae.benchmark import (
        benchmark_text,
        run_benchmark,
        run_serving_benchmark,
        serving_text,
    )

    if given.serving:
        served = run_serving_benchmark(given.config, given.settings)
        print(json.dumps(served.to_dict()) if given.json else serving_text(served))
        return
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
    "compare": compare_command,
    "plot": plot_command,
    "report": report_command,
    "export": export_command,
    "verify": verify_command,
    "benchmark": benchmark_command,
    "recipes": recipes_command,
}

_HELP = """usage: tfvae COMMAND ...

Train, evaluate, compare, draw, export and time variational autoencoders.

commands:
  train RECIPE --workdir DIR  train a run, or go on with one that was stopped
  evaluate DIR                bounds on log p(x), with their standard errors
  compare DIR1 DIR2           the difference of two runs on the same images
  plot DIR [KIND]             reconstructions, samples, traversals, rates, curves, ...
  report DIR                  one HTML page with settings, numbers and pictures
  export DIR PATH             a SavedModel in the next version folder of PATH
  verify PATH                 replay an exported model's requests, TensorFlow alone
  benchmark [RECIPE]          images per second, and what part of the limit that is
  recipes [NAME]              list the recipes, or show one's settings

Each command explains itself with --help; --version prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for bad input, or 75.

    75 (EX_TEMPFAIL) says that another worker ended, and the same command may go on.
    """
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
    except LostWorkerError as error:
        return _leave(str(error))
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except (OSError, ImportError, MemoryError, RecursionError, OverflowError) as error:
        return _refuse(_in_one_line(error))
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        return _refuse(_in_one_line(error))
    except KeyboardInterrupt as interrupted:
        resumes = "; the same command goes on" if name == "train" else ""
        message = str(interrupted) or f"interrupted{resumes}"
        print(f"tfvae: {message}", file=sys.stderr)
        return getattr(interrupted, "status", 130)
    return 0


def _refuse(message: str) -> int:
    # What a file says may hold control characters, or what ends a line.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"tfvae: {shown}", file=sys.stderr)
    return 2


def _leave(message: str) -> int:
    """Ends this process as it is: TensorFlow would wait for the worker that is gone."""
    print(f"tfvae: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(LOST_WORKER)


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
