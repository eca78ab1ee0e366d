"""Clocks of a training: its cadence of extras, its stopwatch and its profile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_SHARE = 0.01  # of the training's time
_GROWTH = 1.05  # of the time from once to the next, so that long runs fill no disk


class Cadence:
    """Decides in which epochs something is done.

    Args:
        every: The epochs from once to the next; 0: never; None: in the first epoch that
            is seen, and then whenever it has taken less than a 100th of the time since
            training began, ever less often.
    """

    def __init__(self, every: int | None) -> None:
        self.every = every
        self._begun = time.perf_counter()
        self._spent = self._last = 0.0
        self._epoch: int | None = None

    def due(self, epoch: int) -> bool:
        """Returns whether it is to be done after an epoch, counted from 1."""
        if self.every is not None:
            return self.every > 0 and epoch % self.every == 0
        elapsed = time.perf_counter() - self._begun
        affordable = self._spent <= _SHARE * elapsed
        return self._epoch is None or affordable and elapsed >= _GROWTH * self._last

    def missing(self, epoch: int) -> bool:
        """Returns whether it is to be done at the end, after this epoch."""
        return self.every != 0 and self._epoch != epoch

    @contextlib.contextmanager
    def timed(self, epoch: int) -> Iterator[None]:
        """Measures the time that it takes after an epoch."""
        begun = time.perf_counter()
        yield
        ended = time.perf_counter()
        self._epoch = epoch
        self._spent += ended - begun
        self._last = ended - self._begun


class Stopwatch:
    """Times the training steps of an epoch, and nothing between epochs.

    `end` may be called from another thread.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._ended: float | None = None

    def begin(self) -> None:
        """Starts, before an epoch's first step."""
        self._begun, self._ended = time.perf_counter(), None

    def end(self) -> None:
        """Stops, after its last one."""
        self._ended = time.perf_counter()

    @property
    def seconds(self) -> float | None:
        """The time of the steps; None: the epoch was broken off."""
        if self._begun is None or self._ended is None:
            return None
        return self._ended - self._begun


class Profiler:
    """TensorFlow's profile of some training steps.

    Args:
        steps: The first and the last step, counted from 1; None: no profile. Executions
            of several steps are profiled whole.
    """

    def __init__(self, steps: tuple[int, int] | None) -> None:
        self.steps = steps
        self._running = False

    def before(self, done: int, coming: int, folder: Path) -> None:
        """Starts or stops before an execution, if it is time.

        Args:
            done: The steps that the model has behind it.
            coming: The steps of the execution.
            folder: The folder in which TensorBoard finds the profile.
        """
        self.after(done)
        if self.steps is None or self._running:
            return
        first, last = self.steps
        if done < last and done + coming >= first:
            tf.profiler.experimental.start(str(folder))
            self._running = True

    def after(self, done: int) -> None:
        """Stops when the last step is done."""
        if self.steps and self._running and done >= self.steps[1]:
            self.stop()

    def stop(self) -> None:
        """Writes the profile, if one is running."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
