"""Frames of pandas whose columns are no numbers alone, on their way into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfvae.core.optional import is_frame
from tfvae.core.types import InputError
from tfvae.heads import Columns
from tfvae.training.tables import check_prior


def has_other_than_numbers(X: Any) -> bool:
    """Returns whether X is a frame with columns that are no floats or integers.

    Objects that are numbers are numbers, as for scikit-learn.
    """
    return is_frame(X) and any(
        map(_is_other, (X.iloc[:, i] for i in range(X.shape[1])))
    )


def columns_of(X: Any, kinds: Mapping[str, str] | None) -> Columns | None:
    """Returns the columns of a frame; None of a table of numbers.

    A frame of numbers alone is one of columns if `kinds` says so.

    Raises:
        InputError: if a column has no kind, or `kinds` has no effect.
    """
    if kinds is not None and not is_frame(X):
        raise InputError(
            f"kinds has no effect on a {type(X).__name__}; give a pandas DataFrame, or "
            "leave it out, and choose likelihood"
        )
    if kinds is None and not has_other_than_numbers(X):
        return None
    return Columns.from_frame(X, kinds)


def columns_in_place_of(
    X: Any, kinds: Mapping[str, str] | None, settings: Mapping[str, Any]
) -> Columns | None:
    """Returns the columns of a frame that take the place of one likelihood for all.

    Args:
        X: A table.
        kinds: As in `columns_of`.
        settings: The arguments of an estimator with a likelihood. Booleans are numbers
            under a likelihood that was chosen.

    Raises:
        InputError: if a setting does not go with columns that have laws of their own.
    """
    chosen = settings["likelihood"] != "normal"
    if kinds is None and chosen and is_frame(X) and not _has_text(X):
        return None
    columns = columns_of(X, kinds)
    if columns is None:
        return None
    refused = ("likelihood_scale", "condition_columns")
    for name in (*(["likelihood"] if chosen else []), *refused):
        if settings[name] is not None:
            raise InputError(
                f"{name} {settings[name]!r:.60} does not go with a frame of mixed "
                "columns, each of which has a law of its own; leave it out, or build "
                "the model with tfvae.build_table"
            )
    check_prior(settings["prior"])
    return columns


def encoded(columns: Columns, X: Any) -> np.ndarray:
    """Returns the rows of a frame as a model takes them, float32 [n, n_features].

    Raises:
        InputError: if X is no frame of these columns, or has missing values in one
            that had none in `fit`, so that the model has no place for them, although
            other columns had some.
    """
    rows = columns.encode(X)
    if not any(column.nullable for column in columns.columns):
        missing = np.isnan(rows).any(axis=0)
        if missing.any():
            raise InputError(
                f"column {columns.names[int(np.argmax(missing))]!r} has missing "
                "values, and the frame of fit had none; fill them in, or fit one that "
                "has some"
            )
    return rows


def _has_text(X: Any) -> bool:
    """Returns whether a frame has columns that scikit-learn makes no numbers of."""
    others = (X.iloc[:, i] for i in range(X.shape[1]))
    return any(getattr(s.dtype, "kind", "O") != "b" for s in others if _is_other(s))


def _is_other(series: Any) -> bool:
    kind = "C" if hasattr(series, "cat") else getattr(series.dtype, "kind", "O")
    if kind != "O":
        return kind not in "fiu"
    return any(isinstance(value, (str, bool, np.bool_)) for value in series)
