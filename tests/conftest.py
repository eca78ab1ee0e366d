"""Fixtures that several files of tests share."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

# Tests run beside each other and have small tensors, which more threads take longer
# for. Processes that tests start have it too, so that they sum in the same order.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import pytest

import tfvae  # noqa: F401  quiets TensorFlow before any test file imports it

import keras  # isort: skip  once tfvae has quieted TensorFlow
import tensorflow as tf  # isort: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the cases slow that `quick` leaves out: n of all, evenly spaced, stay."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("quick") and not item.get_closest_marker("slow"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for alike in cases.values():
        (wanted,) = alike[0].get_closest_marker("quick").args
        count = min(wanted, len(alike))
        kept = {(2 * i + 1) * len(alike) // (2 * count) for i in range(count)}
        for number, item in enumerate(alike):
            if number not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    """Keeps what earlier files left behind out of the garbage collector's way.

    TensorFlow never frees a traced custom gradient, so the heap grows from file to
    file, and going over all of it took a fifth of the suite's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
    yield


@pytest.fixture
def float64() -> Iterator[None]:
    """Makes float64 Keras' float type for one test."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """Runs every `tf.function` of a file eagerly, training steps too.

    A graph takes seconds to trace, and a few steps of a small model milliseconds. That
    a graph computes the same is the business of other files: those of models,
    estimators, objectives, heads and latent families, and of runs that are resumed.
    """
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly_here() -> Iterator[None]:
    """Runs every `tf.function` of one test eagerly, as `eagerly` those of a file."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., subprocess.CompletedProcess]:
    """Runs a script in a Python process of its own."""

    def run(
        script: str, *args: object, check: bool = True, **environment: str | None
    ) -> subprocess.CompletedProcess:
        variables = {**os.environ, **environment}
        variables = {k: v for k, v in variables.items() if v is not None}
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, args)],
            capture_output=True,
            text=True,
            env=variables,
            cwd=pathlib.Path(__file__).parents[1],
            timeout=300,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run
