"""Variational autoencoders on TensorFlow, Keras 3 and TensorFlow Probability."""

from __future__ import annotations

import importlib
import os
import sys

from tfvae.types import InputError
from tfvae.version import __version__

_MODULES = (
    "annealed",
    "benchmark",
    "building",
    "callbacks",
    "config",
    "data",
    "estimators",
    "evaluation",
    "export",
    "heads",
    "html_report",
    "latents",
    "metrics",
    "models",
    "monitoring",
    "networks",
    "objectives",
    "optimizers",
    "pictures",
    "priors",
    "recipes",
    "replicas",
    "reports",
    "runs",
    "schedules",
    "sklearn",
    "studies",
    "tables",
    "training",
)
_COMMANDS = (["-m", "tfvae"], ["-m", "tfvae.replicas.launching"])
_FROM_MODELS = ("VAE", "ConditionalDistribution")

__all__ = ["InputError", "__version__", *_FROM_MODELS, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"tfvae.{name}")
    if name in _FROM_MODELS:
        return getattr(importlib.import_module("tfvae.models"), name)
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _started_as_command() -> bool:
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return program in ("tfvae", "tfvae.exe") or sys.orig_argv[1:3] in _COMMANDS


# Keras loads a saved model only if its classes are registered, so a plain
# `import tfvae` brings them. The command line answers --help and bad arguments
# without TensorFlow, and imports it when there is work to do.
if not _started_as_command():
    from tfvae.startup import import_tensorflow

    import_tensorflow()
    importlib.import_module("tfvae.models")
