"""Heads over one-hot variables, exact and relaxed, for posteriors."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfvae.distributions import ExpRelaxedOneHotCategorical, OneHotCategorical, tfd
from tfvae.heads.base import DistributionHead
from tfvae.heads.relaxed import RelaxedHead


@keras.saving.register_keras_serializable(package="tfvae")
class OneHotCategoricalHead(DistributionHead):
    """Independent one-hot variables with the given logits.

    The last axis of the event is that of the classes: event_shape (D, K) stands for D
    variables of K classes, and draws are zeros with a one.
    """

    param_names = ("logits",)
    is_density = False

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns one-hots of logits, batch [..., *event_shape[:-1]]."""
        return OneHotCategorical(logits=params, dtype=params.dtype)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return tfd.Independent(self.distribution(params), len(self.event_shape) - 1)


@keras.saving.register_keras_serializable(package="tfvae")
class ConcreteHead(RelaxedHead, OneHotCategoricalHead):
    """Concrete (relaxed one-hot) variables with the given logits, in log space.

    With Gumbel noise g, a draw is log softmax((logits + g) / temperature), and

        log p(z) = log (K - 1)! + (K - 1) log temperature
                   + sum_k log softmax(logits - temperature z)_k

    (Maddison, Mnih and Teh, 2017, appendix C). A decoder reads `exp` of a draw, whose
    own density is infinite as soon as float32 rounds a class to 0.
    """

    is_density = True

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns Concrete variables of logits [..., *event_shape], in log space."""
        temperature = tf.convert_to_tensor(self.temperature)
        return ExpRelaxedOneHotCategorical(temperature, logits=params)
