"""Clocks for Keras' `fit`: the first step, a calibration, and blocks of steps.

TensorFlow returns before a GPU is done, so every clock here waits for the devices
before it is read.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf


def synchronised_time() -> float:
    """Waits for the devices, and returns the clock's seconds."""
    tf.test.experimental.sync_devices()
    return time.perf_counter()


class Plan(NamedTuple):
    """The size of a timed block: epochs as Keras sees them, of so many steps."""

    steps: int
    epochs: int


def plan_blocks(
    seconds: float, step_seconds: float, steps_per_epoch: int, steps_per_execution: int
) -> Plan:
    """Returns blocks of about `seconds`: whole epochs, or a part of one.

    Keras runs whole executions, which divide an epoch of the data.
    """
    wanted = seconds / step_seconds
    if wanted >= steps_per_epoch:
        return Plan(steps_per_epoch, max(1, round(wanted / steps_per_epoch)))
    executions = max(1, round(wanted / steps_per_execution))
    return Plan(min(executions * steps_per_execution, steps_per_epoch), 1)


def images_in(steps: int, batch_size: int, size: int) -> int:
    """Returns how many images the first `steps` training batches hold.

    The last batch of an epoch has the rest of the `size` images of the data.
    """
    epochs, rest = divmod(steps, -(-size // batch_size))
    return epochs * size + rest * batch_size


class _Stopwatch(keras.callbacks.Callback):
    """A clock of training, without the validation at an epoch's end."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.last = steps - 1
        self._aside = 0.0

    def read(self) -> float:
        """Returns seconds."""
        return synchronised_time() - self._aside

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        """Notes when an epoch's training is over."""
        if batch >= self.last:
            self._left = synchronised_time()

    def on_test_end(self, logs: Mapping | None = None) -> None:
        """Puts aside what has passed since."""
        self._aside += synchronised_time() - self._left


class WarmUp(_Stopwatch):
    """Times the first execution, then others until `seconds` have passed; then stops.

    If the first epoch, of so many steps, ends before, it starts anew after it, since
    callbacks do more in the first: the model is saved. The clock is read after each
    execution.

    Attributes:
        first_step: Seconds from here to the end of the first execution, which traces or
            compiles.
        step_seconds: Seconds of a later step.
    """

    def __init__(self, steps: int, steps_per_execution: int, seconds: float) -> None:
        super().__init__(steps)
        self.first_step = self.step_seconds = 0.0
        self._per_execution, self._seconds, self._done = steps_per_execution, seconds, 0
        self._began = self.read()

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        """Reads the clock."""
        super().on_train_batch_end(batch)
        now = self.read()
        if not self.first_step:
            self.first_step, self._since = now - self._began, now
            return
        self._done += self._per_execution
        self.step_seconds = (now - self._since) / self._done
        if now - self._since >= self._seconds:
            self._left = synchronised_time()  # an epoch that is broken off ends here
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts anew after the first epoch."""
        if epoch == 0:
            self._since, self._done = self.read(), 0


class Blocks(_Stopwatch):
    """Times blocks of epochs, with something else between them.

    The first epoch, in which the pipeline starts, is not part of a block. Between
    blocks the pipeline fills its prefetch, eight batches that a block of hundreds gets
    for nothing. `between` is called after each block, outside of the time.

    Attributes:
        seconds: The seconds of each block.
        loss: The loss of the last epoch.
    """

    def __init__(self, plan: Plan, between: Callable[[], None]) -> None:
        super().__init__(plan.steps)
        self.plan, self.between = plan, between
        self.seconds: list[float] = []
        self.loss = float("nan")

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Starts the clock at the begin of a block."""
        if (epoch - 1) % self.plan.epochs == 0:
            self._began = self.read()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Stops it at the end of one."""
        if epoch > 0 and epoch % self.plan.epochs == 0:
            self.seconds.append(self.read() - self._began)
            self.loss = float(logs["loss"])
            self.between()
