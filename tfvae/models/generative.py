"""What a VAE says: its posterior, its likelihood, its samples and log-weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.estimators import sample_terms
from tfvae.latents import Latent
from tfvae.models.checks import check_parts
from tfvae.models.conditional import ConditionalDistribution, with_parts
from tfvae.objectives import LogWeightTerms
from tfvae.require import require_int
from tfvae.seeds import derive_seed
from tfvae.types import InputError, Seed

tfd = tfp.distributions

IMAGE_KEY = "image"


class Samples(NamedTuple):
    """Draws from a trained model.

    Attributes:
        z: [n, D] Draws from the prior.
        mean: [n, *image_shape] The mean of p(x|z) for each z.
        draw: [n, *image_shape] One draw from p(x|z) for each z.
    """

    z: tf.Tensor
    mean: tf.Tensor
    draw: tf.Tensor


class LatentVariableModel(keras.Model):
    """An encoder, a decoder and a latent family; `VAE` adds how they are trained.

    Args:
        encoder: x -> q(z|x).
        decoder: What `latent.decoder_input` makes of z -> p(x|z).
        latent: The family of z. The encoder's head is its `posterior_head()`.

    Raises:
        InputError: The parts do not fit together.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        latent: Latent,
        **kwargs,
    ) -> None:
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = decoder.head.compute_dtype
        super().__init__(**kwargs)
        check_parts(encoder, decoder, latent)
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.built = True

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one example, (H, W, C) for images."""
        return self.decoder.head.event_shape

    def encode(self, x: tf.Tensor, training: bool | None = None) -> tfd.Distribution:
        """Returns q(z|x), batch [B], for x [B, *image_shape]."""
        return self.encoder(self._images(x), training=training)

    def decode(self, z: tf.Tensor, training: bool | None = None) -> tfd.Distribution:
        """Returns p(x|z), batch [...], for z [..., D]."""
        return self.decoder(self.latent.decoder_input(z), training=training)

    def reconstruct(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), [B, *image_shape]."""
        return self.decode(self.encode(x).mean()).mean()

    def __call__(self, x, *args, **kwargs) -> tf.Tensor:
        """Checks the images before Keras, which would rewrite the message."""
        self._check_images(x)
        return super().__call__(x, *args, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns `reconstruct(x)`, so that Keras' `predict` works."""
        return self.reconstruct(x)

    def sample(self, num_samples: int, seed: Seed) -> Samples:
        """Draws images from the model, the same for the same seed.

        Args:
            num_samples: How many images.
            seed: Of the draws of z and of x.
        """
        num_samples = require_int("num_samples", num_samples)
        z = self.latent.prior().sample(num_samples, seed=derive_seed(seed, "prior"))
        likelihood = self.decode(z)
        draw = likelihood.sample(seed=derive_seed(seed, "likelihood"))
        return Samples(z, likelihood.mean(), draw)

    def log_weight_terms(
        self, x: tf.Tensor, num_samples: int, seed: Seed
    ) -> LogWeightTerms:
        """Draws z_s ~ q(z|x) and returns the terms of log w_s, each [S, B], in nats.

        Args:
            x: [B, *image_shape].
            num_samples: S.
            seed: Of the draws.
        """
        x = self._images(x)
        num_samples = require_int("num_samples", num_samples)
        seed = derive_seed(seed, "posterior")
        log_joint = functools.partial(self._log_joint, x, training=False)
        posterior, prior = self.encode(x), self.latent.prior()
        return sample_terms(posterior, prior, log_joint, num_samples, seed)

    def _log_joint(
        self, x: tf.Tensor, z: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        likelihood = self.decode(z, training=training)
        return likelihood.log_prob(x), self.latent.prior().log_prob(z)

    def _images(self, x) -> tf.Tensor:
        x = self._check_images(x)
        return tf.cast(x, self.compute_dtype)

    def _check_images(self, x):
        """Returns the images in a batch, a tensor or what stands for one."""
        if isinstance(x, Mapping):
            if IMAGE_KEY not in x:
                raise InputError(
                    f"a batch is a dictionary with the keys {sorted(x)}; its images "
                    f"must be under {IMAGE_KEY!r}"
                )
            x = x[IMAGE_KEY]
        if not isinstance(x, keras.KerasTensor):
            x = tf.convert_to_tensor(x)
        if not tf.as_dtype(x.dtype).is_floating:
            raise InputError(
                f"images have dtype {tf.as_dtype(x.dtype).name}; give floats between 0 "
                "and 1, for example tf.cast(x, tf.float32) / 255"
            )
        if not tf.TensorShape(x.shape)[1:].is_compatible_with(self.image_shape):
            raise InputError(
                f"images have shape {tuple(x.shape)} and the model takes "
                f"[B, {str(self.image_shape)[1:-1]}]; change the data or the model"
            )
        return x

    def get_config(self) -> dict:
        """Returns what rebuilds this model."""
        serialize = keras.saving.serialize_keras_object
        parts = ("encoder", "decoder", "latent")
        config = {name: serialize(getattr(self, name)) for name in parts}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> LatentVariableModel:
        """Rebuilds a model from `get_config`."""
        parts = ("encoder", "decoder", "latent")
        return cls(**with_parts(config, parts, custom_objects))
