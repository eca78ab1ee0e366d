"""The callback that writes checkpoints, and ends a training that a signal stops."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import keras

from tfvae.config.settings import Checkpointing
from tfvae.training.checkpoints.state import Position, arrays_of, callback_state
from tfvae.training.checkpoints.store import Checkpoint, CheckpointStore

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MIN_SECONDS = 5.0
_SHARE = 0.02  # of the training's time, at most


class Interrupted(KeyboardInterrupt):
    """A training that a signal has ended, after all of it was saved."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status that is usual for the signal."""
        return 128 + self.signum


class StopRequest:
    """A context that notes Ctrl-C and SIGTERM, in the main thread.

    Elsewhere Python hears no signals, and nothing is changed. A signal that is ignored,
    as a shell's background jobs ignore Ctrl-C, stays so. A second signal stops at once.
    """

    signum: int | None = None  # of the signal that came

    def __enter__(self) -> "StopRequest":
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for each in _SIGNALS:
                if signal.getsignal(each) is signal.SIG_IGN:
                    continue
                self._before[each] = signal.signal(each, self._take_note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _take_note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:  # the second
            self._restore()
            os.kill(os.getpid(), signum)
            return
        self.signum = signum

    def _restore(self) -> None:
        for each, handler in self._before.items():
            # None: another language's handler, which Python cannot put back.
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        self._before = {}


class SaveCheckpoints(keras.callbacks.Callback):
    """Writes checkpoints at ends of epochs, and within them if wanted.

    At ends of epochs it waits until the last one is `min_seconds` old, and 50 times as
    old as it took to write, so that short epochs cost little; the training's last epoch
    is always written.

    The state of `callbacks` goes with them, and the text that `history` returns.
    `stop` is looked at before each step; `on_stop` is called once the checkpoint of a
    stopped training is written. The running epoch took `earlier` seconds before this
    training went on with it.
    """

    def __init__(
        self,
        store: CheckpointStore,
        callbacks: list[keras.callbacks.Callback],
        history: Callable[[], str],
        config: Mapping[str, Any],
        versions: Mapping[str, str],
        settings: Checkpointing | None = None,
        stop: StopRequest | None = None,
        on_stop: Callable[[], None] | None = None,
        earlier: float = 0.0,
        min_seconds: float = _MIN_SECONDS,
    ) -> None:
        super().__init__()
        self.store, self.others, self.history = store, callbacks, history
        self.config, self.versions = config, versions
        self.every = (settings or Checkpointing()).checkpoint_every
        self.stop, self.on_stop = stop, on_stop
        self.earlier, self.min_seconds = earlier, min_seconds
        self._saved_at, self._cost = -math.inf, 0.0
        self._saved_step: int | None = None

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        """Writes the state that a new run begins with: there is always one."""
        if int(self.model.steps) == 0:
            self._write(Position(0, 0))

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock, and counting the epoch's steps."""
        self._epoch = epoch
        self._begun = time.perf_counter() - self.earlier
        self.earlier = 0.0
        self._first_step: int | None = None

    def on_train_batch_begin(self, batch: int, logs: Mapping | None = None) -> None:
        """Writes, if it is time to, or the training is to stop."""
        if self._first_step is None:  # the first that is seen of the epoch
            self._first_step = int(self.model.steps) - batch
        step = self._first_step + batch
        if self._saved_step is None:
            self._saved_step = step
        due = self.every is not None and step - self._saved_step >= self.every
        if self._signum or due:
            seconds = time.perf_counter() - self._begun
            self._write(Position(step, self._epoch, batch, seconds))
        if self._signum:
            self._end(step, self._signum)

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        """Writes, unless the last one is new; at the end always."""
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        wait = max(self.min_seconds, self._cost / _SHARE)
        waited = time.perf_counter() - self._saved_at >= wait
        step = int(self.model.steps)
        if last or self._signum or waited or self.every is not None:
            early = bool(self.model.stop_training)
            self._write(Position(step, epoch + 1, stopped_early=early))
        if self._signum and not last:
            self._end(step, self._signum)

    @property
    def _signum(self) -> int | None:
        return None if self.stop is None else self.stop.signum

    def _write(self, position: Position) -> None:
        if position.step == self._saved_step:
            return  # nothing was done since
        self.model.check_finite()
        begun = time.perf_counter()
        self.store.write(
            Checkpoint(
                position,
                arrays_of(self.model),
                callback_state(self.others),
                self.history(),
                self.config,
                self.versions,
            )
        )
        self._saved_at, self._saved_step = time.perf_counter(), position.step
        self._cost = self._saved_at - begun

    def _end(self, step: int, signum: int) -> None:
        if self.on_stop is not None:
            self.on_stop()
        raise Interrupted(
            signum, f"stopped after step {step}; the same command goes on"
        )
