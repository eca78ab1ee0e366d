"""A summary of a model's latent variables over a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import Seed
from tfvae.core.validation import require_int
from tfvae.evaluation.aggregate import MAX_ELEMENTS, Aggregate, AggregateTerms
from tfvae.evaluation.inputs import check_model, counted_batches
from tfvae.evaluation.layers import LayerTerms, count_active, layer_terms, of_variables
from tfvae.models import VAE


class LayerSummary(NamedTuple):
    """A summary of one layer of D latent variables.

    Attributes:
        variable_rates: [D] The rate of each variable, a mean over the images, in nats:
            KL(q(z_d|x) || p(z_d)); in a hierarchy log q(z_kd|z_(k-1)) - log
            p(z_kd|z_(k+1)). None where variables depend on each other under q or p.
        rate_errors: [D] Their standard errors; None where they are, or for one image.
        rates_sampled: Whether they are means over draws, and not closed forms.
        mean_variances: [D] Var_x(E_q[z_d|x]); of one-hots that of the class with the
            largest. None for one image.
        means_sampled: Whether E_q[z|x] is a mean over draws. What its noise adds to the
            variance is estimated and subtracted.
        active_units: The number of `mean_variances` above 0.01; None for one image.
    """

    variable_rates: np.ndarray | None
    rate_errors: np.ndarray | None
    rates_sampled: bool
    mean_variances: np.ndarray | None
    means_sampled: bool
    active_units: int | None


class PosteriorSummary(NamedTuple):
    """A summary of the latent variables of a model.

    Attributes:
        num_images: N.
        num_samples: S, draws an image, where something is sampled.
        layers: One, or those of a hierarchy, nearest x first.
        aggregate: The terms of the first M images.
    """

    num_images: int
    num_samples: int
    layers: tuple[LayerSummary, ...]
    aggregate: AggregateTerms


def posterior_summary(
    vae: VAE,
    batches: Iterable[tf.Tensor],
    num_samples: int = 100,
    num_aggregate: int = 1000,
    seed: Seed = 0,
    progress: Callable[[int], None] | None = None,
) -> PosteriorSummary:
    """Returns rates and activity of the variables, and what z tells of x, in one pass.

    Active units are those of Burda et al. (2016), section 5.2. Mutual information and
    divergence are those of Hoffman and Johnson (2016), see `AggregateTerms`.

    Args:
        vae: The model.
        batches: Batches of images [B, *image_shape], with their roles if any.
        num_samples: S, draws of z an image, where there is no closed form.
        num_aggregate: M, the first images of which the aggregate posterior is made. It
            takes M^2 D time and, the posteriors being kept, M D memory.
        seed: The seed of the draws.
        progress: Called after each batch with the number of images seen so far.

    Raises:
        InputError: if a number is out of range, `vae` is no model, or there are no
            images or some that are not finite.
    """
    num_samples = require_int("num_samples", num_samples, least=2)
    num_aggregate = require_int("num_aggregate", num_aggregate)
    check_model(vae)
    aggregate, seen = Aggregate(), 0
    layers: list[_Layer] = []
    rows = max(1, MAX_ELEMENTS // (num_samples * math.prod(vae.latent.event_shape)))
    for index, batch in enumerate(counted_batches(vae, batches, progress)):
        for start in range(0, batch.size, rows):
            some = vae.with_condition(batch.rows(start, start + rows))
            posterior, prior = vae.encode(some), vae.prior(some.condition)
            z = posterior.sample(
                num_samples, seed=derive_seed(seed, "summary", index, start)
            )  # [S, B, ...]
            terms = layer_terms(posterior, prior, lambda: z)  # noqa: B023  called at once
            layers = layers or [_Layer() for _ in terms]
            for layer, its_terms in zip(layers, terms, strict=True):
                layer.add(its_terms)
            wanted = min(num_aggregate - len(aggregate), some.size)
            if wanted:
                whole = wanted == some.size
                if not whole:
                    some = some.rows(0, wanted)
                    posterior, prior = vae.encode(some), vae.prior(some.condition)
                aggregate.add(posterior, z[0, :wanted], prior)
        seen += batch.size
    summaries = tuple(layer.summary() for layer in layers)
    return PosteriorSummary(seen, num_samples, summaries, aggregate.terms())


class _Moments:
    """Running mean and variance over images, float64 [...]."""

    def __init__(self) -> None:
        self.count = 0
        self.mean, self._squares = np.zeros([]), np.zeros([])

    def add(self, values: tf.Tensor) -> None:
        """Takes in values [B, ...]: Chan, Golub and LeVeque (1979)."""
        values = values.numpy().astype("float64")
        count, mean = len(values), values.mean(axis=0)
        total, step = self.count + count, mean - self.mean
        self._squares = (
            self._squares
            + np.square(values - mean).sum(axis=0)
            + np.square(step) * self.count * count / total
        )
        self.mean = self.mean + step * count / total
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """[...] The sum of squares divided by N, as `active_units` has it."""
        return self._squares / self.count

    @property
    def error(self) -> np.ndarray | None:
        """[...] The standard error of the mean."""
        if self.count < 2:
            return None
        return np.sqrt(self._squares / (self.count - 1) / self.count)


class _Layer:
    """The terms of one layer, collected over batches."""

    def __init__(self) -> None:
        self.rates, self.means, self.noise = _Moments(), _Moments(), _Moments()
        self.rates_sampled = False

    def add(self, terms: LayerTerms) -> None:
        """Takes in the terms of a batch."""
        self.rates_sampled = terms.rates_sampled
        self.means.add(terms.means)
        if terms.rates is not None:
            self.rates.add(terms.rates)
        if terms.noise is not None:
            self.noise.add(terms.noise)

    def summary(self) -> LayerSummary:
        """Returns the summary of all examples."""
        has_rates, variances = self.rates.count > 0, None
        if self.means.count > 1:
            variances = of_variables(self.means.variance - self.noise.mean).numpy()
        return LayerSummary(
            variable_rates=self.rates.mean if has_rates else None,
            rate_errors=self.rates.error if has_rates else None,
            rates_sampled=self.rates_sampled,
            mean_variances=variances,
            means_sampled=self.noise.count > 0,
            active_units=None if variances is None else int(count_active(variances)),
        )
