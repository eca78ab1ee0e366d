"""Checkpoints of a run: what it takes to go on as if nothing had happened.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

from tfvae.checkpoints.settings import Checkpointing
from tfvae.lazy import imported_when_asked

_FROM = {
    "Checkpoint": "store",
    "CheckpointStore": "store",
    "Interrupted": "stopping",
    "Position": "state",
    "SaveCheckpoints": "saving",
    "StopRequest": "stopping",
    "apply_arrays": "state",
    "apply_metrics": "state",
    "arrays_of": "state",
    "callback_state": "state",
    "set_callback_state": "state",
}

__all__ = ["Checkpointing", *_FROM]

__getattr__ = imported_when_asked(__name__, _FROM)
