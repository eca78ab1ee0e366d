"""The commands: each reads its arguments, and then calls the library.

A typed dataclass before each command has its arguments, which tyro reads. TensorFlow is
imported when the arguments are known to be good.
"""

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from tfvae.config import Config
from tfvae.config.cluster import this_worker
from tfvae.config.config import (
    SECTIONS,
    DataSettings,
    MainSettings,
    ModelSettings,
    ObjectiveSettings,
    OptimisationSettings,
    RunSettings,
)
from tfvae.config.plots import PLOT_KINDS
from tfvae.config.recipes import RECIPES
from tfvae.config.settings import (
    Annealing,
    Benchmarking,
    Checkpointing,
    Detection,
    Distribution,
    Imputing,
    Monitoring,
    Scoring,
)
from tfvae.config.steps import choose_threads
from tfvae.core.lookup import lookup, nearest
from tfvae.core.startup import import_tensorflow, is_terminal
from tfvae.core.types import InputError

_TYRO_CONFIG = (tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes)
_BENCHMARKED = "digits-binconcrete"  # by default: it needs no download


@dataclasses.dataclass(frozen=True)
class RecipeArguments:
    """A recipe's settings, in the groups that the help text shows."""

    main: MainSettings
    data: DataSettings
    model: ModelSettings
    objective: ObjectiveSettings
    optimisation: OptimisationSettings
    run: RunSettings

    @property
    def config(self) -> Config:
        """The configuration of all groups together."""
        values: dict[str, Any] = {}
        for name in SECTIONS:
            values |= vars(getattr(self, name))
        return Config(**values)


def _grouped(config: Config) -> dict[str, Any]:
    """Returns a configuration's values as the groups of `RecipeArguments`."""
    values = vars(config)
    return {
        section: kind(**{name: values[name] for name in typing.get_type_hints(kind)})
        for section, kind in SECTIONS.items()
    }


@dataclasses.dataclass(frozen=True)
class TrainArguments(RecipeArguments):
    """Train a run in its folder, or go on with one that was stopped."""

    distribution: Distribution
    monitoring: Monitoring
    checkpointing: Checkpointing
    workdir: Path
    """The run's folder: new, empty, or of the same settings."""
    allow_changed: tuple[str, ...] = ()
    """Settings that may differ from those of the run that the folder holds."""


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
    if name.startswith("-"):
        raise InputError(
            f"train needs a recipe before {name}; choose one of {', '.join(RECIPES)}"
        )
    recipe = lookup(RECIPES, name, "recipe")
    default = TrainArguments(
        **_grouped(recipe.config),
        distribution=Distribution(),
        monitoring=Monitoring(),
        checkpointing=Checkpointing(),
        workdir=tyro.MISSING,
    )
    about = f"{recipe.summary[0].upper()}{recipe.summary[1:]}."
    given = _parse(
        TrainArguments, f"train {name}", rest, default=default, description=about
    )
    config = given.config
    if given.distribution.strategy == "multi_worker":
        this_worker(os.environ)
    note = choose_threads(config)
    import_tensorflow()
    from tfvae.training import train

    if note is not None:
        print(f"note: {note}")

    run = train(
        config,
        given.workdir,
        monitoring=given.monitoring,
        checkpointing=given.checkpointing,
        allow_changed=given.allow_changed,
        distribution=given.distribution,
    )
    print(f"model, history and logs: {run.folder.path}")


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """Score a run's model: bounds on log p(x), and what its latent variables do."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    scoring: Annotated[Scoring, tyro.conf.arg(name="")]
    annealing: tyro.conf.FlagCreatePairsOff[
        Annotated[Annealing, tyro.conf.arg(name="")]
    ]


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


@dataclasses.dataclass(frozen=True)
class CompareArguments:
    """Score two runs on the same images: the difference, and its paired error."""

    first: tyro.conf.Positional[Path]
    """A run's folder."""
    second: tyro.conf.Positional[Path]
    """Another's."""
    scoring: Annotated[Scoring, tyro.conf.arg(name="")]


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


