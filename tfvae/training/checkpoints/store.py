"""The folder of a run's checkpoints: whole ones or none, the last two kept.

    checkpoints/000000001234/     named after the training step
        state.npz                 weights, optimizer, metrics of the running epoch
        history.csv               the epochs so far, as the run's own file
        manifest.json             position, callbacks, versions, settings, checksums

The random state and the position in the data are functions of the step, so nothing of
them is stored.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfvae.core.files import (
    fsync,
    fsync_tree,
    read_bounded,
    staged_directory,
)
from tfvae.core.types import first_line
from tfvae.training.checkpoints.state import Position

_STATE, _HISTORY, _MANIFEST = "state.npz", "history.csv", "manifest.json"
_FORMAT = 1
_KEPT = 2
_MOST_MANIFEST = 8 << 20  # bytes; ours have some 10 KiB
_DAMAGE = (OSError, ValueError, TypeError, KeyError, MemoryError, zipfile.BadZipFile)
_BLOCK = 2**20  # bytes read at a time


class Checkpoint(NamedTuple):
    """A run's state between two training steps.

    It has the arrays of `arrays_of`, the callbacks' state of `callback_state`, and the
    text of `history.csv`.
    """

    position: Position
    arrays: Mapping[str, np.ndarray]
    callbacks: Mapping[str, Mapping[str, Any]]
    history: str
    config: Mapping[str, Any]
    versions: Mapping[str, str]


class Damaged(Exception):
    """A checkpoint is not whole; the message is the reason in a few words."""


class CheckpointStore:
    """The checkpoints in a folder, of which the newest that is whole counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._good: list[Path] = []  # written or read by this process, oldest first

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Returns the newest whole checkpoint, and a line for each that was skipped."""
        skipped = []
        for path in sorted(self._all(), reverse=True):
            try:
                found = _read(path)
            except Damaged as reason:
                skipped.append(f"checkpoint {path.name} is skipped: {reason}")
                continue
            self._good = [path]
            return found, skipped
        return None, skipped

    def write(self, checkpoint: Checkpoint) -> Path:
        """Writes a checkpoint beside the others, syncs and renames it.

        The one before is kept as well, older and damaged ones are removed.

        Raises:
            OSError: if the disk is full or cannot be written to; the others stay.
        """
        self.path.mkdir(exist_ok=True)
        path = self.path / f"{checkpoint.position.step:012d}"
        with staged_directory(self.path) as partial:
            partial.mkdir()
            _write(partial, checkpoint)
            fsync_tree(partial)
            if path.exists():  # a damaged one, else its step would not come again
                shutil.rmtree(path)
            os.rename(partial, path)
        fsync(self.path)
        self._good = [*(p for p in self._good if p != path), path][-_KEPT:]
        for old in self._all():
            if old not in self._good:
                shutil.rmtree(old, ignore_errors=True)
        return path

    def _all(self) -> Sequence[Path]:
        if not self.path.is_dir():
            return []
        return [p for p in self.path.iterdir() if p.name.isdigit() and p.is_dir()]


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    with (folder / _STATE).open("wb") as file:
        np.savez(file, **checkpoint.arrays)  # type: ignore[arg-type]
    (folder / _HISTORY).write_text(checkpoint.history, encoding="utf-8", newline="")
    manifest = {
        "format": _FORMAT,
        "position": checkpoint.position._asdict(),
        "callbacks": checkpoint.callbacks,
        "config": checkpoint.config,
        "versions": checkpoint.versions,
        "sha256": {name: _digest(folder / name) for name in (_STATE, _HISTORY)},
    }
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    (folder / _MANIFEST).write_text(text, encoding="utf-8")


def _read(folder: Path) -> Checkpoint:
    manifest = _manifest(folder)
    for name, digest in manifest["sha256"].items():
        try:
            if _digest(folder / name) != digest:
                raise Damaged(f"{name} is not what was written")
        except OSError as error:
            raise Damaged(f"{name} cannot be read ({error.strerror})") from None
    try:
        return Checkpoint(
            Position(**manifest["position"]),
            _arrays(folder / _STATE),
            manifest["callbacks"],
            (folder / _HISTORY).read_text(encoding="utf-8"),
            manifest["config"],
            manifest["versions"],
        )
    except _DAMAGE as error:
        raise Damaged(f"it cannot be read ({first_line(error)})") from None


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        # NumPy does not pack its files, and a small packed one might hold anything.
        if any(e.compress_type != zipfile.ZIP_STORED for e in archive.infolist()):
            raise ValueError("it is packed")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(read_bounded(folder / _MANIFEST, _MOST_MANIFEST))
        if manifest["format"] != _FORMAT:
            raise Damaged(f"its format is {manifest['format']!r}, and not {_FORMAT}")
        if set(manifest["sha256"]) != {_STATE, _HISTORY}:
            raise Damaged(f"{_MANIFEST} has not the checksums of its files")
        return manifest
    except OSError as error:
        raise Damaged(f"{_MANIFEST} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Damaged(f"{_MANIFEST} is damaged") from None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
