"""Signatures of an exported model: one function of tensors for each.

A model server joins the rows of several requests into one batch and takes the answer
apart again. So the first axis of every input and output is the batch, a row's answer is
a function of that row alone, seeds are rows too, and whatever a row holds, its answer
is finite. Only a condition that has no features, of an unknown class for example, is an
error: no answer would be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.data import BINARIZATIONS
from tfvae.models import VAE, Batch, SemiSupervisedVAE
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


class Pixels(NamedTuple):
    """The preprocessing of served images, as the model was trained on them.

    Attributes:
        binarization: The binarisation of training; one that draws is drawn where there
            is a seed, and has its most probable value where there is none.
        num_levels: The grey levels of the likelihood, to the nearest of which values
            are moved; None: it has none.
        low: The least value.
        high: The largest value.
    """

    binarization: str
    num_levels: int | None
    low: float = 0.0
    high: float = 1.0

    @property
    def drawn(self) -> bool:
        """True if chance makes the pixels binary."""
        return BINARIZATIONS[self.binarization].draws != "never"

    @property
    def unit(self) -> bool:
        """True if values go from 0 to 1, so that uint8 can stand for them."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def description(self) -> str:
        """The preprocessing in words, for people."""
        bounds = f"[{self.low:g}, {self.high:g}]"
        text = f"NaN becomes 0; values are clipped to {bounds}"
        if self.unit:
            text = f"uint8 is divided by 255; {text}"
        if self.num_levels:
            return f"{text}; the nearest of {self.num_levels} levels is taken"
        if self.binarization == "none":
            return text
        text += "; a pixel is 1 where it is at least 1/2, else 0"
        if self.drawn:
            text += " (score: it is drawn, 1 with its value as probability)"
        return text

    def clean(self, x: tf.Tensor) -> tf.Tensor:
        """Returns images with values in the range, float32, whatever came in."""
        if x.dtype == tf.uint8:
            x = tf.cast(x, tf.float32) / 255.0
        x = tf.where(tf.math.is_nan(x), 0.0, x)
        x = tf.clip_by_value(x, self.low, self.high)
        if self.num_levels:
            last = self.num_levels - 1.0
            x = tf.round(x * last) / last
        return x

    def certain(self, x: tf.Tensor) -> tf.Tensor:
        """Returns images as the model takes them, without chance."""
        how = "threshold" if self.drawn else self.binarization
        return BINARIZATIONS[how].apply(self.clean(x), None)

    def seeded(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns a clean image as the model takes it, drawn if it was in training."""
        return BINARIZATIONS[self.binarization].apply(x, seed)


def signatures_of(vae: VAE, pixels: Pixels, num_samples: int) -> dict[str, Signature]:
    """Returns the signatures of a model, `encode` first.

    A conditional model's have `condition` as their last input, or one input
    `condition_NAME` for each of several.
    """
    image = {"x": tf.TensorSpec([None, *vae.image_shape], tf.float32, "x")}
    z = {"z": tf.TensorSpec([None, *vae.latent.event_shape], tf.float32, "z")}
    seed = {"seed": tf.TensorSpec([None, 2], tf.int32, "seed")}
    condition = condition_specs(vae)
    encode, reconstruct = _encode(vae, pixels), _reconstruct(vae, pixels)
    score = _score(vae, pixels, num_samples)
    found = {
        "encode": Signature(encode, image, "parameters of q(z|x)"),
        "decode": Signature(_decode(vae), z, "the mean of p(x|z)"),
        "reconstruct": Signature(
            reconstruct, image, "the mean of p(x|z) at the centre of q(z|x)"
        ),
        "sample": Signature(
            _sample(vae), seed, "z drawn from the prior, and the mean of p(x|z)"
        ),
        "score": Signature(
            score,
            image | seed,
            f"elbo, L_{num_samples} (iwae), rate and distortion, in nats"
            + (", of p(x|condition)" if condition else ""),
        ),
    }
    found = {
        name: each._replace(inputs={**each.inputs, **condition})
        for name, each in found.items()
    }
    if isinstance(vae, SemiSupervisedVAE):
        found["classify"] = Signature(
            _classify(vae, pixels), image, "q(y|x), the probability of each class"
        )
    if not pixels.unit:
        return found
    raw = {"x": tf.TensorSpec([None, *vae.image_shape], tf.uint8, "x")}
    for name in ("encode", "reconstruct", "score", "classify"):
        if name not in found:
            continue
        given = found[name]
        found[f"{name}_uint8"] = given._replace(
            inputs=dict(given.inputs) | raw,
            description=f"{given.description}; x from 0 to 255",
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


def _encode(vae: VAE, pixels: Pixels) -> Callable[..., Tensors]:
    def encode(x: tf.Tensor, *condition: tf.Tensor) -> Tensors:
        batch = Batch(pixels.certain(x), **_given(vae, condition))
        posterior = vae.encode(batch)
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
    def classify(x: tf.Tensor) -> Tensors:
        return _float32({"probability": vae.class_probability(pixels.certain(x))})

    return classify


def _reconstruct(vae: VAE, pixels: Pixels) -> Callable[..., Tensors]:
    def reconstruct(x: tf.Tensor, *condition: tf.Tensor) -> Tensors:
        batch = Batch(pixels.certain(x), **_given(vae, condition))
        return _float32({"mean": _shaped(vae, vae.reconstruct(batch))})

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


def _score(vae: VAE, pixels: Pixels, num_samples: int) -> Callable[..., Tensors]:
    names = ("elbo", "iwae", "rate", "distortion")

    def score_row(row: tuple) -> Tensors:
        x = pixels.seeded(row[0], derive_seed(row[1], "pixels"))
        one = tf.nest.map_structure(lambda c: c[tf.newaxis], row[2:])
        batch = Batch(x[tf.newaxis], *one)
        terms = vae.log_weight_terms(batch, num_samples, row[1])  # [K, 1]
        log_weights = tf.cast(terms.sampled_log_weights(), tf.float32)
        rate = tf.reduce_mean(terms.rate, axis=0)
        distortion = -tf.reduce_mean(terms.log_likelihood, axis=0)
        bounds = (Elbo().value(log_weights), Iwae().value(log_weights))
        values = (*bounds, rate, distortion)
        return {
            n: tf.cast(v[0], tf.float32) for n, v in zip(names, values, strict=True)
        }

    def score(x: tf.Tensor, seed: tf.Tensor, *condition: tf.Tensor) -> Tensors:
        spec = {name: tf.TensorSpec([], tf.float32) for name in names}
        rows = (pixels.clean(x), seed, *_given(vae, condition).values())
        return tf.map_fn(score_row, rows, fn_output_signature=spec)

    return score


def _shaped(vae: VAE, mean: tf.Tensor) -> tf.Tensor:
    """Returns a mean with a static shape, which not every distribution gives it."""
    return tf.ensure_shape(mean, [None, *vae.image_shape])


def _float32(tensors: Tensors) -> Tensors:
    return {name: tf.cast(tensor, tf.float32) for name, tensor in tensors.items()}
