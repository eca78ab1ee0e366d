"""A model server's rules, for requests to exported models.

TensorFlow Serving's REST interface, row format: a body has `instances`, each row a
dictionary of named inputs, or a plain value where there is one input; every input's
dimension 0 is the number of rows; an answer has `predictions`, a row each, plain where
there is one output. https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf


class Refused(Exception):
    """What a server answers with status 400."""


def answered(model, body: bytes) -> dict:
    """What a model server answers to `:predict`."""
    request = json.loads(body)
    extra = set(request) - {"signature_name", "instances"}
    if extra or not isinstance(request.get("instances"), list):
        raise Refused(f"keys {sorted(request)}")
    function = model.signatures[request.get("signature_name", "serving_default")]
    specs = function.structured_input_signature[1]
    rows = request["instances"]
    named = [isinstance(row, dict) for row in rows]
    if not rows or (any(named) and not all(named)):
        raise Refused("rows of two kinds, or none")
    if not named[0] and len(specs) > 1:
        raise Refused("several inputs without names")
    if not named[0]:
        rows = [{next(iter(specs)): row} for row in rows]
    if any(set(row) != set(specs) for row in rows):
        raise Refused(f"a row has not the names {sorted(specs)}")
    inputs = {}
    for name, spec in specs.items():
        values = [row[name] for row in rows]
        if spec.dtype.is_integer and np.asarray(values).dtype.kind != "i":
            raise Refused(f"{name} is not of integers")
        if spec.dtype == tf.bool and np.asarray(values).dtype.kind != "b":
            raise Refused(f"{name} is not of true and false")
        inputs[name] = tf.constant(values, spec.dtype)
        if not spec.shape.is_compatible_with(inputs[name].shape):
            raise Refused(f"{name} has shape {inputs[name].shape}, wanted {spec.shape}")
    outputs = {name: value.numpy() for name, value in function(**inputs).items()}
    if any(len(value) != len(rows) for value in outputs.values()):
        raise Refused("an output has another dimension 0")
    if len(outputs) == 1:
        return {"predictions": next(iter(outputs.values())).tolist()}
    return {
        "predictions": [
            {name: value[row].tolist() for name, value in outputs.items()}
            for row in range(len(rows))
        ]
    }
