"""Where presets lie: in the package, in a folder, or on a hub."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from tfvae.core.lookup import nearest
from tfvae.core.optional import optional_package
from tfvae.core.types import InputError, first_line
from tfvae.core.validation import require_path
from tfvae.core.version import __version__

PACKAGED = Path(__file__).parent / "packaged"
_HUB = "hf://"
_REPOSITORY = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def packaged_names() -> list[str]:
    """Returns the names of the presets that the package brings."""
    if not PACKAGED.is_dir():
        return []
    return sorted(path.name for path in PACKAGED.iterdir() if path.is_dir())


def locate(preset: str | os.PathLike, files: Sequence[str]) -> Path:
    """Returns the folder of a preset.

    Args:
        preset: The name of one of the package; "hf://USER/NAME" or
            "hf://USER/NAME@REVISION" of Hugging Face's hub, which is downloaded into
            its cache; or the path of a folder.
        files: The names of the files that are taken from a hub.

    Raises:
        InputError: if there is none.
    """
    if isinstance(preset, str) and "://" in preset:
        return _downloaded(preset, files)
    if isinstance(preset, str) and preset in packaged_names():
        if os.path.isdir(preset):
            warnings.warn(
                f"preset {preset!r} is the package's, and not the folder of this name; "
                f"give './{preset}' for the folder",
                stacklevel=4,
            )
        return PACKAGED / preset
    folder = require_path("preset", preset)
    if folder.is_dir():
        return folder
    there = "a file, and no folder" if folder.exists() else "no folder"
    raise InputError(
        f"unknown preset {str(preset)!r:.200}: it is {there}, and no preset of the "
        f"package; {nearest(str(preset), packaged_names())}choose one of "
        f"{', '.join(packaged_names())}, or give a folder or {_HUB}USER/NAME"
    )


def _downloaded(address: str, files: Sequence[str]) -> Path:
    """Returns the folder of a hub's cache, which holds the files."""
    found = _REPOSITORY.fullmatch(address)
    if found is None:
        raise InputError(
            f"preset {address!r:.200} is no address of a preset; give "
            f"{_HUB}USER/NAME, or {_HUB}USER/NAME@REVISION"
        )
    hub = optional_package("huggingface_hub", "hub", f"preset {address!r}")
    paths = []
    for name in files:
        try:
            path = hub.hf_hub_download(
                found[1],
                name,
                revision=found[2],
                library_name="tfvae",
                library_version=__version__,
            )
        except Exception as error:  # of the hub, of the connection, or of the disk
            raise InputError(
                f"preset {address!r} cannot be had: {name} is not there "
                f"({type(error).__name__}: {first_line(error, 200)}); give another "
                "preset, or look at the connection"
            ) from error
        paths.append(Path(path))
    return paths[0].parent
