"""What a VAE says: its posterior, its likelihood, its samples and log-weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import Rows
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int
from tfvae.distributions import Distribution
from tfvae.estimators import Chunk, Problem
from tfvae.latents import Hierarchy, Latent
from tfvae.models.checks import check_parts
from tfvae.models.conditional import ConditionalDistribution, with_parts
from tfvae.objectives import Elbo, LogWeightTerms
from tfvae.priors import Prior

IMAGE_KEY = "image"
_PARTS = ("encoder", "decoder", "latent")


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
        prior: One of `tfvae.priors`, in place of the family's standard prior.

    Raises:
        InputError: The parts do not fit together.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        latent: Latent,
        prior: Prior | None = None,
        **kwargs,
    ) -> None:
        check_parts(encoder, decoder, latent, prior)
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = decoder.head.compute_dtype
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.prior_layer = prior
        self.built = True

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one example, (H, W, C) for images."""
        return self.decoder.head.event_shape

    def encode(self, x: tf.Tensor, training: bool | None = None) -> Distribution:
        """Returns q(z|x), batch [B], for x [B, *image_shape]."""
        return self.encoder(self._images(x), training=training)

    def decode(self, z: tf.Tensor, training: bool | None = None) -> Distribution:
        """Returns p(x|z), batch [...], for z [..., D]."""
        return self.decoder(self.latent.decoder_input(z), training=training)

    def reconstruct(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), [B, *image_shape].

        A discrete posterior has its mode instead of its mean.
        """
        return self.decode(self.latent.centre(self.encode(x))).mean()

    def __call__(self, x, *args, **kwargs) -> tf.Tensor:
        """Checks the images before Keras, which would rewrite the message."""
        self.checked_images(x)
        return super().__call__(x, *args, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns `reconstruct(x)`, so that Keras' `predict` works."""
        return self.reconstruct(x)

    def prior(self) -> Distribution:
        """Returns p(z), batch [], event [D]."""
        if self.prior_layer is None:
            return self.latent.prior()
        return self.prior_layer.distribution(self.encoder)

    def discrete(self) -> LatentVariableModel:
        """Returns the model that a relaxed one relaxes, with the same weights.

        Its latent variables have the exact discrete distribution of the same logits,
        and the standard prior. It is not compiled.

        Raises:
            InputError: The latent family relaxes none.
        """
        twin = self.latent.discrete()
        if twin is None:
            raise InputError(
                f"{type(self.latent).__name__} relaxes no discrete family; use one "
                "that does, for example BinConcreteLatent"
            )
        encoder = ConditionalDistribution(self.encoder.network, twin.posterior_head())
        return type(self)(encoder, self.decoder, twin)

    def sample(self, num_samples: int, seed: Seed) -> Samples:
        """Draws images from the model, the same for the same seed.

        Args:
            num_samples: How many images.
            seed: Of the draws of z and of x.
        """
        num_samples = require_int("num_samples", num_samples)
        z = self.prior().sample(num_samples, seed=derive_seed(seed, "prior"))
        likelihood = self.decode(z)
        draw = likelihood.sample(seed=derive_seed(seed, "likelihood"))
        return Samples(z, likelihood.mean(), draw)

    def log_weight_terms(
        self, x: tf.Tensor, num_samples: int, seed: Seed, chunk: Chunk | None = None
    ) -> LogWeightTerms:
        """Draws z_s ~ q(z|x) and returns the terms of log w_s, each [S, B], in nats.

        Args:
            x: [B, *image_shape].
            num_samples: S.
            seed: Of the draws.
            chunk: Which of the S samples alone to draw and to weigh; None: all.
        """
        num_samples = require_int("num_samples", num_samples)
        problem = self._problem(self._images(x), num_samples, seed, training=False)
        return problem.draw_and_weigh(chunk)

    def _problem(
        self,
        x: tf.Tensor,
        num_samples: int,
        seed: Seed,
        training: bool,
        rows: Rows | None = None,
    ) -> Problem:
        """Returns what there is to estimate for images x, with the elbo's terms."""
        params = self.encoder.params(x, training=training)
        head, seed = self.encoder.head, derive_seed(seed, "posterior")

        def made_of(params: tf.Tensor) -> Problem:
            return Problem(
                objective=Elbo(),
                posterior=head(params),
                stopped_posterior=lambda: head.stopped(params),
                prior=self.prior(),
                log_likelihood=lambda z: self.decode(z, training=training).log_prob(x),
                num_samples=num_samples,
                kl_weight=1.0,
                seed=seed,
                posterior_params=params,
                remade=made_of,
                rows=rows,
                everyones=lambda: head(rows.padded(params)),
            )

        return made_of(params)

    def _images(self, x) -> tf.Tensor:
        x = self.checked_images(x)
        return tf.cast(x, self.compute_dtype)

    def checked_images(self, x) -> tf.Tensor | keras.KerasTensor:
        """Returns the images [B, *image_shape] of a batch, floats.

        Raises:
            InputError: They are something else.
        """
        if isinstance(x, Mapping):
            if IMAGE_KEY not in x:
                raise InputError(
                    f"a batch is a dictionary with the keys {sorted(x)}; its images "
                    f"must be under {IMAGE_KEY!r}"
                )
            x = x[IMAGE_KEY]
        if not isinstance(x, keras.KerasTensor):
            x = _tensor(x)
        if not tf.as_dtype(x.dtype).is_floating:
            raise InputError(
                f"images have dtype {tf.as_dtype(x.dtype).name}; give floats between 0 "
                "and 1, for example tf.cast(x, tf.float32) / 255"
            )
        shape = tf.TensorShape(x.shape)
        if shape.rank == 0 or not shape[1:].is_compatible_with(self.image_shape):
            raise InputError(
                f"images have shape {tuple(x.shape)} and the model takes "
                f"[B, {str(self.image_shape)[1:-1]}]; change the data or the model"
            )
        return x

    def get_config(self) -> dict:
        """Returns what rebuilds this model."""
        serialize = keras.saving.serialize_keras_object
        config = {name: serialize(getattr(self, name)) for name in _PARTS}
        config["prior"] = serialize(self.prior_layer)
        return {**super().get_config(), **config}

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> LatentVariableModel:
        """Rebuilds a model from `get_config`."""
        parts = with_parts(config, (*_PARTS, "prior"), custom_objects)
        if isinstance(parts["latent"], Hierarchy):
            # Its head shares networks with it, which two configs cannot say.
            encoder, head = parts["encoder"], parts["latent"].posterior_head()
            parts["encoder"] = ConditionalDistribution(
                encoder.network, head, name=encoder.name
            )
        return cls(**parts)


def _tensor(x) -> tf.Tensor:
    try:
        return tf.convert_to_tensor(x)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"images of type {type(x).__name__} are no array ({reason:.100}); give "
            "floats [B, *image_shape]"
        ) from error
