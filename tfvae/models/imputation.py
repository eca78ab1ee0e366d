"""Values in the place of those that are missing, by importance weighting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int, require_number
from tfvae.models.batch import Batch, split_examples
from tfvae.models.missing import SelfMasking, completed
from tfvae.objectives.bounds import effective_sample_size

if TYPE_CHECKING:
    from tfvae.models.vae import VAE

_ELEMENTS = 4_000_000  # of the samples of all examples that are dealt with at a time


class Imputation(NamedTuple):
    """What may stand in the place of N examples' missing values.

    What is observed is in all arrays as it was given.

    Attributes:
        mean: [N, *data_shape] E[x_missing | x_observed].
        draws: [M, N, *data_shape] Draws of p(x_missing | x_observed).
        lower: [N, *data_shape] The lower end of the interval; None: none was wanted.
        upper: [N, *data_shape] The upper end.
        ess: [N] The effective sample size of the importance weights, from 1 to
            `num_samples`. Where it is near 1, nothing here can be relied upon.
    """

    mean: np.ndarray
    draws: np.ndarray
    lower: np.ndarray | None
    upper: np.ndarray | None
    ess: np.ndarray


def impute(
    vae: VAE,
    x: Any,
    num_samples: int,
    num_draws: int,
    interval: float | None,
    seed: Seed,
) -> Imputation:
    """See `VAE.impute`."""
    num_samples = require_int("num_samples", num_samples)
    num_draws = require_int("num_draws", num_draws, least=0)
    if interval is not None and require_number("interval", interval) >= 1:
        raise InputError(f"interval {interval!r} is not usable; give a share below 1")
    seed, wide = as_seed(seed), interval is not None

    @tf.function(reduce_retracing=True, autograph=False)
    def imputed(batch: Batch, own_seed: tf.Tensor) -> tuple:
        return _impute_batch(vae, batch, num_samples, num_draws, wide, own_seed)

    elements = num_samples * max(math.prod(vae.data_shape), vae.latent.latent_size)
    size = max(1, min(100, _ELEMENTS // elements))
    found: list[tuple[np.ndarray, ...]] = []
    for number, part in enumerate(
        split_examples(x, vae.data_shape, size, vae.role_beside)
    ):
        batch = vae.with_condition(part)
        mean, draws, ess, log_weights, values = imputed(
            batch, derive_seed(seed, "impute", number)
        )
        ends = (mean, mean)
        if interval is not None:
            ends = _interval(values.numpy(), log_weights.numpy(), interval)
        arrays = (np.asarray(each) for each in (mean, draws, *ends, ess))
        found.append(tuple(arrays))
    if not found:
        raise InputError("there are no examples to impute; give at least one")
    mean, draws, lower, upper, ess = (
        np.concatenate(parts, axis=axis)
        for parts, axis in zip(zip(*found, strict=True), (0, 1, 0, 0, 0), strict=True)
    )
    whole = Imputation(mean, draws, lower, upper, ess)
    return whole if wide else whole._replace(lower=None, upper=None)


def _impute_batch(
    vae: VAE,
    batch: Batch,
    num_samples: int,
    num_draws: int,
    wide: bool,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Returns mean, draws, ESS, log-weights [S, B], and one draw for each, if `wide`.

    The expectation is the self-normalised one of Mattei and Frellsen, "MIWAE" (2019),
    equation 11, and draws are those of sampling importance resampling.
    """
    variational = vae.variational_batch(batch, num_samples, seed)
    z, log_posterior = variational.draw_with_density()
    log_weights = variational.log_weight_terms(z, log_posterior).log_weights()
    c = batch.condition
    given: dict[str, Any] = {} if c is None else {"condition": c}
    likelihood = vae.decode(z, **given)
    x, observed = batch.x, batch.observed
    # Weights of a modelled mask are those of the values with which it was scored.
    modelled = isinstance(vae.missing, SelfMasking)
    own = vae.draws_seed(z, seed) if modelled else derive_seed(seed, "values")
    values = x
    if modelled or wide:
        values = completed(likelihood, x, observed, own)  # [S, B, ...]
    expected = values if modelled else likelihood.mean()
    share = tf.nn.softmax(log_weights, axis=0)  # [S, B]
    mean = tf.where(observed, x, tf.einsum("sb,sb...->b...", share, expected))
    chosen = tf.transpose(
        tf.random.stateless_categorical(
            tf.transpose(log_weights), num_draws, derive_seed(seed, "resampling")
        )
    )  # [M, B]

    def taken(samples: tf.Tensor) -> tf.Tensor:
        return tf.gather(
            tf.transpose(samples, _swapped(samples)), tf.transpose(chosen), batch_dims=1
        )

    if modelled:
        draws = taken(values)  # [B, M, ...]
        draws = tf.transpose(draws, _swapped(draws))
    else:
        resampled = taken(z)
        resampled = tf.transpose(resampled, _swapped(resampled))  # [M, B, ...]
        drawn = vae.decode(resampled, **given)
        draws = completed(drawn, x, observed, derive_seed(seed, "draws"))
    return mean, draws, effective_sample_size(log_weights), log_weights, values


def _swapped(values: tf.Tensor) -> list[int]:
    """Returns the axes in an order in which the first two are exchanged."""
    return [1, 0, *range(2, values.shape.rank)]


def _interval(
    values: np.ndarray, log_weights: np.ndarray, interval: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weighted quantiles of values [S, B, ...] at both ends, [B, ...]."""
    share = np.exp(log_weights - log_weights.max(axis=0))  # [S, B]
    share = (share / share.sum(axis=0)).reshape(
        *log_weights.shape, *[1] * (values.ndim - 2)
    )
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    up_to = np.cumsum(
        np.take_along_axis(np.broadcast_to(share, values.shape), order, axis=0), axis=0
    )
    ends = []
    for level in ((1 - interval) / 2, (1 + interval) / 2):
        place = np.minimum((up_to < level).sum(axis=0), len(values) - 1)
        ends.append(np.take_along_axis(ordered, place[np.newaxis], axis=0)[0])
    return ends[0], ends[1]
