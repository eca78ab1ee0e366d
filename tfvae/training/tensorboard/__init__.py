"""Monitoring of a training with TensorBoard."""

from tfvae.training.tensorboard.monitor import Monitor, Watched
from tfvae.training.tensorboard.projector import write_projection

__all__ = ["Monitor", "Watched", "write_projection"]
