"""The folder of a preset: how it is written, checked and read.

A preset may come from anywhere, so nothing in it is believed: see `_checked`.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import io
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tfvae.core.files import (
    fsync_tree,
    read_bounded,
    staged_directory,
    write_json,
    write_text,
)
from tfvae.core.seeds import derive_int
from tfvae.core.types import InputError, first_line
from tfvae.core.validation import SEEDS, require_int, require_path, require_text
from tfvae.core.version import __version__
from tfvae.models.model_file import (
    USERS_LAYERS,
    check_config,
    count_weights,
    damage_is_said,
)
from tfvae.models.presets.card import PresetCard, readme
from tfvae.models.presets.places import PACKAGED, locate, packaged_names

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
README = "README.md"
_FILES = (CONFIG, METADATA, WEIGHTS)
_MOST_JSON = 8 << 20  # ours have some 20 KiB
# Of weights: bytes of a number, and room for what HDF5 writes beside numbers.
_BYTES, _SPARE = 8, 16 << 20
_OF_ARCHITECTURE = ("module", "class_name", "config", "registered_name")


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a preset's folder says of its model.

    Attributes:
        path: The folder.
        class_name: The class, as Keras registers it, for example "tfvae>VAE".
        num_parameters: The number of the model's parameters.
        date_saved: The date and time in UTC.
        versions: The versions of tfvae and Keras that wrote it.
        digests: The SHA-256 of config.json and of the weights.
        card: What the model was trained on, and its scores.
    """

    path: Path
    class_name: str
    num_parameters: int
    date_saved: str
    versions: Mapping[str, str]
    digests: Mapping[str, str]
    card: PresetCard

    @property
    def description(self) -> str:
        """One line for people."""
        return self.card.description

    def model_class(self) -> type | None:
        """Returns the class; None if no class of that name is registered here."""
        found = keras.saving.get_registered_object(self.class_name)
        return found if isinstance(found, type) else None

    def metadata(self) -> dict[str, Any]:
        """Returns the content of metadata.json."""
        return {
            "keras_version": self.versions["keras"],
            "tfvae_version": self.versions["tfvae"],
            "parameter_count": self.num_parameters,
            "date_saved": self.date_saved,
            "registered_name": self.class_name,
            "sha256": dict(self.digests),
            "card": self.card.to_dict(),
        }


class PresetsOfClass:
    """The presets of the package that a class loads, as an attribute of the class."""

    def __get__(self, model: object, kind: type) -> Mapping[str, Preset]:
        """Returns name -> preset."""
        found = {name: read_preset(PACKAGED / name) for name in packaged_names()}
        return {n: p for n, p in found.items() if _is_of(p, kind)}


# -- Writing ---------------------------------------------------------------------------


def save_preset(
    vae: keras.Model, path: str | os.PathLike, card: PresetCard | None = None
) -> Path:
    """Writes a model as a preset, without its optimizer.

    The model is built again from what is written and read back before the folder takes
    its place, so that what is saved can be loaded.

    Args:
        vae: The model.
        path: The folder, which is new or empty.
        card: What it was trained on, and its scores; None: what the model knows itself.

    Returns:
        The folder.

    Raises:
        InputError: if there is something there, or `load_preset` would refuse it.
    """
    path = require_path("preset_dir", path)
    card = PresetCard() if card is None else card
    if not isinstance(card, PresetCard):
        raise InputError(f"card {card!r:.60} is not usable; give a tfvae PresetCard")
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(
            f"preset_dir {str(path)!r} is there, and is no empty folder; give another, "
            "or remove it"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged_directory(path.parent) as partial:
            partial.mkdir()
            _write(vae, partial, card.completed(vae), path.resolve().name)
            fsync_tree(partial)
            os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"preset_dir {str(path)!r} cannot be written ({error.strerror or error}); "
            "give another"
        ) from error
    return path


def _write(vae: keras.Model, folder: Path, card: PresetCard, name: str) -> None:
    config = keras.saving.serialize_keras_object(vae)
    config = {part: config[part] for part in _OF_ARCHITECTURE}
    registered = config["registered_name"]
    if keras.saving.get_registered_object(str(registered)) is not type(vae):
        raise InputError(
            f"the class {type(vae).__name__} is not registered, so that from_preset "
            "would not find it; decorate it with "
            "@keras.saving.register_keras_serializable(package=...)"
        )
    optimised = folder / f"all.{WEIGHTS}"
    vae.save_weights(optimised)
    try:
        write_json(folder / CONFIG, config)
        # A model that is not compiled has no optimizer to save.
        again = _built(json.loads((folder / CONFIG).read_text("utf-8")))
        again.load_weights(optimised)
    except Exception as error:  # a class of a user can fail in any way
        raise InputError(
            f"the model cannot be built again from its get_config "
            f"({first_line(error, 200)}), as a preset has to be; use vae.save"
        ) from error
    again.save_weights(folder / WEIGHTS)
    optimised.unlink()
    now = datetime.datetime.now(datetime.timezone.utc)
    preset = Preset(
        folder,
        registered,
        vae.count_params(),
        now.isoformat(" ", "seconds"),
        {"tfvae": __version__, "keras": keras.__version__},
        {part: _digest((folder / part).read_bytes()) for part in (CONFIG, WEIGHTS)},
        card,
    )
    write_json(folder / METADATA, preset.metadata())
    write_text(folder / README, readme(vae, name, card))
    try:
        _checked(preset)
    except ValueError as error:
        raise InputError(
            f"from_preset would refuse this model ({error}); use vae.save"
        ) from error


# -- Reading ---------------------------------------------------------------------------


