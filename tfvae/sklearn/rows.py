"""Rows of a table on their way through a model."""

from __future__ import annotations

import math
import numbers
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.data.pipeline import in_order, shuffled_rows
from tfvae.models import VAE, Batch
from tfvae.objectives import Iwae

_ROWS = 4096  # at a time, where rows do not depend on each other
_BLOCK = 64  # rows; it divides _ROWS

Table = Any
"""A float32 array [n, n_features], or a CSR matrix of SciPy."""


class Roles(NamedTuple):
    """Which columns of a table are which part of a model's batch.

    Attributes:
        x: The columns that are modelled, ints in order.
        condition: The columns that are given, in the order of `condition_columns`;
            None: there are none.
    """

    x: np.ndarray
    condition: np.ndarray | None = None

    def batch(self, rows: tf.Tensor) -> Any:
        """Returns rows [B, n_features] as the model takes them."""
        if self.condition is None:
            return rows
        return Batch(
            tf.gather(rows, self.x, axis=1), tf.gather(rows, self.condition, axis=1)
        )

    def batches(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Returns a data set of rows as one of what `fit` takes."""
        if self.condition is None:
            return rows
        return rows.map(
            lambda part: {
                "x": tf.gather(part, self.x, axis=1),
                "condition": tf.gather(part, self.condition, axis=1),
            }
        )

    def table(self, x: np.ndarray, condition: np.ndarray | None) -> np.ndarray:
        """Returns [n, n_features] of x and of the condition's columns."""
        if self.condition is None:
            return x
        found = np.empty([len(x), len(self.x) + len(self.condition)], np.float32)
        found[:, self.x], found[:, self.condition] = x, condition
        return found


def roles_of(
    X: Table, given: Sequence[str | int] | None, names: np.ndarray | None
) -> Roles:
    """Returns the roles of a table's columns.

    Args:
        X: [n, n_features].
        given: The columns of the condition, by name or number; None: there are none.
        names: [n_features] The names of the columns, if they have any.

    Raises:
        InputError: if one does not exist, is named twice, or none is left for x.
    """
    size = X.shape[1]
    if given is None:
        return Roles(np.arange(size))
    known = [] if names is None else list(names)
    one = isinstance(given, (str, numbers.Integral))
    wanted: list[Any] = [given] if one else list(given)
    found = []
    for column in wanted:
        if isinstance(column, str) and column in known:
            found.append(known.index(column))
        elif isinstance(column, numbers.Integral) and 0 <= int(column) < size:
            found.append(int(column))
        else:
            has = ", ".join(map(repr, known)) or f"the numbers 0 to {size - 1}"
            raise InputError(
                f"condition_columns has {column!r:.60}, which X has not; it has "
                f"{has:.200}"
            )
    rest = np.setdiff1d(np.arange(size), found)
    if not found or len(set(found)) < len(found) or not len(rest):
        raise InputError(
            f"condition_columns {wanted!r:.100} of {size} columns are not usable; give "
            "each once, and leave at least one for x"
        )
    return Roles(rest, np.array(found))


def dense_rows(X: Table, rows: Any) -> np.ndarray:
    """Returns the rows of an index or slice as an array."""
    part = X[rows]
    return part if isinstance(part, np.ndarray) else part.toarray()


def blocks_of(X: Table, size: int = _ROWS) -> Iterator[np.ndarray]:
    """Yields `size` rows at a time as arrays."""
    for start in range(0, X.shape[0], size):
        yield dense_rows(X, slice(start, start + size))


def mean_of(X: Table) -> np.ndarray:
    """Returns the mean of each column, float64 [n_features]."""
    sums = [block.sum(axis=0, dtype=np.float64) for block in blocks_of(X)]
    return np.sum(sums, axis=0) / X.shape[0]


def some_rows(X: Table, seed: int) -> np.ndarray:
    """Returns rows from which a prior may start: all of an array, or a draw of 4096."""
    if isinstance(X, np.ndarray):
        return X
    count = min(_ROWS, X.shape[0])
    rows = np.random.default_rng(seed).choice(X.shape[0], count, replace=False)
    return dense_rows(X, rows)


def batches_of(X: Table, batch_size: int) -> tf.data.Dataset:
    """Returns batches [B, n_features] in order, once."""
    spec = tf.TensorSpec([None, X.shape[1]], tf.float32)
    batches = tf.data.Dataset.from_generator(
        lambda: blocks_of(X, batch_size), output_signature=spec
    )
    steps = -(-X.shape[0] // batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


def training_batches(
    X: Table, batch_size: int, seed: int, first_pass: int
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
    size, width = X.shape
    steps = -(-size // batch_size)
    with tf.device("CPU:0"):
        table = tf.constant(X) if isinstance(X, np.ndarray) else None

    def batch(step: tf.Tensor) -> tf.Tensor:
        order = derive_seed(seed, "order", first_pass + step // steps)
        rows = shuffled_rows(step % steps, batch_size, size, order)
        if table is not None:
            return tf.gather(table, rows)
        dense = tf.numpy_function(lambda rows: dense_rows(X, rows), [rows], tf.float32)
        return tf.ensure_shape(dense, [None, width])

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


def by_rows(function: Callable[[tf.Tensor], tf.Tensor], rows: Table) -> np.ndarray:
    """Applies a function of [B, ...] in bounded memory; returns float32 [n, size].

    Some processors round the rows that are left over from a matrix product's blocks in
    another way, so blocks are filled up: no row depends on its place.
    """
    found = []
    for part in blocks_of(rows):
        rest = np.zeros([-len(part) % _BLOCK, *part.shape[1:]], part.dtype)
        values = function(tf.constant(np.concatenate([part, rest]))).numpy()
        found.append(values[: len(part)].reshape(len(part), -1))
    return np.concatenate(found).astype(np.float32)


def row_scorer(vae: VAE, roles: Roles) -> Callable[[Table, int], np.ndarray]:
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
            batch = roles.batch(row[tf.newaxis])
            terms = vae.log_weight_terms(batch, num_samples, seed)
            log_weights = tf.cast(terms.log_weights(), tf.float64)  # [K, 1]
            return Iwae().value(log_weights)[0]

        return tf.map_fn(score, (X, keys), fn_output_signature=tf.float64)

    def score_rows(X: Table, num_samples: int) -> np.ndarray:
        found = []
        for rows in blocks_of(X):
            # Adding 0 makes -0 the 0 that it equals.
            keys = [zlib.crc32((row + 0).tobytes()) >> 1 for row in rows]
            keys = tf.constant(keys, tf.int32)  # [n]
            found.append(scores(tf.constant(rows), keys, num_samples).numpy())
        return np.concatenate(found)

    return score_rows
