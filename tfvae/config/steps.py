"""The threads of an operation and the steps of an execution, by the size of a step."""

from __future__ import annotations

import itertools
import math
import os

from tfvae.config.config import Config

VARIABLE = "TF_NUM_INTRAOP_THREADS"
# Weights that an image's samples meet in the decoder, from which it takes the samples
# in two halves.
MANY_WEIGHTS = 1_000_000
_PIXELS = 784  # of an image, where its size is not known before it is loaded
_SMALL = 5e8  # floating-point operations of the products of a step
_MOST_STEPS = 20  # in an execution; more are no faster
_OF_UNKNOWN_SIZE = 10
_EXECUTION = 2e11  # operations: a second or two of a processor, for which Ctrl-C waits


def choose_threads(config: Config) -> str | None:
    """Has TensorFlow take one thread for an operation where that is faster.

    The products of a small step are too short to be shared out; the two of each
    layer's backward pass, which do not need each other, run beside each other. With
    two processors the two halves of many samples do. It must be called before
    TensorFlow starts, and leaves alone what the environment says.

    Returns:
        A note on it, if it was done.
    """
    if os.environ.get(VARIABLE) or config.network != "mlp":
        return None
    samples = config.num_samples
    halved = samples > 1 and samples * _weights(config) >= MANY_WEIGHTS
    if _flops(config) < _SMALL:
        why = "since steps are small"
    elif halved and len(os.sched_getaffinity(0)) == 2:
        why = "since there are two processors, and samples go through in two halves"
    else:
        return None
    os.environ[VARIABLE] = "1"
    return f"one thread an operation, {why} ({VARIABLE} changes it)"


def chosen_threads() -> int:
    """Returns the threads that the environment gives an operation; 0: all."""
    text = os.environ.get(VARIABLE) or ""
    return int(text) if text.isdecimal() else 0  # as TensorFlow reads it


def steps_of_execution(config: Config) -> int:
    """Returns the training steps in one call of TensorFlow, up to those of an epoch."""
    if config.steps_per_execution is not None:
        return config.steps_per_execution
    if config.network != "mlp":
        return _OF_UNKNOWN_SIZE
    return max(1, min(_MOST_STEPS, int(_EXECUTION / _flops(config))))


def _flops(config: Config) -> float:
    """Returns the operations of a step's matrix products, about."""
    passes = 6 * config.batch_size  # a product forward and two back, 2 a weight
    return passes * _weights(config) * (1 + config.num_samples)


def _weights(config: Config) -> int:
    """Returns the weights of one of the networks, about."""
    pixels = math.prod(config.image_size) if config.image_size else _PIXELS
    sizes = (pixels, *config.hidden_sizes, config.latent_size)
    return sum(one * other for one, other in itertools.pairwise(sizes))
