"""Paths of an exported model's files, and the row format of its requests.

Imports nothing but the standard library: `replay.py` uses it beside TensorFlow alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
CARD = "assets.extra/model_card.json"
REQUESTS = "assets.extra/requests"
ANSWERS = "assets.extra/answers"
NOISE_REQUESTS = "assets.extra/noise/requests"
NOISE_ANSWERS = "assets.extra/noise/answers"
WARMUP = "assets.extra/tf_serving_warmup_requests"
PAGE = "page.html"
DEFAULT = "serving_default"
# What the card says of what was written.
RESERVED = frozenset(
    {"format", "preprocessing", "signatures", DEFAULT}
    | {"anywhere", "onnx", "litert", "quantized", "web"}
)


def sha256_of(path: Path) -> str:
    """Returns the digest of a file's content, by which a changed one is known."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_rows(tensors: Mapping[str, Any], single_plain: bool = False) -> list[Any]:
    """Returns arrays as a server's REST interface has them, row by row.

    Args:
        tensors: A name -> an array [B, ...]; B is the same for all.
        single_plain: Whether the rows of a single array go without its name, as in a
            server's answers.
    """
    columns = {name: _plain(array.tolist()) for name, array in tensors.items()}
    if single_plain and len(columns) == 1:
        return next(iter(columns.values()))
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def _plain(values: list[Any]) -> list[Any]:
    """Returns values with text in place of bytes."""
    return [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]


def to_columns(rows: list[Any], names: list[str]) -> dict[str, list[Any]]:
    """Returns the rows of a request or an answer as one list for each name.

    Args:
        rows: Dictionaries, or plain values if there is one name.
        names: The names that every row has.

    Raises:
        ValueError: if a row has not these names.
    """
    if len(names) == 1 and not all(isinstance(row, Mapping) for row in rows):
        return {names[0]: rows}
    for row in rows:
        if not isinstance(row, Mapping) or set(row) != set(names):
            raise ValueError(f"a row has not the names {', '.join(sorted(names))}")
    return {name: [row[name] for row in rows] for name in names}
