"""A folder of image files."""

import math
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tfvae.core.types import InputError
from tfvae.data.sources.image_files import ENDINGS, read_image
from tfvae.data.spec import DatasetSpec, check_folder
from tfvae.data.splits import ImageData
from tfvae.data.splitting import RawSplit, split_dataset

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
# Folders that systems and programs make; all that begin with a dot are hidden too.
_SYSTEM = ("__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found")


class _Files(NamedTuple):
    """The files below a folder.

    Attributes:
        images: The paths of image files from there, with / between their parts, sorted.
        folders: The names of the folders in it.
        others: Ending -> the number of files that are no images.
        hidden: The number of hidden files and folders, which are not looked at.
    """

    images: list[str]
    folders: list[str]
    others: Counter[str]
    hidden: int


def load_folder(spec: DatasetSpec) -> ImageData:
    """Loads `folder:PATH`: images below a folder, in the order of their paths.

    Subfolders named train, validation and test (or training, valid, val, dev, testing;
    in any case) are the splits, if there are no images beside them. If all images of
    all splits are in subfolders, these are the classes and give the labels. Links are
    followed. Hidden files and files of other endings are left out, and counted in the
    provenance. `read_image` says how files become pixels. If grey and colour are mixed,
    all become RGB.

    Raises:
        InputError: if there are no images, a file or folder cannot be read, the names
            leave open what the splits are, or sizes differ and `image_size` is not
            given.
    """
    spec.refuse_folders("names its own folder")
    path = spec.path
    root = check_folder(path, "the folder of data set folder")
    found = _list_files(root)
    folders = _split_folders(found, path)  # of each split, "" for the root
    files = {split: _below(found.images, folder) for split, folder in folders.items()}
    for split, names in files.items():
        if not names:
            raise InputError(
                f"the folder {folders[split] or '.'!r} of {path!r} has no images; give "
                f"files that end in {', '.join(ENDINGS)}"
            )
    notes: set[str] = set()
    paths = [os.path.join(root, folders[s], n) for s, ns in files.items() for n in ns]
    images = _read_all(paths, spec, notes)
    provenance = spec.provenance(f"image files in {path}")
    provenance["preprocessing"] = sorted(notes)
    if found.others or found.hidden:
        counts = [f"{n} {ending}" for ending, n in sorted(found.others.items())]
        counts += [f"{found.hidden} hidden"] if found.hidden else []
        provenance["left_out"] = ", ".join(counts)
    labels = _labels(files, provenance)
    raw_splits, start = {}, 0
    for split, names in files.items():
        place = slice(start, start + len(names))
        raw_splits[split] = RawSplit(images, labels).rows(place)
        start = place.stop
    return split_dataset(spec, raw_splits, provenance)


def _list_files(root: str) -> _Files:
    """Looks below a folder, through links.

    Raises:
        InputError: if a folder cannot be read, or a file is a link to nothing.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); change its "
            "permissions, or move it away"
        ) from error

    found = _Files([], [], Counter(), 0)
    for where, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        seen = [f for f in folders if not (f.startswith(".") or f in _SYSTEM)]
        shown = [name for name in names if not name.startswith(".")]
        hidden = len(folders) - len(seen) + len(names) - len(shown)
        found = found._replace(hidden=found.hidden + hidden)
        folders[:] = [folder for folder in seen if not _is_loop(root, where, folder)]
        if where == root:
            found.folders.extend(sorted(folders))
        for name in shown:
            ending = os.path.splitext(name)[1].lower()
            path = os.path.join(where, name)
            if ending not in ENDINGS:
                found.others[ending or "without ending"] += 1
            elif os.path.isfile(path):
                found.images.append(os.path.relpath(path, root).replace(os.sep, "/"))
            else:
                raise InputError(
                    f"{path} is no file, but a link to nothing or a device; repair or "
                    "remove it"
                )
    found.images.sort()
    return found


def _is_loop(root: str, where: str, folder: str) -> bool:
    """True for a link to a folder that it is in, on the way from the root."""
    path = os.path.join(where, folder)
    if not os.path.islink(path):
        return False
    real = os.path.realpath(path)
    while len(where) >= len(root):
        if os.path.realpath(where) == real:
            return True
        where = os.path.dirname(where)
    return False


def _split_folders(found: _Files, path: str) -> dict[str, str]:
    """Returns the folder of each split; "" of the only one if there are none.

    Raises:
        InputError: if the names may mean splits, and may mean classes.
    """
    named = {
        split: [folder for folder in found.folders if folder.lower() in names]
        for split, names in _SPLIT_NAMES.items()
    }
    named = {split: folders for split, folders in named.items() if folders}
    used = [folder for folders in named.values() for folder in folders]
    others = sorted({n.partition("/")[0] for n in found.images}.difference(used))
    if not used:
        return {"train": ""}
    if list(named) == ["train"] and others and set(others) <= set(found.folders):
        return {"train": ""}  # beside other classes, a train is one
    if others or "train" not in named or len(used) > len(named):
        beside = f", and beside them images in {', '.join(others)}" if others else ""
        raise InputError(
            f"the folder {path!r} has {', '.join(used)}{beside}: these may be splits, "
            "or classes. For splits, leave one folder each of train, validation and "
            "test, of which train must be there, and nothing beside them; for classes, "
            "rename these"
        )
    return {split: folders[0] for split, folders in named.items()}


def _below(images: list[str], folder: str) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return [name[len(prefix) :] for name in images if name.startswith(prefix)]


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
        image = read_image(path, notes)  # [H, W, 1] or [H, W, 3]
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
