"""What every latent family has."""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.heads import (
    DistributionHead,
)
from tfvae.require import require_int

tfd = tfp.distributions


class Latent(keras.layers.Layer):
    """A family of latent variables of size D.

    A new family overrides `posterior_head` and `prior`, and has an entry in
    `LATENTS`.

    Attributes:
        latent_size: D.
        relaxed: Whether the family relaxes a discrete one: its bound then scores the
            relaxed model, and not the discrete twin.
        prior_temperature: The weight to anneal, where the family has one, else None.
    """

    relaxed: bool = False
    prior_temperature: keras.Variable | None = None

    def __init__(self, latent_size: int, **kwargs) -> None:
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = keras.config.floatx()
        super().__init__(**kwargs)
        self.latent_size = require_int("latent_size", latent_size)
        self.built = True

    def posterior_head(self) -> DistributionHead:
        """Returns a new head for q(z|x), event shape [D]."""
        raise NotImplementedError

    def prior(self) -> tfd.Distribution:
        """Returns p(z), batch shape [], event shape [D]."""
        raise NotImplementedError

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns what the decoder reads for z [..., D]."""
        return z

    def discrete(self) -> Latent | None:
        """Returns the discrete family that this one relaxes, if it is one."""
        return None

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        return {**super().get_config(), "latent_size": self.latent_size}
