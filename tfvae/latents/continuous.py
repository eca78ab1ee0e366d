"""Families of real-valued latent variables."""

from __future__ import annotations

import keras
import tensorflow_probability as tfp

from tfvae import priors
from tfvae.heads import LogisticHead, NormalHead
from tfvae.latents.base import Latent

tfd = tfp.distributions


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
