"""Latent families: the posterior's head, the prior and the decoder's input of z.

`Hierarchy` makes one family of several, and so is in no table.
"""

from collections.abc import Mapping

from tfvae.latents.base import (
    FlowLatent,
    Latent,
    LogisticLatent,
    MultivariateNormalLatent,
    NormalLatent,
    StudentTLatent,
    require_own_twin,
)
from tfvae.latents.discrete import BernoulliLatent, CategoricalLatent
from tfvae.latents.hierarchy import Hierarchy, HierarchyHead
from tfvae.latents.layers import layer_means, layer_rates
from tfvae.latents.relaxed import BinConcreteLatent, ConcreteLatent

LATENTS: Mapping[str, type[Latent]] = {
    "normal": NormalLatent,
    "logistic": LogisticLatent,
    "student_t": StudentTLatent,
    "multivariate_normal": MultivariateNormalLatent,
    "flow": FlowLatent,
    "bin_concrete": BinConcreteLatent,
    "concrete": ConcreteLatent,
    "bernoulli": BernoulliLatent,
    "categorical": CategoricalLatent,
}

__all__ = [
    "LATENTS",
    "BernoulliLatent",
    "BinConcreteLatent",
    "CategoricalLatent",
    "ConcreteLatent",
    "FlowLatent",
    "Hierarchy",
    "HierarchyHead",
    "Latent",
    "LogisticLatent",
    "MultivariateNormalLatent",
    "NormalLatent",
    "StudentTLatent",
    "layer_means",
    "layer_rates",
    "require_own_twin",
]
__dir__ = __all__.copy  # what completion shows
