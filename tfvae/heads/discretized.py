"""Distributions over equally spaced levels, which TFP does not have."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.distributions import Logistic, ScalarDistribution, draws, tfd

# The distance, in units of two levels' distance, up to which a value is a level:
# float32 rounds k / (num_levels - 1) by up to 0.008 of these for 65,536 levels.
LEVEL_TOLERANCE = 0.01


def log_softmax(logits: tf.Tensor) -> tf.Tensor:
    """Returns the log-probabilities of the last axis.

    TensorFlow's own softmax refuses tensors of six axes in graphs on some CPUs, and
    [S, B, H, W, C, num_levels] has six.
    """
    return logits - tf.reduce_logsumexp(logits, axis=-1, keepdims=True)


class LevelsDistribution(ScalarDistribution):
    """A distribution over values k / (num_levels - 1), k = 0 ... num_levels - 1.

    A value that is further than a hundredth of their distance from every level has
    log-probability -inf. A subclass has `num_levels` and defines `_index_log_prob`.
    """

    def _index_log_prob(self, k: tf.Tensor) -> tf.Tensor:
        """Returns the log-probability of the levels of whole float indices."""
        raise NotImplementedError

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        position = x * (self.num_levels - 1)
        k = tf.round(tf.clip_by_value(position, 0, self.num_levels - 1))
        is_level = tf.abs(position - k) < LEVEL_TOLERANCE
        k = tf.where(is_level, k, tf.zeros_like(k))  # NaN is no index
        none = tf.constant(-np.inf, x.dtype)
        return tf.where(is_level, self._index_log_prob(k), none)


class CategoricalLevels(LevelsDistribution):
    """A categorical distribution over the levels.

    Args:
        logits: [..., num_levels] The logits of the levels.
    """

    def __init__(self, logits: tf.Tensor, name: str = "CategoricalLevels") -> None:
        parameters = dict(locals())
        self.logits = tf.convert_to_tensor(logits)
        super().__init__(self.logits.dtype, parameters, name)

    @property
    def num_levels(self) -> int:
        """The number of levels."""
        return self.logits.shape[-1]

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None) -> dict:
        return {"logits": tfd.ParameterProperties(event_ndims=1)}

    def _index_log_prob(self, k: tf.Tensor) -> tf.Tensor:
        if draws.is_given():  # LiteRT lacks the kernel that is used below
            k = k + tf.zeros_like(self.logits[..., 0])  # of every sample
            table = tf.reshape(log_softmax(self.logits), [-1, self.num_levels])
            index = tf.reshape(tf.cast(k, tf.int32), [-1])
            return tf.reshape(tf.gather(table, index, batch_dims=1), tf.shape(k))
        # On a GPU, TensorFlow multiplies and reshapes an int32 on the host.
        return tfd.Categorical(self.logits).log_prob(tf.cast(k, tf.int64))

    def _values(self) -> tf.Tensor:
        return tf.range(self.num_levels, dtype=self.dtype) / (self.num_levels - 1)

    def _mean(self) -> tf.Tensor:
        return tf.linalg.matvec(tf.exp(log_softmax(self.logits)), self._values())

    def _variance(self) -> tf.Tensor:
        squared = tf.square(self._values() - self._mean()[..., None])
        return tf.reduce_sum(tf.exp(log_softmax(self.logits)) * squared, axis=-1)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        k = tfd.Categorical(self.logits).sample(n, seed=seed)
        return tf.cast(k, self.dtype) / (self.num_levels - 1)


class DiscretizedLogistic(LevelsDistribution):
    """A Logistic rounded to the nearest level.

    The lowest and the highest level have the mass below and above them.

    Args:
        loc: The location of the Logistic.
        scale: The scale of the Logistic, of the same shape.
        num_levels: The number of levels.
    """

    def __init__(
        self,
        loc: tf.Tensor,
        scale: tf.Tensor,
        num_levels: int,
        name: str = "DiscretizedLogistic",
    ) -> None:
        parameters = dict(locals())
        self.loc = tf.convert_to_tensor(loc)
        self.scale = tf.convert_to_tensor(scale)
        self.num_levels = num_levels
        super().__init__(self.loc.dtype, parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None) -> dict:
        return {
            "loc": tfd.ParameterProperties(),
            "scale": tfd.ParameterProperties(
                default_constraining_bijector_fn=tfd.Softplus
            ),
        }

    def _in_levels(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns loc and 1 / scale, in units of the levels' distance."""
        last = self.num_levels - 1
        return self.loc * last, 1 / (self.scale * last)

    def _index_log_prob(self, k: tf.Tensor) -> tf.Tensor:
        # With edges a = (k - 1/2 - loc) / s and b = a + 1 / s,
        #   log(sigmoid(b) - sigmoid(a))
        #     = log(sigmoid(b)) + log(sigmoid(-a)) + log(1 - exp(-1 / s)),
        # in which nothing cancels; an outer level lacks an edge, and its terms.
        # Neighbours compute the edge they share alike, so that rounding moves
        # probability from one to the other and loses none.
        loc, inverse = self._in_levels()
        below = -tf.nn.softplus((k - 0.5 - loc) * inverse)  # log sigmoid(-a)
        above = -tf.nn.softplus((loc - (k + 0.5)) * inverse)  # log sigmoid(b)
        width = tf.math.log(-draws.expm1(-inverse))
        zero = tf.zeros([], self.dtype)
        low, high = k > 0, k < self.num_levels - 1
        return (
            tf.where(low, below, zero)
            + tf.where(high, above, zero)
            + tf.where(low & high, width, zero)
        )

    def _sum_over_levels(self, term: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        # One level at a time: all at once would be num_levels times the images.
        _, total = tf.while_loop(
            lambda k, _: k < self.num_levels,
            lambda k, total: (k + 1, total + term(tf.cast(k, self.dtype))),
            (0, tf.zeros_like(self.loc + self.scale)),
            maximum_iterations=self.num_levels,
        )
        return total

    def _mean(self) -> tf.Tensor:
        # E[k] is the sum of P(k >= j) over j = 1, 2, ...
        loc, inverse = self._in_levels()

        def reached(k: tf.Tensor) -> tf.Tensor:
            probability = tf.sigmoid((loc - (k - 0.5)) * inverse)
            return tf.where(k > 0, probability, tf.zeros_like(probability))

        return self._sum_over_levels(reached) / (self.num_levels - 1)

    def _variance(self) -> tf.Tensor:
        mean = self._mean()

        def squared(k: tf.Tensor) -> tf.Tensor:
            probability = tf.exp(self._index_log_prob(k))
            return probability * tf.square(k / (self.num_levels - 1) - mean)

        return self._sum_over_levels(squared)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draw = Logistic(self.loc, self.scale).sample(n, seed=seed)
        last = self.num_levels - 1
        return tf.round(tf.clip_by_value(draw, 0, 1) * last) / last


class DiscretizedLogisticMixture(LevelsDistribution):
    """A mixture of discretized Logistics.

    Args:
        logits: [..., num_components] The logits of the components' probabilities.
        loc: [..., num_components] The locations of the Logistics.
        scale: [..., num_components] The scales of the Logistics.
        num_levels: The number of levels.
    """

    def __init__(
        self,
        logits: tf.Tensor,
        loc: tf.Tensor,
        scale: tf.Tensor,
        num_levels: int,
        name: str = "DiscretizedLogisticMixture",
    ) -> None:
        parameters = dict(locals())
        self.logits = tf.convert_to_tensor(logits)
        self.loc = tf.convert_to_tensor(loc)
        self.scale = tf.convert_to_tensor(scale)
        self.num_levels = num_levels
        super().__init__(self.loc.dtype, parameters, name)

    @property
    def components(self) -> DiscretizedLogistic:
        """The Logistics that are mixed, batch [..., num_components]."""
        return DiscretizedLogistic(self.loc, self.scale, self.num_levels)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None) -> dict:
        vector = tfd.ParameterProperties(event_ndims=1)
        positive = tfd.ParameterProperties(
            event_ndims=1, default_constraining_bijector_fn=tfd.Softplus
        )
        return {"logits": vector, "loc": vector, "scale": positive}

    def _index_log_prob(self, k: tf.Tensor) -> tf.Tensor:
        each = self.components._index_log_prob(k[..., None])
        return tf.reduce_logsumexp(log_softmax(self.logits) + each, axis=-1)

    def _mixed(self, each: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.exp(log_softmax(self.logits)) * each, axis=-1)

    def _mean(self) -> tf.Tensor:
        return self._mixed(self.components.mean())

    def _variance(self) -> tf.Tensor:
        means = self.components.mean()
        squared = tf.square(means - self._mixed(means)[..., None])
        return self._mixed(self.components.variance() + squared)

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seed = tfd.sanitize_seed(seed)
        which = tfd.Categorical(self.logits).sample(n, seed=derive_seed(seed, "which"))
        mask = tf.one_hot(which, self.logits.shape[-1], dtype=self.dtype)
        loc = tf.reduce_sum(mask * self.loc, axis=-1)
        scale = tf.reduce_sum(mask * self.scale, axis=-1)
        single = DiscretizedLogistic(loc, scale, self.num_levels)
        return single.sample(seed=derive_seed(seed, "value"))
