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
from tfvae.data.holes import Holes
from tfvae.data.images import to_grey
from tfvae.data.splits import ArraySplit, Split, StreamSplit, check_split

_DRAW_CHUNK = 1_000  # images; fixed draws depend on it, so never change it
_PREFETCH = 8
_LABEL_ROLES = ("label", "condition")
_BATCH_SIZE = "batch_size (--batch-size)"

Element: TypeAlias = tf.Tensor | dict[str, tf.Tensor]
"""Images, or a dictionary of them with their labels or what is observed."""


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
    label_role: str = "label",
    holes: Holes | None = None,
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
        label_role: The role that labels have, "label" or "condition".
        holes: The pixels that are missing; None: none.

    Returns:
        A data set of float32 [B, H, W, C], of infinite cardinality; with `on_device`
        of the split's own dtype. With `labels` its elements are dictionaries of these
        as "x", and of int64 [B], -1 where unknown, as their role; with `holes` of bool
        [B, H, W, C] as "observed" too.

    Raises:
        InputError: if an argument is not usable.
    """
    steps = steps_per_epoch(split, batch_size)
    kind = lookup(BINARIZATIONS, binarization, "binarization")
    start_step = require_int("start_step", start_step, least=0)
    if on_device and kind.draws != "step":
        raise InputError(
            f"on_device has no effect with binarization {binarization!r}; leave it "
            "out, or use 'dynamic'"
        )
    fixed_seed = as_seed(seed if binarization_seed is None else binarization_seed)
    draw_seed = draw_seed_of(seed)
    role = _label_role(split, labels, label_role)

    def draw(step: tf.Tensor, batch: Element) -> Element:
        roles = batch if isinstance(batch, dict) else {"x": batch}
        x = kind.apply(to_grey(roles["x"]), _fold(draw_seed, step))
        return _element({**roles, "x": x})

    order_seed = derive_seed(seed, f"order/{split.name}")
    early = None if kind.draws == "step" else kind  # drawn before the step is known
    how = (batch_size, steps, order_seed, start_step, early, fixed_seed, role, holes)
    if isinstance(split, ArraySplit):
        batches = _shuffled_array(split, *how)
    else:
        batches = _shuffled_stream(split, *how)
    if kind.draws == "step" and not on_device:
        batches = batches.enumerate(start_step).map(draw, tf.data.AUTOTUNE)
    return in_order(batches)


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    binarization: str,
    seed: Seed,
    limit: int | None = None,
    labels: bool = False,
    label_role: str = "label",
    holes: Holes | None = None,
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
        label_role: The role that labels have, "label" or "condition".
        holes: The pixels that are missing; None: none.

    Returns:
        A data set of float32 [B, H, W, C], of known cardinality. With `labels` its
        elements are dictionaries of these as "x", and of int64 [B], -1 where unknown,
        as their role; with `holes` of bool [B, H, W, C] as "observed" too.

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
    role = _label_role(split, labels, label_role)
    if isinstance(split, StreamSplit):
        draw = _stream_transform(split, kind, as_seed(seed), role, holes)
        batches = split.read(None).take(size).map(draw, tf.data.AUTOTUNE)
        batches = batches.batch(batch_size).apply(
            tf.data.experimental.assert_cardinality(steps)
        )
    else:
        batch = _array_batch(split, kind, as_seed(seed), size, role, holes)
        batches = tf.data.Dataset.range(steps).map(
            lambda step: batch(_places(step, batch_size, size)), tf.data.AUTOTUNE
        )
    return in_order(batches)


def _shuffled_array(
    split: ArraySplit,
    batch_size: int,
    steps: int,
    order_seed: tf.Tensor,
    start_step: int,
    kind: Binarization | None,
    seed: tf.Tensor,
    role: str | None,
    holes: Holes | None,
) -> tf.data.Dataset:
    size = len(split)
    batch = _array_batch(split, kind, seed, size, role, holes)

    def shuffled(step: tf.Tensor) -> Element:
        order = _fold(order_seed, step // steps)
        return batch(shuffled_rows(step % steps, batch_size, size, order))

    return tf.data.Dataset.counter(start_step).map(shuffled, tf.data.AUTOTUNE)


def shuffled_rows(
    position: tf.Tensor, batch_size: int, size: int, seed: tf.Tensor
) -> tf.Tensor:
    """Returns the rows [B] of the batch at a position in its epoch, in O(B).

    The seed is that of the epoch's order, and `size` the number of rows there are.
    """
    places = _places(position, batch_size, size)
    return tf.random.experimental.index_shuffle(places, seed, size - 1)


def _places(position: tf.Tensor, batch_size: int, size: int) -> tf.Tensor:
    """Returns the places [B] of a batch in its epoch; the last batch may have fewer."""
    start = position * batch_size
    if size % batch_size == 0:  # shapes that are known make a step of fewer kernels
        return start + tf.range(batch_size, dtype=start.dtype)
    return tf.range(start, tf.minimum(start + batch_size, size))


def _array_batch(
    split: ArraySplit,
    kind: Binarization | None,
    seed: tf.Tensor,
    size: int,
    role: str | None,
    holes: Holes | None,
) -> Callable[[tf.Tensor], Element]:
    """Returns the function from rows [B] to a batch; without `kind` none is drawn.

    Labels are there if they have a role.
    """
    fixed = kind is not None and kind.draws != "never"
    images = fixed_draw(split, seed, size) if fixed else split.tensor()
    beside = {} if role is None else {role: tf.constant(split.labels)}  # [N]
    if holes is not None:
        beside["observed"] = holes.observed(split, size)  # [N, H, W, C]

    def batch(rows: tf.Tensor) -> Element:
        x = tf.gather(images, rows)  # [B, H, W, C]
        if fixed:
            x = tf.cast(x, tf.float32)
        elif kind is not None:
            x = kind.apply(to_grey(x), None)
        return _element({"x": x, **{n: tf.gather(v, rows) for n, v in beside.items()}})

    return batch


def fixed_draw(split: ArraySplit, seed: Seed, size: int | None = None) -> tf.Tensor:
    """Returns the one seeded draw of the first `size` images; None: of all.

    It is uint8 zeros and ones, [size, H, W, C]. The split's name changes the seed.
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


