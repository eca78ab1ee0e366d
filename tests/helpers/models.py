"""Slow NumPy and SciPy oracles, and models whose answers are known exactly."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tfvae.core.seeds import derive_seed
from tfvae.estimators import Estimate
from tfvae.heads import HEADS, MIN_SCALE, DistributionHead
from tfvae.latents import LATENTS, NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import NETWORKS
from tfvae.objectives import LogWeightTerms

tfd = tfp.distributions

IMAGE_SHAPE = (8, 8, 1)
FLOAT64 = {"dtype": "float64", "head_dtype": "float64"}


def slow_but(quick: Iterable, cases: Iterable) -> list:
    """Marks all cases slow but those that stand for them in the usual suite."""
    quick = list(quick)
    return [
        case
        if case in quick
        else pytest.param(
            *(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow
        )
        for case in cases
    ]


SOME_LATENTS = slow_but(("normal", "bin_concrete", "bernoulli"), LATENTS)


# -- small models ----------------------------------------------------------------------


def estimator_for(latent: str) -> str:
    """An estimator that is defined for the family's draws."""
    return "pathwise" if LATENTS[latent].reparameterised else "reinforce"


def tiny_vae(
    latent: str = "normal",
    network: str = "mlp",
    head: str = "bernoulli",
    *,
    image_shape: tuple[int, ...] = IMAGE_SHAPE,
    latent_size: int = 3,
    hidden_sizes: Sequence[int] = (8,),
    dtype: str | None = None,
    head_dtype: str = "float32",
    seed: int = 0,
) -> VAE:
    """Builds a VAE of a few hundred weights; `dtype` is the networks'."""
    family = LATENTS[latent](latent_size, dtype=head_dtype)
    posterior = family.posterior_head()
    likelihood = HEADS[head](image_shape, dtype=head_dtype)
    build = NETWORKS[network]
    encoder = build.encoder(
        image_shape,
        posterior.params_shape,
        hidden_sizes,
        seed=seed,
        dtype=dtype,
        name="encoder",
    )
    decoder = build.decoder(
        family.decoder_shape,
        likelihood.params_shape,
        tuple(reversed(hidden_sizes)),
        seed=seed,
        dtype=dtype,
        name="decoder",
    )
    return vae_of(encoder, decoder, posterior, likelihood, family)


def vae_of(
    encoder: keras.Model,
    decoder: keras.Model,
    posterior: DistributionHead,
    likelihood: DistributionHead,
    family: keras.layers.Layer,
) -> VAE:
    """Puts networks and heads together."""
    return VAE(
        ConditionalDistribution(encoder, posterior),
        ConditionalDistribution(decoder, likelihood),
        family,
    )


def compiled(
    vae: VAE | None = None,
    rate: float = 1.0,
    optimizer: keras.optimizers.Optimizer | None = None,
    **how,
) -> VAE:
    """A VAE that steps eagerly, by plain gradient descent if nothing else is said."""
    vae = vae or tiny_vae(**FLOAT64)
    how = {"objective": "iwae", "num_samples": 4, "run_eagerly": True, **how}
    vae.compile(optimizer or keras.optimizers.SGD(rate), **how)
    return vae


def train_terms(vae: VAE, x: np.ndarray, step: int = 0) -> LogWeightTerms:
    """The terms whose log-weights training step `step` uses, with today's weights."""
    seed = derive_seed(vae.seed, "train", step)
    return vae.log_weight_terms(x, vae.num_samples, seed)


