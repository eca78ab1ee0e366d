"""Sums of all samples but one, each [S, B] in O(S B) memory and time.

Nothing is taken away from a sum of which it is the greater part, so that they have the
digits of sums that leave the sample out.
"""

import tensorflow as tf


def sum_of_others(values: tf.Tensor) -> tf.Tensor:
    """Returns sum_(t != s) values_t, [S, ...], of values [S, ...].

    It is the sum of those before s and of those after s, which is right beside an
    infinite value too.
    """
    before = tf.cumsum(values, exclusive=True)
    return before + tf.cumsum(values, exclusive=True, reverse=True)


def logsumexp_of_others(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns log sum_(t != s) exp(log w_t), [S, B], of log-weights [S, B].

    Without the largest it is a sum of its own. Without another one it is

        log w_max + log1p(sum_(t != max) w_t / w_max - w_s / w_max)

    where at least 1 is left, so that the difference loses no digits.
    """
    count = tf.shape(log_weights)[0]
    best = tf.argmax(log_weights, axis=0, output_type=tf.int32)  # [B]
    is_best = tf.range(count)[:, tf.newaxis] == best  # [S, B]
    nothing = tf.constant(-float("inf"), log_weights.dtype)
    rest = tf.where(is_best, nothing, log_weights)
    largest = tf.reduce_max(log_weights, axis=0)  # [B]
    finite = tf.math.is_finite(largest)
    relative = tf.exp(rest - tf.where(finite, largest, tf.zeros_like(largest)))
    left = tf.reduce_sum(relative, axis=0) - relative  # [S, B]
    # A largest of -inf or inf is that of the others too.
    without = tf.where(finite, largest + tf.math.log1p(left), largest)
    return tf.where(is_best, tf.reduce_logsumexp(rest, axis=0), without)
