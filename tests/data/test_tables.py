"""Tables are read as they are, split by seed and row number, and refused in a line."""

from __future__ import annotations

import builtins
import gzip
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.columns import mixed_frame

from tfvae import data
from tfvae.core.types import InputError
from tfvae.data.tables import row_draws

PARTS = ("train", "validation", "test")


def rows_of(found: data.TableData) -> dict[str, list]:
    return {name: getattr(found, name).index.tolist() for name in PARTS}


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return f"csv:{path}"


def numbers(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(rows) / 7, "b": np.arange(rows)})


# -- what is read ----------------------------------------------------------------------


def test_a_csv_file_has_the_rows_that_were_written(tmp_path):
    frame = mixed_frame(60)[["height", "children", "member", "city"]]
    frame.to_csv(tmp_path / "people.csv", index=False)
    found = data.load_table(f"csv:{tmp_path / 'people.csv'}", target="member")
    again = pd.concat([getattr(found, name) for name in PARTS]).sort_index()
    pd.testing.assert_frame_equal(again, frame)
    assert found.target == ("member",)


def test_a_packed_csv_file_is_read_too(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        numbers(50).to_csv(file, index=False)
    assert len(data.load_table(f"csv:{tmp_path / 'a.csv.gz'}").train) > 30


def test_a_parquet_file_keeps_dtypes_and_categories(tmp_path):
    frame = mixed_frame(60)
    frame = frame.drop(columns="shoe")  # parquet has categories of text alone
    frame.to_parquet(tmp_path / "people.parquet")
    found = data.load_table(f"parquet:{tmp_path / 'people.parquet'}")
    again = pd.concat([getattr(found, name) for name in PARTS]).sort_index()
    pd.testing.assert_frame_equal(again, frame)


def test_a_frame_keeps_its_index():
    frame = numbers(80).set_index(pd.Index([f"row {n}" for n in range(80)]))
    found = data.load_table(frame, target=["b"])
    for name in PARTS:
        part = getattr(found, name)
        pd.testing.assert_frame_equal(part, frame.loc[part.index])
    assert found.target == ("b",) and data.load_table(frame).target == ()


# -- the split -------------------------------------------------------------------------


def test_parts_are_disjoint_and_have_all_rows_in_order():
    rows = rows_of(data.load_table(numbers(500)))
    assert sorted(sum(rows.values(), [])) == list(range(500))
    assert all(part == sorted(part) for part in rows.values())


def test_the_split_is_a_function_of_seed_and_row_number():
    few, many = (rows_of(data.load_table(numbers(n))) for n in (300, 9000))
    for name in PARTS:  # a table that grows, beyond a block of draws
        assert few[name] == [row for row in many[name] if row < 300]
    other = mixed_frame(300)  # other columns, the same rows
    assert rows_of(data.load_table(other)) == few
    assert rows_of(data.load_table(other, seed=1)) != few
    assert rows_of(data.load_table(other.iloc[::-1])) == {
        name: [299 - row for row in rows] for name, rows in few.items()
    }


def test_test_rows_are_the_same_for_every_validation_fraction():
    frame = numbers(300)
    tests = [
        data.load_table(frame, validation_fraction=share).test
        for share in (0, 0.1, 0.4)
    ]
    assert all(part.equals(tests[0]) for part in tests)


def test_sizes_are_about_the_fractions():
    found = data.load_table(numbers(20_000), 0.2, 0.05)
    for part, share in ((found.test, 0.2), (found.validation, 0.05)):
        error = np.sqrt(20_000 * share * (1 - share))
        assert abs(len(part) - 20_000 * share) < 5 * error  # a binomial's
    assert len(np.unique(row_draws(20_000, 0))) > 19_990


def test_a_part_of_fraction_0_is_none():
    found = data.load_table(numbers(5), 0, 0)
    assert found.validation is None and found.test is None and len(found.train) == 5


# -- refusals --------------------------------------------------------------------------


def refused(source: object, said: str, **settings) -> None:
    with pytest.raises(InputError, match=said) as caught:
        data.load_table(source, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": "c"}, "target 'c' is no column; the table has a, b"),
        ({"target": ["a", "a"]}, "once"),
        ({"target": ["a", "b"]}, "leave one or more"),
        ({"test_fraction": 1.0}, "fraction below 1"),
        ({"test_fraction": -0.1}, "test_fraction -0.1"),
        ({"validation_fraction": "a"}, "validation_fraction 'a'"),
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, "leave no rows to train"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 0.5}, "seed 0.5"),
    ],
)
def test_arguments_that_are_not_usable_are_refused(settings, said):
    refused(numbers(100), said, **settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a,b\n", "has no rows"),
        ("a,b,a\n1,2,3\n", "two columns are named 'a'"),
        ("a,a.1,a.1\n1,2,3\n", "two columns are named 'a.1'"),
        (",a\n0,1\n", "column 1 of 2 has no name"),
        ("a,b\n1,2,3\n", "more values in a row"),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as csv"),
        ("1.5,2\n3,4\n", "first line of .* has numbers"),
        ("a;b\n1;2\n", "has no commas"),
        ("a,b\n1,2\n", "1 rows, of which seed 0 puts none"),
    ],
)
def test_csv_files_that_are_no_tables_are_refused(tmp_path, text, said):
    refused(written(tmp_path / "a.csv", text), said)


def test_files_that_are_none_are_refused(tmp_path):
    refused(f"csv:{tmp_path / 'none.csv'}", "does not exist; give a file")
    refused(f"csv:{tmp_path}", "is a folder")
    refused("csv:", "the table's path")
    (tmp_path / "a.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    refused(f"csv:{tmp_path / 'a.csv'}", "cannot be read as csv")
    (tmp_path / "a.csv.gz").write_bytes(b"a,b\n1,2\n")
    refused(f"csv:{tmp_path / 'a.csv.gz'}", "cannot be read as csv")
    (tmp_path / "a.parquet").write_bytes(b"a,b\n1,2\n")
    refused(f"parquet:{tmp_path / 'a.parquet'}", "cannot be read as parquet")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a.csv", "'a.csv' is no table; give 'csv:PATH'"),
        (Path("a.csv"), "'a.csv' is no table"),
        ("digits", "tfvae.data.load reads images"),
        (np.zeros([3, 2]), "a ndarray is no table"),
        (None, "a NoneType is no table"),
        (pd.DataFrame({"a": []}), "the frame has no rows"),
        (pd.DataFrame(np.zeros([9, 2]), columns=["a", "a"]), "named 'a'"),
    ],
)
def test_what_is_no_table_is_refused(source, said):
    refused(source, said)


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_absent_packages_are_one_line_that_names_the_extra(
    package, tmp_path, monkeypatch
):
    numbers(50).to_parquet(tmp_path / "a.parquet")

    def without(name, *args, **kwargs):
        if name == package:
            raise ImportError(name)
        return builtins.__import__(name, *args, **kwargs)

    monkeypatch.setattr(importlib, "import_module", without)
    said = rf"needs {package}, .* pip install 'tfvae.tables.'"
    refused(f"parquet:{tmp_path / 'a.parquet'}", said)
    if package == "pandas":
        refused(written(tmp_path / "a.csv", "a\n1\n"), said)


@pytest.mark.parametrize("name", ["csv:a.csv", "parquet:a.parquet", numbers(3)])
def test_load_is_for_images_and_names_load_table(name):
    with pytest.raises(InputError, match="tfvae.data.load_table") as caught:
        data.load(name)
    assert "\n" not in str(caught.value)
