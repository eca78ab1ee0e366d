"""Answers that have draws, and the two ways to draw them: from seeds, or from noise.

A body answers for any number of rows at once. A SavedModel's rows have a seed each and
are answered one by one, since a row's draws must not depend on those beside it; rows
with noise of their own are answered together, without a random operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.export.calibrated import p_values_of
from tfvae.export.pixels import Pixels
from tfvae.models import VAE, Batch
from tfvae.models.imputation import impute_batch
from tfvae.objectives import Elbo, Iwae

Tensors = dict[str, tf.Tensor]
Roles = dict[str, Any]


class Drawing(NamedTuple):
    """An answer that has draws.

    Attributes:
        answer: The function of the roles of B rows, B, and one seed for all of them; it
            returns tensors [B, ...]. It draws before anything else depends on B.
        spec: A name of these tensors -> shape and dtype of a row.
        of_x: Whether the roles have x, clean, and a mask of it if the model has one.
        finish: The function of the roles and of all rows' tensors, without draws.
        by_law: Whether its draws are all of the laws of `tfvae.distributions.draws`.
    """

    answer: Callable[[Roles, int | tf.Tensor, tf.Tensor], Tensors]
    spec: Mapping[str, tf.TensorSpec]
    of_x: bool = True
    finish: Callable[[Roles, Tensors], Tensors] = lambda roles, tensors: tensors
    by_law: bool = True

    def by_rows(self, roles: Roles, seeds: tf.Tensor) -> Tensors:
        """Returns the answers of rows with seeds [B, 2], each drawn by itself."""

        def row(one: tuple[tf.Tensor, Roles]) -> Tensors:
            single = tf.nest.map_structure(lambda v: v[tf.newaxis], one[1])
            found = self.answer(single, 1, one[0])
            return {name: value[0] for name, value in found.items()}

        found = tf.map_fn(row, (seeds, roles), fn_output_signature=dict(self.spec))
        return self.finish(roles, found)

    def together(self, roles: Roles, size: tf.Tensor) -> Tensors:
        """Returns the answers of B rows whose noise is given, see `draws.given`."""
        return self.finish(roles, self.answer(roles, size, tf.zeros([2], tf.int32)))


def sampling(vae: VAE, shaped: Callable[[tf.Tensor], tf.Tensor]) -> Drawing:
    """Returns z from the prior, each row what vae.sample(1, seed) draws, and a mean.

    `shaped` gives a mean of p(x|z) its static shape.
    """

    def draw(roles: Roles, size: int | tf.Tensor, seed: tf.Tensor) -> Tensors:
        z = vae.draw_prior([size], derive_seed(seed, "prior"), roles.get("condition"))
        return {"z": z}

    def decoded(roles: Roles, found: Tensors) -> Tensors:
        z = found["z"]
        z.set_shape([None, *vae.latent.event_shape])  # LiteRT has no EnsureShape
        return float32({"z": z, "mean": shaped(vae.decode(z, **roles).mean())})

    spec = {"z": tf.TensorSpec(vae.latent.event_shape, vae.compute_dtype)}
    return Drawing(draw, spec, of_x=False, finish=decoded)


def scoring(
    vae: VAE, pixels: Pixels, num_samples: int, calibration: np.ndarray | None = None
) -> Drawing:
    """Returns elbo, iwae, rate and distortion of K samples; p_value if calibrated."""
    names = ("elbo", "iwae", "rate", "distortion")
    spec = {name: tf.TensorSpec([], tf.float32) for name in names}
    if calibration is not None:
        spec["strangeness"] = tf.TensorSpec([], tf.float64)

    def score(roles: Roles, size: int | tf.Tensor, seed: tf.Tensor) -> Tensors:
        batch = _as_trained(pixels, roles, seed)
        terms = vae.log_weight_terms(batch, num_samples, seed)  # [K, B]
        sampled = terms.sampled_log_weights()
        log_weights = tf.cast(sampled, tf.float32)
        rate = tf.reduce_mean(terms.rate, axis=0)
        distortion = -tf.reduce_mean(terms.log_likelihood, axis=0)
        bounds = (Elbo().value(log_weights), Iwae().value(log_weights))
        found = float32(dict(zip(names, (*bounds, rate, distortion), strict=True)))
        if calibration is not None:
            found["strangeness"] = -Iwae().value(tf.cast(sampled, tf.float64))
        return found

    def ranked(roles: Roles, found: Tensors) -> Tensors:
        if calibration is None:
            return found
        found["p_value"] = p_values_of(calibration, found.pop("strangeness"))
        return float32(found)

    return Drawing(score, spec, finish=ranked)


def imputing(vae: VAE, pixels: Pixels, num_samples: int) -> Drawing:
    """Returns mean, draw and ess of what is missing, of K samples."""
    image = tf.TensorSpec(vae.image_shape, tf.float32)
    spec = {"mean": image, "draw": image, "ess": tf.TensorSpec([], tf.float32)}

    def impute(roles: Roles, size: int | tf.Tensor, seed: tf.Tensor) -> Tensors:
        batch = vae.with_condition(_as_trained(pixels, roles, seed))
        mean, draws, ess, *_ = impute_batch(vae, batch, num_samples, 1, seed)
        return float32({"mean": mean, "draw": draws[0], "ess": ess})

    return Drawing(impute, spec, by_law=False)  # it resamples, and draws x


def float32(tensors: Tensors) -> Tensors:
    """Returns tensors as they are served."""
    return {name: tf.cast(tensor, tf.float32) for name, tensor in tensors.items()}


def _as_trained(pixels: Pixels, roles: Roles, seed: tf.Tensor) -> Batch:
    """Returns clean images as the model takes them, drawn if they were in training."""
    x = pixels.seeded(roles["x"], derive_seed(seed, "pixels"))
    return Batch(**{**roles, "x": x})


class Draws(NamedTuple):
    """The inputs from which a signature draws.

    Attributes:
        inputs: A name -> shape and dtype.
        answer: The function of a drawing, of roles and of these inputs.
    """

    inputs: Mapping[str, tf.TensorSpec]
    answer: Callable[[Drawing, Roles, Sequence[tf.Tensor]], Tensors]


BY_SEEDS = Draws(
    {"seed": tf.TensorSpec([None, 2], tf.int32, "seed")},
    lambda drawing, roles, inputs: drawing.by_rows(roles, *inputs),
)
