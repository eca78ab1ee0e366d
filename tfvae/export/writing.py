"""Writing a SavedModel with everything that serving it needs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.lookup import lookup
from tfvae.core.types import InputError
from tfvae.core.validation import require_path
from tfvae.data import BINARIZATIONS
from tfvae.evaluation.anomaly import Detector
from tfvae.export.calibrated import samples_of
from tfvae.export.extras import write_json
from tfvae.export.formats import Exported, chosen_formats
from tfvae.export.layout import CARD, FORMAT, RESERVED
from tfvae.export.pixels import Pixels, range_of
from tfvae.export.versions import next_version
from tfvae.models import VAE


def export_saved_model(
    vae: VAE,
    path: str | os.PathLike,
    *,
    binarization: str | None = None,
    num_samples: int | None = None,
    detector: Detector | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
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
        score        x, seed -> elbo, iwae, rate, distortion, in nats; p_value
        impute       x, seed -> mean and draw of what is missing, and ess

    x is float32 in [0, 1]; `encode_uint8`, `reconstruct_uint8` and `score_uint8` take
    uint8. seed is int32 [B, 2]. `serving_default` is `encode`. The graph preprocesses
    images as in training, see `Pixels`.

    `impute` is there for a model with `missing`, whose signatures that take x take
    `observed` with it, bool of the same shape. x is not looked at where it is False; a
    NaN where it is True is an error. Where x is observed, mean and draw are x as the
    model takes it. `impute` does what `VAE.impute` does, with the row's seed in the
    place of one derived from the example.

    `assets.extra` holds `model_card.json`, `requests/SIGNATURE.json` and
    `answers/SIGNATURE.json` in the row format of the servers' REST interface, which
    `verify_saved_model` replays, and the requests that a server warms up with.

    Args:
        vae: The model.
        path: The folder of this model's versions, for example saved_models/digits.
        binarization: The binarisation of training, a name in
            `tfvae.data.BINARIZATIONS`; None: "dynamic" if the likelihood is of 0 and 1
            alone, else "none".
        num_samples: K of `score` and `impute`; None: the detector's, or 100.
        detector: What `tfvae.anomaly.calibrate` gave for this model with score
            "likelihood"; `score` then has `p_value` too, to the chance of other draws
            that of `detector.p_values`. None: there are no p-values.
        value_range: The range of x; values outside are moved to the nearer end. There
            are signatures for uint8 if it goes from 0 to 1.
        examples: [n, *image_shape] Floats in that range that the recorded requests
            show, n from 1 to 8; None: noise.
        card: The content of `model_card.json` besides the signatures, for `json.dumps`.

    Returns:
        `path` / version, where version is one more than the largest there is.

    Raises:
        InputError: if `path` is a file, holds something else than versions, or cannot
            be written to; an argument is not usable; the detector is of another model
            or score; or the model is one of counts, or its answers are not finite.
    """
    return export_model(
        vae,
        path,
        binarization=binarization,
        num_samples=num_samples,
        detector=detector,
        value_range=value_range,
        examples=examples,
        card=card,
    )


