"""Where the nats between an elbo and log p(x) go: inference gaps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int
from tfvae.evaluation.inputs import check_model, counted_batches
from tfvae.evaluation.statistics import Mean, paired_difference
from tfvae.heads.local_flow import LocalFlowHead
from tfvae.models import VAE
from tfvae.models.refinement import Refinement, check_refinable, climbed, same_draws
from tfvae.models.single_examples import Roles, blocks_of, example_seeds, filled

_COUPLINGS = 2  # of a flow: each variable is moved once
_FRAME_DRAWS = 256  # which say how wide an example's posterior is


class Gaps(NamedTuple):
    """Means over examples of what is lost between log p(x) and the encoder's elbo.

    `total` is `amortisation` + `approximation`; `approximation` is `linear_gain` +
    `flow_gain` + `rest`. All are in nats, with the standard errors of paired
    differences.

    Attributes:
        total: log p(x) - elbo of the encoder: the whole inference gap.
        amortisation: Elbo of the best q of the family - that of the encoder.
        approximation: log p(x) - elbo of the best q of the family.
        linear_gain: What a linear map of z gains, over the family.
        flow_gain: What a flow gains beyond.
        rest: What log p(x) is above the best flow.
    """

    total: Mean
    amortisation: Mean
    approximation: Mean
    linear_gain: Mean
    flow_gain: Mean
    rest: Mean


class Ladder(NamedTuple):
    """Elbos of N examples, float64 [N], in nats: none is below the one before it.

    Attributes:
        encoder: Of the encoder's q(z|x).
        refined: Of the best q of the encoder's family, for the example alone.
        linear: Of the best q that is pushed by a linear map of the example's own: a
            Normal of full covariance, where the family is Normal.
        flow: Of the best q that is pushed by affine couplings too.
    """

    encoder: np.ndarray
    refined: np.ndarray
    linear: np.ndarray
    flow: np.ndarray

    def gaps(self, log_likelihood: np.ndarray) -> Gaps:
        """Returns the gaps between the rungs and log p(x) [N].

        Where a lower bound (AIS) stands for log p(x), `total`, `approximation` and
        `rest` are bounded from below, in expectation; `amortisation` is not changed.

        Raises:
            InputError: if `log_likelihood` has another shape, or is not finite.
        """
        if np.shape(log_likelihood) != self.encoder.shape:
            raise InputError(
                f"log_likelihood has shape {np.shape(log_likelihood)}, and the ladder "
                f"is of {len(self.encoder)} examples; give one number for each"
            )
        if not np.isfinite(log_likelihood).all():
            raise InputError(
                f"log_likelihood has {np.sum(~np.isfinite(log_likelihood))} values "
                "that are not finite; give bounds of these examples, for example of "
                "tfvae.evaluation.ais_log_likelihood"
            )
        return Gaps(
            total=paired_difference(log_likelihood, self.encoder),
            amortisation=paired_difference(self.refined, self.encoder),
            approximation=paired_difference(log_likelihood, self.refined),
            linear_gain=paired_difference(self.linear, self.refined),
            flow_gain=paired_difference(self.flow, self.linear),
            rest=paired_difference(log_likelihood, self.flow),
        )


def inference_ladder(
    vae: VAE,
    batches: Iterable[tf.Tensor],
    num_steps: int = 300,
    *,
    learning_rate: float = 0.05,
    num_draws: int = 8,
    num_samples: int = 1000,
    seed: Seed = 0,
    progress: Callable[[int], None] | None = None,
) -> Ladder:
    """Returns the elbos of better and better posteriors of every example alone.

        amortisation gap  = elbo of the best q of the family - elbo of the encoder
        approximation gap = log p(x) - elbo of the best q of the family

    Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders"
    (2018). Every rung climbs from the best parameters of the rung below, as
    `VAE.refine` does, `num_steps` steps of Adam. The encoder's family is what its head
    makes of any parameters: the weights of a flow's couplings or of a hierarchy's
    layers stay as they are. Then z is pushed by a map of the example's own, which
    starts as the identity: linear, then with two affine couplings (`LocalFlowHead`). Of
    a z of one variable these two are the family, and are not climbed.

    All elbos of an example are means over the same `num_samples` draws, which no step
    has seen, and a rung keeps the parameters below where its own are no better. So the
    order of the rungs holds for every example, as one of these estimates; since they
    also choose, an elbo may be a little above its expectation. A rung is as
    good as its steps: the best q may be better, which would make `refined` larger and
    the gaps above it smaller. What is found for an example does not depend on the
    examples beside it.

    Args:
        vae: The model, with a reparameterised z of one axis.
        batches: Batches of examples [B, *data_shape], with their roles if any.
        num_steps: The steps of each of the three rungs.
        learning_rate: The size of the first steps; it falls to 0.
        num_draws: The draws of z in each step.
        num_samples: The draws of z of the elbos.
        seed: The seed of the draws.
        progress: Called after each batch with the number of examples so far.

    Raises:
        InputError: if a value is out of range, there are no examples, z is discrete or
            has more than one axis, or the model is semi-supervised.
    """
    how = Refinement(num_steps, learning_rate, num_draws)
    num_samples, seed = require_int("num_samples", num_samples), as_seed(seed)
    check_model(vae)
    instead = "use L_K: tfvae.evaluation.score_images"
    check_refinable(vae, instead)
    if len(vae.latent.event_shape) != 1:
        raise InputError(
            f"z of {type(vae.latent).__name__} has shape {vae.latent.event_shape}, and "
            f"a flow moves z of shape [D]; {instead}"
        )
    rungs = tf.function(
        functools.partial(_rungs, vae, how, num_samples),
        reduce_retracing=True,
        autograph=False,
    )
    found = []
    for batch in counted_batches(vae, batches, progress):
        for roles in blocks_of(batch):
            size, roles = len(roles["x"]), filled(roles, len(roles["x"]))
            seeds = example_seeds(roles, seed, "ladder")
            found.append(rungs(roles, seeds, seed).numpy()[:size])
    # What is equal but for its last digit is in order too.
    ordered = np.maximum.accumulate(np.concatenate(found), axis=1)
    return Ladder(*ordered.T)


def _rungs(
    vae: VAE,
    how: Refinement,
    num_samples: int,
    roles: Roles,
    seeds: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Returns the elbos of a block's rungs, [B, 4]."""
    climb = functools.partial(climbed, vae, how, num_samples, roles, seeds)
    family = vae.encoder.head
    own = climb(derive_seed(seed, "family"))
    elbos = [own.start_elbo, own.elbo]
    if vae.latent.event_shape == (1,):
        return tf.stack([*elbos, own.elbo, own.elbo], axis=1)
    draws = same_draws(family, own.params, _FRAME_DRAWS, derive_seed(seed, "frame"))
    linear, flow = LocalFlowHead(family), LocalFlowHead(family, _COUPLINGS)
    start = linear.start(own.params, draws)
    second = climb(derive_seed(seed, "linear"), linear, start)
    start = flow.with_couplings(second.params)
    third = climb(derive_seed(seed, "flow"), flow, start)
    return tf.stack([*elbos, second.elbo, third.elbo], axis=1)
