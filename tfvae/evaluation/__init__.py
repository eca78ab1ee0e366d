"""How good a model is: bounds on log p(x), and what its latent variables do.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

from tfvae.evaluation.settings import Annealing, Scoring
from tfvae.lazy import imported_when_asked

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

__getattr__ = imported_when_asked(__name__, _FROM)