@dataclasses.dataclass(frozen=True)
class DetectArguments:
    """Find outliers: p-values of images, from a run's held-out ones, as a CSV file."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    data: tyro.conf.Positional[str]
    """A data set's name, as of train --dataset, or a .npy or .npz file of images."""
    out: Path
    """The CSV file to write: index, score, p_value, flagged."""
    detection: Annotated[Detection, tyro.conf.arg(name="")]
    alpha: float = 0.01
    """The share of false alarms that is accepted; p-values up to it are flagged."""
    data_dir: str | None = None
    """TFDS' folder of prepared data; None: the run's, for the run's data set."""
    manual_dir: str | None = None
    """A folder with the original files; None: the run's, for the run's data set."""


def detect_command(arguments: Sequence[str]) -> None:
    """`tfvae detect DIR DATA --out FILE [--alpha 0.01] [--score NAME]`."""
    given = _parse(DetectArguments, "detect", arguments)
    import_tensorflow()
    from tfvae.reports import detect_run, detection_text

    found = detect_run(
        given.run,
        given.data,
        given.out,
        given.alpha,
        data_dir=given.data_dir,
        manual_dir=given.manual_dir,
        progress_bar=is_terminal(sys.stdout),
        **dataclasses.asdict(given.detection),
    )
    print(detection_text(found))


@dataclasses.dataclass(frozen=True)
class ImputeArguments:
    """Fill in missing values of images by a run's model: means, draws, intervals."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A .npy or .npz file of images, in which NaN, or observed False, is missing."""
    out: Path
    """The .npz file to write: mean, draws, lower, upper, ess."""
    imputing: Annotated[Imputing, tyro.conf.arg(name="")]


def impute_command(arguments: Sequence[str]) -> None:
    """`tfvae impute DIR FILE --out FILE [--num-draws M] [--interval 0.9]`."""
    given = _parse(ImputeArguments, "impute", arguments)
    import_tensorflow()
    from tfvae.reports import imputation_text, impute_run

    settings = dataclasses.asdict(given.imputing)
    print(imputation_text(impute_run(given.run, given.data, given.out, **settings)))


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """Draw a run's pictures, as PNG files in its folder."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    kind: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="KIND")] = (
        None
    )
    """One picture; None: all that are defined for the run."""
    seed: int = 0
    """The seed of all draws."""


def plot_command(arguments: Sequence[str]) -> None:
    """`tfvae plot DIR [KIND]`."""
    kinds = "\n".join(f"  {name:20} {text}" for name, text in PLOT_KINDS.items())
    description = f"{PlotArguments.__doc__}\n\nKIND is one of:\n\n{kinds}"
    given = _parse(PlotArguments, "plot", arguments, description=description)
    if given.kind is not None:
        lookup(PLOT_KINDS, given.kind, "picture (KIND)")
    import_tensorflow()
    from tfvae.reports import plot_run

    plots = plot_run(given.run, given.kind, given.seed)
    for path in plots.paths:
        print(path)
    for name, reason in plots.skipped.items():
        print(f"no {name}: {reason}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """Write a run's report: one HTML page with settings, numbers and pictures."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    seed: int = 0
    """The seed of all draws."""


def report_command(arguments: Sequence[str]) -> None:
    """`tfvae report DIR`."""
    given = _parse(ReportArguments, "report", arguments)
    import_tensorflow()
    from tfvae.reports.html import report_run

    print(report_run(given.run, given.seed))


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Write a run's model as the next version of a model to serve."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    path: tyro.conf.Positional[Path]
    """The folder of the model's versions, for example saved_models/digits."""
    num_samples: int | None = None
    """K of the signatures score and impute; None: that of tfvae detect, or 100."""
    format: tuple[str, ...] = ("savedmodel",)
    """One or more of savedmodel, onnx (needs tfvae[onnx]), litert (needs tfvae[litert])
    and web, a page that decodes in a browser: page.html in the version's folder."""
    quantize: tuple[str, ...] = ()
    """Smaller files of litert beside the whole one: float16, int8, or both."""


