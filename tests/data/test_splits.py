from __future__ import annotations

import json

import numpy as np
import pytest

from tfvae import data
from tfvae.data.splits import ArraySplit
from tfvae.data.splitting import permutation


def numbered(tmp_path, **sizes: int) -> str:
    """An npz file whose images carry their own number; returns its data set name."""
    path = tmp_path / "numbered.npz"
    images = {
        f"x_{split}": np.arange(n, dtype=np.uint8)[:, None, None]
        * np.ones((2, 2), "u1")
        for split, n in sizes.items()
    }
    labels = {f"y_{split}": np.arange(n) for split, n in sizes.items()}
    np.savez(path, **images, **labels)
    return f"npz:{path}"


def numbers(split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


def test_splits_of_one_source_split_are_disjoint_and_cover_it(tmp_path):
    loaded = data.load(numbered(tmp_path, train=200), split_seed=3)
    found = [numbers(s) for s in (loaded.train, loaded.validation, loaded.test)]
    assert sorted(sum(found, [])) == list(range(200))
    assert [len(f) for f in found] == [147, 13, 40]  # 20 %, then 160 // 12


def test_labels_stay_with_their_images(tmp_path):
    loaded = data.load(numbered(tmp_path, train=200))
    for split in (loaded.train, loaded.validation, loaded.test):
        assert split.labels.tolist() == numbers(split)
        assert split.labels.dtype == np.int64


def test_split_is_a_function_of_its_seed(tmp_path):
    name = numbered(tmp_path, train=200)
    first, same, other = (
        numbers(data.load(name, split_seed=s).test) for s in (1, 1, 2)
    )
    assert first == same
    assert first != other


@pytest.mark.parametrize("size", [1, 2, 100])
def test_permutation_holds_each_place_once(size):
    assert sorted(permutation(size, 5)) == list(range(size))


def test_source_splits_are_kept_as_they_are(tmp_path):
    name = numbered(tmp_path, train=24, test=9, validation=7)
    loaded = data.load(name)
    found = [numbers(s) for s in (loaded.train, loaded.validation, loaded.test)]
    assert found == [list(range(n)) for n in (24, 7, 9)]


def test_validation_size_zero_gives_none_and_keeps_all_for_training(tmp_path):
    loaded = data.load(numbered(tmp_path, train=24, test=9), validation_size=0)
    assert loaded.validation is None
    assert numbers(loaded.train) == list(range(24))
    own = data.load(numbered(tmp_path, train=24, validation=7), validation_size=0)
    assert own.validation is None


def test_validation_size_counts_images(tmp_path):
    loaded = data.load(numbered(tmp_path, train=24, test=9), validation_size=5)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (19, 5, 9)


def test_digits_are_sixteenths_divided_70_10_20():
    loaded = data.load("digits")
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (
        1258,
        180,
        359,
    )
    assert loaded.image_shape == (8, 8, 1)
    for split in (loaded.train, loaded.validation, loaded.test):
        levels = split.images * 16
        assert split.images.dtype == np.float32
        assert np.array_equal(levels, np.round(levels))
        assert levels.max() == 16 and levels.min() == 0


def test_digits_are_those_of_scikit_learn():
    from sklearn import datasets

    loaded = data.load("digits", validation_size=0)
    rows = np.concatenate([loaded.train.images, loaded.test.images]).reshape(-1, 64)
    rows = np.c_[rows * 16, np.r_[loaded.train.labels, loaded.test.labels]]
    digits = datasets.load_digits()
    wanted = np.c_[digits.data, digits.target]
    assert sorted(map(tuple, rows)) == sorted(map(tuple, wanted))


def test_image_size_resizes_and_keeps_the_mean_of_a_constant_image(tmp_path):
    path = tmp_path / "constant.npz"
    np.savez(path, x=np.full((30, 6, 9), 77, np.uint8))
    loaded = data.load(f"npz:{path}", image_size=(3, 4))
    assert loaded.image_shape == (3, 4, 1)
    assert loaded.train.images.dtype == np.uint8
    assert np.unique(loaded.train.images).tolist() == [77]
    assert "3 x 4" in loaded.provenance["preprocessing"][0]


def test_provenance_says_how_each_split_was_made_and_is_json(tmp_path):
    loaded = data.load(numbered(tmp_path, train=24, test=9), split_seed=7)
    record = json.loads(json.dumps(loaded.provenance))
    assert record["splits"] == {
        "train": "train[:22] of a permutation with seed 7",
        "validation": "train[22:24] of a permutation with seed 7",
        "test": "the source's test",
    }
    assert record["sizes"] == {"train": 22, "validation": 2, "test": 9}


def test_images_and_labels_are_read_only():
    split = data.load("digits").train
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        split.labels[0] = 0


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_mean_image_is_the_mean_of_the_grey_values(dtype):
    raw = np.random.default_rng(0).integers(0, 256, (1203, 2, 3, 3), np.uint8)
    grey = raw / 255.0
    split = ArraySplit("train", raw if dtype == "uint8" else grey.astype(np.float32))
    # Float32 inputs and output: a few units in the last place of numbers below 1.
    np.testing.assert_allclose(split.mean_image(), grey.mean(0), rtol=0, atol=2e-7)


def test_first_gives_grey_values_and_labels_in_order():
    raw = np.arange(256, dtype=np.uint8).reshape(-1, 2, 2, 1)
    split = ArraySplit("test", raw, np.arange(64))
    images, labels = split.first(5)
    assert np.array_equal(images, raw[:5].astype(np.float32) / np.float32(255))
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert len(split.first(100)[0]) == 64
