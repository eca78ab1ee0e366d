"""One training of two calls of Keras' `fit`, as its callbacks see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras


class AcrossFits(keras.callbacks.CallbackList):
    """Callbacks of a training that goes on in the middle of an epoch.

    Keras' epochs begin at their first step. So the rest of the running epoch is one
    call of `fit`, the epochs after it another, and the callbacks see one training, in
    which that epoch's steps have the numbers that they would have had.

    Args:
        callbacks: The callbacks.
        done: Steps of the first epoch that are done.
        set_state: Called when the training has begun.
        on_first_epoch: Called when its first epoch has begun, and Keras has set the
            metrics back.
        **kwargs: Keras'.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        done: int,
        set_state: Callable[[], None],
        on_first_epoch: Callable[[], None],
        **kwargs,
    ) -> None:
        super().__init__(list(callbacks), **kwargs)
        self._done, self._set_state = done, set_state
        self._on_first_epoch: Callable[[], None] | None = on_first_epoch
        self._begun = False

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        """Begins the training, once."""
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)
            self._set_state()

    def on_train_end(self, logs: Mapping | None = None) -> None:
        """Takes note: another `fit` may come."""
        self._last_logs = logs

    def finish(self) -> None:
        """Ends the training."""
        super().on_train_end(self._last_logs)

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Begins the epoch, or goes on with it."""
        super().on_epoch_begin(epoch, logs)
        if self._on_first_epoch is not None:
            self._on_first_epoch()
            self._on_first_epoch = None

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        """Ends the epoch; those to come are whole."""
        super().on_epoch_end(epoch, logs)
        self._done = 0

    def on_train_batch_begin(self, batch: int, logs: Mapping | None = None) -> None:
        """Counts the epoch's steps that were done before."""
        super().on_train_batch_begin(self._done + batch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        """Counts the epoch's steps that were done before."""
        super().on_train_batch_end(self._done + batch, logs)
