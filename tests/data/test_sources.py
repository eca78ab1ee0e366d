from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfvae import data
from tfvae.core.types import InputError

FASHION = Path("/usr/share/datasets/fashion-mnist")


def raw(loaded: data.ImageData) -> np.ndarray:
    """All images of the train split of data that were kept in order."""
    return loaded.train.images


def save(path: Path, array: np.ndarray, **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **kwargs)
    return path


def with_test(folder: Path, array: np.ndarray) -> None:
    """Adds the image that makes test the source's own, so that train stays in order."""
    save(folder / "test" / "0.png", array)


def load_folder(folder: Path, **kwargs) -> data.ImageData:
    return data.load(f"folder:{folder}", validation_size=0, **kwargs)


def write_idx(path: Path, array: np.ndarray, pack: bool = False) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tiff"])
def test_lossless_files_give_their_pixels_in_the_order_of_their_names(tmp_path, suffix):
    images = random_images(3, 5, 4)
    for name, image in zip(("b", "a/z", "c"), images, strict=True):
        save(tmp_path / "train" / f"{name}.{suffix}", image)
    with_test(tmp_path, images[0])
    loaded = load_folder(tmp_path)
    wanted = images[[1, 0, 2]][..., None]
    if suffix == "gif":  # a palette may come as colour
        assert np.array_equal(raw(loaded)[..., :1], wanted)
    else:
        assert np.array_equal(raw(loaded), wanted)
    assert loaded.train.labels is None


def test_class_folders_become_labels(tmp_path):
    for split, names in (("train", ("cat/0", "dog/0", "cat/1")), ("test", ("dog/5",))):
        for name in names:
            save(tmp_path / split / f"{name}.png", random_images(2, 2))
    loaded = load_folder(tmp_path)
    assert loaded.train.labels.tolist() == [0, 0, 1]
    assert loaded.test.labels.tolist() == [1]
    assert loaded.provenance["classes"] == ["cat", "dog"]


def test_a_folder_without_splits_is_divided_and_covered(tmp_path):
    for i in range(20):
        save(tmp_path / f"{i:02}.png", np.full((2, 2), i, np.uint8))
    loaded = data.load(f"folder:{tmp_path}")
    parts = (loaded.train, loaded.validation, loaded.test)
    found = sorted(int(image[0, 0, 0]) for s in parts for image in s.images)
    assert found == list(range(20))


def test_grey_among_colour_becomes_rgb_and_is_recorded(tmp_path):
    grey, colour = random_images(3, 3), random_images(3, 3, 3)
    save(tmp_path / "train" / "0.png", grey)
    save(tmp_path / "train" / "1.png", colour)
    with_test(tmp_path, grey)
    loaded = load_folder(tmp_path)
    assert np.array_equal(raw(loaded)[0], np.stack([grey] * 3, axis=-1))
    assert np.array_equal(raw(loaded)[1], colour)
    assert any("RGB" in note for note in loaded.provenance["preprocessing"])


def test_transparent_pixels_are_black_and_recorded(tmp_path):
    image = np.full((2, 2, 4), 200, np.uint8)
    image[..., 3] = [[0, 255], [0, 255]]
    save(tmp_path / "train" / "0.png", image)
    with_test(tmp_path, image)
    loaded = load_folder(tmp_path)
    assert raw(loaded)[0, :, :, 0].tolist() == [[0, 200], [0, 200]]
    assert "transparent" in loaded.provenance["preprocessing"][0]


def test_a_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("L", (3, 3), value) for value in (10, 250)]
    (tmp_path / "train").mkdir()
    frames[0].save(
        tmp_path / "train" / "0.gif", save_all=True, append_images=frames[1:]
    )
    with_test(tmp_path, np.zeros((3, 3), np.uint8))
    assert (raw(load_folder(tmp_path)) == 10).all()


