"""A model's functions as programs of plain steps, which a page's JavaScript runs.

A program is the function's own TensorFlow graph with the weights as constants, so that
nothing is said twice: neither layers, nor the mean of a likelihood, nor how a prior is
drawn. What depends on no input is computed here. What only moves elements (a transpose,
a crop, a slice) is asked of TensorFlow with the elements' places in their stead, and
becomes one of three steps.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

# Both are checked with TensorFlow 2.21: they are in none of its public modules.
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from tfvae.core.types import InputError

# Operations whose results are some of their first operand's elements, or of another's.
_SAME = (
    *("Identity", "IdentityN", "StopGradient", "PreventGradient", "CheckNumerics"),
    "EnsureShape",
)
_MOVES = (
    *("Reshape", "ExpandDims", "Squeeze", "Transpose", "StridedSlice", "Slice"),
    *("Split", "SplitV", "Unpack", "BroadcastTo", "Tile", "ReverseV2", "GatherV2"),
    *("ResizeNearestNeighbor", "DepthToSpace", "SpaceToDepth", "MirrorPad"),
)
_LOOPS = ("While", "StatelessWhile")
_OPERAND = {"Split": 1}  # the place of the operand that is moved, if it is not 0
_PLACES = (tf.float32, tf.float64, tf.int32, tf.int64)  # dtypes that hold a place
_MOST_PLACES = 2**24  # whole numbers that float32 holds


class Constant(NamedTuple):
    """A tensor of a program that depends on no input.

    Attributes:
        id: Its number.
        value: Its value.
        tensor: The tensor of the graph; None for one that the graph does not have.
    """

    id: int
    value: np.ndarray
    tensor: tf.Tensor | None


class Step(NamedTuple):
    """One operation: the numbers of its operands and results, and its attributes."""

    operation: str
    inputs: list[int]
    outputs: list[int]
    attributes: dict[str, Any]


class Program(NamedTuple):
    """Steps in order.

    Attributes:
        inputs: The numbers of the tensors that are given.
        outputs: Those of the results.
        tensors: The dtype and shape of each tensor, by its number.
        constants: The tensors that are known.
        steps: The operations.
    """

    inputs: list[int]
    outputs: list[int]
    tensors: list[tuple[str, list[int]]]
    constants: list[Constant]
    steps: list[Step]


@functools.cache
def engine() -> str:
    """Returns the JavaScript that runs programs."""
    return text_of("web_engine.js")


def text_of(name: str) -> str:
    """Returns the text of a file of this room."""
    return resources.files("tfvae.export").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def known_operations() -> frozenset[str]:
    """Returns the names of TensorFlow's operations that the engine runs."""
    table = engine().partition("const OPERATIONS = {")[2].partition("\n  };")[0]
    return frozenset(re.findall(r"^    ([A-Z]\w+):", table, re.MULTILINE))


class Frozen:
    """A function of tensors whose shapes are known, with its weights as constants.

    Args:
        function: The function, of tensors to one tensor.
        specs: The shapes and dtypes of its operands.
        layers: The layers that an error may name.
    """

    def __init__(
        self,
        function: Callable[..., tf.Tensor],
        specs: Sequence[tf.TensorSpec],
        layers: Sequence[keras.layers.Layer] = (),
    ) -> None:
        traced = tf.function(function, autograph=False).get_concrete_function(*specs)
        found = convert_variables_to_constants_v2(traced, lower_control_flow=False)
        graph = _in_float32(found.graph.as_graph_def())
        self._inputs = [graph.get_tensor_by_name(each.name) for each in found.inputs]
        self._output = graph.get_tensor_by_name(found.outputs[0].name)
        self._builder = _Builder(graph, self._inputs, [self._output], layers)
        self.program = self._builder.program

    def __call__(self, *values: Any, constants: Sequence[Constant] = ()) -> np.ndarray:
        """Returns what TensorFlow computes, with other values of some constants."""
        fed = {c.tensor: c.value for c in constants}
        given = dict(zip(self._inputs, values, strict=True))
        return self._builder.session.run(self._output, {**fed, **given})


