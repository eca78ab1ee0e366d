"""The distributions that models are made of.

They are TFP's, with draws whose tails are those of their densities, and with sums and
mixtures whose log-probabilities take few kernels. Nothing else in the package draws
from TFP's own classes of these names.
"""

from tfvae.distributions.families import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    ExpRelaxedOneHotCategorical,
    IndependentBernoulli,
    IndependentLogistic,
    Laplace,
    Logistic,
    MultivariateNormalDiag,
    MultivariateNormalTriL,
    Normal,
    OneHotCategorical,
    StudentT,
    independent_variables,
)
from tfvae.distributions.mixtures import NormalMixture, mixture
from tfvae.distributions.scalar import ScalarDistribution
from tfvae.distributions.tfd import FULLY_REPARAMETERIZED, Distribution, kl_divergence
from tfvae.distributions.tfd import Bernoulli as AnyBernoulli  # ours is one too

__all__ = [
    "AnyBernoulli",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Distribution",
    "ExpRelaxedOneHotCategorical",
    "FULLY_REPARAMETERIZED",
    "IndependentBernoulli",
    "IndependentLogistic",
    "Laplace",
    "Logistic",
    "MultivariateNormalDiag",
    "MultivariateNormalTriL",
    "Normal",
    "NormalMixture",
    "OneHotCategorical",
    "ScalarDistribution",
    "StudentT",
    "independent_variables",
    "kl_divergence",
    "mixture",
]
__dir__ = __all__.copy  # what completion shows
