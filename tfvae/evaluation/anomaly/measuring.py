"""Numbers of single examples, each with draws of its own."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.evaluation.inputs import counted_batches
from tfvae.models import VAE, Batch
from tfvae.objectives import Elbo, Iwae, LogWeightTerms
from tfvae.objectives.bounds import effective_sample_size

Roles = dict[str, Any]
"""x [B, *data_shape], and the condition [B, ...] of a model that has one."""

Measure = Callable[[Roles, tf.Tensor], tf.Tensor]
"""Examples and the seeds of their draws [B, 2] -> numbers of each, float64 [B, C]."""

STATISTICS = ("log_likelihood", "rate", "distortion", "ess")
# Where rows share matrix products, a block is filled up to so many: some processors
# round the rows that are left over in another way.
BLOCK = 32


def statistics_of(vae: VAE, num_samples: int) -> Measure:
    """Returns the measure of `STATISTICS`, with K = `num_samples` samples of z.

    L_K, the rate and the distortion are in nats; the effective sample size is between
    1 and K.
    """
    return functools.partial(_statistics, vae, num_samples)


def _statistics(
    vae: VAE, num_samples: int, roles: Roles, seeds: tf.Tensor
) -> tf.Tensor:
    def of_row(row: tuple[Roles, tf.Tensor]) -> tf.Tensor:
        terms = vae.log_weight_terms(one_example(row[0]), num_samples, row[1])
        log_weights = _float64(terms.sampled_log_weights())  # [K, 1]
        values = [
            Iwae().value(log_weights),
            tf.reduce_mean(_float64(terms.rate), axis=0),
            -tf.reduce_mean(_float64(terms.log_likelihood), axis=0),
            effective_sample_size(log_weights),
        ]
        return tf.concat(values, axis=0)  # [C]

    # One by one: a row of a larger matrix product may be rounded in another way.
    spec = tf.TensorSpec([len(STATISTICS)], tf.float64)
    return tf.map_fn(of_row, (roles, seeds), fn_output_signature=spec)


def one_example(roles: Roles) -> Batch:
    """Returns the batch of one example, whose roles have no axis for it."""
    return Batch(**tf.nest.map_structure(lambda value: value[tf.newaxis], roles))


def measured(
    vae: VAE,
    measure: Measure,
    examples: Any,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Returns the numbers of all examples, float64 [N, C].

    Args:
        vae: The model.
        measure: The measure, once traced.
        examples: An array, a dictionary of roles, a `Batch`, or batches of these.
        seed: The root seed of the draws.
        progress: Called with the number of examples so far.

    Raises:
        InputError: if there are no examples, or some that the model has no probability
            for.
    """
    found = []
    for batch in counted_batches(vae, examples, progress):
        # Whether x is strange is asked of x: its class may not be known later.
        roles = batch._replace(label=None, shard=None).roles()
        for start in range(0, batch.size, BLOCK):
            part = tf.nest.map_structure(
                lambda value: value[start : start + BLOCK],  # noqa: B023  called at once
                roles,
            )
            found.append(measure(part, _seeds(part, seed)).numpy())
    return np.concatenate(found)


def _seeds(roles: Roles, seed: int) -> tf.Tensor:
    """Returns the seeds of examples' draws, [B, 2].

    They are functions of the example's values and the root seed. So a score is one
    fixed function of an example: it does not depend on the examples beside it, equal
    examples are ties, and scores of exchangeable examples are exchangeable, which is
    all that a conformal p-value needs. Draws by place would be so too, but an example
    would have another score in another place.
    """
    # Adding 0 makes -0 the 0 that it equals.
    parts = [np.asarray(value) + 0 for value in tf.nest.flatten(roles)]
    keys = [
        functools.reduce(lambda crc, value: zlib.crc32(value.tobytes(), crc), row, 0)
        for row in zip(*parts, strict=True)
    ]
    return tf.stack([derive_seed(seed, "anomaly", key >> 1) for key in keys])


def filled(roles: Roles, size: int, block: int = BLOCK) -> Roles:
    """Returns examples with the last one repeated, so that there are `block`."""
    rows = tf.minimum(tf.range(block), size - 1)
    return tf.nest.map_structure(lambda value: tf.gather(value, rows), roles)


def traced(measure: Measure) -> Measure:
    """Returns the measure as a graph, for examples in any number."""
    return tf.function(measure, reduce_retracing=True, autograph=False)


def mean_log_weight(terms: LogWeightTerms) -> tf.Tensor:
    """Returns the elbo, mean_s log w_s, float64 [B], in nats."""
    return Elbo().value(_float64(terms.sampled_log_weights()))


def _float64(terms: tf.Tensor) -> tf.Tensor:
    # In which sums over samples are taken.
    return tf.cast(terms, tf.float64)
