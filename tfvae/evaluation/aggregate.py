"""The mean of M posteriors: what z says of x, and how far it is from p(z).

    q(z) = 1/M sum_j q(z|x_j)
    rate = E log q(z|x) - log p(z)
         = E log q(z|x) - log q(z)    +    E log q(z) - log p(z)
           mutual information of i and z     KL(q(z) || p(z))

(Hoffman and Johnson, 2016; Tomczak and Welling, 2018). Of the M images these are
estimates without bias; the mutual information is at most log M, so that of a model that
tells more images apart it says no more than that.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.distributions import Distribution, MultivariateNormalTriL
from tfvae.heads.latent_hierarchy import LayerChain

# Numbers in the largest tensor: 16 Mi float32 are 64 MiB.
MAX_ELEMENTS = 1 << 24


class AggregateTerms(NamedTuple):
    """Terms of single images, one draw each, float64 [M], in nats.

    With q(z) the mean of the posteriors of these M images, rate = mutual_information +
    divergence.

    Attributes:
        rate: log q(z|x) - log p(z).
        mutual_information: log q(z|x) - log q(z), at most log M.
        divergence: log q(z) - log p(z), whose mean estimates KL(q(z) || p(z)). With
            p(z|c) in place of p(z) it is no divergence.
    """

    rate: np.ndarray
    mutual_information: np.ndarray
    divergence: np.ndarray


class _Part(NamedTuple):
    """Some of the images.

    Attributes:
        posterior: q(z_1|x), batch [B]: of all of z but in a hierarchy, where no other
            layer's distribution depends on x.
        z: [B, ...] A draw of each.
        log_upper: [B] log q(z_2, ...|z_1), 0 without a hierarchy.
        log_prior: [B] log p(z).
    """

    posterior: Distribution
    z: tf.Tensor
    log_upper: np.ndarray
    log_prior: np.ndarray


class Aggregate:
    """Collects images, and compares each one's draw with everyone's posterior."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        return sum(len(part.log_prior) for part in self._parts)

    def add(self, posterior: Distribution, z: tf.Tensor, prior: Distribution) -> None:
        """Takes in posteriors, batch [B], with a draw of each, [B, ...].

        The prior p(z) has batch [], or is each example's p(z|c), batch [B].
        """
        log_prior = _float64(prior.log_prob(z))
        log_upper = np.zeros_like(log_prior)
        if isinstance(posterior, LayerChain):
            log_upper = _float64(tf.reduce_sum(posterior.log_probs(z)[1:], axis=0))
            posterior, z = posterior.first, posterior.layers(z)[0][1]
        self._parts.append(_Part(posterior, z, log_upper, log_prior))

    def terms(self) -> AggregateTerms:
        """Returns the terms of all images."""
        rows = []
        offset = 0
        for part in self._parts:
            count = len(part.log_prior)
            log_probs = self._log_probs(part.z)  # [B, M]
            own = log_probs[np.arange(count), offset + np.arange(count)]
            mixed = np.logaddexp.reduce(log_probs, axis=1) - math.log(len(self))
            beside = part.log_upper - part.log_prior
            rows.append((own + beside, own - mixed, mixed + beside))
            offset += count
        return AggregateTerms(*map(np.concatenate, zip(*rows, strict=True)))

    def _log_probs(self, z: tf.Tensor) -> np.ndarray:
        """Returns log q(z_i|x_j), [B, M], of draws z [B, ...]."""
        rows = []
        most = max(len(part.log_prior) for part in self._parts)
        size = most * math.prod(z.shape[1:])
        if isinstance(self._parts[0].posterior, MultivariateNormalTriL):
            size *= z.shape[-1]  # a full covariance has D^2 numbers beside the D of z
        step = max(1, MAX_ELEMENTS // size)
        for start in range(0, int(z.shape[0]), step):
            some = z[start : start + step, tf.newaxis]  # [R, 1, ...]
            blocks = [_float64(part.posterior.log_prob(some)) for part in self._parts]
            rows.append(np.concatenate(blocks, axis=1))
        return np.concatenate(rows)


def _float64(values: tf.Tensor) -> np.ndarray:
    return values.numpy().astype("float64")
