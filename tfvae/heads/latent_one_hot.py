"""Heads over one-hot variables, exact and relaxed, for posteriors."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfvae.core.validation import require_number
from tfvae.distributions import ExpRelaxedOneHotCategorical, OneHotCategorical, tfd
from tfvae.heads.base import DistributionHead, constant_weight


@keras.saving.register_keras_serializable(package="tfvae")
class OneHotCategoricalHead(DistributionHead):
    """Independent one-hot variables with the given logits.

    The last axis of the event is that of the classes: event_shape (D, K) is D
    variables of K classes, and draws are zeros with a one.
    """

    is_density = False

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Logits [..., *event_shape] -> one-hots, batch [..., *event_shape[:-1]]."""
        return OneHotCategorical(logits=params, dtype=params.dtype)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return tfd.Independent(self.distribution(params), len(self.event_shape) - 1)

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the logits [..., *event_shape]."""
        return {"logits": distribution.distribution.logits}


@keras.saving.register_keras_serializable(package="tfvae")
class ConcreteHead(OneHotCategoricalHead):
    """Concrete (relaxed one-hot) variables with the given logits, in log space.

    With Gumbel noise g, a draw is log softmax((logits + g) / temperature), and

        log p(z) = log (K - 1)! + (K - 1) log temperature
                   + sum_k log softmax(logits - temperature z)_k

    (Maddison, Mnih and Teh, 2017, appendix C). `exp` of a draw is what a decoder
    reads: its own density is infinite as soon as float32 rounds a class to 0.

    Attributes:
        temperature: A scalar weight that is not trained, so that it can be annealed.
    """

    is_density = True

    def __init__(
        self, event_shape: Sequence[int], temperature: float = 0.5, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.initial_temperature = require_number("temperature", temperature)
        self.temperature = constant_weight(
            self, "temperature", self.initial_temperature
        )

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Logits [..., *event_shape] -> logarithms of Concrete variables."""
        temperature = tf.convert_to_tensor(self.temperature)
        return ExpRelaxedOneHotCategorical(temperature, logits=params)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "temperature": self.initial_temperature}
