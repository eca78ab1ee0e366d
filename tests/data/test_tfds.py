from __future__ import annotations

import fcntl
import gzip
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import slow_but

from tfvae import data
from tfvae.core.types import InputError
from tfvae.data.sources.tfds import _Source
from tfvae.data.sources.tfds_builder import _alone, prepare
from tfvae.data.spec import DatasetSpec

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def multiset(images: np.ndarray) -> Counter:
    return Counter(image.tobytes() for image in images)


def pixels(batches: tf.data.Dataset) -> np.ndarray:
    return np.concatenate([b.numpy() for b in batches])


@pytest.mark.slow  # TFDS takes half a minute to prepare it
def test_mnist_is_the_original_files_pixel_by_pixel(mnist):
    with gzip.open(MNIST / "t10k-images-idx3-ubyte.gz") as file:
        test = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28, 1)
    with gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    assert multiset(mnist.test.images) == multiset(test)
    assert Counter(mnist.test.labels.tolist()) == Counter(labels.tolist())
    sizes = [len(s) for s in (mnist.train, mnist.validation, mnist.test)]
    assert sizes == [55_000, 5_000, 10_000]
    assert mnist.train.images.dtype == np.uint8


def test_prepared_data_are_read_without_a_network_or_a_word(
    toy_dir, no_network, monkeypatch, capfd
):
    def no_remote(path, *args, **kwargs):
        raise AssertionError(f"{path} was looked up")

    from tensorflow_datasets.core.utils import gcs_utils

    monkeypatch.setattr(gcs_utils, "exists", no_remote)
    loaded = data.load("toy", toy_dir, memory_limit=0)
    assert len(loaded.train) == 101
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "preparing" in line] == []


def test_a_missing_folder_of_files_is_spoken_of_where_prepared_data_are_read(
    toy_dir, tmp_path, capfd
):
    def said(folder):
        loaded = data.load("toy", toy_dir, manual_dir=folder, memory_limit=0)
        assert len(loaded.train) == 101
        lines = capfd.readouterr().err.splitlines()
        return [line for line in lines if "manual_dir" in line]

    assert said(tmp_path) == []
    (line,) = said(tmp_path / "missing")
    assert repr(str(tmp_path / "missing")) in line
    assert str(toy_dir / "toy") in line


