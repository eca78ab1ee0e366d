"""What a configuration refuses of estimators, and of how many samples they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfvae.config.names import (
    DISCRETE_LATENTS,
    GROUPED_OBJECTIVES,
    INDEPENDENT_LATENTS,
    REPARAMETERISED_ESTIMATORS,
)
from tfvae.types import InputError

if TYPE_CHECKING:
    from tfvae.config import Config


def check_estimator(config: Config) -> None:
    """Refuses estimators that the latent family or the objective has no use for."""
    discrete = config.latent in DISCRETE_LATENTS
    through = config.estimator in REPARAMETERISED_ESTIMATORS
    if discrete == through:
        wanted = "reinforce', 'vimco" if discrete else "pathwise', 'stl', 'dreg"
        raise InputError(
            f"estimator {config.estimator!r} is not defined for latent "
            f"{config.latent!r}; choose one of '{wanted}'"
        )
    if config.estimator == "disarm" and config.latent != "bernoulli":
        raise InputError(
            f"estimator 'disarm' is for latent 'bernoulli', not {config.latent!r}; "
            "choose 'reinforce' or 'vimco'"
        )
    if config.estimator == "vimco" and config.num_samples < 2:
        raise InputError(
            f"estimator 'vimco' needs num_samples 2 or more, not {config.num_samples}; "
            "change it, or choose 'reinforce'"
        )
    if config.objective not in GROUPED_OBJECTIVES:
        return
    if config.num_samples % (config.num_groups or 2):
        raise InputError(
            f"num_samples {config.num_samples} is not a multiple of num_groups "
            f"{config.num_groups or 2} (objective {config.objective!r}); change one of "
            "them"
        )
    if config.objective == "piwae" and config.dtype_policy == "mixed_float16":
        raise InputError(
            "objective 'piwae' divides by weights that dtype_policy 'mixed_float16' "
            "rounds to 0; choose 'mixed_bfloat16' or objective 'miwae'"
        )
    if discrete and config.objective == "piwae":
        raise InputError(
            "objective 'piwae' has two objectives, which no estimator for discrete "
            "latent variables has a use for; choose 'iwae' or 'miwae'"
        )
    if config.estimator == "reinforce" and config.num_samples > 1:
        if (config.num_samples - 1) % (config.num_groups or 2):
            raise InputError(
                "estimator 'reinforce' leaves one sample out, and the others are no "
                "whole groups; choose 'vimco'"
            )


def check_two_passes(config: Config) -> None:
    """Refuses survivors and chunks that are not defined, or have no effect."""
    for field in ("backward_samples", "sample_chunk"):
        value = getattr(config, field)
        if value is None:
            continue
        if value > config.num_samples:
            raise InputError(
                f"{field} {value} is more than num_samples {config.num_samples}; give "
                "fewer, or leave it out"
            )
        for owner, values in (
            ("estimator", REPARAMETERISED_ESTIMATORS),
            ("analytic_kl", (False,)),
            ("free_bits", (0.0,)),
        ):
            if getattr(config, owner) not in values:
                raise InputError(
                    f"{field} {value} is not defined for {owner} "
                    f"{getattr(config, owner)!r}; set {owner} "
                    f"{' or '.join(map(repr, values))}, or leave {field} out"
                )
    if config.backward_samples is None:
        return
    if config.objective == "elbo":
        raise InputError(
            "backward_samples has no use with objective 'elbo', for which every sample "
            f"counts as much; set num_samples {config.backward_samples} instead"
        )
    simple = config.latent in INDEPENDENT_LATENTS and not config.upper_latent_sizes
    if config.sample_chunk is not None and not simple:
        raise InputError(
            "backward_samples with sample_chunk needs one layer of latent 'normal', "
            f"'logistic' or 'bin_concrete', not {config.latent!r}; leave sample_chunk "
            "out"
        )
