"""Bounds on log p(x) over a data set, in bounded memory."""

import functools
import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.core.validation import require_int
from tfvae.estimators import Chunk, block_size
from tfvae.evaluation.inputs import check_model, counted_batches
from tfvae.evaluation.statistics import bits_per_dim, mean_with_error
from tfvae.models import VAE, Batch

# Numbers in the largest tensor of one chunk: 16 Mi float32 are 64 MiB.
_CHUNK_ELEMENTS = 1 << 24
_BOUNDS = ("log_likelihood", "elbo")
LOW_ESS = 2.0
# TensorFlow never frees a trace that has a gradient of its own, so a model's is kept.
_SCORERS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class ImageScores(NamedTuple):
    """Scores of single images, float64 [N], in nats.

    Attributes:
        log_likelihood: L_K = log mean_s w_s over K samples, a lower bound on log p(x).
        elbo: mean_s log w_s.
        distortion: -mean_s log p(x|z_s).
        rate: mean_s log q(z_s|x) - log p(z_s).
        ess: The effective sample size, between 1 and K.
        is_probability: Whether p(x|z) is a probability, and no density, so that bits
            can be counted; of the class, and no column.
    """

    # Not annotated: a column of the tuple would be.
    is_probability = True  # type: ignore[misc]

    log_likelihood: np.ndarray
    elbo: np.ndarray
    distortion: np.ndarray
    rate: np.ndarray
    ess: np.ndarray


class DensityScores(ImageScores):
    """Scores of images under a density, or of what is no log-probability at all."""

    is_probability = False


class _Sums(NamedTuple):
    """Running sums over samples, float64 [B]; the weights are relative to exp(top)."""

    top: tf.Tensor
    weights: tf.Tensor
    squared_weights: tf.Tensor
    log_likelihood: tf.Tensor
    rate: tf.Tensor


def score_images(
    vae: VAE,
    batches: Iterable[tf.Tensor],
    num_samples: int,
    chunk_size: int | None = None,
    seed: Seed = 0,
    progress: Callable[[int], None] | None = None,
) -> ImageScores:
    """Scores every image with `num_samples` samples of z.

    Samples are drawn `chunk_size` at a time and their weights kept as a running
    log-sum-exp, so memory does not grow with `num_samples`.

    Args:
        vae: The model.
        batches: Batches of images [B, *image_shape], with their roles if any.
        num_samples: K.
        chunk_size: Samples at a time; None: what fits into about 64 MiB a tensor. It
            changes nothing but the rounding of sums; the batch size changes the draws.
        seed: The seed of the draws.
        progress: Called after each batch with the number of images scored so far.

    Raises:
        InputError: if `num_samples` or `chunk_size` is not an int of 1 or more, `vae`
            is no model, or there are no images or some that are not finite.
    """
    num_samples = require_int("num_samples", num_samples)
    if chunk_size is not None:
        chunk_size = require_int("chunk_size", chunk_size)
    check_model(vae)
    add_chunk = _scorer(vae, num_samples)
    scores = []
    for index, batch in enumerate(counted_batches(vae, batches, progress)):
        size = chunk_size or default_chunk_size(batch.x.shape, num_samples)
        size = min(size, num_samples)
        zeros = tf.zeros([batch.size], tf.float64)
        sums = _Sums(zeros - math.inf, zeros, zeros, zeros, zeros)
        batch_seed = derive_seed(seed, "evaluation", index)
        for number, start in enumerate(range(0, num_samples, size)):
            kept = min(size, num_samples - start)
            sums = add_chunk(batch, batch_seed, tf.constant(number), size, kept, sums)
        scores.append(_scores(sums, num_samples))
    columns = map(np.concatenate, zip(*scores, strict=True))
    # Where values are missing, examples have other numbers of dimensions.
    bits = vae.decoder.head.is_probability and vae.missing is None
    return (ImageScores if bits else DensityScores)(*columns)


def estimate_log_likelihood(
    vae: VAE,
    batches: Iterable[tf.Tensor],
    num_samples: int,
    chunk_size: int | None = None,
    seed: Seed = 0,
) -> np.ndarray:
    """Returns L_K of each image, [N], in nats: see `score_images`."""
    return score_images(vae, batches, num_samples, chunk_size, seed).log_likelihood


