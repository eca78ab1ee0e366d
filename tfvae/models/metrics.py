"""What `fit` and `evaluate` report, under the names it has everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.core.sharding import Rows, global_sum
from tfvae.heads import DistributionHead
from tfvae.models.checks import grey_values
from tfvae.objectives import LogWeightTerms, Objective
from tfvae.objectives.base import effective_sample_size

SKIPPED = "skipped_steps"
MEANS = ("loss", "elbo", "distortion", "rate", "ess")

Seen = Mapping[keras.metrics.Metric, tuple[tf.Tensor, "tf.Tensor | None"]]
"""Values that metrics take in, each with its weight."""


class Batch(NamedTuple):
    """What a step is given.

    Attributes:
        x: [B, *image_shape] As the encoder takes them.
        sample_weight: [B] or None.
        rows: Of the global batch, which this replica holds; None: it is the only one.
    """

    x: tf.Tensor
    sample_weight: tf.Tensor | None
    rows: Rows | None


class Report:
    """The trackers of one model, means over the examples seen in an epoch.

    Args:
        settings: Names of the scheduled settings, whose latest value is reported.
        shows_bound: Whether `bound` is among what is reported, as with free bits, where
            even an evaluation's loss is not the negative bound.
    """

    def __init__(self, settings: Iterable[str], shows_bound: bool = False) -> None:
        self._means = {name: _Mean(name=name) for name in MEANS}
        self._settings = {name: _Latest(name=name) for name in settings}
        self._grey = _Largest(name="grey")
        self._bound, self._shows_bound = _Mean(name="bound"), shows_bound
        self._grad_norm = _Mean(name="grad_norm")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers, which Keras resets and shows."""
        unseen = (self._grey, self._bound, self._grad_norm)
        return [*self._means.values(), *self._settings.values(), *unseen]

    def tracked(self) -> dict[str, float]:
        """`bound`, and after training steps `grad_norm`, in eager mode."""
        means = (self._bound, self._grad_norm)
        return {m.name: float(m.result()) for m in means if _count(m) > 0}

    def result(self) -> dict[str, tf.Tensor]:
        """The numbers by name."""
        shown = [*self._means.values(), *self._settings.values()]
        if self._shows_bound:
            shown.append(self._bound)
        return {metric.name: metric.result() for metric in shown}

    def set_latest(self, name: str, value: tf.Tensor) -> None:
        """Takes in a setting's value alone."""
        self._settings[name].update_state(value)

    def see_gradients(
        self,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
        scale: tf.Tensor,
        wanted: bool | tf.Tensor = True,
    ) -> None:
        """Takes in one step's gradients.

        Args:
            gradients: Of the scaled loss.
            scale: What it was scaled with; steps whose gradient overflows do not count.
            wanted: Whether to look at this step; of one that is not, nothing is
                computed.
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

    def check_values(self, head: DistributionHead) -> None:
        """Refuses what was seen, in eager mode.

        Raises:
            InputError: Some values were outside the likelihood's support.
        """
        if float(self._grey.result()) > 0:
            raise grey_values(head)

    @property
    def examples_seen(self) -> tf.Tensor:
        """How many examples the running epoch or evaluation has seen, an int32."""
        return tf.cast(tf.convert_to_tensor(self._means["loss"].count), tf.int32)

    def seen(
        self,
        objective: Objective,
        terms: LogWeightTerms,
        kl_weight: tf.Tensor,
        penalty: tf.Tensor,
        batch: Batch,
        grey: tf.Tensor | None,
    ) -> Seen:
        """Returns what `take_in` is given of one batch, of all replicas together.

        Args:
            objective: Whose negative value is the loss.
            terms: [S, B] Of the batch's log-weights.
            kl_weight: In the loss; everything else has 1.
            penalty: The regularisation losses, part of the loss.
            batch: What the terms are of.
            grey: [B] Of `greyness`, which is taken in now.
        """
        sample_weight, rows = batch.sample_weight, batch.rows
        if grey is not None and rows is None:
            self._grey.update_state(tf.reduce_max(grey))
        log_weights = terms.log_weights()  # [S, B]
        bound = objective.value(terms.loss_log_weights(kl_weight))  # [B]
        means = {
            "elbo": tf.reduce_mean(log_weights, axis=0),
            "distortion": -tf.reduce_mean(terms.log_likelihood, axis=0),
            "rate": tf.reduce_mean(terms.rate, axis=0),
            "ess": effective_sample_size(terms.sampled_log_weights()),
        }
        seen = {self._means[n]: (v, sample_weight) for n, v in means.items()}
        seen[self._bound] = (objective.value(log_weights), sample_weight)
        if rows is None:
            loss = penalty - weighted_mean(bound, sample_weight)
            seen[self._means["loss"]] = (loss, tf.shape(bound)[0])
        else:
            loss = penalty - weighted(bound, sample_weight)  # [B]
            seen[self._means["loss"]] = (loss, None)
            if grey is not None:
                seen[self._grey] = (grey, None)
            seen = global_means(seen)
            if grey is not None:
                self._grey.update_state(seen.pop(self._grey)[0])
        return seen

    def take_in(self, seen: Seen, settings: Mapping[str, tf.Tensor]) -> None:
        """Takes in one batch.

        Args:
            seen: Of `seen`.
            settings: The current values of the scheduled settings, those known.
        """
        for tracker, (values, weight) in seen.items():
            tracker.update_state(values, sample_weight=weight)
        for name, tracker in self._settings.items():
            if name in settings:
                tracker.update_state(settings[name])


def greyness(x: tf.Tensor, head: DistributionHead) -> tf.Tensor | None:
    """Returns [B] above 0 where images have values outside the likelihood's support.

    Nothing is checked: within the step that would cost a transfer on a GPU, and XLA
    leaves it out.
    """
    if not head.exact_binary:
        return None
    return tf.reduce_max(tf.abs(x * (1.0 - x)), axis=range(1, x.shape.rank))


def weighted(values: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Returns weight_b value_b, [B]."""
    return values if sample_weight is None else values * sample_weight