def test_image_size_makes_files_of_two_sizes_one(tmp_path):
    for i, side in enumerate((4, 6)):
        save(tmp_path / "train" / f"{i}.png", np.full((side, side), 9, np.uint8))
    with_test(tmp_path, np.full((5, 5), 9, np.uint8))
    loaded = load_folder(tmp_path, image_size=(3, 2))
    assert raw(loaded).shape == (2, 3, 2, 1)
    assert (raw(loaded) == 9).all()


@pytest.mark.parametrize(
    ("train", "test", "labels"),
    [
        ("x_train", "x_test", "y_train"),
        ("train_images", "test_images", "train_labels"),
        ("images", "images_test", "labels"),
        ("x", "test_x", "y"),
        ("data", "x_test", "y"),
    ],
)
def test_npz_arrays_are_found_by_their_usual_names(tmp_path, train, test, labels):
    images, few, numbers = random_images(6, 3, 4), random_images(2, 3, 4), np.arange(6)
    np.savez(tmp_path / "a.npz", **{train: images, test: few, labels: numbers})
    loaded = data.load(f"npz:{tmp_path / 'a.npz'}", validation_size=0)
    assert np.array_equal(loaded.train.images[..., 0], images)
    assert np.array_equal(loaded.test.images[..., 0], few)
    assert np.array_equal(loaded.train.labels, numbers)
    assert loaded.test.labels is None


def test_npz_flat_rows_become_squares_and_colour_is_kept(tmp_path):
    flat, colour = random_images(5, 9), random_images(5, 2, 2, 3)
    for array, shape in ((flat, (3, 3, 1)), (colour, (2, 2, 3))):
        np.savez(tmp_path / "a.npz", x_train=array, x_test=array)
        loaded = data.load(f"npz:{tmp_path / 'a.npz'}", validation_size=0)
        assert loaded.image_shape == shape
        assert np.array_equal(loaded.train.images.ravel(), array.ravel())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bool"])
def test_npz_values_in_the_unit_interval_become_float32(tmp_path, dtype):
    array = (random_images(5, 2, 2) / 255).round().astype(dtype)
    np.savez_compressed(tmp_path / "a.npz", x_train=array, x_test=array)
    loaded = data.load(f"npz:{tmp_path / 'a.npz'}", validation_size=0)
    assert loaded.train.images.dtype == np.float32
    assert np.array_equal(loaded.train.images[..., 0], array.astype(np.float32))


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_idx_files_give_their_bytes(tmp_path, pack, separator):
    images, numbers = random_images(7, 3, 4), np.arange(7, dtype=np.uint8)
    suffix = ".gz" if pack else ""
    for stem in ("train", "t10k"):
        images_name = f"{stem}-images{separator}idx3-ubyte{suffix}"
        labels_name = f"{stem}-labels{separator}idx1-ubyte{suffix}"
        write_idx(tmp_path / images_name, images, pack)
        write_idx(tmp_path / labels_name, numbers, pack)
    loaded = data.load(f"idx:{tmp_path}", validation_size=0)
    for split in (loaded.train, loaded.test):
        assert np.array_equal(split.images[..., 0], images)
        assert np.array_equal(split.labels, numbers)


@pytest.mark.skipif(
    not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_fashion_mnist_of_debian_is_whole_and_balanced():
    loaded = data.load(f"idx:{FASHION}")
    sizes = [len(s) for s in (loaded.train, loaded.validation, loaded.test)]
    assert sizes == [55_000, 5_000, 10_000]
    assert np.bincount(loaded.test.labels).tolist() == [1000] * 10
    # The mean over all 60,000 that Fashion-MNIST is known by: 0.2860.
    n, m = len(loaded.train), len(loaded.validation)
    mean = n * loaded.train.mean_image() + m * loaded.validation.mean_image()
    assert round(float(mean.mean()) / (n + m), 4) == 0.2860


# -- one of two, masks and labels ------------------------------------------------------


def said_by(name: str) -> str:
    with pytest.raises(InputError) as caught:
        data.load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_two_arrays_for_one_role_are_refused(tmp_path):
    images = random_images(10, 4, 4)
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images, train_images=images)
    assert "x_train and train_images" in said_by(f"npz:{path}")
    np.savez(path, x_train=images, y_train=np.arange(10), labels=np.arange(10))
    assert "y_train and labels" in said_by(f"npz:{path}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_twice_in_a_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=random_images(10, 4, 4))
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x_train.npy")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", content)
    assert "x_train.npy twice" in said_by(f"npz:{path}")


