"""Latent families: what belongs together about a latent variable z.

A family ties together the posterior's head, the prior, and what the decoder reads.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfvae.latents.base import Latent
from tfvae.latents.continuous import LogisticLatent, NormalLatent
from tfvae.latents.relaxed import BinConcreteLatent

LATENTS: Mapping[str, type[Latent]] = {
    "normal": NormalLatent,
    "logistic": LogisticLatent,
    "bin_concrete": BinConcreteLatent,
}

__all__ = [
    "LATENTS",
    "BinConcreteLatent",
    "Latent",
    "LogisticLatent",
    "NormalLatent",
]
