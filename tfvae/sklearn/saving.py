"""A model as bytes, for pickles."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

from tfvae.models import VAE

_FILE = "vae.keras"


def to_bytes(vae: VAE) -> bytes:
    """Returns the content of the model's .keras file, optimizer included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _FILE
        vae.save(path)
        return path.read_bytes()


def from_bytes(content: bytes) -> VAE:
    """Returns the model that `to_bytes` was given, ready to go on training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _FILE
        path.write_bytes(content)
        return keras.models.load_model(path)
