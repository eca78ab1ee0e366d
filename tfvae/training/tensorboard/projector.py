"""Codes of images as TensorBoard's projector reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from tfvae.core.files import atomic_write, write_text
from tfvae.models import VAE
from tfvae.training.tensorboard.latent import codes

CONFIG = "projector_config.pbtxt"
_TENSOR = "test posterior means"
# Pixels; 100 x 100 such tiles fit into 8192 x 8192, the most that browsers take.
_TILE = 81


def write_projection(
    folder: Path,
    vae: VAE,
    batches: Iterable[tf.Tensor],
    labels: np.ndarray | None = None,
) -> None:
    """Writes the posterior means of images, with labels and thumbnails.

    The folder is one with event files, by which TensorBoard knows a run.
    """
    encode = tf.function(
        lambda batch: codes(vae, batch), reduce_retracing=True, autograph=False
    )
    found = [
        (_tiles(np.asarray(batch.x)), encode(batch).numpy())
        for batch in map(vae.as_batch, batches)
    ]
    tiles, means = (np.concatenate(each) for each in zip(*found, strict=True))
    files = folder / "projector"
    files.mkdir(exist_ok=True)
    write_text(files / "means.tsv", _tsv(means))
    _write_sprite(files / "sprite.png", tiles)
    config = ProjectorConfig()
    embedding = config.embeddings.add(tensor_name=_TENSOR)
    embedding.tensor_path = "projector/means.tsv"
    if labels is not None:
        # TensorBoard names the points after the first column.
        rows = [f"{label}\t{i}\n" for i, label in enumerate(labels[: len(means)])]
        write_text(files / "labels.tsv", "".join(["label\timage\n", *rows]))
        embedding.metadata_path = "projector/labels.tsv"
    embedding.sprite.image_path = "projector/sprite.png"
    embedding.sprite.single_image_dim.extend([tiles.shape[2], tiles.shape[1]])
    write_text(folder / CONFIG, text_format.MessageToString(config))


def _tsv(rows: np.ndarray) -> str:
    line = "\t".join(["%.6g"] * rows.shape[1])
    return "".join(f"{line % tuple(row)}\n" for row in rows.tolist())


def _tiles(images: np.ndarray) -> np.ndarray:
    """Returns small images, uint8 [B, h, w, 1 or 3], of every n-th pixel."""
    step = math.ceil(max(images.shape[1:3]) / _TILE)
    small = images[:, ::step, ::step]
    if small.shape[-1] not in (1, 3):  # a PNG has grey values, or three colours
        small = small.mean(axis=-1, keepdims=True)
    return np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)


def _write_sprite(path: Path, tiles: np.ndarray) -> None:
    """Writes tiles [N, h, w, C] into a square, row by row."""
    count, height, width, channels = tiles.shape
    side = math.ceil(math.sqrt(count))
    canvas = np.zeros([side * side, height, width, channels], np.uint8)
    canvas[:count] = tiles
    canvas = canvas.reshape(side, side, height, width, channels)
    canvas = canvas.transpose(0, 2, 1, 3, 4)  # [rows, h, columns, w, C]
    canvas = canvas.reshape(side * height, side * width, channels)
    with atomic_write(path) as partial:
        Image.fromarray(canvas[..., 0] if channels == 1 else canvas).save(partial)
