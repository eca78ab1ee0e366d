"""Several layers of latent variables, put together from families of one layer."""

from __future__ import annotations

import types
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.heads import DistributionHead
from tfvae.heads.latent_hierarchy import LayerChain
from tfvae.latents.base import Latent
from tfvae.latents.hierarchy_head import (
    HierarchyHead,
    NetworkLink,
    rebuilt,
    saved,
    shared_weight,
)


@keras.saving.register_keras_serializable(package="tfvae")
class Hierarchy(Latent):
    """K layers of latent variables in one z = (z_1, ..., z_K) of D_1 + ... + D_K.

        q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_K|z_(K-1))
        p(z) = p(z_K) p(z_(K-1)|z_K) ... p(z_1|z_2)

    The decoder reads layer 1. p(z_K) is its family's prior; p(z_k|z_(k+1)) has the form
    of the family's posterior: Normal or Logistic with learned location and scale,
    Bernoulli with learned logits, and Logistic(logits / t, 1 / t) with the prior's
    temperature t for BinConcrete. Burda et al. (2016), section 5; Maddison, Mnih and
    Teh (2017), section 5, whose "-" are linear networks, and "~" those with hidden
    layers.

    All heads from `posterior_head` share the upward networks, which are weights of the
    head; the downward networks are weights of this family. Both run as in inference, so
    that dropout in them has no effect.

    Args:
        layers: Families that are `layered`, nearest x first. All relaxed ones have the
            same temperatures.
        upward: K - 1 Keras networks, the k-th from the decoder's input of layer k to
            the parameters of layer k + 1's posterior.
        downward: K - 1 Keras networks, the k-th from the decoder's input of layer
            k + 1 to the parameters of layer k's posterior head.

    Attributes:
        layers: Copies of the families; the relaxed ones share `prior_temperature`.
        prior_temperature: A scalar weight that is not trained, to be annealed; None
            where no layer has one.

    Raises:
        InputError: if the parts do not fit together.
    """

    posterior_text = "q(z_1|x) q(z_2|z_1) ..."
    prior_text = "p(z_K) ... p(z_1|z_2)"
    decoder_reads = "what its family reads, of z_1"
    paper = "Burda, Grosse and Salakhutdinov (2016)"

    def __init__(
        self,
        layers: Sequence[Latent],
        upward: Sequence[keras.Model],
        downward: Sequence[keras.Model],
        **kwargs,
    ) -> None:
        _check_layers(layers)
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = layers[0].compute_dtype
        super().__init__(sum(layer.latent_size for layer in layers), **kwargs)
        if self.compute_dtype != layers[0].compute_dtype:
            raise InputError(
                f"dtype {self.compute_dtype} of Hierarchy is not that of its layers, "
                f"{layers[0].compute_dtype}; leave dtype out"
            )
        # Copies, since one weight takes the place of their prior temperatures.
        layers = [type(layer).from_config(layer.get_config()) for layer in layers]
        heads = [layer.posterior_head() for layer in layers]
        _check_networks("upward", upward, layers[:-1], heads[1:])
        _check_networks("downward", downward, layers[1:], heads[:-1])
        self.relaxed = any(layer.relaxed for layer in layers)
        self.reparameterised = all(layer.reparameterised for layer in layers)
        self.prior_temperature = shared_weight(self, "prior_temperature", layers)
        if self.prior_temperature is not None:
            for head in heads:
                if hasattr(head, "temperature"):
                    head.temperature = self.prior_temperature
        self.downward = list(downward)
        # Out of Keras' sight: the upward networks are weights of the posterior's head.
        self._parts = types.SimpleNamespace(
            layers=layers, upward=list(upward), prior_heads=heads[:-1]
        )

    @property
    def layers(self) -> list[Latent]:
        """The families, nearest x first."""
        return self._parts.layers

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes (D_1, ..., D_K), in the order of z."""
        return tuple(layer.latent_size for layer in self.layers)

    @property
    def upward(self) -> list[keras.Model]:
        """The networks from each layer to the next, which the heads share."""
        return self._parts.upward

    @property
    def decoder_shape(self) -> tuple[int, ...]:
        """The shape of the decoder's input for one example."""
        return self.layers[0].decoder_shape

    def posterior_head(self) -> HierarchyHead:
        """Returns a new head for q(z|x), with this family's upward networks."""
        return HierarchyHead(self.layers, self.upward, dtype=self.compute_dtype)

    def prior(self) -> LayerChain:
        """Returns p(z), which also has `log_probs`, one of each layer."""
        parts = zip(
            self.layers[1:], self.downward, self._parts.prior_heads, strict=True
        )
        links = [NetworkLink(above.decoder_input, net, h) for above, net, h in parts]
        return LayerChain(
            self.layers[-1].prior(), links[::-1], self.sizes, True, "HierarchyPrior"
        )

    def split(self, z: tf.Tensor) -> list[tf.Tensor]:
        """Returns the layers' variables, [..., D_k] each, of z [..., D]."""
        return tf.split(tf.convert_to_tensor(z), self.sizes, axis=-1)

    def decoder_input(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the decoder's input of layer 1's family."""
        return self.layers[0].decoder_input(self.split(z)[0])

    def point_estimate(self, posterior: LayerChain) -> tf.Tensor:
        """Returns each layer's point estimate given those of the layers below it."""
        return posterior.walk(lambda k, layer: self.layers[k].point_estimate(layer))

    def traversal(self, levels: np.ndarray) -> None:
        """Returns None, since the quantiles of z_1 under p(z) are not known."""
        return None

    def discrete(self) -> Hierarchy | None:
        """Returns the hierarchy of the twins, with the same networks."""
        twins = list(filter(None, (layer.discrete() for layer in self.layers)))
        if len(twins) < len(self.layers):
            return None
        return Hierarchy(twins, self.upward, self.downward, dtype=self.compute_dtype)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        config = super().get_config()
        del config["latent_size"]
        networks = {"upward": self.upward, "downward": self.downward}
        parts = {"layers": self.layers, **networks}
        return {**config, **{name: saved(part) for name, part in parts.items()}}

    @classmethod
    def from_config(cls, config: dict) -> Hierarchy:
        """Rebuilds a family from `get_config`, with networks of its own."""
        return cls(**{**config, **rebuilt(config, ("layers", "upward", "downward"))})


def _check_layers(layers: Sequence[Latent]) -> None:
    if not isinstance(layers, (list, tuple)) or len(layers) < 2:
        raise InputError(
            f"layers {layers!r:.80} of Hierarchy is not usable; give two or more "
            "latent families, nearest x first"
        )
    for layer in layers:
        if not getattr(layer, "layered", False):
            raise InputError(
                f"layers of Hierarchy hold {layer!r:.80}, which has no conditional "
                f"prior; use one that says it may be layered, such as NormalLatent"
            )
    discrete = [not layer.reparameterised for layer in layers]
    if any(discrete) and not all(discrete):
        names = [type(layer).__name__ for layer in layers]
        raise InputError(
            f"layers of Hierarchy are {', '.join(names)}, and no estimator is for both "
            "discrete and continuous variables; make all of them discrete, or none"
        )
    for name, attribute in (
        ("temperature", "initial_temperature"),
        ("prior_temperature", "initial_prior_temperature"),
        ("dtype", "compute_dtype"),
    ):
        values = {getattr(layer, attribute, None) for layer in layers} - {None}
        if len(values) > 1:
            raise InputError(
                f"layers of Hierarchy have {name} {', '.join(map(repr, values))}, and "
                "share one; make them equal"
            )


def _check_networks(
    name: str,
    networks: Sequence[keras.Model],
    sources: Sequence[Latent],
    targets: Sequence[DistributionHead],
) -> None:
    if not isinstance(networks, (list, tuple)) or len(networks) != len(sources):
        count = len(networks) if isinstance(networks, (list, tuple)) else networks
        raise InputError(
            f"{name} of Hierarchy holds {count!r:.80} networks and needs "
            f"{len(sources)}, one between each two layers; change {name}"
        )
    for index, network in enumerate(networks):
        wanted = sources[index].decoder_shape, targets[index].params_shape
        given = tuple(
            tuple(getattr(network, f"{end}_shape", None) or ())[1:]
            for end in ("input", "output")
        )
        if given != wanted:
            raise InputError(
                f"{name}[{index}] of Hierarchy maps {given[0]} to {given[1]} and needs "
                f"to map {wanted[0]} to {wanted[1]}; change the network, or "
                "latent_size of the layers"
            )
