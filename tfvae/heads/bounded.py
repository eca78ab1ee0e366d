"""Heads over the interval from 0 to 1."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfvae.distributions import ContinuousBernoulli, tfd
from tfvae.heads.base import DistributionHead, inverse_of_increasing, tilted_mean


@keras.saving.register_keras_serializable(package="tfvae")
class ContinuousBernoulliHead(DistributionHead):
    """Continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019) with the given logits.

    p(x) is proportional to exp(logits x) on [0, 1]:

        log p(x) = x logits - log(1 + exp(logits)) + log C
        C = logits / tanh(logits / 2), and 2 at logits 0

    Without C it would be the cross-entropy with grey targets, which integrates to
    less than one. Outside [0, 1] the density is 0.
    """

    param_names = ("logits",)
    support = "values in [0, 1]"
    formula = (
        "log p(x) = x logits - log(1 + exp(logits)) + log(logits / tanh(logits / 2))"
    )
    paper = "Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli"

    def in_support(self, x: np.ndarray) -> bool:
        """Returns whether all values are from 0 to 1."""
        return bool(np.all((x >= 0) & (x <= 1)))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the ContinuousBernoulli of logits [..., *event_shape]."""
        return ContinuousBernoulli(logits=params, dtype=params.dtype)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logits of the mean, clipped to [0.001, 0.999], by bisection."""
        mean = np.clip(mean, 0.001, 0.999)
        # The mean is about 1 / |logits| from 0 or 1.
        return inverse_of_increasing(tilted_mean, mean, -1100.0, 1100.0)
