"""Writing ONNX, for onnxruntime and other runtimes that read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.optional import optional_package
from tfvae.core.types import InputError
from tfvae.export.signatures import Signature

OPSET = 17  # of ONNX 1.12, 2022
_FOLDER = "onnx"
_INT64, _DOUBLE = 7, 11  # numbers of types in ONNX


def write_onnx(signatures: Mapping[str, Signature], version: Path) -> list[str]:
    """Writes one file for each signature, which ONNX has no names for.

    Returns:
        The files' paths within the version's folder.

    Raises:
        InputError: if ONNX has not an operation of the model.
    """
    convert = optional_package("tf2onnx", "onnx", "the format onnx").convert
    known = optional_package("onnx", "onnx", "the format onnx").defs.has
    (version / _FOLDER).mkdir(parents=True)
    written = []
    for name, signature in signatures.items():
        function = tf.function(signature.function, autograph=False)
        model, _ = convert.from_function(
            function,
            input_signature=list(signature.inputs.values()),
            opset=OPSET,
            custom_op_handlers={op: (put, []) for op, put in _HANDLERS.items()},
        )
        foreign = sorted(
            node.op_type for node in model.graph.node if not known(node.op_type)
        )
        if foreign:
            raise InputError(
                f"ONNX has no operation {foreign[0]}, which the signature {name!r} of "
                "this model needs; export another format"
            )
        written.append(f"{_FOLDER}/{name}.onnx")
        (version / written[-1]).write_bytes(model.SerializeToString())
    return written


def _broadcast_args(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Puts the larger size of each axis; shapes are made equally long with ones."""
    ranks = [ctx.get_shape(source)[0] for source in node.input]
    shapes = []
    for source, rank in zip(node.input, ranks, strict=True):
        wide = ctx.make_node("Cast", [source], attr={"to": _INT64}).output[0]
        if rank < max(ranks):
            ones = [1] * (max(ranks) - rank)
            before = ctx.make_const(
                f"{name}_{rank}_ones", np.array(ones, np.int64)
            ).output[0]
            wide = ctx.make_node("Concat", [before, wide], attr={"axis": 0}).output[0]
        shapes.append(wide)
    largest = ctx.make_node("Max", shapes).output[0]
    _replace(ctx, node, "Cast", [largest], {"to": ctx.get_dtype(node.output[0])})


def _expm1(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Puts e^x - 1 = tanh(x / 2) (e^x + 1), which keeps the digits of a small x."""
    one, half = _numbers(ctx, node, name, 1.0, 0.5)
    x = node.input[0]
    halved = ctx.make_node("Mul", [x, half]).output[0]
    slope = ctx.make_node("Tanh", [halved]).output[0]
    above = ctx.make_node("Add", [ctx.make_node("Exp", [x]).output[0], one]).output[0]
    _replace(ctx, node, "Mul", [slope, above])


def _log1p(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Puts log(1 + x) = 2 atanh(x / (2 + x)), which keeps the digits of a small x."""
    (two,) = _numbers(ctx, node, name, 2.0)
    x = node.input[0]
    share = ctx.make_node("Div", [x, ctx.make_node("Add", [x, two]).output[0]])
    angle = ctx.make_node("Atanh", [share.output[0]]).output[0]
    _replace(ctx, node, "Mul", [angle, two])


def _mul_no_nan(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Puts x y, or 0 where y is 0 and x may be anything."""
    (zero,) = _numbers(ctx, node, name, 0.0)
    x, y = node.input
    nothing = ctx.make_node("Equal", [y, zero]).output[0]
    product = ctx.make_node("Mul", [x, y]).output[0]
    _replace(ctx, node, "Where", [nothing, zero, product])


def _numbers(ctx: Any, node: Any, name: str, *values: float) -> list[str]:
    kind = np.float64 if ctx.get_dtype(node.input[0]) == _DOUBLE else np.float32
    return [
        ctx.make_const(f"{name}_number_{place}", kind(value)).output[0]
        for place, value in enumerate(values)
    ]


def _replace(
    ctx: Any, node: Any, op: str, inputs: list[str], attr: dict | None = None
) -> None:
    shapes, dtypes = node.output_shapes, node.output_dtypes
    ctx.remove_node(node.name)
    ctx.make_node(
        op, inputs, attr=attr, outputs=node.output, shapes=shapes, dtypes=dtypes
    )


# TensorFlow's operations that tf2onnx does not know.
_HANDLERS = {
    "BroadcastArgs": _broadcast_args,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "MulNoNan": _mul_no_nan,
}
