"""What TensorBoard shows of a training.

The settings come without TensorFlow, for the command line; the rest is imported when it
is asked for.
"""

from __future__ import annotations

from tfvae.lazy import imported_when_asked
from tfvae.monitoring.settings import Monitoring

_FROM = {"Monitor": "monitor", "Watched": "monitor", "write_projection": "projector"}

__all__ = ["Monitoring", *_FROM]

__getattr__ = imported_when_asked(__name__, _FROM)
