"""Trains and scores the rows of the table of results in docs/results.md; see --help.

A run lies in runs/results, named after its recipe and options, so that rows which
differ in the quantity alone share it. What a run's folder holds already is not done
again, and a run that was stopped goes on. The first seed of all rows comes before the
second of any. What was found stands in docs/results/ROW.json, where a run takes the
place of the one with its seed, and other seeds stay if they had the same settings. The
tables in docs/results.md and docs/discrete.md are made from these files.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from result_rows import (
    BESIDE,
    GROUPS,
    QUANTITIES,
    ROWS,
    STEPS_AN_EPOCH,
    Row,
    section_of,
)

from tfvae.config.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.core.types import InputError

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / "docs" / "results"
_COLUMNS = (
    *("row", "recipe and options", "source", "reference", "ours", "quantity", "K"),
    *("binarisation", "split", "epochs", "minutes"),
)
# What docs/results has had of a row, and of each of its runs, from the first.
_OF_A_ROW = {"train", "settings", "num_samples", "quantity", "runs"}
_OF_A_RUN = {"seed", "value", "standard_error", "minutes"}
# Settings that say where images lie, or which of the runs it is.
_OF_THE_PLACE = ("dataset", "data_dir", "manual_dir", "seed")
_LEAGUE_COLUMNS = (
    *("estimator", "S", "evaluations", "steps", "-ELBO in training", "printed"),
    *("-L_100, test", "-L_5000, test"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is asked for, and makes the table anew.

    Args:
        argv: The arguments; None: the program's.
    """
    args = _parser().parse_args(argv)
    unknown = [name for name in args.rows if name not in (*ROWS, *GROUPS)]
    if unknown:
        print(
            f"results: there is no row {unknown[0]!r}; --list shows them",
            file=sys.stderr,
        )
        return 2
    asked = args.rows or list(ROWS)
    names = [name for each in asked for name in GROUPS.get(each, (each,))]
    if args.list:
        for name in names:
            state = "done" if _found_file(name).exists() else "not yet"
            print(f"{name:24} {state:8} tfvae train {shlex.join(_train(ROWS[name]))}")
        return 0
    try:
        _all_found()  # one that cannot be read is said before hours of training
        if not args.table:
            most = max(len(ROWS[name].seeds) for name in names)
            for place in range(min(most, args.seeds or most)):
                for name in names:
                    if status := _do_row(name, place, args):
                        return status
        write_tables()
    except InputError as error:
        print(f"results: {error}", file=sys.stderr)
        return 2
    return 0


def write_tables() -> None:
    """Makes the tables of the pages anew from docs/results."""
    for name in ("results", "discrete"):
        page = ROOT / "docs" / f"{name}.md"
        page.write_text(with_results(page.read_text("utf-8")), encoding="utf-8")


def with_results(page: str) -> str:
    """Returns a page with the tables of what stands in docs/results.

    Args:
        page: The page, with two marks around each of its tables.
    """
    found = _all_found()
    page = _with_table(
        page,
        "results",
        _COLUMNS,
        [
            _cells(name, ROWS[name], values)
            for name, values in found.items()
            if not ROWS[name].league
        ],
    )
    for league in GROUPS:
        lines = [
            _league_cells(ROWS[name], values, found.get(name + BESIDE))
            for name, values in found.items()
            if ROWS[name].league == league and not name.endswith(BESIDE)
        ]
        page = _with_table(page, league, _LEAGUE_COLUMNS, lines)
    return page


