"""Fixtures that several files of tests share."""

from __future__ import annotations

import gc
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import keras
import pytest

import tfvae  # noqa: F401  quiets TensorFlow before any test file imports it


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
