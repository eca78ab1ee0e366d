"""Families of discrete latent variables, whose draws have no gradient."""

import keras
import numpy as np
import tensorflow as tf

from tfvae import priors
from tfvae.core.validation import require_int
from tfvae.distributions import tfd
from tfvae.heads import BernoulliHead, OneHotCategoricalHead
from tfvae.latents.base import Latent


@keras.saving.register_keras_serializable(package="tfvae")
class BernoulliLatent(Latent):
    """Bernoulli posterior with learned logits, fair Bernoulli prior; z is 0.0 or 1.0.

        q(z|x) = prod_d sigmoid(logits_d)^z_d sigmoid(-logits_d)^(1 - z_d)

    Draws have no gradient: train with one of the estimators for discrete variables,
    such as vimco, disarm or arms (Mnih and Rezende, 2016).
    """

    head_class = BernoulliHead
    reparameterised = False
    layered = True
    serving_clip = (0.0, 1.0)
    posterior_text = "Bernoulli(sigmoid(logits))"
    prior_text = "Bernoulli(1/2)"
    paper = "Mnih and Rezende (2016)"

    def prior(self) -> tfd.Distribution:
        """Returns Bernoulli(1/2)."""
        return priors.fair_bernoulli(self.latent_size, self.compute_dtype)

    def prior_params(self) -> np.ndarray:
        """Returns zeros, the logits of equal probabilities."""
        return np.zeros([self.latent_size])

    def point_estimate(self, posterior: tfd.Distribution) -> tf.Tensor:
        """Returns the mode, [..., D]."""
        return posterior.mode()

    def traversal(self, levels: np.ndarray) -> tf.Tensor:
        """Returns 0 for levels up to a half, then 1, [levels, D]."""
        ones = tf.cast(np.asarray(levels) > 0.5, self.compute_dtype)
        return tf.tile(ones[:, tf.newaxis], [1, self.latent_size])


class OneHotLatent(Latent):
    """The base of the families of D variables of K classes each, z [..., D, K]."""

    def __init__(self, latent_size: int, num_classes: int = 10, **kwargs) -> None:
        super().__init__(latent_size, **kwargs)
        self.num_classes = require_int("num_classes", num_classes, least=2)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of z for one example, (D, K)."""
        return (self.latent_size, self.num_classes)

    @property
    def decoder_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's input for one example, (D K,)."""
        return (self.latent_size * self.num_classes,)

    def traversal(self, levels: np.ndarray) -> None:
        """Returns None, since classes have no order."""
        return None

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="tfvae")
class CategoricalLatent(OneHotLatent):
    """One-hot posterior with learned logits, uniform prior; the decoder reads D K.

        q(z|x) = prod_d prod_k softmax(logits_d)_k^z_dk

    D independent variables of K classes each (Jang, Gu and Poole, 2017). Draws have no
    gradient: train with the estimators reinforce, vimco, rebar, relax, or with a biased
    one such as straight_through.

    Args:
        latent_size: D, the number of variables.
        num_classes: K, the number of classes of each variable.
    """

    head_class = OneHotCategoricalHead
    reparameterised = False
    serving_clip = (0.0, 1.0)
    posterior_text = "D one-hot variables of K classes, softmax(logits)"
    prior_text = "uniform over the classes"
    decoder_reads = "z, flat (D K numbers)"
    paper = "Jang, Gu and Poole (2017)"

    def prior(self) -> tfd.Distribution:
        """Returns equal probabilities."""
        return priors.uniform_one_hot(
            self.latent_size, self.num_classes, self.compute_dtype
        )

    def prior_params(self) -> np.ndarray:
        """Returns zeros, the logits of equal probabilities."""
        return np.zeros(self.event_shape)

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns z flat, [..., D K]."""
        return flat(z)

    def point_estimate(self, posterior: tfd.Distribution) -> tf.Tensor:
        """Returns the mode, [..., D, K]."""
        return posterior.mode()


def flat(z: tf.Tensor) -> tf.Tensor:
    """Returns z [..., D, K] as [..., D K]."""
    z = tf.convert_to_tensor(z)
    dynamic = tf.shape(z)
    leading = [dynamic[i] if n is None else n for i, n in enumerate(z.shape[:-2])]
    return tf.reshape(z, [*leading, z.shape[-2] * z.shape[-1]])
