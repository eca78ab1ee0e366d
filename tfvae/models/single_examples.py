"""Examples taken one by one, so that a number of one depends on no other."""

from __future__ import annotations

import functools
import zlib
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.models.batch import Batch

Roles = dict[str, Any]
"""x [B, *data_shape], and the condition [B, ...] of a model that has one."""

# Where rows share matrix products, a block is filled up to so many: some processors
# round the rows that are left over in another way.
BLOCK = 32


def one_example(roles: Roles) -> Batch:
    """Returns the batch of one example, whose roles have no axis for it."""
    return Batch(**tf.nest.map_structure(lambda value: value[tf.newaxis], roles))


def filled(roles: Any, size: int | tf.Tensor, block: int = BLOCK) -> Any:
    """Returns examples with the last one repeated, so that there are `block`."""
    rows = tf.minimum(tf.range(block), size - 1)
    return tf.nest.map_structure(lambda value: tf.gather(value, rows), roles)


def blocks_of(batch: Batch) -> list[Roles]:
    """Returns the roles of a batch, of at most `BLOCK` examples at a time.

    Labels are left out: a label may not be known later.
    """
    roles = batch._replace(label=None, shard=None).roles()
    starts = range(0, batch.size, BLOCK)
    return [
        tf.nest.map_structure(
            lambda value: value[start : start + BLOCK],  # noqa: B023  called at once
            roles,
        )
        for start in starts
    ]


def example_seeds(roles: Roles, seed: Any, purpose: str) -> tf.Tensor:
    """Returns the seeds of examples' draws, [B, 2].

    They are functions of the example's values and the root seed. So a number that is
    computed with them is one fixed function of an example: it does not depend on the
    examples beside it, equal examples are ties, and scores of exchangeable examples are
    exchangeable, which is all that a conformal p-value needs. Draws by place would be
    so too, but an example would have another score in another place.
    """
    # Adding 0 makes -0 the 0 that it equals.
    parts = [np.asarray(value) + 0 for value in tf.nest.flatten(roles)]
    keys = [
        functools.reduce(lambda crc, value: zlib.crc32(value.tobytes(), crc), row, 0)
        for row in zip(*parts, strict=True)
    ]
    return tf.stack([derive_seed(seed, purpose, key >> 1) for key in keys])
