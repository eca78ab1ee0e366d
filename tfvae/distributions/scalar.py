"""The base of our own distributions over single numbers."""

import tensorflow as tf

from tfvae.distributions import tfd


class ScalarDistribution(tfd.AutoCompositeTensorDistribution):
    """A distribution over a number, whose draws have no gradient.

    TensorFlow rebuilds it, as a composite tensor, from the attributes that have the
    names of the arguments of `__init__`.

    Args:
        dtype: The dtype of a draw.
        parameters: The arguments of the subclass, by name.
        name: The name of the distribution.
    """

    def __init__(self, dtype: tf.DType, parameters: dict, name: str) -> None:
        super().__init__(
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)
