"""Reweighted wake-sleep, whose encoder learns from samples of p(z|x).

The decoder and the prior follow the objective. The encoder follows no bound: it lowers
KL(p(z|x) || q(z|x)), by the gradient of log q at z of the posterior, in two ways:

    wake:   sum_s (w_s / sum_t w_t - 1 / S) grad log q(z_s|x),   z_s ~ q(z|x)
    sleep:  grad log q(z'|x'),                                   z', x' ~ p(z) p(x|z)

The constant 1 / S changes no mean, and takes the noise away where q is p(z|x).
"""

import dataclasses

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_share
from tfvae.distributions import Distribution
from tfvae.estimators.sum_over_samples import Coefficients, ConstantSamples
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import Iwae, LogWeightTerms, Objective


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Rws(ConstantSamples):
    """Reweighted wake-sleep, for discrete and for continuous latent variables.

    The wake part weighs its samples by w_s whatever `kl_weight`: its aim is p(z|x). Its
    mean is that of -grad KL(p(z|x) || q(z|x)) up to a bias of order 1 / S. The sleep
    part has no bias, for images of the model and not of the data. With the elbo and
    `sleep` 1 it is the wake-sleep algorithm (Hinton et al., 1995).

    Attributes:
        sleep: The share of the sleep part, from 0 to 1.
    """

    sleep: float = 0.0
    needs = "any"
    method = "log q's gradient, by normalised weights; with `sleep` at draws of p(x, z)"
    paper = "Bornschein and Bengio (2015); Le et al. (2019)"

    def __post_init__(self) -> None:
        """Checks the share."""
        require_share("sleep", self.sleep)

    def unbiased(self, objective: Objective) -> bool:
        """Returns False: the encoder follows no objective."""
        return False

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        super().check(objective, posterior, num_samples)
        if objective.two_objectives:
            raise InputError(
                f"objective {type(objective).__name__.lower()!r} has an objective for "
                "the encoder, and with estimator 'rws' the encoder follows none; use "
                "'iwae'"
            )
        if num_samples < 2 and self.sleep < 1:
            raise InputError(
                f"estimator 'rws' was given num_samples {num_samples} and needs 2 or "
                "more, whose weights differ; change num_samples, or set sleep 1"
            )

    def coefficients(
        self, batch: VariationalBatch, terms: LogWeightTerms
    ) -> Coefficients:
        """See `SumOverSamples.coefficients`."""
        log_weights = tf.stop_gradient(terms.loss_log_weights(batch.kl_weight))
        weights = Iwae().coefficients(tf.stop_gradient(terms.log_weights()))
        wake = (1.0 - self.sleep) * (weights - 1.0 / batch.num_samples)
        return Coefficients(batch.objective.coefficients(log_weights), wake)

    def beside(self, batch: VariationalBatch) -> tf.Tensor | float:
        """Returns `sleep` log q(z'|x'), [B]."""
        if not self.sleep:
            return 0.0
        if batch.dream_log_posterior is None:
            raise InputError(
                f"sleep {self.sleep} needs draws of the model, and the batch has no "
                "dream_log_posterior; give it one, or set sleep 0"
            )
        return self.sleep * batch.dream_log_posterior()
