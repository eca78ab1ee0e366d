"""The threads of an operation and the steps of an execution, by the size of a step."""

from __future__ import annotations

import itertools
import os

from tfvae.config.config import Config

VARIABLE = "TF_NUM_INTRAOP_THREADS"
_PIXELS = 784  # of an image, whose size is not known before it is loaded
_SMALL = 5e8  # floating-point operations of the products of a step
_MOST_STEPS = 20  # in an execution; more are no faster
_OF_UNKNOWN_SIZE = 10
_EXECUTION = 2e11  # operations: a second or two of a processor, for which Ctrl-C waits


def choose_threads(config: Config) -> None:
    """Has TensorFlow take one thread for an operation where steps are small.

    The products of a small step are too short to be shared out; the two of each
    layer's backward pass, which do not need each other, run beside each other. It must
    be called before TensorFlow starts, and leaves alone what the environment says.
    """
    if config.network == "mlp" and _flops(config) < _SMALL:
        os.environ.setdefault(VARIABLE, "1")


def steps_of_execution(config: Config) -> int:
    """Returns the training steps in one call of TensorFlow, up to those of an epoch."""
    if config.steps_per_execution is not None:
        return config.steps_per_execution
    if config.network != "mlp":
        return _OF_UNKNOWN_SIZE
    return max(1, min(_MOST_STEPS, int(_EXECUTION / _flops(config))))


def _flops(config: Config) -> float:
    """Returns the operations of a step's matrix products, about."""
    sizes = (_PIXELS, *config.hidden_sizes, config.latent_size)
    weights = sum(one * other for one, other in itertools.pairwise(sizes))
    passes = 6 * config.batch_size  # a product forward and two back, 2 a weight
    return passes * weights * (1 + config.num_samples)