def export_command(arguments: Sequence[str]) -> None:
    """`tfvae export DIR saved_models/NAME`."""
    given = _parse(ExportArguments, "export", arguments)
    import_tensorflow()
    from tfvae.reports import export_run
    from tfvae.reports.exporting import left_out

    version = export_run(
        given.run, given.path, given.num_samples, given.format, given.quantize
    )
    print(version)
    reason = left_out(version)
    if reason is not None:
        print(f"p_value is {reason}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class VerifyArguments:
    """Replay an exported model's recorded requests with its runtimes alone."""

    path: tyro.conf.Positional[Path]
    """saved_models/NAME, for its latest version, or saved_models/NAME/VERSION."""


def verify_command(arguments: Sequence[str]) -> None:
    """`tfvae verify saved_models/NAME[/VERSION]`."""
    given = _parse(VerifyArguments, "verify", arguments)
    import_tensorflow()
    from tfvae.export.verify import verification_text, verify_saved_model

    print(verification_text(verify_saved_model(given.path)))


@dataclasses.dataclass(frozen=True)
class BenchmarkArguments(RecipeArguments):
    """Time training and evaluation, and the matrix products in them alone."""

    settings: Annotated[Benchmarking, tyro.conf.arg(name="")]
    serving: tyro.conf.FlagCreatePairsOff[bool] = False
    """Time requests to the exported model instead, beside the Keras model's calls."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one line of JSON, and no table."""


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
        default=BenchmarkArguments(**_grouped(recipe.config), settings=Benchmarking()),
        description=(
            "Time training and evaluation of a recipe, and the matrix products in them "
            f"alone: tfvae benchmark [RECIPE], by default {_BENCHMARKED}."
        ),
    )
    config = given.config
    if given.serving:
        given.settings.check_serving()
    choose_threads(config)  # the result has their number among the versions
    import_tensorflow()
    from tfvae.benchmark import (
        benchmark_text,
        run_benchmark,
        run_serving_benchmark,
        serving_text,
    )

    if given.serving:
        served = run_serving_benchmark(config, given.settings)
        print(json.dumps(served.to_dict()) if given.json else serving_text(served))
        return
    progress = _progress if is_terminal(sys.stderr) else None
    result = run_benchmark(config, given.settings, progress)
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
            if value is not None and value != []:  # is set, or has a default in use
                print(f"  {name:24} {value}")


COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "compare": compare_command,
    "detect": detect_command,
    "impute": impute_command,
    "plot": plot_command,
    "report": report_command,
    "export": export_command,
    "verify": verify_command,
    "benchmark": benchmark_command,
    "recipes": recipes_command,
}


def _parse(
    kind: type, command: str, arguments: Sequence[str], flags: bool = False, **kwargs
) -> Any:
    """Reads arguments, and with `flags` those without a value too."""
    config = _TYRO_CONFIG[1:] if flags else _TYRO_CONFIG
    prog = f"tfvae {command}"
    if "" in arguments:  # as a path it would be this folder
        raise InputError(
            f"argument {list(arguments).index('') + 1} of {prog} is empty; give a "
            "value, or leave it out"
        )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=prog, args=arguments, config=config, **kwargs)
    except SystemExit as left:
        if not left.code:
            raise  # it has printed its help
    message = _in_one_line(said.getvalue())
    for argument in arguments:
        # The box may break a line within it.
        said_so = argument in message.replace(" ", "")
        if re.fullmatch(r"\d+(,\d+)+,?", argument) and said_so:
            message += f"; separate with spaces, {argument.replace(',', ' ')}"
    raise InputError(f"{message}; see {prog} --help")


def _in_one_line(box: str) -> str:
    """Returns what tyro says in a box of several parts, of which the last is advice."""
    # Its lines are of ASCII characters where the terminal has no others.
    lines = [line.strip("\u2502| ") for line in box.splitlines()[1:-1]]
    parts = re.split("[\u2500-]{4,}", " ".join(lines))
    first, *others = [part.strip() for part in parts if part.strip()]
    choice = re.search(r"invalid choice '(.*)' for argument '(.*)'\. .*\((.*)\)", first)
    if choice:
        given, argument, known = choice.groups()
        names = re.findall(r"'([^']*)'", known)
        near = nearest(given, names)
        return f"{argument} {given!r} is unknown; {near}choose one of {known}"
    meant = [re.sub(r" +", " ", part) for part in others if part.startswith("Perhaps")]
    return "; ".join([re.sub(r" +", " ", first), *meant])


def _progress(text: str) -> None:
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


def _print_recipes() -> None:
    for name, recipe in RECIPES.items():
        print(f"{name:20} {recipe.summary}")
