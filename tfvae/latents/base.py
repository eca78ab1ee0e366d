"""The interface of a latent family, and the families of real numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae import priors
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.distributions import Normal, tfd
from tfvae.heads import (
    MIN_SCALE,
    CouplingFlow,
    DistributionHead,
    FlowHead,
    LogisticHead,
    MultivariateNormalHead,
    NormalHead,
    StudentTHead,
    weight_property,
)
from tfvae.heads.latent_flow import check_flow


class Latent(keras.layers.Layer):
    """A family of latent variables of size D.

    A new family has a `head_class` (or overrides `posterior_head`) and a `prior`,
    describes them in a few words, and has an entry in `LATENTS`.

    Attributes:
        latent_size: D.
        head_class: The class of the posterior's head.
        relaxed: True if the family relaxes a discrete one: its bound then scores the
            relaxed model, and not the discrete twin.
        reparameterised: True if draws have a gradient by the posterior's parameters.
        layered: True if it may be one of several layers of a `Hierarchy`: its head then
            serves as a conditional prior too, and has no weights but a temperature.
        prior_temperature: The weight to anneal, where the family has one, else None.
        posterior_text: The posterior q(z|x), in words.
        prior_text: The prior p(z), in words.
        serving_clip: The least and the largest value of z that a served decoder takes;
            it clips others to them.
        decoder_reads: The decoder's input, in words.
        paper: The source of the family.
    """

    head_class: ClassVar[Callable[..., DistributionHead]]
    relaxed: bool = False
    reparameterised: bool = True
    layered: ClassVar[bool] = False
    # Farther out than any prior goes, and within float16 after a layer.
    serving_clip: ClassVar[tuple[float, float]] = (-1000.0, 1000.0)
    prior_temperature = weight_property("prior_temperature", "The prior's, or None.")
    posterior_text: ClassVar[str]
    prior_text: ClassVar[str]
    decoder_reads: ClassVar[str] = "z"
    paper: ClassVar[str]

    def __init__(self, latent_size: int, **kwargs) -> None:
        kwargs["dtype"] = kwargs.get("dtype") or keras.config.floatx()
        super().__init__(**kwargs)
        self.latent_size = require_int("latent_size", latent_size)
        self.built = True

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of z for one example."""
        return (self.latent_size,)

    @property
    def decoder_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's input for one example."""
        return self.event_shape

    @property
    def decoder_layers(self) -> int:
        """The number of layers of variables that the decoder's input depends on."""
        return 1

    def posterior_head(self) -> DistributionHead:
        """Returns a new head for q(z|x), event shape `event_shape`."""
        return self.head_class(self.event_shape, dtype=self.compute_dtype)

    def prior(self) -> tfd.Distribution:
        """Returns p(z), batch shape [], event shape `event_shape`."""
        raise NotImplementedError

    def prior_params(self) -> np.ndarray | None:
        """Returns parameters [*params_shape] whose posterior is the prior, float64.

        The first event_shape[-1] along the last axis are locations. None where no
        posterior is the prior, or where one is only at some temperature: the family
        has no learned priors then.
        """
        return None

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the decoder's input [..., *decoder_shape] for z."""
        return z

    def point_estimate(self, posterior: tfd.Distribution) -> tf.Tensor:
        """Returns the z [..., *event_shape] that stands for a posterior.

        It is the mean, or the mode of a discrete posterior; a family without either
        makes its own choice.
        """
        return posterior.mean()

    def traversal(self, levels: np.ndarray) -> tf.Tensor | None:
        """Returns values [levels, D] of single variables, from low to high.

        They are the prior's quantiles at levels between 0 and 1. None where single
        variables have no order, and plots cannot move one alone.
        """
        return quantiles(self.prior(), levels)

    def discrete(self) -> Latent | None:
        """Returns the discrete family that this one relaxes, if it is one.

        A subclass of a relaxed family that changes what `require_own_twin` names has a
        `discrete` of its own too.
        """
        return None

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        return {**super().get_config(), "latent_size": self.latent_size}


