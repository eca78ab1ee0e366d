"""Heads over relaxed discrete values."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.validation import require_number
from tfvae.distributions import (
    ExpRelaxedOneHotCategorical,
    IndependentLogistic,
    Logistic,
    tfd,
)
from tfvae.heads.base import DistributionHead, constant_weight, weight_property
from tfvae.heads.discrete import OneHotCategoricalHead


class RelaxedHead(DistributionHead):
    """The base of the heads with a temperature.

    Attributes:
        temperature: A scalar weight that is not trained, so that it can be annealed.
    """

    temperature = weight_property("temperature", "A weight that is not trained.")

    def __init__(
        self, event_shape: Sequence[int], temperature: float = 0.5, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.initial_temperature = require_number("temperature", temperature)
        self.temperature = constant_weight(
            self, "temperature", self.initial_temperature
        )

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "temperature": self.initial_temperature}


@keras.saving.register_keras_serializable(package="tfvae")
class BinConcreteHead(RelaxedHead):
    """BinConcrete (relaxed Bernoulli) with the given logits, in logit space.

    The random variable is the logit of the relaxed Bernoulli,
    Logistic(logits / temperature, 1 / temperature) (Maddison, Mnih and Teh, 2017,
    appendix C): a decoder reads `sigmoid` of a draw. The relaxed Bernoulli's
    own density is infinite as soon as float32 rounds a draw to 0 or 1.
    """

    formula = "Logistic with loc = logits / temperature and scale = 1 / temperature"
    paper = "Maddison, Mnih and Teh (2017), The Concrete Distribution"
    independent = IndependentLogistic

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Logistic of logits [..., *event_shape]."""
        temperature = tf.convert_to_tensor(self.temperature)
        return Logistic(params / temperature, 1.0 / temperature)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logits whose draws, before the sigmoid, have this mean."""
        return mean * self.initial_temperature

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the logits of the Bernoulli that is relaxed, [..., *event_shape]."""
        return {"logits": distribution.mean() * self.temperature}


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