def test_of_two_programs_that_prepare_at_once_the_second_takes_what_the_first_wrote(
    toy_dir, tmp_path, capfd
):
    spec = DatasetSpec("toy", str(tmp_path), None, None, None, 0, 0)
    stale = SimpleNamespace(data_path=tmp_path / "toy", info=SimpleNamespace(splits={}))
    with ThreadPoolExecutor() as pool, open(tmp_path / ".tfvae.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the first program has it
        second = pool.submit(prepare, stale, spec)
        with pytest.raises(TimeoutError):
            second.result(0.3)
        shutil.copytree(toy_dir / "toy", stale.data_path)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert second.result().info.splits["train"].num_examples == 137
    said = capfd.readouterr().err
    assert said == f"waiting for another program that prepares data in {tmp_path} ...\n"


def test_a_bucket_is_not_made_a_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with _alone(DatasetSpec("toy", "gs://bucket/data", None, None, None, 0, 0)):
        assert not list(tmp_path.iterdir())


def test_a_builder_that_is_older_than_the_data_is_made_anew(toy_dir):
    spec = DatasetSpec("toy", str(toy_dir), None, None, None, 0, 0)
    stale = SimpleNamespace(data_path=toy_dir / "toy", info=SimpleNamespace(splits={}))
    assert prepare(stale, spec).info.splits["train"].num_examples == 137


@pytest.mark.slow
def test_preparing_says_one_line_and_a_failed_download_names_the_folders(
    tmp_path, no_network, capsys
):
    with pytest.raises(InputError) as caught:
        data.load("mnist", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for word in ("'mnist'", "manual_dir", "data_dir", "--manual-dir", "--data-dir"):
        assert word in message
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "preparing mnist ..."


@pytest.mark.slow
def test_a_stream_has_the_images_that_the_memory_has(toy_dir):
    memory = data.load("toy", toy_dir)
    stream = data.load("toy", toy_dir, memory_limit=0)
    assert isinstance(memory.train, data.ArraySplit)
    assert isinstance(stream.train, data.StreamSplit)
    found = [
        pixels(data.evaluation_batches(s, 10, binarization="none", seed=0))
        for loaded in (memory, stream)
        for s in (loaded.train, loaded.validation, loaded.test)
    ]
    assert [len(f) for f in found[:3]] == [len(f) for f in found[3:]]
    # Each image has its own number, so equal multisets mean disjoint splits as well.
    assert multiset(np.concatenate(found[:3])) == multiset(np.concatenate(found[3:]))


def test_a_streamed_split_begins_where_the_seed_says(toy_dir):
    made = {
        str(
            data.load("toy", toy_dir, split_seed=s, memory_limit=0).provenance["splits"]
        )
        for s in range(5)
    }
    assert len(made) == 5


def stream_batches(toy_dir, seed=1, start_step=0, binarization="none"):
    split = data.load("toy", toy_dir, memory_limit=0).train
    return data.training_batches(
        split, 30, binarization=binarization, seed=seed, start_step=start_step
    )


def test_a_stream_shows_every_image_once_an_epoch_in_another_order(toy_dir):
    first, second = (
        pixels(stream_batches(toy_dir, start_step=s).take(4)) for s in (0, 4)
    )
    assert len(first) == 101
    assert max(multiset(first).values()) == 1
    assert multiset(first) == multiset(second)
    assert not np.array_equal(first, second)


@pytest.mark.slow
def test_the_order_of_a_stream_depends_on_the_seed_and_not_on_the_global_one(toy_dir):
    tf.random.set_seed(1)
    first, other = (pixels(stream_batches(toy_dir, s).take(4)) for s in (1, 2))
    tf.random.set_seed(2)
    again = pixels(stream_batches(toy_dir, 1).take(4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.quick(1)
@pytest.mark.parametrize("binarization", ["dynamic", "fixed"])
@pytest.mark.parametrize("start", slow_but([1, 6], [1, 3, 4, 6]))
def test_start_step_of_a_stream_equals_skipping(toy_dir, binarization, start):
    whole = stream_batches(toy_dir, binarization=binarization).skip(start).take(3)
    begun = stream_batches(toy_dir, start_step=start, binarization=binarization).take(3)
    for ours, theirs in zip(begun, whole, strict=True):
        assert np.array_equal(ours, theirs)


def test_the_fixed_draw_of_a_stream_stays_with_the_image(toy_dir):
    split = data.load("toy", toy_dir, memory_limit=0).train
    drawn = [
        pixels(data.evaluation_batches(split, b, binarization="fixed", seed=5))
        for b in (7, 101)
    ]
    assert np.array_equal(*drawn)
    training = data.training_batches(split, 101, binarization="fixed", seed=5)
    for epoch in training.take(2):
        assert multiset(epoch.numpy()) == multiset(drawn[0])


def test_ids_of_a_stream_number_each_image_once(toy_dir):
    loaded = data.load("toy", toy_dir, memory_limit=0)
    ids = [int(i) for _, _, i in loaded.train.read(None)]
    assert len(set(ids)) == len(ids) == 101


def test_stream_pictures_and_mean_are_those_of_its_images(toy_dir):
    split = data.load("toy", toy_dir, memory_limit=0).test
    images = pixels(data.evaluation_batches(split, 27, binarization="none", seed=0))
    first, labels = split.first(4)
    assert labels is None and split.labels is None
    assert np.array_equal(first, images[:4])
    # Both are float32 means of numbers below 1.
    np.testing.assert_allclose(split.mean_image(), images.mean(0), rtol=0, atol=1e-6)


def test_streamed_evaluation_has_known_cardinality(toy_dir):
    split = data.load("toy", toy_dir, memory_limit=0).test
    for limit, batches in ((None, 3), (11, 2)):
        made = data.evaluation_batches(
            split, 10, binarization="dynamic", seed=0, limit=limit
        )
        assert made.cardinality() == batches == len(list(made))


def test_streamed_images_are_resized(toy_dir):
    loaded = data.load("toy", toy_dir, image_size=(8, 6), memory_limit=0)
    memory = data.load("toy", toy_dir, image_size=(8, 6))
    assert loaded.image_shape == memory.image_shape == (8, 6, 1)
    assert loaded.train.first(2)[0].shape == (2, 8, 6, 1)


def test_omniglot_form_makes_strokes_one_on_one_channel():
    from tfvae.data.sources.tfds import _FORMATS

    form = _FORMATS["omniglot"]
    image = np.full((105, 105, 3), 255, np.uint8)
    image[:50] = 0
    made = form.transform(tf.constant(image)).numpy()
    assert made.shape == (105, 105, form.channels)
    assert (made[:50] == 255).all() and (made[50:] == 0).all()
    assert form.image_size == (28, 28)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_another_feature_name_is_refused_and_the_features_are_listed(
    tmp_path, prepare_tfds
):
    examples = [{"picture": noise(2, 2, 1)}]
    prepare_tfds(tmp_path, "odd", (2, 2, 1), examples, image_name="picture")
    with pytest.raises(InputError, match="'odd' has the features picture"):
        data.load("odd", tmp_path)


def test_sizes_that_vary_need_image_size(tmp_path, prepare_tfds):
    examples = [{"image": noise(side, 5, 3)} for side in (4, 6, 8, 9)]
    prepare_tfds(tmp_path, "varied", (None, None, 3), examples)
    with pytest.raises(InputError, match="'varied' vary in size.*--image-size"):
        data.load("varied", tmp_path)
    for limit in (0, 1 << 30):
        loaded = data.load(
            "varied", tmp_path, image_size=(4, 5), validation_size=0, memory_limit=limit
        )
        assert loaded.image_shape == (4, 5, 3)
        assert loaded.train.first(9)[0].shape == (3, 4, 5, 3)


def test_labels_stay_with_their_images(tmp_path, prepare_tfds):
    import tensorflow_datasets as tfds

    examples = [
        {"image": np.full((2, 2, 1), i, np.uint8), "label": i % 3} for i in range(30)
    ]
    label = tfds.features.ClassLabel(num_classes=3)
    prepare_tfds(tmp_path, "labelled", (2, 2, 1), examples, label=label)
    train = data.load("labelled", tmp_path).train
    assert train.labels.tolist() == (train.images[:, 0, 0, 0] % 3).tolist()


@pytest.mark.quick(1)
@pytest.mark.parametrize("binarization", ["none", "dynamic", "fixed"])
def test_streamed_labels_stay_with_their_images(tmp_path, prepare_tfds, binarization):
    import tensorflow_datasets as tfds

    # Black or white, so that every draw of a binarisation is the image itself.
    examples = [
        {"image": np.full((2, 2, 1), 255 * (i % 2), np.uint8), "label": i % 2}
        for i in range(30)
    ]
    label = tfds.features.ClassLabel(num_classes=2)
    prepare_tfds(tmp_path, "labelled", (2, 2, 1), examples, label=label)
    train = data.load("labelled", tmp_path, memory_limit=0).train
    images, labels = train.first(7)
    assert labels.tolist() == images[:, 0, 0, 0].astype(int).tolist()
    how = {"binarization": binarization, "seed": 1, "labels": True}
    steps = data.steps_per_epoch(train, 4)
    batches = [
        *data.training_batches(train, 4, **how, start_step=1).take(2 * steps),
        *data.evaluation_batches(train, 4, **how),
    ]
    for batch in batches:
        np.testing.assert_array_equal(batch["x"][:, 0, 0, 0], batch["label"])


def test_streamed_masks_are_black_and_white_as_those_in_memory(tmp_path, prepare_tfds):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (30, 4, 3, 1), np.uint8)
    examples = [{"image": mask} for mask in masks]
    prepare_tfds(tmp_path, "masks", (4, 3, 1), examples)
    kinds = [data.load("masks", tmp_path, memory_limit=m) for m in (0, 1 << 30)]
    assert [type(k.train) for k in kinds] == [data.StreamSplit, data.ArraySplit]
    for loaded in kinds:
        splits = (loaded.train, loaded.validation, loaded.test)
        images = np.concatenate([split.first(30)[0] for split in splits])
        assert images.shape == masks.shape and images.sum() == masks.sum()
        assert set(np.unique(images)) == {0.0, 1.0}
        assert any("bytes 0 and 1" in line for line in data.describe(loaded))


def test_grey_levels_behind_streamed_masks_end_the_reading(
    tmp_path, prepare_tfds, monkeypatch
):
    images = [np.full((2, 2, 1), value, np.uint8) for value in (0, 1, 200) * 10]
    prepare_tfds(tmp_path, "mixed", (2, 2, 1), [{"image": image} for image in images])
    monkeypatch.setattr(_Source, "looks_like_masks", lambda source: True)
    loaded = data.load("mixed", tmp_path, memory_limit=0, validation_size=0)
    with pytest.raises(tf.errors.InvalidArgumentError):
        for split in (loaded.train, loaded.test):
            list(split.read(None))
