"""Leaving out, or naming, the training step whose numbers are not finite."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfvae.core.sharding import BatchShard, cond_across_replicas
from tfvae.core.types import InputError
from tfvae.objectives import LogWeightTerms

Gradients = Sequence["tf.Tensor | tf.IndexedSlices | None"]

_TERMS = ("log p(x|z)", "log p(z)", "log q(z|x)")
_SHOWN = 3  # parameters in a message


def term_means(
    terms: LogWeightTerms, loss: tf.Tensor, shard: BatchShard | None
) -> tf.Tensor:
    """Returns the means of the terms [S, B] and the loss, [4]; of a shard, its part."""
    if shard is None:
        parts = [tf.reduce_mean(each) for each in terms[:3]]
    else:
        sums = [tf.reduce_sum(tf.reduce_mean(each, axis=0)) for each in terms[:3]]
        parts = [each / tf.cast(shard.total, each.dtype) for each in sums]
    return tf.stack([tf.cast(each, tf.float32) for each in (*parts, loss)])


class NonFiniteGuard:
    """Looks at the terms of the loss and at the gradient in every training step.

    It works within the step and costs one sum a parameter. `check` looks at what was
    found when Python has time, so that a GPU is not waited for.

    Args:
        variables: The trained weights.
        tolerated: Steps that may be left out before it is an error.
        gradients: Whether to look at the gradient; loss scaling does it by itself.

    Attributes:
        skipped: The number of steps that were left out.
        names: The paths of the variables whose gradients are looked at.
    """

    def __init__(
        self, variables: Sequence[keras.Variable], tolerated: int, gradients: bool
    ) -> None:
        self.tolerated, self.gradients = tolerated, gradients
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._step = tf.Variable(-1, dtype=tf.int64, trainable=False)
        self._terms = tf.Variable(tf.zeros([len(_TERMS)]), trainable=False)
        self.watch(variables)

    def watch(self, variables: Sequence[keras.Variable]) -> None:
        """Looks at the gradients of these variables from now on."""
        self.names = [variable.path for variable in variables]
        self._sums = tf.Variable(tf.zeros([len(variables)]), trainable=False)

    def apply_if_finite(
        self,
        apply: Callable[[], None],
        step: tf.Tensor,
        means: tf.Tensor,
        gradients: Gradients,
    ) -> None:
        """Applies a step, unless its numbers are not finite and it may be left out.

        Args:
            apply: Updates weights and trackers.
            step: Its number, from 0.
            means: [4] `term_means` of the whole batch.
            gradients: The gradients of the variables, in their order.
        """
        # A sum is finite if all of its parts are; parts whose sum overflows are lost.
        sums = self._sums
        if self.gradients:
            parts = [
                # Of sparse gradients the values that there are; of none a 0.
                tf.zeros([]) if g is None else tf.reduce_sum(getattr(g, "values", g))
                for g in gradients
            ]
            sums = tf.stack([tf.cast(part, tf.float32) for part in parts])
        finite = tf.reduce_all(tf.math.is_finite(tf.concat([means, sums], axis=0)))
        left = tf.less(self.skipped, self.tolerated)
        bad = tf.logical_not(finite)
        # What `check` tells of: the first step that is not tolerated.
        first = tf.logical_and(bad, tf.logical_and(self._step < 0, ~left))
        self._step.assign(tf.where(first, step, self._step))
        self._terms.assign(tf.where(first, means[:-1], self._terms))
        if self.gradients:
            self._sums.assign(tf.where(first, sums, self._sums))
        if not self.tolerated:
            apply()
            return
        self.skipped.assign_add(tf.cast(tf.logical_and(bad, left), tf.int64))
        cond_across_replicas(finite, apply)

    def check(self, since: int = 0) -> None:
        """Looks at what was found from step `since` on, in eager mode.

        Raises:
            InputError: if a step's loss or gradient was not finite, and no more such
                steps are tolerated.
        """
        step = int(tf.convert_to_tensor(self._step))
        if step < since:
            return
        values = zip(_TERMS, self._terms.numpy(), strict=True)
        terms = ", ".join(f"{name} {value:.6g}" for name, value in values)
        finite = tf.math.is_finite(self._sums).numpy()
        bad = [n for n, ok in zip(self.names, finite, strict=True) if not ok]
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
