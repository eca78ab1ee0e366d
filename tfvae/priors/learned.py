"""Priors of the posterior's own form, with learned parameters."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int
from tfvae.distributions import Categorical, mixture, tfd
from tfvae.priors.base import (
    Encoder,
    Family,
    Prior,
    refuse_components,
    require_components,
)


class StandardPrior(Prior):
    """The family's own prior, as a model has that is given none: `make` returns None.

    Raises:
        InputError: It is made like the others.
    """

    text = "the family's own"
    paper = "Kingma and Welling (2014)"

    def __init__(self, latent: Family | None = None) -> None:
        raise InputError(
            "StandardPrior is what a model has without a prior of its own; leave prior "
            "out, or give prior=None"
        )

    @classmethod
    def make(
        cls,
        latent: Family,
        *,
        num_components: int | None = None,
        images: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        """See `Prior.make`."""
        refuse_components(cls, num_components)


@keras.saving.register_keras_serializable(package="tfvae")
class LearnedPrior(Prior):
    """One distribution of the posterior's form, whose parameters are weights.

    It starts as the family's own prior. With a decoder that can undo any affine map it
    adds nothing; with one that cannot, it finds the place and scale of z.

    Attributes:
        params: [*params_shape] What the family's posterior head is given.
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

    @classmethod
    def make(
        cls,
        latent: Family,
        *,
        num_components: int | None = None,
        images: np.ndarray | None = None,
        seed: int = 0,
    ) -> LearnedPrior:
        """See `Prior.make`."""
        refuse_components(cls, num_components)
        return cls(latent)


@keras.saving.register_keras_serializable(package="tfvae")
class MixturePrior(Prior):
    """A mixture of distributions of the posterior's form, all learned.

        p(z) = sum_k softmax(logits)_k p(z; params_k)

    Each component starts as the family's own prior with a standard normal draw added to
    its location or logits. The density of S B samples needs S B K D numbers.

    Args:
        latent: The family of z.
        num_components: K.
        seed: Of the start.

    Attributes:
        params: [K, *params_shape] What the family's posterior head is given.
        logits: [K] Of the components.
    """

    needs_components = True
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
        """Returns where the components start, [K, *params_shape]."""
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

    @classmethod
    def make(
        cls,
        latent: Family,
        *,
        num_components: int | None = None,
        images: np.ndarray | None = None,
        seed: int = 0,
    ) -> MixturePrior:
        """See `Prior.make`."""
        return cls(latent, require_components(num_components), seed)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this prior."""
        return {
            **super().get_config(),
            "num_components": self.num_components,
            "seed": self.seed,
        }
