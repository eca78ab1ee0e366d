"""Files beside a SavedModel: its card, recorded requests, and warm-up requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfvae.core.types import InputError
from tfvae.export import layout
from tfvae.export.anywhere import Anywhere
from tfvae.export.signatures import Signature, condition_specs
from tfvae.models import VAE


def write_extras(
    version: Path,
    signatures: Mapping[str, Signature],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Writes requests and answers of a SavedModel, and returns its part of the card."""
    loaded = tf.saved_model.load(str(version)).signatures
    _check_finite(signatures, loaded, inputs)
    described = {
        name: {
            "description": signature.description,
            "inputs": _specs(signature.inputs),
            "outputs": _specs(loaded[name].structured_outputs),
        }
        for name, signature in signatures.items()
    }
    answers = {}
    for name, asked in inputs.items():
        tensors = {key: tf.constant(value) for key, value in asked.items()}
        answers[name] = {key: v.numpy() for key, v in loaded[name](**tensors).items()}
    _write_records(version / layout.REQUESTS, version / layout.ANSWERS, inputs, answers)
    _write_warmup(version / layout.WARMUP, inputs)
    return {layout.DEFAULT: "encode", "signatures": described}


def write_anywhere(version: Path, served: Anywhere) -> dict[str, Any]:
    """Writes requests with noise and their answers; returns signatures for the card."""
    _write_records(
        version / layout.NOISE_REQUESTS,
        version / layout.NOISE_ANSWERS,
        served.requests,
        served.answers,
    )
    return {
        name: {
            "description": signature.description,
            "inputs": {
                key: spec | {"classes": served.classes[key]}
                if key in served.classes
                else spec
                for key, spec in _specs(signature.inputs).items()
            },
            "outputs": {
                key: {"dtype": value.dtype.name, "shape": [None, *value.shape[1:]]}
                for key, value in sorted(served.answers[name].items())
            },
            "noise": dict(served.laws.get(name, {})),
        }
        for name, signature in served.signatures.items()
    }


def _write_records(
    requests: Path,
    answers: Path,
    asked: Mapping[str, Mapping[str, np.ndarray]],
    told: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Writes requests and answers as a server's REST interface has them."""
    for name, inputs in asked.items():
        body = {"signature_name": name, "instances": layout.to_rows(inputs)}
        write_json(requests / f"{name}.json", body)
        answer = {"predictions": layout.to_rows(told[name], single_plain=True)}
        write_json(answers / f"{name}.json", answer)


def _check_finite(
    signatures: Mapping[str, Signature],
    loaded: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Refuses a model that answers the requests, or the ends of all ranges, with NaN.

    Inputs are moved into these ranges, so that a NaN is the model's doing.
    """
    for name, signature in signatures.items():
        ends = {}
        for key, spec in signature.inputs.items():
            if key.startswith("condition"):  # others are refused, or have no ends
                ends[key] = inputs[name][key][[0, -1]]
                continue
            least, largest = _ends(spec.dtype)
            ends[key] = np.stack([np.full(spec.shape[1:], e) for e in (least, largest)])
        for asked in (inputs[name], ends):
            typed = {
                key: tf.constant(value, signature.inputs[key].dtype)
                for key, value in asked.items()
            }
            for output, value in sorted(loaded[name](**typed).items()):
                if not np.isfinite(value).all():
                    raise InputError(
                        f"signature {name!r} answers with {output} that is not finite; "
                        "look at the model's weights, or train it in float32"
                    )


def _ends(dtype: tf.DType) -> tuple[float, float]:
    """Returns the least and the largest value of an input."""
    if dtype == tf.bool:
        return False, True
    return (-3e38, 3e38) if dtype.is_floating else (0, 255)


def recorded_inputs(
    signatures: Mapping[str, Signature], vae: VAE, examples: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the recorded inputs of each signature, all with as many rows."""
    size, known, condition = len(examples), {}, None
    if vae.condition is not None:
        condition = vae.condition.examples(size)
        served = condition if isinstance(condition, Mapping) else {"": condition}
        known = dict(zip(condition_specs(vae), served.values(), strict=True))
    prior = vae.draw_prior([size], (0, 1), condition).numpy()
    known |= {
        "z": np.round(prior.astype(np.float64), 4).astype(np.float32),
        "seed": np.stack([np.zeros(size), np.arange(1, size + 1)], 1).astype(np.int32),
        # Every third value is missing.
        "observed": (np.arange(examples.size) % 3 > 0).reshape(examples.shape),
    }

    def value(name: str, spec: tf.TensorSpec) -> np.ndarray:
        if name != "x":
            return known[name]
        if spec.dtype == tf.uint8:
            return np.round(examples * 255).astype(np.uint8)
        return examples

    return {
        name: {key: value(key, spec) for key, spec in signature.inputs.items()}
        for name, signature in signatures.items()
    }


def _specs(specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in sorted(specs.items())
    }


def _write_warmup(path: Path, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Writes a record of each request, with one row and with all."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, asked in inputs.items():
            for rows in (1, len(next(iter(asked.values())))):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = name
                for key, value in asked.items():
                    tensor = tf.make_tensor_proto(value[:rows])
                    request.inputs[key].CopyFrom(tensor)
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
