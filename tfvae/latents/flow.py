"""A family whose posterior is a normalising flow."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfvae import priors
from tfvae.core.types import InputError
from tfvae.distributions import tfd
from tfvae.heads import CouplingFlow, FlowHead
from tfvae.heads.latent_flow import check_flow
from tfvae.latents.base import Latent


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
