"""The interface of priors with weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.distributions import tfd

Encoder = Callable[[tf.Tensor], tfd.Distribution]
"""Images [K, *image_shape] -> q(z|x), batch shape [K]."""


class Family(Protocol):
    """The side of a latent family that a prior sees."""

    event_shape: tuple[int, ...]
    compute_dtype: str

    def posterior_head(self) -> keras.layers.Layer:
        """Returns a new layer from parameters [..., *params_shape] to a distribution.

        The first event_shape[-1] parameters along the last axis are locations.
        """

    def prior_params(self) -> np.ndarray | None:
        """Returns the parameters [*params_shape] that make it the family's prior."""


class Prior(keras.layers.Layer):
    """A prior p(z) with weights of its own, which `fit` trains with the decoder.

    A new prior overrides `distribution` and has an entry in `PRIORS`. It says in the
    signature of `__init__`, or of `from_images` if it has that, whether it takes
    `num_components`, `images` or `seed`.

    Args:
        latent: The family of z.

    Attributes:
        text: The distribution, in words.
        paper: The source of the method.
        conditional: Whether it is p(z|c): `distribution` then takes the features of a
            condition too, `condition` [..., *condition_shape], and returns a batch of
            shape [...].
        condition_shape: The shape of these features for one example.

    Raises:
        InputError: if the family has no prior of this kind.
    """

    text: ClassVar[str]
    paper: ClassVar[str]
    conditional: ClassVar[bool] = False
    condition_shape: tuple[int, ...]

    def __init__(self, latent: Family, **kwargs) -> None:
        if not hasattr(latent, "prior_params"):
            raise InputError(
                f"{type(self).__name__} was given {latent!r} and needs a latent "
                "family, for example tfvae.latents.NormalLatent(latent_size=50)"
            )
        kwargs["dtype"] = kwargs.get("dtype") or latent.compute_dtype
        super().__init__(**kwargs)
        start = latent.prior_params()
        if start is None:
            raise InputError(
                f"{type(self).__name__} is for priors and posteriors of one form, and "
                f"{type(latent).__name__} has two; set prior 'standard', or use latent "
                "'normal' or another whose posterior and prior are of one form"
            )
        self.start = start
        self._latent_config = keras.saving.serialize_keras_object(latent)
        self.built = True

    def distribution(self, encoder: Encoder) -> tfd.Distribution:
        """Returns p(z), batch shape []; only `VampPrior` calls the encoder."""
        raise NotImplementedError

    def constant_start(self, name: str, start: np.ndarray) -> keras.Variable:
        """Adds a trainable weight that starts at an array."""
        weight = self.add_weight(name=name, shape=np.shape(start))
        weight.assign(start)  # an initializer would round a float64 to float32
        return weight

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this prior."""
        return {**super().get_config(), "latent": self._latent_config}

    @classmethod
    def from_config(cls, config: dict) -> Prior:
        """Rebuilds a prior from `get_config`; its weights start again."""
        latent = keras.saving.deserialize_keras_object(config["latent"])
        return cls(**{**config, "latent": latent})


def require_components(num_components: int | None) -> int:
    """Returns K, which a mixture needs.

    Raises:
        InputError: if it is missing, or no int of at least 1.
    """
    if num_components is None:
        raise InputError(
            "a mixture needs num_components, and none is given; set it, for example "
            "num_components=10"
        )
    return require_int("num_components", num_components)
