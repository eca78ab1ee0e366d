"""Encoder, decoder and the variational autoencoder that Keras' `fit` trains."""

from tfvae.models.conditional import ConditionalDistribution
from tfvae.models.generative import LatentVariableModel, Samples
from tfvae.models.vae import VAE

__all__ = ["VAE", "ConditionalDistribution", "LatentVariableModel", "Samples"]
