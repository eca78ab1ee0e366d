"""Multi-sample bounds as functions of log-weights.

With S samples z_s ~ q(z|x), every bound is a function of the log-weights

    log w_s = log p(x|z_s) - rate_s,    rate_s = log q(z_s|x) - log p(z_s)

in nats. `LogWeightTerms` is the only place where this is written. An
objective says, for log-weights [S, B], its value [B] and the coefficients
[S, B] = d value / d log w; it knows nothing of models.
"""

from collections.abc import Mapping

from tfvae.core.lookup import resolve
from tfvae.objectives.bounds import (
    Ciwae,
    Elbo,
    Iwae,
    LogWeightTerms,
    Objective,
    Renyi,
    VrIwae,
)
from tfvae.objectives.groups import Miwae, Piwae
from tfvae.objectives.thermodynamic import Tvo

OBJECTIVES: Mapping[str, type[Objective]] = {
    "elbo": Elbo,
    "iwae": Iwae,
    "renyi": Renyi,
    "vr_iwae": VrIwae,
    "ciwae": Ciwae,
    "miwae": Miwae,
    "piwae": Piwae,
    "tvo": Tvo,
}


def get_objective(objective: str | Objective) -> Objective:
    """Returns an objective given itself or its name in `OBJECTIVES`.

    Raises:
        InputError: if it is neither.
    """
    return resolve(OBJECTIVES, objective, Objective, "objective")


__all__ = [
    "OBJECTIVES",
    "Ciwae",
    "Elbo",
    "Iwae",
    "LogWeightTerms",
    "Miwae",
    "Objective",
    "Piwae",
    "Renyi",
    "Tvo",
    "VrIwae",
    "get_objective",
]
__dir__ = __all__.copy  # what completion shows
