"""One step of training, one of evaluation, and what they report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import (
    Rows,
    do_if,
    own_share,
    replica_seed,
    rows_held,
    several_workers,
    summed_gradients,
)
from tfvae.core.types import Seed
from tfvae.core.validation import require_int
from tfvae.data import drawn_at_step
from tfvae.estimators import Estimate, Estimator
from tfvae.models.checks import Schedule
from tfvae.models.finite import FiniteWatch, means_of
from tfvae.models.generative import IMAGE_KEY, LatentVariableModel
from tfvae.models.layers import seed_layers
from tfvae.models.metrics import SKIPPED, Batch, Report, Seen, greyness, weighted_mean
from tfvae.objectives import LogWeightTerms, Objective


class SteppingModel(LatentVariableModel):
    """A model that can take a step, once `VAE.compile` has said what a step is.

    Attributes:
        objective: The bound that is maximised.
        estimator: How its gradient is estimated.
        num_samples: S.
        seed: The root of every draw.
        binarize: Whether a training step draws the pixels.
        kl_weight: The factor of the rate in the loss, a weight.
        steps: How many training steps were taken, a weight. The optimizer's own count
            is another when it accumulates gradients or skips a step.
    """

    objective: Objective
    estimator: Estimator
    num_samples: int
    seed: int
    binarize: bool = False
    kl_weight: keras.Variable
    steps: keras.Variable
    _schedules: dict[str, tuple[keras.Variable, Schedule]]
    _report: Report
    _watch: FiniteWatch
    _track_every: int | None = None

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers of what `fit` and `evaluate` report."""
        return self._report.metrics if self.compiled else []

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Returns what is reported.

        Raises:
            InputError: In eager mode, as at the end of an epoch: images held values
                that the likelihood has no probability for.
        """
        if tf.executing_eagerly():
            self._report.check_values(self.decoder.head)
        return self._report.result()

    @property
    def skipped_steps(self) -> tf.Variable:
        """How many training steps were left out, as `skip_nonfinite` lets them be."""
        return self._watch.skipped

    def check_finite(self) -> None:
        """Looks at the training steps since `compile`, in eager mode.

        Raises:
            InputError: The loss or the gradient of one was not finite, and it is more
                than `skip_nonfinite` tolerates.
        """
        self._watch.check()

    def _maybe_symbolic_build(self, *args, **kwargs) -> None:
        """Does nothing: the model and its optimizer are built when they are made.

        Keras would add up one batch of all replicas, whose shapes must then be equal.
        """

    def track_gradients(self, every: int | None) -> None:
        """Says at which of the training steps to come `grad_norm` is looked at.

        It is no argument of `compile`, since what is trained does not depend on it.

        Args:
            every: Those whose number is a multiple of it, counted from 0; None: none.
        """
        every = None if every is None else require_int("every", every)
        if every != self._track_every:
            self._track_every = every
            self.train_function = None  # Keras traces anew

    @property
    def examples_seen(self) -> int:
        """How many examples the running epoch or evaluation has seen, in eager mode."""
        return int(self._report.examples_seen)

    def tracked(self) -> dict[str, float]:
        """Returns what is tracked beside what is reported, in eager mode.

        `bound` is the objective at kl_weight 1, without free bits and regularisation, a
        mean over the examples seen since the running epoch or evaluation began.

        `grad_norm` is the L2 norm of the loss's gradient, all weights together, before
        the optimizer clips or scales it, a mean over the epoch's steps that
        `track_gradients` names. With loss scaling it is that of the loss unscaled, and
        steps whose gradient overflows do not count.
        """
        return self._report.tracked()

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """One step of the optimizer on one batch."""
        step = tf.convert_to_tensor(self.steps)
        batch = self._unpack(data, step if self.binarize else None)
        for weight, schedule in self._schedules.values():
            weight.assign(schedule(step))
        seed = derive_seed(self.seed, "train", step)
        seed_layers(self, replica_seed(seed))
        with tf.GradientTape() as tape:
            estimate = self._estimate(batch.x, seed, True, batch.rows)
            values = weighted_mean(estimate.surrogate, batch.sample_weight, batch.rows)
            penalty = self._penalty(values.dtype)
            surrogate = own_share(penalty, batch.rows) - values
            loss = self.optimizer.scale_loss(surrogate)
        variables = self.trainable_variables
        gradients = summed_gradients(tape.gradient(loss, variables))
        if not variables:
            warnings.warn("the model has no trainable weights", stacklevel=2)
        self.steps.assign_add(1)
        kl_weight = tf.convert_to_tensor(self.kl_weight)
        seen = self._seen(batch, estimate.terms, kl_weight, penalty)

        def take() -> None:
            self._see_gradients(gradients, step)
            if variables:
                self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            self._take_in(seen, kl_weight)

        means = means_of(estimate.terms, surrogate, batch.rows)
        self._take_if_finite(take, step, means, gradients)
        return self._logs()

    def _take_if_finite(
        self,
        take: Callable[[], None],
        step: tf.Tensor,
        means: tf.Tensor,
        gradients: list,
    ) -> None:
        finite = self._watch.see(step, means, gradients)
        if not self._watch.tolerated:
            take()
            return
        do_if(finite, take)
        self._report.set_latest(SKIPPED, self._watch.skipped)

    def _see_gradients(self, gradients: list, step: tf.Tensor) -> None:
        if self._track_every is None:
            return
        every = self._track_every
        one = tf.ones([], self.compute_dtype)
        wanted = True if every == 1 else tf.equal(step % every, 0)
        self._report.see_gradients(gradients, self.optimizer.scale_loss(one), wanted)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """Scores one batch, with kl_weight 1."""
        batch = self._unpack(data)
        # The number of examples seen so far, which Keras sets to 0 when it begins, is
        # what makes the draws of two batches differ and those of two runs agree.
        seed = derive_seed(self.seed, "test", self._report.examples_seen)
        terms = self._estimate(batch.x, seed, False, batch.rows).terms
        one = tf.ones([], terms.rate.dtype)
        self._take_in(self._seen(batch, terms, one, self._penalty(one.dtype)), one)
        return self._logs()

    def _seen(
        self,
        batch: Batch,
        terms: LogWeightTerms,
        kl_weight: tf.Tensor,
        penalty: tf.Tensor,
    ) -> Seen:
        grey = greyness(batch.x, self.decoder.head)
        return self._report.seen(self.objective, terms, kl_weight, penalty, batch, grey)

    def _take_in(self, seen: Seen, kl_weight: tf.Tensor) -> None:
        current = {name: weight for name, (weight, _) in self._schedules.items()}
        settings = {**current, "kl_weight": kl_weight, SKIPPED: self.skipped_steps}
        self._report.take_in(seen, settings)

    def _logs(self) -> dict[str, tf.Tensor]:
        result = self.get_metrics_result()
        if several_workers():
            # Keras takes the mean over all workers of each, along its first axis.
            return {"loss": result["loss"][tf.newaxis]}
        return result

    def _get_metrics_result_or_logs(self, logs) -> dict[str, tf.Tensor]:
        """Returns the epoch's numbers, of which several workers log few by steps."""
        return self.get_metrics_result()

    def _estimate(
        self, x: tf.Tensor, seed: Seed, training: bool, rows: Rows | None = None
    ) -> Estimate:
        problem = self._problem(x, self.num_samples, seed, training, rows)
        return self.estimator.estimate(
            problem._replace(
                objective=self.objective, kl_weight=tf.convert_to_tensor(self.kl_weight)
            )
        )

    def _penalty(self, dtype: tf.DType) -> tf.Tensor:
        """The layers' regularisation losses."""
        return tf.add_n(
            [tf.zeros([], dtype), *(tf.cast(p, dtype) for p in self.losses)]
        )

    def _unpack(self, data, step: tf.Tensor | None = None) -> Batch:
        """Returns what is used of x, (x, y), (x, y, w) or a dict.

        With a step, x is drawn from the batch's grey values.
        """
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        rows = rows_held(x)
        if step is not None:
            x = x[IMAGE_KEY] if isinstance(x, Mapping) and IMAGE_KEY in x else x
            x = drawn_at_step(tf.convert_to_tensor(x), self.seed, step, rows)
        x = self._images(x)
        if sample_weight is not None:  # [B] or [B, 1]
            sample_weight = tf.cast(sample_weight, self.compute_dtype)
            sample_weight = tf.reshape(sample_weight, tf.shape(x)[:1])
        return Batch(x, sample_weight, rows)
