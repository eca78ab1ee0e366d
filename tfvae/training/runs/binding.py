"""The file that says which model and configuration are a run's own."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfvae.config import Config
from tfvae.core.files import atomic_write, write_json
from tfvae.core.types import InputError
from tfvae.heads import HEADS
from tfvae.latents import LATENTS, Hierarchy
from tfvae.models import VAE
from tfvae.training.runs.folder import RunFolder, RunRecord, read_history, read_json


def write_model(
    folder: RunFolder, config: Config, write: Callable[[Path], None]
) -> None:
    """Writes a run's model, and what says that it is its own.

    The digest of the model before stays, for a process that is killed between the two.
    """
    before = _binding(folder)
    with atomic_write(folder.model) as partial:
        write(partial)
        models = [*before.get("models", [])[-1:], _digest(partial)]
        write_json(folder.binding, {"models": models, "config": config.to_dict()})


def check_own_model(folder: RunFolder, record: RunRecord, vae: VAE) -> None:
    """Refuses a model or a configuration that another run wrote, or someone edited.

    Runs of earlier versions have no such file; their model is compared with the history
    alone.

    Args:
        folder: The run's folder.
        record: The content of its config.json.
        vae: The model in it.

    Raises:
        InputError: if they do not belong together.
    """
    rows, steps = read_history(folder.history), int(vae.steps)
    if rows and rows[0]["epoch"]:
        most = rows[-1]["step"] + rows[0]["step"] / rows[0]["epoch"]
        if steps > most:
            raise InputError(
                f"{str(folder.model)!r} has {steps} training steps, and the run's "
                f"history {rows[-1]['step']}: it is of another run; restore it"
            )
    bound = _binding(folder)
    if bound:
        _check_binding(folder, record, bound)
    _check_parts(folder, record.config, vae)


def _check_binding(
    folder: RunFolder, record: RunRecord, bound: Mapping[str, Any]
) -> None:
    """Refuses what is not that which was written together."""
    if _digest(folder.model) not in bound["models"]:
        raise InputError(
            f"{str(folder.model)!r} is not the model that this run wrote; restore it, "
            "or load it by keras.models.load_model"
        )
    # Data may have moved: they are compared themselves.
    free = {"epochs", "dataset", "data_dir", "manual_dir"}
    free.update(*record.changes)
    there, here = bound["config"], record.config.to_dict()
    for name in there.keys() & here.keys() - free:
        if there[name] != here[name]:
            raise InputError(
                f"{str(folder.config)!r} has {name} {here[name]!r}, and the model was "
                f"trained with {there[name]!r}; restore the file"
            )


def _check_parts(folder: RunFolder, config: Config, vae: VAE) -> None:
    """Refuses a configuration that is not the model's, whoever wrote it."""
    latent = vae.latent
    layers = latent.layers if isinstance(latent, Hierarchy) else [latent]
    size, *upper = (layer.event_shape[0] for layer in layers)
    names = {kind: name for name, kind in (*LATENTS.items(), *HEADS.items())}
    found = {
        "latent": names.get(type(layers[0])),
        "latent_size": size,
        "upper_latent_sizes": tuple(upper),
        "likelihood": names.get(type(vae.decoder.head)),
    }
    for name, has in found.items():
        if getattr(config, name) != has:
            raise InputError(
                f"{str(folder.config)!r} has {name} {getattr(config, name)!r}, and "
                f"the model in {folder.model.name} {has!r}; restore the one that was "
                "changed"
            )


def _binding(folder: RunFolder) -> dict[str, Any]:
    if not folder.binding.exists():
        return {}
    found = read_json(folder.binding, "model's record", "remove the file")
    if isinstance(found, dict) and isinstance(found.get("models"), list):
        if isinstance(found.get("config"), dict):
            return found
    raise InputError(
        f"{str(folder.binding)!r} says nothing of a model; restore or remove the file"
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
