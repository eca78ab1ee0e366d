"""TensorBoard's event files, cut off where a run goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from tfvae.core.files import atomic_write
from tfvae.core.types import InputError, first_line

# Sorts before what TensorFlow writes, whose names go on with the time in seconds.
_KEPT = "events.out.tfevents.0000000000.kept"
_PATTERN = "*tfevents*"


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns an error of writing into one line.

    Raises:
        InputError: if the folder cannot be written to.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or first_line(error, 80)
        raise InputError(
            f"TensorBoard's folder {str(folder)!r} cannot be written to ({reason}); "
            "free space or change its permissions, and run the same command again"
        ) from error


class EventWriter:
    """A writer of one folder's events.

    A training that goes on drops the stopped one's events of later steps: those up to
    the step are copied to a file that takes the place of all there are, and new ones
    follow in another. A server that has read the old ones is told to forget them.

    Args:
        folder: The folder; it need not exist.
        step: The number of training steps that the model has behind it.
        drop: Tags of which nothing is kept, since they are written anew.
        drop_graph: Whether graphs are dropped too.
    """

    def __init__(
        self,
        folder: Path,
        step: int,
        drop: Sequence[str] = (),
        drop_graph: bool = False,
    ) -> None:
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _cut_off(folder, step, drop, drop_graph)
            self._writer = tf.summary.create_file_writer(str(folder))
        # The second such event that a server sees makes it forget later steps.
        start = SessionLog(status=SessionLog.START)
        first = step + 1 if step else 0
        event = Event(wall_time=time.time(), step=first, session_log=start)
        # TensorFlow has a public op for this, and no public handle of a writer.
        tf.raw_ops.ImportEvent(
            writer=self._writer._resource, event=event.SerializeToString()
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes numbers by name, in one record."""
        self.summaries([scalar_pb(name, value) for name, value in values.items()], step)

    def histograms(self, values: Mapping[str, np.ndarray], step: int) -> None:
        """Writes histograms of the finite numbers of arrays of any shape."""
        finite = {name: array[np.isfinite(array)] for name, array in values.items()}
        self.summaries([histogram_pb(name, a) for name, a in finite.items()], step)

    def summaries(self, summaries: Sequence[Summary], step: int) -> None:
        """Writes protocol messages, in one record."""
        # Serialized messages in a row are one message with the values of all.
        merged = b"".join(summary.SerializeToString() for summary in summaries)
        with writing(self.folder), self._writer.as_default():
            tf.summary.experimental.write_raw_pb(merged, step)

    def images(self, images: Mapping[str, np.ndarray], step: int) -> None:
        """Writes images [H, W, C], uint8 or floats in [0, 1]."""
        with writing(self.folder), self._writer.as_default():
            for name, image in images.items():
                tf.summary.image(name, image[np.newaxis], step)

    def text(self, name: str, markdown: str, step: int) -> None:
        """Writes a text."""
        with writing(self.folder), self._writer.as_default():
            tf.summary.text(name, markdown, step)

    def graph(self, graph: tf.Graph) -> None:
        """Writes a function's graph."""
        with writing(self.folder), self._writer.as_default(step=0):
            tf.summary.graph(graph)

    def flush(self) -> None:
        """Hands everything to the file system, so that a killed process loses none."""
        with writing(self.folder):
            self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        with writing(self.folder):
            self._writer.close()


def _cut_off(folder: Path, step: int, drop: Sequence[str], drop_graph: bool) -> None:
    """Joins all files, if there are any, to one that ends at a step."""
    old = sorted(folder.glob(_PATTERN))
    if not old:
        return
    kept = folder / _KEPT
    with atomic_write(kept) as partial, tf.io.TFRecordWriter(str(partial)) as file:
        for record in _records(old, step, drop, drop_graph):
            file.write(record)
        file.flush()
    for path in old:
        if path != kept:
            path.unlink()


def _records(
    paths: Sequence[Path], step: int, drop: Sequence[str], drop_graph: bool
) -> Iterator[bytes]:
    """Yields the records to keep, each once.

    A process killed between copying and removing leaves both, which are equal byte for
    byte.
    """
    yield Event(file_version="brain.Event:2").SerializeToString()
    seen = set()
    for path in paths:
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            values = event.summary.value
            wanted = (
                event.step <= step
                and not event.HasField("session_log")
                and not event.HasField("file_version")
                and not any(value.tag in drop for value in values)
                and not (drop_graph and event.HasField("graph_def"))
            )
            if wanted and record not in seen:
                seen.add(record)
                yield record
