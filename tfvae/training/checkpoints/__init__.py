"""Checkpoints of a run, from which it goes on as if nothing had happened."""

from tfvae.training.checkpoints.saving import (
    Interrupted,
    SaveCheckpoints,
    StopRequest,
)
from tfvae.training.checkpoints.state import (
    Position,
    apply_arrays,
    apply_metrics,
    set_callback_state,
)
from tfvae.training.checkpoints.store import Checkpoint, CheckpointStore

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "Interrupted",
    "Position",
    "SaveCheckpoints",
    "StopRequest",
    "apply_arrays",
    "apply_metrics",
    "set_callback_state",
]
