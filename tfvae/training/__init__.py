"""From a configuration to data, a model, and a trained run in a folder."""

from tfvae.training.parts import FitParts, fit_parts, make_model
from tfvae.training.running import notes, train

__all__ = ["FitParts", "fit_parts", "make_model", "notes", "train"]
