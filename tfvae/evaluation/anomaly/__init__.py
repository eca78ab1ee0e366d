"""Outliers with a promise: scores of strangeness, and p-values from held-out examples.

`calibrate` scores examples that were not trained on. The p-value of a new example is
its rank among them: of new examples of the same kind a share alpha at most has a
p-value of alpha or less, whatever the model is worth.
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
