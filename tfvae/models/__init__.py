"""Encoder, decoder and the variational autoencoder that Keras' `fit` trains."""

from tfvae.models.conditional import ConditionalDistribution
from tfvae.models.vae import VAE, Samples

__all__ = ["VAE", "ConditionalDistribution", "Samples"]
