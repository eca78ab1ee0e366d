"""The division of a source's images into train, validation and test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.data.spec import DatasetSpec
from tfvae.data.splits import SPLITS, ArraySplit, ImageData, Split, image_data

TEST_FRACTION = 0.2
MASKS_NOTE = "bytes 0 and 1 taken for black and white, not for grey levels of 255"
VALIDATION_DIVISOR = 12  # 5,000 of MNIST's 60,000, as the literature has it


class RawSplit(NamedTuple):
    """A split of a source: images [N, H, W, C], labels [N] or None."""

    images: np.ndarray
    labels: np.ndarray | None = None

    def rows(self, indices: np.ndarray | slice) -> RawSplit:
        """Returns the images and labels at `indices`."""
        labels = None if self.labels is None else self.labels[indices]
        return RawSplit(self.images[indices], labels)


class Sizes(NamedTuple):
    """Numbers of the source's training images that go into each split.

    The names of the splits that are the source's `own` are there too.
    """

    train: int
    validation: int
    test: int
    own: tuple[str, ...]


def permutation(size: int, seed: int) -> np.ndarray:
    """Returns the permutation of range(size), int64 [size], of a seed."""
    with tf.device("CPU:0"):
        keys = tf.random.stateless_uniform(
            [size], derive_seed(seed, "split"), None, None, tf.int64
        )
    return np.argsort(keys.numpy(), kind="stable")


def decide_sizes(
    name: str,
    available: dict[str, int],
    validation_size: int | None,
    validation_fraction: float | None = None,
) -> Sizes:
    """Decides how many of the source's training images go into each split.

    The source has `available` images in each of its splits, of which "train" is one.
    Without `validation_size` it is `validation_fraction` of them, or one in twelve.

    Raises:
        InputError: if there are not enough images, or the source has its own
            validation split and `validation_size` asks for another.
    """
    total = available["train"]
    own = [s for s in ("validation", "test") if available.get(s)]
    test = 0 if "test" in own else max(1, round(TEST_FRACTION * total))
    if "validation" in own:
        if validation_size:
            raise InputError(
                f"validation_size {validation_size} does not fit: {name} has its own "
                f"validation split of {available['validation']} images; leave it out, "
                "or give 0 for none (--validation-size)"
            )
        if validation_size == 0:
            own.remove("validation")
        validation = 0
    elif validation_size is not None:
        validation = validation_size
    elif validation_fraction is not None:
        validation = round(validation_fraction * total)
    else:
        validation = max(1, (total - test) // VALIDATION_DIVISOR)
    train = total - test - validation
    if train < 1:
        raise InputError(
            f"data set {name} has {total} images to train on, {test} of which go to "
            f"test and {validation} to validation, and none is left; give more images "
            "or a smaller validation_size (--validation-size)"
        )
    return Sizes(train, validation, test, tuple(own))


def _black_and_white(
    raw_splits: dict[str, RawSplit], provenance: dict[str, Any]
) -> dict[str, RawSplit]:
    """Makes masks of 0 and 1 white, which as grey levels of 255 would be black.

    Raises:
        InputError: if some splits are such masks and others are not.
    """
    largest = {
        split: int(raw.images.max(initial=0))
        for split, raw in raw_splits.items()
        if raw.images.dtype == np.uint8
    }
    if 1 not in largest.values():
        return raw_splits
    if len(largest) < len(raw_splits) or max(largest.values()) > 1:
        tops = ", ".join(f"{split} to {top}" for split, top in largest.items())
        raise InputError(
            f"the images are bytes from 0 up, {tops}: some are masks of 0 and 1, and "
            "others have grey levels; multiply the masks by 255"
        )
    provenance["preprocessing"] = [*provenance["preprocessing"], MASKS_NOTE]
    return {s: raw._replace(images=raw.images * 255) for s, raw in raw_splits.items()}


def split_dataset(
    spec: DatasetSpec,
    raw_splits: dict[str, RawSplit],
    provenance: dict[str, Any],
    validation_fraction: float | None = None,
) -> ImageData:
    """Makes the three splits; a seeded permutation yields those that the source lacks.

    The source's own splits are "train", and perhaps "validation" and "test".

    Raises:
        InputError: if there are not enough images.
    """
    raw_splits = _black_and_white(raw_splits, provenance)
    available = {split: len(raw.images) for split, raw in raw_splits.items()}
    sizes = decide_sizes(
        spec.name, available, spec.validation_size, validation_fraction
    )
    order = permutation(available["train"], spec.split_seed)
    made: dict[str, Split] = {}
    origins, start = {}, 0
    for split in SPLITS:
        size = getattr(sizes, split)
        if split in sizes.own or size == available["train"]:
            made[split] = ArraySplit(split, *raw_splits[split])
            origins[split] = f"the source's {split}"
        elif size:
            chosen = order[start : start + size]
            made[split] = ArraySplit(split, *raw_splits["train"].rows(chosen))
            origins[split] = (
                f"train[{start or ''}:{start + size}] of a permutation with seed "
                f"{spec.split_seed}"
            )
            start += size
    return image_data(made, origins, provenance)
