"""Where a training runs; imports nothing heavy."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfvae.types import InputError

STRATEGIES = ("none", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class Distribution:
    """On which devices a training runs.

    It is no part of a run's configuration: what is computed is the same, to rounding,
    and a run may go on with another number of replicas.

    Raises:
        InputError: There is no such strategy.
    """

    strategy: Literal["none", "mirrored", "multi_worker"] = "none"
    """One device; all of this machine; or all of the workers that TF_CONFIG names."""

    def __post_init__(self) -> None:
        """Checks the value."""
        if self.strategy not in STRATEGIES:
            raise InputError(
                f"strategy (--strategy) {self.strategy!r} is not usable; choose one of "
                f"{', '.join(STRATEGIES)}"
            )
