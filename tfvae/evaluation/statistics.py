"""Means of scores, with their standard errors."""

import math
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """A mean over examples.

    Attributes:
        mean: The mean.
        standard_error: That of the mean; None for one example, which shows nothing of
            the spread.
    """

    mean: float
    standard_error: float | None


def mean_with_error(values: np.ndarray) -> Mean:
    """Returns the mean of independent values [N] with its standard error."""
    error = None
    if len(values) > 1:
        error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return Mean(float(np.mean(values)), error)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Mean:
    """Returns the mean of first - second, two scores [N] of the same examples.

    What makes an example easy or hard for both cancels, so that the standard error is
    that of the differences, and not of two independent means.
    """
    return mean_with_error(np.subtract(first, second))


def bits_per_dim(nats: float, image_shape: tuple[int, ...]) -> float:
    """Returns an image's negative log-likelihood in bits per pixel and channel."""
    return nats / (math.log(2.0) * math.prod(image_shape))
