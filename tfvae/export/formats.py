"""The formats of an exported model: what each one writes into a version's folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.lookup import lookup
from tfvae.core.optional import optional_package
from tfvae.core.types import InputError, first_line
from tfvae.export.anywhere import Anywhere, anywhere
from tfvae.export.extras import recorded_inputs, write_anywhere, write_extras
from tfvae.export.layout import PAGE, sha256_of
from tfvae.export.litert import QUANTIZATIONS, write_litert
from tfvae.export.onnx import write_onnx
from tfvae.export.pixels import Pixels
from tfvae.export.signatures import Signature, signatures_of
from tfvae.export.web import export_web
from tfvae.models import VAE


class Exported:
    """A model as all formats write it.

    Args:
        vae: The model.
        pixels: The preprocessing.
        num_samples: K of `score`.
        calibration: The scores of held-out images, for p-values; None: there are none.
        examples: [n, *image_shape] Images of the recorded requests.
        quantize: The quantisations that are wanted beside the model as it is.
        card: The content of the card besides what formats say. A page shows its `name`
            and its `summary`, name -> text.
    """

    def __init__(
        self,
        vae: VAE,
        pixels: Pixels,
        num_samples: int,
        calibration: np.ndarray | None,
        examples: np.ndarray,
        quantize: Sequence[str] = (),
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.vae, self.pixels, self.num_samples = vae, pixels, num_samples
        self.examples, self.quantize = examples, tuple(quantize)
        self.card = dict(card or {})
        self.signatures = signatures_of(vae, pixels, num_samples, calibration)

    @functools.cached_property
    def requests(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """The recorded inputs of each signature."""
        return recorded_inputs(self.signatures, self.vae, self.examples)

    @functools.cached_property
    def anywhere(self) -> Anywhere:
        """The signatures whose noise is an input."""
        return anywhere(
            self.vae, self.pixels, self.num_samples, self.signatures, self.requests
        )


class Format(NamedTuple):
    """A form in which a model is written.

    Attributes:
        text: One line for people.
        write: The function of a model and of a version's folder, which returns what
            the card says of it.
        packages: The packages that it needs beside the usual ones.
        extra: The extra of tfvae that brings them.
        scores: Whether it has the signature `score`, with K.
    """

    text: str
    write: Callable[[Exported, Path], dict[str, Any]]
    packages: tuple[str, ...] = ()
    extra: str = ""
    scores: bool = True


def _saved_model(exported: Exported, version: Path) -> dict[str, Any]:
    archive = keras.export.ExportArchive()
    # It finds the weights in the functions; track(vae) would write them twice.
    signatures: Mapping[str, Signature] = exported.signatures
    for name, signature in signatures.items():
        archive.add_endpoint(name, signature.function, list(signature.inputs.values()))
    try:
        archive.write_out(version, verbose=False)
    except tf.errors.OpError as error:
        raise OSError(0, first_line(error, 80)) from error
    return write_extras(version, signatures, exported.requests)


def _onnx(exported: Exported, version: Path) -> dict[str, Any]:
    files = write_onnx(exported.anywhere.signatures, version)
    return {"onnx": files, "anywhere": write_anywhere(version, exported.anywhere)}


def _litert(exported: Exported, version: Path) -> dict[str, Any]:
    files, costs = write_litert(exported.anywhere, version, exported.quantize)
    described = write_anywhere(version, exported.anywhere)
    return {"litert": files, "quantized": costs, "anywhere": described}


def _web(exported: Exported, version: Path) -> dict[str, Any]:
    version.mkdir(exist_ok=True)  # it may be the only format
    page = export_web(
        exported.vae,
        version / PAGE,
        title=str(exported.card.get("name", "model")),
        value_range=(exported.pixels.low, exported.pixels.high),
        card=exported.card.get("summary"),
    )
    return {"web": {"file": PAGE, "sha256": sha256_of(page)}}


FORMATS: Mapping[str, Format] = {
    "savedmodel": Format("a SavedModel, for any TensorFlow", _saved_model),
    "onnx": Format(
        "ONNX, a file for each signature, whose noise is an input",
        _onnx,
        ("tf2onnx", "onnxruntime"),
        "onnx",
    ),
    "litert": Format(
        "LiteRT (TensorFlow Lite), whose noise is an input",
        _litert,
        ("ai_edge_litert",),
        "litert",
    ),
    "web": Format(f"one page that decodes in a browser, {PAGE}", _web, scores=False),
}


def chosen_formats(names: Sequence[str], quantize: Sequence[str]) -> list[Format]:
    """Returns the formats of some names, each of which can be written here.

    Raises:
        InputError: if one is not known, comes twice, or lacks a package; or what is
            quantised is not of a format that is.
    """
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise InputError(
            f"formats (--format) {names!r} are not usable; give one or more of "
            f"{', '.join(FORMATS)}, each once"
        )
    found = [lookup(FORMATS, name, "format (--format)") for name in names]
    if isinstance(quantize, str) or len(set(quantize)) < len(quantize):
        raise InputError(
            f"quantize (--quantize) {quantize!r} is not usable; give some of "
            f"{', '.join(QUANTIZATIONS)}, each once"
        )
    for name in quantize:
        lookup(QUANTIZATIONS, name, "quantize (--quantize)")
    if quantize and "litert" not in names:
        raise InputError(
            f"quantize (--quantize) {' '.join(quantize)} is of the format litert, "
            f"and the formats are {', '.join(names)}; add litert to formats (--format)"
        )
    for name, each in zip(names, found, strict=True):
        for package in each.packages:
            optional_package(package, each.extra, f"the format {name}")
    return found
