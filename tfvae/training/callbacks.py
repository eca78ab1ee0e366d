"""Callbacks between epochs: the terminal's line, the history, the model file."""

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tfvae.config import Config
from tfvae.core.files import write_json, write_text
from tfvae.core.types import InputError
from tfvae.training.runs import RunFolder, write_model

_LOOK_SECONDS = 1.0
_DRAW_SECONDS = 0.2
_BAR, _COLUMNS = 20, 79
_SHOWN = ("loss", "elbo", "distortion", "rate", "ess")
_BRIEF = ("loss", "elbo")


class EpochLine(keras.callbacks.Callback):
    """Prints one line an epoch, for logs and pipes."""

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
        if "accuracy" in logs:
            train += f" accuracy {logs['accuracy']:.4f}"
        line = f"epoch {epoch + 1}/{self.epochs} {seconds:.1f} s  {train}"
        if "val_loss" in logs:
            line += f"  val_loss {logs['val_loss']:.2f} val_elbo {logs['val_elbo']:.2f}"
        if "val_accuracy" in logs:
            line += f" val_accuracy {logs['val_accuracy']:.4f}"
        print(line, flush=True)


class TerminalLine(EpochLine):
    """Shows the running epoch in one line of a terminal, which its end replaces."""

    # Else Keras would wait for a step's numbers after every step.
    async_safe = True

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock, and writes the line's beginning."""
        super().on_epoch_begin(epoch)
        self._epoch, self._drawn = epoch, -math.inf

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any]) -> None:
        """Draws the line anew, some five times a second."""
        now = time.perf_counter()
        if now - self._drawn < _DRAW_SECONDS:
            return
        self._drawn = now
        steps = self.params["steps"]
        done = min(batch + 1, steps)  # Keras counts whole executions
        bar = "=" * (_BAR * done // steps)
        numbers = " ".join(f"{n} {float(logs[n]):.2f}" for n in _BRIEF if n in logs)
        self._draw(f"[{bar:{_BAR}}] {done}/{steps}  {numbers}", end="")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Puts the epoch's numbers in the line's place."""
        seconds = time.perf_counter() - self._begun
        names = (*_BRIEF, *(f"val_{name}" for name in _BRIEF))
        numbers = " ".join(f"{n} {logs[n]:.2f}" for n in names if n in logs)
        self._draw(f"{seconds:.1f} s  {numbers}", end="\n")

    def _draw(self, text: str, end: str) -> None:
        line = f"epoch {self._epoch + 1}/{self.epochs} {text}"
        print(f"\r{line[:_COLUMNS]:{_COLUMNS}}", end=end, flush=True)


class StopIfNotFinite(keras.callbacks.Callback):
    """Ends a training whose loss is not finite, before any of it is saved."""

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock."""
        self._looked = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Mapping | None = None) -> None:
        """Looks once a second at the steps since: a look waits for the device."""
        now = time.perf_counter()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self.model.check_finite()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Refuses steps that were not finite, and such numbers of the epoch."""
        self.model.check_finite()
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise InputError(
                f"{', '.join(bad)} not finite in epoch {epoch + 1}; what was saved "
                "before stays. Try a smaller learning_rate, a kl_warmup, or scales and "
                "temperatures nearer to 1"
            )


class HistoryFile(keras.callbacks.Callback):
    """Keeps `history.csv`: one line an epoch, without gap or duplicate after a resume.

    It begins with the `rows` of the epochs before this training, and the `earlier`
    seconds of the running one; `latest` is a JSON file with the last epoch's numbers.
    """

    def __init__(
        self,
        path: Path,
        latest: Path,
        rows: Sequence[Mapping[str, float]] = (),
        earlier: float = 0.0,
    ) -> None:
        super().__init__()
        self.path, self.latest = path, latest
        self.rows, self.earlier = list(rows), earlier

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock."""
        self._begun = time.perf_counter() - self.earlier
        self.earlier = 0.0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes the file anew, with this epoch's line."""
        row = {
            "epoch": epoch + 1,
            "step": int(self.model.steps),
            "seconds": round(time.perf_counter() - self._begun, 3),
        }
        row |= {name: float(value) for name, value in logs.items()}
        self.rows.append(row)
        write_text(self.path, self.text())
        write_json(self.latest, row)

    def text(self) -> str:
        """Returns the file's content."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()


class _Stateful:
    """A callback some of whose attributes go into checkpoints."""

    state: tuple[str, ...]

    def get_state(self) -> dict[str, Any]:
        """Returns the state that a checkpoint keeps."""
        return {name: getattr(self, name) for name in self.state}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state of `get_state`."""
        vars(self).update(state)


class ModelFile(_Stateful, keras.callbacks.Callback):
    """Saves the model with its optimizer, whole or not at all, for those who use it.

    A training goes on from its checkpoints, and not from this file.

    The best epoch by the number `monitored` is chosen, from epoch `start` on; before
    that, and without that number, the last epoch's model is saved. Between two saves of
    it are `min_seconds`, but for the first epoch and the end of the training.
    """

    state = ("best",)

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        monitored: str | None = None,
        start: int = 0,
        min_seconds: float = 15.0,
    ) -> None:
        super().__init__()
        self.folder, self.config = folder, config
        self.monitored, self.start = monitored, start
        self.min_seconds = min_seconds
        self._saved = -math.inf  # so that the first epoch is saved
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Saves, if this epoch is the best, or the last time is long enough ago."""
        if self.monitored is not None and epoch >= self.start:
            value = logs[self.monitored]
            if self.best is None or is_better(self.monitored, value, self.best):
                self.best = value
                self.save()
            return
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if last or time.perf_counter() - self._saved >= self.min_seconds:
            self.save()

    def save(self) -> None:
        """Saves now."""
        write_model(self.folder, self.config, self.model.save)
        self._saved = time.perf_counter()

    def save_last(self) -> None:
        """Saves now, unless the best model is wanted and there is one."""
        if self.best is None:
            self.save()


class EarlyStopping(_Stateful, keras.callbacks.EarlyStopping):
    """Keras' early stopping, with a state for checkpoints."""

    state = ("wait", "best", "best_epoch")


class ReduceLROnPlateau(_Stateful, keras.callbacks.ReduceLROnPlateau):
    """Keras' callback, with a state for checkpoints and a first epoch, from 0."""

    state = ("wait", "best", "cooldown_counter")

    def __init__(self, start_from_epoch: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.start_from_epoch = start_from_epoch

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Looks at the epoch; Keras would write the learning rate into its numbers."""
        if epoch >= self.start_from_epoch:
            super().on_epoch_end(epoch, dict(logs))


def direction(monitored: str) -> str:
    """Returns "max" for a bound, "min" for a loss, as Keras' callbacks call it."""
    return "max" if monitored.removeprefix("val_") == "elbo" else "min"


def is_better(monitored: str, value: float, best: float) -> bool:
    """Returns whether a monitored number is strictly better than another."""
    return value > best if direction(monitored) == "max" else value < best
