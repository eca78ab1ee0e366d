"""Arrays from a NumPy .npz file, never unpickled."""

import contextlib
import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfvae.core.types import InputError, first_line
from tfvae.data.spec import DatasetSpec
from tfvae.data.splits import ArraySplit, ImageData, check_labels
from tfvae.data.splitting import RawSplit, split_dataset

_WORDS = {"train": ("train",), "test": ("test",), "validation": ("validation", "val")}
_BARE_IMAGES = ("images", "x", "data")
_BARE_LABELS = ("labels", "y")
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that NumPy writes
_ROUNDING = 1e-3  # beyond 0 and 1
_MOST_EXAMPLES = 2 << 30  # bytes of a file of examples alone
_HEADER = 1 << 16  # NumPy's own headers have some 128 bytes, and at most 10,000
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,  # encrypted; NotImplementedError: an unknown compression
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)


def load_npz(spec: DatasetSpec) -> ImageData:
    """Loads `npz:PATH`: x_train (or train_images, images, x, data), x_test, y_train.

    Images are [N, H, W], [N, H, W, C], or [N, D] with D a square; uint8, or floats in
    [0, 1].

    Raises:
        InputError: if the file or its arrays cannot be used.
    """
    spec.refuse_folders("names its own file")
    path = spec.path
    with _open(path) as arrays:
        used = _find_splits(arrays, path)
        _check_headers(path, [n for pair in used.values() for n in pair if n], spec)
        raw_splits = {s: _raw_split(*names, arrays, spec) for s, names in used.items()}
        others = sorted(set(arrays).difference(*used.values()))
    provenance = spec.provenance(f"arrays of {path}")
    if others:
        provenance["left_out"] = f"the arrays {', '.join(others)}"
    return split_dataset(spec, raw_splits, provenance)


class Examples(NamedTuple):
    """The arrays of a file, whose values have not been looked at.

    Attributes:
        name: What messages call the images.
        images: [N, H, W, C]
        labels: [N] int64, or None.
        observed: The array of that name beside the images, as it is, or None.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None = None
    observed: np.ndarray | None = None


def read_examples(path: str) -> ArraySplit:
    """Reads the images of a .npy file, or of a .npz file that has one array of them.

    In a .npz they are `x`, `images` or `data`, or else those of the test split, with
    their labels if there are any. Images are those of `npz:PATH`.

    Raises:
        InputError: if the file or its arrays cannot be used.
    """
    found = read_arrays(path)
    return ArraySplit("new", check_values(found.name, found.images), found.labels)


def read_arrays(path: str, mask: bool = False) -> Examples:
    """Reads the arrays of a file of examples, with `mask` also `observed` if there.

    Raises:
        InputError: if the file cannot be read, or its arrays have other shapes.
    """
    if path.endswith(".npy"):
        return Examples(path, check_shape(path, _read_npy(path)))
    spec = DatasetSpec(path, None, None, None, None, 0, _MOST_EXAMPLES)
    with _open(path) as arrays:
        images, labels = _only_examples(path, arrays)
        observed = "observed" if mask and "observed" in arrays else None
        names = [name for name in (images, labels, observed) if name]
        _check_headers(path, names, spec)
        return _loaded(images, labels, arrays, spec, observed)


def _read_npy(path: str) -> np.ndarray:
    expanded = os.path.expanduser(path)
    if not os.path.isfile(expanded):
        raise InputError(f"{path!r} is no file; give the path of a .npy file")
    try:
        # A map of the file, which is refused where it is shorter than it promises.
        return np.asarray(np.load(expanded, mmap_mode="r", allow_pickle=False))
    except _DAMAGE as error:
        raise InputError(
            f"{path!r} cannot be read ({first_line(error)}); give a whole .npy file of "
            "a plain array"
        ) from error


def _only_examples(path: str, arrays: np.lib.npyio.NpzFile) -> tuple[str, str | None]:
    """Returns the names of a file's images, and of their labels or None."""
    pairs = [
        (_find(arrays, ("x", "images", "X"), "test", _WORDS["test"], ()), "test"),
        (_find(arrays, (), "train", (), _BARE_IMAGES), "train"),
    ]
    images, split = pairs[1] if pairs[1][0] is not None else pairs[0]
    if images is None:
        raise InputError(
            f"{path!r} has the arrays {', '.join(arrays) or 'none'}; one named x, "
            "images, data or x_test is wanted"
        )
    words, bare = (_WORDS["test"], ()) if split == "test" else ((), _BARE_LABELS)
    return images, _find(arrays, ("y", "labels", "Y"), split, words, bare)


def _find_splits(
    arrays: np.lib.npyio.NpzFile, path: str
) -> dict[str, tuple[str, str | None]]:
    """Returns the names of each split's images, and of its labels if there are any."""
    used = {}
    for split, words in _WORDS.items():
        images = _find(arrays, ("x", "images", "X"), split, words, _BARE_IMAGES)
        labels = _find(arrays, ("y", "labels", "Y"), split, words, _BARE_LABELS)
        if images is not None:
            used[split] = (images, labels)
    if "train" not in used:
        raise InputError(
            f"{path!r} has the arrays {', '.join(arrays) or 'none'}; one named "
            "x_train, train_images, images, x or data is wanted"
        )
    return used


