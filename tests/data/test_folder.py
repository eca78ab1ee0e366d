"""A folder of images gives every image once, under its own split, class and pixels."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfvae import data
from tfvae.core.types import InputError
from tfvae.data.sources.image_files import _check_depth, read_image

SIZE = (4, 5)  # height, width


def png(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(SIZE, value, np.uint8)).save(path, format="PNG")
    return path


def some(folder: Path, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        png(folder / f"{number:03d}.png", number + 2)


def load(folder: Path) -> data.ImageData:
    return data.load(f"folder:{folder}", validation_size=0)


def size_of(loaded: data.ImageData) -> int:
    splits = (loaded.train, loaded.validation, loaded.test)
    return sum(len(split) for split in splits if split is not None)


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(folder)
    message = str(caught.value)
    assert all(part in message for part in said) and "\n" not in message, message


# -- splits and classes ----------------------------------------------------------------


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Testing"])
@pytest.mark.parametrize("validation", ["validation", "val", "Valid", "dev"])
def test_splits_have_their_usual_names_in_any_case(tmp_path, train, test, validation):
    for name, count in ((train, 5), (test, 3), (validation, 2)):
        some(tmp_path / name / "cat", count)
    loaded = data.load(f"folder:{tmp_path}")
    sizes = [len(s) for s in (loaded.train, loaded.validation, loaded.test)]
    assert sizes == [5, 2, 3]
    assert loaded.provenance["classes"] == ["cat"]


def test_a_class_named_train_among_classes_is_one(tmp_path):
    for number, name in enumerate(("bus", "car", "plane", "train")):
        some(tmp_path / name, 30, 30 * number)
    loaded = load(tmp_path)
    assert size_of(loaded) == 120
    assert loaded.provenance["classes"] == ["bus", "car", "plane", "train"]


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("train", "test", "unlabelled"), ("train, test", "unlabelled")),
        (("test", "cats"), ("test", "cats")),
        (("val", "test"), ("val, test", "train must be there")),
        (("train", "Training", "test"), ("Training", "one folder each")),
        (("train", "val", "valid"), ("val, valid",)),
        (("train", "test", "."), ("beside them images in",)),
    ],
)
def test_names_that_may_be_splits_or_classes_are_refused(tmp_path, folders, said):
    for name in folders:
        some(tmp_path / name, 3)
    refused(tmp_path, *said)


def test_a_split_without_images_is_refused(tmp_path):
    some(tmp_path / "train", 3)
    (tmp_path / "Test").mkdir()
    refused(tmp_path, "'Test'", "has no images")


HIDDEN = [".ipynb_checkpoints", ".thumbnails", "__MACOSX", "@eaDir", ".git"]


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("inside", ["", "cat"])
def test_hidden_folders_are_left_out_and_counted(tmp_path, name, inside):
    some(tmp_path / "cat", 5)
    some(tmp_path / inside / name, 2)
    loaded = load(tmp_path)
    assert size_of(loaded) == 5 and loaded.provenance["classes"] == ["cat"]
    assert loaded.provenance["left_out"] == "1 hidden"
    assert "left out: 1 hidden" in data.describe(loaded)


def test_other_files_are_left_out_and_counted_by_their_endings(tmp_path):
    some(tmp_path, 5)
    for name in ("a.txt", "b.TXT", "c.csv", "README", ".DS_Store"):
        (tmp_path / name).write_text("x")
    left_out = load(tmp_path).provenance["left_out"]
    assert left_out == "1 .csv, 2 .txt, 1 without ending, 1 hidden"


# -- links and permissions -------------------------------------------------------------


def test_linked_class_folders_and_files_are_followed(tmp_path):
    some(tmp_path / "elsewhere" / "dogs", 20)
    some(tmp_path / "here" / "cats", 20)
    some(tmp_path / "elsewhere" / "single", 1)
    (tmp_path / "here" / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    target = tmp_path / "elsewhere" / "single" / "000.png"
    (tmp_path / "here" / "cats" / "linked.png").symlink_to(target)
    loaded = load(tmp_path / "here")
    assert size_of(loaded) == 41 and loaded.provenance["classes"] == ["cats", "dogs"]


def test_loops_of_links_end(tmp_path):
    some(tmp_path / "a", 3)
    some(tmp_path / "b", 3)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    # a, a/b, b, b/a: each way there is gone once, and none goes back to where it was.
    assert size_of(load(tmp_path)) == 12


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    some(tmp_path / "cats", 12)
    some(tmp_path / "dogs", 12)
    original = os.scandir

    def scandir(path):
        if str(path).endswith("dogs"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(tmp_path, "dogs cannot be read (Permission denied)")


def test_a_link_to_nothing_is_named(tmp_path):
    some(tmp_path, 5)
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    refused(tmp_path, "gone.png", "a link to nothing")


# -- pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    "jfif jpe JPEG jp2 j2c jpx dib tga pbm avif pcx qoi sgi bw".split(),
)
def test_less_usual_endings_are_images_too(tmp_path, ending):
    some(tmp_path, 4)
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "pbm": "PPM", "bw": "SGI"}
    kinds |= dict.fromkeys(("jp2", "j2c", "jpx"), "JPEG2000")
    array = np.full(SIZE, 9, np.uint8)
    mode = {"pbm": "1", "qoi": "RGB"}.get(ending, "L")
    image = Image.fromarray(array).convert(mode)
    kind = kinds.get(ending, ending.upper())
    image.save(tmp_path / f"x.{ending}", format=kind)
    assert size_of(load(tmp_path)) == 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff"])
def test_images_are_turned_as_exif_says(tmp_path, orientation, kind):
    # The scene has a bright corner at its top left; stored as a camera would.
    scene = np.zeros((16, 8, 3), np.uint8)
    scene[:4, :2] = 255
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, 1),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path, notes = tmp_path / f"a.{kind}", set()
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True)
    found = read_image(str(path), notes)
    assert found.shape == scene.shape
    assert np.abs(found.astype(int) - scene).mean() < 12  # JPEG's loss
    assert bool(notes) == (orientation != 1)


def sixteen_bit_png(colour_type: int, channels: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    rows = b"".join(b"\0" + bytes(8 * channels) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


WIDE = {
    "grey.png": sixteen_bit_png(0, 1),
    "rgb.png": sixteen_bit_png(2, 3),
    "grey_alpha.png": sixteen_bit_png(4, 2),
    "rgba.png": sixteen_bit_png(6, 4),
    "rgb.ppm": b"P6 4 4 65535\n" + bytes(96),
    "grey.pgm": b"P5 4 4 1023\n" + bytes(32),
}


@pytest.mark.parametrize("name", WIDE)
def test_more_than_eight_bits_are_refused_and_not_cut(tmp_path, name):
    (tmp_path / name).write_bytes(WIDE[name])
    with pytest.raises(InputError, match="more than 8 bits a channel"):
        read_image(str(tmp_path / name), set())


def test_an_sgi_or_avif_file_of_more_bits_is_refused(tmp_path):
    image, path = Image.fromarray(np.zeros((8, 8, 3), np.uint8)), tmp_path / "a.sgi"
    image.save(path, bpc=2)
    with pytest.raises(InputError, match="more than 8 bits a channel"):
        read_image(str(path), set())
    path, wide = tmp_path / "a.avif", tmp_path / "wide.avif"
    image.save(path)
    content = path.read_bytes()
    eight, ten = b"pixi\0\0\0\0\3\x08\x08\x08", b"pixi\0\0\0\0\3\x0a\x0a\x0a"
    assert content.count(eight) == 1
    wide.write_bytes(content.replace(eight, ten))
    with Image.open(path) as opened:  # Pillow writes none of more bits
        _check_depth(opened, str(path))
        with pytest.raises(InputError, match="more than 8 bits a channel"):
            _check_depth(opened, str(wide))


def test_a_jpeg_2000_of_sixteen_bits_is_refused(tmp_path):
    path = tmp_path / "a.jp2"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    place = content.find(b"\xff\x4f\xff\x51") + 42
    assert content[place] == 7  # bits, less 1
    content[place] = 15
    path.write_bytes(content)
    with pytest.raises(InputError, match="more than 8 bits a channel"):
        read_image(str(path), set())


def test_pages_are_refused_and_animations_give_their_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="has 3 pages"):
        read_image(str(tmp_path / "a.tiff"), set())
    for kind in ("webp", "gif", "png"):
        path, notes = tmp_path / f"a.{kind}", set()
        options = {"lossless": True} if kind == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert read_image(str(path), notes)[0, 0].tolist() == [255, 0, 0]
        assert notes == {"the first frame of animated images"}


def test_other_colours_are_made_rgb_with_a_note(tmp_path):
    path, notes = tmp_path / "a.tiff", set()
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(path)
    assert read_image(str(path), notes)[0, 0].tolist() == [255, 0, 0]
    assert notes == {"CMYK images made RGB"}


def test_masks_of_0_and_1_are_black_and_white(tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (10, *SIZE), np.uint8)
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
    loaded = load(tmp_path)
    assert set(np.unique(loaded.train.images)) == {0, 255}
    assert "bytes 0 and 1 taken for black and white" in data.describe(loaded)[1]
