"""Folders of versions, as a model server polls them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from tfvae.core.files import fsync_tree, staged_directory
from tfvae.core.types import InputError


@contextlib.contextmanager
def next_version(path: str | os.PathLike) -> Iterator[list[Path]]:
    """Yields a folder to write to, which becomes the next version when all went well.

    It is renamed when it is whole and on disk: whoever polls `path` never sees half of
    it, and no existing version is touched.

    Args:
        path: The folder of a model's versions; it is made if there is none.

    Yields:
        A list with the folder to write; it is the version's when the context ends.

    Raises:
        InputError: if `path` is a file, holds something else than versions, or cannot
            be written to.
    """
    folder = Path(path)
    versions_in(folder)  # refuses other folders
    written, is_new = [], not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with staged_directory(folder) as partial:
            written.append(partial)
            yield written
            fsync_tree(partial)
            written[0] = _publish(partial, folder)
            is_new = False
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} cannot be written to ({error.strerror or error}); free "
            "space, change its permissions, or give another path"
        ) from error
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def versions_in(folder: Path) -> list[int]:
    """Returns the versions in a folder, in order; none if there is no folder.

    Raises:
        InputError: if it is a file, or holds something else.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(
            f"{str(folder)!r} is a file, or a link that leads nowhere; give a folder's "
            "path"
        )
    names = [p.name for p in folder.iterdir()] if folder.exists() else []
    names = [name for name in names if not name.startswith(".")]
    strange = sorted(name for name in names if not _is_version(name))
    if strange:
        raise InputError(
            f"{str(folder)!r} holds {strange[0]!r}, which is no version of a model; "
            "give a folder of versions alone, for example saved_models/NAME"
        )
    return sorted(map(int, names))


def _is_version(name: str) -> bool:
    """Returns whether a server reads the name as a number that is written like it."""
    if not (name.isascii() and name.isdecimal() and len(name) <= 19):
        return False
    return str(int(name)) == name and int(name) < 2**63 - 1


def _publish(partial: Path, folder: Path) -> Path:
    """Renames a whole version to the next number."""
    while True:
        target = folder / str(max(versions_in(folder), default=0) + 1)
        try:
            os.rename(partial, target)
        except OSError as error:
            # Another exporter took the number since; a version is no empty folder.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return target
