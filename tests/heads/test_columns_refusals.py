"""What has no columns, and what columns cannot have, is refused in a line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.columns import mixed_frame

from tfvae.core.types import InputError
from tfvae.heads import (
    COLUMN_KINDS,
    CategoricalColumn,
    Columns,
    NormalColumn,
    PoissonColumn,
    StudentTColumn,
)

TWICE = pd.DataFrame([[1.0, 2.0]], columns=["x", "x"])
MIXED = pd.DataFrame({"x": [1, "a"]})
REFUSED = {
    "no frame": (lambda: Columns.from_frame([1, 2]), "list is no table"),
    "no rows": (lambda: of(pd.Series([], dtype=float)), "no rows"),
    "no columns": (lambda: Columns.from_frame(pd.DataFrame(index=[0])), "no columns"),
    "a name twice": (lambda: Columns.from_frame(TWICE), "two columns are named 'x'"),
    "a number for a name": (
        lambda: Columns.from_frame(pd.DataFrame([[1.5]])),
        "named 0.*astype",
    ),
    "all missing": (lambda: of([np.nan, np.nan]), "'x' has missing values alone"),
    "infinite": (lambda: of([1.0, np.inf]), "'x' holds inf"),
    "beyond float32": (lambda: of([1.0, 1e39]), r"'x' holds 1e\+39"),
    "dates": (lambda: of(pd.to_datetime(["2020-01-01"])), "'x' has dtype datetime"),
    "complex": (lambda: of([1j]), "'x' has dtype complex"),
    "types": (lambda: Columns.from_frame(MIXED), "'x' has dtype object .*int, str"),
    "intervals": (lambda: of(pd.cut([1.0, 2.0], 2)), "'x' has the category Interval"),
    "too many": (lambda: of([str(i) for i in range(1001)]), "'x' has 1001 categories"),
    "no digits": (lambda: of([1e9, 1e9 + 1.5]), "'x' has a mean of 1e.09 .*no digits"),
    "unknown kind": (lambda: of([1.5], "norml"), "'x' 'norml'; did you mean 'normal'"),
    "unknown name": (
        lambda: Columns.from_frame(pd.DataFrame({"age": [1.5]}), {"agee": "normal"}),
        "'agee', which is no column; did you mean 'age'",
    ),
    "text as numbers": (lambda: of(["a"], "normal"), "'x' has dtype .*numbers are"),
    "text as ordinal": (lambda: of(["a", "b"], "ordinal"), "'x' is text, whose order"),
    "types as categories": (lambda: of([1, "a"], "categorical"), "'x' .*int, str"),
    "0 as log-normal": (lambda: of([1.0, 0.0], "log_normal"), "'x' holds 0.*above 0"),
    "halves as counts": (lambda: of([1.0, 0.5], "poisson"), "'x' holds 0.5.*no count"),
    "three as bernoulli": (lambda: of([0, 1, 2], "bernoulli"), "'x' has 3 categories"),
    "one as ordinal": (lambda: of([3, 3], "ordinal"), "'x' has 1 categories"),
    "no list": (lambda: Columns("x"), "columns 'x' are not usable"),
    "none": (lambda: Columns([]), r"columns \[\] are not usable"),
    "names twice": (lambda: Columns([NormalColumn("x")] * 2), "two columns are named"),
    "scale": (lambda: NormalColumn("x", 0.0, 0.0), "'x' has loc 0 and scale 0"),
    "loc": (lambda: StudentTColumn("x", np.nan), "'x' has loc nan"),
    "rate": (lambda: PoissonColumn("x", -1.0), "rate of column 'x': -1.0"),
    "log loc": (lambda: PoissonColumn("x", loc=np.inf), "loc of column 'x': inf"),
    "empty": (lambda: CategoricalColumn("x", ()), "'x' has 0 categories"),
    "category twice": (lambda: CategoricalColumn("x", ("a", "a")), "category twice"),
    "category": (lambda: CategoricalColumn("x", (None,)), "category None, a NoneType"),
    "no name": (lambda: NormalColumn(""), "named ''"),
}


def of(values, kind: str | None = None) -> Columns:
    return Columns.from_frame(
        pd.DataFrame({"x": values}), {"x": kind} if kind else None
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_columns_is_refused_in_a_line(name):
    call, said = REFUSED[name]
    with pytest.raises(InputError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("city", "Paris", "'city' holds 'Paris', which is no category"),
        ("city", "Bon", "did you mean 'Bonn'"),
        ("shoe", [1, 2], r"'shoe' holds \[1, 2\]"),
        ("height", "tall", "'height' has dtype"),
        ("height", np.inf, "'height' holds inf"),
        ("income", 0.0, "'income' holds 0, .*numbers above 0"),
        ("children", -1.0, "'children' holds -1, .*counts"),
        ("children", 0.5, "'children' holds 0.5"),
        ("flag", 2, "'flag' holds 2, which is no category"),
    ],
)
def test_values_that_a_column_does_not_know_are_refused(name, value, said):
    frame = mixed_frame()
    columns = Columns.from_frame(frame)
    values = frame[name].tolist()
    values[7] = value
    with pytest.raises(InputError, match=said):
        columns.encode(frame.assign(**{name: pd.Series(values)}))


def test_a_frame_without_a_column_is_refused():
    frame = mixed_frame()
    columns = Columns.from_frame(frame)
    with pytest.raises(InputError, match="no column 'city'; did you mean 'cities'"):
        columns.encode(frame.rename(columns={"city": "cities"}))
    with pytest.raises(InputError, match="ndarray is no table"):
        columns.encode(columns.encode(frame))


def test_rows_that_are_none_are_refused():
    columns = Columns.from_frame(mixed_frame()[["city", "height"]])
    with pytest.raises(InputError, match=r"shape \(3,\); give \[N, 2\]"):
        columns.decode(np.zeros(3))
    with pytest.raises(InputError, match="'city' has values from 0 to 7"):
        columns.decode([[0.0, 1.0], [7.0, 1.0]])
    with pytest.raises(InputError, match="'city' has values"):
        columns.decode([[np.inf, 1.0]])


def test_every_kind_has_a_column_that_a_frame_can_have():
    rng = np.random.default_rng(0)
    values = {"log_normal": rng.lognormal(size=9), "bernoulli": [False, True, True] * 3}
    for kind in COLUMN_KINDS:
        given = values.get(kind, rng.integers(0, 3, 9))
        columns = of(given, kind)
        assert columns.choices["x"].kind == kind
        config = columns.columns[0].get_config()
        assert type(columns.columns[0]).from_config(config) == columns.columns[0]
