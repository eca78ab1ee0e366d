"""How a benchmark is made; imports nothing heavy."""

from __future__ import annotations

import dataclasses

from tfvae.require import require_int, require_number
from tfvae.types import InputError


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a benchmark is made.

    Raises:
        InputError: A number is out of range.
    """

    blocks: int = 5
    """Timed blocks of training; the median is reported, with the least and the most."""
    block_seconds: float = 1.5
    """About how long a block takes."""
    evaluation_samples: int = 5000
    """K, samples of z per image in the evaluation."""
    evaluation_images: int | None = None
    """Images scored, up to a whole batch; None: as many as take a few seconds."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        require_int("blocks (--blocks)", self.blocks)
        require_number("block_seconds (--block-seconds)", self.block_seconds)
        name = "evaluation_samples (--evaluation-samples)"
        require_int(name, self.evaluation_samples)
        if self.evaluation_images is not None:
            name = "evaluation_images (--evaluation-images)"
            require_int(name, self.evaluation_images)

    def check_serving(self) -> None:
        """Refuses what has no effect on a benchmark of serving."""
        default = Settings()
        for name in ("evaluation_samples", "evaluation_images"):
            if getattr(self, name) != getattr(default, name):
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option} {getattr(self, name)} has no effect with --serving; "
                    "leave one of them out"
                )
