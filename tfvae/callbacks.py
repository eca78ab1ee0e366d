"""What happens between epochs: a line on the terminal, the history, a checkpoint."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from tfvae.files import replacing, write_json
from tfvae.types import InputError

_SHOWN = ("loss", "elbo", "distortion", "rate", "ess")


class EpochLine(keras.callbacks.Callback):
    """Prints one line an epoch, for logs and pipes.

    Args:
        epochs: How many epochs the run has.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Prints the epoch's line."""
        seconds = time.perf_counter() - self._begun
        train = " ".join(f"{n} {logs[n]:.2f}" for n in _SHOWN if n in logs)
        line = f"epoch {epoch + 1}/{self.epochs} {seconds:.1f} s  {train}"
        if "val_loss" in logs:
            line += f"  val_loss {logs['val_loss']:.2f} val_elbo {logs['val_elbo']:.2f}"
        print(line, flush=True)


class StopIfNotFinite(keras.callbacks.Callback):
    """Ends a training whose loss is not finite, before anything is saved of it."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks at every number of the epoch.

        Raises:
            InputError: One is not finite.
        """
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise InputError(
                f"{', '.join(bad)} not finite in epoch {epoch + 1}; what was saved "
                "before stays. Try a smaller learning_rate, a kl_warmup, or scales and "
                "temperatures nearer to 1"
            )


class HistoryFile(keras.callbacks.Callback):
    """Keeps `history.csv`: one line an epoch, without gap or duplicate after a resume.

    Args:
        path: The file.
        latest: A JSON file with the last epoch's numbers.
        rows: The lines of the epochs before this training began.
    """

    def __init__(
        self, path: Path, latest: Path, rows: Sequence[Mapping[str, float]] = ()
    ) -> None:
        super().__init__()
        self.path = path
        self.latest = latest
        self.rows = list(rows)

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes the file anew, with this epoch's line."""
        row = {
            "epoch": epoch + 1,
            "step": int(self.model.steps),
            "seconds": round(time.perf_counter() - self._begun, 3),
        }
        row |= {name: float(value) for name, value in logs.items()}
        self.rows.append(row)
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        with (
            replacing(self.path) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        write_json(self.latest, row)


class Checkpoint(keras.callbacks.Callback):
    """Saves the model with its optimizer at the end of epochs, whole or not at all.

    Draws and data order are functions of the step, which the optimizer counts, so
    nothing else is needed to go on as if nothing had happened.

    Args:
        path: Ends in `.keras`.
        min_seconds: Do not save more often than this, but for the first epoch and at
            the end of the training.
    """

    def __init__(self, path: Path, min_seconds: float = 15.0) -> None:
        super().__init__()
        self.path = path
        self.min_seconds = min_seconds
        self._saved = -math.inf  # so that the first epoch is saved

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        """Saves, if the last time is long enough ago."""
        if time.perf_counter() - self._saved >= self.min_seconds:
            self._save()

    def on_train_end(self, logs: Mapping | None = None) -> None:
        """Saves."""
        self._save()

    def _save(self) -> None:
        with replacing(self.path) as partial:
            self.model.save(partial)
        self._saved = time.perf_counter()
