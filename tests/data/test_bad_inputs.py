"""Whatever a user gives wrongly is answered by one line that names it."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfvae import data
from tfvae.core.types import InputError
from tfvae.data.splits import ArraySplit


def refused(*words: str):
    """Expects an InputError of one line that holds all of `words`."""

    class Refused:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, trace):
            assert kind is not None, "nothing was raised"
            if not issubclass(kind, InputError):
                return False
            message = str(error)
            assert "\n" not in message
            assert [w for w in words if w not in message] == [], message
            return True

    return Refused()


CALLS = {
    "unknown name": (("no_such_set",), {}, ("no_such_set", "digits", "folder:PATH")),
    "namespace": (("huggingface:mnist",), {}, ("huggingface:mnist", "mnist")),
    "bare prefix": (("folder",), {}, ("'folder'", "folder:PATH")),
    "placeholder": (("npz:PATH",), {}, ("'PATH'", "no file")),
    "empty name": (("",), {}, ("''", "digits")),
    "number as name": ((5,), {}, ("5", "digits")),
    "one side": (("digits", None, None, 8), {}, ("8", "--image-size")),
    "three sides": (("digits",), {"image_size": (8, 8, 1)}, ("(8, 8, 1)",)),
    "no height": (("digits",), {"image_size": (0, 8)}, ("(0, 8)", "--image-size")),
    "half pixel": (("digits",), {"image_size": (2.5, 8)}, ("(2.5, 8)",)),
    "negative validation": (("digits",), {"validation_size": -1}, ("-1",)),
    "fraction": (("digits",), {"validation_size": 0.1}, ("0.1", "--validation-size")),
    "bool": (("digits",), {"validation_size": True}, ("True",)),
    "all of it": (("digits",), {"validation_size": 1438}, ("1438", "1797")),
    "seed": (("digits",), {"split_seed": "a"}, ("'a'", "split_seed")),
    "seed none": (("digits",), {"split_seed": None}, ("None", "split_seed")),
    "data_dir": (("digits",), {"data_dir": "d"}, ("'d'", "--data-dir")),
    "manual_dir": (("digits",), {"manual_dir": "m"}, ("'m'", "--manual-dir")),
    "manual missing": (
        ("mnist",),
        {"manual_dir": "/no/m", "data_dir": "/no/d"},
        ("/no/m", "--manual-dir"),
    ),
    "data_dir file": (("mnist",), {"data_dir": __file__}, (__file__, "--data-dir")),
    "folder missing": (("folder:/no/f",), {}, ("/no/f", "does not exist")),
    "folder is a file": ((f"folder:{__file__}",), {}, (__file__, "not a folder")),
    "folder empty path": (("folder:",), {}, ("''",)),
    "npz missing": (("npz:/no/n.npz",), {}, ("/no/n.npz",)),
    "npz is text": ((f"npz:{__file__}",), {}, (__file__, "not a .npz")),
    "npz is a folder": (("npz:/",), {}, ("'/'",)),
    "idx missing": (("idx:/no/i",), {}, ("/no/i",)),
    "idx is a file": ((f"idx:{__file__}",), {}, (__file__, "not a folder")),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_arguments_of_load_are_named(case, no_network, tmp_path):
    args, kwargs, words = CALLS[case]
    if "data_dir" not in kwargs and len(args) == 1 and args[0] == "no_such_set":
        kwargs = {**kwargs, "data_dir": tmp_path}
    with refused(*words):
        data.load(*args, **kwargs)


def test_no_data_set_is_too_small_to_be_told(tmp_path):
    np.savez(tmp_path / "one.npz", x=np.zeros((1, 2, 2), np.uint8))
    with refused("1 images", "none is left"):
        data.load(f"npz:{tmp_path / 'one.npz'}")


SPLIT = ArraySplit("train", np.zeros((10, 2, 2, 1), np.uint8))
BATCHES = {
    "zero": ({"batch_size": 0}, ("batch_size (--batch-size) 0",)),
    "negative": ({"batch_size": -5}, ("-5",)),
    "float": ({"batch_size": 2.0}, ("2.0",)),
    "bool": ({"batch_size": True}, ("True",)),
    "text": ({"batch_size": "4"}, ("'4'",)),
    "too large": ({"batch_size": 11}, ("11", "10 images", "--batch-size")),
    "binarization": ({"binarization": "dynamik"}, ("'dynamik'", "threshold")),
    "seed": ({"seed": "zero"}, ("seed",)),
    "start": ({"start_step": -1}, ("start_step -1",)),
    "start text": ({"start_step": "7"}, ("'7'",)),
}


@pytest.mark.parametrize("case", BATCHES)
def test_bad_arguments_of_training_batches_are_named(case):
    changed, words = BATCHES[case]
    given = {"batch_size": 5, "binarization": "none", "seed": 0, **changed}
    with refused(*words):
        data.training_batches(SPLIT, given.pop("batch_size"), **given)


@pytest.mark.parametrize("limit", [0, -1, 2.5])
def test_bad_limits_of_evaluation_batches_are_named(limit):
    with refused("limit", repr(limit)):
        data.evaluation_batches(SPLIT, 5, binarization="none", seed=0, limit=limit)


NPZ = {
    "nan": (np.full((4, 2, 2), np.nan), ("x_train", "16", "NaN")),
    "inf": (np.full((4, 2, 2), np.inf), ("infinite", "[0, 1]")),
    "0 to 255": (np.full((4, 2, 2), 255.0), ("255 to 255", "divide by 255")),
    "negative": (np.full((4, 2, 2), -0.5), ("-0.5", "[0, 1]")),
    "int64": (np.zeros((4, 2, 2), np.int64), ("int64", "uint8")),
    "complex": (np.zeros((4, 2, 2), complex), ("complex128",)),
    "text": (np.full((4, 2, 2), "a"), ("<U1",)),
    "not square": (np.zeros((4, 10), np.uint8), ("(4, 10)", "square")),
    "one axis": (np.zeros(4, np.uint8), ("(4,)",)),
    "five axes": (np.zeros((4, 2, 2, 1, 1), np.uint8), ("(4, 2, 2, 1, 1)",)),
    "empty": (np.zeros((0, 2, 2), np.uint8), ("(0, 2, 2)", "empty")),
    "objects": (np.array([[[None]]]), ("x_train", "objects")),
}


@pytest.mark.parametrize("case", NPZ)
def test_bad_arrays_of_npz_are_named(case, tmp_path):
    array, words = NPZ[case]
    np.savez(tmp_path / "a.npz", x_train=array)
    with refused(*words):
        data.load(f"npz:{tmp_path / 'a.npz'}")


def test_npz_without_images_lists_what_it_has(tmp_path):
    np.savez(tmp_path / "a.npz", weights=np.zeros(3))
    with refused("weights", "x_train"):
        data.load(f"npz:{tmp_path / 'a.npz'}")


@pytest.mark.parametrize(
    "labels", [np.zeros(3, int), np.zeros(4), np.zeros((4, 2), int)]
)
def test_npz_labels_that_do_not_fit_are_named(labels, tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((4, 2, 2), np.uint8), y_train=labels)
    with refused("y_train", str(labels.shape), "4 images"):
        data.load(f"npz:{tmp_path / 'a.npz'}")


def test_npz_splits_of_two_shapes_are_named(tmp_path):
    arrays = {"x_train": np.zeros((9, 2, 2), "u1"), "x_test": np.zeros((9, 3, 3), "u1")}
    np.savez(tmp_path / "a.npz", **arrays)
    with refused("(3, 3, 1)", "(2, 2, 1)", "--image-size"):
        data.load(f"npz:{tmp_path / 'a.npz'}")


def test_npz_that_was_damaged_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x_train=np.random.default_rng(0).random((50, 4, 4)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with refused("a.npz"):
        data.load(f"npz:{path}")


def test_npz_header_that_promises_too_much_allocates_nothing(tmp_path):
    header = io.BytesIO()
    shape = {"shape": (1 << 31, 28, 28), "fortran_order": False, "descr": "|u1"}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + b"few")
    with refused("x_train", "2147483648"):
        data.load(f"npz:{tmp_path / 'a.npz'}")


def test_more_than_the_memory_limit_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x_train=np.zeros((1000, 10, 10), np.uint8))
    with refused("x_train", "memory_limit 99,999"):
        data.load(f"npz:{tmp_path / 'a.npz'}", memory_limit=99_999)


def idx(shape: tuple[int, ...], content: bytes, code: int = 8) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + content


WHOLE = idx((5, 2, 2), bytes(20))
IDX = {
    "promises 2^31 images": (idx((1 << 31, 28, 28), b"few"), ("bytes", "memory_limit")),
    "promises more": (idx((5, 2, 2), bytes(19)), ("(5, 2, 2)", "19")),
    "has more": (idx((5, 2, 2), bytes(21)), ("(5, 2, 2)", "more")),
    "no images": (idx((0, 28, 28), b""), ("no images", "(0, 28, 28, 1)")),
    "label file": (idx((5,), bytes(5)), ("labels", "mixed up")),
    "floats": (idx((5, 2, 2), bytes(80), 0x0D), ("0x0d", "0x08")),
    "not IDX": (b"\x89PNG\r\n", ("PNG", "IDX")),
    "empty file": (b"", ("b''",)),
    "half a header": (WHOLE[:9], ("header",)),
    "truncated gzip": (gzip.compress(WHOLE)[:-9], ("EOFError",)),
    "damaged gzip": (gzip.compress(WHOLE)[:-8] + bytes(8), ("BadGzipFile",)),
    "only a gzip magic": (b"\x1f\x8b", ("cannot be read",)),
}


@pytest.mark.parametrize("case", IDX)
def test_bad_idx_files_are_named(case, tmp_path):
    content, words = IDX[case]
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with refused("train-images-idx3-ubyte", *words):
        data.load(f"idx:{tmp_path}")


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    bomb = gzip.compress(idx((5, 2, 2), bytes(200 << 20)), 1)  # 200 MiB of zeros
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    tracemalloc.start()
    with refused("more"):
        data.load(f"idx:{tmp_path}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_promise_of_a_gigabyte_is_not_allocated(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx((1 << 20, 32, 32), b"few"))
    tracemalloc.start()
    with refused("1,073,741,824", "has 3"):
        data.load(f"idx:{tmp_path}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_idx_labels_of_another_file_are_named(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(WHOLE)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx((4,), bytes(4)))
    with refused("5 images", "4 labels", "belong together"):
        data.load(f"idx:{tmp_path}")
    labels.write_bytes(WHOLE)
    with refused("train-labels-idx1-ubyte", "images", "mixed up"):
        data.load(f"idx:{tmp_path}")


def test_idx_folder_without_files_says_which_are_wanted(tmp_path):
    with refused(str(tmp_path), "train-images-idx3-ubyte"):
        data.load(f"idx:{tmp_path}")


def grey_file(path: Path, height: int, width: int, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height)).save(path)


def test_image_files_of_two_sizes_are_both_named(tmp_path):
    grey_file(tmp_path / "a.png", 4, 5)
    grey_file(tmp_path / "b.png", 6, 5)
    with refused("a.png is 4 x 5", "b.png is 6 x 5", "--image-size"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_image_file_that_is_corrupt_is_named(content, tmp_path):
    grey_file(tmp_path / "a.png", 4, 4)
    (tmp_path / "broken.png").write_bytes(content)
    with refused("broken.png", "repair or remove"):
        data.load(f"folder:{tmp_path}")


def test_a_truncated_image_file_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with refused("a.png", "repair or remove"):
        data.load(f"folder:{tmp_path}")


def test_an_image_of_sixteen_bits_is_refused(tmp_path):
    grey_file(tmp_path / "a.png", 4, 4, "I;16")
    with refused("a.png", "I;16", "8-bit"):
        data.load(f"folder:{tmp_path}")


def test_folders_without_images_are_named(tmp_path):
    with refused(str(tmp_path), "no images", ".png"):
        data.load(f"folder:{tmp_path}")
    grey_file(tmp_path / "train" / "a.png", 4, 4)
    (tmp_path / "test").mkdir()
    with refused("'test'", "no images"):
        data.load(f"folder:{tmp_path}")


def test_one_image_file_cannot_be_divided(tmp_path):
    grey_file(tmp_path / "a.png", 4, 4)
    with refused("1 images", "none is left"):
        data.load(f"folder:{tmp_path}")


def test_images_over_the_memory_limit_are_refused_before_they_are_read(tmp_path):
    for i in range(5):
        grey_file(tmp_path / f"{i}.png", 10, 10)
    with refused("500 bytes", "memory_limit 499"):
        data.load(f"folder:{tmp_path}", memory_limit=499)
