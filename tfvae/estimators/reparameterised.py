"""Estimators that differentiate through the samples.

With coefficients a_s of the decoder's objective and b_s for the path from the encoder
through z, one surrogate serves all:

    sum_s a_s log p(x, z'_s) - b_s log q(z_s|x)

where z' is z whose gradient is scaled by b_s / a_s on its way back. So the decoder gets
a_s, the encoder b_s, and each network has one backward pass.
"""

import dataclasses

import keras
import tensorflow as tf

from tfvae.estimators.base import Estimate
from tfvae.estimators.sum_over_samples import (
    Coefficients,
    LateScale,
    SumOverSamples,
    surrogate_given,
)
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import LogWeightTerms, Objective

# The least |a_s| by which b_s is divided. A group of `piwae` whose weights are nothing
# beside another's has a_s = 0 in float32, and b_s of order 1: with a_s = 0 no gradient
# would come back to be scaled. The decoder cannot tell 1e-18 from 0 beside sum_s a_s =
# 1, and neither 1e-18 nor b_s / 1e-18 leaves float32.
_LEAST = 1e-18


@dataclasses.dataclass(frozen=True)
class Reparameterised(SumOverSamples):
    """The base of the estimators through z."""

    needs = "reparameterised"

    def encoder_coefficients(
        self, batch: VariationalBatch, log_weights: tf.Tensor
    ) -> tf.Tensor:
        """Returns b_s [S, B] for log-weights [S, B]."""
        return batch.objective.encoder_objective.coefficients(log_weights)

    def differ(self, objective: Objective) -> bool:
        """Whether b_s are other numbers than a_s."""
        return objective.two_objectives

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`."""
        if self.stops_posterior:
            z = batch.draw()
            log_posterior = batch.stopped_posterior().log_prob(z)
        else:
            z, log_posterior = batch.draw_with_density()
        if not self.differ(batch.objective):
            terms = batch.log_weight_terms(z, log_posterior)
            return Estimate(terms, batch.surrogate(terms))
        scale = LateScale()
        terms = batch.log_weight_terms(scale.on_the_way_back(z), log_posterior)
        found = self.coefficients(batch, terms)
        scale.factor = found.through_z
        return Estimate(terms, surrogate_given(batch, terms, found))

    def coefficients(
        self, batch: VariationalBatch, terms: LogWeightTerms
    ) -> Coefficients:
        """Returns a_s, -kl_weight b_s, and b_s / a_s if they differ.

        No a_s is 0 where b_s may not be.
        """
        log_weights = tf.stop_gradient(terms.loss_log_weights(batch.kl_weight))
        a = batch.objective.coefficients(log_weights)
        if not self.differ(batch.objective):
            return Coefficients(a, -batch.kl_weight * a)
        b = self.encoder_coefficients(batch, log_weights)
        a = tf.where(tf.abs(a) < _LEAST, tf.cast(_LEAST, a.dtype), a)
        return Coefficients(a, -batch.kl_weight * b, b / a)

    def importance(
        self, batch: VariationalBatch, terms: LogWeightTerms, found: Coefficients
    ) -> tf.Tensor:
        """Returns the mean of the decoder's and of the encoder's |a_s|."""
        log_weights = tf.stop_gradient(terms.loss_log_weights(batch.kl_weight))
        objective = batch.objective
        encoders = objective.encoder_objective.coefficients(log_weights)
        decoders = objective.coefficients(log_weights)
        return 0.5 * (tf.abs(decoders) + tf.abs(encoders))


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Pathwise(Reparameterised):
    """The gradient through the samples (Kingma and Welling, 2014)."""

    method = "through z, and through q's parameters in log q"
    paper = "Kingma and Welling (2014)"

    def unbiased(self, objective: Objective) -> bool:
        """Returns True."""
        return True


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Stl(Reparameterised):
    """Sticking the landing: q's parameters are stopped in log q (Roeder et al., 2017).

    What is left out has the expectation zero for the elbo alone; for the others the
    gradient is biased (Tucker et al., 2019). With the exact posterior the encoder's
    gradient is exactly zero.
    """

    sampled_rate = True
    stops_posterior = True
    method = "through z alone"
    paper = "Roeder, Wu and Duvenaud (2017)"

    def unbiased(self, objective: Objective) -> bool:
        """Returns True for constant coefficients: the elbo."""
        return objective.constant_coefficients


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Dreg(Reparameterised):
    """Doubly reparameterised gradients (Tucker et al., 2019), for every objective.

    The part of the gradient that goes through q's parameters in log q is turned into
    one through z: sum_s a_s d log q / d phi has the same mean as
    sum_s (d a_s / d log w_s) (d log w_s / d z_s) (d z_s / d phi). So q's parameters
    are stopped, and the path through z has a_s - kl_weight d a_s / d log w_s, which is
    softmax^2 for `iwae` and 1 / S (that is `stl`) for `elbo`.
    """

    sampled_rate = True
    stops_posterior = True
    method = "through z alone, with a_s - d a_s / d log w_s"
    paper = "Tucker, Lawson, Gu and Maddison (2019)"

    def unbiased(self, objective: Objective) -> bool:
        """Returns True."""
        return True

    def encoder_coefficients(
        self, batch: VariationalBatch, log_weights: tf.Tensor
    ) -> tf.Tensor:
        """Returns a_s - kl_weight d a_s / d log w_s, [S, B]."""
        encoder = batch.objective.encoder_objective
        score = batch.kl_weight * encoder.coefficient_derivative(log_weights)
        return encoder.coefficients(log_weights) - score

    def differ(self, objective: Objective) -> bool:
        """Whether any a_s depends on its log w_s."""
        return not objective.constant_coefficients
