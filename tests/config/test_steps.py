"""Small steps take one thread an operation, unless the environment says otherwise."""

from __future__ import annotations

import dataclasses
import os

import pytest

from tfvae.config import Config
from tfvae.config.steps import VARIABLE, choose_threads, steps_of_execution

SMALL = Config(dataset="mnist", num_samples=1)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "1"),
        ({"batch_size": 20}, "1"),
        ({"num_samples": 50}, None),
        ({"batch_size": 1000}, None),
        ({"hidden_sizes": (800, 800)}, None),
        ({"network": "conv", "hidden_sizes": (8,)}, None),
    ],
)
def test_the_size_of_a_step_decides(changed, expected, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    choose_threads(dataclasses.replace(SMALL, **changed))
    assert os.environ.get(VARIABLE) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 20),
        ({"num_samples": 50}, 20),
        ({"num_samples": 1000}, 1),
        ({"num_samples": 200}, 8),
        ({"network": "conv", "hidden_sizes": (8,)}, 10),
        ({"steps_per_execution": 33, "num_samples": 1000}, 33),
    ],
)
def test_an_execution_is_a_second_or_two(changed, expected):
    assert steps_of_execution(dataclasses.replace(SMALL, **changed)) == expected


def test_what_the_environment_says_stays(monkeypatch):
    monkeypatch.setenv(VARIABLE, "3")
    choose_threads(SMALL)
    assert os.environ[VARIABLE] == "3"
