"""The posterior's head of a hierarchy, and the networks between its layers."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfvae.distributions import tfd
from tfvae.heads import DistributionHead, constant_weight
from tfvae.heads.latent_hierarchy import LayerChain
from tfvae.latents.base import Latent
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

    def __init__(
        self, layers: Sequence[Latent], upward: Sequence[keras.Model], **kwargs
    ) -> None:
        super().__init__((sum(layer.latent_size for layer in layers),), **kwargs)
        self.upward = list(upward)
        heads = [layer.posterior_head() for layer in layers]
        self.is_density = heads[0].is_density
        self.temperature = shared_weight(self, "temperature", heads)
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
        layers, upward = self._parts.layers, self.upward
        return {**config, "layers": saved(layers), "upward": saved(upward)}

    @classmethod
    def from_config(cls, config: dict) -> HierarchyHead:
        """Rebuilds a head from `get_config`, with networks of its own."""
        return cls(**{**config, **rebuilt(config, ("layers", "upward"))})


def shared_weight(
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


def saved(objects: Sequence) -> list[dict]:
    """Returns the configs from which `rebuilt` makes the objects again."""
    return [keras.saving.serialize_keras_object(one) for one in objects]


def rebuilt(config: dict, names: Sequence[str]) -> dict[str, list]:
    """Returns the lists of objects that a config has under some names."""
    load = keras.saving.deserialize_keras_object
    return {name: [load(one) for one in config[name]] for name in names}
