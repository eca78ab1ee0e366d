"""Noticing the training step at which a number stopped being finite."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfvae.core.sharding import Rows, global_sum
from tfvae.core.types import InputError
from tfvae.models.metrics import weighted_mean
from tfvae.objectives import LogWeightTerms

_TERMS = ("log p(x|z)", "log p(z)", "log q(z|x)")
_SHOWN = 3  # parameters in a message


class FiniteWatch:
    """Looks at the terms of the loss and at the gradient in every training step.

    It works within the step and costs one sum a parameter. What it found is looked at
    when Python has time, so that a GPU is not waited for.

    Args:
        variables: Those that are trained.
        tolerated: Steps that may be left out before it is an error.
        gradients: Whether to look at the gradient; loss scaling does it by itself.
    """

    def __init__(
        self, variables: Sequence[keras.Variable], tolerated: int, gradients: bool
    ) -> None:
        self.tolerated, self.gradients = tolerated, gradients
        self._names = [variable.path for variable in variables]
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._step = tf.Variable(-1, dtype=tf.int64, trainable=False)
        self._terms = tf.Variable(tf.zeros([len(_TERMS)]), trainable=False)
        self._sums = tf.Variable(tf.zeros([len(variables)]), trainable=False)

    def see(
        self,
        step: tf.Tensor,
        means: tf.Tensor,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
    ) -> tf.Tensor:
        """Takes note of the first step that is not tolerated.

        Args:
            step: Its number, from 0.
            means: [4] Of `means_of`.
            gradients: Of the variables, in their order.

        Returns:
            Whether the step's numbers are all finite.
        """
        # A sum is finite if all of its parts are; parts whose sum overflows are lost.
        sums = tf.stack([_sum(g) for g in gradients]) if self.gradients else self._sums
        seen = tf.concat([means, sums], axis=0)
        finite = tf.reduce_all(tf.math.is_finite(seen))
        left = tf.less(self.skipped, self.tolerated)
        bad = tf.logical_not(finite)
        first = tf.logical_and(bad, tf.logical_and(self._step < 0, ~left))
        for variable, value in (
            (self._step, step),
            (self._terms, means[:-1]),
            *([(self._sums, sums)] if self.gradients else []),
        ):
            variable.assign(tf.where(first, value, variable))
        if self.tolerated:
            self.skipped.assign_add(tf.cast(tf.logical_and(bad, left), tf.int64))
        return finite

    def check(self) -> None:
        """Looks at what was found, in eager mode.

        Raises:
            InputError: A step's loss or gradient was not finite, and no more such steps
                are tolerated.
        """
        step = int(tf.convert_to_tensor(self._step))
        if step < 0:
            return
        values = zip(_TERMS, self._terms.numpy(), strict=True)
        terms = ", ".join(f"{name} {value:.6g}" for name, value in values)
        finite = tf.math.is_finite(self._sums).numpy()
        bad = [n for n, ok in zip(self._names, finite, strict=True) if not ok]
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        where = (
            f"; so is the gradient of {', '.join(bad[:_SHOWN])}{more}" if bad else ""
        )
        skipped = f" after {self.tolerated} skipped ones" if self.tolerated else ""
        raise InputError(
            f"training step {step + 1} is not finite{skipped}: means {terms}{where}; "
            "what was saved before stays. Try a smaller learning_rate, clip_norm, "
            "kl_warmup_steps, scales and temperatures nearer to 1, or skip_nonfinite "
            "to leave out such steps"
        )


def means_of(
    terms: LogWeightTerms, surrogate: tf.Tensor, rows: Rows | None
) -> tf.Tensor:
    """Returns [4] the means of the log-weights' terms, and the surrogate.

    Args:
        terms: [S, B].
        surrogate: The scalar whose gradient is taken, or this replica's part of it.
        rows: Of the global batch, whose means they are then; None: it is all here.
    """
    values = (terms.log_likelihood, terms.log_prior, terms.log_posterior)
    if rows is None:
        parts = [tf.reduce_mean(each) for each in values]
    else:
        parts = [weighted_mean(tf.reduce_mean(v, axis=0), None, rows) for v in values]
    means = tf.stack([tf.cast(each, tf.float32) for each in (*parts, surrogate)])
    return means if rows is None else global_sum(means)


def _sum(gradient: tf.Tensor | tf.IndexedSlices | None) -> tf.Tensor:
    if gradient is None:
        return tf.zeros([])
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    return tf.cast(tf.reduce_sum(values), tf.float32)
