"""The checked arguments of `load`, and the steps that sources share."""

import os
from typing import Any, NamedTuple

import numpy as np

from tfvae.core.types import InputError
from tfvae.data.images import resize_array


class DatasetSpec(NamedTuple):
    """The checked arguments of `tfvae.data.load`, which says what each one is."""

    name: str
    data_dir: str | None
    manual_dir: str | None
    image_size: tuple[int, int] | None
    validation_size: int | None
    split_seed: int
    memory_limit: int

    @property
    def path(self) -> str:
        """The part of a prefixed name after the colon."""
        return self.name.split(":", 1)[1]

    @property
    def resize_notes(self) -> list[str]:
        """The record of resizing in the provenance; empty without it."""
        if self.image_size is None:
            return []
        height, width = self.image_size
        return [f"resized to {height} x {width} (antialiased bilinear)"]

    def provenance(self, source: str) -> dict[str, Any]:
        """Returns the record of a source in words, and of resizing."""
        kind = self.name.partition(":")[0]
        return {"name": kind, "source": source, "preprocessing": self.resize_notes}

    def resized(self, images: np.ndarray) -> np.ndarray:
        """Returns images [N, H, W, C] in `image_size`.

        Raises:
            InputError: if they would then take more than the memory limit.
        """
        if self.image_size is None:
            return images
        height, width = self.image_size
        size = len(images) * height * width * images.shape[-1] * images.itemsize
        self.check_memory(f"{len(images)} images of {height} x {width}", size)
        return resize_array(images, self.image_size)

    def check_memory(self, what: str, size: int) -> None:
        """Refuses images that would take more than the memory limit."""
        if size > self.memory_limit:
            raise InputError(
                f"{what} would take {size:,} bytes in memory, more than memory_limit "
                f"{self.memory_limit:,}; give fewer or smaller images, or a larger "
                "memory_limit"
            )

    def refuse_folders(self, reason: str) -> None:
        """Refuses `data_dir` and `manual_dir` where they would have no effect."""
        for option in ("data_dir", "manual_dir"):
            value = getattr(self, option)
            if value is not None:
                raise InputError(
                    f"{option} {value!r} has no effect: {self.name} {reason}; leave it "
                    f"out (--{option.replace('_', '-')})"
                )


def check_folder(path: str, what: str) -> str:
    """Returns `path` with ~ expanded if it is a folder.

    Raises:
        InputError: if it is missing or is no folder.
    """
    expanded = os.path.expanduser(path)
    if not path or not os.path.exists(expanded):
        raise InputError(f"{what} {path!r} does not exist; give a folder")
    if not os.path.isdir(expanded):
        raise InputError(f"{what} {path!r} is not a folder; give a folder")
    return expanded
