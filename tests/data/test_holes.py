"""Pixels that are missing from images: a share, each image's own, in every batch."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae.data import evaluation_batches, training_batches
from tfvae.data.holes import Holes
from tfvae.data.splits import ArraySplit, StreamSplit

HOLES = Holes(0.3, 0)
SIZE = 120
# No two images are equal, so that one can be told by its pixels.
IMAGES = np.random.default_rng(0).integers(0, 256, [SIZE, 6, 5, 1], dtype=np.uint8)


@pytest.fixture(scope="module", params=["memory", "disk"])
def split(request):
    if request.param == "memory":
        return ArraySplit("train", IMAGES)
    return streamed("train")


def streamed(name: str) -> StreamSplit:
    def read(seed: tf.Tensor | None) -> tf.data.Dataset:
        order = tf.range(SIZE, dtype=tf.int64)
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)
        rows = tf.data.Dataset.from_tensor_slices(order)
        label = tf.constant(-1, tf.int64)
        return rows.map(lambda row: (tf.gather(IMAGES, row), label, row))

    return StreamSplit(name, SIZE, IMAGES.shape[1:], read)


def holes_of_images(batches) -> dict[bytes, np.ndarray]:
    """The mask of each image, by its grey values."""
    found = {}
    for batch in batches:
        grey = np.round(255 * batch["x"].numpy()).astype(np.uint8)
        for image, mask in zip(grey, batch["observed"].numpy(), strict=True):
            found[image.tobytes()] = mask
    return found


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() <= wanted.keys() and found
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, wanted[key])


def test_an_images_holes_are_the_same_in_every_batch_order_and_epoch(split):
    how = {"binarization": "none", "seed": 1, "holes": HOLES}
    wanted = holes_of_images(evaluation_batches(split, SIZE, **how))
    assert len(wanted) == SIZE
    assert_same(holes_of_images(evaluation_batches(split, 7, limit=30, **how)), wanted)
    how["seed"] = 5  # of the order
    training = training_batches(split, 40, **how)
    assert_same(holes_of_images(training.take(3)), wanted)
    assert_same(holes_of_images(training.skip(3).take(3)), wanted)
    resumed = training_batches(split, 40, start_step=4, **how)
    assert_same(holes_of_images(resumed.take(2)), wanted)


def test_they_are_a_share_of_the_pixels_and_every_images_own(split):
    batches = evaluation_batches(split, SIZE, binarization="none", seed=1, holes=HOLES)
    masks = np.stack(list(holes_of_images(batches).values()))
    # Five standard errors of a share.
    assert abs(np.mean(~masks) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / masks.size)
    assert len(np.unique(masks, axis=0)) == SIZE
    for other in (HOLES._replace(seed=1), HOLES._replace(share=0.5)):
        batches = evaluation_batches(
            split, SIZE, binarization="none", seed=1, holes=other
        )
        others = np.stack(list(holes_of_images(batches).values()))
        assert (others != masks).any()


@pytest.mark.quick(1)
@pytest.mark.parametrize("binarization", ["dynamic", "fixed", "threshold"])
def test_binary_images_are_the_same_with_holes_and_without(split, binarization):
    how = {"binarization": binarization, "seed": 3}
    with_holes = training_batches(split, 50, holes=HOLES, **how).take(3)
    for batch, x in zip(with_holes, training_batches(split, 50, **how), strict=False):
        assert batch.keys() == {"x", "observed"} and batch["observed"].dtype == tf.bool
        np.testing.assert_array_equal(batch["x"], x)


def test_labels_stand_beside_holes_and_the_step_may_draw_pixels():
    labels = np.arange(SIZE)
    split = ArraySplit("train", IMAGES, labels)
    how = {"labels": True, "label_role": "condition", "seed": 2, "holes": HOLES}
    (batch,) = evaluation_batches(split, SIZE, binarization="fixed", **how)
    assert batch.keys() == {"x", "condition", "observed"}
    np.testing.assert_array_equal(batch["condition"], labels)
    drawn = training_batches(split, 40, binarization="dynamic", on_device=True, **how)
    batch = next(iter(drawn))
    assert batch["x"].dtype == tf.uint8
    np.testing.assert_array_equal(batch["x"], IMAGES[batch["condition"]])


def test_splits_have_holes_of_their_own():
    masks = [
        HOLES.observed(ArraySplit(name, IMAGES), SIZE).numpy()
        for name in ("train", "test")
    ]
    assert (masks[0] != masks[1]).any()


def test_channels_of_a_pixel_are_missing_together():
    images = np.zeros([3, 4, 4, 2], np.uint8)
    mask = Holes(0.5, 2).observed(ArraySplit("test", images), 3).numpy()
    np.testing.assert_array_equal(mask[..., 0], mask[..., 1])
    assert mask.shape == images.shape and 0 < mask.mean() < 1


def test_the_first_images_have_the_holes_that_they_have_among_all():
    """They are drawn in parts, of 1,000 images each."""
    split = ArraySplit("test", np.zeros([1100, 2, 2, 1], np.uint8))
    every = HOLES.observed(split, 1100)
    for size in (3, 1000, 1050):
        np.testing.assert_array_equal(HOLES.observed(split, size), every[:size])


def test_a_model_trains_on_holes():
    vae = tfvae.build((6, 5, 1), missing="mcar", latent_size=2, hidden_sizes=(4,))
    batches = training_batches(
        ArraySplit("train", IMAGES), 40, binarization="dynamic", seed=0, holes=HOLES
    )
    history = vae.fit(batches, epochs=1, steps_per_epoch=3, verbose=0)
    assert np.isfinite(history.history["elbo"]).all()
