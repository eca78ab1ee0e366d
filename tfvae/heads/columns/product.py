"""The distribution of a row: independent columns, each with a law of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.types import Seed
from tfvae.distributions import tfd
from tfvae.heads.columns.base import Column


class ColumnProduct(tfd.Distribution):
    """D independent columns given their parameters: batch shape [...], event shape [D].

    Args:
        params: [..., P] The parameters of all columns, one column after another.
        columns: The columns, whose `num_params` sum to P.

    Attributes:
        column_params: The parameters of each column, [..., num_params].
    """

    def __init__(
        self, params: tf.Tensor, columns: Sequence[Column], name: str = "ColumnProduct"
    ) -> None:
        parameters = dict(locals())
        self._params = tf.convert_to_tensor(params)
        self.columns = tuple(columns)
        self.column_params = self._split(self._params)
        super().__init__(
            dtype=self._params.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def log_prob_columns(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the log-probability of each column alone, [..., D], in nats.

        That of a value outside of a column's support, and of NaN, is -inf.
        """
        x = tf.cast(x, self.dtype)  # [..., D]
        return self._stacked(
            lambda i, column: column.log_prob(self.column_params[i], x[..., i])
        )

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self.log_prob_columns(x), axis=-1)

    def _sample_n(self, n: tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        # TFP takes an int as the seed of a stateful operation.
        seed = tfd.sanitize_seed(None) if seed is None else as_seed(seed)
        params = self._params
        shape = tf.concat([[n], tf.shape(params)], axis=0)
        rows = self._split(tf.broadcast_to(params, shape))  # [n, ..., num_params] each
        return self._stacked(
            lambda i, column: column.sample(rows[i], derive_seed(seed, "column", i))
        )

    def _mean(self) -> tf.Tensor:
        """Returns the mean of each column; see `Column.mean` of its kind."""
        return self._stacked(lambda i, column: column.mean(self.column_params[i]))

    def _split(self, params: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(params, [c.num_params for c in self.columns], axis=-1)

    def _stacked(self, each: Callable[[int, Column], tf.Tensor]) -> tf.Tensor:
        return tf.stack([each(i, c) for i, c in enumerate(self.columns)], axis=-1)

    def _batch_shape(self) -> tf.TensorShape:
        return self._params.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.shape(self._params)[:-1]

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([len(self.columns)])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([len(self.columns)])
