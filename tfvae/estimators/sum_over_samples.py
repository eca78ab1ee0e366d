"""Estimators whose surrogate is a sum over samples with constant coefficients.

    sum_s a_s log p(x, z'_s) + score_s log q(z_s|x)

where z' is z whose gradient is scaled on its way back, or stopped. The coefficients are
functions of the log-weights, so a first pass may find them, and a second one may go
through the networks for a part of the samples at a time: see `TwoPasses`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfvae.distributions import Distribution
from tfvae.estimators.base import Estimate, Estimator
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import LogWeightTerms


class Coefficients(NamedTuple):
    """The constants of a surrogate, each [S, B].

    Attributes:
        joint: a_s, of log p(x, z_s).
        score: That of log q(z_s|x).
        through_z: The factor of z's gradient from log p on its way back; None: 1.
    """

    joint: tf.Tensor
    score: tf.Tensor
    through_z: tf.Tensor | None = None

    def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> Coefficients:
        """Returns the coefficients that a function makes of each that there is."""
        return Coefficients(*(None if c is None else function(c) for c in self))


@dataclasses.dataclass(frozen=True)
class SumOverSamples(Estimator):
    """The base of the estimators with such a surrogate.

    Attributes:
        stops_posterior: Whether the parameters of q are stopped in log q.
    """

    stops_posterior: ClassVar[bool] = False

    def density(self, batch: VariationalBatch) -> Distribution:
        """Returns the q whose log-density is differentiated."""
        return batch.stopped_posterior() if self.stops_posterior else batch.posterior

    def coefficients(
        self, batch: VariationalBatch, terms: LogWeightTerms
    ) -> Coefficients:
        """Returns the constants of a batch whose log-weights have these terms."""
        raise NotImplementedError

    def importance(
        self, batch: VariationalBatch, terms: LogWeightTerms, found: Coefficients
    ) -> tf.Tensor:
        """Returns how much each sample counts, [S, B] of 0 or more.

        A sample of which any coefficient is not 0 counts for something.
        """
        return tf.abs(found.joint) + tf.abs(found.score)

    def beside(self, batch: VariationalBatch) -> tf.Tensor | float:
        """Returns what the surrogate has beside the sum, [B]; 0: nothing."""
        return 0.0


@dataclasses.dataclass(frozen=True)
class ConstantSamples(SumOverSamples):
    """Those through whose samples no gradient goes: log q alone has the encoder's."""

    sampled_rate = True
    gradient_through_z = False

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        terms = batch.log_weight_terms(tf.stop_gradient(batch.draw()))
        surrogate = surrogate_given(batch, terms, self.coefficients(batch, terms))
        return Estimate(terms, surrogate + self.beside(batch))


def surrogate_given(
    batch: VariationalBatch, terms: LogWeightTerms, given: Coefficients
) -> tf.Tensor:
    """Returns sum_s a_s log p(x, z_s) + score_s log q(z_s|x), [B].

    The gradient of z in the first part must be scaled by `through_z` on its way back.
    """
    log_joint = terms.log_likelihood + batch.kl_weight * terms.log_prior
    each = given.joint * log_joint + given.score * terms.log_posterior  # [S, B]
    return tf.reduce_sum(each, axis=0)


class LateScale:
    """Scales a gradient by a factor that may be known only when it comes back."""

    def __init__(self, factor: tf.Tensor | None = None) -> None:
        self.factor = factor  # [S, B]

    def on_the_way_back(self, z: tf.Tensor) -> tf.Tensor:
        """Returns z [S, B, ...], whose gradient is multiplied by `factor`."""

        @tf.custom_gradient
        def identity(z: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                axes = [1] * (upstream.shape.rank - 2)
                shape = tf.concat([tf.shape(self.factor), axes], axis=0)
                return upstream * tf.reshape(self.factor, shape)

            return tf.identity(z), gradient

        return identity(z)
