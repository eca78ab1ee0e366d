"""Estimators, which bring a gradient from log-weights to parameters.

An estimator draws the samples, and returns the terms of their log-weights with a
surrogate: a tensor whose gradient is the estimate of the objective's gradient, and
whose value means nothing and is never reported.
"""

from collections.abc import Mapping
from typing import cast

from tfvae.core.lookup import resolve
from tfvae.core.types import InputError
from tfvae.distributions import FULLY_REPARAMETERIZED, Distribution
from tfvae.estimators.base import Estimate, Estimator, estimator_name
from tfvae.estimators.bernoulli import Arms, Bitflip, Disarm, Ugc
from tfvae.estimators.chunks import Chunked
from tfvae.estimators.control_variates import DoubleCv, Rodeo
from tfvae.estimators.discrete import Reinforce, StraightThrough, Vimco
from tfvae.estimators.ovis import Ovis
from tfvae.estimators.relaxations import GumbelRao, Rebar, Reinmax, Relax
from tfvae.estimators.reparameterised import Dreg, Pathwise, Reparameterised, Stl
from tfvae.estimators.resampled_backward import ResampledBackward, optimal_resampling
from tfvae.estimators.sum_over_samples import SumOverSamples
from tfvae.estimators.two_passes import TwoPasses
from tfvae.estimators.variational_batch import (
    Chunk,
    VariationalBatch,
    analytic_rate,
    block_size,
)
from tfvae.estimators.wake_sleep import Rws
from tfvae.objectives import Objective

ESTIMATORS: Mapping[str, type[Estimator]] = {
    "pathwise": Pathwise,
    "stl": Stl,
    "dreg": Dreg,
    "reinforce": Reinforce,
    "vimco": Vimco,
    "disarm": Disarm,
    "arms": Arms,
    "double_cv": DoubleCv,
    "rodeo": Rodeo,
    "bitflip": Bitflip,
    "ugc": Ugc,
    "straight_through": StraightThrough,
    "ovis": Ovis,
    "rws": Rws,
    "rebar": Rebar,
    "relax": Relax,
    "reinmax": Reinmax,
    "gumbel_rao": GumbelRao,
}


def get_estimator(estimator: str | Estimator) -> Estimator:
    """Returns an estimator given itself or its name in `ESTIMATORS`.

    Raises:
        InputError: if it is neither.
    """
    return resolve(ESTIMATORS, estimator, Estimator, "estimator")


def check_combination(
    estimator: Estimator,
    objective: Objective,
    posterior: Distribution,
    num_samples: int,
) -> None:
    """Refuses an estimator that is not defined for an objective or for draws.

    The posterior is q(z|x) for any batch.

    Raises:
        InputError: if the combination is not defined, or an option has no effect.
    """
    through = posterior.reparameterization_type == FULLY_REPARAMETERIZED
    fit = ("reparameterised" if through else "discrete", "any")
    inner = estimator.estimator if isinstance(estimator, TwoPasses) else estimator
    if inner.needs not in fit:
        kind = "can" if through else "cannot"
        others = [name for name, other in ESTIMATORS.items() if other.needs in fit]
        raise InputError(
            f"estimator {estimator_name(inner)!r} is for {inner.needs} posteriors, and "
            f"draws of this one {kind} be reparameterised; choose one of "
            f"{', '.join(map(repr, others))}, or another latent family"
        )
    estimator.check(objective, posterior, num_samples)


def in_two_passes(
    estimator: Estimator, backward_samples: int | None, sample_chunk: int | None
) -> Estimator:
    """Returns the estimator, or the one that speeds it up as these numbers say.

    Raises:
        InputError: if the estimator has no second pass.
    """
    # `TwoPasses` refuses what is no sum.
    given = cast(SumOverSamples, estimator)
    if backward_samples is not None:
        return ResampledBackward(given, backward_samples, sample_chunk)
    return estimator if sample_chunk is None else Chunked(given, sample_chunk)


__all__ = [
    "ESTIMATORS",
    "Arms",
    "Bitflip",
    "Chunk",
    "Chunked",
    "Disarm",
    "DoubleCv",
    "Dreg",
    "Estimate",
    "Estimator",
    "Ovis",
    "GumbelRao",
    "Pathwise",
    "Rebar",
    "Reinmax",
    "Relax",
    "VariationalBatch",
    "Reinforce",
    "Reparameterised",
    "Rodeo",
    "Rws",
    "Stl",
    "StraightThrough",
    "SumOverSamples",
    "ResampledBackward",
    "TwoPasses",
    "Ugc",
    "Vimco",
    "analytic_rate",
    "block_size",
    "check_combination",
    "get_estimator",
    "in_two_passes",
    "optimal_resampling",
]
__dir__ = __all__.copy  # what completion shows
