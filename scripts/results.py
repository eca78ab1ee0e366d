"""Trains and scores the rows of the table of results in docs/results.md; see --help.

A run lies in runs/results, named after its recipe and options, so that rows which
differ in the quantity alone share it. What a run's folder holds already is not done
again, and a run that was stopped goes on. What was found stands in
docs/results/ROW.json, and the table in docs/results.md is made from these files.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from result_rows import QUANTITIES, ROWS, Row, section_of

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / "docs" / "results"
_MARKS = ("<!-- results -->\n", "<!-- end of results -->")
_COLUMNS = (
    *("row", "recipe and options", "source", "reference", "ours", "quantity", "K"),
    *("binarisation", "split", "epochs", "minutes"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is asked for, and makes the table anew.

    Args:
        argv: The arguments; None: the program's.
    """
    args = _parser().parse_args(argv)
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown:
        print(
            f"results: there is no row {unknown[0]!r}; --list shows them",
            file=sys.stderr,
        )
        return 2
    names = args.rows or list(ROWS)
    if args.list:
        for name in names:
            state = "done" if _found_file(name).exists() else "not yet"
            print(f"{name:24} {state:8} tfvae train {shlex.join(_train(ROWS[name]))}")
        return 0
    if not args.table:
        for name in names:
            if not _do_row(name, args):
                return 1
    write_table()
    return 0


def write_table() -> None:
    """Makes the table of docs/results.md anew from docs/results."""
    page = ROOT / "docs" / "results.md"
    page.write_text(with_results(page.read_text("utf-8")), encoding="utf-8")


def with_results(page: str) -> str:
    """Returns a page with the table of what stands in docs/results.

    Args:
        page: The page, with the two marks of the table.
    """
    before, rest = page.split(_MARKS[0])
    _, after = rest.split(_MARKS[1])
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    lines += [
        "| " + " | ".join(_cells(name, row, _read(_found_file(name)))) + " |"
        for name, row in ROWS.items()
        if _found_file(name).exists()
    ]
    return before + _MARKS[0] + "\n".join(lines) + "\n" + _MARKS[1] + after


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/results", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="by default all")
    parser.add_argument(
        "--manual-dir", help="the four MNIST files, where there is no network"
    )
    parser.add_argument("--data-dir", help="where TFDS keeps prepared data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "results")
    parser.add_argument("--list", action="store_true", help="what there is to run")
    parser.add_argument("--table", action="store_true", help="make the table alone")
    return parser


def _do_row(name: str, args: argparse.Namespace) -> bool:
    """Trains and scores the row's runs, and writes down what was found."""
    row = ROWS[name]
    data = [
        word
        for option in ("manual_dir", "data_dir")
        if (path := getattr(args, option)) is not None
        for word in (f"--{option.replace('_', '-')}", os.path.abspath(path))
    ]
    for seed, folder in _folders(row, args.runs):
        print(f"-- {name}, seed {seed}: {folder}", flush=True)
        train = [*_train(row), "--seed", str(seed), *data, "--workdir", str(folder)]
        if not _tfvae("train", train):
            return False
        if not _is_scored(row, folder):
            how = ["--num-samples", str(row.num_samples)]
            if not _tfvae("evaluate", [str(folder), *how]):
                return False
    FOUND.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_collect(row, args.runs), indent=2) + "\n"
    aside = _found_file(name).with_suffix(".partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, _found_file(name))
    return True


def _train(row: Row) -> list[str]:
    return [row.recipe, *row.options]


def _folders(row: Row, runs: Path) -> Iterator[tuple[int, Path]]:
    words = "-".join(word.removeprefix("--") for word in _train(row))
    for seed in row.seeds:
        yield seed, runs / f"{words}-seed-{seed}"


def _tfvae(command: str, arguments: Sequence[str]) -> bool:
    done = subprocess.run([sys.executable, "-m", "tfvae", command, *arguments])
    return done.returncode == 0


def _is_scored(row: Row, folder: Path) -> bool:
    """Whether the folder's evaluation is of its last step, and with the row's K."""
    try:
        evaluation = _read(folder / "evaluation.json")
        step = _read(folder / "metrics.json")["step"]
    except FileNotFoundError:
        return False
    return (evaluation["num_samples"], evaluation["step"], evaluation["limit"]) == (
        row.num_samples,
        step,
        None,
    )


def _collect(row: Row, runs: Path) -> dict[str, Any]:
    """Returns what the row's runs found, with the conditions."""
    found = []
    for seed, folder in _folders(row, runs):
        evaluation = _read(folder / "evaluation.json")
        section = section_of(evaluation, row.quantity)
        value, error = QUANTITIES[row.quantity](section)
        found.append(
            {
                "seed": seed,
                "value": value,
                "standard_error": error,
                "minutes": _minutes(folder / "history.csv"),
                "active_units": [
                    layer["active_units"] for layer in section["posterior"]["layers"]
                ],
            }
        )
    same = ("dataset", "split", "num_images", "binarization", "num_samples")
    return {
        "train": f"tfvae train {shlex.join(_train(row))} --seed SEED --workdir DIR",
        "evaluate": f"tfvae evaluate DIR --num-samples {row.num_samples}",
        "quantity": row.quantity,
        **{key: evaluation[key] for key in same},
        "epochs": _read(folder / "metrics.json")["epoch"],
        "runs": found,
        "date": evaluation["date"].split(" ")[0],
        "device": evaluation["device"],
        "cores": len(os.sched_getaffinity(0)),
        "versions": evaluation["versions"],
        "revision": _revision(),
    }


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
        # Other work on the machine, or a pause, only ever adds.
        f"{min(run['minutes'] for run in runs):.1f}",
    ]


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


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
