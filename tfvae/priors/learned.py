"""Priors with weights, whose components have the posterior's own form."""

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
class LearnedPrior(Prior):
    """One distribution of the posterior's form, whose parameters are weights.

    It starts as the family's own prior. A decoder that can undo any affine map gains
    nothing from it; for another it finds the location and scale of z.

    Attributes:
        params: [*params_shape] The input of the family's posterior head.
    """

    text = "the posterior's form with learned parameters"
    paper = "Hoffman and Johnson (2016)"

    def __init__(self, latent: Family, **kwargs) -> None:
        super().__init__(latent, **kwargs)
        self.head = latent.posterior_head()
        self.params = self.constant_start("params", self.start)

    def distribution(self, encoder: Encoder | None = None) -> tfd.Distribution:
        """See `Prior.distribution`."""
        return self.head(tf.convert_to_tensor(self.params))


@keras.saving.register_keras_serializable(package="tfvae")
class MixturePrior(Prior):
    """A mixture of distributions of the posterior's form, all learned.

        p(z) = sum_k softmax(logits)_k p(z; params_k)

    Each component starts as the family's own prior with a standard normal draw added to
    its location or logits. The density of S B samples needs S B K D numbers.

    Args:
        latent: The family of z.
        num_components: K, the number of components.
        seed: The seed of the start.

    Attributes:
        params: [K, *params_shape] The input of the family's posterior head.
        logits: [K] The logits of the components' probabilities.
    """

    text = "a mixture of the posterior's form with learned parameters and weights"
    paper = "Dilokthanakul et al. (2016); Tomczak and Welling (2018)"

    def __init__(
        self, latent: Family, num_components: int, seed: int = 0, **kwargs
    ) -> None:
        super().__init__(latent, **kwargs)
        self.num_components = require_components(num_components)
        self.seed = require_int("seed", seed, 0, SEEDS)
        self.head = latent.posterior_head()
        self.params = self.constant_start("params", self._spread(latent.event_shape))
        self.logits = self.constant_start("logits", np.zeros([self.num_components]))

    def _spread(self, event_shape: tuple[int, ...]) -> np.ndarray:
        """Returns the parameters [K, *params_shape] that the components start from."""
        start = np.stack([self.start] * self.num_components)
        seed = derive_seed(self.seed, "mixture prior")
        shape = [self.num_components, *event_shape]
        noise = tf.random.stateless_normal(shape, seed, dtype="float64")
        start[..., : event_shape[-1]] += noise.numpy()
        return start

    def distribution(self, encoder: Encoder | None = None) -> tfd.Distribution:
        """See `Prior.distribution`."""
        components = self.head(tf.convert_to_tensor(self.params))  # batch [K]
        weights = Categorical(logits=tf.convert_to_tensor(self.logits))
        return mixture(weights, components)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this prior."""
        return {
            **super().get_config(),
            "num_components": self.num_components,
            "seed": self.seed,
        }


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