def binary_images(
    count: int, seed: int = 0, shape: tuple[int, ...] = IMAGE_SHAPE
) -> np.ndarray:
    """Images of zeros and ones, [count, *shape], each with its own share of ones."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.1, 0.9, [count] + [1] * len(shape))
    return (rng.random((count, *shape)) < share).astype("float32")


# -- a model of which everything is known ----------------------------------------------


class KnownScaleNormalHead(DistributionHead):
    """Normal whose location is the network's output and whose scale is given."""

    def __init__(self, event_shape: Sequence[int], scale: float, **kwargs) -> None:
        super().__init__(event_shape, **kwargs)
        self.scale = scale

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Location [..., *event_shape] -> Normal."""
        return tfd.Normal(params, tf.constant(self.scale, params.dtype))

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "scale": self.scale}


class LinearGaussian(NamedTuple):
    """p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I), W's columns being orthogonal.

    The true posterior is then N(m(x), diag(v)) with v_d = 1 / (1 + |w_d|^2 / s^2) and
    m(x) = diag(v) W^T (x - b) / s^2.
    """

    weights: np.ndarray  # [X, D]
    bias: np.ndarray  # [X]
    scale: float

    @property
    def variance(self) -> np.ndarray:
        """[D] v."""
        return 1 / (1 + np.sum(self.weights**2, axis=0) / self.scale**2)

    def posterior_mean(self, x: np.ndarray) -> np.ndarray:
        """[B, D] m(x)."""
        return (x - self.bias) @ self.weights * self.variance / self.scale**2

    def log_marginal(self, x: np.ndarray) -> np.ndarray:
        """[B] log p(x)."""
        size = len(self.bias)
        covariance = self.weights @ self.weights.T + self.scale**2 * np.eye(size)
        return stats.multivariate_normal(self.bias, covariance).logpdf(x)

    def elbo(self, x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """[B] E_q[log w] for q = N(mean [B, D], diag(variance [D]))."""
        residual = x - self.bias - mean @ self.weights.T  # [B, X]
        spread = np.sum(np.sum(self.weights**2, axis=0) * variance)
        log_likelihood = -0.5 * len(self.bias) * np.log(2 * np.pi * self.scale**2) - (
            np.sum(residual**2, axis=1) + spread
        ) / (2 * self.scale**2)
        return log_likelihood - self.kl(mean, variance)

    @staticmethod
    def kl(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """[B] KL(N(mean, diag(variance)) || N(0, I))."""
        return 0.5 * np.sum(mean**2 + variance - 1 - np.log(variance), axis=1)

    def vae(self, shift: float = 0.0, widen: float = 1.0) -> VAE:
        """The model in float64; its q is the true posterior, moved and widened."""
        size, latent_size = self.weights.shape
        family = NormalLatent(latent_size, dtype="float64")
        posterior = family.posterior_head()
        gain = self.weights * self.variance / self.scale**2  # [X, D]
        scale = widen * np.sqrt(self.variance)
        encoder = _affine(
            np.concatenate([gain, np.zeros_like(gain)], axis=1),
            np.concatenate(
                [shift - self.bias @ gain, softplus_inverse(scale - MIN_SCALE)]
            ),
        )
        decoder = _affine(self.weights.T, self.bias)
        likelihood = KnownScaleNormalHead((size,), self.scale, dtype="float64")
        return vae_of(encoder, decoder, posterior, likelihood, family)


def linear_gaussian(size: int = 6, latent_size: int = 3) -> LinearGaussian:
    """A linear-Gaussian model with arbitrary, fixed numbers."""
    rng = np.random.default_rng(1)
    columns = np.linalg.qr(rng.normal(size=[size, latent_size]))[0]
    lengths = np.linspace(0.5, 2.0, latent_size)
    return LinearGaussian(columns * lengths, rng.normal(size=size), scale=0.7)


def softplus_inverse(y: np.ndarray) -> np.ndarray:
    """x with log(1 + exp(x)) = y."""
    return y + np.log(-np.expm1(-y))


def _affine(kernel: np.ndarray, bias: np.ndarray) -> keras.Model:
    # Not a Sequential: that casts its input to the global float type, float32.
    inputs = keras.Input((kernel.shape[0],), dtype="float64")
    outputs = keras.layers.Dense(kernel.shape[1], dtype="float64")(inputs)
    network = keras.Model(inputs, outputs)
    network.set_weights([kernel, bias])
    return network


# -- oracles ---------------------------------------------------------------------------


def numpy_elbo(log_weights: np.ndarray) -> np.ndarray:
    """mean_s log w_s, [B]."""
    return log_weights.mean(axis=0)


def numpy_iwae(log_weights: np.ndarray) -> np.ndarray:
    """log mean_s w_s, [B]."""
    return special.logsumexp(log_weights, axis=0) - np.log(log_weights.shape[0])


def numpy_groups(log_weights: np.ndarray, bound, groups: int = 2) -> np.ndarray:
    """The mean of a bound over groups of samples."""
    return np.mean([bound(g) for g in np.split(log_weights, groups)], axis=0)


# Families whose log-weights `numpy_log_weights` has written out.
WRITTEN_OUT = ("normal", "logistic", "bin_concrete")


# The objectives with their default arguments.
def numpy_tvo(
    log_weights: np.ndarray, num_partitions: int = 5, first_beta: float = 0.025
) -> np.ndarray:
    """The left Riemann sum over beta, point by point."""
    last = max(1, num_partitions - 1)
    points = [0.0] + [first_beta ** (1 - k / last) for k in range(num_partitions)]
    total = np.zeros(log_weights.shape[1])
    for beta, after in itertools.pairwise(points):
        weights = np.exp(beta * (log_weights - log_weights.max(axis=0)))
        mean = np.sum(weights * log_weights, axis=0) / np.sum(weights, axis=0)
        total += (after - beta) * mean
    return total


BOUNDS = {
    "elbo": numpy_elbo,
    "iwae": numpy_iwae,
    "renyi": lambda lw: 2 * numpy_iwae(lw / 2),  # alpha = 1/2
    "vr_iwae": lambda lw: 2 * numpy_iwae(lw / 2),  # alpha = 1/2
    "ciwae": lambda lw: (numpy_elbo(lw) + numpy_iwae(lw)) / 2,  # beta = 1/2
    "miwae": lambda lw: numpy_groups(lw, numpy_iwae),
    "piwae": numpy_iwae,
    "tvo": numpy_tvo,
}
# Those that bound nothing with their default arguments.
NO_BOUNDS = ()


def numpy_log_weights(
    vae: VAE, latent: str, x: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """[S, B] log-weights of a tiny mlp VAE with a Bernoulli head, for z [S, B, D].

    Written from the formulas, with the weights' values and nothing else of tfvae.
    """
    flat = np.reshape(x, [len(x), -1])
    params = numpy_mlp(vae.encoder.network, flat)  # [B, P]
    if latent == "bin_concrete":
        temperature = float(vae.encoder.head.temperature.numpy())
        prior_temperature = float(vae.latent.prior_temperature.numpy())
        log_q = stats.logistic.logpdf(z, params / temperature, 1 / temperature)
        log_p = stats.logistic.logpdf(z, 0, 1 / prior_temperature)
        read = special.expit(z)
    else:
        family = {"normal": stats.norm, "logistic": stats.logistic}[latent]
        loc, raw = np.split(params, 2, axis=-1)
        log_q = family.logpdf(z, loc, np.logaddexp(0, raw) + 1e-5)
        log_p = family.logpdf(z)
        read = z
    logits = numpy_mlp(vae.decoder.network, read)  # [S, B, X]
    log_likelihood = np.sum(flat * logits - np.logaddexp(0, logits), axis=-1)
    return log_likelihood + np.sum(log_p - log_q, axis=-1)


def numpy_mlp(network: keras.Model, x: np.ndarray) -> np.ndarray:
    """The output, flat, of a `networks.mlp` with tanh units."""
    weights = network.get_weights()
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    for kernel, bias in pairs[:-1]:
        x = np.tanh(x @ kernel + bias)
    kernel, bias = pairs[-1]
    return x @ kernel + bias


def standard_error(draws: np.ndarray, axis: int = 0) -> np.ndarray:
    """Of the mean of independent draws."""
    return draws.std(axis=axis, ddof=1) / np.sqrt(draws.shape[axis])


def with_layer(vae: VAE, layer: keras.layers.Layer) -> VAE:
    """The VAE with a layer between its encoder's hidden layer and output."""
    *front, last = vae.encoder.network.layers
    x = front[-1].output
    network = keras.Model(vae.encoder.network.input, last(layer(x)))
    encoder = ConditionalDistribution(network, vae.encoder.head)
    return VAE(encoder, vae.decoder, vae.latent)


def estimate_of(vae: VAE, x: np.ndarray, seed) -> Estimate:
    """The estimate of a training step of a compiled model."""
    kl_weight = tf.convert_to_tensor(vae.kl_weight)
    batch = vae.variational_batch(
        x, vae.num_samples, seed, True, vae.objective, kl_weight
    )
    return vae.estimator.estimate(batch)
