"""Writing a SavedModel with everything that serving it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.data import BINARIZATIONS
from tfvae.export.extras import write_extras
from tfvae.export.signatures import Pixels, signatures_of
from tfvae.export.versions import next_version
from tfvae.lookup import lookup
from tfvae.models import VAE
from tfvae.require import require_int
from tfvae.types import InputError


def export_saved_model(
    vae: VAE,
    path: str | os.PathLike,
    *,
    binarization: str | None = None,
    num_samples: int = 100,
    examples: np.ndarray | None = None,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the next version of a SavedModel, for any TensorFlow runtime.

    The signatures take and return named tensors whose first axis is the batch; a row's
    answer is a function of that row alone, float32, and finite whatever is asked.

        encode       x -> mean, scale (or logits) of q(z|x)
        decode       z -> mean of p(x|z)
        reconstruct  x -> mean of p(x|z) at the mean of q(z|x)
        sample       seed -> z from the prior, mean of p(x|z)
        score        x, seed -> elbo, iwae, rate, distortion, in nats

    x is float32 in [0, 1]; `encode_uint8`, `reconstruct_uint8` and `score_uint8` take
    uint8. seed is int32 [B, 2]. `serving_default` is `encode`. Images are made what the
    model was trained on within the graph, see `Pixels`.

    `assets.extra` holds `model_card.json`, `requests/SIGNATURE.json` and
    `answers/SIGNATURE.json` in the row format of the servers' REST interface, which
    `verify_saved_model` replays, and the requests that a server warms up with.

    Args:
        vae: The model.
        path: The folder of this model's versions, for example saved_models/digits.
        binarization: How images were made binary in training, a name in
            `tfvae.data.BINARIZATIONS`; None: "dynamic" if the likelihood is of 0 and 1
            alone, else "none".
        num_samples: K of `score`.
        examples: [n, *image_shape] Float values in [0, 1] that the recorded requests
            show, n from 1 to 8; None: noise.
        card: What `model_card.json` holds besides the signatures; `json.dumps` takes
            it.

    Returns:
        `path` / version, where version is one more than the largest there is.

    Raises:
        InputError: `path` is a file, holds something else than versions, or cannot be
            written to; or an argument is not usable.
    """
    pixels = _pixels(vae, binarization)
    signatures = signatures_of(vae, pixels, require_int("num_samples", num_samples))
    examples = _examples(vae, examples)
    with next_version(path) as written:
        archive = keras.export.ExportArchive()
        # It finds the weights in the functions; track(vae) would write them twice.
        for name, signature in signatures.items():
            archive.add_endpoint(
                name, signature.function, list(signature.inputs.values())
            )
        archive.write_out(written[0], verbose=False)
        content = {**(card or {}), "preprocessing": pixels.description}
        write_extras(written[0], signatures, vae, examples, content)
    return written[0]


def _pixels(vae: VAE, binarization: str | None) -> Pixels:
    head = vae.decoder.head
    if binarization is None:
        binarization = "dynamic" if head.exact_binary else "none"
    is_binary = lookup(BINARIZATIONS, binarization, "binarization").is_binary
    if head.exact_binary and not is_binary:
        raise InputError(
            f"binarization {binarization!r} gives grey values, for which "
            f"{type(head).__name__} has no probability; give another"
        )
    return Pixels(binarization, getattr(head, "num_levels", None))


def _examples(vae: VAE, examples: np.ndarray | None) -> np.ndarray:
    """Returns images [n, *image_shape] with few digits, which JSON writes short."""
    if examples is None:
        shape = (2, *vae.image_shape)
        examples = tf.random.stateless_uniform(shape, (0, 0)).numpy()
    examples = np.asarray(examples)
    if examples.shape[1:] != vae.image_shape or not 1 <= len(examples) <= 8:
        raise InputError(
            f"examples have shape {examples.shape}; give 1 to 8 images of shape "
            f"{vae.image_shape}"
        )
    if not (np.issubdtype(examples.dtype, np.floating) and _in_range(examples)):
        raise InputError(
            f"examples have dtype {examples.dtype} or values outside [0, 1]; give "
            "floats in [0, 1]"
        )
    return np.round(examples.astype(np.float64), 4).astype(np.float32)


def _in_range(values: np.ndarray) -> bool:
    return bool(np.all((values >= 0) & (values <= 1)))  # False for NaN
