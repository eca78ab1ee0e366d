"""Presets: trained models as folders, found by name, path or address."""

from tfvae.models.presets.card import PresetCard, PresetScore
from tfvae.models.presets.folder import (
    Preset,
    PresetsOfClass,
    load_preset,
    read_preset,
    save_preset,
)

__all__ = [
    "Preset",
    "PresetCard",
    "PresetScore",
    "PresetsOfClass",
    "load_preset",
    "read_preset",
    "save_preset",
]
__dir__ = __all__.copy  # what completion shows
