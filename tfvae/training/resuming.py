"""A folder that holds a run already: whether it is this one, and where it stopped."""

from __future__ import annotations

from tfvae.config import Config
from tfvae.models import VAE
from tfvae.runs import RunFolder, RunRecord, read_record, reading_model
from tfvae.types import InputError


def restore(vae: VAE, folder: RunFolder, steps_per_epoch: int) -> int:
    """Loads weights and optimizer, if there are any; returns the epochs done."""
    if not folder.model.exists():
        return 0
    with reading_model(folder):
        vae.load_weights(folder.model)
        done, rest = divmod(int(vae.steps), steps_per_epoch)
        if rest:
            raise ValueError(
                f"{int(vae.steps)} steps are no whole epochs of {steps_per_epoch}"
            )
    print(f"{folder.path} goes on after epoch {done}")
    return done


def check_same_run(config: Config, folder: RunFolder) -> None:
    """Refuses other settings than the folder's, but for more epochs."""
    record = read_record(folder)
    changed = record.config.differences(config)
    epochs = changed.pop("epochs", None)
    if changed:
        name, (there, here) = next(iter(changed.items()))
        others = f" (and {', '.join(list(changed)[1:])})" if len(changed) > 1 else ""
        raise InputError(
            f"workdir {str(folder.path)!r} holds another run: {name} is {there!r} "
            f"there and {here!r} here{others}; give another workdir, or the same "
            "settings"
        )
    if epochs and epochs[1] < epochs[0] and folder.model.exists():
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run of {epochs[0]} epochs, "
            f"and {epochs[1]} are asked for; give {epochs[0]} or more, or another "
            "workdir"
        )


def check_same_data(record: RunRecord, folder: RunFolder) -> None:
    """Refuses other data than the folder's run was trained on."""
    if read_record(folder).data != record.data:
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run on other data: what dataset "
            f"{record.config.dataset!r} gives has changed since; give another workdir"
        )
