"""Latent families: what belongs together about a latent variable z.

A family ties together the posterior's head, the prior, and what the decoder reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import priors
from tfvae.heads import (
    BinConcreteHead,
    DistributionHead,
    LogisticHead,
    NormalHead,
    constant_weight,
)
from tfvae.require import require_int, require_number

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


@keras.saving.register_keras_serializable(package="tfvae")
class NormalLatent(Latent):
    """Normal posterior with learned location and scale, standard normal prior."""

    def posterior_head(self) -> NormalHead:
        """Returns a new head for q(z|x)."""
        return NormalHead((self.latent_size,), dtype=self.compute_dtype)

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, 1)."""
        return priors.standard_normal(self.latent_size, self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfvae")
class LogisticLatent(Latent):
    """Logistic posterior with learned location and scale, standard logistic prior."""

    def posterior_head(self) -> LogisticHead:
        """Returns a new head for q(z|x)."""
        return LogisticHead((self.latent_size,), dtype=self.compute_dtype)

    def prior(self) -> tfd.Distribution:
        """Returns Logistic(0, 1)."""
        return priors.standard_logistic(self.latent_size, self.compute_dtype)


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


LATENTS: Mapping[str, type[Latent]] = {
    "normal": NormalLatent,
    "logistic": LogisticLatent,
    "bin_concrete": BinConcreteLatent,
}
