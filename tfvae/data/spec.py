"""What a user asks a source for, checked once."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from tfvae.core.types import InputError


class DatasetSpec(NamedTuple):
    """The checked arguments of `load`.

    Attributes:
        name: The data set's name; for a prefixed name the raw_split after the colon.
        data_dir: TFDS' folder of prepared data, or None.
        manual_dir: A folder with the original files, or None.
        image_size: (height, width) to resize to, or None.
        validation_size: Number of validation images, or None for the default.
        split_seed: Seed of the permutation that makes the splits.
        memory_limit: Bytes of images that may be held in memory.
    """

    name: str
    data_dir: str | None
    manual_dir: str | None
    image_size: tuple[int, int] | None
    validation_size: int | None
    split_seed: int
    memory_limit: int

    @property
    def resize_note(self) -> str:
        """How resizing is recorded in the provenance."""
        height, width = self.image_size
        return f"resized to {height} x {width} (antialiased bilinear)"


def refuse_folders(spec: DatasetSpec, reason: str) -> None:
    """Refuses `data_dir` and `manual_dir` where they would have no effect.

    Raises:
        InputError: One of them is given.
    """
    for option in ("data_dir", "manual_dir"):
        value = getattr(spec, option)
        if value is not None:
            raise InputError(
                f"{option} {value!r} has no effect: {spec.name} {reason}; leave it "
                f"out (--{option.replace('_', '-')})"
            )


def check_folder(path: str, what: str) -> str:
    """Returns `path` with ~ expanded if it is a folder.

    Raises:
        InputError: It is missing or is no folder.
    """
    expanded = os.path.expanduser(path)
    if not path or not os.path.exists(expanded):
        raise InputError(f"{what} {path!r} does not exist; give a folder")
    if not os.path.isdir(expanded):
        raise InputError(f"{what} {path!r} is not a folder; give a folder")
    return expanded


def check_resized(spec: DatasetSpec, images: np.ndarray) -> None:
    """Refuses to resize images [N, H, W, C] to more than the memory limit.

    Raises:
        InputError: They would take more.
    """
    height, width = spec.image_size
    size = len(images) * height * width * images.shape[-1] * images.itemsize
    check_memory(spec, f"{len(images)} images of {height} x {width}", size)


def check_memory(spec: DatasetSpec, what: str, size: int) -> None:
    """Refuses images that would take more than the memory limit.

    Raises:
        InputError: `size`, in bytes, is over the limit.
    """
    if size > spec.memory_limit:
        raise InputError(
            f"{what} would take {size:,} bytes in memory, more than memory_limit "
            f"{spec.memory_limit:,}; give fewer or smaller images, or a larger "
            "memory_limit"
        )


def one_line(error: BaseException) -> str:
    """Returns an exception's name and the first line of its message."""
    lines = str(error).strip().splitlines()
    return (
        f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
    )
