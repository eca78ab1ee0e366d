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

    _numbers: _Numbers | None = None

    def apply(
        self, grads: Sequence, trainable_variables: Sequence | None = None
    ) -> None:
        """See `keras.optimizers.Optimizer.apply`."""
        # On several replicas each variable has its numbers where it lies.
        alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
        self._numbers = _Numbers(self) if alone else None
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
        numbers = self._numbers or _Numbers(self)
        tf.raw_ops.ResourceApplyAdam(
            var=var.handle,
            m=m.handle,
            v=v.handle,
            grad=tf.cast(gradient, var.dtype),
            **numbers.of(var.dtype, learning_rate),
        )


class _Numbers:
    """The numbers of a step that variables of a dtype share, made once."""

    def __init__(self, optimizer: Adam) -> None:
        self._optimizer = optimizer
        self._found: dict[tf.DType, dict[str, tf.Tensor]] = {}

    def of(self, dtype: tf.DType, learning_rate: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the arguments of the kernel that are no variables."""
        if dtype not in self._found:
            optimizer = self._optimizer
            step = tf.cast(optimizer.iterations + 1, dtype)
            # No tf.cast, which makes a float32 of a Python float first.
            beta1, beta2, epsilon = (
                tf.constant(value, dtype)
                for value in (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon)
            )
            self._found[dtype] = {
                "beta1_power": beta1**step,
                "beta2_power": beta2**step,
                "lr": tf.cast(learning_rate, dtype),
                "beta1": beta1,
                "beta2": beta2,
                "epsilon": epsilon,
            }
        return self._found[dtype]


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
