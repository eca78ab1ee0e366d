"""A distribution over several layers of variables, each given the one before it."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.distributions import tfd

Link = Callable[[tf.Tensor], tfd.Distribution]
"""A layer's z [..., D_k] -> the distribution of the next layer, batch shape [...]."""


class LayerChain(tfd.Distribution):
    """A chain of layers, whose values lie side by side in one z [..., D_1 + ... + D_K].

        upward:    z_1 ~ first, z_2 ~ links[0](z_1), ...      (a posterior)
        downward:  z_K ~ first, z_(K-1) ~ links[0](z_K), ...  (a prior)

    Layer 1, nearest x, comes first in z either way.

    Args:
        first: The distribution of the chain's first layer, event shape [D_1] or [D_K].
        links: The links to the other layers, in the chain's order.
        sizes: (D_1, ..., D_K).
        downward: True if the chain begins with layer K.
    """

    def __init__(
        self,
        first: tfd.Distribution,
        links: Sequence[Link],
        sizes: Sequence[int],
        downward: bool = False,
        name: str = "LayerChain",
    ) -> None:
        parameters = dict(locals())
        self.first, self.sizes, self.downward = first, tuple(sizes), downward
        self._links = tuple(links)
        super().__init__(
            dtype=first.dtype,
            reparameterization_type=first.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def walk(self, pick: Callable[[int, tfd.Distribution], tf.Tensor]) -> tf.Tensor:
        """Returns the z [..., D] of a choice of each layer's value.

        `pick` maps (k, distribution of layer k + 1 given the choices before) to the
        value [..., D_k]; k is 0 for the layer nearest x.
        """
        order = self._ordered(range(len(self.sizes)))
        values = [pick(order[0], self.first)]
        for k, link in zip(order[1:], self._links, strict=True):
            values.append(pick(k, link(values[-1])))
        return tf.concat(self._ordered(values), axis=-1)

    def layers(self, z: tf.Tensor) -> Sequence[tuple[tfd.Distribution, tf.Tensor]]:
        """Returns each layer's distribution given the others, and its value, at z.

        The leading axes of z [..., D] end in the batch shape. Distributions have batch
        shape [...], values are [..., D_k], and the layer nearest x is the first.
        """
        z = tf.convert_to_tensor(z)
        batch = tf.broadcast_dynamic_shape(tf.shape(z)[:-1], self.batch_shape_tensor())
        if z.shape.rank < self.batch_shape.rank + 1:  # a network needs the axes
            z = tf.broadcast_to(z, tf.concat([batch, [sum(self.sizes)]], axis=0))
        values = self._ordered(tf.split(z, self.sizes, axis=-1))
        given = zip(self._links, values[:-1], strict=True)
        chain = [self.first, *(link(value) for link, value in given)]
        return self._ordered(list(zip(chain, values, strict=True)))

    def log_probs(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the log_prob of each layer, [K, ...], for z [..., D]."""
        return tf.stack([layer.log_prob(value) for layer, value in self.layers(z)])

    def _ordered(self, items: Sequence) -> Sequence:
        """Returns items of the order of z in the chain's, or back."""
        return items[::-1] if self.downward else items

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self.log_probs(z), axis=0)

    def _sample_n(self, n: int, seed: tf.Tensor | None = None) -> tf.Tensor:
        # Only the first layer adds the axis of n; the others follow its value.
        shapes = {self._ordered(range(len(self.sizes)))[0]: (n,)}
        return self.walk(
            lambda k, layer: layer.sample(
                shapes.get(k, ()), seed=derive_seed(seed, "layer", k)
            )
        )

    def _sample_and_log_prob(
        self, sample_shape: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # Together: log_prob of a finished draw would call every link again.
        shapes = {self._ordered(range(len(self.sizes)))[0]: sample_shape}
        log_probs = []

        def draw(k: int, layer: tfd.Distribution) -> tf.Tensor:
            value, log_prob = layer.experimental_sample_and_log_prob(
                shapes.get(k, ()), seed=derive_seed(seed, "layer", k)
            )
            log_probs.append(log_prob)
            return value

        return self.walk(draw), tf.add_n(log_probs)

    def _mean(self) -> tf.Tensor:
        """Returns each layer's mean given the means before it: exact for the first."""
        return self.walk(lambda _, layer: layer.mean())

    def _mode(self) -> tf.Tensor:
        """Returns each layer's mode given the modes before it."""
        return self.walk(lambda _, layer: layer.mode())

    def _batch_shape(self) -> tf.TensorShape:
        return self.first.batch_shape

    def _batch_shape_tensor(self) -> tf.Tensor:
        return self.first.batch_shape_tensor()

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([sum(self.sizes)])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([sum(self.sizes)])
