"""Models with several layers of latent variables."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

from helpers.models import (
    KnownScaleNormalHead,
    softplus_inverse,
)
from tfvae.heads import MIN_SCALE, BernoulliHead, DistributionHead
from tfvae.latents import LATENTS, Hierarchy
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import mlp
from tfvae.objectives import LogWeightTerms

FAMILIES = ("normal", "logistic", "bin_concrete", "bernoulli")


SHAPE = (2, 2, 1)


TEMPERATURES = {"temperature": 0.7, "prior_temperature": 0.4}


def hierarchy(family: str, sizes: tuple[int, ...], hidden: tuple[int, ...]):
    how = TEMPERATURES if family == "bin_concrete" else {}
    layers = [LATENTS[family](size, dtype="float64", **how) for size in sizes]

    def networks(name, pairs):
        return [
            mlp(
                source.decoder_shape,
                target.posterior_head().params_shape,
                hidden,
                name=f"{name}_{k}",
                dtype="float64",
            )
            for k, (source, target) in enumerate(pairs)
        ]

    up = networks("up", itertools.pairwise(layers))
    down = networks("down", [(b, a) for a, b in itertools.pairwise(layers)])
    return Hierarchy(layers, up, down)


def model(
    family: str,
    sizes: tuple[int, ...] = (3, 2),
    hidden: tuple[int, ...] = (5,),
    shape: tuple[int, ...] = SHAPE,
) -> VAE:
    """A hierarchy in float64 with weights that are far from zero."""
    latent = hierarchy(family, sizes, hidden)
    head, likelihood = latent.posterior_head(), BernoulliHead(shape, dtype="float64")
    how = {"hidden_sizes": hidden, "dtype": "float64"}
    encoder = mlp(shape, head.params_shape, name="encoder", **how)
    decoder = mlp(latent.decoder_shape, shape, name="decoder", **how)
    vae = together(encoder, head, decoder, likelihood, latent)
    rng = np.random.default_rng(2)
    for weight in vae.trainable_variables:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return vae


def together(encoder, head, decoder, likelihood: DistributionHead, latent) -> VAE:
    return VAE(
        ConditionalDistribution(encoder, head),
        ConditionalDistribution(decoder, likelihood),
        latent,
    )


@functools.cache
def small(family: str) -> VAE:
    return model(family, (2, 2), ())


class Chain(NamedTuple):
    """z_2 ~ N(0, 1), z_1 ~ N(a z_2 + c, s^2), x ~ N(W z_1 + b, r^2), W orthogonal."""

    a: np.ndarray = np.array([0.8, -1.3])
    c: np.ndarray = np.array([0.3, -0.2])
    s: np.ndarray = np.array([0.6, 0.9])
    w: np.ndarray = np.linalg.qr(np.random.default_rng(1).normal(size=[4, 2]))[0] * 1.5
    b: np.ndarray = np.array([0.1, -0.4, 0.2, 0.7])
    r: float = 0.7

    @property
    def prior_variance(self) -> np.ndarray:
        """Of z_1."""
        return self.a**2 + self.s**2

    @property
    def variance(self) -> np.ndarray:
        """Of z_1 given x."""
        return 1 / (1 / self.prior_variance + 1.5**2 / self.r**2)

    @property
    def slope(self) -> np.ndarray:
        """Of E[z_2|z_1] in z_1."""
        return self.a / self.prior_variance

    def mean(self, x: np.ndarray) -> np.ndarray:
        """E[z_1|x], [B, 2]."""
        pull = (x - self.b) @ self.w / self.r**2 + self.c / self.prior_variance
        return pull * self.variance

    def log_marginal(self, x: np.ndarray) -> np.ndarray:
        covariance = self.w @ np.diag(self.prior_variance) @ self.w.T
        covariance += self.r**2 * np.eye(4)
        return stats.multivariate_normal(self.b + self.w @ self.c, covariance).logpdf(x)

    def vae(self) -> VAE:
        """With the exact posterior."""
        latent = hierarchy("normal", (2, 2), ())
        gain = self.w * self.variance / self.r**2
        offset = self.c / self.prior_variance * self.variance - self.b @ gain
        zeros = np.zeros
        above = np.sqrt(1 - self.slope * self.a)  # of z_2 given z_1

        def affine(network, kernel, bias, scale):
            network.set_weights(
                [
                    np.concatenate([kernel, zeros(kernel.shape)], axis=1),
                    np.concatenate([bias, softplus_inverse(scale - MIN_SCALE)]),
                ]
            )

        head = latent.posterior_head()
        encoder = mlp((4,), head.params_shape, (), dtype="float64", name="encoder")
        decoder = mlp((2,), (4,), (), dtype="float64", name="decoder")
        affine(encoder, gain, offset, np.sqrt(self.variance))
        affine(latent.upward[0], np.diag(self.slope), -self.slope * self.c, above)
        affine(latent.downward[0], np.diag(self.a), self.c, self.s)
        decoder.set_weights([self.w.T, self.b])
        likelihood = KnownScaleNormalHead((4,), self.r, dtype="float64")
        return together(encoder, head, decoder, likelihood, latent)


X = np.random.default_rng(8).normal(size=[5, 4])


def at_states(vae: VAE, x: np.ndarray) -> LogWeightTerms:
    """Terms [16, B]."""
    return terms_at(vae, x, np.tile(STATES[:, None], [1, len(x), 1]))


def terms_at(vae: VAE, x: np.ndarray, z: np.ndarray) -> LogWeightTerms:
    return vae.variational_batch(
        tf.constant(x, tf.float64), 1, 0, False
    ).log_weight_terms(tf.constant(z))


STATES = np.array(list(itertools.product([0.0, 1.0], repeat=4)))  # [16, D]
