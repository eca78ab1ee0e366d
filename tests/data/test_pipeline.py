from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import tiny_vae

from tfvae import data
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.data.pipeline import fixed_draw
from tfvae.data.splits import ArraySplit
from tfvae.evaluation import score_images


def numbered(n: int, name: str = "train") -> ArraySplit:
    """Images whose two grey pixels are their number in base 256."""
    places = np.arange(n)
    pixels = np.stack([places // 256, places % 256], axis=-1).astype(np.uint8)
    return ArraySplit(name, pixels[:, None, :, None])


def numbers(batch: np.ndarray) -> list[int]:
    pixels = np.round(np.asarray(batch)[:, 0, :, 0] * 255).astype(int)
    return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


def take(batches: tf.data.Dataset, n: int) -> list[np.ndarray]:
    return [b.numpy() for b in batches.take(n)]


def epochs(n: int, batch_size: int, seed: int, count: int) -> list[list[int]]:
    split = numbered(n)
    steps = data.steps_per_epoch(split, batch_size)
    batches = take(
        data.training_batches(split, batch_size, binarization="none", seed=seed),
        steps * count,
    )
    return [
        sum((numbers(b) for b in batches[i * steps : (i + 1) * steps]), [])
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("n", "batch_size"), [(1000, 100), (1003, 100), (7, 7), (1, 1)]
)
def test_each_epoch_shows_every_image_once(n, batch_size):
    for order in epochs(n, batch_size, seed=4, count=3):
        assert sorted(order) == list(range(n))


def test_order_is_a_function_of_seed_and_epoch():
    first, again, other = (epochs(500, 50, seed, 2) for seed in (1, 1, 2))
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]


def test_order_does_not_depend_on_batch_size():
    assert epochs(500, 50, 1, 2) == epochs(500, 64, 1, 2) == epochs(500, 500, 1, 2)


def test_order_looks_random():
    """The rank correlation of place and image is zero within five standard errors."""
    n = 5000
    order = np.array(epochs(n, 100, seed=0, count=1)[0])
    correlation = np.corrcoef(np.arange(n), order)[0, 1]
    assert abs(correlation) < 5 / math.sqrt(n - 1)


def test_last_batch_of_an_epoch_is_smaller_when_the_batch_size_does_not_divide():
    split = numbered(25)
    batches = data.training_batches(split, 10, binarization="none", seed=0)
    assert [len(b) for b in batches.take(6)] == [10, 10, 5, 10, 10, 5]


@pytest.mark.quick(4)
@pytest.mark.parametrize("binarization", list(data.BINARIZATIONS))
@pytest.mark.parametrize("start", [0, 1, 2, 3, 7])
def test_start_step_equals_skipping_bit_for_bit(binarization, start):
    def batches(step):
        return data.training_batches(
            numbered(25), 10, binarization=binarization, seed=3, start_step=step
        )

    skipped = take(batches(0).skip(start), 5)
    for ours, theirs in zip(take(batches(start), 5), skipped, strict=True):
        assert np.array_equal(ours, theirs)


def test_start_step_reaches_a_far_step_at_once():
    far = data.training_batches(
        numbered(25), 10, binarization="dynamic", seed=3, start_step=2_000_000_000
    )
    assert len(take(far, 1)[0]) == 5  # 2e9 is 2 modulo 3


def test_training_batches_are_endless_float32():
    batches = data.training_batches(numbered(25), 10, binarization="dynamic", seed=3)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    assert batches.element_spec == tf.TensorSpec((None, 1, 2, 1), tf.float32)


def test_no_tuner_holds_up_the_end_of_an_iterator():
    """TensorFlow waits for its tuner's next look, which is as far off as the start."""
    split = grey_split()
    how = {"binarization": "dynamic", "seed": 0}
    for make in (data.training_batches, data.evaluation_batches):
        assert make(split, 8, **how).options().autotune.enabled is False


@pytest.mark.parametrize("n", [40, 43])
def test_shapes_are_known_where_every_batch_is_whole(n):
    how = {"binarization": "none", "seed": 0}
    for make in (data.training_batches, data.evaluation_batches):
        (size, *_) = make(numbered(n), 10, **how).element_spec.shape
        assert size == (10 if n == 40 else None)


def grey_split(n: int = 64, name: str = "train") -> ArraySplit:
    """Every grey value once in each image, so images differ by nothing."""
    return ArraySplit(
        name, np.tile(np.arange(256, dtype="u1"), (n, 1))[:, None, :, None]
    )


def test_dynamic_draws_have_the_grey_value_as_their_mean():
    n, steps = 64, 200
    batches = data.training_batches(grey_split(n), n, binarization="dynamic", seed=0)
    drawn = np.concatenate(take(batches, steps))[:, 0, :, 0]  # [draws, 256]
    assert set(np.unique(drawn)) == {0.0, 1.0}
    probability = np.arange(256) / 255
    error = np.sqrt(probability * (1 - probability) / (n * steps))
    # Exact at 0 and 255, where the standard error is zero.
    assert (np.abs(drawn.mean(0) - probability) <= 5 * error).all()


def test_dynamic_draws_of_two_steps_are_independent():
    n = 256
    batches = data.training_batches(grey_split(n), n, binarization="dynamic", seed=0)
    first, second = (b[:, 0, 128, 0] for b in take(batches, 2))
    agreement = (first == second).mean()  # of fair coins, to one part in 255
    assert abs(agreement - 0.5) < 5 * 0.5 / math.sqrt(n)


def test_fixed_draw_in_training_is_the_one_evaluation_uses():
    split = ArraySplit("train", np.full((30, 5, 5, 1), 128, np.uint8))
    batches = data.evaluation_batches(split, 30, binarization="fixed", seed=9)
    wanted = sorted(b.tobytes() for b in take(batches, 1)[0])
    training = data.training_batches(split, 10, binarization="fixed", seed=9)
    seen = take(training, 6)
    for epoch in (seen[:3], seen[3:]):
        assert sorted(b.tobytes() for b in np.concatenate(epoch)) == wanted


@pytest.mark.parametrize("binarization", ["fixed", "dynamic"])
def test_evaluation_draw_depends_on_neither_batch_size_nor_limit(binarization):
    split = ArraySplit("test", np.full((2500, 2, 2, 1), 100, np.uint8))

    def drawn(batch_size, limit=None):
        batches = data.evaluation_batches(
            split, batch_size, binarization=binarization, seed=2, limit=limit
        )
        return np.concatenate([b.numpy() for b in batches])

    whole = drawn(100)
    assert len(whole) == 2500
    for batch_size, limit in itertools.product(
        (1000, 999, 4000), (None, 1, 1001, 9999)
    ):
        part = drawn(batch_size, limit)
        assert len(part) == min(limit or 2500, 2500)
        assert np.array_equal(part, whole[: len(part)])


def test_fixed_draw_differs_between_splits_seeds_and_chunks():
    images = np.full((2000, 4, 4, 1), 128, np.uint8)
    train, test = ArraySplit("train", images), ArraySplit("test", images)
    drawn = fixed_draw(train, 1).numpy()
    assert not np.array_equal(drawn, fixed_draw(test, 1).numpy())
    assert not np.array_equal(drawn, fixed_draw(train, 2).numpy())
    assert not np.array_equal(drawn[:1000], drawn[1000:])


def test_fixed_draw_of_the_first_chunk_is_its_definition():
    split = numbered(1500)
    seed = derive_seed(7, "binarization/train", 1)
    uniform = tf.random.stateless_uniform((500, 1, 2, 1), seed).numpy()
    grey = split.images[1000:].astype(np.float32) / np.float32(255)
    assert np.array_equal(fixed_draw(split, 7).numpy()[1000:], uniform < grey)


def test_threshold_is_one_from_one_half_on():
    split = ArraySplit("test", np.arange(256, dtype="u1").reshape(1, 16, 16, 1))
    (batch,) = take(
        data.evaluation_batches(split, 1, binarization="threshold", seed=0), 1
    )
    assert np.array_equal(batch.ravel(), np.arange(256) >= 128)
    levels = (np.arange(17, dtype=np.float32) / 16).reshape(1, 17, 1, 1)
    split = ArraySplit("test", levels)
    (batch,) = take(
        data.evaluation_batches(split, 1, binarization="threshold", seed=0), 1
    )
    assert np.array_equal(batch.ravel(), np.arange(17) >= 8)


def test_none_gives_the_grey_values_exactly():
    split = ArraySplit("test", np.arange(256, dtype="u1").reshape(1, 16, 16, 1))
    (batch,) = take(data.evaluation_batches(split, 1, binarization="none", seed=0), 1)
    assert np.array_equal(
        batch.ravel(), np.arange(256, dtype=np.float32) / np.float32(255)
    )


@pytest.mark.parametrize(("limit", "batches", "last"), [(None, 3, 5), (11, 2, 1)])
def test_evaluation_is_in_order_with_known_cardinality(limit, batches, last):
    made = data.evaluation_batches(
        numbered(25), 10, binarization="none", seed=0, limit=limit
    )
    assert made.cardinality() == batches
    found = [numbers(b) for b in made]
    assert len(found[-1]) == last
    assert sum(found, []) == list(range(limit or 25))


def test_every_binarization_says_truly_whether_it_is_binary():
    split = data.load("digits").test
    for name, entry in data.BINARIZATIONS.items():
        batches = data.evaluation_batches(split, 359, binarization=name, seed=0)
        values = set(np.unique(take(batches, 1)[0]))
        assert (values <= {0.0, 1.0}) == entry.is_binary
        assert entry.draws in ("never", "once", "step")


def test_pipeline_ignores_the_global_seed():
    def batch():
        batches = data.training_batches(
            numbered(50), 10, binarization="dynamic", seed=1
        )
        return take(batches, 1)[0]

    tf.random.set_seed(1)
    first = batch()
    tf.random.set_seed(2)
    assert np.array_equal(first, batch())


# -- labels ----------------------------------------------------------------------------


def labelled(n: int) -> ArraySplit:
    split = numbered(n)
    return ArraySplit("train", split.images, np.arange(n) % 7)


@pytest.mark.quick(2)
@pytest.mark.parametrize("start_step", [0, 5])
@pytest.mark.parametrize("on_device", [False, True])
def test_training_batches_deliver_labels_with_the_same_images(on_device, start_step):
    how = {"binarization": "dynamic" if on_device else "none", "seed": 3}
    how |= {"on_device": on_device, "start_step": start_step}
    alone = data.training_batches(labelled(50), 8, **how).take(9)
    pairs = data.training_batches(labelled(50), 8, **how, labels=True).take(9)
    for x, pair in zip(alone, pairs, strict=True):
        assert pair.keys() == {"x", "label"} and pair["label"].dtype == tf.int64
        np.testing.assert_array_equal(pair["x"], x)
        grey = pair["x"] / 255 if on_device else pair["x"]
        assert pair["label"].numpy().tolist() == [i % 7 for i in numbers(grey)]


def test_evaluation_batches_deliver_labels_in_order():
    how = {"binarization": "none", "seed": 3, "limit": 11, "labels": True}
    batches = list(data.evaluation_batches(labelled(50), 4, **how))
    found = np.concatenate([batch["label"] for batch in batches])
    assert found.tolist() == [i % 7 for i in range(11)]
    assert numbers(np.concatenate([b["x"] for b in batches])) == list(range(11))


def test_labels_that_there_are_not_are_refused():
    for make in (data.training_batches, data.evaluation_batches):
        with pytest.raises(InputError, match="train split has no labels"):
            make(numbered(9), 3, binarization="none", seed=0, labels=True)


@pytest.mark.slow
def test_a_model_takes_batches_with_labels_as_those_without():
    split = labelled(40)
    found = []
    for labels in (False, True):
        how = {"binarization": "dynamic", "seed": 1, "labels": labels}
        vae = tiny_vae(image_shape=split.image_shape, seed=2)
        vae.compile("sgd", num_samples=2)
        batches = data.training_batches(split, 8, **how)
        vae.fit(batches, steps_per_epoch=5, verbose=0)
        scores = score_images(vae, data.evaluation_batches(split, 8, **how), 3)
        found.append([*vae.get_weights(), *scores])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
