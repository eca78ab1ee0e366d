from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from tfvae import data

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def block_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every connection and every look-up of a host fail."""

    def refuse(*args, **kwargs):
        raise OSError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def no_network(monkeypatch):
    block_network(monkeypatch)


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory):
    """TFDS' own MNIST, prepared once from the original files, with no network."""
    if not MNIST.is_dir():
        pytest.skip("the original MNIST files are not in ../shared/data/mnist")
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as monkeypatch:
        block_network(monkeypatch)
        data.load("mnist", folder, MNIST, memory_limit=0)
    return folder


@pytest.fixture(scope="session")
def mnist(mnist_dir):
    return data.load("mnist", mnist_dir)


def prepare(folder: Path, name: str, shape: tuple, examples: list[dict], **others):
    """Prepares a TFDS data set called `name`; its image feature may have any name."""
    import tensorflow_datasets as tfds

    key = others.pop("image_name", "image")
    features = {key: tfds.features.Image(shape=shape), **others}

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        @classmethod
        def _get_pkg_dir_path(cls):
            return Path(__file__).parent

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from enumerate(examples)

    Tiny.name = name
    tfds.disable_progress_bar()
    Tiny(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory):
    """A TFDS data set, "toy", of 137 images that differ in their first pixel."""
    images = np.random.default_rng(0).integers(0, 256, (137, 4, 3, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(137)
    examples = [{"image": image} for image in images]
    return prepare(tmp_path_factory.mktemp("toy"), "toy", (4, 3, 1), examples)


@pytest.fixture(scope="session")
def prepare_tfds():
    return prepare
