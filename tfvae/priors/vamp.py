"""The variational mixture of posteriors."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int
from tfvae.distributions import Categorical, mixture, tfd
from tfvae.priors.base import Encoder, Family, Prior, require_components

# Pseudo-inputs start no closer to 0 and 1: a sigmoid that is saturated does not learn.
MARGIN = 0.01


@keras.saving.register_keras_serializable(package="tfvae")
class VampPrior(Prior):
    """VampPrior: the mean of the encoder's posteriors at learned pseudo-inputs.

        p(z) = 1/K sum_k q(z|u_k),    u_k = sigmoid(raw_k)

    (Tomczak and Welling, 2018). The sigmoid keeps the pseudo-inputs in (0, 1). The
    density of S B samples needs S B K D numbers, and each batch one run of the encoder
    on K images.

    Args:
        latent: The family of z.
        pseudo_inputs: [K, *image_shape] The values that they start from, between 0
            and 1, clipped to [0.01, 0.99].

    Attributes:
        raw: [K, *image_shape] The logits of the pseudo-inputs.

    Raises:
        InputError: if the family has no such prior, or values are out of range.
    """

    text = "the mean of the encoder's posteriors at learned pseudo-inputs"
    paper = "Tomczak and Welling (2018)"

    def __init__(self, latent: Family, pseudo_inputs: np.ndarray, **kwargs) -> None:
        super().__init__(latent, **kwargs)
        start = np.clip(_checked(pseudo_inputs), MARGIN, 1 - MARGIN)
        self.raw = self.constant_start("raw", np.log(start) - np.log1p(-start))

    @property
    def pseudo_inputs(self) -> tf.Tensor:
        """The input of the encoder, [K, *image_shape], between 0 and 1."""
        return tf.sigmoid(tf.convert_to_tensor(self.raw))

    def distribution(self, encoder: Encoder) -> tfd.Distribution:
        """See `Prior.distribution`."""
        components = encoder(self.pseudo_inputs)  # batch [K]
        weights = Categorical(logits=tf.zeros(self.raw.shape[:1], components.dtype))
        return mixture(weights, components)

    @classmethod
    def from_images(
        cls,
        latent: Family,
        num_components: int | None = None,
        images: np.ndarray | None = None,
        seed: int = 0,
    ) -> VampPrior:
        """Builds a prior whose pseudo-inputs are K different images of a data set.

        They are drawn from `images` [N, *image_shape], between 0 and 1.

        Raises:
            InputError: if an argument is missing or out of range.
        """
        num_components = require_components(num_components)
        seed = derive_seed(require_int("seed", seed, 0, SEEDS), "vamp prior")
        if images is None:
            raise InputError(
                "VampPrior starts from images, and none are given; pass the training "
                "images as images=, [N, *image_shape]"
            )
        if len(images) < num_components:
            raise InputError(
                f"VampPrior was given num_components {num_components} and "
                f"{len(images)} images to start from; set num_components "
                f"{len(images)} or less, or give more images"
            )
        order = tf.random.experimental.stateless_shuffle(tf.range(len(images)), seed)
        return cls(latent, np.asarray(images)[order[:num_components].numpy()])

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this prior; pseudo-inputs are weights."""
        return {**super().get_config(), "shape": tuple(self.raw.shape)}

    @classmethod
    def from_config(cls, config: dict) -> VampPrior:
        """Rebuilds a prior from `get_config`, with grey pseudo-inputs."""
        config = dict(config)
        grey = np.full(config.pop("shape"), 0.5)
        return super().from_config({**config, "pseudo_inputs": grey})


def _checked(pseudo_inputs: np.ndarray) -> np.ndarray:
    values = np.asarray(pseudo_inputs)
    if values.dtype.kind not in "fiub" or values.ndim < 2 or not values.size:
        raise InputError(
            f"pseudo_inputs have dtype {values.dtype} and shape {values.shape}; give "
            "numbers of shape [K, *image_shape] with K of 1 or more"
        )
    values = values.astype("float64")
    if not np.all((values >= 0) & (values <= 1)):
        raise InputError(
            f"pseudo_inputs lie between {values.min():g} and {values.max():g}; give "
            "images with values between 0 and 1"
        )
    return values
