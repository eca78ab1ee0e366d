"""Outliers with a promise: scores of strangeness, and p-values from held-out examples.

`calibrate` scores examples that were not trained on. A new example's p-value is its rank
among them, so that of new examples of the same kind at most a share alpha has a p-value
of alpha or less, whatever the model is worth.
"""

from tfvae.evaluation.anomaly.detector import Detector, calibrate, fingerprint, load
from tfvae.evaluation.anomaly.regret import Regret
from tfvae.evaluation.anomaly.scores import Dose, Likelihood, Score, Typicality
from tfvae.evaluation.anomaly.table import SCORES

__all__ = [
    "SCORES",
    "Detector",
    "Dose",
    "Likelihood",
    "Regret",
    "Score",
    "Typicality",
    "calibrate",
    "fingerprint",
    "load",
]
__dir__ = __all__.copy  # what completion shows
