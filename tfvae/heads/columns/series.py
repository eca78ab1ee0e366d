"""From columns of pandas to numbers and back.

pandas is not imported: what it can do is asked of the Series, or of the package that
the caller has.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tfvae.core.types import InputError

Scalar: TypeAlias = str | bool | int | float


def kind_of(series: Any) -> str:
    """Returns the letter of NumPy's kind of a Series' dtype; "C" for categories."""
    if hasattr(series, "cat"):
        return "C"
    return getattr(series.dtype, "kind", "O")


def present(series: Any) -> tuple[np.ndarray, list[Any]]:
    """Returns where a Series [N] has values, and these as Python's own."""
    mask = ~np.asarray(series.isna(), bool)
    values = [v.item() if isinstance(v, np.generic) else v for v in series[mask]]
    return mask, values


def as_numbers(name: str, series: Any) -> np.ndarray:
    """Returns a Series [N] as float64, with NaN for missing values.

    Raises:
        InputError: if it has no dtype of numbers, or infinite values.
    """
    if kind_of(series) not in "iuf":
        raise InputError(
            f"column {name!r} has dtype {series.dtype}, and numbers are wanted; "
            "convert it, for example by pandas.to_numeric, or choose another kind"
        )
    values = series.to_numpy(dtype="float64", na_value=np.nan)
    # What float32 cannot hold becomes infinite.
    infinite = np.abs(values) > np.finfo(np.float32).max
    if infinite.any():
        raise InputError(
            f"column {name!r} holds {values[infinite][0]:g}, which float32 has as "
            "infinite; remove it, or make it missing"
        )
    return values


def categories_of(series: Any) -> dict[str, Any]:
    """Returns what a Series says of its categories: arguments of `CodedColumn`.

    Raises:
        InputError: if its values have no order among them, which sorts them.
    """
    if kind_of(series) == "C":
        index = series.cat.categories
        return {
            "categories": tuple(index.tolist()),
            "ordered": bool(series.cat.ordered),
            "categories_dtype": str(index.dtype),
        }
    _, values = present(series)
    try:
        return {"categories": tuple(sorted(set(values)))}
    except TypeError:
        kinds = sorted({type(value).__name__ for value in values})
        raise InputError(
            f"column {series.name!r} holds values of the types {', '.join(kinds)}, "
            "which make no categories; convert it, for example by .astype(str)"
        ) from None


def numbers_to_series(values: np.ndarray, dtype: str, pandas: Any) -> Any:
    """Returns numbers [N] as a Series of a dtype; whole dtypes have them rounded."""
    dtype = dtype or "float32"
    known = pandas.api.types.pandas_dtype(dtype)
    kind = getattr(known, "kind", "f")
    values = np.asarray(values, np.float64)
    if kind in "iu":
        info = np.iinfo(getattr(known, "numpy_dtype", known))
        # The largest float below the largest int: float64 rounds that up.
        most = np.nextafter(float(info.max), 0) if info.max > 2**53 else info.max
        values = np.clip(np.round(values), info.min, most)
        if np.isnan(values).any() and isinstance(known, np.dtype):
            dtype = _nullable(dtype)
    return pandas.Series(values).astype(dtype)


def codes_to_series(codes: np.ndarray, column: Any, pandas: Any) -> Any:
    """Returns codes [N], -1 where missing, as a Series of the column's dtype."""
    categories = column.categories
    if column.dtype == "category":
        index = pandas.Index(list(categories), dtype=column.categories_dtype)
        kind = pandas.CategoricalDtype(index, ordered=column.ordered)
        return pandas.Series(pandas.Categorical.from_codes(codes, dtype=kind))
    values = [None if code < 0 else categories[code] for code in codes.tolist()]
    dtype = column.dtype or "object"
    known = pandas.api.types.pandas_dtype(dtype)
    if isinstance(known, np.dtype) and known.kind in "biu" and (codes < 0).any():
        dtype = _nullable(dtype)
    return pandas.Series(values, dtype=dtype)


def _nullable(dtype: str) -> str:
    """Returns pandas' dtype of the same values, which may be missing too."""
    if dtype == "bool":
        return "boolean"
    return dtype.replace("uint", "UInt").replace("int", "Int")
