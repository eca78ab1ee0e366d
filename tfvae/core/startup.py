"""The import of TensorFlow without its start-up lines."""

import importlib
import logging
import os
import re
import sys
import tempfile
from typing import TextIO

# The first letters of the lines that are still shown at a level above 0.
_SHOWN = {"1": ("W", "E", "F"), "2": ("E", "F"), "3": ("F",)}
# Functions that each model has anew: TensorFlow counts their first traces together,
# and takes those of five models for one that is traced five times.
_OF_A_MODEL = re.compile(
    r"calls to <function (TensorFlowTrainer|VAE|row_scorer|write_projection)\..* "
    "triggered tf.function retracing"
)


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras quietly, and makes sure that they fit together.

    TensorFlow writes its first lines to file descriptor 2 before it reads its own log
    level, so the descriptor is put aside during the import. A failed import shows all
    lines, another those of the level `TF_CPP_MIN_LOG_LEVEL`: every one at 0, warnings
    from 1 on, errors from 2 on, none at 3, which tfvae sets as the default. From then
    on TensorFlow's warnings of retracing leave out functions that each model has anew.

    Raises:
        ImportError: if Keras runs on another backend than TensorFlow, or Python without
            docstrings.
    """
    if sys.flags.optimize >= 2:
        raise ImportError(
            "Python runs without docstrings (PYTHONOPTIMIZE=2 or -OO), which "
            "TensorFlow Probability needs; leave that out"
        )
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow" and "keras" not in sys.modules:
        raise _wrong_backend(backend)
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if level not in _SHOWN or "tensorflow" in sys.modules:
        importlib.import_module("tensorflow")
    else:
        _import_with_stderr_aside("tensorflow", _SHOWN[level])
    logging.getLogger("tensorflow").addFilter(_is_no_first_trace)
    keras = importlib.import_module("keras")
    if keras.backend.backend() != "tensorflow":
        raise _wrong_backend(keras.backend.backend())


def _is_no_first_trace(record: logging.LogRecord) -> bool:
    return not _OF_A_MODEL.search(record.getMessage())


def _wrong_backend(name: str) -> ImportError:
    return ImportError(
        f"tfvae needs Keras on TensorFlow, and Keras is to run on {name!r}; set the "
        "environment variable KERAS_BACKEND=tensorflow before Keras is imported"
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether a stream is a terminal; a closed one is None."""
    return stream is not None and stream.isatty()


def _import_with_stderr_aside(name: str, shown: tuple[str, ...]) -> None:
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
        else:
            aside.seek(0)
            os.write(saved, _of_kinds(aside.read(), shown))
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _of_kinds(text: bytes, kinds: tuple[str, ...]) -> bytes:
    """Returns the log lines of some kinds, such as b"W0000 00:00 file.cc:1] text"."""
    wanted = re.compile(f"[{''.join(kinds)}][0-9]{{4}} ".encode())
    return b"".join(
        line for line in text.splitlines(keepends=True) if wanted.match(line)
    )
