"""The best posterior of a single example, by gradient steps from the encoder's."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int, require_number
from tfvae.distributions import Distribution
from tfvae.estimators import VariationalBatch
from tfvae.models.batch import Batch, split_examples
from tfvae.models.single_examples import (
    BLOCK,
    Roles,
    blocks_of,
    example_seeds,
    filled,
    one_example,
)
from tfvae.objectives import Elbo, LogWeightTerms

if TYPE_CHECKING:
    from tfvae.models.vae import VAE

_DECAY = (0.9, 0.999)
_EPSILON = 1e-7
# TensorFlow never frees a trace that has a gradient of its own, so a model's is kept.
_TRACES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class PosteriorHead(Protocol):
    """Parameters of single examples [B, ...] -> q(z), batch [B]."""

    def __call__(self, params: tf.Tensor) -> Distribution:
        """Returns q(z)."""

    def stopped(self, params: tf.Tensor) -> Distribution:
        """Returns q(z) through which no gradient goes to parameters or weights."""


class Refined(NamedTuple):
    """The posteriors of N examples, each refined for the example alone.

    Attributes:
        posterior: The best q(z) of each example, batch [N].
        elbo: [N] mean_s log w_s of it, float64, in nats.
        encoder_elbo: [N] The same of the encoder's q(z|x), with the same noise: nowhere
            above `elbo`.
        history: [N, T] mean_s log w_s before each step, with that step's few draws.
    """

    posterior: Distribution
    elbo: np.ndarray
    encoder_elbo: np.ndarray
    history: np.ndarray


class Rung(NamedTuple):
    """Refined parameters of B examples; where they are no better, those of the start.

    Attributes:
        params: [B, ...] The parameters.
        elbo: [B] Their elbo, float64, in nats.
        start_elbo: [B] That of the parameters before, with the same noise.
        history: [B, T] See `Refined`.
    """

    params: tf.Tensor
    elbo: tf.Tensor
    start_elbo: tf.Tensor
    history: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Refinement:
    """The search of the parameters of q(z) that maximise an example's own bound.

        argmax_q E_q[log w],    log w = log p(x|z) + log p(z) - log q(z)

    Kim et al., "Semi-Amortized Variational Autoencoders" (2018), and Cremer, Li and
    Duvenaud, "Inference Suboptimality in Variational Autoencoders" (2018), with the
    networks as they are. Adam takes a fixed number of steps along the path derivative
    of the bound, which vanishes where q is the exact posterior (Roeder, Wu and
    Duvenaud, 2017); the step size falls to 0, so that little of the draws' noise is
    left.

    Attributes:
        num_steps: The steps of Adam.
        learning_rate: The size of its first steps, in units of q's parameters.
        num_draws: The draws of z in each step; all examples share their noise.
    """

    num_steps: int = 100
    learning_rate: float = 0.05
    num_draws: int = 8

    def __post_init__(self) -> None:
        """Checks the numbers."""
        require_int("num_steps", self.num_steps)
        require_number("learning_rate", self.learning_rate)
        require_int("num_draws", self.num_draws)

    def refined(
        self, batch: VariationalBatch, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns parameters of q [B, ...] after the steps, and the history [T, B]."""
        start = tf.stop_gradient(batch.posterior_params)
        history = tf.TensorArray(start.dtype, self.num_steps)

        def step(index: tf.Tensor, state: _Adam, seen: tf.TensorArray) -> tuple:
            draw_seed = derive_seed(seed, "step", index)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(state.params)
                bounds = self._bounds(
                    batch.with_posterior_params(state.params), draw_seed
                )
                total = tf.reduce_sum(bounds)
            slope = tape.gradient(total, state.params)
            left = 1 - tf.cast(index, slope.dtype) / self.num_steps
            state = state.step(slope, index, self.learning_rate * left)
            return index + 1, state, seen.write(index, bounds)

        zeros = tf.zeros_like(start)
        _, last, history = tf.while_loop(
            lambda index, *_: index < self.num_steps,
            step,
            (tf.constant(0), _Adam(start, zeros, zeros), history),
            parallel_iterations=1,
        )
        return last.params, history.stack()

    def _bounds(self, batch: VariationalBatch, seed: tf.Tensor) -> tf.Tensor:
        """Returns the examples' bounds [B], whose gradient is the path's."""
        z = same_draws(
            batch.make_posterior, batch.posterior_params, self.num_draws, seed
        )
        terms = LogWeightTerms(
            batch.log_likelihood(z),
            batch.prior.log_prob(z),
            batch.stopped_posterior().log_prob(z),
        )
        return tf.reduce_mean(terms.log_weights(), axis=0)


def check_refinable(vae: VAE, instead: str) -> None:
    """Refuses a model whose q(z|x) has no gradient, or is no single distribution.

    Raises:
        InputError: if it is so; `instead` says in a few words what to do.
    """
    if not vae.has_one_posterior:
        raise InputError(
            "a refinement is of one posterior, and a semi-supervised model has one for "
            f"each class; {instead}"
        )
    if not vae.latent.reparameterised:
        raise InputError(
            "a refinement follows gradients through z, and draws of "
            f"{type(vae.latent).__name__} have none; {instead}"
        )


