"""What the studies of conditions, holes, tables and outliers compute."""

from __future__ import annotations

import importlib
import pathlib

import numpy as np
import pandas as pd
import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


def test_half_of_a_table_is_taken_out_and_the_rest_is_left(study):
    x = np.arange(30.0).reshape(10, 3)
    holes = study("imputation").with_holes(x)
    assert np.isnan(holes).sum() == 15
    np.testing.assert_array_equal(holes[~np.isnan(holes)], x[~np.isnan(holes)])


@pytest.mark.parametrize("quadrants", [1, 2, 3])
def test_quadrants_that_are_given_are_no_part_of_what_is_scored(study, quadrants):
    images = np.random.default_rng(0).random((2, 28, 28, 1)) + 1
    known = study("quadrants").known_pixels(quadrants)
    x, c = study("quadrants").parts_of(images, known)
    assert x.shape == (2, (4 - quadrants) * 196)
    assert (c > 0).sum() == 2 * quadrants * 196
    np.testing.assert_allclose(x.sum() + c.sum(), images.sum())


def test_an_auroc_is_the_share_of_pairs_in_order_and_half_of_the_ties(study):
    usual, strange = np.array([1.0, 2.0, 2.0]), np.array([2.0, 3.0])
    pairs = strange > usual[:, np.newaxis], strange == usual[:, np.newaxis]
    expected = pairs[0].mean() + pairs[1].mean() / 2
    found = study("outliers").auroc(lambda x: x, usual, strange)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert study("outliers").auroc(lambda x: x, usual, np.array([np.inf])) == 1


def test_detectors_are_of_the_rows_that_they_are_given(study):
    rows = np.random.default_rng(0).normal(size=(60, 3)).repeat(3, axis=1)
    found = study("outliers").others(rows, seed=0)
    for score in found.values():
        scores = score(np.concatenate([rows, rows[:1] + 50]))
        assert scores[-1] > scores[:-1].max()


@pytest.mark.parametrize(
    ("name", "rows", "columns", "holes"),
    [("titanic", 1309, 8, {"age": 263, "fare": 1}), ("penguins", 344, 7, {"mass": 2})],
)
def test_mixed_tables_have_the_rows_that_are_known_of_them(
    study, name, rows, columns, holes
):
    frame = study("mixed_tables").CASES[name].load()
    assert frame.shape == (rows, columns)
    assert {c: int(frame[c].isna().sum()) for c in holes} == holes
    assert not frame["target"].isna().any()


def test_a_copula_of_two_columns_integrates_to_one(study):
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    frame = pd.DataFrame({"a": x, "b": np.exp((x + rng.normal(size=100)) / 2)})
    copula = study("mixed_tables").Copula(frame, seed=0)
    assert copula.correlations[0, 1] > 0.5
    a, b = np.linspace(-6, 6, 80), np.linspace(-4, 16, 200)
    grid = pd.DataFrame({"a": a.repeat(len(b)), "b": np.tile(b, len(a))})
    cell = (a[1] - a[0]) * (b[1] - b[0])
    # Beyond 1e-6 of the distribution function scores are cut off, and so is a density
    # whose correlations are large: less than 1 % of it here.
    mass = np.exp(copula.log_density(grid)).sum() * cell
    np.testing.assert_allclose(mass, 1, atol=0.01)
    alone = np.exp(copula.log_density(grid, correlated=False)).sum() * cell
    np.testing.assert_allclose(alone, 1, atol=1e-3)


def test_rows_of_a_copula_have_the_dtypes_and_the_correlation_of_their_table(study):
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    frame = pd.DataFrame(
        {
            "a": x,
            "n": rng.poisson(np.exp(x / 2)),
            "c": pd.Categorical(np.where(x + rng.normal(size=1000) > 0, "y", "n")),
        }
    )
    drawn = study("mixed_tables").Copula(frame, seed=0).sample(20_000, seed=1)
    assert (drawn.dtypes == frame.dtypes).all()
    means = [part[part["c"] == "y"]["a"].mean() for part in (frame, drawn)]
    # Normal scores of codes with draws within a step keep less of a dependence.
    assert 0.2 < means[1] < means[0] + 5 * frame["a"].std() / np.sqrt(400)
    assert set(drawn["n"]) <= set(frame["n"])


@pytest.mark.slow
def test_the_tables_of_the_studies_have_a_number_for_every_method(study, capsys):
    outliers = study("outliers")
    found = outliers.breast_cancer(epochs=2)
    assert len(found) == 4 + 3 + 4 and all(len(v) == 3 for v in found.values())
    assert all(0 <= v <= 1 for values in found.values() for v in values)
    measured = study("mixed_tables").measured
    numbers = measured(study("mixed_tables").CASES["wine"], seed=0, epochs=2)
    assert len(numbers) == 7 and all(np.isfinite(v) for v in numbers.values())
