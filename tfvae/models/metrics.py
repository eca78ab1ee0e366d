"""The numbers that `fit` and `evaluate` report, under their names everywhere."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.heads import DistributionHead
from tfvae.models.batch import Batch, outside_support
from tfvae.objectives import LogWeightTerms

SKIPPED = "skipped_steps"
MEANS = ("loss", "elbo", "distortion", "rate", "ess")

SUMMED = (*MEANS, "bound", "outside")
_BOUND, _OUTSIDE = SUMMED.index("bound"), SUMMED.index("outside")
_IS_OUTSIDE = [name == "outside" for name in SUMMED]


class Bounds(NamedTuple):
    """What is reported of the bounds of B examples.

    Attributes:
        loss: [B] The objective with the step's `kl_weight`.
        plain: [B] The objective with `kl_weight` 1.
        ess: [B] The effective sample size of the importance weights.
    """

    loss: tf.Tensor
    plain: tf.Tensor
    ess: tf.Tensor


class MetricTracker:
    """The means of one model over the examples seen in an epoch.

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
        self._means = _Means()
        self._settings = {
            n: (weight, _Latest(name=n)) for n, weight in settings.items()
        }
        self._grad_norm = _Mean(name="grad_norm")
        self._latest = [metric for _, metric in self._settings.values()]
        self._shown = (*MEANS, "bound") if shows_bound else MEANS
        self.metrics: list[keras.metrics.Metric] = [
            self._means,
            *self._latest,
            self._grad_norm,
        ]

    @property
    def examples_seen(self) -> tf.Tensor:
        """The number of examples that the running epoch has seen, an int32."""
        return tf.cast(tf.convert_to_tensor(self._means.counts)[0], tf.int32)

    def result(self) -> dict[str, tf.Tensor]:
        """Returns the reported numbers by name."""
        means = self._means.result()
        found = {name: means[name] for name in MEANS}
        found |= {metric.name: metric.result() for metric in self._latest}
        return found | {name: means[name] for name in self._shown}

    def unreported(self) -> dict[str, float]:
        """Returns `bound`, and after training steps `grad_norm`, in eager mode."""
        found = {}
        if self._means.counts.numpy()[_BOUND] > 0:
            found["bound"] = float(self._means.result()["bound"])
        if float(tf.convert_to_tensor(self._grad_norm.count)) > 0:
            found["grad_norm"] = float(self._grad_norm.result())
        return found

    def check_support(self, head: DistributionHead) -> None:
        """Refuses what was seen, in eager mode.

        Raises:
            InputError: if some values were outside the likelihood's support.
        """
        if self._means.totals.numpy()[_OUTSIDE] > 0:
            raise outside_support(head)

    def compute(
        self,
        bounds: Bounds,
        terms: LogWeightTerms,
        penalty: tf.Tensor,
        batch: Batch,
        head: DistributionHead,
    ) -> tf.Tensor:
        """Returns sums over one batch or a replica's part, [2 M]: totals, counts.

        The loss is the bound's negative value plus `penalty`, the regularisation
        losses. `head` is the likelihood's.
        """
        # Nothing is refused here: within the step that would cost a transfer on a GPU,
        # and XLA leaves it out.
        outside = head.outside(batch.x)
        if SKIPPED in self._settings:  # then a step of NaN may be left out
            outside = outside & tf.math.is_finite(batch.x)
        axes = range(1, batch.x.shape.rank)
        weight = tf.ones_like(bounds.loss)
        given = weight if batch.sample_weight is None else batch.sample_weight
        given = tf.cast(given, bounds.loss.dtype)
        values = {
            "loss": penalty - bounds.loss * given,
            "elbo": tf.reduce_mean(terms.log_weights(), axis=0) * given,
            "distortion": -tf.reduce_mean(terms.log_likelihood, axis=0) * given,
            "rate": tf.reduce_mean(terms.rate, axis=0) * given,
            "ess": bounds.ess * given,
            "bound": bounds.plain * given,
            "outside": tf.cast(tf.reduce_any(outside, axis=axes), weight.dtype),
        }
        weights = {"loss": weight, "outside": weight}
        counts = [weights.get(name, given) for name in SUMMED]
        both = tf.stack([*(values[name] for name in SUMMED), *counts])  # [2 M, B]
        return tf.reduce_sum(tf.cast(both, self._means.dtype), axis=1)

    def update(self, sums: tf.Tensor, kl_weight: tf.Tensor) -> None:
        """Takes the results of `compute`, summed over replicas, into the means."""
        totals, counts = tf.unstack(tf.reshape(sums, [2, len(SUMMED)]))
        if SKIPPED in self._settings:  # `update_skipped` has it
            totals = tf.where(_IS_OUTSIDE, tf.zeros_like(totals), totals)
        self._means.totals.assign_add(totals)
        self._means.counts.assign_add(counts)
        for name, (weight, metric) in self._settings.items():
            metric.update_state(kl_weight if name == "kl_weight" else weight)

    def update_skipped(self, sums: tf.Tensor) -> None:
        """Takes in what a step that is left out changes too.

        That is how many were left out, and how many examples had no probability.
        """
        if SKIPPED in self._settings:
            skipped, metric = self._settings[SKIPPED]
            metric.update_state(skipped)
            outside = tf.where(_IS_OUTSIDE, sums[: len(SUMMED)], 0.0)
            self._means.totals.assign_add(outside)

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


class _Alike(keras.metrics.Metric):
    """A metric that has the same numbers on all replicas.

    Keras would add them up whenever one is read, which all workers must do together.
    """

    def add_variable(self, *args, **kwargs) -> keras.Variable:
        kwargs["aggregation"] = "only_first_replica"
        return super().add_variable(*args, **kwargs)


class _Means(_Alike):
    """Means over the examples of all replicas, in one kernel for all of them."""

    def __init__(self) -> None:
        super().__init__(name="means")
        shape = [len(SUMMED)]
        self.totals = self.add_variable(shape, initializer="zeros", name="totals")
        self.counts = self.add_variable(shape, initializer="zeros", name="counts")

    def result(self) -> dict[str, tf.Tensor]:
        means = tf.math.divide_no_nan(
            tf.convert_to_tensor(self.totals), tf.convert_to_tensor(self.counts)
        )
        return dict(zip(SUMMED, tf.unstack(means), strict=True))


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