def require_own_twin(latent: Latent, head: DistributionHead | None = None) -> None:
    """Checks that a family was not changed without its discrete twin.

    The twin would have the same weights and be another model, with other numbers.

    Args:
        latent: A family whose `discrete` gives one.
        head: The head of the model's encoder, if it is known.

    Raises:
        InputError: if a subclass has its own decoder input, prior or head, and takes
            `discrete` from its base, or if the head is not of the family's class.
    """
    cls = type(latent)
    known_to = _definer(cls, "discrete")
    names = ("decoder_input", "decoder_shape", "prior", "posterior_head", "head_class")
    changed = [n for n in names if not issubclass(known_to, _definer(cls, n))]
    if changed:
        raise InputError(
            f"{cls.__name__} has its own {' and '.join(changed)}, and takes discrete() "
            f"from {known_to.__name__}, whose twin knows nothing of that; give "
            f"{cls.__name__} a discrete() of its own, which may return None"
        )
    expected = type(latent.posterior_head())
    if head is not None and type(head) is not expected:
        raise InputError(
            f"the encoder's head is of {type(head).__name__}, which is not that of "
            f"{cls.__name__}, {expected.__name__}, so that its discrete twin is not "
            "known; give the family's subclass a posterior_head() and a discrete()"
        )


def _definer(cls: type, name: str) -> type:
    """Returns the class from which a family's class has an attribute."""
    return next((c for c in cls.__mro__ if name in vars(c)), Latent)


class _LocationScale(Latent):
    """The base of the families of one location and one scale for each variable."""

    layered = True

    def prior_params(self) -> np.ndarray:
        locations = np.zeros([self.latent_size])
        return np.concatenate([locations, raw_scale_of_one(self.latent_size)])


@keras.saving.register_keras_serializable(package="tfvae")
class NormalLatent(_LocationScale):
    """Normal posterior with learned location and scale, standard normal prior.

    Kingma and Welling (2014).
    """

    head_class = NormalHead
    posterior_text = "Normal, learned location and scale"
    prior_text = "Normal(0, 1)"
    paper = "Kingma and Welling (2014)"

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, 1)."""
        zeros = tf.zeros([self.latent_size], self.compute_dtype)
        return tfd.Independent(Normal(zeros, tf.ones([], zeros.dtype)), 1)


@keras.saving.register_keras_serializable(package="tfvae")
class LogisticLatent(_LocationScale):
    """Logistic posterior with learned location and scale, standard logistic prior.

        p(z) = sigmoid(z) (1 - sigmoid(z))

    The tails are heavier than the normal's; the BinConcrete family is made of it
    (Maddison, Mnih and Teh, 2017, appendix B).
    """

    head_class = LogisticHead
    posterior_text = "Logistic, learned location and scale"
    prior_text = "Logistic(0, 1)"
    paper = "Maddison, Mnih and Teh (2017), appendix B"

    def prior(self) -> tfd.Distribution:
        """Returns Logistic(0, 1)."""
        return priors.standard_logistic(self.latent_size, self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfvae")
class StudentTLatent(Latent):
    """Student-t posterior with learned degrees of freedom, standard normal prior.

    A proposal with heavier tails than the true posterior has importance weights that
    stay small (Domke and Sheldon, 2018; Mattei and Frellsen, 2019).
    """

    head_class = StudentTHead
    posterior_text = "Student-t, learned location, scale and degrees of freedom"
    prior_text = "Normal(0, 1)"
    paper = "Domke and Sheldon (2018); Mattei and Frellsen (2019)"

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, 1)."""
        return priors.standard_normal(self.latent_size, self.compute_dtype)


