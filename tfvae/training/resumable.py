"""Callbacks that see two calls of Keras' `fit` as one training."""

from collections.abc import Mapping, Sequence

import keras

from tfvae.training.checkpoints import apply_metrics, set_callback_state
from tfvae.training.resuming import Resumed


class ResumableCallbackList(keras.callbacks.CallbackList):
    """Callbacks of a training that goes on in the middle of an epoch.

    Keras' epochs begin at their first step. So the rest of the running epoch is one
    call of `fit`, the epochs after it another, and the callbacks see one training, in
    which that epoch's steps have the numbers that they would have had.
    """

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], resumed: Resumed, **kwargs
    ) -> None:
        super().__init__(list(callbacks), **kwargs)
        self._checkpoint, self._done = resumed.checkpoint, resumed.position.batch
        self._begun = False

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        """Begins the training, once, with the callbacks' state of the checkpoint."""
        if self._begun:
            return
        self._begun = True
        super().on_train_begin(logs)
        if self._checkpoint is not None:
            set_callback_state(self.callbacks, self._checkpoint.callbacks)

    def on_train_end(self, logs: Mapping | None = None) -> None:
        """Keeps the logs for `finish`: another `fit` may come."""
        self._last_logs = logs

    def finish(self) -> None:
        """Ends the training."""
        super().on_train_end(self._last_logs)

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Begins the epoch, or restores its means, which Keras has reset."""
        super().on_epoch_begin(epoch, logs)
        if self._done and self._checkpoint is not None:
            apply_metrics(self.model, self._checkpoint.arrays)

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        """Ends the epoch; the next ones are whole."""
        super().on_epoch_end(epoch, logs)
        self._done = 0

    def on_train_batch_begin(self, batch: int, logs: Mapping | None = None) -> None:
        """Begins the step, counted with those done before the checkpoint."""
        super().on_train_batch_begin(self._done + batch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        """Ends the step, counted with those done before the checkpoint."""
        super().on_train_batch_end(self._done + batch, logs)
