"""The scores by name."""

from collections.abc import Mapping

from tfvae.evaluation.anomaly.regret import Regret
from tfvae.evaluation.anomaly.scores import Dose, Likelihood, Score, Typicality

SCORES: Mapping[str, type[Score]] = {
    "likelihood": Likelihood,
    "typicality": Typicality,
    "regret": Regret,
    "dose": Dose,
}
