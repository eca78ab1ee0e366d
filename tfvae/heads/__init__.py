"""Keras layers that turn a network's output into a TFP distribution.

A head works on its own, inside `ConditionalDistribution`, and as the last layer of a
`keras.Sequential` or functional model, through saving and loading. It computes in
Keras' float type (float32), whatever the dtype policy of the network before it.
"""

from collections.abc import Mapping

from tfvae.heads.base import (
    MIN_SCALE,
    DistributionHead,
    assign_weight,
    constant_weight,
    weight_property,
)
from tfvae.heads.columns import (
    COLUMN_KINDS,
    BernoulliColumn,
    CategoricalColumn,
    Column,
    ColumnInputs,
    Columns,
    LogNormalColumn,
    NegativeBinomialColumn,
    NormalColumn,
    OrdinalColumn,
    PoissonColumn,
    StudentTColumn,
)
from tfvae.heads.continuous import (
    ContinuousBernoulliHead,
    FixedScaleNormalHead,
    LaplaceHead,
    LogisticHead,
    MultivariateNormalHead,
    NormalHead,
    SharedScaleNormalHead,
    StudentTHead,
)
from tfvae.heads.counts import NegativeBinomialHead, PoissonHead
from tfvae.heads.discrete import BernoulliHead, OneHotCategoricalHead
from tfvae.heads.latent_flow import CouplingFlow, FlowHead
from tfvae.heads.levels import (
    CategoricalLevelsHead,
    DiscretizedLogisticHead,
    DiscretizedLogisticMixtureHead,
)
from tfvae.heads.relaxed import BinConcreteHead, ConcreteHead

HEADS: Mapping[str, type[DistributionHead]] = {
    "bernoulli": BernoulliHead,
    "continuous_bernoulli": ContinuousBernoulliHead,
    "normal": NormalHead,
    "normal_fixed_scale": FixedScaleNormalHead,
    "normal_shared_scale": SharedScaleNormalHead,
    "laplace": LaplaceHead,
    "student_t": StudentTHead,
    "logistic": LogisticHead,
    "discretized_logistic": DiscretizedLogisticHead,
    "discretized_logistic_mixture": DiscretizedLogisticMixtureHead,
    "categorical": CategoricalLevelsHead,
    "poisson": PoissonHead,
    "negative_binomial": NegativeBinomialHead,
    "bin_concrete": BinConcreteHead,
}

__all__ = [
    "COLUMN_KINDS",
    "HEADS",
    "MIN_SCALE",
    "BernoulliColumn",
    "BernoulliHead",
    "BinConcreteHead",
    "CategoricalColumn",
    "CategoricalLevelsHead",
    "Column",
    "ColumnInputs",
    "Columns",
    "ConcreteHead",
    "ContinuousBernoulliHead",
    "CouplingFlow",
    "DiscretizedLogisticHead",
    "DiscretizedLogisticMixtureHead",
    "DistributionHead",
    "FixedScaleNormalHead",
    "FlowHead",
    "LaplaceHead",
    "LogNormalColumn",
    "LogisticHead",
    "MultivariateNormalHead",
    "NegativeBinomialColumn",
    "NegativeBinomialHead",
    "NormalColumn",
    "NormalHead",
    "OneHotCategoricalHead",
    "OrdinalColumn",
    "PoissonColumn",
    "PoissonHead",
    "SharedScaleNormalHead",
    "StudentTColumn",
    "StudentTHead",
    "assign_weight",
    "constant_weight",
    "weight_property",
]
__dir__ = __all__.copy  # what completion shows
