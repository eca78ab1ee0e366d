"""From a configuration to data, a model, and a trained run in a folder."""

from tfvae.config.settings import Checkpointing, Distribution, Monitoring
from tfvae.training.parts import FitParts, fit_parts, make_model
from tfvae.training.running import notes, train

__all__ = [
    "Checkpointing",
    "Distribution",
    "FitParts",
    "Monitoring",
    "fit_parts",
    "make_model",
    "notes",
    "train",
]
__dir__ = __all__.copy  # what completion shows
