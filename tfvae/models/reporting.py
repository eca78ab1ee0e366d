"""What `fit` and `evaluate` report, under the names it has everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from tfvae.heads import DistributionHead
from tfvae.metrics import effective_sample_size
from tfvae.models.checks import grey_values
from tfvae.objectives import LogWeightTerms, Objective

SKIPPED = "skipped_steps"
MEANS = ("loss", "elbo", "distortion", "rate", "ess")


class Report:
    """The trackers of one model, means over the examples seen in an epoch.

    Args:
        settings: Names of the scheduled settings, whose latest value is reported.
    """

    def __init__(self, settings: Iterable[str]) -> None:
        self._means = {name: keras.metrics.Mean(name=name) for name in MEANS}
        self._settings = {name: _Latest(name=name) for name in settings}
        self._grey = _Largest(name="grey")
        self._bound = keras.metrics.Mean(name="bound")
        self._grad_norm = keras.metrics.Mean(name="grad_norm")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers, which Keras resets and shows."""
        unseen = (self._grey, self._bound, self._grad_norm)
        return [*self._means.values(), *self._settings.values(), *unseen]

    def tracked(self) -> dict[str, float]:
        """`bound`, and after training steps `grad_norm`, in eager mode."""
        means = (self._bound, self._grad_norm)
        return {m.name: float(m.result()) for m in means if float(m.count) > 0}

    def result(self) -> dict[str, tf.Tensor]:
        """The numbers by name."""
        shown = [*self._means.values(), *self._settings.values()]
        return {metric.name: metric.result() for metric in shown}

    def set_latest(self, name: str, value: tf.Tensor) -> None:
        """Takes in a setting's value alone."""
        self._settings[name].update_state(value)

    def see(self, x: tf.Tensor, head: DistributionHead) -> None:
        """Takes note of values outside the likelihood's support, without a check.

        A check within the step would cost a transfer on a GPU, and XLA leaves it out.
        """
        if head.exact_binary:
            self._grey.update_state(tf.reduce_max(tf.abs(x * (1.0 - x))))

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

    def update(
        self,
        objective: Objective,
        terms: LogWeightTerms,
        kl_weight: tf.Tensor,
        penalty: tf.Tensor,
        sample_weight: tf.Tensor | None,
        settings: Mapping[str, tf.Tensor],
    ) -> None:
        """Takes in one batch.

        Args:
            objective: Whose negative value is the loss.
            terms: [S, B] Of the batch's log-weights.
            kl_weight: In the loss; everything else has 1.
            penalty: The regularisation losses, part of the loss.
            sample_weight: [B] or None.
            settings: The current values of the scheduled settings, those known.
        """
        log_weights = terms.log_weights()  # [S, B]
        bound = objective.value(terms.loss_log_weights(kl_weight))  # [B]
        loss = penalty - weighted_mean(bound, sample_weight)
        self._means["loss"].update_state(loss, sample_weight=tf.shape(bound)[0])
        at_one = objective.value(log_weights)  # [B]
        self._bound.update_state(at_one, sample_weight=sample_weight)
        means = {
            "elbo": tf.reduce_mean(log_weights, axis=0),
            "distortion": -tf.reduce_mean(terms.log_likelihood, axis=0),
            "rate": tf.reduce_mean(terms.rate, axis=0),
            "ess": effective_sample_size(terms.sampled_log_weights()),
        }
        for name, values in means.items():
            self._means[name].update_state(values, sample_weight=sample_weight)
        for name, tracker in self._settings.items():
            if name in settings:
                tracker.update_state(settings[name])


def weighted_mean(values: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Returns sum_b weight_b value_b / B, as Keras reduces losses."""
    if sample_weight is not None:
        values = values * sample_weight
    return tf.reduce_mean(values)


class _Latest(keras.metrics.Metric):
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
