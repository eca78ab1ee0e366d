"""What a page shows of a model, and what of it a hand may move."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.conditions import Condition
from tfvae.core.types import InputError
from tfvae.evaluation.traversals import prior_quantiles
from tfvae.models import VAE

_LEVELS = np.array([0.005, 0.5, 0.995])  # of the prior: a slider's ends and its middle
_FIELDS = 16  # numbers of a condition that a page has fields for
_ORDERED = 256  # variables of which each is moved; more stay in their order
_CLASSES = 64  # conditions over which sliders reach


def shown_of(vae: VAE, low: float, high: float) -> dict[str, Any]:
    """Returns how the mean of p(x|z) is shown: as an image, or as values with names."""
    shape = vae.data_shape
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
        size = list(shape if len(shape) == 3 else (*shape, 1))
        return {"kind": "image", "shape": size, "low": low, "high": high}
    columns = getattr(vae.decoder.head, "columns", None)
    if columns is None:
        names = [f"x{number}" for number in range(1, math.prod(shape) + 1)]
        return {"kind": "values", "names": names, "labels": [[]] * len(names)}
    return {
        "kind": "values",
        "names": [column.name for column in columns],
        "labels": [[str(c) for c in getattr(k, "categories", ())] for k in columns],
    }


def conditions_of(vae: VAE) -> list[dict[str, Any]]:
    """Returns the controls of a condition, one for each of its parts.

    Raises:
        InputError: if a part has more numbers than a page has fields for.
    """
    if vae.condition is None:
        return []
    parts = getattr(vae.condition, "parts", {"": vae.condition})
    return [_control(name, part) for name, part in parts.items()]


def _control(name: str, part: Condition) -> dict[str, Any]:
    title = name or "condition"
    count = getattr(part, "num_classes", None)
    if count is not None:
        names = getattr(part, "names", None) or range(count)
        return {
            "kind": "class",
            "name": name or "class",
            "names": list(map(str, names)),
        }
    size = math.prod(part.event_shape)
    if size > _FIELDS:
        raise InputError(
            f"the {title} is a {type(part).__name__} of {size} numbers, and a page has "
            f"fields for {_FIELDS}; write a SavedModel with "
            "tfvae.export.export_saved_model"
        )
    start = np.broadcast_to(getattr(part, "mean", 0.0), [size])
    return {"kind": "numbers", "name": title, "start": start.tolist()}


def variables_of(vae: VAE, decode: Callable[..., np.ndarray]) -> dict[str, Any]:
    """Returns the controls of z: its kind, and its variables.

    The kind is "ordered" (sliders, or toggles for bits), "classes" (one choice of K for
    each of D variables) or "none", where no variable can be moved alone. Ordered ones
    come by how far the mean moves while they go through most of the prior.

    Args:
        vae: The model.
        decode: z [1, ...] and the parts of a condition -> the mean.
    """
    shape = list(vae.latent.event_shape)
    found: dict[str, Any] = {"kind": "none", "shape": shape, "variables": []}
    ends = _ends(vae)
    if ends is None:
        one_hot = len(shape) == 2 and not vae.latent.reparameterised
        return {**found, "kind": "classes" if one_hot else "none"}
    is_bit = np.isin(ends, (0.0, 1.0)).all()
    variables = [
        {"index": index, "ends": row.tolist(), "bit": bool(is_bit)}
        for index, row in enumerate(ends.T)
    ]
    order = np.argsort(-_effects(vae, decode, ends), kind="stable")
    return {**found, "kind": "ordered", "variables": [variables[i] for i in order]}


def _ends(vae: VAE) -> np.ndarray | None:
    """Returns least, middle and largest values [3, D] of variables under the prior.

    Under p(z|c) they are those of all classes together.
    """
    condition = vae.condition
    if condition is None:
        asked: Sequence[Any] = [None]
    elif vae.prior_layer is None or not vae.prior_layer.conditional:
        asked = [condition.blank(1)]
    else:
        count = min(getattr(condition, "num_classes", 1), _CLASSES)
        blank = condition.blank(1)
        asked = (
            [blank]
            if count == 1
            else [tf.constant([c], tf.int64) for c in range(count)]
        )
    found = [prior_quantiles(vae, _LEVELS, 0, each) for each in asked]
    if found[0] is None:
        return None
    values = np.stack([np.asarray(q, np.float64) for q in found])  # [C, 3, D]
    if values.ndim != 3:
        return None
    low, middle, high = values[:, 0].min(0), values[:, 1].mean(0), values[:, 2].max(0)
    return np.stack([low, middle, high])


def _effects(
    vae: VAE, decode: Callable[..., np.ndarray], ends: np.ndarray
) -> np.ndarray:
    """Returns the root mean square [D] by which the mean moves with each variable."""
    size = ends.shape[1]
    if size > _ORDERED:
        return np.zeros([size])
    blank = [] if vae.condition is None else vae.condition.blank(1)
    asked = [each.numpy() for each in tf.nest.flatten(blank)]

    def mean_at(index: int, value: float) -> np.ndarray:
        z = ends[1].copy()
        z[index] = value
        return decode(z[np.newaxis], *asked).astype(np.float64)

    moved = [mean_at(i, ends[2, i]) - mean_at(i, ends[0, i]) for i in range(size)]
    with np.errstate(invalid="ignore"):
        return np.nan_to_num([math.sqrt(np.mean(np.square(each))) for each in moved])
