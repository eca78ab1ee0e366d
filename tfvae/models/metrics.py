"""The numbers that `fit` and `evaluate` report, under their names everywhere."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tfvae.core.sharding import global_sum, replica_share
from tfvae.heads import DistributionHead
from tfvae.models.batch import Batch, outside_support
from tfvae.objectives import LogWeightTerms, Objective
from tfvae.objectives.bounds import effective_sample_size

SKIPPED = "skipped_steps"
MEANS = ("loss", "elbo", "distortion", "rate", "ess")

Values = Mapping[keras.metrics.Metric, tuple[tf.Tensor, "tf.Tensor | None"]]
"""A metric -> the values that update it, and their weights."""


class MetricTracker:
    """The metrics of one model, means over the examples seen in an epoch.

    Args:
        settings: Name -> weight of the settings whose latest value is reported.
        shows_bound: Whether `bound` is among what is reported, as with free bits, where
            even an evaluation's loss is not the negative bound.

    Attributes:
        metrics: The metrics, which Keras resets.
    """

    def __init__(
        self, settings: Mapping[str, tf.Variable], shows_bound: bool = False
    ) -> None:
        self._means = {name: _Mean(name=name) for name in MEANS}
        self._settings = {
            n: (weight, _Latest(name=n)) for n, weight in settings.items()
        }
        self._outside = _Mean(name="outside")
        self._bound = _Mean(name="bound")
        self._grad_norm = _Mean(name="grad_norm")
        latest = [metric for _, metric in self._settings.values()]
        self._shown = [*self._means.values(), *latest]
        unseen = [self._outside, self._bound, self._grad_norm]
        self.metrics: list[keras.metrics.Metric] = [*self._shown, *unseen]
        if shows_bound:
            self._shown.append(self._bound)

    @property
    def examples_seen(self) -> tf.Tensor:
        """The number of examples that the running epoch has seen, an int32."""
        return tf.cast(tf.convert_to_tensor(self._means["loss"].count), tf.int32)

    def result(self) -> dict[str, tf.Tensor]:
        """Returns the reported numbers by name."""
        return {metric.name: metric.result() for metric in self._shown}

    def unreported(self) -> dict[str, float]:
        """Returns `bound`, and after training steps `grad_norm`, in eager mode."""
        means = (self._bound, self._grad_norm)
        counted = [m for m in means if float(tf.convert_to_tensor(m.count)) > 0]
        return {m.name: float(m.result()) for m in counted}

    def check_support(self, head: DistributionHead) -> None:
        """Refuses what was seen, in eager mode.

        Raises:
            InputError: if some values were outside the likelihood's support.
        """
        if float(tf.convert_to_tensor(self._outside.total)) > 0:
            raise outside_support(head)

    def compute(
        self,
        objective: Objective,
        terms: LogWeightTerms,
        kl_weight: tf.Tensor,
        penalty: tf.Tensor,
        batch: Batch,
        head: DistributionHead,
    ) -> Values:
        """Returns what `update` is given of one batch, of all replicas together.

        The loss is the objective's negative value with `kl_weight`, which is 1 in all
        else, plus `penalty`, the regularisation losses. `head` is the likelihood's.
        """
        weight, shard = batch.sample_weight, batch.shard
        log_weights = terms.log_weights()  # [S, B]
        bound = objective.value(terms.loss_log_weights(kl_weight))  # [B]
        sampled = log_weights
        if terms.analytic_rate is not None:
            sampled = terms.sampled_log_weights()
        found = {
            self._means["elbo"]: tf.reduce_mean(log_weights, axis=0),
            self._means["distortion"]: -tf.reduce_mean(terms.log_likelihood, axis=0),
            self._means["rate"]: tf.reduce_mean(terms.rate, axis=0),
            self._means["ess"]: effective_sample_size(sampled),
            self._bound: objective.value(log_weights),
        }
        values = {metric: (value, weight) for metric, value in found.items()}
        # Nothing is refused here: within the step that would cost a transfer on a GPU,
        # and XLA leaves it out.
        axes = range(1, batch.x.shape.rank)
        outside = head.outside(batch.x)
        if SKIPPED in self._settings:  # then a step of NaN may be left out
            outside = outside & tf.math.is_finite(batch.x)
        violation = tf.cast(tf.reduce_any(outside, axis=axes), bound.dtype)  # [B]
        if shard is None:
            loss = batch_loss(bound, penalty, batch)
            values[self._means["loss"]] = (loss, tf.shape(bound)[0])
        else:
            loss = penalty - (bound if weight is None else bound * weight)  # [B]
            values[self._means["loss"]] = (loss, None)
            values[self._outside] = (violation, None)
            values = global_means(values)
            violation, _ = values.pop(self._outside)
        # Now, since it counts in a step that is left out too.
        self._outside.update_state(violation)
        return values

    def update(self, values: Values, kl_weight: tf.Tensor) -> None:
        """Takes the result of `compute` into the means."""
        for metric, (value, weight) in values.items():
            metric.update_state(value, sample_weight=weight)
        for name, (weight, metric) in self._settings.items():
            metric.update_state(kl_weight if name == "kl_weight" else weight)

    def update_skipped(self) -> None:
        """Takes in how many steps were left out, which a step left out changes too."""
        if SKIPPED in self._settings:
            skipped, metric = self._settings[SKIPPED]
            metric.update_state(skipped)

    def update_gradient_norm(
        self,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
        scale: tf.Tensor,
        wanted: bool | tf.Tensor,
    ) -> None:
        """Takes the norm of a step's gradients of the loss times `scale` into its mean.

        Steps whose gradient overflows do not count. Of a step that is not `wanted`,
        nothing is computed.
        """

        def norm() -> tf.Tensor:
            return tf.cast(tf.linalg.global_norm(gradients), scale.dtype) / scale

        if wanted is not True:
            value = tf.cond(wanted, norm, lambda: tf.zeros_like(scale))
        else:
            value = norm()
        counts = tf.logical_and(wanted, tf.math.is_finite(value))
        value = tf.where(counts, value, tf.zeros_like(value))
        self._grad_norm.update_state(value, sample_weight=counts)


def batch_loss(values: tf.Tensor, penalty: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Returns penalty - sum_b weight_b values_b / B, as Keras reduces losses.

    Of a shard it is this replica's part of the loss, over the global batch's B.
    """
    if batch.sample_weight is not None:
        values = values * batch.sample_weight
    if batch.shard is None:
        return penalty - tf.reduce_mean(values)
    mean = tf.reduce_sum(values) / tf.cast(batch.shard.total, values.dtype)
    return replica_share(penalty, batch.shard) - mean


