"""The score function of iwae with a control variate of nearly least variance."""

import dataclasses
import math

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_share
from tfvae.distributions import Distribution
from tfvae.estimators.discrete import Reinforce, constant_log_weights
from tfvae.estimators.sum_over_samples import Coefficients
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import Iwae, LogWeightTerms, Objective


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Ovis(Reinforce):
    """OVIS (Lievin et al., 2020), by draws or by its asymptotic control variate.

    With the normalised weights v_s, log q(z_s|x) has the coefficient d_s - c_s, where
    d_s = log mean_t w_t - v_s and the c_s of least variance is about the mean of d_s
    over z_s, the other samples fixed. With `num_auxiliary` more samples c_s is the mean
    of d_s with z_s replaced by each of them (equation 12), which has no bias. Without
    any it is the limit for many samples (equation 17), with which d_s - c_s is

        -log(1 - v_s) - v_s + gamma (v_s + log(1 - 1 / S))

    At gamma 0, which is for few samples that count, that is `reinforce` up to a
    constant of order 1 / S^2. Gamma 1 is for many samples that count; it adds gamma
    times the wake part of `rws`, and so has a bias that pulls q towards p(z|x).

    Attributes:
        gamma: From 0, without bias, to 1.
        num_auxiliary: The samples for c_s, from which nothing else is learned; None:
            the limit.
    """

    gamma: float = 0.0
    num_auxiliary: int | None = None
    method = "log q's gradient; the baseline is nearly optimal"
    paper = "Lievin, Dittadi, Christensen and Winther (2020)"

    def __post_init__(self) -> None:
        """Checks the numbers."""
        require_share("gamma", self.gamma)
        if self.num_auxiliary is not None:
            require_int("num_auxiliary", self.num_auxiliary)
            if self.gamma:
                raise InputError(
                    f"gamma (--ovis-gamma) {self.gamma} has no effect beside "
                    f"num_auxiliary (--ovis-auxiliary) {self.num_auxiliary}; leave one "
                    "of them out"
                )

    def unbiased(self, objective: Objective) -> bool:
        """Returns True for iwae and gamma 0."""
        return type(objective) is Iwae and not self.gamma

    def evaluations(self, num_samples: int, layers: int = 1) -> int:
        """See `Estimator.evaluations`."""
        return super().evaluations(num_samples, layers) + (self.num_auxiliary or 0)

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """See `Estimator.check`."""
        if type(objective) is not Iwae or num_samples < 2:
            name = type(objective).__name__.lower()
            raise InputError(
                f"estimator 'ovis' is for objective 'iwae' of 2 samples or more, and "
                f"was given {name!r} and num_samples {num_samples}; change them, or "
                "use 'reinforce'"
            )
        super().check(objective, posterior, num_samples)

    def coefficients(
        self, batch: VariationalBatch, terms: LogWeightTerms
    ) -> Coefficients:
        """See `SumOverSamples.coefficients`."""
        if self.num_auxiliary is None:
            return super().coefficients(batch, terms)
        seed = derive_seed(batch.seed, "auxiliary")
        more = dataclasses.replace(batch, num_samples=self.num_auxiliary, seed=seed)
        of_others = more.log_weight_terms(tf.stop_gradient(more.draw()))
        others = constant_log_weights(more, of_others)  # [M, B]
        log_weights = constant_log_weights(batch, terms)  # [S, B]
        objective, factor = batch.objective, batch.kl_weight
        # Each of the M in the place of each sample, beside each other: [S, M B].
        beside = tf.tile(log_weights, [1, self.num_auxiliary])
        instead = tf.broadcast_to(tf.reshape(others, [1, -1]), tf.shape(beside))
        replaced = objective.value_with_replaced(beside, instead)
        shares = tf.exp(instead - replaced - math.log(batch.num_samples))  # v_s
        each = tf.reshape(
            replaced - factor * shares,
            [batch.num_samples, self.num_auxiliary, tf.shape(log_weights)[1]],
        )
        joint = objective.coefficients(log_weights)  # [S, B]
        signals = objective.value(log_weights) - factor * joint
        return Coefficients(joint, signals - tf.reduce_mean(each, axis=1))

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the signals that make the coefficient above, [S, B]."""
        count = log_weights.shape[0]
        others = math.log1p(-1.0 / count)  # log of the others' share
        # log(1 - 1 / S) - log(1 - v_s), exact where v_s rounds to 1.
        signals = super().signals(objective, log_weights) - others - 1.0 / count
        return signals + self.gamma * (objective.coefficients(log_weights) + others)