def _shuffled_stream(
    split: StreamSplit,
    batch_size: int,
    steps: int,
    order_seed: tf.Tensor,
    start_step: int,
    kind: Binarization | None,
    seed: tf.Tensor,
    role: str | None,
    holes: Holes | None,
) -> tf.data.Dataset:
    transform = _stream_transform(split, kind, seed, role, holes)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        images = split.read(_fold(order_seed, epoch))
        return images.map(transform, tf.data.AUTOTUNE).batch(batch_size)

    first_epoch, skipped = divmod(start_step, steps)
    return tf.data.Dataset.counter(first_epoch).flat_map(epoch_batches).skip(skipped)


def _stream_transform(
    split: StreamSplit,
    kind: Binarization | None,
    seed: tf.Tensor,
    role: str | None,
    holes: Holes | None,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Element]:
    """Returns a function of (image, label, id) that gives an element of a batch.

    The image is drawn from, or without `kind` left as it is. The seed of the draw is a
    function of the id, and so the same in any order.
    """
    root = derive_seed(seed, f"binarization/{split.name}")

    def transform(image: tf.Tensor, label: tf.Tensor, identity: tf.Tensor) -> Element:
        x = image
        if kind is not None:
            draw_seed = None if kind.draws == "never" else _fold(root, identity)
            x = kind.apply(to_grey(image), draw_seed)
        roles = {"x": x, role: label} if role else {"x": x}
        if holes is not None:
            roles["observed"] = holes.observed_of(split.name, identity, x)
        return _element(roles)

    return transform


def _element(roles: dict[str, tf.Tensor]) -> Element:
    """Returns the roles of a batch, or of x alone x itself."""
    return roles if len(roles) > 1 else roles["x"]


def draw_seed_of(seed: Seed) -> tf.Tensor:
    """Returns the seed of the draws of "dynamic", into which the step is folded."""
    return derive_seed(seed, "binarization/train/step")


def drawn_at_step(
    images: tf.Tensor, seed: Seed, step: tf.Tensor, rows: BatchShard | None = None
) -> tf.Tensor:
    """Returns the draw that binarization "dynamic" makes of a batch at a step.

    It is float32 zeros and ones [B, H, W, C], of images [B, H, W, C] in uint8, or in
    float32 from 0 to 1. The seed is the root seed of `training_batches`; `rows` are
    those of the global batch that the images are, None: all of it.
    """
    global_images = images if rows is None else rows.padded(images)
    drawn = bernoulli(to_grey(global_images), _fold(draw_seed_of(seed), step))
    return drawn if rows is None else rows.own(drawn)


def _fold(seed: tf.Tensor, step: int | tf.Tensor) -> tf.Tensor:
    # The last step of derive_seed; the part that no step changes is done beforehand.
    return tf.random.fold_in(seed, tf.cast(step, tf.int32))


def _label_role(split: Split, labels: bool, role: str) -> str | None:
    """Returns the role of labels in a batch; None if they are not wanted.

    Raises:
        InputError: if the split has none, or they cannot have that role.
    """
    if role not in _LABEL_ROLES:
        raise InputError(
            f"label_role {role!r:.60} is not usable; give one of "
            f"{', '.join(_LABEL_ROLES)}"
        )
    if not labels:
        if role != _LABEL_ROLES[0]:
            raise InputError(
                f"label_role {role!r} has no effect without labels=True; say both"
            )
        return None
    if not split.has_labels:
        raise InputError(
            f"the {split.name} split has no labels; leave labels out, or give data "
            "that have them"
        )
    return role


def in_order(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns batches that are made ahead in parallel, and come in their order."""
    options = tf.data.Options()
    options.deterministic = True
    # Where an iterator ends, its tuner is often waited for until it next wakes: 10 ms,
    # 30, 70, ..., 2.55 s, 5.11 s after its start, so for as long as it was used.
    options.autotune.enabled = False
    return batches.with_options(options).prefetch(_PREFETCH)
