"""Signatures whose noise is an input, with requests that TensorFlow has answered.

A runtime without random operations serves them. Where a SavedModel is given a seed,
they are given the noise that this seed draws, and answer the same.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.distributions import draws as noise
from tfvae.export.drawings import Drawing, Draws, Roles
from tfvae.export.noise import Layout, noise_inputs, noise_of_row
from tfvae.export.pixels import Pixels
from tfvae.export.signatures import (
    Signature,
    class_names,
    condition_parts,
    drawings_of,
    signatures_of,
)
from tfvae.models import VAE

Arrays = dict[str, np.ndarray]


class Anywhere(NamedTuple):
    """What is served without random operations.

    Attributes:
        signatures: A name -> the function, whose draws are inputs.
        requests: A name -> recorded inputs, [n, ...] each.
        answers: A name -> what TensorFlow answers from the seeds of the rows.
        laws: A name -> the laws of its inputs of noise, by input.
        classes: An input -> the names of the classes whose numbers it takes.
    """

    signatures: Mapping[str, Signature]
    requests: Mapping[str, Arrays]
    answers: Mapping[str, Arrays]
    laws: Mapping[str, Mapping[str, str]]
    classes: Mapping[str, Sequence[str]]


def anywhere(
    vae: VAE,
    pixels: Pixels,
    num_samples: int,
    seeded: Mapping[str, Signature],
    asked: Mapping[str, Mapping[str, np.ndarray]],
) -> Anywhere:
    """Returns the signatures of a model with noise as inputs.

    Args:
        vae: The model.
        pixels: The preprocessing.
        num_samples: K of `score`.
        seeded: The signatures with seeds.
        asked: Their recorded inputs.

    Raises:
        InputError: if noise cannot be given for the draws of the model.
    """
    found: dict[str, tuple[Draws, list[Layout]]] = {}
    for name, (drawing, _) in drawings_of(vae, pixels, num_samples).items():
        if drawing.by_law:
            found[name] = noise_inputs(
                functools.partial(_drawing, vae, pixels, name),
                functools.partial(_some_roles, vae, drawing),
                num_samples,
            )
    order = iter(found.values())  # as `drawings_of` has them
    signatures = signatures_of(
        vae, pixels, num_samples, draws_of=lambda drawing: next(order)[0]
    )
    requests: dict[str, Arrays] = {}
    answers: dict[str, Arrays] = {}
    for name, signature in signatures.items():
        rows = _rows_of(seeded[name], asked[name], found.get(name), num_samples)
        given, told = (_stacked([row[i] for row in rows]) for i in (0, 1))
        given |= _codes(vae, given)
        requests[name] = {key: given[key] for key in signature.inputs}
        answers[name] = {k: v for k, v in told.items() if k != "p_value"}
    laws = {
        name: dict(zip(draws.inputs, (each.law.text for each in layouts), strict=True))
        for name, (draws, layouts) in found.items()
    }
    return Anywhere(signatures, requests, answers, laws, _named_classes(vae))


def _rows_of(
    signature: Signature,
    asked: Mapping[str, np.ndarray],
    noisy: tuple[Draws, list[Layout]] | None,
    num_samples: int,
) -> list[tuple[Arrays, Arrays]]:
    """Returns each row's inputs, with its seed's noise, and TensorFlow's answer."""
    found = []
    for row in range(len(next(iter(asked.values())))):
        one = {key: value[row : row + 1] for key, value in asked.items()}
        served = [tf.constant(one[key], s.dtype) for key, s in signature.inputs.items()]
        with noise.recorded() as drawn:
            told = signature.function(*served)
        if noisy is not None:
            draws, layouts = noisy
            values = noise_of_row(layouts, drawn, num_samples)
            named = zip(draws.inputs, values, strict=True)
            one |= {key: value[np.newaxis] for key, value in named}
        found.append((one, {key: value.numpy() for key, value in told.items()}))
    return found


def _named_classes(vae: VAE) -> dict[str, Sequence[str]]:
    """Returns the names of classes, by the input of a condition that has names."""
    return {
        name: names
        for name, part in condition_parts(vae).items()
        if (names := class_names(part)) is not None
    }


def _codes(vae: VAE, served: Mapping[str, np.ndarray]) -> Arrays:
    """Returns the numbers of the classes that are served by their names."""
    parts = condition_parts(vae)
    return {
        name: parts[name].read(served[name]).numpy()
        for name in _named_classes(vae)
        if name in served
    }


def _drawing(vae: VAE, pixels: Pixels, name: str, num_samples: int) -> Drawing:
    return drawings_of(vae, pixels, num_samples)[name][0]


def _stacked(rows: list[Arrays]) -> Arrays:
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def _some_roles(vae: VAE, drawing: Drawing, rows: int) -> Roles:
    roles: dict[str, Any] = {}
    if vae.condition is not None:
        roles["condition"] = tf.nest.map_structure(
            tf.convert_to_tensor, vae.condition.examples(rows)
        )
    if drawing.of_x:
        roles["x"] = tf.fill([rows, *vae.image_shape], 0.5)
        if vae.missing is not None:
            roles["observed"] = tf.fill([rows, *vae.image_shape], True)
    return roles
