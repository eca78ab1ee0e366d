"""Files that are whole or not there."""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
import types
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfvae.core.types import InputError

PARTIAL = ".partial"
_ZIP_YEAR = 1980


def is_partial(path: Path) -> bool:
    """Whether a path is what a killed process left of a file or folder."""
    return path.name.startswith(".") and PARTIAL in path.name


def remove_partials(folder: Path) -> None:
    """Removes what a killed process left half-written, in a locked folder or below."""
    for path in list(folder.rglob(f".*{PARTIAL}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing a folder, until this one ends or is killed.

    Raises:
        InputError: Another process has it.
    """
    try:
        opened = (folder / ".lock").open("a")
    except OSError as error:
        raise InputError(
            f"{str(folder / '.lock')!r} cannot be written ({error.strerror}); it keeps "
            "other processes away: remove it, or change its permissions"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is writing {str(folder)!r}; wait for it, or give "
                "another folder"
            ) from None
        yield


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` when all went well.

    The new content is written beside the old, synced and renamed: whoever reads, also
    after a crash, finds the old content or the new. It has the same suffix, and its
    folder exists.
    """
    # A process number is not enough: in containers each is the first.
    token = uuid.uuid4().hex
    partial = path.with_name(f".{path.stem}.{token}{PARTIAL}{path.suffix}")
    try:
        with _still_there(path.parent):
            yield partial
            fsync(partial)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_directory(parent: Path) -> Iterator[Path]:
    """Gives a path in `parent` for a folder that is renamed when it is whole.

    What is left of it at the end is removed.
    """
    partial = parent / f".{uuid.uuid4().hex}{PARTIAL}"
    try:
        with _still_there(parent):
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _still_there(folder: Path) -> Iterator[None]:
    """Says of a folder that is written to that it is missing.

    Raises:
        InputError: if a file is not found there since there is no folder, any more.
    """
    try:
        yield
    except FileNotFoundError as error:
        if folder.is_dir():
            raise
        raise InputError(
            f"there is no folder {str(folder)!r} to write to; make it, or if it was "
            "removed or moved meanwhile, leave it where it is and start again"
        ) from error


@contextlib.contextmanager
def dated_archives() -> Iterator[None]:
    """Lets zip files be written where the clock is before 1980, their first year.

    A board without a battery begins in 1970.
    """
    if time.localtime().tm_year >= _ZIP_YEAR:
        yield
        return
    clock = types.SimpleNamespace(**vars(time))
    clock.localtime = lambda *_: time.struct_time((_ZIP_YEAR, 1, 1, 0, 0, 0, 1, 1, 0))
    try:
        zipfile.time = clock  # type: ignore[attr-defined]
        yield
    finally:
        zipfile.time = time  # type: ignore[attr-defined]


def fsync(path: Path) -> None:
    """Returns when a file or folder is on the disk, so that a power cut spares it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Returns when a folder is on the disk with all that is in it."""
    for path in (*folder.rglob("*"), folder):
        fsync(path)


def read_bounded(path: Path, most: int) -> str:
    """Returns the text of a file.

    Raises:
        ValueError: It has more than `most` bytes, is no UTF-8, or is no file: a pipe
            might never end.
        OSError: It cannot be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no file")
    if found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes, and {most:,} are the most")
    return path.read_text(encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
