"""The preparation of a TFDS data set: quiet, and without a server where it can be."""

import contextlib
import fcntl
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from tfvae.core.types import InputError, first_line
from tfvae.data.spec import DatasetSpec, check_folder

# Without a namespace: "huggingface:x" and the like would ask a server.
_NAME = re.compile(r"^\w+(/[\w.\-]+)?(:\d+\.\d+\.\d+)?$")
_RETRIES = 4


def make_builder(spec: DatasetSpec) -> Any:
    """Returns TFDS' builder of the requested data set.

    Raises:
        DatasetNotFoundError: if TFDS knows none of that name.
        InputError: if a folder is not usable, or the builder's needs are not met.
    """
    for option in ("data_dir", "manual_dir"):
        path = getattr(spec, option)
        if path is not None and os.path.exists(path) and not os.path.isdir(path):
            raise InputError(
                f"{option} {path!r} is not a folder; give a folder "
                f"(--{option.replace('_', '-')})"
            )
    tfds.disable_progress_bar()
    try:
        return tfds.builder(spec.name, data_dir=spec.data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError:
        raise
    except Exception as error:  # a builder may raise anything
        raise InputError(
            f"data set {spec.name!r} cannot be used: {first_line(error)}"
        ) from error


def is_tfds_name(name: str) -> bool:
    """Returns whether TFDS could know a name without asking a server."""
    return bool(_NAME.match(name))


def prepare(builder: Any, spec: DatasetSpec) -> Any:
    """Downloads and writes the data unless that was done before.

    Of several programs that do so at once the first goes on, and the others wait and
    take its data.

    Returns:
        The builder to read with.

    Raises:
        InputError: if it fails, most often for want of a network, or `manual_dir` is
            missing.
    """
    if not builder.data_path.exists():
        if spec.manual_dir is not None:
            check_folder(spec.manual_dir, "manual_dir (--manual-dir)")
        with _alone(spec):
            if not builder.data_path.exists():
                _write(builder, spec)
    elif spec.manual_dir is not None:
        _say_if_missing(spec.manual_dir, builder)
    # One that was made before another program had written the data knows no splits.
    return builder if builder.info.splits else make_builder(spec)


def _say_if_missing(manual_dir: str, builder: Any) -> None:
    """Says that a folder is not there where what was made of it before is read.

    An error would stop a run whose record names the folder of another machine.
    """
    if not os.path.isdir(os.path.expanduser(manual_dir)):
        print(
            f"manual_dir (--manual-dir) {manual_dir!r} does not exist, and is not "
            f"needed: the data were prepared before, in {builder.data_path}",
            file=sys.stderr,
            flush=True,
        )


def _write(builder: Any, spec: DatasetSpec) -> None:
    print(f"preparing {spec.name} ...", file=sys.stderr, flush=True)
    config = tfds.download.DownloadConfig(
        manual_dir=spec.manual_dir and os.path.expanduser(spec.manual_dir),
        try_download_gcs=False,
    )
    try:
        # TFDS prints its progress to standard output.
        with contextlib.redirect_stdout(io.StringIO()), _fewer_retries():
            builder.download_and_prepare(download_config=config)
    except Exception as error:  # downloads fail in many ways
        raise InputError(
            f"data set {spec.name!r} could not be prepared ({first_line(error)}); "
            "without a network give the folder of its original files as manual_dir "
            "(--manual-dir), or of data that TFDS has prepared as data_dir (--data-dir)"
        ) from error


@contextlib.contextmanager
def _alone(spec: DatasetSpec) -> Iterator[None]:
    """Waits until no other program prepares data in the same folder."""
    folder = os.path.expanduser(spec.data_dir or tfds.core.constants.DATA_DIR)
    if "://" in folder:  # a bucket has no locks
        yield
        return
    with contextlib.ExitStack() as stack:
        # A folder that cannot be written is left to TFDS, which says so.
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)
            lock = stack.enter_context(open(os.path.join(folder, ".tfvae.lock"), "a"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(
                    f"waiting for another program that prepares data in {folder} ...",
                    file=sys.stderr,
                    flush=True,
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _fewer_retries() -> Iterator[None]:
    """Lets a download fail in seconds; TFDS' ten retries take over three minutes."""
    before = getattr(downloader, "MAX_RETRIES", None)
    downloader.MAX_RETRIES = _RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps back TensorFlow's warnings about functions that TFDS still uses."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
