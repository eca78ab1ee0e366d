"""How often checkpoints are written."""

from __future__ import annotations

import dataclasses

from tfvae.types import InputError


@dataclasses.dataclass(frozen=True)
class Checkpointing:
    """When a run's state is written. Nothing of it changes what is trained.

    Raises:
        InputError: `checkpoint_every` is no int of at least 1.
    """

    checkpoint_every: int | None = None
    """Training steps from one checkpoint to the next; None: at ends of epochs alone."""

    def __post_init__(self) -> None:
        every = self.checkpoint_every
        if every is not None and (type(every) is not int or not 1 <= every < 2**31):
            raise InputError(
                f"checkpoint_every {every!r} is not usable; give an int from 1, or None"
            )
