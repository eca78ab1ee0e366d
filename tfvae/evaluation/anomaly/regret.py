"""Likelihood regret: what an example's own posterior would gain over the encoder's."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.evaluation.anomaly.measuring import Measure
from tfvae.evaluation.anomaly.scores import Score
from tfvae.models import VAE, Batch
from tfvae.models.refinement import Refinement, check_refinable, elbos
from tfvae.models.single_examples import Roles, filled


@dataclasses.dataclass(frozen=True)
class Regret(Refinement, Score):
    """The gain of the bound when q(z|x) is refined for the example alone, in nats.

        max_q E_q[log w] - E_q(z|x)[log w]

    Xiao, Yan and Amit, "Likelihood Regret: An Out-of-Distribution Detection Score For
    Variational Auto-encoder" (2020), with the posterior's parameters refined, from the
    encoder's, and the networks as they are: see `Refinement`. Both bounds have the same
    K draws. The last step counts, also where it is below the encoder's bound: so usual
    examples are no ties at 0.

    Attributes:
        num_steps: The steps of Adam.
        learning_rate: The size of its first steps, in units of q's parameters.
        num_draws: The draws of z in each step; all examples share their noise.
    """

    formula = "max_q E_q[log w] - E_q(z|x)[log w]"
    paper = "Xiao, Yan and Amit (2020)"

    def check(self, vae: VAE) -> None:
        """Raises InputError if draws of z have no gradient, or there are classes."""
        check_refinable(vae, "choose another score than 'regret', such as 'dose'")

    def measure(self, vae: VAE, num_samples: int, seed: int) -> Measure:
        """Returns the measure of the refined bound and of the encoder's, [B, 2]."""
        return functools.partial(self._of_block, vae, num_samples, seed)

    def values(self, measured: np.ndarray) -> np.ndarray:
        """Returns the gains, [N]."""
        return measured[:, 0] - measured[:, 1]

    def _of_block(
        self, vae: VAE, num_samples: int, seed: int, roles: Roles, seeds: tf.Tensor
    ) -> tf.Tensor:
        size, head = tf.shape(seeds)[0], vae.encoder.head
        every = Batch(**filled(roles, size))
        batch = vae.variational_batch(every, self.num_draws, 0)
        refined, _ = self.refined(batch, derive_seed(seed, "regret"))
        pair = [(head, each[:size]) for each in (refined, batch.posterior_params)]
        return elbos(vae, roles, seeds, num_samples, *pair)
