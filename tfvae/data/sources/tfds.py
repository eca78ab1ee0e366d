"""Image data sets through TensorFlow Datasets (TFDS)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.data.images import resize_tensor
from tfvae.data.sources.tfds_builder import make_builder, prepare, quiet
from tfvae.data.spec import DatasetSpec
from tfvae.data.splits import SPLITS, ImageData, StreamSplit, image_data
from tfvae.data.splitting import (
    MASKS_NOTE,
    RawSplit,
    Sizes,
    decide_sizes,
    split_dataset,
)

_BATCH = 256
_LOOKED_AT = 100  # images, to know masks from grey levels
_BUFFER_BYTES = 1 << 28
_BUFFER_IMAGES = 10_000


class ImageFormat(NamedTuple):
    """The usual size and channels of a data set's images, and how to get them."""

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    transform: Callable[[tf.Tensor], tf.Tensor] | None = None
    note: str = ""


def _strokes(image: tf.Tensor) -> tf.Tensor:
    return 255 - image[..., :1]  # black on white in three equal channels


_FORMATS = {
    "omniglot": ImageFormat(
        (28, 28), 1, _strokes, "one channel, inverted: strokes are 1"
    )
}


def load_tfds(spec: DatasetSpec) -> ImageData:
    """Loads a TFDS image data set: in memory if it fits the limit, else as streams.

    Raises:
        InputError: if TFDS has no such data set, it cannot be prepared, or its images
            cannot be used.
    """
    builder = prepare(make_builder(spec), spec)
    form = _FORMATS.get(builder.name, ImageFormat())
    if spec.image_size is not None:
        form = form._replace(image_size=spec.image_size)
    source = _Source(builder, form, _image_shape(builder, form))
    available = {
        split: builder.info.splits[split].num_examples
        for split in SPLITS
        if split in builder.info.splits
    }
    if "train" not in available:
        raise InputError(
            f"data set {spec.name} has the splits {', '.join(builder.info.splits)}; "
            "a split named train is wanted"
        )
    notes = [form.note] if form.note else []
    provenance: dict[str, Any] = {
        "name": spec.name,
        "source": f"TFDS {builder.info.full_name}",
        "preprocessing": notes + spec._replace(image_size=form.image_size).resize_notes,
    }
    if sum(available.values()) * int(np.prod(source.shape)) > spec.memory_limit:
        if source.looks_like_masks():
            source = source._replace(masks=True)
            provenance["preprocessing"].append(MASKS_NOTE)
        return _streams(source, spec, available, provenance)
    raw_splits = {split: source.read(split, n) for split, n in available.items()}
    return split_dataset(spec, raw_splits, provenance)


def _image_shape(builder: Any, form: ImageFormat) -> tuple[int, int, int]:
    """Returns (H, W, C) in the image format, and checks the feature."""
    features = builder.info.features
    names = list(features) if isinstance(features, tfds.features.FeaturesDict) else []
    image = features["image"] if "image" in names else None
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise InputError(
            f"data set {builder.name!r} has the features "
            f"{', '.join(names) or 'none'}; one named image, of 8-bit images, is "
            "wanted"
        )
    height, width, channels = image.shape
    if form.image_size is not None:
        height, width = form.image_size
    if height is None or width is None:
        raise InputError(
            f"the images of {builder.name!r} vary in size; give image_size, height and "
            "width to resize them to (--image-size)"
        )
    return height, width, form.channels or channels


