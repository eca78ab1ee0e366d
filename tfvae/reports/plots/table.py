"""The table of plots, and what each is drawn from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfvae.core.seeds import derive_seed
from tfvae.latents import layer_means
from tfvae.models import VAE, Batch
from tfvae.reports.plots import charts, images, scatter

_COLUMNS = 8  # images in a row of reconstructions
_PAIRS = 6  # interpolations
_SAMPLED = 64
_WEIGHED = 200  # images
_MEAN_DRAWS = 32  # of z, where the posterior's mean has no closed form
_ELEMENTS = 1 << 22  # numbers in the largest tensor: 16 MiB of float32


@dataclasses.dataclass(frozen=True)
class PlotInputs:
    """A model with the images, labels and numbers that its plots are drawn from.

    Attributes:
        vae: The model.
        originals: [N, H, W, C] Images of the test set, grey or colour values.
        inputs: The same images as the encoder sees them, with their roles.
        labels: [N] Integers, or None.
        history: One mapping an epoch, as `tfvae.training.runs.read_history` gives.
        num_samples: S, for the importance weights.
        seed: The seed of all draws.
        layer_rates: Returns the rates of each layer; called only if they are drawn.
    """

    vae: VAE
    originals: np.ndarray
    inputs: Batch
    labels: np.ndarray | None
    history: Sequence[Mapping[str, float]]
    num_samples: int
    seed: int
    layer_rates: Callable[[], Sequence[charts.LayerRates]]


def _reconstructions(given: PlotInputs) -> Figure:
    originals, inputs = given.originals[:_COLUMNS], given.inputs.rows(0, _COLUMNS)
    return images.reconstructions(given.vae, originals, inputs)


def _interpolations(given: PlotInputs) -> Figure:
    pairs = min(_PAIRS, given.inputs.size // 2)
    return images.interpolations(given.vae, given.inputs.rows(0, 2 * pairs))


def _latent_scatter(given: PlotInputs) -> Figure:
    vae, means = given.vae, []
    for index, batch in enumerate(_parts(given.inputs, vae, _MEAN_DRAWS)):
        seed = derive_seed(given.seed, "scatter", index)
        means.append(layer_means(vae, batch, _MEAN_DRAWS, seed)[0].numpy())
    return scatter.latent_scatter(np.concatenate(means), given.labels)


def _importance_weights(given: PlotInputs) -> Figure:
    vae, count = given.vae, given.num_samples
    log_weights = []
    for index, batch in enumerate(_parts(given.inputs.rows(0, _WEIGHED), vae, count)):
        seed = derive_seed(given.seed, "weights", index)
        terms = vae.log_weight_terms(batch, count, seed)
        log_weights.append(terms.log_weights().numpy())
    return charts.importance_weights(np.concatenate(log_weights, axis=1))


def _parts(inputs: Batch, vae: VAE, count: int) -> list[Batch]:
    """Returns images a few at a time, so that `count` draws of each fit in memory."""
    size = max(math.prod(vae.image_shape), math.prod(vae.latent.event_shape))
    step = max(1, _ELEMENTS // (count * size))
    starts = range(0, inputs.size, step)
    return [inputs.rows(start, start + step) for start in starts]


PLOTS: Mapping[str, Callable[[PlotInputs], Figure]] = {
    "reconstructions": _reconstructions,
    "samples": lambda given: images.samples(
        given.vae, _SAMPLED, given.seed, given.inputs
    ),
    "prior_traversal": lambda given: images.prior_traversal(
        given.vae,
        seed=given.seed,
        condition=given.vae.with_condition(given.inputs.rows(0, 1)).condition,
    ),
    "posterior_traversal": lambda given: images.traversal(
        given.vae, given.inputs.rows(0, 1), seed=given.seed
    ),
    "interpolations": _interpolations,
    "latent_scatter": _latent_scatter,
    "rates": lambda given: charts.rates(given.layer_rates()),
    "training_curves": lambda given: charts.training_curves(given.history),
    "importance_weights": _importance_weights,
}
"""Functions that draw a plot, or raise `Undefined`, by its name in `PLOT_KINDS`."""
