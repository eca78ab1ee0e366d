"""Tables of rows and columns, which pandas reads, in train, validation and test."""

from __future__ import annotations

import collections
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import tensorflow as tf

from tfvae.core.optional import is_frame, optional_package
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError, first_line
from tfvae.core.validation import SEEDS, require_int, require_number, require_path

EXTRA = "tables"
KINDS = ("csv", "parquet")
_WANTED = "give 'csv:PATH', 'parquet:PATH' or a pandas DataFrame"
_BLOCK = 4096  # rows whose draws are made together
_OTHER_SEPARATORS = ";\t|"
# What pandas and its engines raise for files that are damaged or of another format.
_UNREADABLE = (ValueError, OSError, RuntimeError, EOFError, zlib.error, BadZipFile)


class TableData(NamedTuple):
    """A table in three parts, each a pandas DataFrame with the rows' own index.

    Attributes:
        train: The rows to train on.
        validation: The rows by which models are chosen; None: its fraction is 0.
        test: The rows that are looked at last; None: its fraction is 0.
        target: The names of the columns that others predict; empty if none were named.
    """

    train: Any
    validation: Any
    test: Any
    target: tuple[str, ...]


def load_table(
    source: Any,
    test_fraction: float = 0.1,
    validation_fraction: float = 0.1,
    seed: int = 0,
    target: str | Sequence[str] | None = None,
) -> TableData:
    """Reads a table of mixed columns, and splits its rows.

    The part of a row is a function of the seed and of its number alone: a uniform draw
    is below the test fraction, below the sum of both, or above. A table that grows
    keeps its rows where they are, the test rows are the same for every validation
    fraction, and sizes are about the fractions.

    Args:
        source: "csv:PATH", a file of comma-separated values whose first line has the
            columns' names (pandas sees from its suffix how it is packed);
            "parquet:PATH"; or a pandas DataFrame.
        test_fraction: The probability that a row is a test row; 0: there are none.
        validation_fraction: The same of validation rows.
        seed: The seed of the draws.
        target: The columns that others predict, by name.

    Raises:
        InputError: if the table cannot be read, is empty, has a name twice or a column
            without one; a part is left without rows; or a target is no column.
    """
    test = _fraction("test_fraction", test_fraction)
    validation = _fraction("validation_fraction", validation_fraction)
    if test + validation >= 1:
        raise InputError(
            f"test_fraction {test:g} and validation_fraction {validation:g} leave no "
            "rows to train on; give fractions whose sum is below 1"
        )
    seed = require_int("seed", seed, 0, SEEDS)
    frame = _read(source)
    _check_names(list(frame.columns))
    targets = _targets(target, list(frame.columns))
    train, chosen_by, last = _split(frame, test, validation, seed)
    return TableData(train, chosen_by, last, targets)


def _split(frame: Any, test: float, validation: float, seed: int) -> list[Any]:
    """Returns the rows of train, validation and test; None for a fraction of 0.

    Raises:
        InputError: if one of these has no rows.
    """
    draws = row_draws(len(frame), seed)
    least = {"train": test + validation, "validation": test, "test": 0.0}
    most = {"train": 1.0, "validation": test + validation, "test": test}
    found: list[Any] = []
    for name, low in least.items():
        rows = np.flatnonzero((draws >= low) & (draws < most[name]))
        if not len(rows) and low < most[name]:
            raise InputError(
                f"the table has {len(frame)} rows, of which seed {seed} puts none into "
                f"{name}; give more rows, another seed, or other fractions"
            )
        found.append(frame.iloc[rows] if len(rows) else None)
    return found


