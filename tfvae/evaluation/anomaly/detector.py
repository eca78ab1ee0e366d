"""From held-out examples to p-values of new ones, and the file that keeps them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tfvae.core.files import read_bounded, write_json
from tfvae.core.lookup import lookup, resolve
from tfvae.core.types import InputError, first_line
from tfvae.core.validation import SEEDS, require_int, require_number, require_path
from tfvae.evaluation.anomaly.measuring import STATISTICS, Measure, measured, traced
from tfvae.evaluation.anomaly.scores import Score
from tfvae.evaluation.anomaly.table import SCORES
from tfvae.evaluation.inputs import check_model
from tfvae.models import VAE, SelfMasking

_FORMAT = "tfvae anomaly calibration 1"
_MOST_BYTES = 256 << 20  # of a file: dose keeps four numbers of each fitted example


def calibrate(
    vae: VAE,
    holdout: Any,
    score: str | Score = "likelihood",
    num_samples: int = 100,
    seed: int = 0,
    *,
    reference: Any = None,
    progress: Callable[[int], None] | None = None,
) -> Detector:
    """Scores held-out examples, with which a detector compares new ones.

    Typicality and density of states are fitted to examples too. Those must not
    calibrate, or a new example, which was not fitted, would be strange by comparison.
    They are the `reference` if there is one, and all of `holdout` calibrates; else one
    half of `holdout`, drawn by the seed, and the other half calibrates. Neither depends
    on the order of the examples.

    Args:
        vae: The model.
        holdout: Examples that were not trained on, nor chosen by: an array
            [N, *data_shape], a dictionary of roles, a `Batch`, or batches of these.
        score: A name in `SCORES`, or a `Score`.
        num_samples: K, the samples of z of each example.
        seed: The seed of all draws.
        reference: Examples that the score is fitted to, as `holdout`; they may have
            been trained on. None: half of `holdout`.
        progress: Called with the number of examples so far, of `reference` and then of
            `holdout`.

    Raises:
        InputError: if a value is out of range, the score is not defined for the model,
            or examples are missing, have no probability, or no finite score.
    """
    check_model(vae)
    score = resolve(SCORES, score, Score, "score")
    num_samples = require_int("num_samples", num_samples)
    seed = require_int("seed", seed, 0, SEEDS)
    if reference is not None and not score.fits:
        raise InputError(
            f"reference has no effect: {type(score).__name__} is not fitted to "
            "examples; leave it out, or choose score 'typicality' or 'dose'"
        )
    score.check(vae)
    measure = traced(score.measure(vae, num_samples, seed))
    if reference is not None:
        score = score.fitted(measured(vae, measure, reference, seed, progress))
    if holdout is None:
        raise InputError(
            "there is no holdout (None); give examples that were not trained on"
        )
    found = measured(vae, measure, holdout, seed, progress)
    if score.fits and reference is None:
        fitted, found = _halves(found, seed)
        score = score.fitted(fitted)
    return Detector(vae, score, score.values(found), num_samples, seed, measure)


class Detector:
    """Scores and p-values of examples, by comparison with held-out ones.

        p(x) = (1 + #{i: s(x_i) >= s(x)}) / (n + 1)

    If x and the n held-out x_i are exchangeable, for example independent draws from one
    distribution, P(p(x) <= alpha) <= alpha, whatever the model and the score: Vovk,
    Gammerman and Shafer (2005); Bates, Candes, Lei, Romano and Sesia, "Testing for
    outliers with conformal p-values" (2023). The probability is over x and the held-out
    examples; with one set of these the share of false alarms is near alpha, with a
    standard deviation of about sqrt(alpha (1 - alpha) / n).

    `calibrate` makes one, and `load` reads one that was saved.

    Attributes:
        vae: The model.
        score: The score, fitted if it is one that fits.
        calibration: [n] The held-out examples' scores, in order, float64.
        num_samples: K.
        seed: The seed of all draws.
    """

    def __init__(
        self,
        vae: VAE,
        score: Score,
        calibration: np.ndarray,
        num_samples: int,
        seed: int,
        measure: Measure | None = None,
    ) -> None:
        self.vae, self.score = vae, score
        self.num_samples, self.seed = num_samples, seed
        self.calibration = np.sort(np.asarray(calibration, np.float64))
        if not np.isfinite(self.calibration).all():
            count = int(np.sum(~np.isfinite(self.calibration)))
            raise InputError(
                f"the scores of {count} of {len(self.calibration)} held-out examples "
                "are not finite; give examples of the kind that was trained on, or a "
                "model that has converged"
            )
        self._measure = measure or traced(score.measure(vae, num_samples, seed))

    @property
    def size(self) -> int:
        """The number of examples that calibrate, n."""
        return len(self.calibration)

    def scores(
        self, x: Any, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Returns the scores of examples, float64 [N]; higher is stranger.

        An example has the same score beside any other examples. One whose score is not
        a number has that of infinity.

        Args:
            x: Examples, as `calibrate` takes them.
            progress: Called with the number of examples so far.

        Raises:
            InputError: if there are none, or some that the model has no probability
                for.
        """
        found = measured(self.vae, self._measure, x, self.seed, progress)
        scores = self.score.values(found)
        return np.where(np.isnan(scores), math.inf, scores)

    def p_values(self, x: Any) -> np.ndarray:
        """Returns the p-values of examples, float64 [N], between 1 / (n + 1) and 1."""
        return self.p_values_of(self.scores(x))

    def p_values_of(self, scores: np.ndarray) -> np.ndarray:
        """Returns the p-values of scores [N]; ties count against being an outlier."""
        below = np.searchsorted(self.calibration, scores, side="left")
        return (1 + self.size - below) / (self.size + 1)

    def flag(self, x: Any, alpha: float) -> np.ndarray:
        """Returns whether examples are outliers, p <= alpha, bool [N].

        Args:
            x: Examples, as `calibrate` takes them.
            alpha: The share of false alarms that is accepted, between 0 and 1.

        Raises:
            InputError: if alpha is below the least p-value, or x cannot be used.
        """
        check_alpha(alpha, self.size)
        return self.p_values(x) <= alpha

    def threshold(self, alpha: float) -> float:
        """Returns the score above which, and not at which, p <= alpha.

        Raises:
            InputError: if alpha is below the least p-value.
        """
        check_alpha(alpha, self.size)
        every = np.arange(1, self.size + 2) / (self.size + 1)  # the p-values there are
        above = int(np.searchsorted(every, alpha, side="right"))
        return float(self.calibration[self.size - above])

    def save(self, path: str | os.PathLike) -> None:
        """Writes a JSON file, whole or not at all, which names the model.

        Raises:
            InputError: if the score is none of `SCORES`, or there is no such folder.
        """
        write_json(require_path("path", path), self.state())

    def state(self) -> dict[str, Any]:
        """Returns what `from_state` needs beside the model, as JSON has it."""
        name = next((n for n, kind in SCORES.items() if kind is type(self.score)), None)
        if name is None:
            raise InputError(
                f"a calibration of {type(self.score).__name__} cannot be saved; use a "
                f"score of the table, {', '.join(SCORES)}"
            )
        return {
            "format": _FORMAT,
            "model": fingerprint(self.vae),
            "score": name,
            "arguments": dataclasses.asdict(self.score),
            "num_samples": self.num_samples,
            "seed": self.seed,
            "calibration": self.calibration.tolist(),
        }

    @classmethod
    def from_state(cls, state: Any, vae: VAE) -> Detector:
        """Returns the detector of a `state` and its model.

        Raises:
            InputError: if the state is damaged, or of another model.
        """
        check_model(vae)
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise InputError(f"it is no calibration (format {_FORMAT!r})")
        if state.get("model") != fingerprint(vae):
            raise InputError(
                "it is a calibration of another model, or of other weights; give that "
                "model, or calibrate this one"
            )
        try:
            kind = lookup(SCORES, state["score"], "score")
            arguments = {n: _tuples(v) for n, v in state["arguments"].items()}
            score = kind(**arguments)
            score.values(np.zeros([1, len(STATISTICS)]))  # what is missing shows
            calibration = np.asarray(state["calibration"], np.float64)
            if calibration.ndim != 1 or not calibration.size:
                raise ValueError(f"it has scores of shape {calibration.shape}")
            num_samples = require_int("num_samples", state["num_samples"])
            seed = require_int("seed", state["seed"], 0, SEEDS)
            return cls(vae, score, calibration, num_samples, seed)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"it is damaged ({first_line(error)})") from error


