"""Signatures of an exported model: one function of tensors for each.

A model server joins the rows of several requests into one batch and takes the answer
apart again. So the first axis of every input and output is the batch, a row's answer is
a function of that row alone, seeds are rows too, and whatever a row holds, its answer
is finite. An error is only what no answer would be right for: a condition that has no
features, of an unknown class for example, and a NaN that is called observed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.conditions import Condition, Several
from tfvae.export.drawings import (
    BY_SEEDS,
    Drawing,
    Draws,
    Roles,
    Tensors,
    float32,
    imputing,
    sampling,
    scoring,
)
from tfvae.export.pixels import Pixels
from tfvae.models import VAE, Batch, SemiSupervisedVAE


class Signature(NamedTuple):
    """A function that an exported model serves.

    Attributes:
        function: The function of tensors by name, which returns tensors by name.
        inputs: A name -> the tensor's shape and dtype.
        description: One line for people.
    """

    function: Callable[..., Tensors]
    inputs: Mapping[str, tf.TensorSpec]
    description: str


def signatures_of(
    vae: VAE,
    pixels: Pixels,
    num_samples: int,
    calibration: np.ndarray | None = None,
    draws_of: Callable[[Drawing], Draws] | None = None,
) -> dict[str, Signature]:
    """Returns the signatures of a model, `encode` first.

    Where values may be missing, those that take x take `observed` with it. A
    conditional model's have `condition` as their last input, or one input
    `condition_NAME` for each of several. With a `calibration`, the scores [n] of
    held-out images in order, `score` has p-values.

    `draws_of` has the inputs from which an answer draws; None: a seed for each row.
    With others there are no signatures of uint8, and none whose draws are not of noise,
    and the names of classes are their numbers.
    """
    found = _without_mask(vae, pixels, num_samples, calibration, draws_of)
    if vae.missing is not None:
        found = {name: _with_observed(each) for name, each in found.items()}
    if draws_of is not None or not pixels.unit:
        return found
    return {**found, **_of_uint8(found)}


def _without_mask(
    vae: VAE,
    pixels: Pixels,
    num_samples: int,
    calibration: np.ndarray | None,
    draws_of: Callable[[Drawing], Draws] | None,
) -> dict[str, Signature]:
    """Returns the signatures of floats, of which none has the input `observed` yet."""
    image = {"x": tf.TensorSpec([None, *vae.image_shape], tf.float32, "x")}
    z = {"z": tf.TensorSpec([None, *vae.latent.event_shape], tf.float32, "z")}
    found = {
        "encode": Signature(_encode(vae, pixels), image, "parameters of q(z|x)"),
        "decode": Signature(_decode(vae), z, "the mean of p(x|z)"),
        "reconstruct": Signature(
            _reconstruct(vae, pixels),
            image,
            "the mean of p(x|z) at the centre of q(z|x)",
        ),
    }
    drawings = drawings_of(vae, pixels, num_samples, calibration)
    for name, (drawing, description) in drawings.items():
        if draws_of is not None and not drawing.by_law:
            continue
        draws = BY_SEEDS if draws_of is None else draws_of(drawing)
        found[name] = Signature(
            _drawn(vae, pixels, drawing, draws),
            {**(image if drawing.of_x else {}), **draws.inputs},
            description,
        )
    condition = condition_specs(vae, coded=draws_of is not None)
    found = {
        name: each._replace(inputs={**each.inputs, **condition})
        for name, each in found.items()
    }
    if isinstance(vae, SemiSupervisedVAE):
        found["classify"] = Signature(
            _classify(vae, pixels), image, "q(y|x), the probability of each class"
        )
    return found


def drawings_of(
    vae: VAE,
    pixels: Pixels,
    num_samples: int,
    calibration: np.ndarray | None = None,
) -> dict[str, tuple[Drawing, str]]:
    """Returns the answers that have draws, by the signature's name, with a line."""
    given = "" if vae.condition is None else ", of p(x|condition)"
    known = "" if calibration is None else "; p_value among held-out images"
    found: dict[str, tuple[Drawing, str]] = {
        "sample": (
            sampling(vae, functools.partial(_shaped, vae)),
            "z drawn from the prior, and the mean of p(x|z)",
        ),
        "score": (
            scoring(vae, pixels, num_samples, calibration),
            f"elbo, L_{num_samples} (iwae), rate and distortion, in nats{given}{known}",
        ),
    }
    if vae.missing is not None:
        found["impute"] = (
            imputing(vae, pixels, num_samples),
            f"mean and a draw of what is missing given the rest{given}, and ess, the "
            f"effective sample size of {num_samples} importance samples",
        )
    return found