def export_model(
    vae: VAE,
    path: str | os.PathLike,
    formats: Sequence[str] = ("savedmodel",),
    *,
    quantize: Sequence[str] = (),
    binarization: str | None = None,
    num_samples: int | None = None,
    detector: Detector | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    examples: np.ndarray | None = None,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the next version of a model, in one or several formats at once.

    "savedmodel" is that of `export_saved_model`, whose rows draw from seeds. In "onnx"
    (onnx/SIGNATURE.onnx) and "litert" (litert/model.tflite, of all signatures) noise is
    an input in the place of a seed, so that no runtime needs random operations:

        encode, decode, reconstruct, classify    as those of the SavedModel
        sample  noise [B, ...] -> z, mean of p(x|z)
        score   x, noise [B, K, ...] -> elbo, iwae, rate, distortion, in nats

    iwae is log (1/K) sum_k w_k. A single noise is `noise`; several, as those of pixels
    that are drawn and of layers, are `noise_1`, `noise_2` and so on, in the order of
    the draws. The card gives shape and law of each: standard normal, or uniform. With
    the noise that a seed draws, the answers are those of this seed. There are neither
    signatures of uint8 nor `impute`, and `score` has no p-value.

    Args:
        vae: The model.
        path: The folder of this model's versions.
        formats: Names in `tfvae.export.FORMATS`.
        quantize: "float16", "int8" or both: files of LiteRT with smaller weights,
            beside the whole one. The card has what they cost of L_K.
        binarization: As for `export_saved_model`, like the others.
        num_samples: K.
        detector: Of p-values, in the SavedModel alone.
        value_range: The range of x.
        examples: Images of the recorded requests.
        card: The content of the card.

    Returns:
        `path` / version.

    Raises:
        InputError: if a format is not known, or lacks a package or an operation;
            otherwise as for `export_saved_model`.
    """
    chosen = chosen_formats(formats, quantize)
    samples = {"num_samples (--num-samples)": num_samples, "detector": detector}
    for name, value in samples.items():
        if value is not None and not any(each.scores for each in chosen):
            raise InputError(
                f"{name} has no effect in the format {' '.join(formats)}, which scores "
                "nothing; leave it out"
            )
    path = require_path("path", path)
    if not isinstance(vae, VAE):
        raise InputError(f"{type(vae).__name__} is no VAE; give one of tfvae.VAE")
    pixels = _pixels(vae, binarization, value_range)
    num_samples = samples_of(vae, num_samples, detector)
    calibration = None if detector is None else detector.calibration
    examples = _examples(vae, examples, pixels)
    try:
        card = json.loads(json.dumps(dict(card or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"card is not usable ({error}); give a dictionary of what JSON knows"
        ) from error
    for name in sorted(card.keys() & RESERVED):
        raise InputError(
            f"card has {name!r}, which is written into every card; leave it out"
        )
    exported = Exported(vae, pixels, num_samples, calibration, examples, quantize, card)
    content = {**card, "preprocessing": pixels.description, "format": FORMAT}
    with next_version(path) as written:
        for each in chosen:
            content |= each.write(exported, written[0])
        write_json(written[0] / CARD, content)
    return written[0]


def _pixels(
    vae: VAE, binarization: str | None, value_range: tuple[float, float]
) -> Pixels:
    head = vae.decoder.head
    if binarization is None:
        binarization = "dynamic" if head.exact_binary else "none"
    is_binary = lookup(BINARIZATIONS, binarization, "binarization").is_binary
    if head.exact_binary and not is_binary:
        raise InputError(
            f"binarization {binarization!r} gives grey values, for which "
            f"{type(head).__name__} has no probability; give another"
        )
    num_levels = getattr(head, "num_levels", None)
    low, high = range_of(value_range)
    if (is_binary or num_levels) and (low, high) != (0.0, 1.0):
        raise InputError(
            f"value_range {value_range!r} is not that of {type(head).__name__}, whose "
            "values are from 0 to 1; leave it out"
        )
    if not (is_binary or num_levels or head.in_support(np.array([low, high, 0.3]))):
        raise InputError(
            f"{type(head).__name__} has the support {head.support}, and what is served "
            "takes every value of value_range; serve another model, or write its "
            "SavedModel with keras.export"
        )
    return Pixels(binarization, num_levels, low, high, vae.missing is not None)


def _examples(vae: VAE, examples: np.ndarray | None, pixels: Pixels) -> np.ndarray:
    """Returns images [n, *image_shape] with few digits, which JSON writes short."""
    low, high = pixels.low, pixels.high
    if examples is None:
        shape = (2, *vae.image_shape)
        noise = tf.random.stateless_uniform(shape, (0, 0), dtype=tf.float64).numpy()
        examples = low + (high - low) * noise
    try:
        examples = np.asarray(examples)
    except ValueError:  # ragged
        examples = np.zeros([0])
    if examples.shape[1:] != vae.image_shape or not 1 <= len(examples) <= 8:
        raise InputError(
            f"examples have shape {examples.shape}; give 1 to 8 images of shape "
            f"{vae.image_shape}"
        )
    floats = np.issubdtype(examples.dtype, np.floating)
    inside = floats and np.all((examples >= low) & (examples <= high))  # False for NaN
    if not inside:
        raise InputError(
            f"examples have dtype {examples.dtype} or values outside [{low:g}, "
            f"{high:g}]; give floats in that range"
        )
    return np.round(examples.astype(np.float64), 4).astype(np.float32)
