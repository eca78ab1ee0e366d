"""The thermodynamic variational objective."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number
from tfvae.objectives.bounds import Objective

_FIRST_BETA = 0.025


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Tvo(Objective):
    """The thermodynamic variational objective (Masrani, Le and Wood, 2019).

    log p(x) is the integral over beta from 0 to 1 of the mean of log w under
    pi_beta(z) ~ q(z|x)^(1 - beta) p(x, z)^beta. The objective is the left Riemann sum
    over points beta_0 = 0 < beta_1 < ... < beta_K = 1,

        sum_k (beta_(k + 1) - beta_k) m_k,   m_k = sum_s u_ks log w_s,
        u_ks = w_s^beta_k / sum_t w_t^beta_k

    where beta_1 to beta_K have equal ratios. As m_k is the derivative of
    log mean_s w_s^beta, which is convex in beta, the sum lies between `elbo` and `iwae`
    of the same samples: its expectation is a lower bound for any number of samples. It
    is `elbo` for K = 1, and goes to `iwae` as all steps of beta go to 0.

    The paper's covariance estimator, for samples without gradient, is that of
    `reinforce` for many samples: what a sample adds goes to the covariance's
    sum_k (beta_(k + 1) - beta_k) u_ks (log w_s - m_k).

    Attributes:
        num_partitions: K.
        first_beta: beta_1, above 0 and below 1; None: 0.025, or 1 for K = 1.
    """

    num_partitions: int = 5
    first_beta: float | None = None
    formula = "sum_k (beta_(k+1) - beta_k) sum_s w_s^beta_k log w_s / sum_s w_s^beta_k"
    paper = "Masrani, Le and Wood (2019)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_int("num_partitions", self.num_partitions)
        if self.first_beta is None:
            return
        if self.num_partitions == 1:
            raise InputError(
                f"first_beta {self.first_beta!r} has no effect with num_partitions 1, "
                "which is the elbo; leave it out, or give more partitions"
            )
        if require_number("first_beta", self.first_beta) >= 1:
            raise InputError(
                f"first_beta {self.first_beta!r} is not usable; give a number above 0 "
                "and below 1"
            )

    @property
    def constant_coefficients(self) -> bool:
        """Returns True for one partition, the elbo."""
        return self.num_partitions == 1

    def betas(self) -> np.ndarray:
        """Returns beta_0 = 0 to beta_K = 1, [K + 1]."""
        first = _FIRST_BETA if self.first_beta is None else self.first_beta
        first = first if self.num_partitions > 1 else 1.0
        return np.append(0.0, np.geomspace(first, 1.0, self.num_partitions))

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:  # [B]
        """Returns sum_k (beta_(k + 1) - beta_k) m_k."""
        largest = tf.reduce_max(log_weights, axis=0)  # [B]
        # Differences, whose sums lose no digits however large the log-weights are.
        below = log_weights - largest
        each, _ = self._means(below)
        return largest + self._riemann_sum(each)[0]

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns sum_k (beta_(k+1) - beta_k) d m_k / d log w_s.

        d m_k / d log w_s = u_ks (1 + beta_k (log w_s - m_k)), which may be below 0.
        """
        if log_weights.shape[0] == 1:
            return tf.ones_like(log_weights)
        _, slopes = self._slopes(log_weights)
        return self._riemann_sum(slopes)

    def coefficient_derivative(self, log_weights: tf.Tensor) -> tf.Tensor:  # [S, B]
        """Returns sum_k (beta_(k+1) - beta_k) beta_k (u_ks + (1 - 2 u_ks) d m_k)."""
        weights, slopes = self._slopes(log_weights)
        each = weights + (1.0 - 2.0 * weights) * slopes  # [K, S, B]
        return self._riemann_sum(self._starts(log_weights.dtype) * each)

    def _starts(self, dtype: tf.DType) -> tf.Tensor:
        """Returns beta_0 to beta_(K - 1), [K, 1, 1]."""
        return tf.constant(self.betas()[:-1, np.newaxis, np.newaxis], dtype)

    def _riemann_sum(self, each: tf.Tensor) -> tf.Tensor:
        """Returns sum_k (beta_(k + 1) - beta_k) of values [K, S, B], [S, B]."""
        return tf.tensordot(tf.constant(np.diff(self.betas()), each.dtype), each, 1)

    def _means(self, below: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns m_k [K, 1, B] and u_ks [K, S, B] of log-weights [S, B]."""
        weights = tf.nn.softmax(self._starts(below.dtype) * below, axis=1)
        return tf.reduce_sum(weights * below, axis=1, keepdims=True), weights

    def _slopes(self, log_weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u_ks and d m_k / d log w_s, each [K, S, B]."""
        below = log_weights - tf.reduce_max(log_weights, axis=0)
        means, weights = self._means(below)
        above = self._starts(below.dtype) * (below - means)
        return weights, weights * (1.0 + above)
