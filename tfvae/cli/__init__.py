"""The command `tfvae`: its help text, its dispatch and its exit status."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from tfvae.cli.commands import COMMANDS
from tfvae.core.lookup import lookup
from tfvae.core.types import LOST_WORKER, InputError, LostWorkerError, first_line
from tfvae.core.version import __version__

_HELP = """usage: tfvae COMMAND ...

Train, evaluate, compare, draw, export and time variational autoencoders.

commands:
  train RECIPE --workdir DIR  train a run, or go on with one that was stopped
  evaluate DIR                bounds on log p(x), with their standard errors
  compare DIR1 DIR2           the difference of two runs on the same images
  detect DIR DATA --out FILE  outliers, with p-values from held-out images
  impute DIR FILE --out FILE  values in the place of missing ones, with intervals
  plot DIR [KIND]             reconstructions, samples, traversals, rates, curves, ...
  report DIR                  one HTML page with settings, numbers and pictures
  export DIR PATH             the next version in PATH: SavedModel, ONNX, LiteRT, page
  verify PATH                 replay an exported model's requests, its runtimes alone
  benchmark [RECIPE]          images per second, and what part of the limit that is
  recipes [NAME]              list the recipes, or show one's settings

Each command explains itself with --help; --version prints the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for bad input, or 75.

    75 (EX_TEMPFAIL) says that another worker ended, and the same command may go on;
    after a signal it is 128 and the signal's number.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_HELP)
        return 0
    if name == "--version":
        print(f"tfvae {__version__}")
        return 0
    try:
        with _termination_raised():
            lookup(COMMANDS, name, "command")(arguments[1:])
    except InputError as error:
        return _refuse(str(error))
    except LostWorkerError as error:
        return _leave(str(error))
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except (OSError, ImportError, MemoryError, RecursionError, OverflowError) as error:
        return _refuse(f"{type(error).__name__}: {first_line(error, 300)}")
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        return _refuse(f"{type(error).__name__}: {first_line(error, 300)}")
    except KeyboardInterrupt as interrupted:
        resumes = "; the same command goes on" if name == "train" else ""
        message = str(interrupted) or f"interrupted{resumes}"
        print(f"tfvae: {message}", file=sys.stderr)
        return getattr(interrupted, "status", 130)
    return 0


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: what is half-written is removed on the way out."""

    status = 128 + signal.SIGTERM


@contextlib.contextmanager
def _termination_raised() -> Iterator[None]:
    """Lets SIGTERM raise, unless this process has another use for it."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Terminated("terminated")

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse(message: str) -> int:
    # A message may quote a file that has control characters, or ends of lines.
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"tfvae: {shown}", file=sys.stderr)
    return 2


def _leave(message: str) -> int:
    """Ends this process as it is: TensorFlow would wait for the worker that is gone."""
    print(f"tfvae: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(LOST_WORKER)
