"""Chains of one model along a path from p_0(z) to p(x, z)."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.lookup import lookup
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number
from tfvae.distributions import FULLY_REPARAMETERIZED
from tfvae.evaluation.ais.hmc import Densities, Moves, move
from tfvae.latents import ConcreteLatent
from tfvae.models import VAE, Batch
from tfvae.objectives import LogWeightTerms

# Pieces of the path, each with a step size of its own; within one, t is linear.
_PIECES = 20
# Chains, and steps a piece, of the run that finds the step sizes.
_TUNING_CHAINS = 4
_TUNING_STEPS = 10
_FIRST_STEP_SIZE = 0.1
_TUNING_RATE = 0.5
# Numbers in the largest tensor of one chunk: 16 Mi float32 are 64 MiB.
_CHUNK_ELEMENTS = 1 << 24

# Whether chains start at the prior p(z), or at q(z|x).
_INITIAL = {"prior": True, "posterior": False}


class Chains:
    """Chains of one model, C for each image, all with the same settings."""

    def __init__(
        self,
        vae: VAE,
        num_chains: int,
        num_steps: int,
        num_leapfrog_steps: int,
        step_size: float | None,
        chunk_size: int | None,
        initial: str,
    ) -> None:
        self.num_chains = require_int("num_chains", num_chains)
        self.num_steps = require_int("num_steps", num_steps)
        self.num_leapfrog = require_int("num_leapfrog_steps", num_leapfrog_steps)
        if step_size is not None:
            step_size = require_number("step_size", step_size)
        self.step_size = step_size
        if chunk_size is not None:
            chunk_size = require_int("chunk_size", chunk_size)
        self.chunk_size = chunk_size
        self.from_prior = lookup(_INITIAL, initial, "initial distribution")
        _check_latent(vae)
        self.vae = vae
        self.times, self.sizes = _schedule(self.num_steps)
        self._anneal = tf.function(
            self._anneal_piece, autograph=False, reduce_retracing=True
        )

    def step_sizes(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
        """Returns the leapfrog steps' sizes, [pieces, B], for a batch.

        Chains of their own, with few moves, adapt them as they go.
        """
        pieces, dtype = len(self.sizes), batch.x.dtype
        if self.step_size is not None:
            return tf.fill([pieces, batch.size], tf.cast(self.step_size, dtype))
        z = self._start(batch, _TUNING_CHAINS, seed)
        step_size = tf.fill([batch.size], tf.cast(_FIRST_STEP_SIZE, dtype))
        found = []
        # The first piece comes twice: its first guess may be far off.
        for index, piece in enumerate((0, *range(pieces))):
            steps = _TUNING_STEPS if index else 3 * _TUNING_STEPS
            piece_seed = derive_seed(seed, "piece", index)
            z, _, moves = self._anneal(
                batch,
                z,
                step_size,
                self._ends(piece),
                tf.constant(steps),
                tf.constant(_TUNING_RATE, dtype),
                piece_seed,
            )
            step_size = tf.exp(moves.log_step)  # [B]
            found.append(tf.exp(moves.log_step_sum / tf.cast(steps, dtype)))
        return tf.stack(found[1:])

    def weigh(
        self,
        batch: Batch,
        step_sizes: tf.Tensor,
        seed: tf.Tensor,
        exact: tf.Tensor | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the log-weights [C, B] and the share of accepted moves [B] of chains.

        Chains go from p_0 to p(z|x), or from `exact`, a draw from p(z|x) [B, D] of each
        image, to p_0. A chunk goes at a time, with `step_sizes` [pieces, B].
        """
        log_weights, accepted = [], np.zeros([batch.size])
        chunk = self.chunk_size or max(1, _CHUNK_ELEMENTS // math.prod(batch.x.shape))
        for number, first in enumerate(range(0, self.num_chains, chunk)):
            size = min(chunk, self.num_chains - first)
            chunk_seed = derive_seed(seed, "chunk", number)
            if exact is None:
                z = self._start(batch, size, chunk_seed)  # [C, B, D]
            else:
                z = tf.tile(exact[tf.newaxis], [size, 1, 1])
            parts, share = self._travel(
                batch, z, step_sizes, chunk_seed, exact is not None
            )
            log_weights.append(parts)
            accepted += share * size / self.num_chains
        return np.concatenate(log_weights), accepted

    def _travel(
        self,
        batch: Batch,
        z: tf.Tensor,
        step_sizes: tf.Tensor,
        seed: tf.Tensor,
        backwards: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns log-weights [C, B] and shares of accepted moves [B] of one chunk."""
        log_weights = np.zeros([z.shape[0], batch.size])
        accepted = np.zeros([batch.size])
        order = range(len(self.sizes))
        for piece in reversed(order) if backwards else order:
            ends = self._ends(piece)
            z, increments, moves = self._anneal(
                batch,
                z,
                step_sizes[piece],
                tf.reverse(ends, [0]) if backwards else ends,
                tf.constant(self.sizes[piece], tf.int32),
                tf.zeros([], batch.x.dtype),
                derive_seed(seed, "piece", piece),
            )
            log_weights += increments.numpy().astype("float64")
            accepted += moves.acceptance_sum.numpy().astype("float64")
        return log_weights, accepted / self.num_steps

    def _ends(self, piece: int) -> tf.Tensor:
        return tf.constant(self.times[piece : piece + 2], self.vae.compute_dtype)

    def _start(self, batch: Batch, num_chains: int, seed: tf.Tensor) -> tf.Tensor:
        """Returns draws from p_0, [C, B, D]."""
        seed = derive_seed(seed, "start")
        if self.from_prior:
            return self.vae.draw_prior([num_chains, batch.size], seed, batch.condition)
        return self.vae.encode(batch).sample(num_chains, seed=seed)

    def _anneal_piece(
        self,
        batch: Batch,
        z: tf.Tensor,
        step_size: tf.Tensor,
        times: tf.Tensor,
        num_steps: tf.Tensor,
        rate: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, Moves]:
        """See `move`, which is traced once for all pieces."""
        return move(
            self._densities(batch),
            z,
            times,
            num_steps,
            step_size,
            self.num_leapfrog,
            rate,
            seed,
        )

    def _densities(self, batch: Batch) -> Densities:
        """Returns z [C, B, D] -> log p_0(z) and log p(x, z) - log p_0(z), [C, B]."""
        prior = self.vae.prior(batch.condition)
        initial = prior if self.from_prior else self.vae.encode(batch)
        c = batch.condition
        given: dict[str, Any] = {} if c is None else {"condition": c}

        def densities(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            log_prior = prior.log_prob(z)
            log_initial = log_prior if self.from_prior else initial.log_prob(z)
            likelihood = self.vae.decode(z, **given)
            log_likelihood = self.vae.log_prob_observed(likelihood, batch)
            terms = LogWeightTerms(log_likelihood, log_prior, log_initial)
            return log_initial, terms.log_weights()

        return densities


def _schedule(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns t at the ends of the pieces [pieces + 1], and the steps of each [pieces].

    t is slow near 0 and 1: a sigmoid from -4 to 4 (Wu et al., 2017).
    """
    pieces = min(_PIECES, num_steps)
    curve = 1 / (1 + np.exp(-np.linspace(-4.0, 4.0, pieces + 1)))
    times = (curve - curve[0]) / (curve[-1] - curve[0])
    return times, np.diff(np.arange(pieces + 1) * num_steps // pieces)


def _check_latent(vae: VAE) -> None:
    instead = (
        "use L_K: tfvae.evaluation.score_images, or tfvae evaluate --num-samples K "
        "without --ais and --gaps"
    )
    name, shape = type(vae.latent).__name__, vae.latent.event_shape
    kind = vae.encode(vae.blank_batch()).reparameterization_type
    if kind != FULLY_REPARAMETERIZED:
        raise InputError(
            f"z of {name} is discrete, and annealed importance sampling moves z along "
            f"a gradient; {instead}"
        )
    if isinstance(vae.latent, ConcreteLatent) or len(shape) != 1:
        raise InputError(
            f"z of {name} has shape {shape} and constraints, and annealed importance "
            f"sampling moves z freely, of shape [D]; {instead}"
        )
