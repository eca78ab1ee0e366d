"""Views of a model on its watched images, each traced once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfvae.models import VAE, Batch
from tfvae.training.tensorboard.images import model_images
from tfvae.training.tensorboard.latent import active_units, histograms

SEED = 0  # of all draws, so that the model alone makes a difference


class Views:
    """Functions of a model's weights alone.

    Args:
        vae: The model, compiled.
        batch: The examples that it is watched on, with their roles.
    """

    def __init__(self, vae: VAE, batch: Batch) -> None:
        self.vae, self.batch = vae, batch
        self._active_units = _traced(lambda: active_units(vae, batch, SEED))
        self._histograms = _traced(lambda: histograms(vae, batch, SEED))
        self._images = _traced(lambda: model_images(vae, batch, SEED))

    def active_units(self) -> int:
        """Returns how many latent variables depend on x."""
        return int(self._active_units())

    def histograms(self) -> dict[str, np.ndarray]:
        """Returns arrays by name, see `latent.histograms`."""
        return _arrays(self._histograms())

    def images(self) -> dict[str, np.ndarray]:
        """Returns images by name, see `images.model_images`."""
        return _arrays(self._images())

    def graph_of_a_step(self) -> tf.Graph:
        """Returns the graph of a training step; nothing is run."""
        roles = {
            role: tf.TensorSpec([None, *value.shape[1:]], value.dtype)
            for role, value in self.batch.roles().items()
        }
        return _traced(self.vae.train_step).get_concrete_function(roles).graph


def _traced(function: Callable) -> tf.types.experimental.PolymorphicFunction:
    # There is no Python to convert, and converting writes files.
    return tf.function(function, autograph=False)


def _arrays(tensors: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