def weighted_mean(
    values: tf.Tensor, sample_weight: tf.Tensor | None, rows: Rows | None = None
) -> tf.Tensor:
    """Returns sum_b weight_b value_b / B, as Keras reduces losses.

    With `rows` it is this replica's part of the sum, over the global batch's B.
    """
    values = weighted(values, sample_weight)
    if rows is None:
        return tf.reduce_mean(values)
    return tf.reduce_sum(values) / tf.cast(rows.total, values.dtype)


def global_means(seen: Seen) -> dict:
    """Returns the means over all replicas, and their weights, by one all-reduce.

    So every replica tracks the same numbers, and each can read them alone.

    Args:
        seen: This replica's values [B], and their weights [B] or None for ones.
    """
    sums = []
    for tracker, (values, weight) in seen.items():
        values = tf.cast(values, tracker.dtype)
        weight = tf.ones_like(values) if weight is None else weight
        weight = tf.cast(weight, tracker.dtype)
        sums += [tf.reduce_sum(values * weight), tf.reduce_sum(weight)]
    sums = tf.unstack(global_sum(tf.stack(sums)), len(sums))
    pairs = zip(sums[::2], sums[1::2], strict=True)
    return {
        tracker: (tf.math.divide_no_nan(total, count), count)
        for tracker, (total, count) in zip(seen, pairs, strict=True)
    }


def _count(mean: keras.metrics.Mean) -> float:
    return float(tf.convert_to_tensor(mean.count))


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


class _Largest(_Latest):
    """The largest value since the last reset."""

    def update_state(self, value: tf.Tensor, sample_weight: None = None) -> None:
        value = tf.cast(value, self.latest.dtype)
        super().update_state(tf.maximum(tf.convert_to_tensor(self.latest), value))