class _Builder:
    """Makes the program of a graph."""

    def __init__(
        self,
        graph: tf.Graph,
        inputs: Sequence[tf.Tensor],
        outputs: Sequence[tf.Tensor],
        layers: Sequence[keras.layers.Layer],
    ) -> None:
        self.session = tf.compat.v1.Session(graph=graph)
        self._graph, self._layers = graph, {layer.name: layer for layer in layers}
        self._definitions = {
            each.signature.name: each for each in graph.as_graph_def().library.function
        }
        self._ids: dict[str, int] = {}
        self._variable = {tensor.name for tensor in inputs}
        self.program = Program([], [], [], [], [])
        self.program.inputs.extend(self._new(tensor) for tensor in inputs)
        for operation in self._wanted(outputs):
            self._add(operation)
        self.program.outputs.extend(self._id(tensor) for tensor in outputs)

    def _wanted(self, outputs: Sequence[tf.Tensor]) -> list[tf.Operation]:
        """Returns the operations to run, in order: those that depend on an input."""
        for operation in self._graph.get_operations():  # operands come first
            if any(each.name in self._variable for each in operation.inputs):
                self._variable |= {each.name for each in operation.outputs}
        waiting, wanted = [each.op for each in outputs], set()
        while waiting:
            operation = waiting.pop()
            if operation.name not in wanted:
                wanted.add(operation.name)
                waiting += [each.op for each in operation.inputs]
        return [
            operation
            for operation in self._graph.get_operations()
            if operation.name in wanted
            and operation.inputs
            and any(each.name in self._variable for each in operation.outputs)
            and not all(each.name in self._ids for each in operation.outputs)
        ]

    def _new(self, tensor: tf.Tensor) -> int:
        """Returns the number of a tensor that is computed, or given."""
        shape = tensor.shape
        if not shape.is_fully_defined():
            self._refuse(tensor.op, f"has a result of unknown shape {shape}")
        dtype = tensor.dtype.name
        self._ids[tensor.name] = self._number(dtype, shape.as_list())
        return self._ids[tensor.name]

    def _number(self, dtype: str, shape: list[int]) -> int:
        self.program.tensors.append((dtype, shape))
        return len(self.program.tensors) - 1

    def _id(self, tensor: tf.Tensor) -> int:
        if tensor.name not in self._ids:  # it depends on no input
            value = self.session.run(tensor)
            self._ids[tensor.name] = self._constant(value, tensor)
        return self._ids[tensor.name]

    def _constant(self, value: np.ndarray, tensor: tf.Tensor | None = None) -> int:
        value = np.asarray(value)
        number = self._number(value.dtype.name, list(value.shape))
        self.program.constants.append(Constant(number, value, tensor))
        return number

    def _add(self, operation: tf.Operation) -> None:
        kind, operands = operation.type, list(operation.inputs)
        if kind in _SAME:
            for operand, result in zip(operands, operation.outputs, strict=False):
                self._ids[result.name] = self._id(operand)
            return
        moved = operands[_OPERAND.get(kind, 0)]
        if kind in _MOVES and self._alone(moved, operands):
            self._add_moves(operation, moved)
            return
        if kind not in known_operations():
            self._refuse(operation, "is not one that a page can run")
        if kind in _LOOPS:
            attributes = {
                name: self._within(operation, name) for name in ("cond", "body")
            }
        else:
            attributes = _plain_attributes(operation)
        if attributes.get("data_format", "NHWC") not in ("NHWC", b"NHWC"):
            self._refuse(operation, "has channels before height and width")
        if attributes.get("padding") == "EXPLICIT":
            self._refuse(operation, "has explicit padding")
        self.program.steps.append(
            Step(
                kind,
                [self._id(each) for each in operands],
                [self._new(each) for each in operation.outputs],
                attributes,
            )
        )

    def _alone(self, moved: tf.Tensor, operands: Sequence[tf.Tensor]) -> bool:
        """Returns whether one operand, and no other, depends on an input."""
        return {e.name for e in operands if e.name in self._variable} == {moved.name}

    def _add_moves(self, operation: tf.Operation, moved: tf.Tensor) -> None:
        source = self._id(moved)
        for result, place in zip(
            operation.outputs, self._places(operation, moved), strict=True
        ):
            name, inputs, attributes = "_Reshape", [source], {}
            if not np.array_equal(place.reshape(-1), np.arange(_size(moved))):
                view = _strided(place)
                name, attributes = "_View", view or {}
                if view is None:
                    name, inputs = "_Take", [source, self._constant(place)]
            self.program.steps.append(
                Step(name, inputs, [self._new(result)], attributes)
            )

    def _places(self, operation: tf.Operation, moved: tf.Tensor) -> list[np.ndarray]:
        """Returns the places in the operand that the results' elements come from."""
        size = _size(moved)
        if size > _MOST_PLACES:
            self._refuse(operation, f"moves {size:,} numbers")
        places = np.arange(size, dtype=np.int32).reshape(moved.shape)
        results, dtype = list(operation.outputs), moved.dtype.as_numpy_dtype
        if moved.dtype in _PLACES:
            found = self.session.run(results, {moved: places.astype(dtype)})
            return [each.astype(np.int32) for each in found]
        bits = [  # a bool holds one bit of a place
            self.session.run(results, {moved: (places >> bit & 1).astype(dtype)})
            for bit in range(max(size - 1, 1).bit_length())
        ]
        return [
            sum(each.astype(np.int32) << bit for bit, each in enumerate(result))
            for result in zip(*bits, strict=True)
        ]

    def _within(self, operation: tf.Operation, name: str) -> Program:
        """Returns the program of a loop's condition, or of its body."""
        definition = self._definitions[operation.get_attr(name).name]
        for argument in definition.arg_attr.values():  # some say that none is known
            argument.attr.pop("_output_shapes", None)
        shapes = [each.shape for each in operation.inputs]
        graph = function_def_to_graph(definition, input_shapes=shapes)
        layers = list(self._layers.values())
        return _Builder(graph, graph.inputs, graph.outputs, layers).program

    def _refuse(self, operation: tf.Operation, reason: str) -> None:
        """Raises an error that names the layer, or the part of the model."""
        # TensorFlow makes names of scopes unique with a number.
        parts = re.findall(r"([^/]+?)(_\d+)?(?:/|$)", operation.name)
        tried = [name for stem, end in parts for name in (stem, stem + end)]
        named = [name for name in tried if name in self._layers]
        what = "the model"
        if named:
            what = f"layer {named[-1]!r} ({type(self._layers[named[-1]]).__name__})"
        raise InputError(
            f"{what} needs TensorFlow's operation {operation.type} "
            f"({operation.name:.80}), which {reason}; use layers of tfvae.networks, or "
            "write a SavedModel with tfvae.export.export_saved_model"
        )


