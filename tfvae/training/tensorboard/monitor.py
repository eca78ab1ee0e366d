"""The callback that writes TensorBoard's files of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.config.settings import Monitoring
from tfvae.models import Batch
from tfvae.training.tensorboard.events import EventWriter, writing
from tfvae.training.tensorboard.numbers import reported, settings_now, with_bits
from tfvae.training.tensorboard.projector import write_projection
from tfvae.training.tensorboard.session import (
    TAGS,
    session_end,
    session_start,
    settings_table,
)
from tfvae.training.tensorboard.timing import Cadence, Profiler, Stopwatch
from tfvae.training.tensorboard.views import Views

CONFIGURATION = "configuration"
_GRADIENTS = 50  # steps of an epoch whose gradient norm is looked at


class Watched(NamedTuple):
    """The examples that a training is watched on.

    Attributes:
        batch: The examples as the encoder sees them, with their roles.
        held_out: True for validation examples, False for training examples.
        test: Returns batches of test images [B, H, W, C], for the projector.
        labels: The labels of the test images, or None.
    """

    batch: Batch
    held_out: bool
    test: Callable[[], Iterable[tf.Tensor]]
    labels: np.ndarray | None


class Monitor(keras.callbacks.Callback):
    """Writes `logs/train` and `logs/validation`, with the same names in both.

    After each epoch, at the model's training step: `loss`, `elbo`, `bound` (the
    objective at kl_weight 1 and without regularisation), `rate`, `distortion`,
    `bits_per_dim` (from `bound`, where the data is discrete), `ess`; in `train` also
    `grad_norm` (see `VAE.track_gradients`: a mean over some 50 steps of the
    epoch, or all if it has fewer), `images_per_second` (of the training steps alone; in
    the first epoch of a process with the time of tracing), and the last step's
    `kl_weight`, `temperature`, `prior_temperature` and `learning_rate`; where the
    watched images are from, `active_units`. At times histograms and images, see
    `Monitoring`; at the end the projector's files.

    A training that goes on shows each step once. Used as a context manager, it closes
    the session when the training is stopped by an exception too.

    Args:
        logs: The folder of `train` and `validation`.
        config: The run's configuration.
        watched: The images that the training is watched on.
        steps_per_epoch: The steps of a training epoch.
        settings: The settings of the files; None: the defaults.
    """

    # Keras may call the hook after a batch from another thread, once the batch's
    # numbers are there; else it would wait for them after every batch.
    async_safe = True

    def __init__(
        self,
        logs: Path,
        config: Config,
        watched: Watched,
        steps_per_epoch: int,
        settings: Monitoring | None = None,
    ) -> None:
        super().__init__()
        self.logs, self.config, self.watched = logs, config, watched
        self.settings = settings or Monitoring()
        self._track_every = max(1, steps_per_epoch // _GRADIENTS)
        self._stopwatch, self._profiler = Stopwatch(), Profiler(self.settings.profile)
        self._writers: dict[str, EventWriter] = {}
        self._tracked: dict[str, float] | None = None
        self._first_step: int | None = None
        self._seen_before = 0
        self._epoch = 0

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._close(succeeded=kind is None)

    def set_model(self, model: keras.Model) -> None:
        """Takes the model, before Keras makes its training function."""
        if self.model is not model:
            self._views = Views(model, model.as_batch(self.watched.batch))
        super().set_model(model)
        model.track_gradients(self._track_every)

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        """Opens the files, without their records of steps that are to come again."""
        step = int(self.model.steps)
        names = ("train", "validation") if self.watched.held_out else ("train",)
        self._writers = {
            name: EventWriter(
                self.logs / name, step, (*TAGS, CONFIGURATION), self.settings.graph
            )
            for name in names
        }
        train = self._writers["train"]
        train.text(CONFIGURATION, settings_table(self.config), 0)
        if self.settings.graph:
            train.graph(self._views.graph_of_a_step())
        self._watching.summaries([session_start(self.config, self.logs.parent)], 0)
        self._histograms = Cadence(self.settings.histograms_every)
        self._images = Cadence(self.settings.images_every)
        self._flush()

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        """Forgets the numbers of the epoch before."""
        self._first_step = self._tracked = None

    def on_train_batch_begin(self, batch: int, logs: Mapping | None = None) -> None:
        """Starts the clock, and the profile when its time has come."""
        if self._first_step is None:  # the first that is seen of the epoch
            self._first_step = int(self.model.steps) - batch
            self._seen_before = self.model.examples_seen if batch else 0
            self._stopwatch.begin()
        coming = self.model.steps_per_execution
        self._profiler.before(self._first_step + batch, coming, self.logs / "train")

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        """Stops the clock after an epoch's last step."""
        if batch + 1 == self.params["steps"]:
            self._stopwatch.end()

    def on_test_begin(self, logs: Mapping | None = None) -> None:
        """Takes the epoch's numbers, before Keras resets them for the validation."""
        self._take()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Writes the epoch's numbers, and at times histograms and images."""
        validated = self._tracked is not None
        tracked = self._take() if self._tracked is None else self._tracked
        self._epoch, step = epoch + 1, int(self.model.steps)
        found = {"train": {**reported(logs), **tracked}}
        found["train"] |= settings_now(self.model)
        if validated and self.watched.held_out:
            bound = self.model.tracked()["bound"]
            found["validation"] = {**reported(logs, "val_"), "bound": bound}
        found.setdefault(self._where, {})["active_units"] = self._views.active_units()
        for name, values in found.items():
            values = with_bits(values, self.model)
            self._writers[name].scalars(values, step)
        self._now_and_then(step, lambda cadence: cadence.due(self._epoch))
        self._flush()

    def finish(self) -> None:
        """Writes the views of the trained model, and closes the files.

        It is called by `at_end`, which comes after the model is saved: a full disk then
        costs no epoch.
        """
        if self._epoch:
            step = int(self.model.steps)
            self._now_and_then(step, lambda cadence: cadence.missing(self._epoch))
            if self.settings.projector:
                with writing(self.logs):
                    write_projection(
                        self.logs / "train",
                        self.model,
                        self.watched.test(),
                        self.watched.labels,
                    )
        self._close(succeeded=True)

    def at_end(self) -> keras.callbacks.Callback:
        """Returns the callback to put after the one that saves the model."""
        return keras.callbacks.LambdaCallback(on_train_end=lambda logs: self.finish())

    @property
    def _where(self) -> str:
        return "validation" if self.watched.held_out else "train"

    @property
    def _watching(self) -> EventWriter:
        """The writer of the watched images' statistics, and of the line of hparams."""
        return self._writers[self._where]

    def _take(self) -> dict[str, float]:
        self._profiler.after(int(self.model.steps))
        self._tracked = tracked = self.model.tracked()
        seconds = self._stopwatch.seconds
        if seconds is not None:
            seen = self.model.examples_seen - self._seen_before
            tracked["images_per_second"] = seen / seconds
        return tracked

    def _now_and_then(self, step: int, wanted: Callable[[Cadence], bool]) -> None:
        if wanted(self._histograms):
            with self._histograms.timed(self._epoch):
                self._watching.histograms(self._views.histograms(), step)
        if wanted(self._images):
            with self._images.timed(self._epoch):
                self._watching.images(self._views.images(), step)

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _close(self, succeeded: bool) -> None:
        self._profiler.stop()
        if self._writers:
            self._watching.summaries([session_end(succeeded)], 0)
        while self._writers:
            self._writers.popitem()[1].close()
