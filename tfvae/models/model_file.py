"""The check of a file of a model, or of a preset, before Keras reads it.

Keras itself refuses to run code of a file, but unpacks up to 4 GiB, builds layers of
any size, and knows layers that read other files.
"""

import contextlib
import functools
import io
import json
import math
import warnings
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tfvae.core.types import InputError, first_line
from tfvae.networks import NETWORKS, augmented_classifier

_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
# Keras does not compress. Who has packed a file again has gained less than this.
_RATIO, _SPARE = 4, 64 << 20
_MOST_JSON = 8 << 20  # of configurations; ours have some 10 KiB
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a limit
_KERAS_MODULES = (
    "keras.initializers",
    "keras.optimizers",
    "keras.optimizers.schedules",
)
_CLASSES = ("__keras_tensor__", "Functional")
# Layers of networks that users write: they read no files, run no code of a file, and
# have no size that their weights or their inputs do not have.
USERS_LAYERS = frozenset(
    "Activation AveragePooling2D BatchNormalization GlobalAveragePooling2D "
    "GroupNormalization LayerNormalization LeakyReLU MaxPooling2D ReLU "
    "Sequential".split()
)
_OURS = "tfvae>"
_MODELS = ("tfvae>VAE", "tfvae>SemiSupervisedVAE")
_SIZES = (
    *("units", "filters", "latent_size", "num_classes", "num_components", "num_flows"),
    *("hidden_sizes", "event_shape", "batch_shape", "target_shape"),
)


@contextlib.contextmanager
def damage_is_said(
    path: Path, advice: str, passing: type[Exception] | tuple[()] = ()
) -> Iterator[None]:
    """Turns any error of reading a model into one line.

    Args:
        path: What is read.
        advice: What to do about it.
        passing: Errors that say themselves what is wrong.

    Raises:
        InputError: if anything went wrong, or weights were left out.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns of weights that it could not load, and goes on.
            warnings.simplefilter("error", UserWarning)
            yield
    except passing:
        raise
    except (Exception, UserWarning) as error:  # a file can be wrong in any way
        raise InputError(
            f"{str(path)!r} is damaged or of another model ({first_line(error, 200)}); "
            f"{advice}"
        ) from error


def check_model_file(path: Path) -> None:
    """Refuses a model file that is not one that a run has written.

    At most 64 MiB and four times the file's size are unpacked, whatever it promises.

    Raises:
        ValueError: if it is no such file, promises more than it has, or names classes
            that no run's model has; the message says which.
        OSError: if it cannot be read.
    """
    if not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        _check_members(archive, path.stat().st_size)
        for name in _MEMBERS[:2]:
            if archive.getinfo(name).file_size > _MOST_JSON:
                raise ValueError(f"{name} is longer than {_MOST_JSON:,} bytes")
        archive.read(_MEMBERS[0])  # compares its checksum
        config = json.loads(archive.read(_MEMBERS[1]))
        weights = io.BytesIO(archive.read(_MEMBERS[2]))
    if not isinstance(config, dict) or config.get("registered_name") not in _MODELS:
        raise ValueError("it holds no VAE")
    check_config(config, count_weights(weights))


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    names = sorted(entry.filename for entry in archive.infolist())
    if names != sorted(_MEMBERS):
        strange = [name for name in names if name not in _MEMBERS]
        missing = [name for name in _MEMBERS if name not in names]
        if strange or missing:
            what = f"holds {strange[0]!r:.60}" if strange else f"lacks {missing[0]!r}"
        else:
            what = "holds a part twice"
        raise ValueError(f"it {what}")
    for entry in archive.infolist():
        if entry.compress_type not in _PACKINGS:
            raise ValueError(f"{entry.filename} is packed in an unknown way")
    promised = sum(entry.file_size for entry in archive.infolist())
    if promised > _RATIO * size + _SPARE:
        raise ValueError(f"it has {size:,} bytes and promises {promised:,}")


def count_weights(file: io.BytesIO) -> int:
    """Returns how many numbers an HDF5 file has.

    Raises:
        ValueError: if some lie elsewhere, or are only promised.
        OSError: if it is no HDF5 file.
    """
    arrays: list[h5py.Dataset] = []
    with h5py.File(file) as root:

        def look(name: str, link: object) -> str | None:
            """Stops at a link; h5py swallows exceptions of this function."""
            if not isinstance(link, h5py.HardLink):
                return name
            if isinstance(root[name], h5py.Dataset):
                arrays.append(root[name])
            return None

        linked = root.visititems_links(look)
        if linked is not None:
            raise ValueError(f"its weights have a link, {linked!r:.60}")
        for array in arrays:
            if array.external or array.is_virtual or array.dtype.hasobject:
                raise ValueError(f"its weights {array.name!r:.60} are no plain array")
        promised = sum(array.nbytes for array in arrays)
        here = len(file.getbuffer())
        if promised > here:
            raise ValueError(
                f"its weights have {here:,} bytes and promise {promised:,}"
            )
        return sum(math.prod(array.shape) for array in arrays)


def check_config(
    config: Any, num_weights: int, also: Collection[str] = frozenset()
) -> None:
    """Refuses a model's configuration that names what it may not.

    Args:
        config: What `json.loads` has read.
        num_weights: The numbers of the model's weights, which no size exceeds.
        also: Names in `keras.layers` that are let through beside `network_layers`.

    Raises:
        ValueError: if it names another class than those of this package and of
            networks, or a size that the weights cannot have.
    """
    allowed = network_layers() | frozenset(also)
    for node in _mappings(config):
        if "class_name" in node:
            _check_class(node, allowed)
        for name in _SIZES:
            if not _fits(node.get(name), num_weights):
                raise ValueError(
                    f"it asks for {name} {node[name]!r:.40} and has {num_weights:,} "
                    "weights"
                )


def _check_class(node: dict[str, Any], layers: Collection[str]) -> None:
    name, module = node["class_name"], node.get("module")
    if name in _CLASSES or module in _KERAS_MODULES:
        return
    if module == "keras" and name == "DTypePolicy":
        return
    if module in ("keras", "keras.layers") and name in layers:
        return
    registered = node.get("registered_name")
    if isinstance(registered, str) and registered.startswith(_OURS):
        if keras.saving.get_registered_object(registered) is not None:
            return
    raise ValueError(
        f"it holds a {name!r:.40} of {module!r:.40}, which is not let through"
    )


@functools.cache
def network_layers() -> frozenset[str]:
    """Returns the names in `keras.layers` of the layers that networks are made of.

    Some of Keras' other layers read files, or run a file's code.
    """
    kinds: set[type] = {keras.layers.LeakyReLU}  # an activation with a slope
    for network in NETWORKS.values():
        # Two stages to an image of odd size: every kind of layer has its place.
        image, code, sizes = (3, 3, 1), (2,), (1, 1)
        for built in (
            network.encoder(
                image, code, sizes, condition_shape=(2,), input_mean=np.zeros(image)
            ),
            network.decoder(code, image, sizes, condition_shape=(2,)),
        ):
            kinds |= {type(layer) for layer in built.layers}
    kinds |= {type(layer) for layer in augmented_classifier((3, 3, 1), 2).layers}
    names = {kind.__name__: kind for kind in kinds}
    return frozenset(n for n in names if getattr(keras.layers, n, None) is names[n])


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Yields every JSON object in a tree, without recursion."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _fits(value: Any, most: int) -> bool:
    """Returns whether a size, or each of a shape, is one that the weights can have."""
    sizes = value if isinstance(value, list) else [value]
    return all(size is None or (type(size) is int and size <= most) for size in sizes)
