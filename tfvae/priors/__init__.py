"""Distributions over the latent variable z, with and without weights.

Those without weights are functions. Those with weights are Keras layers whose
`distribution(encoder)` is p(z) with today's weights; a model trains them with the
decoder.
"""

import inspect
from collections.abc import Mapping

import numpy as np

from tfvae.core.lookup import lookup
from tfvae.core.types import InputError
from tfvae.priors.base import Family, Prior
from tfvae.priors.conditional import ConditionalPrior
from tfvae.priors.fixed import (
    fair_bernoulli,
    standard_logistic,
    standard_multivariate_normal,
    standard_normal,
    tempered_logistic,
    uniform_concrete,
    uniform_one_hot,
)
from tfvae.priors.learned import LearnedPrior, MixturePrior, VampPrior

PRIORS: Mapping[str, type[Prior] | None] = {
    "standard": None,
    "learned": LearnedPrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
    "conditional": ConditionalPrior,
}
"""Classes by name; None stands for the latent family's own prior."""


def prior_arguments(name: str) -> frozenset[str]:
    """Returns the names of the arguments that a prior takes to start with.

    Raises:
        InputError: if there is no prior of that name.
    """
    prior = lookup(PRIORS, name, "prior")
    if prior is None:
        return frozenset()
    start = getattr(prior, "from_images", prior.__init__)
    return frozenset(inspect.signature(start).parameters)


def make_prior(
    name: str,
    latent: Family,
    *,
    num_components: int | None = None,
    images: np.ndarray | None = None,
    seed: int = 0,
    condition_shape: tuple[int, ...] | None = None,
) -> Prior | None:
    """Builds the prior of a name in `PRIORS`; None stands for the family's own.

    Args:
        name: The prior's name.
        latent: The family of z.
        num_components: K, the number of components of a mixture.
        images: [N, *image_shape] The images to start from, between 0 and 1; priors
            that start otherwise leave them alone.
        seed: The seed of the start.
        condition_shape: The shape of the condition's features, for a conditional prior.

    Raises:
        InputError: if an argument is missing or out of range, or if `num_components`
            has no effect.
    """
    taken, prior = prior_arguments(name), PRIORS[name]
    if num_components is not None and "num_components" not in taken:
        raise InputError(
            f"num_components {num_components!r} has no effect with prior {name!r}; "
            "leave it out, or use prior 'mixture' or 'vamp'"
        )
    if prior is None:
        return None
    if prior.conditional and condition_shape is None:
        raise InputError(
            f"prior {name!r} is p(z|c), and the model has no condition; give it one, "
            "or use another prior"
        )
    given = {
        "num_components": num_components,
        "images": images,
        "seed": seed,
        "condition_shape": condition_shape,
    }
    arguments = {key: value for key, value in given.items() if key in taken}
    return getattr(prior, "from_images", prior)(latent, **arguments)


__all__ = [
    "PRIORS",
    "ConditionalPrior",
    "LearnedPrior",
    "MixturePrior",
    "Prior",
    "VampPrior",
    "fair_bernoulli",
    "make_prior",
    "prior_arguments",
    "standard_logistic",
    "standard_multivariate_normal",
    "standard_normal",
    "tempered_logistic",
    "uniform_concrete",
    "uniform_one_hot",
]
__dir__ = __all__.copy  # what completion shows
