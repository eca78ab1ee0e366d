"""How a gradient gets from log-weights to parameters.

An estimator draws the samples, and returns the terms of their log-weights with a
surrogate: a tensor whose gradient is the estimate of the objective's gradient, and
whose value means nothing and is never reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfvae.estimators.base import (
    DRAWN_AT_ONCE,
    Chunk,
    Estimate,
    Estimator,
    Problem,
    analytic_rate,
)
from tfvae.estimators.discrete import Disarm, Reinforce, StraightThrough, Vimco
from tfvae.estimators.reparameterised import Dreg, Pathwise, Stl
from tfvae.estimators.resampling import optimal_resampling
from tfvae.estimators.two_passes import Chunked, Survivors, TwoPasses, in_two_passes
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


__all__ = [
    "DRAWN_AT_ONCE",
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
    "Stl",
    "StraightThrough",
    "Survivors",
    "TwoPasses",
    "Vimco",
    "analytic_rate",
    "get_estimator",
    "in_two_passes",
    "optimal_resampling",
]