def _in_float32(definition: Any) -> tf.Graph:
    """Returns a graph in which the numbers of 16 bits of mixed precision are float32.

    JavaScript has none of them, and what they round away is no part of the model.
    """
    short = (tf.bfloat16.as_datatype_enum, tf.float16.as_datatype_enum)
    nodes = (definition.node, *(f.node_def for f in definition.library.function))
    for attribute in (a for part in nodes for n in part for a in n.attr.values()):
        if attribute.type in short:
            attribute.type = tf.float32.as_datatype_enum
        if attribute.tensor.dtype in short:
            value = tf.make_ndarray(attribute.tensor).astype(np.float32)
            attribute.tensor.CopyFrom(tf.make_tensor_proto(value))
    for function in definition.library.function:
        signature = function.signature
        for argument in (*signature.input_arg, *signature.output_arg):
            if argument.type in short:
                argument.type = tf.float32.as_datatype_enum
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    return graph


def _size(tensor: tf.Tensor) -> int:
    return math.prod(tensor.shape)


def _strided(places: np.ndarray) -> dict[str, Any] | None:
    """Returns the offset and strides of places, if they have some."""
    if not places.size:
        return None
    offset = int(places.flat[0])
    strides = [
        int(np.take(places, 1, axis).flat[0]) - offset if size > 1 else 0
        for axis, size in enumerate(places.shape)
    ]
    steps = (
        np.arange(size) * stride
        for size, stride in zip(places.shape, strides, strict=True)
    )
    expected = functools.reduce(np.add.outer, steps, np.asarray(offset))
    if not np.array_equal(expected, places):
        return None
    return {"offset": offset, "strides": strides}


def _plain_attributes(operation: tf.Operation) -> dict[str, Any]:
    """Returns the attributes of an operation that JSON knows."""
    found = {}
    for name in operation.node_def.attr:
        if name.startswith("_"):
            continue
        value = operation.get_attr(name)
        if isinstance(value, bytes):
            value = value.decode()
        numbers = isinstance(value, list) and all(isinstance(v, int) for v in value)
        if numbers or isinstance(value, (bool, int, float, str)):
            found[name] = value
    return found
