"""How good a model is: bounds on log p(x), and what its latent variables do.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

import importlib

from tfvae.evaluation.settings import Annealing, Scoring

_FROM = {
    "AggregateTerms": "aggregate",
    "ImageScores": "scores",
    "LayerSummary": "posterior",
    "PosteriorSummary": "posterior",
    "default_chunk_size": "scores",
    "estimate_log_likelihood": "scores",
    "posterior_summary": "posterior",
    "score_images": "scores",
    "summarise": "scores",
}

__all__ = ["Annealing", "Scoring", *_FROM]


def __getattr__(name: str) -> object:
    if name in _FROM:
        module = importlib.import_module(f"tfvae.evaluation.{_FROM[name]}")
        return getattr(module, name)
    raise AttributeError(f"module 'tfvae.evaluation' has no attribute {name!r}")
