"""The choice of a few among many weighted samples."""

from __future__ import annotations

import tensorflow as tf

# Added to every weight before they are compared: a sample whose weight is 0 in float32
# can be kept as well, and then counts for nothing.
_LEAST = 1e-12


def optimal_resampling(
    weights: tf.Tensor, kept: int, offset: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keeps `kept` different samples of each image, so that sums stay unbiased.

    Sample s is kept with the probability min(1, c w_s), where c makes the sum of the
    probabilities `kept`; those that are not sure are drawn by systematic resampling.
    Of all unbiased ways to keep so many, this has the least expected squared error of
    the weights (Fearnhead and Clifford, 2003, section 5.2).

    Args:
        weights: [S, B] Of 0 or more; each image's sum to 1.
        kept: The number of samples to keep, up to S.
        offset: [B] Draws from U(0, 1), float64.

    Returns:
        The kept samples' numbers [kept, B], int32, and 1 / probability [kept, B].
    """
    p = tf.cast(tf.transpose(weights), tf.float64) + _LEAST  # [B, S]
    p, order = tf.math.top_k(p, k=p.shape[-1] or tf.shape(p)[-1])  # from the largest
    tail = tf.cumsum(p, axis=-1, reverse=True)  # [B, S], tail_i = sum from i on
    # With the i largest sure, the others have (kept - i) w / tail_i: the first i for
    # which that is at most 1.
    order = tf.cast(order, tf.int64)
    size = tf.shape(p, tf.int64)[-1]
    left = tf.range(kept, 0, -1, dtype=p.dtype)  # [kept]
    too_large = left * p[:, :kept] > tail[:, :kept]  # [B, kept]
    sure = tf.reduce_sum(tf.cast(too_large, tf.int64), axis=-1, keepdims=True)  # [B, 1]
    rest = tf.gather(tail, sure, batch_dims=1)  # [B, 1]
    among = tf.cast(kept - sure, p.dtype) / rest  # c
    place = tf.range(size)[tf.newaxis]  # [1, S]
    # Sample i takes a piece of [0, kept] as long as its probability, which ends here.
    after = tf.concat([tail[:, 1:], tf.zeros_like(tail[:, :1])], axis=-1)
    ends = tf.where(
        place < sure,
        tf.cast(place + 1, p.dtype),
        tf.cast(sure, p.dtype) + among * (rest - after),
    )
    points = tf.range(kept, dtype=p.dtype) + offset[:, tf.newaxis]  # [B, kept]
    chosen = tf.searchsorted(ends, points, side="right", out_type=tf.int64)
    chosen = tf.minimum(chosen, size - 1)  # [B, kept]
    probability = tf.where(
        chosen < sure,
        tf.ones([], p.dtype),
        tf.minimum(among * tf.gather(p, chosen, batch_dims=1), 1.0),
    )
    numbers = tf.gather(order, chosen, batch_dims=1)
    inverse = tf.cast(1.0 / probability, weights.dtype)
    return tf.transpose(numbers), tf.transpose(inverse)
