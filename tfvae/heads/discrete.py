"""Heads over discrete values."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.distributions import Bernoulli, IndependentBernoulli, OneHotCategorical, tfd
from tfvae.heads.base import DistributionHead, clipped_logit


@keras.saving.register_keras_serializable(package="tfvae")
class BernoulliHead(DistributionHead):
    """Bernoulli with the given logits.

    Args:
        event_shape: The shape of one example.
        grey_targets: True to let `fit` take values between 0 and 1. Their `log_prob`
            is the cross-entropy: the expected log-probability of a binarised image,
            and no log-probability itself.
    """

    param_names = ("logits",)
    is_density = False
    support = "0 and 1"
    formula = "log p(x) = x logits - log(1 + exp(logits))"
    paper = "Kingma and Welling (2014), Auto-Encoding Variational Bayes"
    independent = IndependentBernoulli

    def __init__(
        self, event_shape: Sequence[int], grey_targets: bool = False, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.grey_targets = grey_targets
        self.exact_binary = not grey_targets
        if grey_targets:
            self.support = "values in [0, 1]"

    @property
    def is_probability(self) -> bool:
        """True for 0 and 1; the cross-entropy with grey targets is no probability's."""
        return not self.grey_targets

    def outside(self, x: tf.Tensor) -> tf.Tensor:
        """Returns where values are not 0 or 1, or not between with `grey_targets`."""
        if self.grey_targets:
            return tf.logical_not((x >= 0) & (x <= 1))
        return tf.not_equal(x, 0) & tf.not_equal(x, 1)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "grey_targets": self.grey_targets}

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Bernoulli of logits [..., *event_shape]."""
        return Bernoulli(logits=params, dtype=self.compute_dtype)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logit of the mean, clipped (Burda et al., 2016)."""
        return clipped_logit(mean)


@keras.saving.register_keras_serializable(package="tfvae")
class OneHotCategoricalHead(DistributionHead):
    """Independent one-hot variables with the given logits.

    The last axis of the event is that of the classes: event_shape (D, K) stands for D
    variables of K classes, and draws are zeros with a one.
    """

    param_names = ("logits",)
    is_density = False
    elementwise = False

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns one-hots of logits, batch [..., *event_shape[:-1]]."""
        return OneHotCategorical(logits=params, dtype=params.dtype)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return tfd.Independent(self.distribution(params), len(self.event_shape) - 1)
