"""Writing LiteRT's files, for telephones, browsers and small boards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.optional import optional_package
from tfvae.core.types import InputError, first_line
from tfvae.export.anywhere import Anywhere, Arrays

_FOLDER = "litert"
QUANTIZATIONS: Mapping[str, str] = {
    "float16": "weights are float16",
    "int8": "weights of layers of 1,024 or more are int8, with a scale for each output",
}
"""A name -> the change of the weights; sums stay in float32."""


def write_litert(
    served: Anywhere, version: Path, quantize: Sequence[str] = ()
) -> tuple[list[str], dict[str, Any]]:
    """Writes one file with all signatures, and one more for each quantisation.

    Returns:
        The files' paths within the version's folder, and by quantisation the file's
        differences from TensorFlow's answers to the recorded requests: the largest of
        each signature, and `loss` of the mean L_K in nats.

    Raises:
        InputError: if LiteRT has not an operation of the model, or a quantisation
            changes nothing.
    """
    interpreter = optional_package(
        "ai_edge_litert.interpreter", "litert", "the format litert"
    ).Interpreter
    (version / _FOLDER).mkdir(parents=True)
    files, costs = [], {}
    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(served, folder)
        whole: dict[str, Arrays] = {}
        for kind in (None, *quantize):
            content = _converted(folder, list(served.signatures), kind)
            files.append(f"{_FOLDER}/model{'_' * bool(kind)}{kind or ''}.tflite")
            (version / files[-1]).write_bytes(content)
            told = _answers(interpreter(model_content=content), served)
            if kind is None:
                whole = told
                continue
            _check_changed(kind, whole, told)
            costs[kind] = {
                "file": files[-1],
                "weights": QUANTIZATIONS[kind],
                "bytes": len(content),
                **_cost(told, served),
            }
    return files, costs


def _write_saved_model(served: Anywhere, folder: str) -> None:
    archive = keras.export.ExportArchive()
    for name, each in served.signatures.items():
        archive.add_endpoint(name, each.function, list(each.inputs.values()))
    archive.write_out(folder, verbose=False)


def _converted(folder: str, names: list[str], kind: str | None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    if kind is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        return converter.convert()
    except Exception as error:  # the converter has several kinds of its own
        raise InputError(
            "LiteRT cannot have this model "
            f"({first_line(error, 200)}); export another format"
        ) from error


def _answers(interpreter: Any, served: Anywhere) -> dict[str, Arrays]:
    """Returns a file's answers to the recorded requests."""
    return {
        name: interpreter.get_signature_runner(name)(**asked)
        for name, asked in served.requests.items()
    }


def _check_changed(
    kind: str, whole: Mapping[str, Arrays], told: Mapping[str, Arrays]
) -> None:
    """Refuses a file that answers as the whole one, to the last bit."""
    if all(
        np.array_equal(value, told[name][key])
        for name, answer in whole.items()
        for key, value in answer.items()
    ):
        raise InputError(
            f"quantize (--quantize) {kind} changes nothing of this model: LiteRT "
            "leaves layers of fewer than 1,024 weights as they are; leave it out"
        )


def _cost(told: Mapping[str, Arrays], served: Anywhere) -> dict[str, Any]:
    """Returns the differences of a file's answers from the recorded ones."""
    largest = {
        name: max(
            float(np.max(np.abs(told[name][key] - answer[key]))) for key in answer
        )
        for name, answer in served.answers.items()
    }
    loss = np.mean(served.answers["score"]["iwae"] - told["score"]["iwae"])
    return {"differences": largest, "loss": float(loss)}
