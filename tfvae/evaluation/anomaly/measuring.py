"""Numbers of single examples, each with draws of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.evaluation.inputs import counted_batches
from tfvae.models import VAE
from tfvae.models.single_examples import Roles, blocks_of, example_seeds, one_example
from tfvae.objectives import Iwae
from tfvae.objectives.bounds import effective_sample_size

Measure = Callable[[Roles, tf.Tensor], tf.Tensor]
"""Examples and the seeds of their draws [B, 2] -> numbers of each, float64 [B, C]."""

STATISTICS = ("log_likelihood", "rate", "distortion", "ess")


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
        for roles in blocks_of(batch):
            found.append(measure(roles, seeds_of(roles, seed)).numpy())
    return np.concatenate(found)


def seeds_of(roles: Roles, seed: int) -> tf.Tensor:
    """Returns the seeds of examples' draws, [B, 2]."""
    return example_seeds(roles, seed, "anomaly")


def traced(measure: Measure) -> Measure:
    """Returns the measure as a graph, for examples in any number."""
    return tf.function(measure, reduce_retracing=True, autograph=False)


def _float64(terms: tf.Tensor) -> tf.Tensor:
    # In which sums over samples are taken.
    return tf.cast(terms, tf.float64)
