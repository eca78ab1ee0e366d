"""A network and a head: a distribution given inputs."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.distributions import Distribution
from tfvae.heads import DistributionHead
from tfvae.heads.base import with_parts
from tfvae.networks import (
    batch_apply,
    check_features,
    input_shapes,
    leading_axes,
)


@keras.saving.register_keras_serializable(package="tfvae")
class ConditionalDistribution(keras.Model):
    """A network followed by a head: encoder and decoder are two of these.

    Called on inputs [..., *input_shape], it returns a distribution of batch shape [...]
    and event shape `head.event_shape`. A network of two inputs takes the features of a
    condition [..., *condition.shape] as the second: `encoder(x, condition=features)`.

    Args:
        network: Any built Keras model of one output, from one tensor, or from two.
        head: Turns the network's output into a distribution.

    Raises:
        InputError: if the network is not built, or its output does not fit the head.
    """

    def __init__(self, network: keras.Model, head: DistributionHead, **kwargs) -> None:
        if not isinstance(head, DistributionHead):
            raise InputError(
                f"head {head!r:.100} is not usable; give a DistributionHead, for "
                "example latent.posterior_head()"
            )
        kwargs["dtype"] = kwargs.get("dtype") or head.compute_dtype
        super().__init__(**kwargs)
        check_network(network)
        if tuple(network.output_shape[1:]) != head.params_shape:
            raise InputError(
                f"network {network.name!r} puts out {tuple(network.output_shape[1:])} "
                f"and {type(head).__name__} needs {head.params_shape}; change the "
                "network's last layer, or the head's event_shape"
            )
        self.network = network
        self.head = head
        self.built = True

    def __call__(self, inputs, *args, **kwargs) -> Distribution:
        """Checks the shape before Keras, which would rewrite the message."""
        leading_axes(self.network, inputs)
        if len(self.network.inputs) > 1 or kwargs.get("condition") is not None:
            check_features(self.network, inputs, kwargs.get("condition"))
        return super().__call__(inputs, *args, **kwargs)

    @property
    def condition_shape(self) -> tuple[int, ...] | None:
        """The shape of a condition's features; None where the network takes none."""
        _, *others = input_shapes(self.network)
        return others[0] if others else None

    def params(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        condition: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns what the head is given for inputs [..., *input_shape]."""
        return batch_apply(self.network, inputs, training, condition)

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        condition: tf.Tensor | None = None,
    ) -> Distribution:
        """Returns the distribution given inputs [..., *input_shape]."""
        return self.head(self.params(inputs, training, condition))

    def predict(self, x, *args, **kwargs) -> np.ndarray:
        """Returns the distributions' means for all inputs, [N, ...].

        Raises:
            InputError: if they have no closed form.
        """
        return super().predict(
            np.stack(x) if isinstance(x, list) else x, *args, **kwargs
        )

    def predict_step(self, data: Any) -> tf.Tensor:
        """Returns the means for a batch; see `predict`."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        try:
            return self(x, training=False).mean()
        except NotImplementedError as error:
            raise InputError(
                f"the distribution of {type(self.head).__name__} has no mean in closed "
                "form; call the model, or use vae.embed"
            ) from error

    def get_config(self) -> dict:
        """Returns what rebuilds this model."""
        parts = {"network": self.network, "head": self.head}
        return {**super().get_config(), **keras.saving.serialize_keras_object(parts)}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        """Rebuilds a model from `get_config`."""
        return cls(**with_parts(config, ("network", "head"), custom_objects))


def check_network(network: Any) -> None:
    """Refuses what is no built model of Keras 3 from one or two tensors to one.

    Raises:
        InputError: if it is none.
    """
    name = getattr(network, "name", network)
    if not isinstance(network, keras.Model):
        kind = type(network)
        raise InputError(
            f"network {name!r:.100} is a {kind.__module__}.{kind.__qualname__} and "
            "no model of Keras 3, which could not be trained; make it with `import "
            "keras`, not with tf_keras or TFP's layers"
        )
    if not getattr(network, "built", False) or not hasattr(network, "output_shape"):
        raise InputError(
            f"network {name!r} has no input shape yet; begin it with keras.Input"
        )
    if len(network.inputs) not in (1, 2) or len(network.outputs) != 1:
        raise InputError(
            f"network {name!r} has {len(network.inputs)} inputs and "
            f"{len(network.outputs)} outputs; give one with one input, or with x or z "
            "and a condition, and one output"
        )
