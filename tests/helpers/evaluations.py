"""What an estimator asks of the decoder."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfvae.estimators import VariationalBatch


def with_counts(batch: VariationalBatch) -> tuple[VariationalBatch, list[int]]:
    """The batch, and the rows of z that log p(x|z) and gradients by z will have had."""
    counted: list[int] = []

    @tf.custom_gradient
    def counting(z):
        counted.append(z.shape[0])

        def on_the_way_back(upstream):
            counted.append(upstream.shape[0])
            return upstream

        return tf.identity(z), on_the_way_back

    def log_likelihood(z):
        return batch.log_likelihood(counting(z))

    return dataclasses.replace(batch, log_likelihood=log_likelihood), counted