def summarise(
    scores: ImageScores, image_shape: tuple[int, ...]
) -> dict[str, dict[str, float | None]]:
    """Returns mean and standard error over the images of shape (H, W, C), in nats.

    Each array of `scores` has `mean` and `standard_error`, which one image has not
    (None). `log_likelihood` and `elbo`, where they bound a probability, also have
    `bits_per_dim` and its error: of the negative, so that lower is better. A density
    has no bits, nor has a part of a bound.
    """
    return {
        name: summarise_bound(values, image_shape, scores.is_probability)
        if name in _BOUNDS
        else mean_with_error(values)._asdict()
        for name, values in scores._asdict().items()
    }


def summarise_bound(
    values: np.ndarray, image_shape: tuple[int, ...], is_probability: bool
) -> dict[str, float | None]:
    """Returns mean and standard error of bounds on log p(x) [N], in nats.

    Where p(x) is a probability, there are bits per dimension of (H, W, C) too.
    """
    mean, error = mean_with_error(values)
    found = {"mean": mean, "standard_error": error}
    if not is_probability:
        return found
    return {
        **found,
        "bits_per_dim": bits_per_dim(-mean, image_shape),
        "bits_per_dim_standard_error": (
            None if error is None else bits_per_dim(error, image_shape)
        ),
    }


def count_low_ess(scores: ImageScores) -> int:
    """Returns how many images have an effective sample size below 2.

    Their bounds hang on single samples.
    """
    return int(np.sum(scores.ess < LOW_ESS))


def _scorer(vae: VAE, num_samples: int) -> Callable[..., _Sums]:
    """Returns the function that adds a chunk, the same for the same model."""
    parts = (vae.encoder, vae.decoder, vae.latent, vae.prior_layer)
    known = _SCORERS.setdefault(vae, {})
    key = (num_samples, *map(id, parts))
    if key not in known:
        # Not a function defined here: TensorFlow would take those of several models for
        # one that is traced again and again, and warn.
        known[key] = tf.function(
            functools.partial(_add_chunk, weakref.ref(vae), num_samples),
            reduce_retracing=True,
            autograph=False,
        )
    return known[key]


def _add_chunk(
    model: weakref.ReferenceType[VAE],
    num_samples: int,
    batch: Batch,
    seed: tf.Tensor,
    number: tf.Tensor,
    size: int,
    kept: int,
    sums: _Sums,
) -> _Sums:
    chunk = Chunk(size, number, kept)
    vae = model()
    assert vae is not None  # whoever calls this holds it
    terms = vae.log_weight_terms(batch, num_samples, seed, chunk)
    log_weights = tf.cast(terms.log_weights(), tf.float64)  # [S, B]
    top = tf.maximum(sums.top, tf.reduce_max(log_weights, axis=0))  # [B]
    shrunk = tf.exp(sums.top - top)
    weights = tf.exp(log_weights - top)
    return _Sums(
        top,
        shrunk * sums.weights + tf.reduce_sum(weights, axis=0),
        shrunk**2 * sums.squared_weights + tf.reduce_sum(weights**2, axis=0),
        sums.log_likelihood + _sum64(terms.log_likelihood),
        sums.rate + _sum64(terms.rate),
    )


def _sum64(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(values, tf.float64), axis=0)


def _scores(sums: _Sums, num_samples: int) -> tuple[np.ndarray, ...]:
    """Returns the columns of `ImageScores` for one batch."""
    top, weights, squares, log_likelihood, rate = (part.numpy() for part in sums)
    return (
        top + np.log(weights / num_samples),
        (log_likelihood - rate) / num_samples,
        -log_likelihood / num_samples,
        rate / num_samples,
        weights**2 / squares,
    )


def default_chunk_size(shape: Any, num_samples: int) -> int:
    """Whole blocks of draws, or a part that divides one: else some are drawn twice."""
    most = max(1, _CHUNK_ELEMENTS // max(1, math.prod(shape)))
    block = block_size(num_samples)
    if most >= block:
        return most // block * block
    return next(n for n in range(most, 0, -1) if block % n == 0)
