"""Batches as `tf.data`: every batch is a function of (seed, step), none is stored."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from tfvae.core.lookup import lookup
from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.sharding import BatchShard
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int
from tfvae.data.binarization import BINARIZATIONS, Binarization, bernoulli
from tfvae.data.images import to_grey
from tfvae.data.splits import ArraySplit, Split, StreamSplit, check_split

_DRAW_CHUNK = 1_000  # images; fixed draws depend on it, so never change it
_PREFETCH = 8
_BATCH_SIZE = "batch_size (--batch-size)"

Element: TypeAlias = tf.Tensor | dict[str, tf.Tensor]
"""Images, or a dictionary of them with their labels."""


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns the number of batches that show every image once.

    The last one may be smaller.

    Raises:
        InputError: if `batch_size` is no int of at least 1, or larger than the split.
    """
    batch_size = require_int(_BATCH_SIZE, batch_size)
    check_split(split)
    if batch_size > len(split):
        raise InputError(
            f"batch_size {batch_size} is larger than the {split.name} split, which has "
            f"{len(split)} images; give at most that (--batch-size)"
        )
    return -(-len(split) // batch_size)


def training_batches(
    split: Split,
    batch_size: int,
    *,
    binarization: str,
    seed: Seed,
    binarization_seed: Seed | None = None,
    start_step: int = 0,
    on_device: bool = False,
    labels: bool = False,
) -> tf.data.Dataset:
    """Returns endless shuffled batches; batch t is a function of (seed, t).

    Each epoch shows every image exactly once, in an order that depends on (seed,
    epoch) alone. If `batch_size` does not divide the number of images, the last batch
    of each epoch is smaller.

    Args:
        split: The images.
        batch_size: Images in a batch, B.
        binarization: A name in `BINARIZATIONS`. "dynamic" draws anew at each step,
            "fixed" uses the draw that `evaluation_batches` uses.
        seed: The root seed of the order and of the draws.
        binarization_seed: The root seed of the draw of "fixed" instead, so that runs
            with different seeds can share it; None: `seed`.
        start_step: The global step of the first batch. An `ArraySplit` reaches it in
            O(1). A `StreamSplit` begins at its epoch and skips the batches before it
            there, O(N).
        on_device: Leave the draws of "dynamic" to the training step, which makes the
            same ones (`VAE.compile(binarize=True)`): a quarter of the bytes go to a
            GPU, and the host has less to do.
        labels: Deliver labels with their images.

    Returns:
        A data set of float32 [B, H, W, C], of infinite cardinality; with `on_device`
        of the split's own dtype. With `labels` its elements are dictionaries of these
        as "x", and of int64 [B], -1 where unknown, as "label".

    Raises:
        InputError: if an argument is not usable.
    """
    steps = steps_per_epoch(split, batch_size)
    kind = lookup(BINARIZATIONS, binarization, "binarization")
    start_step = require_int("start_step", start_step, least=0)
    if on_device:
        if kind.draws != "step":
            raise InputError(
                f"on_device has no effect with binarization {binarization!r}; leave it "
                "out, or use 'dynamic'"
            )
        kind = kind._replace(is_binary=False)  # until the step draws
    fixed_seed = as_seed(seed if binarization_seed is None else binarization_seed)
    if labels:
        _check_labels(split)
    how = (batch_size, steps, kind, (as_seed(seed), fixed_seed), start_step, labels)
    if isinstance(split, ArraySplit):
        return _array_training(split, *how)
    return _stream_training(split, *how)


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    binarization: str,
    seed: Seed,
    limit: int | None = None,
    labels: bool = False,
) -> tf.data.Dataset:
    """Returns batches of each image once, in order; the last may be smaller.

    "dynamic" and "fixed" both use one seeded draw per image, which depends on the
    split's name, its images and the seed, and not on `batch_size` or `limit`.

    Args:
        split: The images.
        batch_size: Images in a batch, B; may be larger than the split.
        binarization: A name in `BINARIZATIONS`.
        seed: The root seed of the draw.
        limit: The number of images to use, the first ones; None for all.
        labels: Deliver labels with their images.

    Returns:
        A data set of float32 [B, H, W, C], of known cardinality. With `labels` its
        elements are dictionaries of these as "x", and of int64 [B], -1 where unknown,
        as "label".

    Raises:
        InputError: if an argument is not usable.
    """
    batch_size = require_int(_BATCH_SIZE, batch_size)
    check_split(split)
    size = len(split)
    if limit is not None:
        size = min(size, require_int("limit (--limit)", limit))
    kind = lookup(BINARIZATIONS, binarization, "binarization")
    steps = -(-size // batch_size)
    if labels:
        _check_labels(split)
    if isinstance(split, StreamSplit):
        draw = _stream_transform(split, kind, as_seed(seed), labels)
        batches = split.read(None).take(size).map(draw, tf.data.AUTOTUNE)
        batches = batches.batch(batch_size).apply(
            tf.data.experimental.assert_cardinality(steps)
        )
        return in_order(batches)
    images, transform = _array_source(split, kind, as_seed(seed), size)
    known = tf.constant(split.labels) if labels else None  # [N]

    def batch(step: tf.Tensor) -> Element:
        start = step * batch_size
        end = tf.minimum(start + batch_size, size)
        x = transform(images[start:end])
        return x if known is None else {"x": x, "label": known[start:end]}

    return in_order(tf.data.Dataset.range(steps).map(batch, tf.data.AUTOTUNE))


def _array_training(
    split: ArraySplit,
    batch_size: int,
    steps: int,
    kind: Binarization,
    seeds: tuple[tf.Tensor, tf.Tensor],
    start_step: int,
    labels: bool,
) -> tf.data.Dataset:
    size = len(split)
    seed, fixed_seed = seeds
    order_seed = derive_seed(seed, f"order/{split.name}")
    draw_seed = draw_seed_of(seed)
    if kind.draws == "step":
        images = split.tensor()
    else:
        images, transform = _array_source(split, kind, fixed_seed, size)
    known = tf.constant(split.labels) if labels else None  # [N]

    def batch(step: tf.Tensor) -> Element:
        order = _fold(order_seed, step // steps)
        indices = shuffled_rows(step % steps, batch_size, size, order)  # [B]
        chosen = tf.gather(images, indices)  # [B, H, W, C]
        if kind.draws == "step":
            x = _draw(kind, chosen, draw_seed, step)
        else:
            x = transform(chosen)
        return x if known is None else {"x": x, "label": tf.gather(known, indices)}

    counter = tf.data.Dataset.counter(start_step)
    return in_order(counter.map(batch, tf.data.AUTOTUNE))


def shuffled_rows(
    position: tf.Tensor, batch_size: int, size: int, seed: tf.Tensor
) -> tf.Tensor:
    """Returns the rows [B] of a batch of an epoch, in O(B).

    Args:
        position: The number of the batch in its epoch.
        batch_size: B; the last batch of an epoch may be smaller.
        size: The number of rows there are.
        seed: The seed of the epoch's order.
    """
    start = position * batch_size
    places = tf.range(start, tf.minimum(start + batch_size, size))  # [B]
    return tf.random.experimental.index_shuffle(places, seed, size - 1)


def _array_source(
    split: ArraySplit, kind: Binarization, seed: tf.Tensor, size: int
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns a tensor to read from, and the function from its rows to pixels."""
    if kind.draws == "never":
        return split.tensor(), lambda rows: kind.apply(to_grey(rows), None)
    drawn = fixed_draw(split, seed, size)
    return drawn, lambda rows: tf.cast(rows, tf.float32)


def fixed_draw(split: ArraySplit, seed: Seed, size: int | None = None) -> tf.Tensor:
    """Returns the one seeded draw of the first `size` images.

    Args:
        split: Images in memory.
        seed: The root seed, which the split's name changes.
        size: The number of images; None for all.

    Returns:
        Uint8 zeros and ones, [size, H, W, C].
    """
    size = len(split) if size is None else size
    root = derive_seed(seed, f"binarization/{split.name}")
    chunks = []
    with tf.device("CPU:0"):
        for chunk in range(-(-size // _DRAW_CHUNK)):
            rows = split.images[chunk * _DRAW_CHUNK : (chunk + 1) * _DRAW_CHUNK]
            drawn = bernoulli(to_grey(tf.constant(rows)), _fold(root, chunk))
            chunks.append(tf.cast(drawn, tf.uint8))
        return tf.concat(chunks, axis=0)[:size]


def _stream_training(
    split: StreamSplit,
    batch_size: int,
    steps: int,
    kind: Binarization,
    seeds: tuple[tf.Tensor, tf.Tensor],
    start_step: int,
    labels: bool,
) -> tf.data.Dataset:
    seed, fixed_seed = seeds
    order_seed = derive_seed(seed, f"order/{split.name}")
    draw_seed = draw_seed_of(seed)
    drawn = kind.draws != "step"  # the others are drawn with the number of their step
    transform = _stream_transform(split, kind, fixed_seed, labels, drawn)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        images = split.read(_fold(order_seed, epoch))
        return images.map(transform, tf.data.AUTOTUNE).batch(batch_size)

    def redraw(step: tf.Tensor, batch: Element) -> Element:
        if labels:
            return {**batch, "x": _draw(kind, batch["x"], draw_seed, step)}
        return _draw(kind, batch, draw_seed, step)

    first_epoch, skipped = divmod(start_step, steps)
    batches = tf.data.Dataset.counter(first_epoch).flat_map(epoch_batches).skip(skipped)
    if kind.draws == "step":
        batches = batches.enumerate(start_step).map(redraw, tf.data.AUTOTUNE)
    return in_order(batches)


def _stream_transform(
    split: StreamSplit,
    kind: Binarization,
    seed: tf.Tensor,
    labels: bool,
    drawn: bool = True,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Element]:
    """Returns a function of (image, label, id) that gives an element of a batch.

    The image is drawn from, or left as it is. The seed of the draw is a function of the
    id, and so the same in any order.
    """
    root = derive_seed(seed, f"binarization/{split.name}")

    def transform(image: tf.Tensor, label: tf.Tensor, identity: tf.Tensor) -> Element:
        draw_seed = None if kind.draws == "never" else _fold(root, identity)
        x = kind.apply(to_grey(image), draw_seed) if drawn else image
        return {"x": x, "label": label} if labels else x

    return transform


def draw_seed_of(seed: Seed) -> tf.Tensor:
    """Returns the seed of the draws of "dynamic", into which the step is folded."""
    return derive_seed(seed, "binarization/train/step")


def drawn_at_step(
    images: tf.Tensor, seed: Seed, step: tf.Tensor, rows: BatchShard | None = None
) -> tf.Tensor:
    """Returns the draw that binarization "dynamic" makes of a batch at a step.

    Args:
        images: [B, H, W, C] Uint8, or float32 in [0, 1].
        seed: The root seed of `training_batches`.
        step: The global step.
        rows: The rows of the global batch that the images are; None: all of it.

    Returns:
        Float32 zeros and ones [B, H, W, C].
    """
    global_images = images if rows is None else rows.padded(images)
    drawn = bernoulli(to_grey(global_images), _fold(draw_seed_of(seed), step))
    return drawn if rows is None else rows.own(drawn)


def _draw(
    kind: Binarization, images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor
) -> tf.Tensor:
    """Draws a batch, unless the training step does."""
    if not kind.is_binary:
        return images
    return kind.apply(to_grey(images), _fold(seed, step))


def _fold(seed: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
    # The last step of derive_seed; the part that no step changes is done beforehand.
    return tf.random.fold_in(seed, tf.cast(step, tf.int32))


def _check_labels(split: Split) -> None:
    """Refuses labels of a split that has none."""
    if not split.has_labels:
        raise InputError(
            f"the {split.name} split has no labels; leave labels out, or give data "
            "that have them"
        )


def in_order(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns batches that are made ahead in parallel, and come in their order."""
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(_PREFETCH)
