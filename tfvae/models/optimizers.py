"""Keras' optimizers, with Adam's step in one kernel a variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae.core.types import InputError


@keras.saving.register_keras_serializable(package="tfvae")
class Adam(keras.optimizers.Adam):
    """Keras' Adam (Kingma and Ba, 2015), with the same formula in one kernel.

    Keras spells a step out in a dozen kernels a variable, which is a third of the time
    of a step with one sample. `amsgrad` and sparse gradients are left to Keras.
    """

    _numbers: dict[tf.DType, dict[str, tf.Tensor]] | None = None

    def apply(
        self, grads: Sequence, trainable_variables: Sequence | None = None
    ) -> None:
        """See `keras.optimizers.Optimizer.apply`."""
        # On several replicas each variable has its numbers where it lies.
        alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
        object.__setattr__(self, "_numbers", {} if alone else None)  # not tracked
        try:
            super().apply(grads, trainable_variables)
        finally:
            self._numbers = None

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable | keras.Variable,
        learning_rate: tf.Tensor,
    ) -> None:
        """See `keras.optimizers.Optimizer.update_step`."""
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        var = variable.value if isinstance(variable, keras.Variable) else variable
        dtype, known = var.dtype, {} if self._numbers is None else self._numbers
        if dtype not in known:  # what variables share is made once in a step
            step = tf.cast(self.iterations + 1, dtype)
            # No tf.cast, which makes a float32 of a Python float first.
            beta1, beta2, epsilon = (
                tf.constant(value, dtype)
                for value in (self.beta_1, self.beta_2, self.epsilon)
            )
            known[dtype] = {
                "beta1_power": beta1**step,
                "beta2_power": beta2**step,
                "lr": tf.cast(learning_rate, dtype),
                "beta1": beta1,
                "beta2": beta2,
                "epsilon": epsilon,
            }
        tf.raw_ops.ResourceApplyAdam(
            var=var.handle,
            m=m.handle,
            v=v.handle,
            grad=tf.cast(gradient, dtype),
            **known[dtype],
        )


def get_optimizer(
    optimizer: str | Mapping[str, Any] | keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """Returns what `keras.optimizers.get` does, with the `Adam` above for "adam".

    Raises:
        InputError: if Keras knows no such optimizer.
    """
    if isinstance(optimizer, str) and optimizer.lower() == "adam":
        return Adam()
    if isinstance(optimizer, Mapping):
        if str(optimizer.get("class_name")).lower() == "adam":
            return Adam.from_config(dict(optimizer.get("config", {})))
    try:
        return keras.optimizers.get(optimizer)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"optimizer {optimizer!r:.100} is not usable; give Keras' name for one, "
            "such as 'adam', or an optimizer"
        ) from error


def has_float16_layer(model: keras.Model) -> bool:
    """Whether some layer computes in float16, so that the loss must be scaled."""
    layers = model._flatten_layers()
    return any(layer.dtype_policy.name == "mixed_float16" for layer in layers)


def loss_scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer with loss scaling, which it may have already."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)
