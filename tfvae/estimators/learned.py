"""What an estimator learns of its own: the parameters of a control variate.

A control variate has the mean 0 whatever its parameters are, if these do not depend on
the draws of the step. So they may follow the noise alone: the mean of the estimate's
squared norm is its variance, plus what they cannot change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfvae.core.sharding import mean_over_batch
from tfvae.distributions import Distribution
from tfvae.estimators.variational_batch import VariationalBatch


class ControlVariate(keras.layers.Layer):
    """Trained parameters of a control variate, which are no part of the model.

    Args:
        posterior: q(z|x) for any batch.
    """

    def __init__(self, posterior: Distribution) -> None:
        dtype = tf.as_dtype(posterior.dtype).name
        super().__init__(name="control_variate", dtype=dtype)
        self.built = True

    def add_scalar(self, name: str, start: float) -> None:
        """Adds a trained scalar, which is the attribute of this name."""
        constant = keras.initializers.Constant(start)
        setattr(self, name, self.add_weight((), constant, name=name))

    def control(self) -> Any:
        """Returns the parameters as they are now, in the estimator's own form."""
        raise NotImplementedError


class Adapted(NamedTuple):
    """A gradient of the logits that learned parameters have a part in.

    Attributes:
        gradient: [B, ...]
        moving: [] The surrogate of the model less this number moves the parameters
            to less noise.
    """

    gradient: tf.Tensor
    moving: float | tf.Tensor = 0.0


def adapted(
    batch: VariationalBatch,
    gradient_with: Callable[[Any], tf.Tensor],
    start: Any,
) -> Adapted:
    """Returns the gradient with the learned parameters, or those of the start.

    The parameters go down log mean_b |g_b|^2 over the global batch for the gradient g
    of the logits. The logarithm makes the slope as large for any model, so that a bound
    on the norm of all gradients leaves the model's as they are.

    Args:
        batch: Its `learned` has the parameters; None: they are not learned.
        gradient_with: control -> [B, ...], of constants and of the control.
        start: The control where nothing is learned.
    """
    layer = batch.learned
    if layer is None:
        return Adapted(gradient_with(start))
    with tf.GradientTape() as tape:
        gradient = gradient_with(layer.control())
        axes = range(1, gradient.shape.rank)
        squares = tf.reduce_sum(tf.square(gradient), axis=axes)  # [B]
        total = tf.reduce_sum(squares)
    variables = layer.trainable_variables
    slopes = tape.gradient(total, variables)
    mean = mean_over_batch(squares[tf.newaxis], batch.shard)
    scale = mean * tf.cast(tf.maximum(tf.size(squares), 1), mean.dtype)
    moved = [
        tf.reduce_sum(tf.stop_gradient(tf.math.divide_no_nan(slope, scale)) * v)
        for slope, v in zip(slopes, variables, strict=True)
    ]
    return Adapted(gradient, sum(moved, tf.zeros_like(mean)))