def _find(
    arrays: Mapping[str, np.ndarray],
    stems: tuple[str, ...],
    split: str,
    words: tuple[str, ...],
    bare: tuple[str, ...],
) -> str | None:
    """Returns the array's name of x_train, train_x, images_train, X_train; or None.

    Raises:
        InputError: if there are several of them.
    """
    pairs = [(stem, word) for word in words for stem in stems]
    names = [name for s, w in pairs for name in (f"{s}_{w}", f"{w}_{s}")]
    names += bare if split == "train" else ()
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise InputError(
            f"the file has the arrays {' and '.join(found)}, and one is wanted for the "
            f"{split} split; leave the others out"
        )
    return found[0] if found else None


def _open(path: str) -> np.lib.npyio.NpzFile:
    expanded = os.path.expanduser(path)
    if not os.path.isfile(expanded):
        raise InputError(f"{path!r} is no file; give the path of a .npz file")
    if not zipfile.is_zipfile(expanded):
        raise InputError(f"{path!r} is not a .npz file; write one with numpy.savez")
    with _whole(path):
        with zipfile.ZipFile(expanded) as archive:
            names = archive.namelist()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"{path!r} has {twice[0]} twice; write a file in which each array is "
                "there once"
            )
        return np.load(expanded, allow_pickle=False)


def _check_headers(path: str, names: Sequence[str], spec: DatasetSpec) -> None:
    """Looks at arrays that are used; NumPy allocates the bytes that headers promise."""
    with _whole(path), zipfile.ZipFile(os.path.expanduser(path)) as archive:
        for name in names:
            entry = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
            _check_header(archive, archive.getinfo(entry), path, spec)


@contextlib.contextmanager
def _whole(path: str) -> Iterator[None]:
    """Turns what reading a damaged file raises into one line."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{path!r} cannot be read ({first_line(error)}); give a whole .npz file of "
            "plain arrays"
        ) from error


def _check_header(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str, spec: DatasetSpec
) -> None:
    spec.check_memory(f"{entry.filename} of {path!r}", entry.file_size)
    if entry.compress_type not in _PACKINGS:
        # Python unpacks these without a limit, whatever size the file says.
        raise InputError(
            f"{entry.filename} of {path!r} is packed in a way that NumPy does not "
            "write; save it with numpy.savez"
        )
    with archive.open(entry) as packed:
        file = io.BytesIO(packed.read(_HEADER))  # a header may promise gigabytes
        # Version 3.0 has the layout of 2.0, and names in UTF-8.
        version = np.lib.format.read_magic(file)
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0
        shape, _, dtype = (read if first else np.lib.format.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise InputError(
            f"{entry.filename} of {path!r} holds Python objects, which are never "
            "unpickled; save plain arrays"
        )
    if file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise InputError(
            f"{entry.filename} of {path!r} promises shape {shape} of {dtype} and has "
            f"{entry.file_size} bytes; give a whole file"
        )


def _raw_split(
    images_name: str,
    labels_name: str | None,
    arrays: Mapping[str, np.ndarray],
    spec: DatasetSpec,
) -> RawSplit:
    found = _loaded(images_name, labels_name, arrays, spec)
    images = check_values(images_name, found.images)
    return RawSplit(spec.resized(images), found.labels)


def _loaded(
    images_name: str,
    labels_name: str | None,
    arrays: Mapping[str, np.ndarray],
    spec: DatasetSpec,
    observed_name: str | None = None,
) -> Examples:
    names = (images_name, labels_name, observed_name)
    try:
        images, labels, observed = (arrays[name] if name else None for name in names)
    except _DAMAGE as error:
        raise InputError(
            f"{images_name} of {spec.name!r} cannot be read ({first_line(error)}); "
            "give a whole .npz file"
        ) from error
    assert images is not None
    images = check_shape(images_name, images)
    if images.dtype != np.uint8:  # is made float32
        spec.check_memory(images_name, 4 * images.size)
    if labels_name is not None and labels is not None:
        labels = _check_labels(labels_name, labels, images_name, len(images))
    return Examples(images_name, images, labels, observed)


def check_shape(name: str, images: np.ndarray) -> np.ndarray:
    """Returns the images as [N, H, W, C]."""
    if images.size == 0:
        raise InputError(f"{name} is empty (shape {images.shape}); give images")
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.ndim == 4:
        return images
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    if images.ndim != 2 or side * side != images.shape[1]:
        raise InputError(
            f"{name} has shape {images.shape}; give [N, H, W], [N, H, W, C], or [N, D] "
            "with D a square number"
        )
    return images.reshape(len(images), side, side, 1)


def check_values(name: str, images: np.ndarray) -> np.ndarray:
    """Returns uint8, or float32 in [0, 1]."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.bool_:
        return images.astype(np.float32)
    if images.dtype.kind != "f":
        raise InputError(
            f"{name} has dtype {images.dtype}; give uint8, or floats in [0, 1]"
        )
    if not np.isfinite(images).all():
        count = int(images.size - np.isfinite(images).sum())
        raise InputError(
            f"{name} has {count} values that are NaN or infinite; give floats in [0, 1]"
        )
    low, high = float(images.min()), float(images.max())
    if low < 0.0 or high > 1.0:
        advice = ""
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            advice = "; this looks like rounding: use numpy.clip(x, 0, 1)"
        elif low >= 0 and 2 <= high <= 255:
            advice = "; divide by 255 or save as uint8"
        raise InputError(
            f"{name} has values from {low:g} to {high:g}; floats in [0, 1] are wanted"
            f"{advice}"
        )
    return images.astype(np.float32)


def _check_labels(
    name: str, labels: np.ndarray, images_name: str, size: int
) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != (size,):
        raise InputError(
            f"{name} has shape {labels.shape} and dtype {labels.dtype}, and "
            f"{images_name} has {size} images; give one integer label an image"
        )
    check_labels(name, labels)
    return labels.astype(np.int64)
