"""Resuming the run that a folder holds, if it is the one that is asked for.

Two calls of Keras' `fit` are one training for the callbacks.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.models import VAE
from tfvae.training.building import ARGUMENTS
from tfvae.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    Position,
    apply_arrays,
    apply_metrics,
    set_callback_state,
)
from tfvae.training.runs import RunFolder, RunRecord, read_record

# The fields that may change in a run that goes on; others make the model, or the order
# of the data.
CHANGEABLE = (
    *("objective", *ARGUMENTS["objective"]),
    *("estimator", *ARGUMENTS["estimator"]),
    *("num_samples", "backward_samples", "sample_chunk"),
    *("kl_weight", "kl_warmup_steps", "kl_schedule", "kl_cycles"),
    *("final_temperature", "final_prior_temperature", "temperature_schedule"),
    *("temperature_steps", "learning_rate", "learning_rate_schedule", "clip_norm"),
    *("skip_nonfinite", "monitored", "early_stopping", "reduce_on_plateau"),
    *("plateau_factor", "keep_best", "jit_compile"),
)
_RATE = ("learning_rate", "learning_rate_schedule")
# These may differ without being named: the data themselves are compared.
_FREE = ("epochs", "data_dir", "manual_dir")


class Resumed(NamedTuple):
    """The place at which a run goes on, with its checkpoint; None: the run begins."""

    position: Position
    checkpoint: Checkpoint | None


def restore(
    vae: VAE, config: Config, folder: RunFolder, store: CheckpointStore
) -> Resumed:
    """Gives a model the newest whole checkpoint of its run, if there is one.

    Raises:
        InputError: if there are checkpoints, and none is whole or of this run.
    """
    checkpoint, skipped = store.newest()
    for line in skipped:
        print(f"note: {line}")
    if checkpoint is None:
        if skipped or folder.model.exists():
            raise InputError(
                f"workdir {str(folder.path)!r} holds a run and no whole checkpoint to "
                "go on from; if it has a model, that can be evaluated. Give another "
                "workdir, or remove this one to begin anew"
            )
        return Resumed(Position(0, 0), None)
    changed = Config.from_dict(checkpoint.config).differences(config)
    foreign = [n for n in changed if n not in (*CHANGEABLE, *_FREE)]
    if foreign:
        raise InputError(
            f"the checkpoint in {str(folder.checkpoints)!r} is of another run: "
            f"{foreign[0]} differs; restore the folder, or give another workdir"
        )
    keeps_rate = not any(name in changed for name in _RATE)
    apply_arrays(vae, checkpoint.arrays, rate=keeps_rate)
    return Resumed(checkpoint.position, checkpoint)


def check_allowed(names: Sequence[str]) -> None:
    """Refuses fields that are unknown, or part of what the run is."""
    known = [field.name for field in dataclasses.fields(Config)]
    for name in names:
        if name not in (*CHANGEABLE, *_FREE):
            kind = "part of what the run is" if name in known else "no setting"
            raise InputError(
                f"allow_changed {name!r} is not usable, it is {kind}; what can change "
                f"is {', '.join(CHANGEABLE)}, and without being named "
                f"{', '.join(_FREE)}"
            )


def check_same_run(
    config: Config, folder: RunFolder, allowed: Sequence[str] = ()
) -> dict[str, list]:
    """Refuses other settings than the folder's, but for more epochs, and other places.

    It returns those that are changed, some of the `allowed`: name -> [there, here].

    Raises:
        InputError: if another field differs, or fewer epochs are asked for.
    """
    changed = read_record(folder).config.differences(config)
    refused = {k: v for k, v in changed.items() if k not in (*allowed, *_FREE)}
    if refused:
        lines = ", ".join(
            f"{name} is {there!r} there and {here!r} here"
            for name, (there, here) in refused.items()
        )
        can = all(name in CHANGEABLE for name in refused)
        advice = f", or --allow-changed {' '.join(refused)}" if can else ""
        raise InputError(
            f"workdir {str(folder.path)!r} holds another run: {lines}; give another "
            f"workdir, or the same settings{advice}"
        )
    epochs = changed.get("epochs")
    if epochs and epochs[1] < epochs[0] and folder.model.exists():
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run of {epochs[0]} epochs, "
            f"and {epochs[1]} are asked for; give {epochs[0]} or more, or another "
            "workdir"
        )
    return {name: list(values) for name, values in changed.items()}


def check_same_data(record: RunRecord, folder: RunFolder) -> None:
    """Refuses other data than the folder's run was trained on."""
    there = read_record(folder).data
    # Earlier versions said less of their data, and other files change nothing.
    known = [name for name in there if name != "left_out"]
    if any(record.data.get(name) != there[name] for name in known):
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run on other data: what dataset "
            f"{record.config.dataset!r} gives has changed since; give another workdir"
        )


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
