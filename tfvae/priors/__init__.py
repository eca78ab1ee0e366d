"""Distributions over the latent variable z, with and without weights.

Those without are functions. Those with are Keras layers whose `distribution(encoder)`
is p(z) with today's weights; a model trains them with the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfvae.priors.base import Prior
from tfvae.priors.fixed import (
    fair_bernoulli,
    standard_logistic,
    standard_multivariate_normal,
    standard_normal,
    tempered_logistic,
    uniform_concrete,
    uniform_one_hot,
)
from tfvae.priors.learned import LearnedPrior, MixturePrior, StandardPrior
from tfvae.priors.vamp import VampPrior

PRIORS: Mapping[str, type[Prior]] = {
    "standard": StandardPrior,
    "learned": LearnedPrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
}

__all__ = [
    "PRIORS",
    "LearnedPrior",
    "MixturePrior",
    "Prior",
    "StandardPrior",
    "VampPrior",
    "fair_bernoulli",
    "standard_logistic",
    "standard_multivariate_normal",
    "standard_normal",
    "tempered_logistic",
    "uniform_concrete",
    "uniform_one_hot",
]
