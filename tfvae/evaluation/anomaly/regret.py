"""Likelihood regret: what an example's own posterior would gain over the encoder's."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number
from tfvae.distributions import Distribution
from tfvae.estimators import VariationalBatch
from tfvae.evaluation.anomaly.measuring import (
    Measure,
    Roles,
    filled,
    mean_log_weight,
    one_example,
)
from tfvae.evaluation.anomaly.scores import Score
from tfvae.models import VAE, Batch, SemiSupervisedVAE
from tfvae.objectives import LogWeightTerms

_DECAY = (0.9, 0.999)
_EPSILON = 1e-7


@dataclasses.dataclass(frozen=True)
class Regret(Score):
    """The gain of the bound when q(z|x) is refined for the example alone, in nats.

        max_q E_q[log w] - E_q(z|x)[log w]

    Xiao, Yan and Amit, "Likelihood Regret: An Out-of-Distribution Detection Score For
    Variational Auto-encoder" (2020), with the posterior's parameters refined and the
    networks as they are. The parameters start at the encoder's. Adam takes a fixed
    number of steps along the path derivative of the bound, which vanishes where q is
    the exact posterior (Roeder, Wu and Duvenaud, 2017); the step size falls to 0, so
    that little of the draws' noise is left. Both bounds have the same K draws.

    Attributes:
        num_steps: The steps of Adam.
        learning_rate: The size of its first steps, in units of q's parameters.
        num_draws: The draws of z in each step; all examples share their noise.
    """

    formula = "max_q E_q[log w] - E_q(z|x)[log w]"
    paper = "Xiao, Yan and Amit (2020)"
    num_steps: int = 100
    learning_rate: float = 0.05
    num_draws: int = 8

    def __post_init__(self) -> None:
        """Checks the numbers."""
        require_int("num_steps", self.num_steps)
        require_number("learning_rate", self.learning_rate)
        require_int("num_draws", self.num_draws)

    def check(self, vae: VAE) -> None:
        """Raises InputError if draws of z have no gradient, or there are classes."""
        if isinstance(vae, SemiSupervisedVAE):
            raise InputError(
                "score 'regret' refines one posterior, and a semi-supervised model has "
                "one for each class; choose another score, such as 'dose'"
            )
        if not vae.latent.reparameterised:
            raise InputError(
                "score 'regret' follows gradients through z, and draws of "
                f"{type(vae.latent).__name__} have none; choose another score, such as "
                "'dose'"
            )

    def measure(self, vae: VAE, num_samples: int, seed: int) -> Measure:
        """Returns the measure of the refined bound and of the encoder's, [B, 2]."""
        return functools.partial(self._bounds, vae, num_samples, seed)

    def values(self, measured: np.ndarray) -> np.ndarray:
        """Returns the gains, [N]."""
        return measured[:, 0] - measured[:, 1]

    def _bounds(
        self, vae: VAE, num_samples: int, seed: int, roles: Roles, seeds: tf.Tensor
    ) -> tf.Tensor:
        size = tf.shape(seeds)[0]
        every = Batch(**filled(roles, size))
        variational = vae.variational_batch(every, self.num_draws, 0)
        start = variational.posterior_params
        refined = self._refined(variational, derive_seed(seed, "regret"))

        def of_row(row: tuple) -> tf.Tensor:
            given, key, *both = row
            one = vae.variational_batch(one_example(given), num_samples, key)
            bounds = [
                mean_log_weight(
                    one.with_posterior_params(
                        params[tf.newaxis]
                    ).draw_log_weight_terms()
                )
                for params in both
            ]
            return tf.concat(bounds, axis=0)

        rows = (roles, seeds, refined[:size], start[:size])
        spec = tf.TensorSpec([2], tf.float64)
        return tf.map_fn(of_row, rows, fn_output_signature=spec)

    def _refined(self, batch: VariationalBatch, seed: tf.Tensor) -> tf.Tensor:
        """Returns parameters of q [B, ...] after the steps."""
        start = tf.stop_gradient(batch.posterior_params)

        def step(index: tf.Tensor, state: _Adam) -> tuple[tf.Tensor, _Adam]:
            draw_seed = derive_seed(seed, "step", index)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.params)
                total = self._bound(
                    batch.with_posterior_params(state.params), draw_seed
                )
            slope = tape.gradient(total, state.params)
            left = 1 - tf.cast(index, slope.dtype) / self.num_steps
            return index + 1, state.step(slope, index, self.learning_rate * left)

        zeros = tf.zeros_like(start)
        _, last = tf.while_loop(
            lambda index, _: index < self.num_steps,
            step,
            (tf.constant(0), _Adam(start, zeros, zeros)),
            parallel_iterations=1,
        )
        return last.params

    def _bound(self, batch: VariationalBatch, seed: tf.Tensor) -> tf.Tensor:
        """Returns the sum of the examples' bounds, whose gradient is the path's."""
        z = _same_draws(
            batch.make_posterior, batch.posterior_params, self.num_draws, seed
        )
        terms = LogWeightTerms(
            batch.log_likelihood(z),
            batch.prior.log_prob(z),
            batch.stopped_posterior().log_prob(z),
        )
        return tf.reduce_sum(tf.reduce_mean(terms.log_weights(), axis=0))


class _Adam(NamedTuple):
    """Parameters and the running moments of their gradient: Kingma and Ba (2015)."""

    params: tf.Tensor
    mean: tf.Tensor
    square: tf.Tensor

    def step(self, slope: tf.Tensor, index: tf.Tensor, rate: tf.Tensor) -> _Adam:
        """Returns the state after a step uphill; an infinite slope is left out."""
        slope = tf.where(tf.math.is_finite(slope), slope, 0)
        first, second = _DECAY
        count = tf.cast(index + 1, slope.dtype)
        mean = first * self.mean + (1 - first) * slope
        square = second * self.square + (1 - second) * tf.square(slope)
        unbiased = tf.sqrt(square / (1 - second**count))
        move = mean / (1 - first**count) / (unbiased + _EPSILON)
        return _Adam(self.params + rate * move, mean, square)


def _same_draws(
    make: Callable[[tf.Tensor], Distribution],
    params: tf.Tensor,
    num_samples: int,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Returns draws [S, B, ...] of examples' posteriors, from the same noise for each.

    Noise of its place would give an example another score beside other examples.
    """

    def of_one(row: tf.Tensor) -> tf.Tensor:
        return make(row[tf.newaxis]).sample(num_samples, seed=seed)[:, 0]

    # The noise does not depend on the row: it is drawn once, and the rest vectorised.
    z = tf.vectorized_map(of_one, params)  # [B, S, ...]
    return tf.einsum("bs...->sb...", z)
