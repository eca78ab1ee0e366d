"""The interface of heads, and functions that they share."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number
from tfvae.distributions import tfd

# The smallest learned scale: keeps a collapsing posterior's log-density finite.
MIN_SCALE = 1e-5


class DistributionHead(keras.layers.Layer):
    """Parameters [..., *params_shape] -> a distribution over events of `event_shape`.

    The batch shape is that of the leading axes. With several parameters per element
    of the event, they lie side by side along the last axis. A new head overrides
    `num_params` and `distribution`, and has an entry in `HEADS`; one whose support is
    not all real numbers overrides `support` and `outside`, and one of discrete
    values `is_density` too.

    Attributes:
        num_params: The parameters per element of the event.
        is_density: True if `log_prob` is the logarithm of a density, False if it is
            that of a probability.
        independent: The class that makes one distribution of single elements.
        elementwise: True if `log_prob` is a sum over elements, of which some may then
            be left out.
        exact_binary: True if only the values 0 and 1 are in the support.
        support: The values that have a density or a probability, in words.
        param_names: The usual parameters of the distribution, see `named_params`.
        formula: The (log-)density of one element, in ASCII.
        paper: The source of the density.
    """

    num_params: int = 1
    is_density: bool = True
    independent: ClassVar[type[tfd.Independent]] = tfd.Independent
    elementwise: bool = True
    exact_binary: bool = False
    support: str = "real numbers"
    param_names: ClassVar[tuple[str, ...]] = ("mean", "scale")
    formula: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    def __init__(self, event_shape: Sequence[int], **kwargs) -> None:
        kwargs["dtype"] = kwargs.get("dtype") or keras.config.floatx()
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
    def is_probability(self) -> bool:
        """True if `log_prob` within the support is the logarithm of a probability."""
        return not self.is_density

    @functools.cached_property
    def params_shape(self) -> tuple[int, ...]:
        """The shape of the network's output for one example."""
        *front, last = self.event_shape
        return (*front, last * self.num_params)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of single elements, batch [..., *event_shape]."""
        raise NotImplementedError

    def __call__(self, params, *args, **kwargs) -> tfd.Distribution:
        """Checks the shape before Keras, which would rewrite the message."""
        shape = tf.TensorShape(getattr(params, "shape", None) or np.shape(params))
        wanted = self.params_shape
        if not shape[-len(wanted) :].is_compatible_with(wanted):
            raise InputError(
                f"{type(self).__name__} was given parameters of shape {tuple(shape)} "
                f"and needs them to end in {wanted}; change the last layer of the "
                "network before it"
            )
        return super().__call__(params, *args, **kwargs)

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters [..., *params_shape]."""
        return self.independent(self.distribution(params), len(self.event_shape))

    def compute_output_spec(self, params: keras.KerasTensor) -> keras.KerasTensor:
        """Stands for the distribution in a symbolic model, with a draw's shape."""
        batch = tuple(params.shape)[: -len(self.params_shape)]
        return keras.KerasTensor(batch + self.event_shape, self.compute_dtype)

    def stopped(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution for parameters that no gradient reaches."""
        return self(tf.stop_gradient(params))

    def outside(self, x: tf.Tensor) -> tf.Tensor:
        """Returns where values, of any shape, are not in the support; NaN never is."""
        return tf.logical_not(tf.math.is_finite(x))

    def in_support(self, x: np.ndarray) -> bool:
        """Returns whether every value of an array, of any shape, is in the support."""
        return not bool(tf.reduce_any(self.outside(tf.convert_to_tensor(x))))

    @functools.cached_property
    def filler(self) -> float | np.ndarray:
        """A value of the support that stands where x is not known: 0 if it may be."""
        with tf.init_scope():
            usable = [v for v in (0.0, 0.5, 1.0) if self.in_support(np.asarray(v))]
        return usable[0] if usable else 0.0

    def observed_log_prob(
        self, distribution: tfd.Distribution, x: tf.Tensor, observed: tf.Tensor
    ) -> tf.Tensor:
        """Returns log p of the elements that are observed, [...], in nats.

        Nothing depends on the other elements, as values or by a gradient, as long as x
        has some value of the support there.

        Args:
            distribution: What `call` returned, batch [...].
            x: [B, *event_shape], with `filler` where it is not observed.
            observed: [B, *event_shape] bool.
        """
        log_probs = self.element_log_probs(distribution, x)
        log_probs = tf.where(observed, log_probs, tf.zeros_like(log_probs))
        return tf.reduce_sum(log_probs, axis=range(-len(self.event_shape), 0))

    def element_log_probs(
        self, distribution: tfd.Distribution, x: tf.Tensor
    ) -> tf.Tensor:
        """Returns log p of each element, [..., *event_shape], in nats."""
        return distribution.distribution.log_prob(x)

    def expectation(
        self, distribution: tfd.Distribution, share: tf.Tensor
    ) -> tf.Tensor:
        """Returns the mean of a mixture of distributions, [B, *event_shape].

        Args:
            distribution: What `call` returned, batch [S, B].
            share: [S, B] The probability of each, whose sum over S is 1.
        """
        return tf.einsum("sb,sb...->b...", share, distribution.mean())

    def params_for_mean(self, mean: np.ndarray) -> np.ndarray:
        """Returns parameters [*params_shape] of a mean [*event_shape].

        A decoder starts there (as its output bias) instead of learning it.
        """
        raise NotImplementedError

    def named_params(self, distribution: tfd.Distribution) -> dict[str, tf.Tensor]:
        """Returns the parameters `param_names` of a distribution that `call` returned.

        They are tensors [..., *event_shape]. Logits of levels, and parameters of mixed
        components, end in one more axis, of these.
        """
        single = distribution.distribution
        found: dict[str, tf.Tensor] = {}
        for name in self.param_names:
            value = distribution.mean() if name == "mean" else getattr(single, name)
            if value.shape.rank == 0:  # a scale that all elements share
                value = tf.broadcast_to(value, tf.shape(found["mean"]))
            found[name] = value
        return found

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {**super().get_config(), "event_shape": self.event_shape}

    def split(self, params: tf.Tensor) -> list[tf.Tensor]:
        """Returns the `num_params` parameters, each [..., *event_shape]."""
        return tf.split(params, self.num_params, axis=-1)

    def stacked(self, params: tf.Tensor) -> tf.Tensor:
        """Returns the parameters in one tensor, [..., *event_shape, num_params]."""
        shape = tf.concat(
            [tf.shape(params)[:-1], [self.num_params, self.event_shape[-1]]], axis=0
        )
        return tf.linalg.matrix_transpose(tf.reshape(params, shape))


def constant_weight(
    layer: keras.layers.Layer, name: str, value: float
) -> keras.Variable:
    """Adds a scalar weight that training leaves alone."""
    weight = layer.add_weight(name=name, shape=(), trainable=False)
    weight.assign(value)  # an initializer would round a float64 to float32
    return weight


def assign_weight(layer: keras.layers.Layer, name: str, value: Any) -> bool:
    """Assigns a number to the attribute of a layer that is a weight, if it is one.

    Setting the attribute would put the number in the weight's place, which a traced
    step does not see.

    Raises:
        InputError: if the number is not finite, or below 0.
    """
    weight = vars(layer).get(name)
    if not isinstance(weight, keras.Variable) or isinstance(value, keras.Variable):
        return False
    if not isinstance(value, tf.Tensor):
        name = name.lstrip("_")
        value = require_number(name, value, zero=name == "kl_weight")
    weight.assign(value)
    return True


def weight_property(name: str, doc: str) -> Any:
    """Returns a property that holds a weight, or None, and takes numbers for it."""
    attribute = f"_{name}"

    def put(layer: keras.layers.Layer, value: Any) -> None:
        if not assign_weight(layer, attribute, value):
            setattr(layer, attribute, value)

    return property(lambda layer: vars(layer).get(attribute), put, doc=doc)


def with_parts(
    config: dict, parts: Sequence[str], custom_objects: dict | None = None
) -> dict:
    """Returns a saved object's config with the objects that `parts` name rebuilt."""
    deserialize = functools.partial(
        keras.saving.deserialize_keras_object, custom_objects=custom_objects
    )
    return {k: deserialize(v) if k in parts else v for k, v in config.items()}


def clipped_logit(mean: np.ndarray) -> np.ndarray:
    """Returns the logit of a mean clipped to [0.001, 0.999]."""
    clipped = np.clip(mean, 0.001, 0.999)
    return np.log(clipped) - np.log1p(-clipped)


def softplus_inverse(y: float | np.ndarray) -> np.ndarray:
    """Returns x with log(1 + exp(x)) = y, for y > 0."""
    return y + np.log(-np.expm1(-y))


def inverse_of_increasing(
    function: Callable[[np.ndarray], np.ndarray],
    value: np.ndarray,
    low: float,
    high: float,
) -> np.ndarray:
    """Returns x in [low, high] with function(x) = value, by bisection, in float64."""
    left, right = np.full(np.shape(value), low), np.full(np.shape(value), high)
    for _ in range(64):  # float64 divides the interval no further
        middle = 0.5 * (left + right)
        below = function(middle) < value
        left, right = np.where(below, middle, left), np.where(below, right, middle)
    return 0.5 * (left + right)


def tilted_mean(tilt: np.ndarray) -> np.ndarray:
    """Returns the mean of the density on [0, 1] that is proportional to exp(tilt x)."""
    # 1 / (1 - exp(-t)) - 1 / t loses 1 / t of the digits; below 0.1, the next term of
    # its series is 2e-17.
    size = np.abs(tilt)
    small = size < 0.1
    t = np.where(small, 1.0, size)
    above = -1 / np.expm1(-t) - 1 / t
    s = np.where(small, size, 0.0)
    series = 0.5 + s / 12 - s**3 / 720 + s**5 / 30240 - s**7 / 1209600
    mean = np.where(small, series, above)
    return np.where(tilt < 0, 1 - mean, mean)
