"""Splits of which few labels are known."""

from __future__ import annotations

import numpy as np

from tfvae.core.seeds import derive_int
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int
from tfvae.data.splits import ArraySplit

UNKNOWN = -1


def partly_labelled(
    split: ArraySplit, labels: int, seed: int = 0, repeats: int = 1
) -> ArraySplit:
    """Returns the same images, of which so many keep their label, alike by class.

    The label of the others is -1. Which are kept is a function of the seed and of the
    labels.

    Args:
        split: Images in memory, with labels.
        labels: The number of labels to keep, a multiple of the number of classes.
        seed: The seed of the choice.
        repeats: How often each image that keeps its label is in the result; the others
            are in it once.

    Raises:
        InputError: if the split has no labels in memory, or not enough of a class, or
            `labels` is no multiple of the classes.
    """
    labels = require_int("labels", labels)
    seed = require_int("seed", seed, 0, SEEDS)
    repeats = require_int("repeats", repeats)
    if not isinstance(split, ArraySplit) or split.labels is None:
        raise InputError(
            f"{split!r:.60} has no labels in memory; give an ArraySplit that has"
        )
    classes = np.unique(split.labels[split.labels != UNKNOWN])
    each, rest = divmod(labels, max(1, len(classes)))
    if rest or not each or not len(classes):
        raise InputError(
            f"labels {labels} cannot be as many of each of {len(classes)} classes; "
            f"give a multiple of {len(classes)}"
        )
    kept = np.full(len(split), UNKNOWN, np.int64)
    rng = np.random.default_rng(derive_int(seed, "labels"))
    for number in classes:
        rows = np.flatnonzero(split.labels == number)
        if len(rows) < each:
            raise InputError(
                f"class {number} has {len(rows)} labels, and labels {labels} wants "
                f"{each} of each class; give fewer"
            )
        kept[rng.permutation(rows)[:each]] = number
    if repeats == 1:
        return ArraySplit(split.name, split.images, kept)
    more = np.tile(np.flatnonzero(kept != UNKNOWN), repeats - 1)
    rows = np.concatenate([np.arange(len(split)), more])
    return ArraySplit(split.name, split.images[rows], kept[rows])
