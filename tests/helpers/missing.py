"""Models of data with holes, of which everything is known."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from helpers.models import KnownScaleNormalHead, linear_gaussian
from tfvae.heads import MIN_SCALE
from tfvae.latents import MultivariateNormalLatent
from tfvae.models import VAE, ConditionalDistribution


class ExactPosterior(keras.layers.Layer):
    """(x, mask) -> the parameters of p(z|x_observed), of a linear-Gaussian model."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray, scale: float, bound):
        super().__init__(dtype="float64")
        self.built = True
        self.weights_, self.bias_, self.scale_, self.bound = weights, bias, scale, bound

    def call(self, x, mask):
        latent_size = self.weights_.shape[1]
        gain = self.weights_ / self.scale_**2  # [X, D]
        precision = np.eye(latent_size) + tf.einsum(
            "bx,xd,xe->bde", mask, gain, self.weights_
        )
        covariance = tf.linalg.inv(precision)
        residual = mask * (x - self.bias_)
        loc = tf.einsum("bde,bx,xe->bd", covariance, residual, gain)
        lower = tf.linalg.cholesky(covariance)
        s = tf.linalg.diag_part(lower)
        below = lower / s[..., tf.newaxis] - np.eye(latent_size)
        # softplus_inverse is NumPy's; the same in TensorFlow.
        scales = s - MIN_SCALE
        raw_s = scales + tf.math.log(-tf.math.expm1(-scales))
        raw = self.bound * tf.atanh(below / self.bound) + tf.linalg.diag(raw_s)
        packed = tfp.math.fill_triangular_inverse(raw)
        return tf.concat([loc, packed], axis=-1)

    def compute_output_spec(self, x, mask):
        size = self.weights_.shape[1]
        shape = (x.shape[0], size + size * (size + 1) // 2)
        return keras.KerasTensor(shape, dtype="float64")


class KnownHoles:
    """z ~ N(0, I), x|z ~ N(W z + b, s^2 I), and p(z|x_observed) as q."""

    def __init__(self, missing="mar") -> None:
        self.base = linear_gaussian()
        weights, bias, scale = self.base.weights, self.base.bias, self.base.scale
        size, latent_size = weights.shape
        family = MultivariateNormalLatent(latent_size, dtype="float64")
        head = family.posterior_head()
        x, mask = (keras.Input((size,), dtype="float64") for _ in range(2))
        exact = ExactPosterior(weights, bias, scale, head.bound)
        z = keras.Input((latent_size,), dtype="float64")
        decoder = keras.Model(z, keras.layers.Dense(size, dtype="float64")(z))
        decoder.set_weights([weights.T, bias])
        self.vae = VAE(
            ConditionalDistribution(keras.Model([x, mask], exact(x, mask)), head),
            ConditionalDistribution(
                decoder, KnownScaleNormalHead((size,), scale, dtype="float64")
            ),
            family,
            missing=missing,
        )
        self.mean = bias
        self.covariance = weights @ weights.T + scale**2 * np.eye(size)

    def log_marginal(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """[B] log p(x_observed)."""
        return np.array(
            [self._one(row, seen) for row, seen in zip(x, observed, strict=True)]
        )

    def _one(self, x: np.ndarray, seen: np.ndarray) -> float:
        if not seen.any():
            return 0.0
        law = stats.multivariate_normal(
            self.mean[seen], self.covariance[np.ix_(seen, seen)]
        )
        return law.logpdf(x[seen])

    def rest_given(
        self, x: np.ndarray, seen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean and covariance of x_missing given x_observed, of one example."""
        there, gone = np.flatnonzero(seen), np.flatnonzero(~seen)
        cross = self.covariance[np.ix_(gone, there)]
        gain = cross @ np.linalg.inv(self.covariance[np.ix_(there, there)])
        mean = self.mean[gone] + gain @ (x[there] - self.mean[there])
        return mean, self.covariance[np.ix_(gone, gone)] - gain @ cross.T

    def draw(self, count: int, seed: int) -> np.ndarray:
        """[N, X] of the model itself."""
        rng = np.random.default_rng(seed)
        return rng.multivariate_normal(self.mean, self.covariance, count)
