"""Heads over real values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_number
from tfvae.distributions import IndependentLogistic, Laplace, Logistic, Normal, tfd
from tfvae.heads.base import (
    MIN_SCALE,
    DistributionHead,
    clipped_logit,
    softplus_inverse,
)


class LocationScaleHead(DistributionHead):
    """A location and a scale = softplus(raw) + 1e-5 from the network.

    Attributes:
        family: The class of the distribution, made of (loc, scale).
    """

    num_params = 2
    family: ClassVar[type[tfd.Distribution]]

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of (loc, raw scale), [..., 2 * last]."""
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self.family(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the mean itself, beside a raw scale of 0 (a scale of log 2)."""
        return np.concatenate([mean, np.zeros_like(mean)], axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class NormalHead(LocationScaleHead):
    """Normal with a location and a scale = softplus(raw) + 1e-5 from the network."""

    family = Normal
    formula = "log p(x) = -((x - loc) / scale)^2 / 2 - log(scale) - log(2 pi) / 2"
    paper = "Kingma and Welling (2014), Auto-Encoding Variational Bayes"


@keras.saving.register_keras_serializable(package="tfvae")
class FixedScaleNormalHead(DistributionHead):
    """Normal with a location in [0, 1], sigmoid(params), and one fixed scale.

    With scale 1 its negative log-density is half the squared error plus
    0.5 log(2 pi) for each element.
    """

    formula = "Normal with loc = sigmoid(params) and one scale that is given"
    paper = "Kingma and Welling (2014), Auto-Encoding Variational Bayes"

    def __init__(
        self, event_shape: Sequence[int], scale: float = 1.0, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.scale = require_number("scale", scale)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Normal of the location's logit [..., *event_shape]."""
        loc = tf.sigmoid(params)
        return Normal(loc, tf.constant(self.scale, loc.dtype))

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logit of the mean, clipped to [0.001, 0.999]."""
        return clipped_logit(mean)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tfvae")
class LogisticHead(LocationScaleHead):
    """Logistic with a location and a scale = softplus(raw) + 1e-5 from the network."""

    family = Logistic
    formula = "log p(x) = -u - 2 log(1 + exp(-u)) - log(scale), u = (x - loc) / scale"
    paper = "Kingma et al. (2016), Improved Variational Inference with IAF"

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return IndependentLogistic(self.distribution(params), len(self.event_shape))


@keras.saving.register_keras_serializable(package="tfvae")
class LaplaceHead(LocationScaleHead):
    """Laplace with a location and a scale = softplus(raw) + 1e-5 from the network.

    log p(x) = -|x - loc| / scale - log(2 scale), an absolute error at a fixed scale.
    The gradient with respect to the location is 0 at x = loc, where it has a jump.
    """

    family = Laplace
    formula = "log p(x) = -|x - loc| / scale - log(2 scale)"
    paper = "Laplace (1774), Memoire sur la probabilite des causes par les evenements"


@keras.saving.register_keras_serializable(package="tfvae")
class SharedScaleNormalHead(DistributionHead):
    """Normal with a location from the network and one learned scale for all elements.

    The sigma-VAE's likelihood (Rybkin, Daniilidis and Levine, 2021): at the optimum
    the scale is the root mean squared error of the reconstructions, and balances
    distortion and rate without a weight to choose.

    Args:
        event_shape: The shape of one example.
        scale: The start of the scale, above 1e-5.

    Attributes:
        raw_scale: The weight; the scale is softplus(raw_scale) + 1e-5.
    """

    formula = "Normal with loc = params and one scale for all elements, a weight"
    paper = "Rybkin, Daniilidis and Levine (2021), Simple and Effective VAE Training"

    def __init__(
        self, event_shape: Sequence[int], scale: float = 1.0, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.initial_scale = require_number("scale", scale)
        if self.initial_scale <= MIN_SCALE:
            raise InputError(
                f"scale {scale!r} is not usable; give a number above {MIN_SCALE:g}, "
                "which is the smallest that is learned"
            )
        self.raw_scale = self.add_weight(name="raw_scale", shape=())
        # An initializer would round a float64 to float32.
        self.raw_scale.assign(softplus_inverse(self.initial_scale - MIN_SCALE))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Normal of a location [..., *event_shape]."""
        raw_scale = tf.convert_to_tensor(self.raw_scale)
        return Normal(params, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the mean itself."""
        return np.asarray(mean)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "scale": self.initial_scale}
