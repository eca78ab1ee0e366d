"""Damaged and hostile data: one line, status 2, and no workdir is made."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from helpers import hostile_files as hostile
from helpers.hostile_files import idx, npy, npz

TRAIN = (
    "digits-binconcrete --epochs 1 --latent-size 3 --hidden-sizes 8 --batch-size 5"
).split()
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8)
GIB, MIB = 1 << 30, 1 << 20


def saved(path, **arrays):
    np.savez(path / "a.npz", **arrays)


def put(path, name, content):
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(content)


def cut(path, size):
    put(path, "a.npz", (path / "a.npz").read_bytes()[:size])


def encrypted(path):
    saved(path, x_train=PIXELS)
    content = bytearray((path / "a.npz").read_bytes())
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.find(magic) + place] |= 1
    put(path, "a.npz", bytes(content))


def lying(path, size):
    saved(path, x_train=PIXELS)
    # NumPy writes the sizes in 64 bits, which this is to overwrite in 32.
    npz(path / "a.npz", zipfile.ZIP_STORED, x_train=npy(PIXELS.shape, PIXELS.tobytes()))
    hostile.lie(path / "a.npz", "x_train.npy", size)


def long_header(path):
    prefix = b"\x93NUMPY\x02\x00" + struct.pack("<I", 90 * MIB)
    npz(path / "a.npz", x_train=prefix + b" " * (90 * MIB))


def bzip2(path):
    """Four KiB that are eighty MiB."""
    npz(path / "a.npz", zipfile.ZIP_BZIP2, x_train=npy((80, MIB), bytes(80 * MIB)))
    hostile.lie(path / "a.npz", "x_train.npy", 1000)


def with_links(path):
    (path / "a.npz").symlink_to("a.npz")


NPZ = {
    "no bytes": (lambda p: put(p, "a.npz", b""), "not a .npz file"),
    "only a magic": (lambda p: put(p, "a.npz", b"PK\5\6"), "not a .npz file"),
    "no arrays": (lambda p: zipfile.ZipFile(p / "a.npz", "w").close(), "none"),
    "a .npy file": (lambda p: np.save(p / "a.npz", PIXELS), "no file"),
    "truncated": (lambda p: (saved(p, x_train=PIXELS), cut(p, 300)), "not a .npz"),
    "encrypted": (encrypted, "encrypted"),
    "promises 3 GiB": (lambda p: lying(p, 3 * GIB), "memory_limit"),
    "promises less": (lambda p: lying(p, 200), "cannot be read"),
    "promises a little more": (lambda p: lying(p, 700), "promises shape"),
    "a header of 90 MiB": (long_header, "header"),
    "a bomb of bzip2": (bzip2, "packed"),
    "2^62 images": (
        lambda p: npz(p / "a.npz", x_train=npy((2**62, 4, 4), b"few")),
        "promises shape",
    ),
    "fewer than no images": (
        lambda p: npz(p / "a.npz", x_train=npy((-3, 4, 4), b"")),
        "x_train",
    ),
    "bytes after the array": (
        lambda p: npz(p / "a.npz", x_train=npy(PIXELS.shape, bytes(481))),
        "promises shape",
    ),
    "no shape": (lambda p: saved(p, x_train=np.uint8(3)), "()"),
    "nothing in an axis": (lambda p: saved(p, x_train=PIXELS[:, :0]), "empty"),
    "two images": (lambda p: saved(p, x_train=PIXELS[:2]), "none is left"),
    "records": (
        lambda p: saved(p, x_train=np.zeros((9, 2, 2), [("a", "u1"), ("b", "f4")])),
        "dtype",
    ),
    "elements of no size": (
        lambda p: npz(p / "a.npz", x_train=npy((2**40, 2, 2), b"", "|V0")),
        "memory_limit",
    ),
    "dates": (lambda p: saved(p, x_train=PIXELS.astype("M8[D]")), "datetime64"),
    "an array that is text": (
        lambda p: npz(p / "a.npz", x_train=b"x_train = 5"),
        "cannot be read",
    ),
    "a later format": (
        lambda p: npz(p / "a.npz", x_train=b"\x93NUMPY\x09\x00" + bytes(99)),
        "cannot be read",
    ),
    "code as a header": (
        lambda p: npz(
            p / "a.npz",
            x_train=b"\x93NUMPY\x01\x00"
            + struct.pack("<H", 26)
            + b"__import__('os').abort()\n\n",
        ),
        "cannot be read",
    ),
    "labels of half a class": (
        lambda p: saved(p, x_train=PIXELS, y_train=np.full(30, 0.5)),
        "y_train",
    ),
    "a bad test split": (
        lambda p: saved(p, x_train=PIXELS, x_test=PIXELS[:2] / 3.0 - 1),
        "x_test",
    ),
    "a folder": (lambda p: (p / "a.npz").mkdir(), "is no file"),
    "a pipe": (lambda p: os.mkfifo(p / "a.npz"), "is no file"),
    "a link to itself": (with_links, "is no file"),
}
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
WHOLE = idx(PIXELS.shape, PIXELS.tobytes())
IDX = {
    "2^96 pixels": (
        lambda p: put(p, IMAGES, idx((2**32 - 1,) * 3, b"few")),
        "memory_limit",
    ),
    "no rows": (lambda p: put(p, IMAGES, idx((30, 0, 4), b"")), "no images"),
    "a gzip file in a gzip file": (
        lambda p: put(p, IMAGES + ".gz", gzip.compress(gzip.compress(WHOLE))),
        "no IDX header",
    ),
    "half a gzip file": (
        lambda p: put(p, IMAGES + ".gz", gzip.compress(WHOLE)[:200]),
        "end-of-stream",
    ),
    "rubbish after gzip": (
        lambda p: put(p, IMAGES + ".gz", gzip.compress(WHOLE) + b"rubbish"),
        "Not a gzipped file",
    ),
    "two files in one": (
        lambda p: put(p, IMAGES, gzip.compress(WHOLE) + gzip.compress(WHOLE)),
        "has more",
    ),
    "255 axes": (lambda p: put(p, IMAGES, b"\0\0\x08\xff" + bytes(99)), "255 axes"),
    "little-endian sizes": (
        lambda p: put(p, IMAGES, b"\0\0\x08\3" + struct.pack("<3I", 30, 4, 4)),
        "memory_limit",
    ),
    "labels alone": (lambda p: put(p, LABELS, idx((30,), bytes(30))), IMAGES),
    "a pipe": (lambda p: (p.mkdir(exist_ok=True), os.mkfifo(p / IMAGES)), IMAGES),
    "a folder": (lambda p: (p / IMAGES).mkdir(parents=True), IMAGES),
    "damaged test images": (
        lambda p: (put(p, IMAGES, WHOLE), put(p, "t10k-images-idx3-ubyte", b"")),
        "t10k-images",
    ),
    "test images of another size": (
        lambda p: (
            put(p, IMAGES, WHOLE),
            put(p, "t10k-images-idx3-ubyte", idx((9, 5, 5), bytes(225))),
        ),
        "(5, 5, 1)",
    ),
}


def png(width, height, body=b""):
    """A PNG file that says its size truly, or not."""

    def chunk(kind, content):
        checked = kind + content
        sum32 = struct.pack(">I", zlib.crc32(checked))
        return struct.pack(">I", len(content)) + checked + sum32

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def several(path, first, others=b"", count=9):
    put(path, "0.png", first)
    for number in range(1, count):
        put(path, f"{number}.png", others or first)


FOLDER = {
    "a gigapixel": (lambda p: several(p, png(40_000, 40_000)), "0.png"),
    "a hundred megapixels": (lambda p: several(p, png(10_000, 10_000)), "0.png"),
    "no pixels": (lambda p: several(p, png(0, 4)), "0.png"),
    "one bad file of many": (
        lambda p: several(p, b"", png(4, 4, bytes(20))),
        "repair or remove",
    ),
    "text": (lambda p: several(p, b"P2 4 4 255 none"), "0.png"),
    "PostScript": (
        lambda p: several(p, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n"),
        "0.png",
    ),
    "two images": (lambda p: several(p, png(4, 4, bytes(20)), count=2), "none is left"),
    "hidden files alone": (lambda p: put(p, ".a.png", png(4, 4)), "no images"),
    "links to nowhere": (
        lambda p: (p.mkdir(exist_ok=True), (p / "a.png").symlink_to("b.png")),
        "a link to nothing",
    ),
    "a folder that holds itself": (
        lambda p: (p.mkdir(exist_ok=True), (p / "in").symlink_to(".")),
        "no images",
    ),
    "pipes": (
        lambda p: (p.mkdir(exist_ok=True), os.mkfifo(p / "a.png")),
        "is no file",
    ),
}
NAMES = {
    "../../etc/passwd": "unknown data set",
    "mnist:": "mnist",
    "mnist/../x": "unknown data set",
    "http://127.0.0.1:1/x": "unknown data set",
    "npz:": "''",
    "idx:": "''",
    "npz:/dev/zero": "/dev/zero",
    "folder:/dev/null": "/dev/null",
    "idx:../../no/such/../folder": "does not exist",
    "npz:\udcff\udcfe.npz": r"\udcff",
    "x" * 5000: "unknown data set",
    "npz:" + "x" * 5000: "is no file",
    "npz:a\nb\x1b[2J": r"\x1b[2J",
}
CASES = [
    *(("npz:{}/a.npz", *case) for case in NPZ.values()),
    *(("idx:{}", *case) for case in IDX.values()),
    *(("folder:{}", *case) for case in FOLDER.values()),
    *((name, lambda path: None, said) for name, said in NAMES.items()),
]
IDS = [
    *(f"npz {name}" for name in NPZ),
    *(f"idx {name}" for name in IDX),
    *(f"folder {name}" for name in FOLDER),
    *(f"name {number}" for number in range(len(NAMES))),
]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "make", "said"), CASES, ids=IDS)
def test_bad_data_is_one_line_and_makes_no_workdir(name, make, said, tmp_path, capsys):
    there = tmp_path / "with space"
    there.mkdir()
    make(there)
    how = ["--workdir", str(tmp_path / "run"), "--dataset", name.format(there)]
    hostile.refused(["train", *TRAIN, *how], tmp_path, said, capsys)


def test_no_code_of_an_array_is_executed(tmp_path, capsys):
    marker = tmp_path / "marker"
    payload = np.empty((9, 2, 2), object)
    payload[:] = hostile.Evil(marker)
    np.savez(tmp_path / "a.npz", x_train=PIXELS, y_train=payload)
    how = ["--workdir", str(tmp_path / "run"), "--dataset", f"npz:{tmp_path}/a.npz"]
    hostile.refused(["train", *TRAIN, *how], tmp_path, "never unpickled", capsys)
    assert not marker.exists()
    with np.load(tmp_path / "a.npz", allow_pickle=True) as trusted:
        assert len(trusted["y_train"]) == 9
    assert marker.exists()  # so the payload works
