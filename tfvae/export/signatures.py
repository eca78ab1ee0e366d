"""Signatures of an exported model: one function of tensors for each.

A model server joins the rows of several requests into one batch and takes the answer
apart again. So the first axis of every input and output is the batch, a row's answer is
a function of that row alone, seeds are rows too, and whatever a row holds, its answer
is finite. An error is only what no answer would be right for: a condition that has no
features, of an unknown class for example, and a NaN that is called observed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.export.calibrated import p_values_of
from tfvae.export.pixels import Pixels
from tfvae.models import VAE, Batch, SemiSupervisedVAE
from tfvae.models.imputation import impute_batch
from tfvae.objectives import Elbo, Iwae

Tensors = dict[str, tf.Tensor]


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
) -> dict[str, Signature]:
    """Returns the signatures of a model, `encode` first.

    Where values may be missing, those that take x take `observed` with it. A
    conditional model's have `condition` as their last input, or one input
    `condition_NAME` for each of several. With a `calibration`, the scores [n] of
    held-out images in order, `score` has p-values.
    """
    found = _without_mask(vae, pixels, num_samples, calibration)
    if vae.missing is not None:
        found = {name: _with_observed(each) for name, each in found.items()}
    return {**found, **_of_uint8(found)} if pixels.unit else found


def _without_mask(
    vae: VAE, pixels: Pixels, num_samples: int, calibration: np.ndarray | None
) -> dict[str, Signature]:
    """Returns the signatures of floats, of which none has the input `observed` yet."""
    image = {"x": tf.TensorSpec([None, *vae.image_shape], tf.float32, "x")}
    z = {"z": tf.TensorSpec([None, *vae.latent.event_shape], tf.float32, "z")}
    seed = {"seed": tf.TensorSpec([None, 2], tf.int32, "seed")}
    condition = condition_specs(vae)
    classify = {}
    if isinstance(vae, SemiSupervisedVAE):
        classify["classify"] = Signature(
            _classify(vae, pixels), image, "q(y|x), the probability of each class"
        )
    found = {
        "encode": Signature(_encode(vae, pixels), image, "parameters of q(z|x)"),
        "decode": Signature(_decode(vae), z, "the mean of p(x|z)"),
        "reconstruct": Signature(
            _reconstruct(vae, pixels),
            image,
            "the mean of p(x|z) at the centre of q(z|x)",
        ),
        "sample": Signature(
            _sample(vae), seed, "z drawn from the prior, and the mean of p(x|z)"
        ),
        **_with_seeds(vae, pixels, num_samples, calibration, image | seed),
    }
    found = {
        name: each._replace(inputs={**each.inputs, **condition})
        for name, each in found.items()
    }
    return {**found, **classify}


def _with_seeds(
    vae: VAE,
    pixels: Pixels,
    num_samples: int,
    calibration: np.ndarray | None,
    inputs: Mapping[str, tf.TensorSpec],
) -> dict[str, Signature]:
    """Returns the signatures of images and the seeds of importance samples."""
    given = "" if vae.condition is None else ", of p(x|condition)"
    known = "" if calibration is None else "; p_value among held-out images"
    found = {
        "score": Signature(
            _score(vae, pixels, num_samples, calibration),
            inputs,
            f"elbo, L_{num_samples} (iwae), rate and distortion, in nats{given}{known}",
        )
    }
    if vae.missing is not None:
        found["impute"] = Signature(
            _impute(vae, pixels, num_samples),
            inputs,
            f"mean and a draw of what is missing given the rest{given}, and ess, the "
            f"effective sample size of {num_samples} importance samples",
        )
    return found


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


def condition_specs(vae: VAE) -> dict[str, tf.TensorSpec]:
    """Returns the inputs that a condition is served as, by name."""
    if vae.condition is None:
        return {}
    spec = vae.condition.served_spec()
    if not isinstance(spec, Mapping):
        spec = {"": spec}
    named = {f"condition_{key}".rstrip("_"): each for key, each in spec.items()}
    return {
        name: tf.TensorSpec(each.shape, each.dtype, name)
        for name, each in named.items()
    }


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
        return _float32(vae.encoder.head.named_params(posterior))

    return encode


def _decode(vae: VAE) -> Callable[..., Tensors]:
    low, high = vae.latent.serving_clip

    def decode(z: tf.Tensor, *condition: tf.Tensor) -> Tensors:
        z = tf.where(tf.math.is_nan(z), 0.0, z)
        z = tf.cast(tf.clip_by_value(z, low, high), vae.compute_dtype)
        mean = vae.decode(z, **_given(vae, condition)).mean()
        return _float32({"mean": _shaped(vae, mean)})

    return decode


def _classify(vae: SemiSupervisedVAE, pixels: Pixels) -> Callable[..., Tensors]:
    def classify(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        roles = {"observed": served[0]} if served else {}
        batch = vae.as_batch(Batch(pixels.certain(x, *served), **roles))
        return _float32({"probability": vae.class_probability(batch.x)})

    return classify


def _reconstruct(vae: VAE, pixels: Pixels) -> Callable[..., Tensors]:
    def reconstruct(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        mean = vae.reconstruct(_certain(vae, pixels, x, served))
        return _float32({"mean": _shaped(vae, mean)})

    return reconstruct


def _sample(vae: VAE) -> Callable[..., Tensors]:
    def sample(seed: tf.Tensor, *condition: tf.Tensor) -> Tensors:
        given = _given(vae, condition)
        if given:
            given["condition"] = vae.condition.read(given["condition"])

        def draw(row: tuple) -> tf.Tensor:
            one = tf.nest.map_structure(lambda c: c[tf.newaxis], row[1:])
            seed = derive_seed(row[0], "prior")
            return vae.draw_prior([1], seed, *one)[0]

        rows = (seed, *given.values())
        spec = tf.TensorSpec(None, vae.compute_dtype)
        # [B, D], each row what vae.sample(1, seed) draws
        z = tf.map_fn(draw, rows, fn_output_signature=spec)
        z.set_shape([None, *vae.latent.event_shape])
        return _float32({"z": z, "mean": _shaped(vae, vae.decode(z, **given).mean())})

    return sample


def _row_by_row(
    vae: VAE,
    pixels: Pixels,
    answer: Callable[[Batch, tf.Tensor], Tensors],
    spec: Mapping[str, tf.TensorSpec],
) -> Callable[..., Tensors]:
    """Returns a signature's function of images with seeds, drawn as in training.

    `answer` is given a batch of one image and its seed.
    """

    def answer_row(row: tuple) -> Tensors:
        x = pixels.seeded(row[0], derive_seed(row[1], "pixels"))
        roles = tf.nest.map_structure(lambda value: value[tf.newaxis], row[2])
        return answer(Batch(x[tf.newaxis], **roles), row[1])

    def function(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        place = 0 if vae.missing is None else 1  # observed comes before the seed
        seed = served[place]
        roles = _roles(vae, [*served[:place], *served[place + 1 :]])
        rows = (pixels.clean(x, roles.get("observed")), seed, roles)
        return tf.map_fn(answer_row, rows, fn_output_signature=dict(spec))

    return function


def _score(
    vae: VAE, pixels: Pixels, num_samples: int, calibration: np.ndarray | None
) -> Callable[..., Tensors]:
    names = ("elbo", "iwae", "rate", "distortion")
    spec = {name: tf.TensorSpec([], tf.float32) for name in names}
    if calibration is not None:
        spec["strangeness"] = tf.TensorSpec([], tf.float64)

    def score_one(batch: Batch, seed: tf.Tensor) -> Tensors:
        terms = vae.log_weight_terms(batch, num_samples, seed)  # [K, 1]
        sampled = terms.sampled_log_weights()
        log_weights = tf.cast(sampled, tf.float32)
        rate = tf.reduce_mean(terms.rate, axis=0)
        distortion = -tf.reduce_mean(terms.log_likelihood, axis=0)
        bounds = (Elbo().value(log_weights), Iwae().value(log_weights))
        values = (*bounds, rate, distortion)
        found = {
            n: tf.cast(v[0], tf.float32) for n, v in zip(names, values, strict=True)
        }
        if calibration is not None:
            found["strangeness"] = -Iwae().value(tf.cast(sampled, tf.float64))[0]
        return found

    scored = _row_by_row(vae, pixels, score_one, spec)
    if calibration is None:
        return scored

    def score(x: tf.Tensor, *served: tf.Tensor) -> Tensors:
        found = scored(x, *served)
        found["p_value"] = p_values_of(calibration, found.pop("strangeness"))
        return _float32(found)

    return score


def _impute(vae: VAE, pixels: Pixels, num_samples: int) -> Callable[..., Tensors]:
    image = tf.TensorSpec(vae.image_shape, tf.float32)
    spec = {"mean": image, "draw": image, "ess": tf.TensorSpec([], tf.float32)}

    def impute_one(batch: Batch, seed: tf.Tensor) -> Tensors:
        batch = vae.with_condition(batch)
        mean, draws, ess, *_ = impute_batch(vae, batch, num_samples, 1, seed)
        return _float32({"mean": mean[0], "draw": draws[0, 0], "ess": ess[0]})

    return _row_by_row(vae, pixels, impute_one, spec)


def _shaped(vae: VAE, mean: tf.Tensor) -> tf.Tensor:
    """Returns a mean with a static shape, which not every distribution gives it."""
    return tf.ensure_shape(mean, [None, *vae.image_shape])


def _float32(tensors: Tensors) -> Tensors:
    return {name: tf.cast(tensor, tf.float32) for name, tensor in tensors.items()}
