"""Families that relax a discrete one."""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import priors
from tfvae.heads import BinConcreteHead, constant_weight
from tfvae.latents.base import Latent
from tfvae.require import require_number

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfvae")
class BinConcreteLatent(Latent):
    """BinConcrete posterior and prior in logit space; the decoder reads sigmoid(z).

    Maddison, Mnih and Teh (2017) advise a posterior temperature of 2/3 and a prior
    temperature of 1/2.

    Attributes:
        prior_temperature: A scalar weight that is not trained, to be annealed. The
            posterior's temperature is a weight of the head.
    """

    relaxed = True

    def __init__(
        self,
        latent_size: int,
        temperature: float = 0.5,
        prior_temperature: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(latent_size, **kwargs)
        self.initial_temperature = require_number("temperature", temperature)
        self.initial_prior_temperature = require_number(
            "prior_temperature", prior_temperature
        )
        self.prior_temperature = constant_weight(
            self, "prior_temperature", self.initial_prior_temperature
        )

    def posterior_head(self) -> BinConcreteHead:
        """Returns a new head for q(z|x)."""
        return BinConcreteHead(
            (self.latent_size,), self.initial_temperature, dtype=self.compute_dtype
        )

    def prior(self) -> tfd.Distribution:
        """Returns Logistic(0, 1 / prior_temperature)."""
        temperature = tf.convert_to_tensor(self.prior_temperature)
        return priors.tempered_logistic(self.latent_size, temperature)

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the relaxed bits, between 0 and 1."""
        return tf.sigmoid(z)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        return {
            **super().get_config(),
            "temperature": self.initial_temperature,
            "prior_temperature": self.initial_prior_temperature,
        }
