"""The prior p(z|c) of a conditional model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_int
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int
from tfvae.distributions import tfd
from tfvae.priors.base import Encoder, Family, Prior


@keras.saving.register_keras_serializable(package="tfvae")
class ConditionalPrior(Prior):
    """A distribution of the posterior's form, whose parameters a network makes of c.

        p(z|c) = p(z; params + network(c))

    The network is dense layers, without hidden ones a linear map: for a one-hot class
    that is any distribution of the form for each class. It starts as the family's own
    prior, for every c.

    Args:
        latent: The family of z.
        condition_shape: The shape of the condition's features: `condition.shape`.
        hidden_sizes: The units of the network's hidden layers.
        activation: A Keras activation, for the hidden layers.
        seed: The seed of the hidden layers' first weights.

    Attributes:
        params: [*params_shape] The part that all c have in common, a weight.
    """

    text = "the posterior's form, with parameters that a network makes of c"
    paper = "Sohn, Lee and Yan (2015)"
    conditional = True

    def __init__(
        self,
        latent: Family,
        condition_shape: Sequence[int],
        hidden_sizes: Sequence[int] = (),
        activation: str = "tanh",
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(latent, **kwargs)
        self.condition_shape = tuple(
            require_int("a size in condition_shape", n) for n in condition_shape
        )
        self.hidden_sizes = tuple(
            require_int("a size in hidden_sizes", n) for n in hidden_sizes
        )
        self.activation = activation
        self.seed = require_int("seed", seed, 0, SEEDS)
        self.head = latent.posterior_head()
        self.params = self.constant_start("params", self.start)
        layers: list[Any] = [keras.Input(self.condition_shape)]
        if len(self.condition_shape) > 1:
            layers.append(keras.layers.Flatten(data_format="channels_last"))
        for number, units in enumerate(self.hidden_sizes):
            glorot = keras.initializers.GlorotUniform(
                derive_int(self.seed, f"conditional prior/{number}")
            )
            layers.append(
                keras.layers.Dense(
                    units,
                    activation,
                    kernel_initializer=glorot,
                    name=f"prior_{number}",
                    dtype=self.dtype_policy,
                )
            )
        layers.append(
            keras.layers.Dense(
                self.start.size,
                use_bias=False,
                kernel_initializer="zeros",
                name="prior_params",
                dtype=self.dtype_policy,
            )
        )
        self.network = keras.Sequential(layers, name="prior")

    def distribution(
        self, encoder: Encoder | None = None, condition: tf.Tensor | None = None
    ) -> tfd.Distribution:
        """See `Prior.distribution`.

        Raises:
            InputError: if no condition is given.
        """
        if condition is None:
            raise InputError("p(z|c) needs a condition; give condition=...")
        condition = tf.convert_to_tensor(condition)
        front = tf.shape(condition)[: condition.shape.rank - len(self.condition_shape)]
        rows = tf.reshape(condition, [-1, *self.condition_shape])
        shape = self.start.shape
        made = tf.reshape(self.network(rows), tf.concat([front, shape], axis=0))
        leading = condition.shape[: condition.shape.rank - len(self.condition_shape)]
        made.set_shape(leading.concatenate(shape))  # LiteRT has no EnsureShape
        return self.head(tf.convert_to_tensor(self.params) + made)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this prior."""
        return {
            **super().get_config(),
            "condition_shape": self.condition_shape,
            "hidden_sizes": self.hidden_sizes,
            "activation": self.activation,
            "seed": self.seed,
        }
