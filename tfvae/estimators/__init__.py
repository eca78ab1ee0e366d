"""How a gradient gets from log-weights to parameters.

An estimator draws the samples, and returns the terms of their log-weights with a
surrogate: a tensor whose gradient is the estimate of the objective's gradient, and
whose value means nothing and is never reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfvae.estimators.base import Estimate, Estimator, Problem, analytic_rate
from tfvae.estimators.chunks import Chunked
from tfvae.estimators.discrete import Disarm, Reinforce, StraightThrough, Vimco
from tfvae.estimators.draws import Chunk, block_size
from tfvae.estimators.reparameterised import Dreg, Pathwise, Reparameterised, Stl
from tfvae.estimators.resampling import optimal_resampling
from tfvae.estimators.survivors import Survivors
from tfvae.estimators.two_passes import TwoPasses
from tfvae.lookup import resolve

ESTIMATORS: Mapping[str, type[Estimator]] = {
    "pathwise": Pathwise,
    "stl": Stl,
    "dreg": Dreg,
    "reinforce": Reinforce,
    "vimco": Vimco,
    "disarm": Disarm,
    "straight_through": StraightThrough,
}


def get_estimator(estimator: str | Estimator) -> Estimator:
    """Returns an estimator given itself or its name in `ESTIMATORS`.

    Raises:
        InputError: It is neither.
    """
    return resolve(ESTIMATORS, estimator, Estimator, "estimator")


def in_two_passes(
    estimator: Estimator, backward_samples: int | None, sample_chunk: int | None
) -> Estimator:
    """Returns the estimator, or the one that speeds it up as these numbers say.

    Raises:
        InputError: It cannot.
    """
    if backward_samples is not None:
        return Survivors(estimator, backward_samples, sample_chunk)
    return estimator if sample_chunk is None else Chunked(estimator, sample_chunk)


__all__ = [
    "ESTIMATORS",
    "Chunk",
    "Chunked",
    "Disarm",
    "Dreg",
    "Estimate",
    "Estimator",
    "Pathwise",
    "Problem",
    "Reinforce",
    "Reparameterised",
    "Stl",
    "StraightThrough",
    "Survivors",
    "TwoPasses",
    "Vimco",
    "analytic_rate",
    "block_size",
    "get_estimator",
    "in_two_passes",
    "optimal_resampling",
]