def _drawn(
    vae: VAE, pixels: Pixels, drawing: Drawing, draws: Draws
) -> Callable[..., Tensors]:
    """Returns a signature's function: x and its mask if any, draws, and condition."""

    def function(*served: tf.Tensor) -> Tensors:
        before = 0
        if drawing.of_x:
            before = 1 if vae.missing is None else 2  # observed comes before the draws
        after = before + len(draws.inputs)
        roles: Roles = _given(vae, served[after:])
        if drawing.of_x:
            observed = served[1] if before == 2 else None
            roles["x"] = pixels.clean(served[0], observed)
            if observed is not None:
                roles["observed"] = observed
        return draws.answer(drawing, roles, served[before:after])

    return function


def _with_observed(signature: Signature) -> Signature:
    """Returns a signature of which the mask is the first input after x, if it has x."""
    if "x" not in signature.inputs:
        return signature
    spec = tf.TensorSpec(signature.inputs["x"].shape, tf.bool, "observed")
    x = {"x": signature.inputs["x"], "observed": spec}
    return signature._replace(
        inputs=x | dict(signature.inputs),
        description=f"{signature.description}; x is missing where observed is False",
    )


def _of_uint8(signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """Returns the signatures of bytes in the place of those of floats."""
    found = {}
    for name, each in signatures.items():
        if "x" not in each.inputs:
            continue
        raw = {"x": tf.TensorSpec(each.inputs["x"].shape, tf.uint8, "x")}
        found[f"{name}_uint8"] = each._replace(
            inputs=dict(each.inputs) | raw,
            description=f"{each.description}; x from 0 to 255",
        )
    return found


def condition_parts(vae: VAE) -> dict[str, Condition]:
    """Returns a model's conditions by the inputs that they are served as."""
    if vae.condition is None:
        return {}
    if not isinstance(vae.condition, Several):
        return {"condition": vae.condition}
    return {f"condition_{key}": part for key, part in vae.condition.parts.items()}


def class_names(part: Condition) -> Sequence[str] | None:
    """Returns the names by which a condition's classes are served; None: no names."""
    return getattr(part, "names", None)


def condition_specs(vae: VAE, coded: bool = False) -> dict[str, tf.TensorSpec]:
    """Returns the inputs that a condition is served as, by name.

    With `coded` a class that has a name is its number: not every runtime has texts.
    """
    found = {}
    for name, part in condition_parts(vae).items():
        spec = part.served_spec()
        by_number = coded and class_names(part) is not None
        dtype = part.read_dtype if by_number else spec.dtype
        found[name] = tf.TensorSpec(spec.shape, dtype, name)
    return found


def _given(vae: VAE, served: Sequence[tf.Tensor]) -> dict[str, Any]:
    """Returns the role `condition` from what is served, in the order of its names."""
    if vae.condition is None:
        return {}
    spec = vae.condition.served_spec()
    value = dict(zip(spec, served, strict=True)) if isinstance(spec, Mapping) else None
    return {"condition": served[0] if value is None else value}


def _roles(vae: VAE, served: Sequence[tf.Tensor]) -> dict[str, Any]:
    """Returns the roles beside x from what is served after it: mask and condition."""
    if vae.missing is None:
        return _given(vae, served)
    return {"observed": served[0], **_given(vae, served[1:])}


def _certain(
    vae: VAE, pixels: Pixels, x: tf.Tensor, served: Sequence[tf.Tensor]
) -> Batch:
    """Returns served images as a batch, without chance."""
    roles = _roles(vae, served)
    return Batch(pixels.certain(x, roles.get("observed")), **roles)


def _encode(vae: VAE, pixels: Pixels) -> Callable[..., Tensors]:
    def encode(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        posterior = vae.encode(_certain(vae, pixels, x, served))
        return float32(vae.encoder.head.named_params(posterior))

    return encode


def _decode(vae: VAE) -> Callable[..., Tensors]:
    low, high = vae.latent.serving_clip

    def decode(z: tf.Tensor, *condition: tf.Tensor) -> Tensors:
        z = tf.where(tf.math.is_nan(z), 0.0, z)
        z = tf.cast(tf.clip_by_value(z, low, high), vae.compute_dtype)
        mean = vae.decode(z, **_given(vae, condition)).mean()
        return float32({"mean": _shaped(vae, mean)})

    return decode


def _classify(vae: SemiSupervisedVAE, pixels: Pixels) -> Callable[..., Tensors]:
    def classify(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        roles = {"observed": served[0]} if served else {}
        batch = vae.as_batch(Batch(pixels.certain(x, *served), **roles))
        return float32({"probability": vae.class_probability(batch.x)})

    return classify


def _reconstruct(vae: VAE, pixels: Pixels) -> Callable[..., Tensors]:
    def reconstruct(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        mean = vae.reconstruct(_certain(vae, pixels, x, served))
        return float32({"mean": _shaped(vae, mean)})

    return reconstruct


def _shaped(vae: VAE, mean: tf.Tensor) -> tf.Tensor:
    """Returns a mean with a static shape, which not every distribution gives it."""
    mean.set_shape([None, *vae.image_shape])  # LiteRT has no EnsureShape
    return mean