def test_an_array_that_is_not_used_is_not_looked_at_and_is_named(tmp_path):
    path = tmp_path / "a.npz"
    names = np.array(["a", None], dtype=object)
    np.savez(path, x_train=random_images(10, 4, 4), names=names)
    assert data.load(f"npz:{path}").provenance["left_out"] == "the arrays names"


def test_plain_and_packed_files_that_differ_are_refused(tmp_path):
    images = random_images(10, 4, 4)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images, pack=True)
    assert len(data.load(f"idx:{tmp_path}").train.images) > 0
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images[::-1], pack=True)
    assert "differ; remove one" in said_by(f"idx:{tmp_path}")


def npz(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_bytes_of_0_and_1_are_black_and_white_and_it_is_said(tmp_path):
    masks = np.random.default_rng(0).integers(0, 2, (20, 4, 4), np.uint8)
    as_bytes = data.load(npz(tmp_path / "a.npz", x_train=masks))
    as_bools = data.load(npz(tmp_path / "b.npz", x_train=masks.astype(bool)))
    first, _ = as_bytes.train.first(20)
    second, _ = as_bools.train.first(20)
    np.testing.assert_array_equal(first, second)
    assert any("bytes 0 and 1" in line for line in data.describe(as_bytes))
    write_idx(tmp_path / "train-images-idx3-ubyte", masks)
    packed, _ = data.load(f"idx:{tmp_path}").train.first(20)
    np.testing.assert_array_equal(packed, first)


def test_masks_beside_grey_levels_are_refused(tmp_path):
    grey = random_images(20, 4, 4)
    name = npz(tmp_path / "a.npz", x_train=grey, x_test=(grey > 99).astype(np.uint8))
    assert "multiply the masks by 255" in said_by(name)


def test_black_images_stay_black(tmp_path):
    black = np.zeros([10, 4, 4], np.uint8)
    loaded = data.load(npz(tmp_path / "a.npz", x_train=black))
    assert not loaded.train.images.any() and len(data.describe(loaded)) == 1


@pytest.mark.parametrize(
    "label", [np.uint64(2**64 - 1), np.uint64(2**63), np.int64(-2), np.int8(-100)]
)
def test_labels_that_are_none_are_refused(tmp_path, label):
    labels = np.array([label] * 10)
    name = npz(tmp_path / "a.npz", x_train=random_images(10, 4, 4), y_train=labels)
    assert str(label) in said_by(name)
    with pytest.raises(InputError, match="give classes from 0 up"):
        data.ArraySplit("train", random_images(10, 4, 4, 1), labels)


def test_a_label_of_minus_1_is_unknown(tmp_path):
    labels = np.array([-1, 0, 1] * 4)
    split = data.ArraySplit("train", random_images(12, 4, 4, 1), labels)
    np.testing.assert_array_equal(split.labels, labels)


@pytest.mark.parametrize(
    ("top", "advice"), [(1.0000001, "rounding"), (255.0, "divide by 255"), (1.5, "1.5")]
)
def test_floats_beyond_1_are_told_what_to_do(tmp_path, top, advice):
    images = np.linspace(0, top, 160, dtype=np.float32).reshape(10, 4, 4)
    said = said_by(npz(tmp_path / "a.npz", x_train=images))
    assert advice in said and ("divide" in said) == (top == 255.0)
