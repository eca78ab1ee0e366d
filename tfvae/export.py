"""SavedModels that a TensorFlow runtime serves without this package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from tfvae.models import VAE
from tfvae.types import InputError


def export_saved_model(vae: VAE, path: str | os.PathLike) -> Path:
    """Writes the next version of a SavedModel.

    The signatures take and return named tensors whose first axis is the batch:

        encode       x -> mean, scale (or logits) of q(z|x)
        decode       z -> mean of p(x|z)
        reconstruct  x -> mean of p(x|z) at the mean of q(z|x)
        sample       seed, int32 [B, 2] -> z from the prior, mean of p(x|z)

    `serving_default` is `encode`. The model is written aside and renamed, so that a
    server which watches the folder never sees half of it.

    Args:
        vae: The model.
        path: The folder of this model's versions, for example saved_models/digits.

    Returns:
        `path` / version, where version is one more than the largest there is.

    Raises:
        InputError: `path` is a file, or holds something else than versions.
    """
    folder = Path(path)
    version = _next_version(folder)
    partial = folder / f".{version}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(vae, partial)
        target = folder / str(version)
        os.rename(partial, target)
    except OSError as error:
        raise InputError(
            f"{str(folder)!r} cannot be written to ({error.strerror}); give another "
            "path, or change its permissions"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _next_version(folder: Path) -> int:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; give a folder's path")
    names = [p.name for p in folder.iterdir()] if folder.exists() else []
    names = [name for name in names if not name.startswith(".")]
    strange = sorted(
        name for name in names if not (name.isascii() and name.isdecimal())
    )
    if strange:
        raise InputError(
            f"{str(folder)!r} holds {strange[0]!r}, which is no version of a model; "
            "give a new folder, for example saved_models/NAME"
        )
    return max(map(int, names), default=0) + 1


def _write(vae: VAE, path: Path) -> None:
    images = tf.TensorSpec([None, *vae.image_shape], tf.float32, name="x")
    event_shape = vae.latent.event_shape
    latents = tf.TensorSpec([None, *event_shape], tf.float32, name="z")
    seeds = tf.TensorSpec([None, 2], tf.int32, name="seed")

    def encode(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return _float32(vae.encoder.head.named_params(vae.encode(x)))

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return _float32({"mean": vae.decode(tf.cast(z, vae.compute_dtype)).mean()})

    def reconstruct(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return _float32({"mean": vae.reconstruct(x)})

    def sample(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        prior = vae.prior()
        z = tf.map_fn(
            lambda one: prior.sample(seed=one), seed, fn_output_signature=prior.dtype
        )  # [B, D], each row a function of its own seed
        z.set_shape([None, *event_shape])
        return _float32({"z": z, "mean": vae.decode(z).mean()})

    archive = keras.export.ExportArchive()
    archive.track(vae)
    archive.add_endpoint("encode", encode, [images])
    archive.add_endpoint("decode", decode, [latents])
    archive.add_endpoint("reconstruct", reconstruct, [images])
    archive.add_endpoint("sample", sample, [seeds])
    archive.write_out(path, verbose=False)


def _float32(tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: tf.cast(tensor, tf.float32) for name, tensor in tensors.items()}
