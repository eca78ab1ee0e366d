"""Heads over equally spaced levels, such as the 256 grey values of a pixel."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.validation import require_int
from tfvae.distributions import tfd
from tfvae.heads.base import (
    MIN_SCALE,
    DistributionHead,
    inverse_of_increasing,
    softplus_inverse,
    tilted_mean,
)
from tfvae.heads.discretized import (
    LEVEL_TOLERANCE,
    CategoricalLevels,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
)

# The scale at a raw 0, where an untrained network begins. At log 2, the start of other
# heads, the two outer levels would have two thirds of the probability.
_INITIAL_SCALE = 0.1
_RAW_INITIAL_SCALE = float(softplus_inverse(_INITIAL_SCALE - MIN_SCALE))


class LevelsHead(DistributionHead):
    """The base of the heads over levels.

    Args:
        event_shape: The shape of one example.
        num_levels: The number of levels k / (num_levels - 1) between 0 and 1.
    """

    is_density = False
    support = "levels k / (num_levels - 1) in [0, 1]"

    def __init__(
        self, event_shape: Sequence[int], num_levels: int = 256, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.num_levels = require_int("num_levels", num_levels, least=2)
        self.support = f"levels k / {self.num_levels - 1} in [0, 1]"

    def outside(self, x: tf.Tensor) -> tf.Tensor:
        """Returns where values are no levels, up to a hundredth of their distance."""
        last = self.num_levels - 1
        level = tf.round(tf.clip_by_value(x * last, 0, last))
        # A graph makes >= of "not <", which NaN passes.
        near = tf.math.is_finite(x) & (tf.abs(x * last - level) < LEVEL_TOLERANCE)
        return tf.logical_not(near)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "num_levels": self.num_levels}


@keras.saving.register_keras_serializable(package="tfvae")
class CategoricalLevelsHead(LevelsHead):
    """A probability of its own for each of the levels of each element.

    P(level k) = softmax(logits)_k, num_levels parameters an element. The model has to
    learn that neighbouring levels are alike (van den Oord et al., 2016).
    """

    param_names = ("logits", "mean")
    formula = "P(k / (num_levels - 1)) = softmax(logits)_k"
    paper = "van den Oord et al. (2016), Pixel Recurrent Neural Networks"

    def __init__(
        self, event_shape: Sequence[int], num_levels: int = 256, **kwargs
    ) -> None:
        super().__init__(event_shape, num_levels, **kwargs)
        self.num_params = self.num_levels

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the CategoricalLevels of logits [..., num_levels * last]."""
        return CategoricalLevels(self.stacked(params))

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logits of largest entropy for the mean, clipped."""
        count, last = self.num_levels, self.num_levels - 1

        def mean_of(tilt: np.ndarray) -> np.ndarray:
            """Returns the mean of P(k) ~ exp(tilt k / last), a geometric sum."""
            step = tilt / last
            return (count * tilted_mean(count * step) - tilted_mean(step)) / last

        mean = np.clip(mean, 0.001, 0.999)
        tilt = inverse_of_increasing(mean_of, mean, -1100.0, 1100.0)
        values = np.linspace(-0.5, 0.5, count)
        return np.concatenate([tilt * value for value in values], axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class DiscretizedLogisticHead(LevelsHead):
    """A Logistic rounded to the nearest level.

    With u_k = ((k - 1/2) / (num_levels - 1) - loc) / scale,

        P(k / (num_levels - 1)) = sigmoid(u_{k + 1}) - sigmoid(u_k),

    where the lowest level has the mass below it (u_0 = -inf) and the highest the mass
    above it (Kingma et al., 2016; Salimans et al., 2017). Location and scale are in
    units in which the levels go from 0 to 1. The scale is softplus(raw - 2.25) + 1e-5,
    which is 0.1 at a raw 0: about the spread of a pixel, so that every level has some
    probability. At small scales the softplus is nearly an exponential, and a step of
    raw is a factor in the scale.
    """

    param_names = ("mean", "loc", "scale")
    num_params = 2
    formula = "P(k / (num_levels - 1)) = sigmoid(u_{k+1}) - sigmoid(u_k), tails added"
    paper = "Kingma et al. (2016), Improved Variational Inference with IAF"

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the DiscretizedLogistic of (loc, raw scale), [..., 2 * last]."""
        loc, raw_scale = self.split(params)
        return DiscretizedLogistic(loc, _scale(raw_scale), self.num_levels)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the location of the mean, clipped, beside a raw scale of 0."""
        loc = _loc_for_mean(mean, self.num_levels)
        return np.concatenate([loc, np.zeros_like(loc)], axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class DiscretizedLogisticMixtureHead(LevelsHead):
    """A mixture of discretized Logistics, a mixture of its own for each element.

    P(x) = sum_m softmax(logits)_m P_m(x), each P_m as in `DiscretizedLogisticHead`
    (Salimans et al., 2017). The channels of a pixel are independent given the
    parameters, where PixelCNN++ also lets green depend on red, and blue on both.

    Args:
        event_shape: The shape of one example.
        num_levels: The number of levels k / (num_levels - 1) between 0 and 1.
        num_components: The number of Logistics that are mixed.
    """

    param_names = ("mean", "logits", "loc", "scale")
    formula = "P(x) = sum_m softmax(logits)_m P_m(x), P_m a discretized logistic"
    paper = "Salimans et al. (2017), PixelCNN++"

    def __init__(
        self,
        event_shape: Sequence[int],
        num_levels: int = 256,
        num_components: int = 5,
        **kwargs,
    ) -> None:
        super().__init__(event_shape, num_levels, **kwargs)
        self.num_components = require_int("num_components", num_components)
        self.num_params = 3 * self.num_components  # logit, location and raw scale

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the mixture of (logits, locs, raw scales)."""
        # [..., *event_shape, num_components] each.
        logits, loc, raw_scale = tf.split(self.stacked(params), 3, axis=-1)
        return DiscretizedLogisticMixture(
            logits, loc, _scale(raw_scale), self.num_levels
        )

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns equal components; the network's random weights tell them apart."""
        loc = _loc_for_mean(mean, self.num_levels)
        zeros = [np.zeros_like(loc)] * self.num_components
        return np.concatenate([*zeros, *[loc] * self.num_components, *zeros], axis=-1)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "num_components": self.num_components}


def _scale(raw_scale: tf.Tensor) -> tf.Tensor:
    return tf.nn.softplus(raw_scale + _RAW_INITIAL_SCALE) + MIN_SCALE


def _loc_for_mean(mean: np.ndarray, num_levels: int) -> np.ndarray:
    """Returns the locations that have a mean at the initial scale."""
    last = num_levels - 1
    edges = (np.arange(last) + 0.5) / last

    def mean_of(loc: np.ndarray) -> np.ndarray:
        above = (loc[..., None] - edges) / _INITIAL_SCALE
        return np.mean(0.5 * (1 + np.tanh(0.5 * above)), axis=-1)  # P(x > edge)

    return inverse_of_increasing(mean_of, np.clip(mean, 0.001, 0.999), -2.0, 3.0)
