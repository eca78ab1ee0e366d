"""Keras layers that turn a network's output into a TFP distribution.

A head works on its own, inside `ConditionalDistribution`, and as the last layer of a
`keras.Sequential` or functional model, through saving and loading. It computes in
Keras' float type (float32), whatever the dtype policy of the network before it.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfvae.heads.base import MIN_SCALE, DistributionHead, constant_weight
from tfvae.heads.continuous import FixedScaleNormalHead, LogisticHead, NormalHead
from tfvae.heads.discrete import BernoulliHead
from tfvae.heads.relaxed import BinConcreteHead

HEADS: Mapping[str, type[DistributionHead]] = {
    "bernoulli": BernoulliHead,
    "normal": NormalHead,
    "normal_fixed_scale": FixedScaleNormalHead,
    "logistic": LogisticHead,
    "bin_concrete": BinConcreteHead,
}

__all__ = [
    "HEADS",
    "MIN_SCALE",
    "BernoulliHead",
    "BinConcreteHead",
    "DistributionHead",
    "FixedScaleNormalHead",
    "LogisticHead",
    "NormalHead",
    "constant_weight",
]
