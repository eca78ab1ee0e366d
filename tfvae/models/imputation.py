"""Values in the place of those that are missing, by importance weighting."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int, require_number
from tfvae.models.batch import Batch, split_examples
from tfvae.models.missing import SelfMasking, completed
from tfvae.models.single_examples import one_example
from tfvae.objectives.bounds import effective_sample_size

if TYPE_CHECKING:
    from tfvae.models.vae import VAE

_EXAMPLES = 1000  # whose draws are in memory at a time


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
    seed = as_seed(seed)

    def one(given: tuple[dict[str, Any], tf.Tensor]) -> tuple[tf.Tensor, ...]:
        roles, key = given
        own = derive_seed(seed, "impute", key)
        found = impute_batch(vae, one_example(roles), num_samples, num_draws, own)
        mean, draws, ess, log_weights, values = found
        ends = [mean, mean]
        if interval is not None:
            ends = _interval(values, log_weights, interval)
        return mean[0], draws[:, 0], *(end[0] for end in ends), ess[0]

    @tf.function(reduce_retracing=True, autograph=False)
    def imputed(roles: dict[str, Any], keys: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # One by one, each with draws of its own: none depends on those beside it.
        dtype = vae.compute_dtype
        return tf.map_fn(one, (roles, keys), fn_output_signature=(dtype,) * 5)

    found = []
    for part in split_examples(x, vae.data_shape, _EXAMPLES, vae.role_beside):
        batch = vae.with_condition(part)._replace(label=None, sample_weight=None)
        found.append([each.numpy() for each in imputed(batch.roles(), _keys(batch))])
    if not found:
        raise InputError("there are no examples to impute; give at least one")
    mean, draws, *ends, ess = (np.concatenate(p) for p in zip(*found, strict=True))
    bad = np.flatnonzero(~np.isfinite(mean.reshape([len(mean), -1])).all(axis=1))
    if bad.size:
        raise InputError(
            f"what is imputed for example {bad[0]} is not finite, and for "
            f"{bad.size - 1} more of {len(mean)}; train the model again, with a "
            "smaller learning_rate, or clip_norm"
        )
    lower, upper = ends if interval is not None else (None, None)
    return Imputation(mean, np.swapaxes(draws, 0, 1), lower, upper, ess)


def _keys(batch: Batch) -> tf.Tensor:
    """Returns a number for each example that is a function of what is observed, [B]."""
    # Adding 0 makes -0 the 0 that it equals.
    parts = zip(batch.x.numpy() + 0, np.asarray(batch.observed), strict=True)
    keys = [zlib.crc32(x.tobytes() + observed.tobytes()) >> 1 for x, observed in parts]
    return tf.constant(keys, tf.int32)


def impute_batch(
    vae: VAE,
    batch: Batch,
    num_samples: int,
    num_draws: int,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Returns mean, draws, ESS, log-weights [S, B], and a draw of x for each of them.

    The batch is one of `VAE.with_condition`, of a model with `missing`. The expectation
    is the self-normalised one of Mattei and Frellsen, "MIWAE" (2019), equation 11, and
    draws are those of sampling importance resampling.
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
    values = completed(likelihood, x, observed, vae.draws_seed(z, seed))  # [S, B, ...]
    share = tf.nn.softmax(log_weights, axis=0)  # [S, B]
    if modelled:
        expected = tf.einsum("sb,sb...->b...", share, values)
    else:
        expected = vae.decoder.head.expectation(likelihood, share)
    mean = tf.where(observed, x, expected)
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
    values: tf.Tensor, log_weights: tf.Tensor, interval: float
) -> list[tf.Tensor]:
    """Returns the weighted quantiles of values [S, 1, ...] at both ends, [1, ...]."""
    samples = tf.shape(values)[0]
    rows = tf.transpose(tf.reshape(values, [samples, -1]))  # [X, S]
    share = tf.nn.softmax(log_weights[:, 0])
    order = tf.argsort(rows, axis=1)
    ordered = tf.gather(rows, order, batch_dims=1)
    up_to = tf.cumsum(tf.gather(share, order), axis=1)  # [X, S]
    ends = []
    for level in ((1 - interval) / 2, (1 + interval) / 2):
        below = tf.reduce_sum(tf.cast(up_to < level, tf.int32), axis=1)
        place = tf.minimum(below, samples - 1)
        end = tf.gather(ordered, place, batch_dims=1)
        ends.append(tf.reshape(end, tf.shape(values)[1:]))
    return ends
