"""What the studies of conditions and holes take away and keep."""

from __future__ import annotations

import importlib
import pathlib

import numpy as np
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