@keras.saving.register_keras_serializable(package="tfvae")
class MultivariateNormalLatent(Latent):
    """Normal posterior with a full covariance, standard normal prior.

        q(z|x) = Normal(loc(x), L(x) L(x)^T),    L lower triangular

    The encoder's output has D + D (D + 1) / 2 numbers (Kingma and Welling, 2019,
    section 2.5.1). The KL to the prior has a closed form.
    """

    head_class = MultivariateNormalHead
    posterior_text = "Normal, learned location and full covariance"
    prior_text = "Normal(0, I)"
    paper = "Kingma and Welling (2019), section 2.5.1"

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, I)."""
        return priors.standard_multivariate_normal(self.latent_size, self.compute_dtype)

    def prior_params(self) -> np.ndarray:
        """Returns those of location 0 and covariance I."""
        lower = np.diag(raw_scale_of_one(self.latent_size))  # [D, D]
        raw = tfd.fill_triangular_inverse(lower).numpy()
        return np.concatenate([np.zeros([self.latent_size]), raw])

    def traversal(self, levels: np.ndarray) -> tf.Tensor:
        """Returns the quantiles of Normal(0, 1), [levels, D]."""
        single = priors.standard_normal(self.latent_size, self.compute_dtype)
        return quantiles(single, levels)


@keras.saving.register_keras_serializable(package="tfvae")
class FlowLatent(Latent):
    """RealNVP posterior on a Normal base, standard normal prior.

        z = f_L(...f_1(u)),    u ~ Normal(loc(x), scale(x))
        log q(z|x) = log Normal(u) - sum_l log |det f_l|

    Rezende and Mohamed (2015), with the couplings of Dinh, Sohl-Dickstein and Bengio
    (2017). The couplings' weights belong to the posterior's head, and are the same for
    every x. They start as the identity: the posterior as that of `NormalLatent`.

    Args:
        latent_size: D, 2 or more.
        num_flows: L, the number of couplings; they move the two halves in turn.
        hidden_sizes: The units of each coupling's network.
        seed: The seed of the couplings' initial weights.

    Raises:
        InputError: if a value is out of range.
    """

    posterior_text = "RealNVP couplings on a Normal, learned location and scale"
    prior_text = "Normal(0, 1)"
    paper = "Rezende and Mohamed (2015); Dinh, Sohl-Dickstein and Bengio (2017)"

    def __init__(
        self,
        latent_size: int,
        num_flows: int = 2,
        hidden_sizes: Sequence[int] = (64,),
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(latent_size, **kwargs)
        if self.latent_size == 1:
            raise InputError(
                "latent_size 1 is not usable with FlowLatent: a coupling moves some "
                "variables given the others; set latent_size 2 or more, or use latent "
                "'normal'"
            )
        self.num_flows, self.hidden_sizes, self.seed = check_flow(
            num_flows, hidden_sizes, seed
        )

    def posterior_head(self) -> FlowHead:
        """Returns a new head for q(z|x), with couplings of its own."""
        return FlowHead(
            (self.latent_size,),
            self.num_flows,
            self.hidden_sizes,
            self.seed,
            dtype=self.compute_dtype,
        )

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, 1)."""
        return priors.standard_normal(self.latent_size, self.compute_dtype)

    def point_estimate(self, posterior: CouplingFlow) -> tf.Tensor:
        """Returns the z of the base's mean, [..., D]; the mean of z is not known."""
        return posterior.point_estimate()

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        return {
            **super().get_config(),
            "num_flows": self.num_flows,
            "hidden_sizes": self.hidden_sizes,
            "seed": self.seed,
        }


def quantiles(prior: tfd.Independent, levels: np.ndarray) -> tf.Tensor:
    """Returns the quantiles [levels, D] of independent variables."""
    single = prior.distribution  # batch [D]
    return tf.stack([single.quantile(tf.cast(q, single.dtype)) for q in levels])


def raw_scale_of_one(size: int) -> np.ndarray:
    """Returns the raw scales [size] whose softplus(raw) + MIN_SCALE is 1."""
    return np.full([size], np.log(np.expm1(1.0 - MIN_SCALE)))