def global_means(values: Values) -> dict:
    """Returns the means over all replicas, and their weights, by one all-reduce.

    So every replica tracks the same numbers, and each can read them alone. Values are
    [B], and their weights [B] or None for ones.
    """
    sums = []
    for metric, (value, weight) in values.items():
        value = tf.cast(value, metric.dtype)
        weight = tf.ones_like(value) if weight is None else weight
        weight = tf.cast(weight, metric.dtype)
        sums += [tf.reduce_sum(value * weight), tf.reduce_sum(weight)]
    sums = tf.unstack(global_sum(tf.stack(sums)), len(sums))
    pairs = zip(sums[::2], sums[1::2], strict=True)
    return {
        metric: (tf.math.divide_no_nan(total, count), count)
        for metric, (total, count) in zip(values, pairs, strict=True)
    }


class _Alike(keras.metrics.Metric):
    """A metric that has the same numbers on all replicas.

    Keras would add them up whenever one is read, which all workers must do together.
    """

    def add_variable(self, *args, **kwargs) -> keras.Variable:
        kwargs["aggregation"] = "only_first_replica"
        return super().add_variable(*args, **kwargs)


class _Mean(_Alike, keras.metrics.Mean):
    """A mean over the examples of all replicas."""


class _Latest(_Alike):
    """The value of a setting at the last step."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.latest = self.add_variable(shape=(), initializer="zeros", name="latest")

    def update_state(self, value: tf.Tensor, sample_weight: None = None) -> None:
        self.latest.assign(tf.cast(value, self.latest.dtype))

    def result(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.latest)