class _Source(NamedTuple):
    """A prepared data set, the format of its images, and their shape in it."""

    builder: Any
    form: ImageFormat
    shape: tuple[int, int, int]
    masks: bool = False

    def looks_like_masks(self) -> bool:
        """True if the first images are bytes 0 and 1."""
        images = self.dataset("train").take(_LOOKED_AT).map(lambda e: e["image"])
        return max(int(image.numpy().max()) for image in images) == 1

    def dataset(
        self, split: str, seed: tf.Tensor | None = None, with_id: bool = False
    ) -> tf.data.Dataset:
        """Returns the decoded feature dictionaries, images in their format."""
        if seed is not None:
            # Shuffles mix in the global seed, and the order is to depend on ours alone.
            tf.compat.v1.get_default_graph().seed = None
        config = tfds.ReadConfig(
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=False,
            add_tfds_id=with_id,
        )
        with quiet():
            examples = self.builder.as_dataset(
                split=split, shuffle_files=seed is not None, read_config=config
            )
        if self.form.transform is None and self.form.image_size is None:
            return examples

        def to_form(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image = example["image"]
            if self.form.transform is not None:
                image = self.form.transform(image)
            if self.form.image_size is not None:
                image = resize_tensor(image, self.form.image_size)
            return {**example, "image": image}

        return examples.map(to_form, tf.data.AUTOTUNE, deterministic=True)

    @property
    def has_labels(self) -> bool:
        """Whether there is a feature label, of classes."""
        features = self.builder.info.features
        label = features["label"] if "label" in features else None
        return isinstance(label, tfds.features.ClassLabel)

    def read(self, split: str, size: int) -> RawSplit:
        """Returns a split of `size` images in memory."""
        images = np.empty((size, *self.shape), np.uint8)
        labels = np.empty(size, np.int64) if self.has_labels else None
        start = 0
        for batch in self.dataset(split).batch(_BATCH).prefetch(2):
            end = start + len(batch["image"])
            images[start:end] = batch["image"].numpy()
            if labels is not None:
                labels[start:end] = batch["label"].numpy()
            start = end
        return RawSplit(images, labels)

    def reader(self, split: str) -> Callable[[tf.Tensor | None], tf.data.Dataset]:
        """Returns the reader of a `StreamSplit`."""
        size = int(np.prod(self.shape))
        buffer = max(100, min(_BUFFER_IMAGES, _BUFFER_BYTES // size))

        def keep(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            identity = tf.strings.to_hash_bucket_fast(example["tfds_id"], (1 << 31) - 1)
            label = example["label"] if self.has_labels else tf.constant(-1, tf.int64)
            image = tf.ensure_shape(example["image"], self.shape)
            if self.masks:
                tf.debugging.assert_less_equal(image, tf.constant(1, tf.uint8))
                image = image * 255
            return image, label, identity

        def read(seed: tf.Tensor | None) -> tf.data.Dataset:
            if seed is None:
                return self.dataset(split, with_id=True).map(keep)
            seed = tf.bitcast(seed, tf.int64)
            images = self.dataset(split, seed, with_id=True).map(keep)
            return images.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)

        return read


def _streams(
    source: _Source,
    spec: DatasetSpec,
    available: dict[str, int],
    provenance: dict[str, Any],
) -> ImageData:
    sizes = decide_sizes(spec.name, available, spec.validation_size)
    made = _slices(available, sizes, spec.split_seed)
    splits = {
        split: StreamSplit(
            split, size, source.shape, source.reader(text), source.has_labels
        )
        for split, (text, size) in made.items()
    }
    origins = {split: text for split, (text, _) in made.items()}
    record = {**provenance, "read": "from disk, as it is used"}
    return image_data(splits, origins, record)


def _slices(
    available: dict[str, int], sizes: Sizes, split_seed: int
) -> dict[str, tuple[str, int]]:
    """Returns TFDS' name and the size of each split.

    The images held out are one slice, whose place the seed decides: a permutation
    would read the disk at random, and TFDS shuffled the examples when it wrote them.
    """
    held_out = sizes.validation + sizes.test
    start = int(
        tf.random.stateless_uniform(
            [], derive_seed(split_seed, "split"), 0, sizes.train + 1, tf.int64
        )
    )
    pieces = [f"train[:{start}]"] * (start > 0)
    pieces += [f"train[{start + held_out}:]"] * (start < sizes.train)
    made = {"train": ("+".join(pieces) if held_out else "train", sizes.train)}
    for split in ("validation", "test"):
        size = getattr(sizes, split)
        if size:
            made[split] = (f"train[{start}:{start + size}]", size)
            start += size
        elif split in sizes.own:
            made[split] = (split, available[split])
    return made
