"""Keras layers that turn a network's output into a TFP distribution.

A head works on its own, inside `ConditionalDistribution`, and as the last layer of a
`keras.Sequential` or functional model, through saving and loading. It computes in
Keras' float type (float32), whatever the dtype policy of the network before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.require import require_int, require_number
from tfvae.types import InputError

tfd = tfp.distributions

# The smallest learned scale: keeps a collapsing posterior's log-density finite.
MIN_SCALE = 1e-5


class DistributionHead(keras.layers.Layer):
    """Parameters [..., *params_shape] -> a distribution over events of `event_shape`.

    The batch shape is that of the leading axes. With several parameters per element
    of the event, they lie side by side along the last axis. A new head overrides
    `num_params` and `distribution`, and has an entry in `HEADS`.

    Attributes:
        num_params: Parameters per element of the event.
        exact_binary: Whether only the values 0 and 1 are in the support.
    """

    num_params: int = 1
    exact_binary: bool = False

    def __init__(self, event_shape: Sequence[int], **kwargs) -> None:
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = keras.config.floatx()
        super().__init__(**kwargs)
        if not isinstance(event_shape, (tuple, list)) or not event_shape:
            raise InputError(
                f"event_shape {event_shape!r} of {type(self).__name__} is not usable; "
                "give the shape of one example, for example (28, 28, 1)"
            )
        whole = f"a size in event_shape {tuple(event_shape)}:"
        self.event_shape = tuple(require_int(whole, size) for size in event_shape)
        self.built = True

    @property
    def params_shape(self) -> tuple[int, ...]:
        """What the network must put out for one example."""
        *front, last = self.event_shape
        return (*front, last * self.num_params)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of single elements, batch [..., *event_shape]."""
        raise NotImplementedError

    def __call__(self, params, *args, **kwargs) -> tfd.Distribution:
        """Checks the shape before Keras, which would rewrite the message."""
        self._check_params(getattr(params, "shape", None) or np.shape(params))
        return super().__call__(params, *args, **kwargs)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return tfd.Independent(self.distribution(params), len(self.event_shape))

    def compute_output_spec(self, params: keras.KerasTensor) -> keras.KerasTensor:
        """Stands for the distribution in a symbolic model, with a draw's shape."""
        batch = tuple(params.shape)[: -len(self.params_shape)]
        return keras.KerasTensor(batch + self.event_shape, self.compute_dtype)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns parameters [*params_shape] whose distribution has this mean.

        A decoder starts there (as its output bias) instead of learning it.

        Args:
            mean: [*event_shape].
        """
        raise NotImplementedError

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns what this head's distribution is usually described by.

        Args:
            distribution: What `call` returned.

        Returns:
            Tensors [..., *event_shape]: `mean` and `scale`, or `logits`.
        """
        return {"mean": distribution.mean(), "scale": distribution.distribution.scale}

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "event_shape": self.event_shape}

    def _check_params(self, shape: Sequence[int | None]) -> None:
        given = tuple(shape)[-len(self.params_shape) :]
        if len(given) == len(self.params_shape) and all(
            size in (None, wanted)
            for size, wanted in zip(given, self.params_shape, strict=True)
        ):
            return
        raise InputError(
            f"{type(self).__name__} was given parameters of shape {tuple(shape)} and "
            f"needs them to end in {self.params_shape}; change the last layer of the "
            "network before it"
        )

    def _split(self, params: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(params, self.num_params, axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class BernoulliHead(DistributionHead):
    """Bernoulli with the given logits.

    Args:
        event_shape: Of one example.
        grey_targets: Let `fit` take arrays of values between 0 and 1, for which
            `log_prob` is the cross-entropy: the expected log-probability of a
            binarised image, and no log-probability itself.
    """

    def __init__(
        self, event_shape: Sequence[int], grey_targets: bool = False, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.grey_targets = grey_targets
        self.exact_binary = not grey_targets

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "grey_targets": self.grey_targets}

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Logits [..., *event_shape] -> Bernoulli."""
        return tfd.Bernoulli(logits=params, dtype=self.compute_dtype)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The logit of the mean, clipped to [0.001, 0.999] (Burda et al., 2016)."""
        return _clipped_logit(mean)

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the logits [..., *event_shape]."""
        return {"logits": distribution.distribution.logits}


@keras.saving.register_keras_serializable(package="tfvae")
class NormalHead(DistributionHead):
    """Normal with a location and a scale = softplus(raw) + 1e-5 from the network."""

    num_params = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """(loc, raw scale) [..., 2 * last] -> Normal."""
        loc, raw_scale = self._split(params)
        return tfd.Normal(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself, beside a raw scale of 0 (a scale of log 2)."""
        return np.concatenate([mean, np.zeros_like(mean)], axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class FixedScaleNormalHead(DistributionHead):
    """Normal with a location in [0, 1], sigmoid(params), and one fixed scale.

    With scale 1 its negative log-density is half the squared error plus
    0.5 log(2 pi) for each element.
    """

    def __init__(
        self, event_shape: Sequence[int], scale: float = 1.0, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.scale = require_number("scale", scale)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Logit of the location [..., *event_shape] -> Normal."""
        loc = tf.sigmoid(params)
        return tfd.Normal(loc, tf.constant(self.scale, loc.dtype))

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The logit of the mean, clipped to [0.001, 0.999]."""
        return _clipped_logit(mean)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tfvae")
class LogisticHead(DistributionHead):
    """Logistic with a location and a scale = softplus(raw) + 1e-5 from the network."""

    num_params = 2

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """(loc, raw scale) [..., 2 * last] -> Logistic."""
        loc, raw_scale = self._split(params)
        return tfd.Logistic(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself, beside a raw scale of 0 (a scale of log 2)."""
        return np.concatenate([mean, np.zeros_like(mean)], axis=-1)


@keras.saving.register_keras_serializable(package="tfvae")
class BinConcreteHead(DistributionHead):
    """BinConcrete (relaxed Bernoulli) with the given logits, in logit space.

    The random variable is the logit of the relaxed Bernoulli,
    Logistic(logits / temperature, 1 / temperature) (Maddison, Mnih and Teh, 2017,
    appendix C.3): `sigmoid` of a draw is what a decoder reads. The relaxed Bernoulli's
    own density is infinite as soon as float32 rounds a draw to 0 or 1.

    Attributes:
        temperature: A scalar weight that is not trained, so that it can be annealed.
    """

    def __init__(
        self, event_shape: Sequence[int], temperature: float = 0.5, **kwargs
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.initial_temperature = require_number("temperature", temperature)
        self.temperature = constant_weight(
            self, "temperature", self.initial_temperature
        )

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Logits [..., *event_shape] -> Logistic."""
        temperature = tf.convert_to_tensor(self.temperature)
        return tfd.Logistic(params / temperature, 1.0 / temperature)

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """The logits whose draws, before the sigmoid, have this mean."""
        return mean * self.initial_temperature

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the logits of the Bernoulli that is relaxed, [..., *event_shape]."""
        return {"logits": distribution.mean() * self.temperature}

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "temperature": self.initial_temperature}


HEADS: Mapping[str, type[DistributionHead]] = {
    "bernoulli": BernoulliHead,
    "normal": NormalHead,
    "normal_fixed_scale": FixedScaleNormalHead,
    "logistic": LogisticHead,
    "bin_concrete": BinConcreteHead,
}


def constant_weight(
    layer: keras.layers.Layer, name: str, value: float
) -> keras.Variable:
    """Adds a scalar weight that training leaves alone."""
    weight = layer.add_weight(name=name, shape=(), trainable=False)
    weight.assign(value)  # an initializer would round a float64 to float32
    return weight


def _clipped_logit(mean: np.ndarray) -> np.ndarray:
    clipped = np.clip(mean, 0.001, 0.999)
    return np.log(clipped) - np.log1p(-clipped)
