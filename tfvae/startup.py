"""Imports TensorFlow without its start-up lines."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from typing import TextIO


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras quietly, and makes sure that they fit together.

    TensorFlow writes its first lines to file descriptor 2 before its own log level
    is read, so the descriptor is put aside while it is imported. What was written
    is shown when the import fails, and nothing is hidden from a user who has set
    `TF_CPP_MIN_LOG_LEVEL`.

    Raises:
        ImportError: Keras runs on another backend than TensorFlow.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow" and "keras" not in sys.modules:
        raise _wrong_backend(backend)
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        importlib.import_module("tensorflow")
    else:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        _import_with_stderr_aside("tensorflow")
    keras = importlib.import_module("keras")
    if keras.backend.backend() != "tensorflow":
        raise _wrong_backend(keras.backend.backend())


def _wrong_backend(name: str) -> ImportError:
    return ImportError(
        f"tfvae needs Keras on TensorFlow, and Keras is to run on {name!r}; set the "
        "environment variable KERAS_BACKEND=tensorflow before Keras is imported"
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; a closed one is None."""
    return stream is not None and stream.isatty()


def _import_with_stderr_aside(name: str) -> None:
    try:
        saved = os.dup(2)
    except OSError:  # no standard error: nothing to keep quiet
        importlib.import_module(name)
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            importlib.import_module(name)
        except Exception:
            aside.seek(0)
            os.write(saved, aside.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
