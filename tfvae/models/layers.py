"""What a training step must know of the layers within a model."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed


class Counter(keras.Variable):
    """An integer that counts; `int` takes it on one device and on several."""

    def __int__(self) -> int:
        return int(tf.convert_to_tensor(self))


def seed_layers(model: keras.Model, seed: tf.Tensor) -> None:
    """Makes what layers draw (dropout) a function of the step's seed, as z is."""
    for index, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if isinstance(generator, keras.random.SeedGenerator):
            state = derive_seed(seed, "layer", index)
            generator.state.assign(tf.cast(state, generator.state.dtype))


def has_float16_layer(model: keras.Model) -> bool:
    """Whether some layer computes in float16, so that the loss must be scaled."""
    layers = model._flatten_layers()
    return any(layer.dtype_policy.name == "mixed_float16" for layer in layers)


def loss_scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer with loss scaling, which it may have already."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)
