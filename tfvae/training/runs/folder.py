"""Files of a run folder: their paths, and the record of settings and data."""

import csv
import dataclasses
import datetime
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfvae.config import Config
from tfvae.config.steps import chosen_threads
from tfvae.core.files import is_partial, read_bounded, write_json
from tfvae.core.types import InputError, first_line
from tfvae.core.validation import require_path
from tfvae.core.version import __version__

# Bytes of files that are read; as Python's objects, JSON takes up to 25 times as many.
_MOST_CONFIG = 8 << 20  # a configuration has some 3 KiB
_MOST_JSON = 32 << 20  # an evaluation of a hundred thousand latent variables
_MOST_HISTORY = 256 << 20  # a line of an epoch has some 300
_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files; making one touches nothing.

    Attributes:
        path: The folder.
        config: The configuration, the versions and the data's provenance, as JSON.
        model: The model with its optimizer, for `keras.models.load_model`.
        binding: The digest of the model, and its configuration, as JSON.
        checkpoints: The checkpoints, from which a stopped training goes on.
        history: The numbers of the epochs, one line each.
        metrics: The last epoch's numbers, as JSON.
        evaluation: The numbers of `tfvae evaluate` on the test images, as JSON.
        calibration: The held-out images' scores of `tfvae detect`, as JSON.
        logs: TensorBoard's event files.
        plots: The plots of `tfvae plot`.
    """

    path: Path
    config = property(lambda self: self.path / "config.json")
    model = property(lambda self: self.path / "model.keras")
    binding = property(lambda self: self.path / "model.json")
    checkpoints = property(lambda self: self.path / "checkpoints")
    history = property(lambda self: self.path / "history.csv")
    metrics = property(lambda self: self.path / "metrics.json")
    evaluation = property(lambda self: self.path / "evaluation.json")
    calibration = property(lambda self: self.path / "calibration.json")
    logs = property(lambda self: self.path / "logs")
    plots = property(lambda self: self.path / "pictures")


class RunRecord(NamedTuple):
    """The content of `config.json`: settings, and the provenance of the data.

    The versions are of Python and the packages that began the run; the changes are
    those of each time it went on: field -> [before, after].
    """

    config: Config
    data: dict[str, Any]
    versions: dict[str, str]
    changes: Sequence[dict[str, list]] = ()


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that compute here.

    With the number of threads of an operation: results of one number of threads are
    those of another to rounding alone.
    """
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    chosen = tf.config.threading.get_intra_op_parallelism_threads() or chosen_threads()
    threads = str(chosen or len(os.sched_getaffinity(0)))
    python = platform.python_version()
    return {"tfvae": __version__, "python": python, **packages, "threads": threads}


def utc_now() -> str:
    """Returns the date and time in UTC, to the second."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.isoformat(" ", "seconds")


def check_workdir(workdir: str | os.PathLike) -> RunFolder:
    """Returns the folder of a run that begins or goes on there; writes nothing.

    Raises:
        InputError: if the path is a file, cannot be written to, or holds something else
            than a run.
    """
    path = require_path("workdir", workdir)
    folder = RunFolder(path)
    if os.path.lexists(path) and not path.is_dir():
        raise InputError(
            f"workdir {str(path)!r} is a file, or a link that leads nowhere; give a "
            "folder's path"
        )
    for file in (folder.config, folder.model, folder.history):
        if file.is_symlink() and not file.exists():
            raise InputError(
                f"{str(file)!r} is a link that leads nowhere; restore the file, or use "
                "another workdir"
            )
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(
            f"workdir {str(path)!r} cannot be written to; give another, or change the "
            f"permissions of {str(parent)!r}"
        )
    if path.exists() and not folder.config.exists():
        if any(p.name != ".lock" and not is_partial(p) for p in path.iterdir()):
            raise InputError(
                f"workdir {str(path)!r} holds files and no run (no config.json); give "
                "a new or empty folder"
            )
    return folder


def write_record(folder: RunFolder, record: RunRecord) -> None:
    """Writes `config.json`."""
    content = {
        "config": record.config.to_dict(),
        "data": record.data,
        "versions": record.versions,
        "changes": list(record.changes),
    }
    write_json(folder.config, content)


def read_record(folder: RunFolder) -> RunRecord:
    """Reads `config.json`.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    content = read_json(
        folder.config, "run", "make one with: tfvae train RECIPE", _MOST_CONFIG
    )
    optional: dict[str, Any] = {"versions": {}, "changes": []}
    content = {**optional, **content} if isinstance(content, dict) else optional
    kinds = {"config": dict, "data": dict, "versions": dict, "changes": list}
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind):
            raise InputError(
                f"{str(folder.config)!r} is no run's configuration: it lacks {name!r}, "
                "or has something else there; restore the file, or use another workdir"
            )
    try:
        config = Config.from_dict(content["config"])
    except (InputError, RecursionError) as error:
        raise InputError(f"{str(folder.config)!r}: {error}") from error
    return RunRecord(config, content["data"], content["versions"], content["changes"])


def read_json(path: Path, what: str, advice: str, most: int = _MOST_JSON) -> Any:
    """Reads a JSON file of a run, of `most` bytes at most.

    Raises:
        InputError: if it is missing or damaged; the message has `what` and `advice`.
    """
    try:
        return json.loads(read_bounded(path, most))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{str(path.parent)!r} holds no {what} (no {path.name}); {advice}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def read_history(path: Path) -> list[dict[str, float]]:
    """Returns the lines of `history.csv`, one an epoch; none if there is no file.

    Raises:
        InputError: if the file is damaged.
    """
    if not path.exists():
        return []
    try:
        return parse_history(read_bounded(path, _MOST_HISTORY))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{str(path)!r} cannot be read ({first_line(error, 300)}); restore the file, "
        "or use another workdir"
    )


def parse_history(text: str) -> list[dict[str, float]]:
    """Returns the lines of the content of a `history.csv`.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        rows = [
            {name: float(value) for name, value in row.items() if value != ""}
            for row in csv.DictReader(io.StringIO(text, newline=""))
        ]
        counts = ("epoch", "step")
        return [{**row, **{n: int(row[n]) for n in counts}} for row in rows]
    except (TypeError, AttributeError, KeyError, OverflowError, csv.Error) as error:
        raise ValueError(str(error)) from error
