"""Several training steps in one call of TensorFlow, up to the end of an epoch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Executions:
    """A `train_function` for Keras' `fit` of data without end.

    Keras runs whole executions, so that they must divide an epoch, and takes the
    reported numbers after every step. Here the last execution of an epoch has what is
    left of it, and the numbers are taken at the end of each. All have one trace.

    Args:
        model: The compiled model.
        steps_per_epoch: The steps of an epoch.
    """

    def __init__(self, model: keras.Model, steps_per_epoch: int) -> None:
        self._most, self._steps_per_epoch = model.steps_per_execution, steps_per_epoch
        self._done = 0  # of the running epoch

        def train(batch: Any) -> None:
            # Within its strategy, which may be one of a single device.
            model.distribute_strategy.run(model.train_step, args=(batch,))

        step = tf.function(
            train,
            reduce_retracing=True,
            autograph=False,
            jit_compile=model.jit_compile,
        )

        def body(iterator: tf.data.Iterator, done: tf.Tensor) -> tf.Tensor:
            step(next(iterator))
            return done + 1

        @tf.function(reduce_retracing=True, autograph=False)
        def run(iterator: tf.data.Iterator, count: tf.Tensor) -> dict[str, tf.Tensor]:
            tf.while_loop(
                lambda done: done < count,
                lambda done: (body(iterator, done),),
                [tf.constant(0)],
                parallel_iterations=1,  # a step begins when the one before has ended
            )
            return model.get_metrics_result()

        self._run = run

    @classmethod
    def of(cls, model: keras.Model, steps_per_epoch: int) -> Executions:
        """Returns the model's, at the start of an epoch, or new ones."""
        known = model.train_function
        if not isinstance(known, cls):
            return cls(model, steps_per_epoch)
        # These are arguments of the trace, and may have changed since.
        known._most, known._steps_per_epoch = model.steps_per_execution, steps_per_epoch
        known._done = 0
        return known

    def __call__(self, iterator: tf.data.Iterator) -> dict[str, Any]:
        """Takes the steps of one execution, and returns the reported numbers.

        Raises:
            StopIteration: if the data have an end after all.
        """
        count = min(self._most, self._steps_per_epoch - self._done)
        self._done = (self._done + count) % self._steps_per_epoch
        try:
            return self._run(iterator, tf.constant(count))
        except tf.errors.OutOfRangeError as error:
            raise StopIteration from error
