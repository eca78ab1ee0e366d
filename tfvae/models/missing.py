"""Values of x that are not known: what may be said of them, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions import Condition
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int
from tfvae.distributions import FULLY_REPARAMETERIZED, Distribution
from tfvae.estimators import TwoPasses
from tfvae.heads import DistributionHead
from tfvae.heads.base import softplus_inverse

AT_RANDOM = ("mar", "mcar", "nan")
"""Names under which what is missing is not modelled, since it need not be."""

SIGNS = {"positive": 1.0, "negative": -1.0, None: 0.0}


@keras.saving.register_keras_serializable(package="tfvae")
class SelfMasking(keras.layers.Layer):
    """p(missing|x): whether an element is missing depends on its own value.

        P(x_j is missing) = sigmoid(w_j x_j + b_j)

    The self-masking of not-MIWAE (Ipsen, Mattei and Frellsen, 2021, section 4.2), whose
    w and b are trained with the model. Where the direction is known, `sign` says so:
    without it, data that are missing and data that are not there cannot always be told
    apart.

    Args:
        event_shape: The shape of one example.
        sign: The sign of w: "positive" (the larger, the more often missing),
            "negative", or None: both are possible.

    Attributes:
        bias: [*event_shape] b.

    Raises:
        InputError: if an argument is out of range.
    """

    def __init__(
        self, event_shape: Sequence[int], sign: str | None = None, **kwargs
    ) -> None:
        kwargs["dtype"] = kwargs.get("dtype") or keras.config.floatx()
        super().__init__(**kwargs)
        if sign not in SIGNS:
            raise InputError(
                f"sign {sign!r:.60} is not usable; give 'positive', 'negative' or None"
            )
        self.event_shape = tuple(require_int("a size", size) for size in event_shape)
        self.sign = sign
        shape = self.event_shape
        self.raw_weight = self.add_weight(name="raw_weight", shape=shape)
        start = 0.0 if sign is None else float(softplus_inverse(1.0))
        self.raw_weight.assign(np.full(shape, start))
        self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")
        self.built = True

    @property
    def weight(self) -> tf.Tensor:
        """W, [*event_shape]."""
        raw = tf.convert_to_tensor(self.raw_weight)
        return raw if self.sign is None else SIGNS[self.sign] * tf.nn.softplus(raw)

    def log_prob(self, observed: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Returns log p(observed|x), [...], in nats, for x [..., *event_shape]."""
        logits = self.weight * x + tf.convert_to_tensor(self.bias)
        signed = tf.where(observed, -logits, logits)
        axes = range(-len(self.event_shape), 0)
        return tf.reduce_sum(tf.math.log_sigmoid(signed), axis=axes)

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this layer."""
        return {
            **super().get_config(),
            "event_shape": self.event_shape,
            "sign": self.sign,
        }


def checked_missing(
    missing: str | SelfMasking | None, head: DistributionHead
) -> str | SelfMasking | None:
    """Returns the argument `missing` of a model whose likelihood has this head.

    Raises:
        InputError: if it is none, or the likelihood cannot leave elements out.
    """
    if missing is None:
        return None
    name = type(head).__name__
    if not (isinstance(missing, SelfMasking) or missing in AT_RANDOM):
        raise InputError(
            f"missing {missing!r:.60} is not usable; give one of "
            f"{', '.join(map(repr, AT_RANDOM))}, or tfvae.models.SelfMasking(shape)"
        )
    if not head.elementwise:
        raise InputError(
            f"missing {missing!r:.60} needs a likelihood that is a product over "
            f"elements, and {name} is none; use another, for example 'normal'"
        )
    if not isinstance(missing, SelfMasking):
        return missing
    if missing.event_shape != head.event_shape:
        raise InputError(
            f"SelfMasking has event_shape {missing.event_shape} and the examples "
            f"{head.event_shape}; make them equal"
        )
    example = head(tf.zeros([1, *head.params_shape], head.compute_dtype))
    if example.reparameterization_type != FULLY_REPARAMETERIZED:
        raise InputError(
            f"SelfMasking needs draws of the likelihood that have a gradient, and "
            f"{name}'s have none; use a likelihood of real numbers, for example "
            "'normal', or missing 'mar'"
        )
    return missing


def check_self_masking(strategy: tf.distribute.Strategy, estimator: Any) -> None:
    """Refuses trainings in which the draws of what is missing would be others.

    Raises:
        InputError: if there are several replicas, samples have two passes, or the
            encoder learns from draws of the model, which have no mask.
    """
    if strategy.num_replicas_in_sync > 1:
        raise InputError(
            "SelfMasking draws what is missing, on each replica the same; train on "
            "one device"
        )
    if isinstance(estimator, TwoPasses):
        raise InputError(
            "SelfMasking draws what is missing anew in a second pass; leave "
            "backward_samples and sample_chunk out"
        )
    if getattr(estimator, "sleep", 0):
        raise InputError(
            "SelfMasking has no draws of the model without what is missing; set sleep 0"
        )


def given_beside_x(
    data_shape: tuple[int, ...], condition: Condition | None, missing: Any
) -> tuple[int, ...] | None:
    """Returns the shape of the second input of an encoder that sees all it can.

    That is the mask, the condition's features, or the vector of both (see
    `seen_by_encoder`), but of an image the features alone: as channels of a
    convolution, the vector would be hundreds. None: the model has neither.
    """
    if missing is None:
        return None if condition is None else condition.shape
    if condition is None:
        return data_shape
    if len(data_shape) > 1:
        return condition.shape
    return (math.prod(data_shape) + math.prod(condition.shape),)


def seen_by_encoder(
    taken: tuple[int, ...] | None,
    data_shape: tuple[int, ...],
    condition: Condition | None,
    missing: Any,
) -> tuple[str, ...]:
    """Returns which roles the encoder's second input is made of.

    An input of the condition's shape is the condition's features, one of the data's
    shape the mask, and a vector of the size of both first the mask and then the
    features.

    Args:
        taken: The shape of the second input; None: there is none.
        data_shape: The shape of an example.
        condition: The model's, or None.
        missing: The model's, or None.

    Raises:
        InputError: if it is of another shape.
    """
    usable: dict[tuple[int, ...] | None, tuple[str, ...]] = {None: ()}
    if missing is not None:
        usable[data_shape] = ("observed",)
    if condition is not None:
        usable[condition.shape] = ("condition",)
    if missing is not None and condition is not None:
        both = math.prod(data_shape) + math.prod(condition.shape)
        usable[both,] = ("observed", "condition")
    if taken in usable:
        return usable[taken]
    if len(usable) == 1:
        raise InputError(
            f"the encoder takes a condition of shape {taken}, and the model has none; "
            "give one, for example condition=tfvae.conditions.OneHot(10)"
        )
    named = {shape: " and ".join(roles) for shape, roles in usable.items() if shape}
    wanted = ", or ".join(f"{shape} of {what}" for shape, what in named.items())
    raise InputError(
        f"the encoder takes a condition of shape {taken}, and is given {wanted}; "
        "make them equal"
    )


def read_observed(observed: Any, x: tf.Tensor) -> tf.Tensor:
    """Returns where x [B, *data_shape] is known, as bool.

    Args:
        observed: True or 1 where it is, as many as x; None: where x is not NaN.
        x: The examples.

    Raises:
        InputError: if it is of another shape, or no mask.
    """
    if observed is None:
        return tf.logical_not(tf.math.is_nan(x))
    try:
        observed = tf.convert_to_tensor(observed)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"observed is a {type(observed).__name__} that makes no array; give "
            "True and False, as many as x"
        ) from error
    shape = tf.TensorShape(observed.shape)
    if not shape.is_compatible_with(x.shape):
        raise InputError(
            f"observed has shape {tuple(shape)} for x of {tuple(x.shape)}; give True "
            "or False for each value"
        )
    dtype = observed.dtype
    if dtype != tf.bool and not (dtype.is_floating or dtype.is_integer):
        raise InputError(
            f"observed has dtype {dtype.name}; give True and False, or 1 and 0"
        )
    if dtype == tf.bool:
        return observed
    values = tf.get_static_value(observed)
    if values is not None and not np.isin(values, (0, 1)).all():
        raise InputError(
            "observed holds other values than 0 and 1; give True where x is known"
        )
    return tf.not_equal(observed, tf.zeros([], dtype))


def filled(head: DistributionHead, x: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """Returns x with the head's `filler` where it is not observed."""
    return tf.where(observed, x, tf.constant(head.filler, x.dtype))


def completed(
    likelihood: Distribution, x: tf.Tensor, observed: tf.Tensor, seed: Seed
) -> tf.Tensor:
    """Returns x [..., *data_shape] with draws of p(x|z) where it is not observed."""
    return tf.where(observed, x, likelihood.sample(seed=derive_seed(seed, "missing")))
