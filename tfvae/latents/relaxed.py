"""Families that relax a discrete one."""

import keras
import tensorflow as tf

from tfvae import priors
from tfvae.core.validation import require_number
from tfvae.distributions import tfd
from tfvae.heads import BinConcreteHead, ConcreteHead, DistributionHead, constant_weight
from tfvae.latents.base import Latent
from tfvae.latents.discrete import (
    BernoulliLatent,
    CategoricalLatent,
    OneHotLatent,
    flat,
)


class _Tempered(Latent):
    """The base of the families with a temperature of posterior and prior each.

    Attributes:
        prior_temperature: A scalar weight that is not trained, to be annealed. The
            posterior's temperature is a weight of the head.
    """

    relaxed = True

    def __init__(
        self,
        latent_size: int,
        temperature: float = 0.5,
        prior_temperature: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(latent_size, **kwargs)
        self.initial_temperature = require_number("temperature", temperature)
        self.initial_prior_temperature = require_number(
            "prior_temperature", prior_temperature
        )
        self.prior_temperature = constant_weight(
            self, "prior_temperature", self.initial_prior_temperature
        )

    def posterior_head(self) -> DistributionHead:
        """Returns a new head for q(z|x)."""
        return self.head_class(
            self.event_shape, self.initial_temperature, dtype=self.compute_dtype
        )

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        return {
            **super().get_config(),
            "temperature": self.initial_temperature,
            "prior_temperature": self.initial_prior_temperature,
        }


@keras.saving.register_keras_serializable(package="tfvae")
class BinConcreteLatent(_Tempered):
    """BinConcrete posterior and prior in logit space; the decoder reads sigmoid(z).

        z = (logits + logistic noise) / temperature

    Maddison, Mnih and Teh (2017), appendix C, advise a posterior temperature of 2/3
    and a prior temperature of 1/2.

    Args:
        latent_size: D.
        temperature: The temperature of the posterior.
        prior_temperature: The temperature of the prior.
    """

    head_class = BinConcreteHead
    layered = True
    posterior_text = "Logistic(logits / temperature, 1 / temperature)"
    prior_text = "Logistic(0, 1 / prior_temperature)"
    decoder_reads = "sigmoid(z)"
    paper = "Maddison, Mnih and Teh (2017), appendix C"

    def prior(self) -> tfd.Distribution:
        """Returns Logistic(0, 1 / prior_temperature)."""
        temperature = tf.convert_to_tensor(self.prior_temperature)
        return priors.tempered_logistic(self.latent_size, temperature)

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the relaxed bits, between 0 and 1."""
        return tf.sigmoid(z)

    def discrete(self) -> BernoulliLatent:
        """Returns the Bernoulli family; its posterior has the same logits."""
        return BernoulliLatent(self.latent_size, dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfvae")
class ConcreteLatent(OneHotLatent, _Tempered):
    """Concrete (Gumbel-softmax) posterior and prior in log space; D variables.

        z = log softmax((logits + Gumbel noise) / temperature)

    The decoder reads exp(z), flat. Maddison, Mnih and Teh (2017), appendix C; Jang,
    Gu and Poole (2017) have the same variables outside log space.

    Args:
        latent_size: D.
        num_classes: K, the number of classes of each variable.
        temperature: The temperature of the posterior.
        prior_temperature: The temperature of the prior.
    """

    head_class = ConcreteHead
    serving_clip = (-1000.0, 0.0)
    posterior_text = "D Concrete variables of K classes, in log space"
    prior_text = "Concrete with equal probabilities, in log space"
    decoder_reads = "exp(z), flat (D K numbers)"
    paper = "Maddison, Mnih and Teh (2017), appendix C; Jang, Gu and Poole (2017)"

    def __init__(
        self,
        latent_size: int,
        num_classes: int = 10,
        temperature: float = 0.5,
        prior_temperature: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(
            latent_size,
            num_classes,
            temperature=temperature,
            prior_temperature=prior_temperature,
            **kwargs,
        )

    def prior(self) -> tfd.Distribution:
        """Returns the Concrete distribution with equal probabilities, in log space."""
        temperature = tf.convert_to_tensor(self.prior_temperature)
        return priors.uniform_concrete(self.latent_size, self.num_classes, temperature)

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the relaxed one-hots flat, [..., D K]."""
        return flat(tf.exp(z))

    def point_estimate(self, posterior: tfd.Distribution) -> tf.Tensor:
        """Returns the draw [..., D, K] whose noise is the same for every class.

        The mean has no closed form. For two classes this has the logit of the
        BinConcrete family's mean.
        """
        single = posterior.distribution
        return tf.nn.log_softmax(single.logits / single.temperature)

    def discrete(self) -> CategoricalLatent:
        """Returns the categorical family; its posterior has the same logits."""
        return CategoricalLatent(
            self.latent_size, self.num_classes, dtype=self.compute_dtype
        )
