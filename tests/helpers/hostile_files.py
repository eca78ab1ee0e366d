"""Files that nobody wrote by accident: bombs, liars and payloads, for several tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from tfvae import cli

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
FILLER = "filler"  # the file that fills a disk


def snapshot(folder: pathlib.Path) -> dict[str, bytes | str]:
    """Returns what lies below a folder: each file's bytes, each link's target."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def refused(
    arguments: Sequence[str],
    folder: pathlib.Path,
    said: str,
    capsys: pytest.CaptureFixture,
) -> None:
    """Runs a command that must refuse, and looks at what it says and leaves."""
    before = snapshot(folder)
    capsys.readouterr()
    status = cli.main(list(arguments))
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.startswith("tfvae: ") and error.count("\n") == 1, error
    assert error.endswith("\n") and said in error, error
    assert snapshot(folder) == before


def good_run(folder: pathlib.Path, arguments: Sequence[str]) -> pathlib.Path:
    """Trains a run on forty images in a folder, and returns where it lies.

    Args:
        folder: Where the data and the run come to lie.
        arguments: Of `tfvae train`, but for the data and the place.
    """
    images = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)
    np.savez(folder / "data.npz", x_train=images, x_test=images[:9])
    how = ["--workdir", str(folder / "run"), "--dataset", f"npz:{folder / 'data.npz'}"]
    assert cli.main(["train", *arguments, *how]) == 0
    return folder / "run"


@contextlib.contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a folder that is a disk of one MiB; skips the test where none can be."""
    folder.mkdir()
    how = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(how, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no command mount")
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: pathlib.Path) -> None:
    """Leaves not a byte of a disk."""
    with (disk / FILLER).open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024))


# -- archives --------------------------------------------------------------------------


def rewrite(
    path: pathlib.Path,
    changed: Mapping[str, bytes | None],
    packing: int = zipfile.ZIP_STORED,
) -> None:
    """Writes an archive anew with other members; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packing, compresslevel=1) as archive:
        for name, content in {**members, **changed}.items():
            if content is not None:
                archive.writestr(name, content)


def lie(path: pathlib.Path, name: str, size: int) -> None:
    """Makes an archive promise another size of a member than it has."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(name)
    honest, wanted = struct.pack("<I", entry.file_size), struct.pack("<I", size)
    encoded = name.encode()
    start = 0
    while (place := content.find(encoded, start)) >= 0:
        start = place + 1
        for back in (30 - 22, 46 - 24):  # of the local and the central header
            field = slice(place - back, place - back + 4)
            if content[field] == honest:
                content[field] = wanted
    path.write_bytes(content)


def with_flipped_byte(path: pathlib.Path, name: str) -> None:
    """Changes one byte of a member that is stored as it is, and not its checksum."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.read(name)
    place = content.find(member) + len(member) - 100
    content[place] ^= 0x40
    path.write_bytes(content)


# -- models ----------------------------------------------------------------------------


def config_of(path: pathlib.Path) -> dict[str, Any]:
    """Returns the configuration within a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(CONFIG))


def with_config(path: pathlib.Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the configuration within a `.keras` file, in place or to a result."""
    config = config_of(path)
    changed = change(config)
    content = config if changed is None else changed
    rewrite(path, {CONFIG: json.dumps(content).encode()})


def with_layer(path: pathlib.Path, layer: dict[str, Any]) -> None:
    """Puts a layer of another kind in the place of the decoder's last one."""

    def change(config: dict[str, Any]) -> None:
        layers = config["config"]["decoder"]["config"]["network"]["config"]["layers"]
        name = layers[-1]["config"]["name"]
        layers[-1] = {**layers[-1], "build_config": None, **layer}
        layers[-1]["config"] = {**layer["config"], "name": name}

    with_config(path, change)


def with_weights(path: pathlib.Path, change: Callable[[h5py.File], None]) -> None:
    """Changes the HDF5 file within a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        file = io.BytesIO(archive.read(WEIGHTS))
    with h5py.File(file, "a") as root:
        change(root)
    rewrite(path, {WEIGHTS: file.getvalue()})


def first_array(root: h5py.File) -> str:
    """Returns the path of a kernel."""
    names: list[str] = []
    root.visititems(
        lambda name, node: (
            names.append(name)
            if isinstance(node, h5py.Dataset) and node.ndim == 2
            else None
        )
    )
    return names[0]


def replaced(root: h5py.File, **how: Any) -> None:
    """Writes the first kernel anew, with other arguments of `create_dataset`."""
    name = first_array(root)
    del root[name]
    root.create_dataset(name, **how)


def linked(root: h5py.File, link: h5py.SoftLink | h5py.ExternalLink) -> None:
    """Puts a link in the place of the first kernel."""
    name = first_array(root)
    del root[name]
    root[name] = link


# -- payloads: each makes the file `marker` if it is executed --------------------------


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: pathlib.Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple:
        """Says what unpickling calls."""
        return os.mknod, (self.marker,)


def lambda_layer(marker: pathlib.Path) -> dict[str, Any]:
    """Returns a Lambda layer as Keras would save it."""
    source = f"lambda x: (__import__('os').mknod({str(marker)!r}), x)[1]"
    return keras.saving.serialize_keras_object(keras.layers.Lambda(eval(source)))


def called(module: str, name: str, /, **config: Any) -> dict[str, Any]:
    """Returns the description of an object that is no layer of ours."""
    return {
        "module": module,
        "class_name": name,
        "registered_name": name,
        "config": config,
    }


# -- arrays ----------------------------------------------------------------------------


def npy(shape: tuple[int, ...], content: bytes, descr: str = "|u1") -> bytes:
    """Returns a `.npy` file with a header that says what one likes."""
    file = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": descr}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def npz(path: pathlib.Path, packing: int = zipfile.ZIP_DEFLATED, **members: bytes):
    """Writes a `.npz` file of raw members."""
    with zipfile.ZipFile(path, "w", packing, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def idx(shape: tuple[int, ...], content: bytes, code: int = 8) -> bytes:
    """Returns an IDX file."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + content
