"""Variational autoencoders on TensorFlow, Keras 3 and TensorFlow Probability."""

from __future__ import annotations

import importlib
import sys

from tfvae.core.types import InputError
from tfvae.core.version import __version__

_ROOMS = (
    "benchmark",
    "conditions",
    "config",
    "data",
    "distributions",
    "estimators",
    "evaluation",
    "export",
    "heads",
    "latents",
    "models",
    "networks",
    "objectives",
    "priors",
    "reports",
    "sklearn",
    "training",
)
_WITHIN = {"anomaly": "tfvae.evaluation.anomaly"}
_ELSEWHERE = {
    "VAE": "tfvae.models",
    "SemiSupervisedVAE": "tfvae.models",
    "ConditionalDistribution": "tfvae.models",
    "build": "tfvae.training.building",
    "build_table": "tfvae.training.tables",
    "sample_frame": "tfvae.training.tables",
}

__all__ = ["InputError", "__version__", *_ELSEWHERE, *_WITHIN, *_ROOMS]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"tfvae.{name}")
    if name in _WITHIN:
        return importlib.import_module(_WITHIN[name])
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


# Keras loads a saved model only if its classes are registered, so `import tfvae` brings
# them. The command `tfvae` answers --help and bad arguments without TensorFlow: it is a
# module of its own, which imports TensorFlow when there is work to do.
if "tfvae_command" not in sys.modules:
    from tfvae.core.startup import import_tensorflow

    import_tensorflow()
    importlib.import_module("tfvae.models")
