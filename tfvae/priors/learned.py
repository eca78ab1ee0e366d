"""Priors of the posterior's own form, with learned parameters."""

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.validation import SEEDS, require_int
from tfvae.distributions import Categorical, mixture, tfd
from tfvae.priors.base import Encoder, Family, Prior, require_components


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
