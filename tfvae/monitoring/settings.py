"""What is written for TensorBoard, and how often; imports nothing heavy."""

from __future__ import annotations

import dataclasses

from tfvae.require import require_int
from tfvae.types import InputError


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """What a training writes for TensorBoard beside its scalars.

    It is no part of a run's configuration: nothing that is computed depends on it.

    Raises:
        InputError: A value is out of range.
    """

    histograms_every: int | None = None
    """Epochs between histograms; None: as a 100th of the time lets; 0: none."""
    images_every: int | None = None
    """Epochs between images; None: as a 100th of the time lets; 0: none."""
    projector: bool = True
    """Write the test images' codes for TensorBoard's projector at the end."""
    graph: bool = False
    """Write the graph of a training step."""
    profile: tuple[int, int] | None = None
    """The first and the last training step to profile; None: none."""

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("histograms_every", "images_every"):
            if getattr(self, name) is not None:
                require_int(_both(name), getattr(self, name), least=0)
        for name in ("projector", "graph"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(
                    f"{_both(name)} {getattr(self, name)!r} is not usable; give True "
                    "or False"
                )
        if self.profile is not None:
            _check_steps(self.profile)


def _check_steps(profile: object) -> None:
    if not isinstance(profile, (tuple, list)) or len(profile) != 2:
        raise InputError(
            f"profile (--profile) {profile!r} is not usable; give two steps, the first "
            "and the last"
        )
    first, last = (require_int(_both("profile"), step) for step in profile)
    if first > last:
        raise InputError(
            f"profile (--profile) {first} {last} ends before it begins; give the first "
            "step, then the last"
        )


def _both(name: str) -> str:
    """The name in Python and on the command line."""
    return f"{name} (--{name.replace('_', '-')})"
