"""MNIST's own file format: a folder with four IDX files, plain or gzip."""

import gzip
import io
import math
import os
import zlib

import numpy as np

from tfvae.core.types import InputError, first_line
from tfvae.data.spec import DatasetSpec, check_folder
from tfvae.data.splits import ImageData
from tfvae.data.splitting import RawSplit, split_dataset

_STEMS = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 0x08
_PIECE = 1 << 20


def load_idx(spec: DatasetSpec) -> ImageData:
    """Loads `idx:PATH`, a folder with train-images-idx3-ubyte and its companions.

    The labels and the t10k files may be absent.

    Raises:
        InputError: if a file is missing, damaged, or of another kind.
    """
    spec.refuse_folders("names its own folder")
    path = spec.path
    folder = check_folder(path, "the folder of data set idx")
    raw_splits = {}
    for split, stem in _STEMS.items():
        images_path = _find(folder, f"{stem}-images", 3, spec)
        labels_path = _find(folder, f"{stem}-labels", 1, spec)
        if images_path is not None:
            raw_splits[split] = _read_split(spec, images_path, labels_path)
    if "train" not in raw_splits:
        raise InputError(
            f"the folder {path!r} has no file train-images-idx3-ubyte (or .gz); give "
            "a folder with MNIST-style IDX files"
        )
    return split_dataset(spec, raw_splits, spec.provenance(f"IDX files in {path}"))


def _find(folder: str, stem: str, rank: int, spec: DatasetSpec) -> str | None:
    """Returns the path of a file, plain or packed; both may be there if they agree."""
    paths = [
        os.path.join(folder, f"{stem}{separator}idx{rank}-ubyte{suffix}")
        for separator in "-."
        for suffix in ("", ".gz")
    ]
    found = [path for path in paths if os.path.isfile(path)]
    if not found:
        return None
    first, *others = found
    for other in others:
        one, two = (_read_idx(path, rank, spec) for path in (first, other))
        if not np.array_equal(one, two):
            raise InputError(f"{first} and {other} differ; remove one of them")
    return first


def _read_split(
    spec: DatasetSpec, images_path: str, labels_path: str | None
) -> RawSplit:
    images = _read_idx(images_path, 3, spec)[..., np.newaxis]  # [N, H, W, 1]
    if images.size == 0:
        raise InputError(
            f"{images_path} has no images (shape {images.shape}); give at least one"
        )
    labels = None if labels_path is None else _read_idx(labels_path, 1, spec)
    if labels is not None and len(labels) != len(images):
        raise InputError(
            f"{images_path} has {len(images)} images and {labels_path} has "
            f"{len(labels)} labels; give files that belong together"
        )
    return RawSplit(spec.resized(images), labels)


def _read_idx(path: str, rank: int, spec: DatasetSpec) -> np.ndarray:
    """Returns the array of an IDX file of unsigned bytes, plain or gzip.

    A header alone allocates nothing: reading is bounded by the bytes that are there
    and by the bytes that the header promises.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            return _read_array(file, path, rank, spec)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({first_line(error)}); give a whole file"
        ) from error


def _read_array(
    file: io.BufferedIOBase, path: str, rank: int, spec: DatasetSpec
) -> np.ndarray:
    shape = _read_shape(file, path, rank)
    promised = math.prod(shape)
    spec.check_memory(path, promised)
    data = bytearray()
    while len(data) <= promised:
        piece = file.read(min(_PIECE, promised + 1 - len(data)))
        if not piece:
            break
        data += piece
    if len(data) != promised:
        found = "more" if len(data) > promised else f"{len(data):,}"
        raise InputError(
            f"{path} promises {promised:,} bytes for shape {shape} and has {found}; "
            "give a whole, unchanged file"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_shape(file: io.BufferedIOBase, path: str, rank: int) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise InputError(
            f"{path} begins with {magic!r}, which is no IDX header; give an IDX file"
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise InputError(
            f"{path} has type code 0x{magic[2]:02x}; unsigned bytes (0x08) are wanted"
        )
    if magic[3] != rank:
        kinds = {1: "labels", 3: "images"}
        found = kinds.get(magic[3], "something else")
        raise InputError(
            f"{path} has {magic[3]} axes ({found}) where {rank} ({kinds[rank]}) are "
            "wanted; are the files mixed up?"
        )
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise InputError(f"{path} ends inside its header; give a whole file")
    return tuple(int(n) for n in np.frombuffer(header, ">u4"))
