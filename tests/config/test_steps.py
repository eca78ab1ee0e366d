"""Small steps take one thread an operation, unless the environment says otherwise."""

from __future__ import annotations

import dataclasses
import os

import pytest

from tfvae.config import Config, steps
from tfvae.config.steps import (
    VARIABLE,
    choose_threads,
    chosen_threads,
    steps_of_execution,
)

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
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    choose_threads(dataclasses.replace(SMALL, **changed))
    assert os.environ.get(VARIABLE) == expected


@pytest.mark.parametrize(
    ("samples", "processors", "expected"),
    [(50, 2, "1"), (5, 2, "1"), (4, 2, None), (50, 1, None), (50, 4, None)],
)
def test_two_processors_have_a_half_of_many_samples_each(
    samples, processors, expected, monkeypatch
):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    choose_threads(dataclasses.replace(SMALL, num_samples=samples))
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
    assert choose_threads(SMALL) is None
    assert os.environ[VARIABLE] == "3"


@pytest.mark.parametrize(("text", "threads"), [("3", 3), ("", 0), ("many", 0)])
def test_the_number_of_threads_is_read_as_tensorflow_does(text, threads, monkeypatch):
    monkeypatch.setenv(VARIABLE, text)
    assert chosen_threads() == threads


def test_a_choice_is_said(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert VARIABLE in choose_threads(SMALL)


@pytest.mark.parametrize("samples", [1, 50])
@pytest.mark.parametrize("size", [None, (8, 8)])
def test_the_size_of_a_step_is_that_of_its_products(samples, size):
    config = dataclasses.replace(SMALL, num_samples=samples, image_size=size)
    pixels = 784 if size is None else 64
    # Forward and back, two operations a weight; the encoder has mean and scale.
    encoder = pixels * 200 + 200 * 200 + 200 * 2 * 50
    decoder = 50 * 200 + 200 * 200 + 200 * pixels
    products = 2 * 3 * 100 * (encoder + samples * decoder)
    # Within the 10,000 weights that only one of the networks has, of 62,800 and more.
    assert steps._flops(config) == pytest.approx(products, rel=0.1)
