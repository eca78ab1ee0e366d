"""The check of a SavedModel's operations: none reads or writes files, or runs Python.

A SavedModel is a program, which loading it may already run. Imports TensorFlow's
protocol messages alone: `replay.py` uses it beside TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Parts of the names of operations that reach out of the graph.
_OUTSIDE = (
    *("File", "PyFunc", "Dataset", "Iterator", "Reader", "Writer", "Summary", "Print"),
    *("Dump", "Debug", "Rpc", "Send", "Recv", "Remote", "Save", "Restore", "Merge"),
    *("CustomCall", "XlaLaunch", "LookupTable", "HashTable", "Checkpoint"),
)
# With these a checkpoint is read and written, in functions that no signature calls.
_CHECKPOINTS = ("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename")


def refused_operation(path: Path) -> str | None:
    """Returns an operation in a version's folder that no exported model has, or None.

    Raises:
        Exception: if `saved_model.pb` cannot be read.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    for graph in model.meta_graphs:
        functions = {f.signature.name: f for f in graph.graph_def.library.function}
        called = _reachable(graph, functions)
        operations = [(node.op, True) for node in graph.graph_def.node]
        operations += [
            (node.op, name in called)
            for name, function in functions.items()
            for node in function.node_def
        ]
        for name, asked in operations:
            checkpoints = name in _CHECKPOINTS and not asked
            if not checkpoints and any(part in name for part in _OUTSIDE):
                return name
    return None


def _reachable(graph: Any, functions: Mapping[str, Any]) -> set[str]:
    """Returns the functions that a signature calls, the one that initialises too."""
    nodes = {node.name: node for node in graph.graph_def.node}
    asked = [t for s in graph.signature_def.values() for t in s.outputs.values()]
    waiting, seen = [_node_of(tensor.name) for tensor in asked], set()
    called: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        waiting += [_node_of(source) for source in nodes[name].input]
        called.update(_functions_of([nodes[name]]))
    new = set(called)
    while new:
        bodies = [functions[name].node_def for name in new if name in functions]
        new = {name for body in bodies for name in _functions_of(body)} - called
        called |= new
    return called


def _functions_of(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        for value in node.attr.values():
            yield from (f.name for f in (value.func, *value.list.func) if f.name)


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]
