"""How much signal the gradients of the estimators carry, as samples are added.

With gradient estimates of mean m and standard deviation s, the signal-to-noise ratio
of a parameter is |m| / s. With K samples, the encoder's falls like K^-1/2 for `iwae`
with `pathwise`, while the decoder's grows like K^1/2 (Rainforth et al., 2018); `dreg`
makes the encoder's grow like K^1/2 too (Tucker et al., 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.distributions import Normal
from tfvae.estimators import VariationalBatch, get_estimator
from tfvae.objectives import get_objective

tfd = tfp.distributions

# Rainforth et al.'s model, p(z) = N(0, I), p(x|z) = N(weight z + bias, I), with their
# posterior scale, for one x [D]. At the optimum the posterior's mean is x / 2 and its
# variance 1/2; this one is moved, so that all gradients have a mean.
X = np.array([1.0, -0.6])
SHIFT = np.array([0.6, -0.5])  # of q(z|x)'s mean
VARIANCE = 2 / 3  # of q(z|x)
PARAMETERS = {
    "encoder": X[np.newaxis] / 2 + SHIFT,  # [1, D] q(z|x)'s mean
    "decoder": np.array([[1.0, 1.0], [0.0, 0.0]]),  # [2, D] weight, bias
}

# (objective, estimator) -> the exponents that theory gives for encoder and decoder.
# `stl` is biased for `iwae`: its encoder's signal is another gradient's.
LAWS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("elbo", "pathwise"): (0.5, 0.5),
    ("iwae", "pathwise"): (-0.5, 0.5),
    ("iwae", "stl"): (0.5, 0.5),
    ("iwae", "dreg"): (0.5, 0.5),
}

_CHUNK = 2_000_000  # numbers in one tensor, which bounds the memory
_GROUPS = 20  # of the jackknife


class Size(NamedTuple):
    """How much is computed.

    Attributes:
        num_samples: The K's, ascending.
        copies: Independent gradient estimates for each K.
        fit_from: The smallest K that the slopes are fitted to: the laws are those of
            large K.
    """

    num_samples: tuple[int, ...]
    copies: int
    fit_from: int


FULL = Size(tuple(2**n for n in range(11)), copies=30_000, fit_from=8)
FAST = Size(tuple(2**n for n in range(9)), copies=20_000, fit_from=8)


class Curve(NamedTuple):
    """The signal-to-noise ratio of one estimator's gradient for one network.

    Attributes:
        objective: Its name.
        estimator: Its name.
        part: "encoder" or "decoder".
        num_samples: [n] K.
        ratio: [n] The signal-to-noise ratio, a mean over the parameters.
        error: [n] The standard error of log ratio.
        slope: The exponent of K for large K; see `fit_power`.
        slope_error: Its standard error.
        law: What theory says that the slope is.
    """

    objective: str
    estimator: str
    part: str
    num_samples: np.ndarray
    ratio: np.ndarray
    error: np.ndarray
    slope: float
    slope_error: float
    law: float


def compare_estimators(size: Size = FULL, seed: int = 0) -> list[Curve]:
    """Returns the curves of every objective and estimator in `LAWS`.

    Args:
        size: How much is computed; `FULL` takes two minutes on two cores, `FAST` some
            seconds.
        seed: Of every draw.

    Raises:
        InputError: There are too few K's for a slope, or too few copies.
    """
    _check(size)
    counts = np.array(size.num_samples)
    curves = []
    for (objective, estimator), laws in LAWS.items():
        found = [
            {
                part: signal_to_noise(draws)
                for part, draws in gradients(
                    objective, estimator, count, size.copies, seed
                ).items()
            }
            for count in size.num_samples
        ]
        for part, law in zip(PARAMETERS, laws, strict=True):
            ratio, error = np.array([at[part] for at in found]).T  # [n] each
            late = counts >= size.fit_from
            fit = fit_power(counts[late], ratio[late], error[late])
            names = (objective, estimator, part)
            curves.append(Curve(*names, counts, ratio, error, *fit, law))
    return curves


def gradients(
    objective: str, estimator: str, num_samples: int, copies: int, seed: int
) -> dict[str, np.ndarray]:
    """Returns independent estimates of the gradient, [copies, parameters] by part.

    Args:
        objective: A name in `OBJECTIVES`.
        estimator: A name in `ESTIMATORS`.
        num_samples: K.
        copies: How many.
        seed: Of the draws; other K's and estimators have other draws.
    """
    most = max(1, _CHUNK // (num_samples * X.size))
    chunks = []
    for index, start in enumerate(range(0, copies, most)):
        purpose = f"{objective} {estimator}"
        draw = derive_seed(seed, purpose, num_samples, index)
        count = min(most, copies - start)
        chunks.append(_chunk(objective, estimator, num_samples, count, draw))
    return {part: np.concatenate([c[part] for c in chunks]) for part in PARAMETERS}


def signal_to_noise(
    draws: np.ndarray, num_groups: int = _GROUPS
) -> tuple[float, float]:
    """Returns |mean| / standard deviation, a mean over parameters, and its error.

    The mean of unsigned noise is not zero: a true ratio is seen where it is well above
    1 / sqrt(copies).

    Args:
        draws: [copies, parameters] Independent gradients.
        num_groups: Of the jackknife, which leaves out a group of copies at a time.

    Returns:
        The ratio, and the standard error of its logarithm.
    """
    groups = np.array_split(draws, num_groups)
    sizes = np.array([len(group) for group in groups])[:, np.newaxis]  # [G, 1]
    sums = np.array([group.sum(axis=0) for group in groups])  # [G, P]
    squares = np.array([np.square(group).sum(axis=0) for group in groups])

    def ratio(count: np.ndarray, total: np.ndarray, square: np.ndarray) -> np.ndarray:
        mean = total / count
        variance = (square - count * mean**2) / (count - 1)
        return np.mean(np.abs(mean) / np.sqrt(variance), axis=-1)

    parts = (sizes, sums, squares)
    left_out = ratio(*(part.sum(axis=0) - part for part in parts))  # [G]
    error = math.sqrt(num_groups - 1) * np.std(np.log(left_out))
    return float(ratio(*(part.sum(axis=0) for part in parts))), float(error)


def fit_power(
    num_samples: np.ndarray, ratio: np.ndarray, error: np.ndarray
) -> tuple[float, float]:
    """Returns the exponent of K in the ratio for large K, and its standard error.

    Least squares, weighted by the points' own variances, of

        log ratio = constant + slope log K + correction / K

    whose last term is the first by which the ratios differ from the law of large K.

    Args:
        num_samples: [n] K.
        ratio: [n] Above 0.
        error: [n] The standard errors of log ratio, above 0.
    """
    k = np.asarray(num_samples, float)
    columns = np.stack([np.ones_like(k), np.log(k), 1.0 / k], axis=1)  # [n, 3]
    scaled = columns / error[:, np.newaxis]
    covariance = np.linalg.inv(scaled.T @ scaled)
    slope = (covariance @ scaled.T @ (np.log(ratio) / error))[1]
    return float(slope), float(math.sqrt(covariance[1, 1]))


def table(curves: Sequence[Curve]) -> str:
    """Returns the slopes in Markdown, one row a curve, all for the same K's.

    Whether an estimator is unbiased is said of the encoder's gradient; the decoder's
    always is.
    """
    first, last = curves[0].num_samples[[0, -1]]
    lines = [
        f"| objective | estimator | unbiased | gradient of | SNR at K = {first} "
        f"| SNR at K = {last} | slope | standard error | law |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for curve in curves:
        objective = get_objective(curve.objective)
        unbiased = get_estimator(curve.estimator).unbiased(objective)
        lines.append(
            f"| {curve.objective} | {curve.estimator} | {'yes' if unbiased else 'no'} "
            f"| {curve.part} | {curve.ratio[0]:.3f} | {curve.ratio[-1]:.3f} "
            f"| {curve.slope:+.3f} | {curve.slope_error:.3f} | {curve.law:+.1f} |"
        )
    return "\n".join(lines)


def _check(size: Size) -> None:
    require_int("copies", size.copies, least=2 * _GROUPS)
    for count in size.num_samples:
        require_int("a number of samples in num_samples", count)
    fitted = {count for count in size.num_samples if count >= size.fit_from}
    if len(fitted) < 3:
        raise InputError(
            f"num_samples {size.num_samples} has {len(fitted)} of {size.fit_from} or "
            "more, and a slope needs 3; add larger ones, or lower fit_from"
        )


def _chunk(
    objective: str, estimator: str, num_samples: int, count: int, seed: tf.Tensor
) -> dict[str, np.ndarray]:
    """Makes every copy an example of a batch, with parameters of its own."""
    parts = {
        name: tf.tile(tf.constant(values)[tf.newaxis], [count, 1, 1])
        for name, values in PARAMETERS.items()
    }  # [B, parameters, D]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        batch = _batch(objective, num_samples, parts, seed)
        surrogate = get_estimator(estimator).estimate(batch).surrogate  # [B]
    slopes = tape.gradient(surrogate, parts)
    return {name: np.reshape(slope, [count, -1]) for name, slope in slopes.items()}


def _batch(
    objective: str, num_samples: int, parts: dict[str, tf.Tensor], seed: tf.Tensor
) -> VariationalBatch:
    mean, decoder = parts["encoder"][:, 0], parts["decoder"]

    def posterior(mean: tf.Tensor) -> tfd.Distribution:
        scale = tf.constant(math.sqrt(VARIANCE), mean.dtype)
        return tfd.Independent(Normal(mean, scale), 1)

    def log_likelihood(z: tf.Tensor) -> tf.Tensor:
        loc = decoder[:, 0] * z + decoder[:, 1]  # [S, B, D]
        return tfd.Independent(Normal(loc, tf.ones([], z.dtype)), 1).log_prob(X)

    zeros = tf.zeros([X.size], mean.dtype)
    return VariationalBatch(
        objective=get_objective(objective),
        posterior_params=mean,
        make_posterior=posterior,
        make_stopped_posterior=lambda mean: posterior(tf.stop_gradient(mean)),
        make_prior=lambda: tfd.Independent(Normal(zeros, tf.ones_like(zeros)), 1),
        log_likelihood=log_likelihood,
        num_samples=num_samples,
        kl_weight=1.0,
        seed=seed,
    )
