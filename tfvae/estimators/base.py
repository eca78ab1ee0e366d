"""The interface of an estimator, and its result."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import Distribution
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.objectives import LogWeightTerms, Objective


class Estimate(NamedTuple):
    """The result of an estimator for one batch.

    Attributes:
        terms: The log-weights' terms, to report.
        surrogate: [B] Only its gradient has a meaning.
    """

    terms: LogWeightTerms
    surrogate: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A way to estimate the gradient of E_q[objective].

    A new estimator is a frozen dataclass with `estimate`, `unbiased`, `needs`, `method`
    and `paper`, and an entry in `ESTIMATORS`.

    Attributes:
        needs: "reparameterised", "discrete" or "any": the posteriors that it works for.
        sampled_rate: Whether it is for the sampled rate alone, and for no objective
            with `analytic_kl` or `free_bits`.
        gradient_through_z: Whether the decoder's gradient goes on through z.
        evaluations_per_sample: The decoder's evaluations for each sample of a step. A
            gradient from log w to z, of no use to the weights, counts as one.
        method: The way of the gradient to the encoder, for people.
        paper: The source.
    """

    needs: ClassVar[str]
    sampled_rate: ClassVar[bool] = False
    gradient_through_z: ClassVar[bool] = True
    evaluations_per_sample: ClassVar[int] = 1
    method: ClassVar[str]
    paper: ClassVar[str]

    def unbiased(self, objective: Objective) -> bool:
        """Whether the gradient's mean is that of the objective's expectation."""
        raise NotImplementedError

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """Draws the samples and returns their terms and a surrogate."""
        raise NotImplementedError

    def evaluations(self, num_samples: int, layers: int = 1) -> int:
        """Returns the decoder's evaluations of a step with so many samples.

        They are those of one example; the backward pass to the weights comes on top,
        to those of the model and of what the estimator learns.
        With a hierarchy what is evaluated beside a sample is so for each of the
        `layers` that the decoder reads.
        """
        return num_samples * (1 + layers * (self.evaluations_per_sample - 1))

    def learned(self, posterior: Distribution) -> keras.layers.Layer | None:
        """Returns a new layer of what the estimator learns of its own, if it does.

        The model trains and saves it, and hands it back as `VariationalBatch.learned`.
        The posterior is q(z|x) for any batch.
        """
        return None

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        """Refuses a combination that is not defined.

        The posterior is q(z|x) for any batch.

        Raises:
            InputError: if the combination is not defined, or an option has no effect.
        """
        for option in ("analytic_kl", "free_bits") if self.sampled_rate else ():
            if getattr(objective, option):
                raise InputError(
                    f"estimator {estimator_name(self)!r} works on the sampled rate, "
                    f"and the objective has {option} {getattr(objective, option)}; "
                    "leave it out, or use estimator 'pathwise'"
                )

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this estimator."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> Estimator:
        """Rebuilds an estimator from `get_config`."""
        return cls(**config)


def estimator_name(estimator: Estimator) -> str:
    """Returns what a user calls it, for messages: StraightThrough, straight_through."""
    return re.sub(r"\B(?=[A-Z])", "_", type(estimator).__name__).lower()
