"""Several layers of latent variables, put together from families of one layer."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import tfd
from tfvae.heads import DistributionHead, constant_weight, weight_property
from tfvae.heads.base import with_parts
from tfvae.heads.latent_hierarchy import LayerChain
from tfvae.latents.base import Latent, require_own_twin
from tfvae.networks import batch_apply


@dataclasses.dataclass(frozen=True)
class NetworkLink:
    """The map from z of one layer to the distribution of the next.

    Attributes:
        read: The function from z to the network's input.
        network: The network from there to the head's parameters. It runs as in
            inference: a draw's density must be that of the distribution it came from.
        head: The head of the next layer.
        stopped: True if the network's weights are constants.
    """

    read: Callable[[tf.Tensor], tf.Tensor]
    network: keras.Model
    head: DistributionHead
    stopped: bool = False

    def __call__(self, z: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution, batch shape [...], for z [..., D_k]."""
        if not self.stopped:
            return self.head(self._params(z))
        fixed = [(w, tf.stop_gradient(w)) for w in self.network.variables]
        with keras.StatelessScope(state_mapping=fixed):
            return self.head(self._params(z))

    def _params(self, z: tf.Tensor) -> tf.Tensor:
        inputs = self.read(z)
        if inputs.shape.rank > 1:
            return batch_apply(self.network, inputs, training=False)
        return batch_apply(self.network, inputs[tf.newaxis], training=False)[0]


@keras.saving.register_keras_serializable(package="tfvae")
class HierarchyHead(DistributionHead):
    """Parameters of layer 1's posterior -> q(z_1|x) q(z_2|z_1) ... q(z_K|z_(K-1)).

    Made by `Hierarchy.posterior_head`, whose upward networks are its weights.

    Args:
        layers: The families, nearest x first.
        upward: The networks from each layer to the next.

    Attributes:
        temperature: The temperature of all relaxed layers, a scalar weight that is not
            trained; None where no layer has one.
    """

    temperature: keras.Variable | None = None

    temperature = weight_property("temperature", "All layers' weight, or None.")

    def __init__(
        self, layers: Sequence[Latent], upward: Sequence[keras.Model], **kwargs
    ) -> None:
        super().__init__((sum(layer.latent_size for layer in layers),), **kwargs)
        self.upward = list(upward)
        heads = [layer.posterior_head() for layer in layers]
        self.is_density = heads[0].is_density
        self.temperature = _shared_weight(self, "temperature", heads)
        # Out of Keras' sight: of the parts, only the temperature is a weight of the
        # posterior, and it is this head's own.
        self._parts = types.SimpleNamespace(layers=list(layers), heads=heads)

    @property
    def layers(self) -> list[Latent]:
        """The families, nearest x first."""
        return self._parts.layers

    @property
    def params_shape(self) -> tuple[int, ...]:
        """The shape of the network's output for one example, that of layer 1."""
        return self._parts.heads[0].params_shape

    def call(self, params: tf.Tensor, stopped: bool = False) -> LayerChain:
        """Returns the distribution for parameters [..., *params_shape]."""
        layers, heads = self._parts.layers, self._parts.heads
        lower = zip(layers[:-1], self.upward, heads[1:], strict=True)
        return LayerChain(
            heads[0](params),
            [NetworkLink(a.decoder_input, up, b, stopped) for a, up, b in lower],
            [layer.latent_size for layer in layers],
            name="HierarchyPosterior",
        )

    def stopped(self, params: tf.Tensor) -> LayerChain:
        """Returns the distribution that passes no gradient but that of z.

        So z_k has its gradient through q(z_k|...) and through q(z_(k+1)|z_k).
        """
        return self(tf.stop_gradient(params), stopped=True)

    def named_params(self, distribution: LayerChain) -> dict[str, tf.Tensor]:
        """Returns each layer's parameters as `mean_1`, `mean_2` and so on.

        Those of layer k are taken at the means of the layers below it.
        """
        chain = distribution.layers(distribution.mean())
        return {
            f"{name}_{k}": value
            for k, (head, (layer, _)) in enumerate(
                zip(self._parts.heads, chain, strict=True), start=1
            )
            for name, value in head.named_params(layer).items()
        }

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        config = super().get_config()
        del config["event_shape"]
        parts = {"layers": self.layers, "upward": self.upward}
        return {**config, **keras.saving.serialize_keras_object(parts)}

    @classmethod
    def from_config(cls, config: dict) -> HierarchyHead:
        """Rebuilds a head from `get_config`, with networks of its own."""
        return cls(**with_parts(config, ("layers", "upward")))


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
        kwargs["dtype"] = kwargs.get("dtype") or layers[0].compute_dtype
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
        self.prior_temperature = _shared_weight(self, "prior_temperature", layers)
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

    @property
    def decoder_layers(self) -> int:
        """1, or all if a subclass has its own `decoder_input`, which may read more."""
        own = type(self).decoder_input is not Hierarchy.decoder_input
        return len(self.layers) if own else 1

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
        for layer in self.layers:
            require_own_twin(layer)
        return Hierarchy(twins, self.upward, self.downward, dtype=self.compute_dtype)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this family."""
        config = super().get_config()
        del config["latent_size"]
        networks = {"upward": self.upward, "downward": self.downward}
        parts = {"layers": self.layers, **networks}
        return {**config, **keras.saving.serialize_keras_object(parts)}

    @classmethod
    def from_config(cls, config: dict) -> Hierarchy:
        """Rebuilds a family from `get_config`, with networks of its own."""
        return cls(**with_parts(config, ("layers", "upward", "downward")))


def _shared_weight(
    owner: keras.layers.Layer, name: str, parts: Sequence[keras.layers.Layer]
) -> keras.Variable | None:
    """Puts one weight of the owner in the place of the parts' weights of a name."""
    parts = [part for part in parts if getattr(part, name, None) is not None]
    if not parts:
        return None
    weight = constant_weight(owner, name, getattr(parts[0], f"initial_{name}"))
    for part in parts:
        setattr(part, name, weight)
    return weight


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
