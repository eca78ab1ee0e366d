"""Bounds on log p(x), and summaries of what the latent variables do."""

from tfvae.config.settings import Annealing, Scoring
from tfvae.evaluation.aggregate import AggregateTerms
from tfvae.evaluation.ais import AisScores, Bdmc, ais_log_likelihood, bdmc
from tfvae.evaluation.gaps import Gaps, Ladder, inference_ladder
from tfvae.evaluation.layers import active_units
from tfvae.evaluation.posterior import LayerSummary, PosteriorSummary, posterior_summary
from tfvae.evaluation.scores import (
    ImageScores,
    default_chunk_size,
    estimate_log_likelihood,
    score_images,
    summarise,
)
from tfvae.evaluation.statistics import bits_per_dim, mean_with_error, paired_difference

__all__ = [
    "AggregateTerms",
    "AisScores",
    "Annealing",
    "Bdmc",
    "Gaps",
    "ImageScores",
    "Ladder",
    "LayerSummary",
    "PosteriorSummary",
    "Scoring",
    "active_units",
    "ais_log_likelihood",
    "bdmc",
    "bits_per_dim",
    "default_chunk_size",
    "estimate_log_likelihood",
    "inference_ladder",
    "mean_with_error",
    "paired_difference",
    "posterior_summary",
    "score_images",
    "summarise",
]
__dir__ = __all__.copy  # what completion shows
