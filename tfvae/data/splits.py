"""Loaded data sets: splits of images and their provenance."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.data.images import to_grey

SPLITS = ("train", "validation", "test")
MEAN_IMAGES = 10_000
_CHUNK = 1_000
_NAMED = 10  # classes in the description of a data set


class ArraySplit:
    """Images in memory.

    Attributes:
        name: "train", "validation" or "test".
        images: [N, H, W, C], uint8, or float32 in [0, 1]; read-only.
        labels: [N] int64, -1 where unknown, or None; read-only.
    """

    def __init__(
        self, name: str, images: np.ndarray, labels: np.ndarray | None = None
    ) -> None:
        if not isinstance(images, np.ndarray):
            raise InputError(
                f"the {name} images are a {type(images).__name__}; give a NumPy array"
            )
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
            raise InputError(
                f"the {name} images have shape {images.shape} and dtype "
                f"{images.dtype}; give [N, H, W, C] in uint8 or float32"
            )
        if len(images) == 0 or 0 in images.shape:
            raise InputError(
                f"the {name} split has no images (shape {images.shape}); "
                "give at least one"
            )
        # Not "<": NaN is neither below 0 nor above 1.
        if images.dtype == np.float32 and not (images.min() >= 0 and images.max() <= 1):
            raise InputError(
                f"the {name} images have values from {images.min():g} to "
                f"{images.max():g}; floats in [0, 1] are wanted"
            )
        kind = getattr(getattr(labels, "dtype", None), "kind", "")
        if labels is not None and kind not in ("i", "u"):
            raise InputError(
                f"the {name} split's labels are no array of ints; give int64 [N], or "
                "None"
            )
        if labels is not None and labels.shape != (len(images),):
            raise InputError(
                f"the {name} split has {len(images)} images and labels of shape "
                f"{labels.shape}; give one label an image"
            )
        if labels is not None:
            check_labels(f"the {name} split's labels", labels)
        self.name = name
        self.images = _read_only(images)
        self.labels = (
            None if labels is None else _read_only(labels.astype(np.int64, copy=False))
        )
        self._tensor: tf.Tensor | None = None

    @property
    def has_labels(self) -> bool:
        """Whether the images have labels."""
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ArraySplit({self.name!r}, {len(self)} images of {self.image_shape})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (H, W, C)."""
        return self.images.shape[1:]

    def tensor(self) -> tf.Tensor:
        """Returns the images as one tensor [N, H, W, C] in the host's memory."""
        if self._tensor is None:
            with tf.init_scope(), tf.device("CPU:0"):
                self._tensor = tf.constant(self.images)
        return self._tensor

    def checksum(self) -> str:
        """Returns 16 hexadecimal digits of the images' SHA-256, to notice a change."""
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()[:16]

    def mean_image(self) -> np.ndarray:
        """Returns the mean over all images, float32 [H, W, C] in [0, 1]."""
        total = np.zeros(self.image_shape, np.float64)
        for start in range(0, len(self), _CHUNK):  # bounds the float64 copy
            total += self.images[start : start + _CHUNK].sum(axis=0, dtype=np.float64)
        scale = 255.0 if self.images.dtype == np.uint8 else 1.0
        return (total / (len(self) * scale)).astype(np.float32)

    def first(self, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the first `n` images and their labels; fewer where there are fewer.

        Returns:
            Float32 grey values in [0, 1], [n, H, W, C], and int64 [n] or None.
        """
        require_int("n", n)
        grey = to_grey(tf.constant(self.images[:n])).numpy()
        return grey, None if self.labels is None else self.labels[:n]


class StreamSplit:
    """Images that are read from disk as they are used, never all at once.

    Args:
        name: "train", "validation" or "test".
        size: The number of images.
        image_shape: (H, W, C).
        read: Takes None (in order) or an integer seed of shape [2] (shuffled) and
            returns a data set of (image [H, W, C], label, id), both int64: the label -1
            where it is unknown, the id one that stays with the image in whatever order
            it is read.
        has_labels: Whether the reader knows the images' labels.
    """

    labels = None  # they are read with their images

    def __init__(
        self,
        name: str,
        size: int,
        image_shape: tuple[int, int, int],
        read: Callable[[tf.Tensor | None], tf.data.Dataset],
        has_labels: bool = False,
    ) -> None:
        if size < 1:
            raise InputError(f"the {name} split has no images; give at least one")
        self.name = name
        self.image_shape = (*image_shape,)
        self.read = read
        self.has_labels = has_labels
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"StreamSplit({self.name!r}, {len(self)} images of {self.image_shape})"

    def mean_image(self) -> np.ndarray:
        """Returns the mean over the first 10,000 images, float32 [H, W, C]."""
        total, count = np.zeros(self.image_shape, np.float64), 0
        images = self.read(None).take(MEAN_IMAGES).map(lambda image, *_: image)
        for batch in images.batch(_CHUNK):
            total += to_grey(batch).numpy().sum(axis=0, dtype=np.float64)
            count += len(batch)
        return (total / count).astype(np.float32)

    def first(self, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the first `n` images and their labels as `ArraySplit.first` does."""
        require_int("n", n)
        examples = list(self.read(None).take(n))
        images = np.stack([to_grey(image).numpy() for image, _, _ in examples])
        labels = np.array([int(label) for _, label, _ in examples])
        return images, labels if self.has_labels else None


Split = ArraySplit | StreamSplit


class ImageData(NamedTuple):
    """A loaded data set, whose images have one shape (H, W, C) in all splits.

    Models are chosen by `validation`, which is None if switched off. The provenance, of
    source, splits, sizes and preprocessing, is what `json.dumps` takes.
    """

    train: Split
    validation: Split | None
    test: Split
    image_shape: tuple[int, int, int]
    provenance: dict[str, Any]


def image_data(
    splits: Mapping[str, Split], origins: Mapping[str, str], provenance: dict[str, Any]
) -> ImageData:
    """Returns the splits as one data set, whose provenance has where they come from.

    Raises:
        InputError: if the splits' images differ in shape.
    """
    image_shape = splits["train"].image_shape
    for name, split in splits.items():
        if split.image_shape != image_shape:
            raise InputError(
                f"the {name} images have shape {split.image_shape} and the train "
                f"images {image_shape}; give image_size (--image-size), and the same "
                "number of channels"
            )
    record = {
        **provenance,
        "splits": {n: origins.get(n, "none: validation_size is 0") for n in SPLITS},
        "image_shape": list(image_shape),
        "sizes": {name: len(split) for name, split in splits.items()},
    }
    return ImageData(
        splits["train"], splits.get("validation"), splits["test"], image_shape, record
    )


def check_labels(name: str, labels: np.ndarray) -> None:
    """Refuses integers that are no labels: below -1, which stands for unknown, or wide.

    Raises:
        InputError: if there are such.
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < -1 or high > np.iinfo(np.int64).max:
        raise InputError(
            f"{name} go from {low} to {high}; give classes from 0 up, and -1 where a "
            "class is unknown"
        )


def describe(data: ImageData) -> list[str]:
    """Returns what a data set was found to hold, and what was done to it, in words."""
    record, splits = data.provenance, (data.train, data.validation, data.test)
    sizes = [f"{len(split):,} {split.name}" for split in splits if split is not None]
    shape = " x ".join(map(str, data.image_shape))
    line = f"data: {', '.join(sizes)} images of {shape}"
    if record.get("classes"):
        classes = record["classes"]
        more = ", ..." if len(classes) > _NAMED else ""
        line += f", {len(classes)} classes ({', '.join(classes[:_NAMED])}{more})"
    lines = [line, *record["preprocessing"]]
    if record.get("left_out"):
        lines.append(f"left out: {record['left_out']}")
    return lines


def check_split(split: object) -> None:
    """Refuses an object that is no split."""
    if not isinstance(split, (ArraySplit, StreamSplit)):
        raise InputError(
            f"a {type(split).__name__} is no split; give one of tfvae.data.load, or an "
            "ArraySplit of images"
        )


def _read_only(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array