def load(path: str | os.PathLike, vae: VAE) -> Detector:
    """Reads what `Detector.save` wrote.

    Args:
        path: The file.
        vae: The model that was calibrated.

    Raises:
        InputError: if there is no such file, or it is damaged or of another model.
    """
    path = require_path("path", path)
    try:
        return Detector.from_state(json.loads(read_bounded(path, _MOST_BYTES)), vae)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"there is no calibration {str(path)!r}; make one with "
            "tfvae.anomaly.calibrate(vae, holdout).save(path)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # an InputError is one
        raise InputError(
            f"{str(path)!r} cannot be used: {first_line(error, 300)}"
        ) from error


def fingerprint(vae: VAE) -> str:
    """Returns the SHA-256 of a model's parts and weights, as hexadecimal digits.

    What is the training's alone, such as the optimizer and kl_weight, has no part.
    """
    parts = [vae.encoder, vae.decoder, vae.latent, vae.prior_layer, vae.condition]
    if isinstance(vae.missing, SelfMasking):
        parts.append(vae.missing)
    digest = hashlib.sha256(repr(vae.data_shape).encode())
    for part in filter(None, parts):
        names = (type(part).__name__, type(getattr(part, "head", None)).__name__)
        digest.update(repr(names).encode())
        for weight in part.weights:
            values = np.ascontiguousarray(weight.numpy())
            digest.update(repr((values.shape, str(values.dtype))).encode())
            digest.update(values.tobytes())
    return digest.hexdigest()


def check_alpha(alpha: float, size: int) -> float:
    """Returns alpha, if one of `size` held-out examples' p-values can be as small.

    Raises:
        InputError: if it is not between 0 and 1, or none can be.
    """
    value = require_number("alpha", alpha)
    if value >= 1:
        raise InputError(f"alpha {alpha!r} is not usable; give a share below 1")
    if value < 1 / (size + 1):
        wanted = max(1, math.ceil(1 / value) - 1)
        wanted += 1 / (wanted + 1) > value  # 1 / value was rounded
        raise InputError(
            f"alpha {alpha!r} is below {1 / (size + 1):.3g}, the least p-value that "
            f"{size} held-out examples give, so that nothing would be flagged; give "
            f"{wanted} or more, or a larger alpha"
        )
    return value


def _halves(measured: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the half to fit to and the half that calibrates, [n, C] each.

    The examples are sorted before they are drawn: so the halves do not depend on their
    order, and all the same every half is equally likely.
    """
    if len(measured) < 2:
        raise InputError(
            "the score is fitted to half of holdout, which has one example; give more, "
            "or examples to fit to as reference"
        )
    rows = measured[np.lexsort(measured.T)]
    order = np.random.default_rng(seed).permutation(len(rows))
    half = len(rows) // 2
    return rows[order[:half]], rows[order[half:]]


def _tuples(value: Any) -> Any:
    """Returns JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
