"""Which pictures there are of a model, and what each is made from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tfvae.config.plots import KINDS
from tfvae.core.seeds import derive_seed
from tfvae.latents import layer_means
from tfvae.models import VAE
from tfvae.reports.plots import charts, images, scatter

_COLUMNS = 8  # images in a row of reconstructions
_PAIRS = 6  # interpolations
_SAMPLED = 64
_WEIGHED = 200  # images
_MEAN_DRAWS = 32  # of z, where the posterior's mean has no closed form
_ELEMENTS = 1 << 22  # numbers in the largest tensor: 16 MiB of float32


@dataclasses.dataclass(frozen=True)
class Subject:
    """What pictures are made from.

    Attributes:
        vae: The model.
        originals: [N, H, W, C] Images of the test set, grey or colour values.
        inputs: [N, H, W, C] The same as the encoder sees them.
        labels: [N] Integers, or None.
        history: One mapping an epoch, as `tfvae.training.runs.read_history` gives.
        num_samples: S, of the importance weights.
        seed: Of all draws.
        layer_rates: Called for what each layer carries, if that is drawn.
    """

    vae: VAE
    originals: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray | None
    history: Sequence[Mapping[str, float]]
    num_samples: int
    seed: int
    layer_rates: Callable[[], Sequence[charts.LayerRates]]


class Picture(NamedTuple):
    """One kind of picture.

    Attributes:
        draw: Makes it, or raises `Undefined`.
        description: One line.
    """

    draw: Callable[[Subject], Figure]
    description: str


def _reconstructions(subject: Subject) -> Figure:
    originals, inputs = subject.originals[:_COLUMNS], subject.inputs[:_COLUMNS]
    return images.reconstructions(subject.vae, originals, inputs)


def _samples(subject: Subject) -> Figure:
    return images.samples(subject.vae, _SAMPLED, subject.seed)


def _prior_traversal(subject: Subject) -> Figure:
    return images.prior_traversal(subject.vae, seed=subject.seed)


def _posterior_traversal(subject: Subject) -> Figure:
    return images.traversal(subject.vae, subject.inputs[:1], seed=subject.seed)


def _interpolations(subject: Subject) -> Figure:
    pairs = min(_PAIRS, len(subject.inputs) // 2)
    return images.interpolations(subject.vae, subject.inputs[: 2 * pairs])


def _latent_scatter(subject: Subject) -> Figure:
    vae, means = subject.vae, []
    for index, x in enumerate(_parts(subject.inputs, vae, _MEAN_DRAWS)):
        seed = derive_seed(subject.seed, "scatter", index)
        means.append(layer_means(vae, x, _MEAN_DRAWS, seed)[0].numpy())
    return scatter.latent_scatter(np.concatenate(means), subject.labels)


def _rates(subject: Subject) -> Figure:
    return charts.rates(subject.layer_rates())


def _training_curves(subject: Subject) -> Figure:
    return charts.training_curves(subject.history)


def _importance_weights(subject: Subject) -> Figure:
    vae, count = subject.vae, subject.num_samples
    log_weights = []
    for index, x in enumerate(_parts(subject.inputs[:_WEIGHED], vae, count)):
        seed = derive_seed(subject.seed, "weights", index)
        log_weights.append(vae.log_weight_terms(x, count, seed).log_weights().numpy())
    return charts.importance_weights(np.concatenate(log_weights, axis=1))


def _parts(inputs: np.ndarray, vae: VAE, count: int) -> list[np.ndarray]:
    """Returns images a few at a time, so that `count` draws of each fit in memory."""
    size = max(math.prod(vae.image_shape), math.prod(vae.latent.event_shape))
    step = max(1, _ELEMENTS // (count * size))
    return [inputs[start : start + step] for start in range(0, len(inputs), step)]


_DRAW: Mapping[str, Callable[[Subject], Figure]] = {
    "reconstructions": _reconstructions,
    "samples": _samples,
    "prior_traversal": _prior_traversal,
    "posterior_traversal": _posterior_traversal,
    "interpolations": _interpolations,
    "latent_scatter": _latent_scatter,
    "rates": _rates,
    "training_curves": _training_curves,
    "importance_weights": _importance_weights,
}

PICTURES: Mapping[str, Picture] = {
    name: Picture(_DRAW[name], description) for name, description in KINDS.items()
}
"""The pictures by name, in the order in which they are drawn."""
