"""A folder of image files."""

import math
import os
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from tfvae.core.types import InputError, first_line
from tfvae.data.spec import DatasetSpec, check_folder
from tfvae.data.splits import SPLITS, ImageData
from tfvae.data.splitting import RawSplit, split_dataset

_SUFFIXES = tuple(".png .jpg .jpeg .bmp .gif .webp .ppm .pgm .tif .tiff".split())
_GREY_MODES = ("1", "L", "LA", "La")
_WIDE_MODES = ("I", "F")


def load_folder(spec: DatasetSpec) -> ImageData:
    """Loads `folder:PATH`: images below a folder, in the order of their paths.

    Subfolders named train, validation and test are the splits if train is there. If
    all images of all splits are in subfolders, these are the classes and give the
    labels. A GIF gives its first frame. Transparent images are put on black. If grey
    and colour are mixed, all become RGB.

    Raises:
        InputError: if there are no images, one cannot be read, or their sizes differ
            and `image_size` is not given.
    """
    spec.refuse_folders("names its own folder")
    path = spec.path
    root = check_folder(path, "the folder of data set folder")
    has_splits = os.path.isdir(os.path.join(root, "train"))
    folders = {s: os.path.join(root, s) for s in SPLITS} if has_splits else {}
    folders = {s: p for s, p in folders.items() if os.path.isdir(p)} or {"train": root}
    files = {split: _list_images(folder) for split, folder in folders.items()}
    for split, names in files.items():
        if not names:
            raise InputError(
                f"the folder {os.path.relpath(folders[split], root)!r} of {path!r} has "
                f"no images; give files that end in {', '.join(_SUFFIXES)}"
            )
    notes: set[str] = set()
    paths = [os.path.join(folders[s], n) for s, names in files.items() for n in names]
    images = _read_all(paths, spec, notes)
    provenance = spec.provenance(f"image files in {path}")
    provenance["preprocessing"] = sorted(notes)
    labels = _labels(files, provenance)
    raw_splits, start = {}, 0
    for split, names in files.items():
        place = slice(start, start + len(names))
        raw_splits[split] = RawSplit(images, labels).rows(place)
        start = place.stop
    return split_dataset(spec, raw_splits, provenance)


def _list_images(folder: str) -> list[str]:
    """Returns the image files below `folder`, relative to it and sorted."""
    found = [
        os.path.relpath(os.path.join(where, name), folder).replace(os.sep, "/")
        for where, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_SUFFIXES)
        and not name.startswith(".")
        and os.path.isfile(os.path.join(where, name))
    ]
    return sorted(found)


def _labels(files: dict[str, list[str]], provenance: dict[str, Any]) -> Any:
    """Returns int64 [N] if every image is in a class folder, else None."""
    names = [name for split in files.values() for name in split]
    if not all("/" in name for name in names):
        return None
    classes = sorted({name.split("/", 1)[0] for name in names})
    provenance["classes"] = classes
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[name.split("/", 1)[0]] for name in names], np.int64)


def _read_all(paths: list[str], spec: DatasetSpec, notes: set[str]) -> np.ndarray:
    """Returns uint8 [N, H, W, C]."""
    images: list[np.ndarray] = []
    first = None
    for path in paths:
        image = _read(path, notes)  # [H, W, 1] or [H, W, 3]
        image = spec.resized(image[np.newaxis])[0]
        if first is None:
            first = image.shape[:2]
            spec.check_memory("the images", len(paths) * image.size)
        elif image.shape[:2] != first:
            raise InputError(
                f"the images differ in size: {paths[0]} is {_size(first)} and {path} "
                f"is {_size(image.shape)}; give image_size, height and width "
                "(--image-size)"
            )
        images.append(image)
    notes.update(spec.resize_notes)
    if len({image.shape[2] for image in images}) > 1:
        notes.add("grey images made RGB, as others have colour")
        spec.check_memory(
            "the images", 3 * len(images) * math.prod(images[0].shape[:2])
        )
        images = [np.broadcast_to(image, (*image.shape[:2], 3)) for image in images]
    return np.stack(images)


def _size(shape: Iterable[int]) -> str:
    height, width, *_ = shape
    return f"{height} x {width}"


def _read(path: str, notes: set[str]) -> np.ndarray:
    """Returns uint8 [H, W, 1] for a grey image, else [H, W, 3]."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of images so large that they may be an attack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return _to_array(image, path, notes)
    except InputError:
        raise
    except Exception as error:  # decoders fail in many ways
        raise InputError(
            f"{path} cannot be read as an image ({first_line(error)}); repair or "
            "remove it"
        ) from error


def _to_array(image: Image.Image, path: str, notes: set[str]) -> np.ndarray:
    if image.mode.startswith(_WIDE_MODES):
        raise InputError(
            f"{path} has more than 8 bits a channel (mode {image.mode}); give 8-bit "
            "images"
        )
    grey = image.mode in _GREY_MODES
    if image.has_transparency_data:
        notes.add("transparent images put on black")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return array[..., np.newaxis] if grey else array
