"""Estimators that differentiate through the samples.

With coefficients a_s of the decoder's objective and b_s for the path from the encoder
through z, one surrogate serves all:

    sum_s a_s log p(x, z'_s) - b_s log q(z_s|x)

where z' is z whose gradient is scaled by b_s / a_s on its way back. So the decoder gets
a_s, the encoder b_s, and each network has one backward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.estimators.base import (
    Estimate,
    Estimator,
    Problem,
    refuse_rates,
    surrogate_of,
)
from tfvae.objectives import Elbo, LogWeightTerms, Objective

tfd = tfp.distributions

Coefficients = Callable[[tf.Tensor], tf.Tensor]

# The least |a_s| by which b_s is divided. A group of `piwae` whose weights are nothing
# beside another's has a_s = 0 in float32, and b_s of order 1: with a_s = 0 no gradient
# would come back to be scaled. The decoder cannot tell 1e-18 from 0 beside sum_s a_s =
# 1, and neither 1e-18 nor b_s / 1e-18 leaves float32.
_LEAST = 1e-18


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Pathwise(Estimator):
    """The gradient through the samples (Kingma and Welling, 2014)."""

    needs = "reparameterised"
    method = "through z, and through q's parameters in log q"
    paper = "Kingma and Welling (2014)"

    def unbiased(self, objective: Objective) -> bool:
        """Always."""
        return True

    def estimate(self, problem: Problem) -> Estimate:
        """See `Estimator.estimate`."""
        return _through_z(problem)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Stl(Estimator):
    """Sticking the landing: q's parameters are stopped in log q (Roeder et al., 2017).

    What is left out has the expectation zero for the elbo alone; for the others the
    gradient is biased (Tucker et al., 2019). With the exact posterior the encoder's
    gradient is exactly zero.
    """

    needs = "reparameterised"
    method = "through z alone"
    paper = "Roeder, Wu and Duvenaud (2017)"

    def unbiased(self, objective: Objective) -> bool:
        """For constant coefficients: the elbo."""
        return isinstance(objective, Elbo)

    def check(
        self, objective: Objective, posterior: tfd.Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        refuse_rates(self, objective)

    def estimate(self, problem: Problem) -> Estimate:
        """See `Estimator.estimate`."""
        return _through_z(problem, problem.stopped_posterior())


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Dreg(Estimator):
    """Doubly reparameterised gradients (Tucker et al., 2019), for every objective.

    The part of the gradient that goes through q's parameters in log q is turned into
    one through z: sum_s a_s d log q / d phi has the same mean as
    sum_s (d a_s / d log w_s) (d log w_s / d z_s) (d z_s / d phi). So q's parameters
    are stopped, and the path through z has a_s - kl_weight d a_s / d log w_s, which is
    softmax^2 for `iwae` and 1 / S (that is `stl`) for `elbo`.
    """

    needs = "reparameterised"
    method = "through z alone, with a_s - d a_s / d log w_s"
    paper = "Tucker, Lawson, Gu and Maddison (2019)"

    def unbiased(self, objective: Objective) -> bool:
        """Always."""
        return True

    def check(
        self, objective: Objective, posterior: tfd.Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        refuse_rates(self, objective)

    def estimate(self, problem: Problem) -> Estimate:
        """See `Estimator.estimate`."""
        encoder = problem.objective.encoder_objective

        def coefficients(log_weights: tf.Tensor) -> tf.Tensor:
            score = problem.kl_weight * encoder.diagonal(log_weights)
            return encoder.coefficients(log_weights) - score

        return _apart(problem, problem.stopped_posterior(), coefficients)


def _through_z(problem: Problem, density: tfd.Distribution | None = None) -> Estimate:
    objective = problem.objective
    if objective.encoder_objective is not objective:
        return _apart(problem, density, objective.encoder_objective.coefficients)
    z, log_posterior = _draw(problem, density)
    return surrogate_of(problem, problem.weigh(z, log_posterior))


def _draw(
    problem: Problem, density: tfd.Distribution | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns z [S, B, ...] and its log-density [S, B], in q or else in `density`."""
    if density is None:
        return problem.draw_with_density()
    z = problem.draw()
    return z, density.log_prob(z)


def _apart(
    problem: Problem,
    density: tfd.Distribution | None,
    encoder_coefficients: Coefficients,
) -> Estimate:
    """Returns the surrogate for any b_s; `density` as in `_draw`."""
    kl_weight = problem.kl_weight
    scale = _LateScale()
    z, log_posterior = _draw(problem, density)
    back = scale.on_the_way_back(z)
    terms = LogWeightTerms(
        problem.log_likelihood(back), problem.prior.log_prob(back), log_posterior
    )
    log_weights = terms.loss_log_weights(kl_weight)  # [S, B]
    decoder = tf.stop_gradient(problem.objective.coefficients(log_weights))  # a_s
    encoder = tf.stop_gradient(encoder_coefficients(log_weights))  # b_s
    decoder = tf.where(tf.abs(decoder) < _LEAST, tf.cast(_LEAST, z.dtype), decoder)
    scale.factor = encoder / decoder
    log_joint = terms.log_likelihood + kl_weight * terms.log_prior
    surrogate = decoder * log_joint - encoder * kl_weight * terms.log_posterior
    return Estimate(terms, tf.reduce_sum(surrogate, axis=0))


class _LateScale:
    """Scales a gradient by a factor that is known when the gradient comes back."""

    factor: tf.Tensor  # [S, B]

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
