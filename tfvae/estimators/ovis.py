"""The score function with the control variate that is optimal for many samples."""

import dataclasses
import math

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_share
from tfvae.distributions import Distribution
from tfvae.estimators.discrete import Reinforce
from tfvae.objectives import Iwae, Objective


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Ovis(Reinforce):
    """OVIS, by its asymptotic control variate (Lievin et al., 2020, equation 17).

    With the normalised weights v_s, log q(z_s|x) has the coefficient

        -log(1 - v_s) - v_s + gamma (v_s + log(1 - 1 / S))

    At gamma 0, which is for few samples that count, that is `reinforce` up to a
    constant of order 1 / S^2. Gamma 1 is for many samples that count; it adds gamma
    times the wake part of `rws`, and so has a bias that pulls q towards p(z|x).

    Attributes:
        gamma: From 0, without bias, to 1.
    """

    gamma: float = 0.0
    method = "log q's gradient; the baseline is nearly optimal for many samples"
    paper = "Lievin, Dittadi, Christensen and Winther (2020)"

    def __post_init__(self) -> None:
        """Checks the number."""
        require_share("gamma", self.gamma)

    def unbiased(self, objective: Objective) -> bool:
        """Returns True for iwae and gamma 0."""
        return type(objective) is Iwae and not self.gamma

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

    def signals(self, objective: Objective, log_weights: tf.Tensor) -> tf.Tensor:
        """Returns the signals that make the coefficient above, [S, B]."""
        count = log_weights.shape[0]
        others = math.log1p(-1.0 / count)  # log of the others' share
        # log(1 - 1 / S) - log(1 - v_s), exact where v_s rounds to 1.
        signals = super().signals(objective, log_weights) - others - 1.0 / count
        return signals + self.gamma * (objective.coefficients(log_weights) + others)
