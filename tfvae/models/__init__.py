"""Encoder, decoder and the variational autoencoder that Keras' `fit` trains."""

from tfvae.models.batch import Batch
from tfvae.models.conditional import ConditionalDistribution
from tfvae.models.imputation import Imputation
from tfvae.models.missing import SelfMasking
from tfvae.models.optimizers import Adam
from tfvae.models.presets import Preset, PresetCard, PresetScore
from tfvae.models.refinement import Refined
from tfvae.models.schedules import Cyclical, Exponential
from tfvae.models.semi_supervised import SemiSupervisedVAE
from tfvae.models.vae import VAE, Samples

__all__ = [
    "VAE",
    "Adam",
    "Batch",
    "ConditionalDistribution",
    "Cyclical",
    "Exponential",
    "Imputation",
    "Preset",
    "PresetCard",
    "PresetScore",
    "Refined",
    "Samples",
    "SelfMasking",
    "SemiSupervisedVAE",
]
__dir__ = __all__.copy  # what completion shows