def elbos(
    vae: VAE,
    roles: Roles,
    seeds: tf.Tensor,
    num_samples: int,
    *candidates: tuple[PosteriorHead, tf.Tensor],
) -> tf.Tensor:
    """Returns mean_s log w_s of each candidate, float64 [B, C], in nats.

    A candidate is a head and parameters [B, ...]. All of them have the same noise. The
    rate is sampled, also where it has a closed form: the noises of log p(x|z) and of
    the sampled rate cancel, all of it where q is the exact posterior.
    """

    def of_row(row: tuple) -> tf.Tensor:
        given, key, *params = row
        one = vae.variational_batch(one_example(given), num_samples, key)
        bounds = [
            mean_log_weight(
                one.with_posterior_params(own[tf.newaxis], head).draw_log_weight_terms()
            )
            for (head, _), own in zip(candidates, params, strict=True)
        ]
        return tf.concat(bounds, axis=0)

    # One by one: a row of a larger matrix product may be rounded in another way.
    rows = (roles, seeds, *(params for _, params in candidates))
    spec = tf.TensorSpec([len(candidates)], tf.float64)
    return tf.map_fn(of_row, rows, fn_output_signature=spec)


def mean_log_weight(terms: LogWeightTerms) -> tf.Tensor:
    """Returns the elbo, mean_s log w_s, float64 [B], in nats."""
    return Elbo().value(tf.cast(terms.sampled_log_weights(), tf.float64))


def climbed(
    vae: VAE,
    refinement: Refinement,
    num_samples: int,
    roles: Roles,
    seeds: tf.Tensor,
    seed: tf.Tensor,
    head: PosteriorHead | None = None,
    start: tf.Tensor | None = None,
) -> Rung:
    """Returns the refined parameters of B = `BLOCK` examples.

    In blocks of one size, an example's numbers are rounded in one way.

    Args:
        vae: The model.
        refinement: The search.
        num_samples: S, the draws of the elbos.
        roles: The examples.
        seeds: [B, 2] The seeds of the draws of the elbos.
        seed: [2] The seed of the steps' draws.
        head: The family of q; None: the encoder's.
        start: [B, ...] The parameters to start from; None: the encoder's.
    """
    head = head or vae.encoder.head
    batch = vae.variational_batch(Batch(**roles), refinement.num_draws, 0)
    start = batch.posterior_params if start is None else start
    params, history = refinement.refined(batch.with_posterior_params(start, head), seed)
    bounds = elbos(vae, roles, seeds, num_samples, (head, params), (head, start))
    found, before = tf.unstack(bounds, axis=1)
    better = tf.reshape(found > before, [-1, *(1 for _ in start.shape[1:])])
    return Rung(
        tf.where(better, params, start),
        tf.where(found > before, found, before),
        before,
        tf.transpose(history),
    )


def refine(
    vae: VAE, x: Any, refinement: Refinement, num_samples: int, seed: Seed
) -> Refined:
    """See `VAE.refine`."""
    num_samples, seed = require_int("num_samples", num_samples), as_seed(seed)
    check_refinable(vae, "use the encoder's posterior, vae.encode(x)")
    climb = _traced(vae, refinement, num_samples)
    rungs = []
    for part in split_examples(x, vae.data_shape, BLOCK, vae.role_beside):
        for roles in blocks_of(vae.as_batch(part)._replace(sample_weight=None)):
            size, roles = len(roles["x"]), filled(roles, len(roles["x"]))
            seeds = example_seeds(roles, seed, "refinement")
            found = climb(roles, seeds, derive_seed(seed, "refine"))
            rungs.append([each[:size] for each in found])
    if not rungs:
        raise InputError("there are no examples to refine; give at least one")
    params, *numbers = zip(*rungs, strict=True)
    posterior = vae.encoder.head(tf.concat(params, axis=0))
    return Refined(posterior, *map(np.concatenate, numbers))


def _traced(vae: VAE, refinement: Refinement, num_samples: int) -> Callable[..., Rung]:
    """Returns `climbed` as a graph, the same for the same model and settings."""
    known = _TRACES.setdefault(vae, {})
    parts = (vae.encoder, vae.decoder, vae.latent, vae.prior_layer)
    key = (refinement, num_samples, *map(id, parts))
    if key not in known:
        known[key] = tf.function(
            functools.partial(_climbed, weakref.ref(vae), refinement, num_samples),
            reduce_retracing=True,
            autograph=False,
        )
    return known[key]


def _climbed(model: weakref.ReferenceType[VAE], *args: Any) -> Rung:
    vae = model()
    assert vae is not None  # whoever calls this holds it
    return climbed(vae, *args)


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


def same_draws(
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
