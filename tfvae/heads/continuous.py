"""Heads over real values, and over the interval from 0 to 1."""

from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_number
from tfvae.distributions import (
    ContinuousBernoulli,
    IndependentLogistic,
    Laplace,
    Logistic,
    MultivariateNormalTriL,
    Normal,
    StudentT,
    tfd,
)
from tfvae.heads.base import (
    MIN_SCALE,
    DistributionHead,
    clipped_logit,
    inverse_of_increasing,
    softplus_inverse,
    tilted_mean,
)

# Bounds of the elements below a diagonal of 1, and of the elements of the inverse: with
# a scale of 1e-5 beside it, the inverse stays within float32.
_LEAST_DF = 3.0  # of a Student-t
MAX_BELOW = 10.0
MAX_INVERSE = 1e30


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
    independent = IndependentLogistic


@keras.saving.register_keras_serializable(package="tfvae")
class LaplaceHead(LocationScaleHead):
    """Laplace with a location and a scale = softplus(raw) + 1e-5 from the network.

    log p(x) = -|x - loc| / scale - log(2 scale), an absolute error at a fixed scale.
    The gradient with respect to the location is 0 at x = loc, where it has a jump.
    """

    family = Laplace
    formula = "log p(x) = -|x - loc| / scale - log(2 scale)"
    paper = "Murphy (2012), Machine Learning, section 2.4.3"


@keras.saving.register_keras_serializable(package="tfvae")
class StudentTHead(DistributionHead):
    """Student-t with a location, a scale and degrees of freedom from the network.

    The scale is softplus(raw) + 1e-5, and df = 3 + softplus(raw): the variance is
    finite, and outliers cost less than a Normal's (Mattei and Frellsen, 2019).
    """

    num_params = 3
    param_names = ("mean", "scale", "df")
    formula = "log p(x) = -(df + 1) / 2 log(1 + u^2 / df) - log(scale) + c(df)"
    paper = "Mattei and Frellsen (2019), MIWAE, section 4"

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the StudentT of (loc, raw scale, raw df), [..., 3 * last]."""
        loc, raw_scale, raw_df = self.split(params)
        scale = tf.nn.softplus(raw_scale) + MIN_SCALE
        return StudentT(_LEAST_DF + tf.nn.softplus(raw_df), loc, scale)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the mean itself, beside zeros: a scale of log 2, 3.7 degrees."""
        zeros = np.zeros_like(mean)
        return np.concatenate([mean, zeros, zeros], axis=-1)


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


@keras.saving.register_keras_serializable(package="tfvae")
class MultivariateNormalHead(DistributionHead):
    """Normal(loc, L L^T) with L lower triangular, both from the network.

        L = diag(s) (I + N),    s = softplus(raw) + 1e-5,    N = c tanh(raw / c)

    N lies below the diagonal. After the D locations come the D (D + 1) / 2 raw numbers
    of s and N, in the order of TFP's `fill_triangular`. N is relative to s, so that
    a small scale makes a small row, and bounded by c = 10 (for D > 29, by the
    (1e30)^(1 / (D - 1)) - 1 that keeps the inverse of L within float32: 3.1 for D =
    50).

    Raises:
        InputError: if `event_shape` has not one axis.
    """

    elementwise = False

    def __init__(self, event_shape: Sequence[int], **kwargs) -> None:
        super().__init__(event_shape, **kwargs)
        if len(self.event_shape) != 1:
            raise InputError(
                f"event_shape {self.event_shape} of MultivariateNormalHead is not "
                "usable; give one axis, for example (50,)"
            )

    @property
    def params_shape(self) -> tuple[int, ...]:
        """The shape of the network's output for one example."""
        (size,) = self.event_shape
        return (size + size * (size + 1) // 2,)

    @property
    def bound(self) -> float:
        """The bound c of N."""
        size = self.event_shape[0]
        return min(MAX_BELOW, MAX_INVERSE ** (1 / max(size - 1, 1)) - 1)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Normal of (loc, raw L) [..., *params_shape], batch [...]."""
        size = self.event_shape[0]
        loc, raw = tf.split(params, [size, -1], axis=-1)
        raw = tfd.fill_triangular(raw)  # [..., D, D]
        # A mask, and not set_diag, whose gradient XLA cannot compile for batches of
        # unknown size.
        eye = tf.constant(np.eye(size), params.dtype)  # OpenVINO has no tf.eye
        s = tf.nn.softplus(tf.reduce_sum(raw * eye, axis=-1)) + MIN_SCALE  # [..., D]
        below = self.bound * tf.tanh(raw * (1.0 - eye) / self.bound)
        scale = s[..., tf.newaxis] * (eye + below)  # [..., D, D]
        return MultivariateNormalTriL(loc, scale)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return self.distribution(params)

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the means and the single variables' scales, [..., *event_shape]."""
        return {"mean": distribution.mean(), "scale": distribution.stddev()}


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

    def outside(self, x: tf.Tensor) -> tf.Tensor:
        """Returns where values are not from 0 to 1."""
        return tf.logical_not((x >= 0) & (x <= 1))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the ContinuousBernoulli of logits [..., *event_shape]."""
        return ContinuousBernoulli(logits=params, dtype=params.dtype)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logits of the mean, clipped to [0.001, 0.999], by bisection."""
        mean = np.clip(mean, 0.001, 0.999)
        # The mean is about 1 / |logits| from 0 or 1.
        return inverse_of_increasing(tilted_mean, mean, -1100.0, 1100.0)