def _with_table(
    page: str, mark: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """Returns a page with another table between its marks, if it has them."""
    start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    if start not in page:
        return page
    before, rest = page.split(start)
    _, after = rest.split(end)
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    lines.insert(1, "|---" * len(columns) + "|")
    return before + start + "\n".join(lines) + "\n" + end + after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/results", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"by default all; several by one name: {', '.join(GROUPS)}",
    )
    parser.add_argument(
        "--manual-dir", help="the four MNIST files, where there is no network"
    )
    parser.add_argument(
        "--fashion-dir",
        help="the four files of Fashion-MNIST, for example of Debian's package "
        "dataset-fashion-mnist",
    )
    parser.add_argument("--data-dir", help="where TFDS keeps prepared data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "results")
    parser.add_argument(
        "--seeds", type=_count, help="the most of a row; by default all it has"
    )
    parser.add_argument(
        "--missing", action="store_true", help="leave out what docs/results has"
    )
    parser.add_argument("--list", action="store_true", help="what there is to run")
    parser.add_argument("--table", action="store_true", help="make the table alone")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count of 1 or more")
    return int(text)


def _do_row(name: str, place: int, args: argparse.Namespace) -> int:
    """Trains and scores the row's run of one seed, and writes down what was found.

    Returns the exit status of what failed, or 0.
    """
    row = ROWS[name]
    if place >= len(row.seeds):
        return 0
    seed = row.seeds[place]
    # That its settings are those of the command, the tests hold.
    if args.missing and seed in _recorded(name, _asked(row)):
        print(f"-- {name}, seed {seed}: is in {_found_file(name)}")
        return 0
    folder = _folder(row, seed, args.runs)
    print(f"-- {name}, seed {seed}: {folder}", flush=True)
    train = [*_train(row), "--seed", str(seed), *_data(row, args)]
    if status := _tfvae("train", [*train, "--workdir", str(folder)]):
        return status
    if not _is_scored(row, folder):
        how = ["--num-samples", str(row.num_samples)]
        if status := _tfvae("evaluate", [str(folder), *how]):
            return status
        scored = _read(folder / "evaluation.json") | {"revision": _revision()}
        _write(_evaluation(row, folder), scored)
    common, run = _collect(row, seed, folder)
    runs = _recorded(name, common) | {seed: run}
    if dropped := sorted(_recorded(name, {}).keys() - runs.keys()):
        print(f"results: {name} had other settings with seeds {dropped}: left out")
    FOUND.mkdir(parents=True, exist_ok=True)
    in_order = [runs[seed] for seed in row.seeds if seed in runs]
    _write(_found_file(name), common | {"runs": in_order})
    return 0


def _recorded(name: str, common: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Returns what stands there by seed, if it has all of this in common with it."""
    before = _found(name)
    if before is None:
        return {}
    same = _completed(before) | _completed(common) == _completed(before)
    return {run["seed"]: run for run in before["runs"]} if same else {}


def _completed(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what was found with all settings, if it has any.

    A setting that came later has the default that had been the rule.
    """
    if "settings" not in found:
        return dict(found)
    return {**found, "settings": settings_of(Config().to_dict() | found["settings"])}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    aside = path.with_suffix(".partial")
    aside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, path)


def _train(row: Row) -> list[str]:
    return [row.recipe, *row.options]


def _asked(row: Row) -> dict[str, str]:
    """Returns the commands and the quantity of a row, as its file has them."""
    return {
        "train": f"tfvae train {shlex.join(_train(row))} --seed SEED --workdir DIR",
        "evaluate": f"tfvae evaluate DIR --num-samples {row.num_samples}",
        "quantity": row.quantity,
    }


def _data(row: Row, args: argparse.Namespace) -> list[str]:
    """Returns the options that say where the row's images are."""
    options = {"--data-dir": args.data_dir, "--manual-dir": args.manual_dir}
    if RECIPES[row.recipe].config.dataset == "fashion_mnist":
        options.pop("--manual-dir")
        if args.fashion_dir is not None:
            return ["--dataset", f"idx:{os.path.abspath(args.fashion_dir)}"]
    given = {name: path for name, path in options.items() if path is not None}
    return [word for o, path in given.items() for word in (o, os.path.abspath(path))]


def _folder(row: Row, seed: int, runs: Path) -> Path:
    words = "-".join(word.removeprefix("--") for word in _train(row))
    return runs / f"{words}-seed-{seed}"


def _evaluation(row: Row, folder: Path) -> Path:
    """Returns where the row's evaluation is kept, beside those with another K."""
    return folder / f"evaluation-{row.num_samples}.json"


def _tfvae(command: str, arguments: Sequence[str]) -> int:
    program = [sys.executable, "-m", "tfvae", command]
    return subprocess.run([*program, *arguments]).returncode


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run that a row is held to.

    A recipe can change under its name; a row whose settings are no longer those of its
    command is to be run again.

    Args:
        config: All settings, as `config.json` has them; None is what has no effect.
    """
    return {
        name: value
        for name, value in config.items()
        if value is not None and name not in _OF_THE_PLACE
    }


def _is_scored(row: Row, folder: Path) -> bool:
    """Whether the folder's evaluation is of its last step, and with the row's K."""
    try:
        evaluation = _read(_evaluation(row, folder))
        step = _read(folder / "metrics.json")["step"]
    except FileNotFoundError:
        return False
    return (evaluation["num_samples"], evaluation["step"], evaluation["limit"]) == (
        row.num_samples,
        step,
        None,
    )


def _collect(
    row: Row, seed: int, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what all seeds of a row have in common, and what this one's run found."""
    evaluation = _read(_evaluation(row, folder))
    metrics = _read(folder / "metrics.json")
    section = section_of(evaluation, row.quantity)
    value, error = QUANTITIES[row.quantity](section)
    same = ("split", "num_images", "binarization", "num_samples")
    common = {
        **_asked(row),
        # A folder's name says nothing elsewhere.
        "dataset": evaluation["dataset"].partition(":")[0],
        **{key: evaluation[key] for key in same},
        "evaluations_per_step": evaluation["evaluations_per_step"],
        "epochs": metrics["epoch"],
        "settings": settings_of(_read(folder / "config.json")["config"]),
    }
    run = {
        "seed": seed,
        "value": value,
        "standard_error": error,
        "training_elbo": metrics["elbo"],
        "minutes": _minutes(folder / "history.csv"),
        "active_units": [
            layer["active_units"] for layer in section["posterior"]["layers"]
        ],
        "date": evaluation["date"].split(" ")[0],
        "device": evaluation["device"],
        "cores": len(os.sched_getaffinity(0)),
        "versions": evaluation["versions"],
        # Runs of earlier versions do not say it.
        "revision": evaluation.get("revision", _revision()),
    }
    return common, run


def _revision() -> str:
    """Returns the commit that is checked out, marked where the code differs from it."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit} with changes" if git("status", "--short", "tfvae") else commit


def _minutes(history: Path) -> float:
    """Returns the minutes of all epochs, validation included."""
    with open(history, encoding="utf-8", newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file)) / 60


def _cells(name: str, row: Row, found: Mapping[str, Any]) -> list[str]:
    runs = found["runs"]
    return [
        f"`{name}`",
        f"`{shlex.join(_train(row))}`",
        row.source,
        row.reference,
        _ours(runs),
        row.quantity,
        f"{found['num_samples']:,}",
        found["binarization"],
        found["split"],
        f"{found['epochs']:,}",
        _least_minutes(runs),
    ]


def _league_cells(
    row: Row, found: Mapping[str, Any], beside: Mapping[str, Any] | None
) -> list[str]:
    """Returns a line of the table of estimators."""
    options = dict(zip(row.options[::2], row.options[1::2], strict=True))
    relaxed = options.get("--latent")
    elbos = [-run["training_elbo"] for run in found["runs"]]
    return [
        f"`{relaxed or options['--estimator']}`" + (", annealed" if relaxed else ""),
        options["--num-samples"],
        str(found["evaluations_per_step"]),
        f"{found['epochs'] * STEPS_AN_EPOCH:,}",
        # The relaxed model's own is of another density.
        "-" if relaxed else f"{statistics.mean(elbos):.2f}",
        row.reference,
        _ours(found["runs"]),
        "-" if beside is None else _ours(beside["runs"]),
    ]


def _least_minutes(runs: Sequence[Mapping[str, float]]) -> str:
    # Other work on the machine, or a pause, only ever adds.
    return f"{min(run['minutes'] for run in runs):.1f}"


def _ours(runs: Sequence[Mapping[str, float]]) -> str:
    """The mean over seeds, the error over images, and the seeds' own spread."""
    values = [run["value"] for run in runs]
    error = statistics.mean(run["standard_error"] for run in runs)
    text = f"**{statistics.mean(values):.2f}** +- {error:.2f}"
    if len(values) > 1:
        text += f" ({', '.join(f'{value:.2f}' for value in values)})"
    return text


def _found_file(name: str) -> Path:
    return FOUND / f"{name}.json"


def _all_found() -> dict[str, dict[str, Any]]:
    """Returns what docs/results has, in the order of the rows."""
    found = {name: _found(name) for name in ROWS}
    return {name: values for name, values in found.items() if values is not None}


def _found(name: str) -> dict[str, Any] | None:
    """Returns what docs/results has of a row, or None if there is nothing.

    Raises:
        InputError: if it is not what `_do_row` writes.
    """
    path = _found_file(name)
    try:
        found = _read(path)
    except FileNotFoundError:
        return None
    if (
        not (isinstance(found, dict) and found.keys() >= _OF_A_ROW)
        or not (isinstance(found["runs"], list) and found["runs"])
        or not all(isinstance(r, dict) and r.keys() >= _OF_A_RUN for r in found["runs"])
    ):
        raise InputError(
            f"{path} lacks something of {', '.join(sorted(_OF_A_ROW))}, or its runs of "
            f"{', '.join(sorted(_OF_A_RUN))}; restore it, or remove it and run the row "
            "again"
        )
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise InputError(
            f"{path} cannot be read ({error}); restore it, or remove it and run the "
            "row again"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
