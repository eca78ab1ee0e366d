"""What TensorFlow would do with a traced function on a GPU, asked of its registry.

The plain wheel has the kernels for GPUs, and lists them on any machine with the types
that they take and the arguments that they want in the host's memory. The rules here are
those of `FindKernelDef` and `MemoryTypesForNode` in TensorFlow's core.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, kernel_def_pb2, op_def_pb2
from tensorflow.python.framework import function_def_to_graph, kernels

# The device type under which XLA registers what it compiles for a GPU; there is none
# until something has been compiled.
XLA_GPU = "XLA_GPU_JIT"
# They leave the device for Python, whatever kernels they have, ...
FORBIDDEN = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}
# ... or their kernels make the host wait: for the size of what they put out, or for
# the answer to a check.
FORBIDDEN |= {"Where", "DynamicPartition", "Unique", "UniqueV2", "UniqueWithCounts"}
FORBIDDEN |= {"UniqueWithCountsV2", "CheckNumerics", "CheckNumericsV2"}
# What stands for a function's argument.
ARGUMENTS = {"Placeholder", "_Arg"}
# Where the memory of arguments goes by type, since TensorFlow expands the bodies.
CALLS = {"PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile"}
# They read nothing of their input but its shape.
SHAPES = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
HOST_TYPES = (tf.int32, tf.string, tf.resource)


class Transfer(NamedTuple):
    """A tensor that is computed on the GPU and wanted in the host's memory.

    Attributes:
        op: Which computes it.
        wanted_by: The op that reads it, or "output".
        roots: The names of the arguments of the graph that its value depends on.
    """

    op: str
    wanted_by: str
    roots: frozenset[str]


def graphs(function: tf.types.experimental.ConcreteFunction) -> Iterator[tf.Graph]:
    """Yields a traced function's graph, and those of the functions that it calls."""
    yield function.graph
    for definition in function.graph.as_graph_def().library.function:
        yield function_def_to_graph.function_def_to_graph(definition)


def without_kernel(graph: tf.Graph, devices: Sequence[str]) -> set[str]:
    """Returns the ops, with their types, that a kind of device cannot run by itself.

    Args:
        graph: Of a traced function.
        devices: Device types under which kernels are registered, in order.
    """
    found = set()
    for op in graph.get_operations():
        runs = op.type in ARGUMENTS or _is_message(op) or kernel_of(op, devices)
        if op.type in FORBIDDEN or not runs:
            types = [tensor.dtype.name for tensor in (*op.inputs, *op.outputs)]
            found.add(f"{op.type}({', '.join(types)})")
    return found


def _is_message(op: tf.Operation) -> bool:
    """Whether it is the text of an assertion, a constant, which no GPU can hold."""
    readers = [reader.type for out in op.outputs for reader in out.consumers()]
    is_text = op.type == "Const" and op.outputs[0].dtype == tf.string
    return is_text and set(readers) <= {"Assert"}


def kernel_of(
    op: tf.Operation, devices: Sequence[str] = ("GPU", "DEFAULT")
) -> kernel_def_pb2.KernelDef | None:
    """Returns the kernel that a device would run an op with, or None."""
    node = op.node_def
    given = [(name, _values(node.attr[name])) for name in _constrained(op.type)]
    return _kernel(op.type, tuple(given), tuple(devices))


@functools.cache
def _kernel(
    name: str, given: tuple[tuple[str, frozenset], ...], devices: tuple[str, ...]
) -> kernel_def_pb2.KernelDef | None:
    attributes = dict(given)
    for device in devices:
        for kernel in kernels.get_registered_kernels_for_op(name).kernel:
            if kernel.device_type == device and not kernel.label:
                if all(
                    attributes[c.name] <= _values(c.allowed_values)
                    for c in kernel.constraint
                ):
                    return kernel
    return None


@functools.cache
def _constrained(name: str) -> tuple[str, ...]:
    """Returns the attributes that the choice of a kernel for an op depends on."""
    registered = kernels.get_registered_kernels_for_op(name).kernel
    return tuple(sorted({c.name for kernel in registered for c in kernel.constraint}))


def _values(value: attr_value_pb2.AttrValue) -> frozenset:
    """Returns the types, texts or numbers of an attribute, one or several."""
    if value.HasField("list"):
        several = value.list
        return frozenset([*several.type, *several.s, *several.i, *several.b])
    return frozenset([getattr(value, value.WhichOneof("value"))])


def transfers(graph: tf.Graph) -> list[Transfer]:
    """Returns what a GPU must hand to the host while it runs a graph."""
    memory = {op: _on_host(op) for op in graph.get_operations()}
    found = []
    for op, (reads, _) in memory.items():
        for tensor, wanted in zip(op.inputs, reads, strict=True):
            if wanted and not memory[tensor.op][1][tensor.value_index]:
                found.append(Transfer(tensor.op.type, op.type, _roots(tensor)))
    for tensor in graph.outputs:
        if tensor.dtype in HOST_TYPES:
            if not memory[tensor.op][1][tensor.value_index]:
                found.append(Transfer(tensor.op.type, "output", _roots(tensor)))
    return found


def _on_host(op: tf.Operation) -> tuple[list[bool], list[bool]]:
    """Returns which inputs and which outputs of an op are in the host's memory."""
    kernel = kernel_of(op)
    if op.type in ARGUMENTS | CALLS or kernel is None:
        return (
            [tensor.dtype in HOST_TYPES for tensor in op.inputs],
            [tensor.dtype in HOST_TYPES for tensor in op.outputs],
        )
    names = set(kernel.host_memory_arg)
    return (
        _by_tensor(op, op.op_def.input_arg, names),
        _by_tensor(op, op.op_def.output_arg, names),
    )


def _by_tensor(
    op: tf.Operation, args: Sequence[op_def_pb2.OpDef.ArgDef], names: set[str]
) -> list[bool]:
    """Returns, tensor by tensor, whether the argument that it is of is named."""
    named: list[bool] = []
    for arg in args:
        count = 1
        if arg.number_attr:
            count = op.get_attr(arg.number_attr)
        elif arg.type_list_attr:
            count = len(op.get_attr(arg.type_list_attr))
        named += [arg.name in names] * count
    return named


def _roots(tensor: tf.Tensor) -> frozenset[str]:
    """Returns the names of the arguments that a tensor's value depends on."""
    seen, ahead = set(), [tensor.op]
    while ahead:
        op = ahead.pop()
        if op not in seen:
            seen.add(op)
            ahead += [] if op.type in SHAPES else [t.op for t in op.inputs]
    return frozenset(op.name for op in seen if op.type in ARGUMENTS)
