"""Schedules that Keras has not, for kl_weight and temperatures, counted in steps.

For a straight line there is `keras.optimizers.schedules.PolynomialDecay`. All of them
are Keras schedules: `VAE.compile` takes them, and models save and load with them.
"""

from typing import TypeAlias

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable(package="tfvae")
class Cyclical(Schedule):
    """Rises from 0 to `end` and starts again, `cycles` times; then it stays.

    Each cycle of `steps` / `cycles` steps is a straight line in its first part `rise`,
    and `end` in the rest (Fu et al., 2019).

    Args:
        end: The value at the top.
        steps: The length of all cycles together.
        cycles: The number of rises.
        rise: The part of a cycle in which it rises, above 0, at most 1.

    Raises:
        InputError: if an argument is out of range.
    """

    def __init__(
        self, end: float, steps: int, cycles: int = 4, rise: float = 0.5
    ) -> None:
        self.end = require_number("end", end, zero=True)
        self.steps = require_int("steps", steps)
        self.cycles = require_int("cycles", cycles)
        self.rise = require_number("rise", rise)
        if self.rise > 1:
            raise InputError(f"rise {rise!r} is not usable; give a part of 1")

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the value at a step, a float32."""
        done = tf.cast(step, tf.float32) * self.cycles / self.steps
        part = tf.where(done < self.cycles, done - tf.floor(done), 1.0)
        return self.end * tf.minimum(part / self.rise, 1.0)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this schedule."""
        return {
            "end": self.end,
            "steps": self.steps,
            "cycles": self.cycles,
            "rise": self.rise,
        }


@keras.saving.register_keras_serializable(package="tfvae")
class Exponential(Schedule):
    """Goes from `start` to `end` by equal factors, and stays there.

    start (end / start)^(step / steps), as temperatures are annealed (Jang et al.,
    2017).

    Args:
        start: The first value, above 0.
        end: The last value, above 0.
        steps: The number of steps from the first value to the last.

    Raises:
        InputError: if an argument is out of range.
    """

    def __init__(self, start: float, end: float, steps: int) -> None:
        self.start = require_number("start", start)
        self.end = require_number("end", end)
        self.steps = require_int("steps", steps)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the value at a step, a float32."""
        part = tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)
        return self.start * tf.pow(self.end / self.start, part)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this schedule."""
        return {"start": self.start, "end": self.end, "steps": self.steps}