def load_preset(
    kind: type,
    preset: str | os.PathLike,
    load_weights: bool = True,
    seed: int | None = None,
) -> Any:
    """Returns the model of a preset, not compiled.

    Args:
        kind: The class that it has to be of, or a class below.
        preset: A name, a folder or an address, as `places.locate` takes it.
        load_weights: Whether it has the preset's weights; else it has fresh ones.
        seed: The seed of fresh weights; None: 0.

    Raises:
        InputError: if there is no such preset, it is of another class, it is damaged,
            or it names what no preset may.
    """
    if load_weights and seed is not None:
        raise InputError(
            f"seed {seed!r:.100} has no effect on weights that are loaded; leave it "
            "out, or give load_weights=False"
        )
    seed = require_int("seed", 0 if seed is None else seed, 0, SEEDS)
    if not isinstance(load_weights, bool):
        raise InputError(
            f"load_weights {load_weights!r:.100} is not usable; give True or False"
        )
    found = read_preset(locate(preset, _FILES))
    path = found.path
    if not _is_of(found, kind):
        raise InputError(_other_class(found, kind))
    with damage_is_said(path, "restore it, or give another preset"):
        config = _checked(found)
        vae = _built(config if load_weights else _reseeded(config, seed))
        if vae.count_params() != found.num_parameters:
            raise ValueError(
                f"{METADATA} says {found.num_parameters:,} parameters, and {CONFIG} "
                f"has {vae.count_params():,}"
            )
        if load_weights:
            vae.load_weights(path / WEIGHTS)
    return vae


def read_preset(path: str | os.PathLike) -> Preset:
    """Returns what a preset's folder says of its model, whose weights are not read.

    Raises:
        InputError: if it is no preset's folder, or metadata.json is damaged.
    """
    path = require_path("preset", path)
    for name in _FILES:
        if not (path / name).exists():
            raise InputError(
                f"{str(path)!r} is no preset, for it lacks {name}; give the folder "
                "that save_to_preset has written"
            )
    with damage_is_said(path, "restore it, or give another preset"):
        found = json.loads(read_bounded(path / METADATA, _MOST_JSON))
        if not isinstance(found, dict):
            raise ValueError(f"{METADATA} holds no JSON object")
        try:
            return Preset(
                path,
                require_text("registered_name", found["registered_name"]),
                require_int("parameter_count", found["parameter_count"], 0, 1 << 40),
                require_text("date_saved", found["date_saved"]),
                {
                    name: require_text(f"{name}_version", found[f"{name}_version"])
                    for name in ("tfvae", "keras")
                },
                dict(found["sha256"]),
                PresetCard.from_dict(found["card"]),
            )
        except KeyError as error:
            raise ValueError(f"{METADATA} lacks {error}") from error


def _is_of(preset: Preset, kind: type) -> bool:
    found = preset.model_class()
    return found is not None and issubclass(found, kind)


def _other_class(preset: Preset, kind: type) -> str:
    found = preset.model_class()
    if found is None:
        return (
            f"preset {str(preset.path)!r} is of class {preset.class_name!r:.80}, which "
            "is not known here; import the module that registers it"
        )
    return (
        f"preset {str(preset.path)!r} is a {found.__name__}, which is no "
        f"{kind.__name__}; load it with {found.__name__}.from_preset"
    )


def _checked(preset: Preset) -> dict[str, Any]:
    """Returns a preset's configuration, which names nothing that runs code of a file.

    Raises:
        ValueError: if a file is not the one that was saved, the weights have another
            size than they can have, or the configuration names what it may not.
        OSError: if a file cannot be read.
    """
    text = read_bounded(preset.path / CONFIG, _MOST_JSON)
    weights = preset.path / WEIGHTS
    size, most = weights.stat().st_size, _BYTES * preset.num_parameters + _SPARE
    if not stat.S_ISREG(weights.stat().st_mode):
        raise ValueError(f"{WEIGHTS} is no file")
    if size > most:
        raise ValueError(
            f"{WEIGHTS} has {size:,} bytes, and {most:,} are the most for "
            f"{preset.num_parameters:,} parameters"
        )
    content = {CONFIG: text.encode(), WEIGHTS: weights.read_bytes()}
    for name, found in content.items():
        if preset.digests.get(name) != _digest(found):
            raise ValueError(f"{name} is not the one that {METADATA} was saved with")
    config = json.loads(text)
    if not isinstance(config, dict) or not config.keys() >= set(_OF_ARCHITECTURE):
        raise ValueError(f"{CONFIG} holds no model")
    if config["registered_name"] != preset.class_name:
        raise ValueError(f"{CONFIG} is of another class than {METADATA} says")
    # The class itself is registered here, and was looked at.
    check_config(
        {"config": config["config"]},
        count_weights(io.BytesIO(content[WEIGHTS])),
        USERS_LAYERS,
    )
    return config


def _built(config: Mapping[str, Any]) -> Any:
    """Returns the model of a configuration, of which nothing else is looked at."""
    wanted = {part: config[part] for part in _OF_ARCHITECTURE}
    return keras.saving.deserialize_keras_object(wanted)


def _reseeded(node: Any, seed: int, place: str = "") -> Any:
    """Returns a configuration in which each seed is a function of `seed` and its place.

    An initializer without a seed has one then.
    """
    if isinstance(node, list):
        return [_reseeded(e, seed, f"{place}/{i}") for i, e in enumerate(node)]
    if not isinstance(node, dict):
        return node
    return {
        key: derive_int(seed, place)
        if key == "seed" and (value is None or isinstance(value, int))
        else _reseeded(value, seed, f"{place}/{key}")
        for key, value in node.items()
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
