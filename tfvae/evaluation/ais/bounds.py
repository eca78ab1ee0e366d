"""Bounds on log p(x) from annealed chains."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int
from tfvae.evaluation.ais.chains import Chains
from tfvae.evaluation.inputs import counted_batches
from tfvae.models import VAE, Batch
from tfvae.objectives.bounds import effective_sample_size


class AisScores(NamedTuple):
    """Scores of single images, float64 [N].

    Attributes:
        log_likelihood: log mean_c w_c over C chains, in nats: its expectation is a
            lower bound on log p(x).
        acceptance: The share of moves that were accepted; far below 0.65, chains hardly
            move, and the bound is no better than one without them.
        ess: The effective sample size of the w_c, between 1 and C.
    """

    log_likelihood: np.ndarray
    acceptance: np.ndarray
    ess: np.ndarray


class Bdmc(NamedTuple):
    """Bounds on log p(x) of simulated images, float64 [N], in nats.

    Attributes:
        lower: log mean_c w_c of chains to p(z|x): in expectation at most log p(x).
        upper: -log mean_c 1 / w_c of chains from p(z|x): in expectation at least
            log p(x).
        lower_acceptance: The share of moves that were accepted, on the way there.
        upper_acceptance: The same on the way back.
    """

    lower: np.ndarray
    upper: np.ndarray
    lower_acceptance: np.ndarray
    upper_acceptance: np.ndarray


def ais_log_likelihood(
    vae: VAE,
    batches: Iterable[tf.Tensor],
    num_chains: int,
    num_steps: int,
    *,
    num_leapfrog_steps: int = 10,
    step_size: float | None = None,
    chunk_size: int | None = None,
    seed: Seed = 0,
    initial: str = "prior",
    progress: Callable[[int], None] | None = None,
) -> AisScores:
    """Bounds log p(x) of every image from below by annealed importance sampling.

    The bound holds whatever the step sizes are, as long as they do not depend on the
    chains that are weighed (Neal, 2001). So a first run of other chains, with other
    seeds, finds them: for every image and each of 20 pieces of the path, the step size
    at which 65 % of the moves are accepted. The weighed chains keep it; if they adapted
    it themselves, nothing would say on which side of log p(x) they are.

    Of a relaxed family it is the relaxed model's likelihood.

    Args:
        vae: The model, with a continuous z of one axis.
        batches: Batches of images [B, *image_shape], with their roles if any.
        num_chains: C, chains an image.
        num_steps: The steps of the path from p_0 to p(z|x); 1 is importance sampling
            from p_0.
        num_leapfrog_steps: The leapfrog steps of each move.
        step_size: The leapfrog steps' size, for every image and all of the path; None:
            what the first run finds.
        chunk_size: Chains at a time; None: what fits into about 64 MiB a tensor. The
            draws, not their distribution, depend on it and on the batch size.
        seed: The seed of the draws.
        initial: p_0: "prior", or "posterior" for q(z|x), which is closer, and unlike
            the prior can miss a part of p(z|x).
        progress: Called after each batch with the number of images scored so far.

    Raises:
        InputError: if a value is out of range, there are no images, or z is discrete,
            has constraints or more than one axis.
    """
    chains = Chains(
        vae,
        num_chains,
        num_steps,
        num_leapfrog_steps,
        step_size,
        chunk_size,
        initial,
    )
    scores = []
    for index, batch in enumerate(counted_batches(vae, batches, progress)):
        batch_seed = derive_seed(seed, "annealed", index)
        scores.append(_forward(chains, batch, batch_seed)[0])
    return AisScores(*map(np.concatenate, zip(*scores, strict=True)))


def bdmc(
    vae: VAE,
    num_images: int,
    num_chains: int,
    num_steps: int,
    *,
    num_leapfrog_steps: int = 10,
    step_size: float | None = None,
    batch_size: int = 100,
    chunk_size: int | None = None,
    seed: Seed = 0,
    initial: str = "prior",
    progress: Callable[[int], None] | None = None,
    condition: Any = None,
) -> Bdmc:
    """Bounds log p(x) from both sides, on images that the model makes.

        z* ~ p(z),    x ~ p(x|z*)

    Then z* is an exact draw from p(z|x), where the chains of the upper bound start
    (Grosse, Ghahramani and Adams, 2015). The mean of `upper - lower` bounds, in
    expectation, how far `ais_log_likelihood` with the same arguments is from log p(x)
    on such images; of the data it says as much as the model is like them.

    N = `num_images` images are made, `batch_size` at a time. The other arguments, and
    the errors, are those of `ais_log_likelihood`: `num_chains` in each direction, and
    `initial` where the path from p(z|x) ends. The images of a conditional model are
    those of `condition`: one for all, or one for each.
    """
    num_images = require_int("num_images", num_images)
    batch_size = require_int("batch_size", batch_size)
    chains = Chains(
        vae,
        num_chains,
        num_steps,
        num_leapfrog_steps,
        step_size,
        chunk_size,
        initial,
    )
    if vae.condition is None and condition is not None:
        raise InputError("condition has no effect: the model has none; leave it out")
    if vae.condition is not None:
        condition = vae.condition.broadcast(vae.condition.read(condition), num_images)
    bounds = []
    for index, start in enumerate(range(0, num_images, batch_size)):
        size = min(batch_size, num_images - start)
        batch_seed = derive_seed(seed, "bdmc", index)
        given = {}
        if condition is not None:
            rows = slice(start, start + size)
            given["condition"] = tf.nest.map_structure(
                lambda c: c[rows],  # noqa: B023  called at once
                condition,
            )
        z, _, x = vae.sample(size, batch_seed, **given)
        batch = vae.as_batch(Batch(x, **given))
        lower, step_sizes = _forward(chains, batch, batch_seed)
        log_weights, acceptance = chains.weigh(
            batch, step_sizes, derive_seed(batch_seed, "reverse"), z
        )
        upper = -_log_mean_exp(log_weights)
        bounds.append((lower.log_likelihood, upper, lower.acceptance, acceptance))
        if progress is not None:
            progress(start + size)
    return Bdmc(*map(np.concatenate, zip(*bounds, strict=True)))


def _forward(
    chains: Chains, batch: Batch, seed: tf.Tensor
) -> tuple[AisScores, tf.Tensor]:
    """Returns the lower bound's scores, and the step sizes [pieces, B]."""
    step_sizes = chains.step_sizes(batch, derive_seed(seed, "tuning"))
    log_weights, acceptance = chains.weigh(
        batch, step_sizes, derive_seed(seed, "forward")
    )
    ess = effective_sample_size(log_weights).numpy()
    return AisScores(_log_mean_exp(log_weights), acceptance, ess), step_sizes


def _log_mean_exp(log_weights: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(log_weights, axis=0) - math.log(len(log_weights))