def row_draws(rows: int, seed: int) -> np.ndarray:
    """Returns a uniform draw in [0, 1) for each row, float64 [rows].

    That of a row is the same however many there are: blocks are drawn whole.
    """
    blocks = range(-(-rows // _BLOCK))
    with tf.device("CPU:0"):
        each = [
            tf.random.stateless_uniform(
                [_BLOCK], derive_seed(seed, "table split", block), dtype=tf.float64
            ).numpy()
            for block in blocks
        ]
    return np.concatenate([np.empty(0), *each])[:rows]


def table_kind(name: object) -> str | None:
    """Returns the kind of a table's name, "csv" of "csv:PATH"; None: it has none."""
    kind, colon, _ = name.partition(":") if isinstance(name, str) else ("", "", "")
    return kind if colon and kind in KINDS else None


def _fraction(name: str, value: float) -> float:
    number = require_number(name, value, zero=True)
    if number >= 1:
        raise InputError(f"{name} {value!r} is not usable; give a fraction below 1")
    return number


def _read(source: Any) -> Any:
    """Returns a DataFrame with rows.

    Raises:
        InputError: if there is none.
    """
    if is_frame(source):
        frame, name = source, "the frame"
    else:
        frame, name = _read_file(source), repr(source)
    if not len(frame) or not len(frame.columns):
        raise InputError(f"{name} has no rows; give a table with some")
    return frame


def _read_file(source: Any) -> Any:
    kind = table_kind(source)
    if kind is None:
        text = isinstance(source, (str, os.PathLike))
        given = repr(os.fspath(source)) if text else f"a {type(source).__name__}"
        raise InputError(
            f"{given:.100} is no table; {_WANTED} (tfvae.data.load reads images)"
        )
    path = require_path("the table's path", source.partition(":")[2])
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{source!r} {what}; give a file")
    pandas = optional_package("pandas", EXTRA, "load_table")
    if kind == "parquet":
        optional_package("pyarrow", EXTRA, "a parquet file")
    try:
        if kind == "csv":
            return _read_csv(path, pandas)
        return pandas.read_parquet(path)
    except InputError:
        raise
    except pandas.errors.EmptyDataError:
        raise InputError(f"{source!r} is empty; give a table with rows") from None
    except _UNREADABLE as error:
        raise InputError(
            f"{source!r} cannot be read as {kind} ({first_line(error)}); read it with "
            "pandas, and give the DataFrame"
        ) from error


def _read_csv(path: Path, pandas: Any) -> Any:
    """Returns the DataFrame of a file, after a look at its first line.

    pandas renames columns that have one name, and takes the first of too many for the
    index.
    """
    how = {"header": None, "nrows": 1, "dtype": str, "keep_default_na": False}
    names = [name.strip() for name in pandas.read_csv(path, **how).iloc[0]]
    _check_names(names)
    if all(map(_is_number, names)):
        raise InputError(
            f"the first line of {str(path)!r} has numbers ({', '.join(names):.60}), "
            "and is to have the columns' names; add a line with these"
        )
    if len(names) == 1 and any(mark in names[0] for mark in _OTHER_SEPARATORS):
        raise InputError(
            f"the first line of {str(path)!r} has no commas ({names[0]!r:.60}); read "
            "it with pandas.read_csv(..., sep=...), and give the DataFrame"
        )
    frame = pandas.read_csv(path, low_memory=False)
    if not isinstance(frame.index, pandas.RangeIndex):
        raise InputError(
            f"{str(path)!r} has more values in a row than the {len(names)} names of "
            "its first line; name all columns"
        )
    return frame


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_names(names: list[Any]) -> None:
    """Refuses columns without a name, and a name that two have."""
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if "" in names:
        raise InputError(
            f"column {names.index('') + 1} of {len(names)} has no name; name it, or "
            "leave it out (an index: frame.to_csv(..., index=False))"
        )
    if twice:
        raise InputError(f"two columns are named {twice[0]!r:.60}; rename one")


def _targets(target: str | Sequence[str] | None, names: list[Any]) -> tuple[str, ...]:
    wanted = [target] if isinstance(target, str) else list(target or ())
    for name in wanted:
        if name not in names:
            raise InputError(
                f"target {name!r:.60} is no column; the table has "
                f"{', '.join(map(str, names)):.200}"
            )
    if len(set(wanted)) < len(wanted) or (wanted and len(wanted) == len(names)):
        raise InputError(
            f"target {wanted!r:.100} is not usable; name each column once, and leave "
            "one or more that are none"
        )
    return tuple(wanted)
