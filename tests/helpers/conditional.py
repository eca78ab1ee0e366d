"""A conditional model of which everything is known."""

from __future__ import annotations

import keras
import numpy as np
from scipy import stats

from helpers.models import KnownScaleNormalHead, linear_gaussian, softplus_inverse
from tfvae.conditions import OneHot
from tfvae.heads import MIN_SCALE
from tfvae.latents import NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.priors import ConditionalPrior

CLASSES = 3
SHAPE = (8, 8, 1)


class Known:
    """z|c ~ N(m_c, I) or N(0, I), x|z, c ~ N(W z + b_c, s^2 I), and p(z|x, c) as q."""

    def __init__(self, conditional_prior: bool) -> None:
        self.base = linear_gaussian()
        rng = np.random.default_rng(4)
        weights = self.base.weights
        size, latent_size = weights.shape
        self.bias = rng.normal(size=[CLASSES, size])
        shift = rng.normal(0, 2, [CLASSES, latent_size])
        self.prior_means = shift if conditional_prior else np.zeros_like(shift)
        variance, scale = self.base.variance, self.base.scale
        gain = weights * variance / scale**2  # [X, D]
        # m_c + v W^T (x - b_c - W m_c) / s^2, and a scale that is the same for all x.
        offset = self.prior_means - (self.bias + self.prior_means @ weights.T) @ gain
        kernel = np.concatenate([gain, offset])  # [X + C, D]
        raw = softplus_inverse(np.sqrt(variance) - MIN_SCALE)
        family = NormalLatent(latent_size, dtype="float64")
        encoder = two_inputs(
            np.concatenate([kernel, np.zeros_like(kernel)], axis=1),
            np.concatenate([np.zeros(latent_size), raw]),
            size,
        )
        decoder = two_inputs(
            np.concatenate([weights.T, self.bias]), np.zeros(size), latent_size
        )
        prior = None
        if conditional_prior:
            prior = ConditionalPrior(family, (CLASSES,), dtype="float64")
            loc = np.concatenate([shift, np.zeros_like(shift)], axis=1)
            prior.network.set_weights([loc])
        self.vae = VAE(
            ConditionalDistribution(encoder, family.posterior_head()),
            ConditionalDistribution(
                decoder, KnownScaleNormalHead((size,), scale, dtype="float64")
            ),
            family,
            prior,
            condition=OneHot(CLASSES, dtype="float64"),
        )

    def log_marginal(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        """[B] log p(x|c)."""
        weights, scale = self.base.weights, self.base.scale
        covariance = weights @ weights.T + scale**2 * np.eye(len(weights))
        means = self.bias[c] + self.prior_means[c] @ weights.T
        normal = stats.multivariate_normal(np.zeros(len(weights)), covariance)
        return normal.logpdf(x - means)

    def draw(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """x [N, X] and c [N] of the model itself, the classes equally likely."""
        rng = np.random.default_rng(seed)
        c = rng.integers(0, CLASSES, count)
        z = self.prior_means[c] + rng.normal(size=[count, self.base.weights.shape[1]])
        noise = rng.normal(0, self.base.scale, [count, len(self.base.bias)])
        return z @ self.base.weights.T + self.bias[c] + noise, c


def two_inputs(kernel: np.ndarray, bias: np.ndarray, size: int) -> keras.Model:
    x = keras.Input((size,), dtype="float64")
    c = keras.Input((len(kernel) - size,), dtype="float64")
    both = keras.layers.Concatenate(dtype="float64")([x, c])
    outputs = keras.layers.Dense(kernel.shape[1], dtype="float64")(both)
    network = keras.Model([x, c], outputs)
    network.set_weights([kernel, bias])
    return network
