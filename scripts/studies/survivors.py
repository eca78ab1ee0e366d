"""How much variance a backward pass for a few survivors adds to the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.estimators import Reparameterised, ResampledBackward
from tfvae.models import VAE


class AddedVariance(NamedTuple):
    """The variance of one number of survivors, beside the minibatch's own.

    Attributes:
        backward_samples: m.
        ratio: E|g_m - g|^2 over resamplings, divided by the variance of the dense
            gradient g over minibatches and draws of z; norms over all parameters.
        standard_error: Of the ratio, over the minibatches.
    """

    backward_samples: int
    ratio: float
    standard_error: float


def added_variance(
    vae: VAE,
    batches: Iterable[tf.Tensor],
    num_samples: int,
    backward_samples: Sequence[int],
    repeats: int = 4,
    seed: int = 0,
) -> list[AddedVariance]:
    """Compares survivors' gradients with the dense one of the same draws.

    Args:
        vae: Compiled with the objective and the estimator, `Pathwise`, `Stl` or `Dreg`.
        batches: Of images [B, *image_shape], two or more.
        num_samples: K.
        backward_samples: The numbers of survivors to try.
        repeats: Resamplings of each minibatch.
        seed: Of the draws.

    Raises:
        InputError: There are fewer than two batches, or the estimator is another.
    """
    require_int("repeats", repeats)
    estimator = getattr(vae.estimator, "estimator", vae.estimator)
    if not isinstance(estimator, Reparameterised):
        raise InputError(
            f"estimator {vae.estimator} has no survivors; use a run with estimator "
            "'pathwise', 'stl' or 'dreg'"
        )
    gradient = _gradient_function(vae, estimator, num_samples)
    dense, added = [], {m: [] for m in backward_samples}
    for index, x in enumerate(batches):
        draws = derive_seed(seed, "study", index)
        wanted = gradient(x, draws, None, draws).numpy()
        dense.append(wanted)
        for m, distances in added.items():
            seeds = [derive_seed(seed, "resampling", index, r) for r in range(repeats)]
            found = [gradient(x, draws, m, each).numpy() for each in seeds]
            distances.append(np.mean([np.sum((g - wanted) ** 2) for g in found]))
    if len(dense) < 2:
        raise InputError("a variance needs two batches or more; give more images")
    own = np.sum(np.var(dense, axis=0, ddof=1))
    return [
        AddedVariance(
            m,
            float(np.mean(distances) / own),
            float(np.std(distances, ddof=1) / len(distances) ** 0.5 / own),
        )
        for m, distances in added.items()
    ]


def _gradient_function(
    vae: VAE, estimator: Reparameterised, num_samples: int
) -> Callable[..., tf.Tensor]:
    """Returns the flat gradient of images, seed of z, m or None, seed of resampling."""

    @tf.function(autograph=False)
    def gradient(
        x: tf.Tensor, draws: tf.Tensor, kept: int | None, resampling: tf.Tensor
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            batch = vae.variational_batch(x, num_samples, draws, True, vae.objective)
            if kept is None:
                estimate = estimator.estimate(batch)
            else:
                few = ResampledBackward(estimator, kept)
                estimate = few.estimate_seeded(batch, resampling)
            total = tf.reduce_mean(estimate.surrogate)
        slopes = tape.gradient(total, vae.trainable_variables)
        return tf.concat([tf.reshape(slope, [-1]) for slope in slopes], axis=0)

    return gradient
