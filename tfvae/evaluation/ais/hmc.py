"""Moves of annealed chains along one piece of the path."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.distributions.tfd import (
    HamiltonianMonteCarlo,
    TransitionKernel,
    sample_annealed_importance_chain,
)

# The most efficient acceptance of HMC in many dimensions (Beskos et al., 2013).
_TARGET_ACCEPTANCE = 0.65
# Step sizes vary by this share at random, for a fixed length of a path in phase space
# may be a period of it: the chain would return to where it was (Neal, 2011).
_JITTER = 0.2

Densities = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""z [C, B, D] -> log p_0(z) and log p(x, z) - log p_0(z), both [C, B]."""


class Moves(NamedTuple):
    """A record of the moves so far.

    Attributes:
        inner_results: TFP's of the last move; its driver looks for them here.
        log_step: [B] Of the step size, now.
        log_step_sum: [B] Over the moves.
        acceptance_sum: [B] Over the moves, of the mean over chains.
    """

    inner_results: object
    log_step: tf.Tensor
    log_step_sum: tf.Tensor
    acceptance_sum: tf.Tensor


def move(
    densities: Densities,
    z: tf.Tensor,
    times: tf.Tensor,
    num_steps: tf.Tensor,
    step_size: tf.Tensor,
    num_leapfrog_steps: int,
    rate: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, Moves]:
    """Moves chains along a piece of the path, in `num_steps` equal steps of t.

    Args:
        densities: The densities at both ends of the whole path.
        z: [C, B, D] Where the chains are.
        times: [2] t where the piece begins and ends; it may go down.
        num_steps: The steps of the piece.
        step_size: [B] Of the leapfrog steps, to begin with.
        num_leapfrog_steps: The leapfrog steps of each move.
        rate: The rate at which the step size adapts to the acceptance; 0 leaves it.
            With another, what the log-weights get is no bound.
        seed: The seed of the moves.

    Returns:
        z [C, B, D], what the log-weights get [C, B], and what the moves were like.
    """
    path = _Path(densities, times)
    z, log_weights, results = sample_annealed_importance_chain(
        num_steps=num_steps,
        proposal_log_prob_fn=path.log_prob_at_begin,
        target_log_prob_fn=path.log_prob_at_end,
        current_state=z,
        make_kernel_fn=lambda log_prob: _FreshHmc(
            log_prob, step_size, num_leapfrog_steps, rate
        ),
        seed=seed,
    )
    return z, log_weights, results.inner_results._replace(inner_results=())


class _Path:
    """Log-densities at both ends of a piece of the path.

    TFP asks for both at every z, one after the other. They share all that is costly,
    so that the second call takes what the first one left.
    """

    def __init__(self, densities: Densities, times: tf.Tensor) -> None:
        self._densities, self._times = densities, times
        self._last: tuple | None = None

    def log_prob_at_begin(self, z: tf.Tensor) -> tf.Tensor:
        """Returns [C, B]."""
        log_initial, log_ratio = self._densities(z)
        self._last = (z, log_initial, log_ratio)
        return log_initial + self._times[0] * log_ratio

    def log_prob_at_end(self, z: tf.Tensor) -> tf.Tensor:
        """Returns [C, B]."""
        # Used once: later calls with this z may be under another gradient tape.
        last, self._last = self._last, None
        if last is None or last[0] is not z:
            last = (z, *self._densities(z))
        return last[1] + self._times[1] * last[2]


class _FreshHmc(TransitionKernel):
    """HMC at a density that has changed since the last move; its steps may adapt.

    TFP's driver hands a kernel the log-probability and gradient that the last move left
    with the state, which are those of the last t. Plain HMC then accepts by the wrong
    ratio, and the weights have another mean than p(x).
    """

    def __init__(
        self,
        log_prob: Callable[[tf.Tensor], tf.Tensor],
        step_size: tf.Tensor,
        num_leapfrog_steps: int,
        rate: tf.Tensor,
    ) -> None:
        self._log_prob, self._step_size = log_prob, step_size
        self._num_leapfrog, self._rate = num_leapfrog_steps, rate

    @property
    def is_calibrated(self) -> bool:
        """Whether it leaves the density as it is; not while it adapts."""
        return True

    def one_step(
        self, current_state: tf.Tensor, previous_kernel_results: Moves, seed: tf.Tensor
    ) -> tuple[tf.Tensor, Moves]:
        """Moves z [C, B, D]."""
        log_step = previous_kernel_results.log_step
        jitter = tf.random.stateless_uniform(
            tf.shape(log_step),
            derive_seed(seed, "jitter"),
            1.0 - _JITTER,
            1.0 + _JITTER,
            log_step.dtype,
        )
        hmc = self._hmc(jitter * tf.exp(log_step))
        z, inner = hmc.one_step(
            current_state,
            hmc.bootstrap_results(current_state),
            seed=derive_seed(seed, "move"),
        )
        acceptance = tf.reduce_mean(
            tf.exp(tf.minimum(inner.log_accept_ratio, 0.0)), axis=0
        )  # [B]
        return z, Moves(
            inner,
            log_step + self._rate * (acceptance - _TARGET_ACCEPTANCE),
            previous_kernel_results.log_step_sum + log_step,
            previous_kernel_results.acceptance_sum + acceptance,
        )

    def bootstrap_results(self, init_state: tf.Tensor) -> Moves:
        """Returns the results before the first move."""
        inner = self._hmc(self._step_size).bootstrap_results(init_state)
        zeros = tf.zeros_like(self._step_size)
        return Moves(inner, tf.math.log(self._step_size), zeros, zeros)

    def _hmc(self, step_size: tf.Tensor) -> HamiltonianMonteCarlo:
        return HamiltonianMonteCarlo(
            self._log_prob, step_size[:, tf.newaxis], self._num_leapfrog
        )
