"""P-values of served scores, by the calibration of a detector of outliers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfvae.config.settings import EXPORTED_SAMPLES
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.evaluation.anomaly import Detector, Likelihood, fingerprint
from tfvae.models import VAE, SemiSupervisedVAE

_MOST_SAMPLES = 2**20  # as in a configuration
_NAME = "num_samples (--num-samples)"


def samples_of(vae: VAE, num_samples: int | None, detector: Detector | None) -> int:
    """Returns K of the signature `score`; None: the detector's, or 100 without one.

    Raises:
        InputError: if it is out of range, or the signature cannot have the p-values of
            the detector.
    """
    if num_samples is not None or detector is None:
        num_samples = EXPORTED_SAMPLES if num_samples is None else num_samples
        num_samples = require_int(_NAME, num_samples, most=_MOST_SAMPLES)
    if detector is None:
        assert num_samples is not None
        return num_samples
    if not isinstance(detector, Detector):
        raise InputError(
            f"detector {detector!r:.60} is not usable; give what "
            "tfvae.anomaly.calibrate returns"
        )
    if fingerprint(detector.vae) != fingerprint(vae):
        raise InputError(
            "the detector is one of another model, or of other weights; calibrate this "
            "one"
        )
    if not isinstance(detector.score, Likelihood):
        raise InputError(
            f"p-values of the score {type(detector.score).__name__} are not served; "
            "calibrate with score 'likelihood'"
        )
    if isinstance(vae, SemiSupervisedVAE):
        raise InputError(
            "a semi-supervised model serves scores of p(x|y), and the calibration is "
            "one of p(x); leave the detector out"
        )
    if num_samples not in (None, detector.num_samples):
        raise InputError(
            f"{_NAME} {num_samples} is not that of the calibration, "
            f"{detector.num_samples}; leave it out, or calibrate with as many"
        )
    return detector.num_samples


def p_values_of(calibration: np.ndarray, scores: tf.Tensor) -> tf.Tensor:
    """Returns the p-values of scores [B], float64, as `Detector.p_values_of` does."""
    size = len(calibration)
    scores = tf.where(tf.math.is_nan(scores), tf.constant(np.inf, tf.float64), scores)
    ordered = tf.constant(calibration, tf.float64)
    below = tf.cast(tf.searchsorted(ordered, scores, side="left"), tf.float64)
    return (1.0 + size - below) / (size + 1.0)
