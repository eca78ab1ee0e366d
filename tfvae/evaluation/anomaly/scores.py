"""Scores of strangeness from an example's statistics; higher is stranger."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, TypeVar

import numpy as np
from scipy import special

from tfvae.core.types import InputError
from tfvae.evaluation.anomaly.measuring import Measure, statistics_of
from tfvae.models import VAE

Fitted = TypeVar("Fitted")

_ELEMENTS = 1 << 22  # distances of the density that are in memory at once
# Differences of statistics below this share of them are rounding: sums of hundreds of
# float32 have errors of a few millionths.
_LEAST_WIDTH = 1e-4


@dataclasses.dataclass(frozen=True)
class Score:
    """How strange an example is to a model, as a number; higher is stranger.

    A new score is a frozen dataclass with `formula`, `paper`, `values`, and an entry in
    `SCORES`. One that is fitted to examples sets `fits` and overrides `fitted`; one
    that looks at other numbers than L_K, rate, distortion and ESS overrides `measure`.

    Attributes:
        formula: The score, for people.
        paper: The source.
        fits: Whether it is fitted to examples, which then cannot calibrate it.
    """

    formula: ClassVar[str]
    paper: ClassVar[str]
    fits: ClassVar[bool] = False

    def check(self, vae: VAE) -> None:
        """Raises InputError if the score is not defined for the model."""

    def measure(self, vae: VAE, num_samples: int, seed: int) -> Measure:
        """Returns what is measured of examples: by default `STATISTICS`, [B, 4]."""
        return statistics_of(vae, num_samples)

    def fitted(self, measured: np.ndarray) -> Score:
        """Returns the score fitted to what was measured of examples, [N, C]."""
        return self

    def values(self, measured: np.ndarray) -> np.ndarray:
        """Returns the scores [N] of what was measured, [N, C]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Likelihood(Score):
    """-L_K, the negative of a bound on log p(x), in nats (Burda et al., 2016)."""

    formula = "-L_K = -log mean_k w_k"
    paper = "Burda, Grosse and Salakhutdinov (2016)"

    def values(self, measured: np.ndarray) -> np.ndarray:
        """Returns -L_K, [N]."""
        return -measured[:, 0]


@dataclasses.dataclass(frozen=True)
class Typicality(Score):
    """The distance of L_K from its mean over other examples, in nats.

        |L_K(x) - mean_i L_K(x_i)|

    Nalisnick et al., "Detecting Out-of-Distribution Inputs to Deep Generative Models
    Using Typicality" (2019), with one example at a time. It finds images that are too
    likely, such as plain ones.

    Attributes:
        mean: The mean of L_K, in nats; None: it is fitted.
    """

    formula = "|L_K - mean_i L_K(x_i)|"
    paper = "Nalisnick et al. (2019)"
    fits = True
    mean: float | None = None

    def fitted(self, measured: np.ndarray) -> Typicality:
        """Returns the score with the mean of L_K."""
        return dataclasses.replace(self, mean=float(np.mean(measured[:, 0])))

    def values(self, measured: np.ndarray) -> np.ndarray:
        """Returns the distances from the mean, [N]."""
        return np.abs(measured[:, 0] - _known(self.mean))


@dataclasses.dataclass(frozen=True)
class Dose(Score):
    """How rare an example's statistics are: the density of states (DoSE_KDE).

        -sum_j log mean_i Normal(t_j(x); t_j(x_i), h_j),
        h_j = std_i t_j(x_i) n^(-1/5)

    over the statistics t = (L_K, rate, distortion, ESS). Morningstar et al., "Density
    of States Estimation for Out-of-Distribution Detection" (2021), with Scott's
    bandwidths. It finds what is too likely as well as what is too unlikely.

    Attributes:
        points: [n, 4] The statistics of the examples that it is fitted to.
        widths: [4] h; None, as `points`: it is fitted.
    """

    formula = "-sum_j log mean_i Normal(t_j; t_j(x_i), h_j), t = (L_K, R, D, ESS)"
    paper = "Morningstar et al. (2021)"
    fits = True
    points: tuple[tuple[float, ...], ...] | None = None
    widths: tuple[float, ...] | None = None

    def fitted(self, measured: np.ndarray) -> Dose:
        """Returns the score with a density of these statistics.

        Raises:
            InputError: if there are fewer than two examples.
        """
        if len(measured) < 2:
            raise InputError(
                "score 'dose' is a density, and one example has no width; give 4 or "
                "more examples in holdout, or 2 or more in reference"
            )
        widths = np.std(measured, axis=0, ddof=1) * len(measured) ** -0.2
        least = _LEAST_WIDTH * np.maximum(1.0, np.abs(np.mean(measured, axis=0)))
        return dataclasses.replace(
            self,
            points=tuple(map(tuple, measured.tolist())),
            widths=tuple(np.maximum(widths, least).tolist()),
        )

    def values(self, measured: np.ndarray) -> np.ndarray:
        """Returns the negative log-densities, [N]."""
        points, widths = np.asarray(_known(self.points)), np.asarray(self.widths)
        rows = max(1, _ELEMENTS // points.size)
        constant = np.log(len(points)) + 0.5 * math.log(2 * math.pi)
        found = []
        for start in range(0, len(measured), rows):
            part = measured[start : start + rows, np.newaxis]  # [B, 1, C]
            distances = np.square((part - points) / widths)  # [B, n, C]
            log_density = special.logsumexp(-0.5 * distances, axis=1)  # [B, C]
            found.append(np.sum(np.log(widths) + constant - log_density, axis=-1))
        return np.concatenate(found)


def _known(value: Fitted | None) -> Fitted:
    if value is None:
        raise InputError("the score has not been fitted; give it to calibrate first")
    return value
