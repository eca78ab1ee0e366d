"""Rows of a table on their way through a model."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.data.pipeline import in_order, shuffled_rows
from tfvae.models import VAE
from tfvae.objectives import Iwae

_ROWS = 4096  # at a time, where rows do not depend on each other
_BLOCK = 64  # rows; it divides _ROWS


def training_batches(
    X: np.ndarray, batch_size: int, seed: int, first_pass: int
) -> tf.data.Dataset:
    """Returns shuffled batches [B, n_features] without end, each row once a pass.

    The order of a pass is a function of the seed and the number of the pass; Keras
    would shuffle an array by TensorFlow's global generator. `tfvae.data` would take
    rows for images, and order them by the name of their split too.

    Args:
        X: [n, n_features].
        batch_size: B, at most n; the last batch of a pass may be smaller.
        seed: The root seed.
        first_pass: The number of the first pass.
    """
    steps = -(-len(X) // batch_size)
    with tf.device("CPU:0"):
        rows = tf.constant(X)

    def batch(step: tf.Tensor) -> tf.Tensor:
        order = derive_seed(seed, "order", first_pass + step // steps)
        return tf.gather(rows, shuffled_rows(step % steps, batch_size, len(X), order))

    return in_order(tf.data.Dataset.counter().map(batch, tf.data.AUTOTUNE))


def check_finite(epoch: int, logs: Mapping[str, float]) -> None:
    """Ends a training whose loss is not finite.

    Raises:
        InputError: if it is not finite.
    """
    if not math.isfinite(logs["loss"]):
        raise InputError(
            f"the loss is not finite in epoch {epoch + 1}; standardise X (a Pipeline "
            "with StandardScaler), or choose a smaller learning_rate"
        )


def by_rows(function: Callable[[tf.Tensor], tf.Tensor], rows: np.ndarray) -> np.ndarray:
    """Applies a function of [B, ...] in bounded memory; returns float32 [n, size].

    Some processors round the rows that are left over from a matrix product's blocks in
    another way, so blocks are filled up: no row depends on its place.
    """
    rest = -len(rows) % _BLOCK
    filled = np.concatenate([rows, np.zeros([rest, *rows.shape[1:]], rows.dtype)])
    parts = [
        function(tf.constant(filled[start : start + _ROWS])).numpy()
        for start in range(0, len(filled), _ROWS)
    ]
    found = np.concatenate(parts)[: len(rows)]
    return found.reshape(len(rows), -1).astype(np.float32)


def row_scorer(vae: VAE) -> Callable[[np.ndarray, int], np.ndarray]:
    """Returns a function of X [n, n_features] and K to L_K of its rows, float64 [n].

    Rows go through the model one by one, each with draws that are a function of its
    values and the model's seed, so that neither draws nor rounding depend on the other
    rows.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def scores(X: tf.Tensor, keys: tf.Tensor, num_samples: int) -> tf.Tensor:
        def score(row_and_key: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            row, key = row_and_key
            seed = derive_seed(vae.seed, "score_samples", key)
            terms = vae.log_weight_terms(row[tf.newaxis], num_samples, seed)
            log_weights = tf.cast(terms.log_weights(), tf.float64)  # [K, 1]
            return Iwae().value(log_weights)[0]

        return tf.map_fn(score, (X, keys), fn_output_signature=tf.float64)

    def score_rows(X: np.ndarray, num_samples: int) -> np.ndarray:
        # Adding 0 makes -0 the 0 that it equals.
        keys = [zlib.crc32((row + 0).tobytes()) >> 1 for row in X]
        keys = tf.constant(keys, tf.int32)  # [n]
        return scores(tf.constant(X), keys, num_samples).numpy()

    return score_rows
