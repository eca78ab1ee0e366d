"""The data sets by name, and `load`, which reads one."""

import os
from collections.abc import Callable
from typing import NamedTuple

import tensorflow_datasets as tfds

from tfvae.core.optional import is_frame
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int, require_path
from tfvae.data.images import check_image_size
from tfvae.data.sources.digits import load_digits
from tfvae.data.sources.folder import load_folder
from tfvae.data.sources.idx import load_idx
from tfvae.data.sources.npz import load_npz
from tfvae.data.sources.tfds import load_tfds
from tfvae.data.sources.tfds_builder import is_tfds_name
from tfvae.data.spec import DatasetSpec
from tfvae.data.splits import ArraySplit, ImageData
from tfvae.data.tables import table_kind

MEMORY_LIMIT = 2 << 30


class DatasetEntry(NamedTuple):
    """A data set, or a kind of data set: a line for people, and how it is read."""

    description: str
    load: Callable[[DatasetSpec], ImageData]


DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        "1,797 handwritten digits, 8 x 8, from scikit-learn; no download", load_digits
    ),
    "mnist": DatasetEntry("70,000 handwritten digits, 28 x 28", load_tfds),
    "fashion_mnist": DatasetEntry("70,000 pieces of clothing, 28 x 28", load_tfds),
    "kmnist": DatasetEntry("70,000 cursive Japanese characters, 28 x 28", load_tfds),
    "omniglot": DatasetEntry(
        "32,460 characters of 50 alphabets, made 28 x 28 with strokes as 1", load_tfds
    ),
    "folder:PATH": DatasetEntry("image files below a folder", load_folder),
    "npz:PATH": DatasetEntry("arrays of a .npz file: x_train, x_test", load_npz),
    "idx:PATH": DatasetEntry("a folder with four MNIST-style IDX files", load_idx),
}
"""Data sets by name; a name with a colon is a kind, and takes a path after it."""


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    validation_size: int | None = None,
    split_seed: int = 0,
    *,
    memory_limit: int = MEMORY_LIMIT,
) -> ImageData:
    """Loads a data set as train, validation and test.

    Where the source has no test split, 20 % of it is held out; where it has no
    validation split, one is taken from the training images. Both are taken by a
    permutation with seed `split_seed`.

    Args:
        name: A name in `DATASETS`: "digits", "mnist", "folder:PATH"; any other name is
            tried as a TFDS image data set.
        data_dir: TFDS' folder of prepared data; None for TFDS' default.
        manual_dir: A folder with the original files, for TFDS to prepare them without
            a network.
        image_size: (height, width) to resize the images to.
        validation_size: The number of validation images; None for one in twelve of the
            training images (digits: 10 % of all), 0 for no validation split.
        split_seed: The seed of the permutation that makes the splits.
        memory_limit: Bytes; a TFDS data set whose images take more is read from disk
            as it is used.

    Raises:
        InputError: if there is no such data set, or it cannot be used as asked.
    """
    if is_frame(name) or table_kind(name) is not None:
        raise InputError(
            f"{repr(name) if isinstance(name, str) else 'a DataFrame'} is a table, and "
            "images are wanted; read it with tfvae.data.load_table"
        )
    if not isinstance(name, str) or not name:
        raise _unknown(name)
    split_seed = require_int("split_seed", split_seed, 0, SEEDS)
    memory_limit = require_int("memory_limit", memory_limit, 0, 1 << 62)
    spec = DatasetSpec(
        name=name,
        data_dir=_folder("data_dir", data_dir),
        manual_dir=_folder("manual_dir", manual_dir),
        image_size=check_image_size(image_size),
        validation_size=None
        if validation_size is None
        else require_int("validation_size (--validation-size)", validation_size, 0),
        split_seed=split_seed,
        memory_limit=memory_limit,
    )
    if (kind := _kind(name)) is not None:
        data = DATASETS[kind].load(spec)
    elif name in DATASETS:
        data = DATASETS[name].load(spec)
    elif not is_tfds_name(name):
        raise _unknown(name)
    else:
        try:
            data = load_tfds(spec)
        except tfds.core.DatasetNotFoundError as error:
            raise _unknown(name) from error
    sums = {
        split.name: split.checksum()
        for split in (data.train, data.validation, data.test)
        if isinstance(split, ArraySplit)
    }
    return data._replace(provenance={**data.provenance, "checksums": sums})


def absolute_name(name: str) -> str:
    """Returns a data set's name that is good from any working folder."""
    kind, _, path = name.partition(":")
    if _kind(name) is None or not path:
        return name
    return f"{kind}:{os.path.abspath(os.path.expanduser(path))}"


def _kind(name: str) -> str | None:
    """Returns the entry of `DATASETS` that takes a path, if a name has one."""
    kind, colon, _ = name.partition(":")
    entry = f"{kind}:PATH"
    return entry if colon and entry in DATASETS else None


def _folder(name: str, path: object) -> str | None:
    return None if path is None else str(require_path(name, path))


def _unknown(name: object) -> InputError:
    return InputError(
        f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}, or name an "
        "image data set of TFDS"
    )
