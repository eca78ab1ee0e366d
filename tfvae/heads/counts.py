"""Heads over counts."""

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.distributions import ScalarDistribution, tfd
from tfvae.heads.base import MIN_SCALE, DistributionHead, softplus_inverse

_LEAST_MEAN = 1e-3  # the start in place of a mean of 0


class CountsHead(DistributionHead):
    """The base of the heads over counts.

    In float32 a log-probability is off by about 1e-7 x log(x): 0.005 nats for a count
    of 10,000.
    """

    is_density = False
    support = "counts 0, 1, 2, ..."

    def outside(self, x: tf.Tensor) -> tf.Tensor:
        """Returns where values are not whole numbers of 0 or more."""
        counts = tf.math.is_finite(x) & (x >= 0) & tf.equal(x, tf.floor(x))
        return tf.logical_not(counts)


@keras.saving.register_keras_serializable(package="tfvae")
class PoissonHead(CountsHead):
    """Poisson with the given log-rate.

    log p(x) = x log_rate - exp(log_rate) - log(x!), and -inf where x is no count.

    Above a log-rate of 88 the rate itself, which is the mean and part of the
    log-probability and of its gradient, is larger than float32's largest number: they
    are infinite there (above 709 in float64).
    """

    param_names = ("log_rate", "mean")
    formula = "log p(x) = x log_rate - exp(log_rate) - log(x!)"
    paper = "Gronbech et al. (2020), scVAE"

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the Poisson of a log-rate [..., *event_shape]."""
        return tfd.Poisson(log_rate=params, force_probs_to_zero_outside_support=True)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logarithm of the mean, which is clipped to at least 0.001."""
        return np.log(np.maximum(mean, _LEAST_MEAN))


@keras.saving.register_keras_serializable(package="tfvae")
class NegativeBinomialHead(CountsHead):
    """Negative binomial with a mean and an inverse dispersion from the network.

    With mean m and inverse dispersion r, each softplus(raw) + 1e-5,

        log p(x) = log Gamma(x + r) - log Gamma(r) - log(x!)
                   + r log(r / (r + m)) + x log(m / (r + m)),

    and -inf where x is no count: a Poisson whose rate has a Gamma distribution, with
    variance m + m^2 / r, as it is used for counts in single cells (Lopez et al.,
    2018). It tends to the Poisson of rate m as r grows.
    """

    param_names = ("mean", "inverse_dispersion")
    num_params = 2
    formula = (
        "log p(x) = log Gamma(x + r) - log Gamma(r) - log(x!) "
        "+ r log(r / (r + m)) + x log(m / (r + m))"
    )
    paper = "Lopez et al. (2018), Deep generative modeling for single-cell data"

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of (raw mean, raw inverse dispersion)."""
        raw_mean, raw_inverse_dispersion = self.split(params)
        return MeanNegativeBinomial(
            tf.nn.softplus(raw_mean) + MIN_SCALE,
            tf.nn.softplus(raw_inverse_dispersion) + MIN_SCALE,
        )

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns the raw mean, at least 0.001, and 0 (inverse dispersion log 2)."""
        raw_mean = softplus_inverse(np.maximum(mean, _LEAST_MEAN) - MIN_SCALE)
        return np.concatenate([raw_mean, np.zeros_like(raw_mean)], axis=-1)


class MeanNegativeBinomial(ScalarDistribution):
    """The negative binomial of a mean m and an inverse dispersion r.

    TFP's own takes r and log(m / r): terms of size x log(r) cancel in its
    log-probability. Nothing that grows with r cancels here.

    Args:
        rate: m > 0, the mean.
        inverse_dispersion: r > 0, of the same shape.
    """

    def __init__(
        self,
        rate: tf.Tensor,
        inverse_dispersion: tf.Tensor,
        name: str = "MeanNegativeBinomial",
    ) -> None:
        parameters = dict(locals())
        self.rate = tf.convert_to_tensor(rate)
        self.inverse_dispersion = tf.convert_to_tensor(inverse_dispersion)
        super().__init__(self.rate.dtype, parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None) -> dict:
        positive = tfd.ParameterProperties(
            default_constraining_bijector_fn=tfd.Softplus
        )
        return {"rate": positive, "inverse_dispersion": positive}

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        m, r = self.rate, self.inverse_dispersion
        is_count = tf.math.is_finite(x) & (x >= 0) & (x == tf.floor(x))
        x = tf.where(is_count, x, tf.zeros_like(x))
        log_prob = (
            _log_rising(x, r)
            + x * tf.math.log(m)
            - (x + r) * tf.math.log1p(m / r)
            - tf.math.lgamma(x + 1)
        )
        return tf.where(is_count, log_prob, tf.constant(-np.inf, x.dtype))

    def _mean(self) -> tf.Tensor:
        return self.rate

    def _variance(self) -> tf.Tensor:
        return self.rate + tf.square(self.rate) / self.inverse_dispersion

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seed = tfd.sanitize_seed(seed)
        r = self.inverse_dispersion
        rate = tfd.Gamma(r, r / self.rate).sample(n, seed=derive_seed(seed, "rate"))
        return tfd.Poisson(rate).sample(seed=derive_seed(seed, "count"))


def _log_rising(x: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """Returns log Gamma(x + r) - log Gamma(r) - x log(r), which tends to 0 with 1/r."""
    # From r = 8 on by Stirling's formula, whose large terms cancel by algebra.
    large = r >= 8
    s = tf.where(large, tf.ones_like(r), r)
    direct = tf.math.lgamma(x + s) - tf.math.lgamma(s) - x * tf.math.log(s)
    r = tf.where(large, r, tf.constant(8, r.dtype))
    correction = tfd.log_gamma_correction
    stirling = (x + r - 0.5) * tf.math.log1p(x / r) - x
    return tf.where(large, stirling + correction(x + r) - correction(r), direct)
