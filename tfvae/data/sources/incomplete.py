"""Images of a file, of which values may be missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfvae.core.types import InputError
from tfvae.data.sources.npz import Examples, check_shape, check_values, read_arrays
from tfvae.data.splits import ArraySplit


class Incomplete(NamedTuple):
    """Images of which values may be missing.

    Attributes:
        split: The images, 0 where a value is missing, with their labels if there are.
        observed: [N, H, W, C] Where values are known, bool.
    """

    split: ArraySplit
    observed: np.ndarray


def read_incomplete(path: str) -> Incomplete:
    """Reads images as `read_examples` does, where a NaN is a value that is missing.

    The array `observed` of a .npz file, True or 1 where a value is known, stands for
    the NaN, if there is one; what lies below its False is not looked at.

    Raises:
        InputError: if the file or its arrays cannot be used.
    """
    found = read_arrays(path, mask=True)
    images, observed = found.images, np.ones(found.images.shape, np.bool_)
    if images.dtype.kind == "f":
        observed = ~np.isnan(images)
    if found.observed is not None:
        observed = _checked_mask(found, observed)
    images = np.where(observed, images, images.dtype.type(0))
    split = ArraySplit("new", check_values(found.name, images), found.labels)
    return Incomplete(split, observed)


def _checked_mask(found: Examples, numbers: np.ndarray) -> np.ndarray:
    """Returns the mask of a file as bool; `numbers` says where images are not NaN."""
    mask = check_shape("observed", np.asarray(found.observed))
    if mask.shape != numbers.shape:
        raise InputError(
            f"observed has shape {mask.shape} for {found.name} of {numbers.shape}; "
            "give True or False for each value"
        )
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise InputError(
            f"observed holds other values than 0 and 1 (dtype {mask.dtype}); give True "
            f"where {found.name} is known"
        )
    mask = mask.astype(np.bool_)
    if (mask & ~numbers).any():
        count = int(np.sum(mask & ~numbers))
        raise InputError(
            f"{found.name} has {count} NaN where observed is True; set observed to "
            "False there, or leave it out"
        )
    return mask
