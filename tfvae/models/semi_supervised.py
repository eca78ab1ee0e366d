"""A model of images and classes, of which few are known."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions import Condition, OneHot
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError, Seed
from tfvae.core.validation import require_int, require_number
from tfvae.distributions import Distribution
from tfvae.estimators import Chunk
from tfvae.heads import DistributionHead
from tfvae.heads.base import with_parts
from tfvae.latents import Latent
from tfvae.models.batch import Batch, as_array, split_examples
from tfvae.models.conditional import ConditionalDistribution, check_network
from tfvae.models.metrics import Bounds
from tfvae.models.vae import VAE, Samples, StepEstimate
from tfvae.networks import input_shapes
from tfvae.objectives import LogWeightTerms
from tfvae.priors import Prior

UNKNOWN = -1  # the label of an example whose class is not known


@dataclasses.dataclass(frozen=True)
class _Estimate(StepEstimate):
    """A `StepEstimate` with what is computed of the classes.

    Attributes:
        log_q: [B, C] log q(y|x).
    """

    log_q: tf.Tensor


@keras.saving.register_keras_serializable(package="tfvae")
class SemiSupervisedVAE(VAE):
    """A model of x and its class y, for data of which few classes are known: M2.

        p(x) = sum_y p(y) p(x|y),    p(x|y) = E_p(z|y) p(x|z, y)

    Kingma, Rezende, Mohamed and Welling, "Semi-supervised Learning with Deep Generative
    Models" (2014). With L(x, y) any objective of this package, a bound on log p(x|y),
    a step maximises for an example whose class is known, and for one where it is not,

        log p(x, y) >= L(x, y) + log p(y)
        log p(x) >= sum_y q(y|x) (L(x, y) + log p(y) - log q(y|x))

    The sum is over all classes, so that no class is drawn: a step costs C times one of
    a model without classes. To the first, `classifier_weight` log q(y|x) is added, or
    the labels would not train the classifier; it is in `loss`, and in no bound.

    The label of an example is its class, or -1 where it is not known: `fit(x, y)`,
    `{"x": x, "label": y}`, or x alone. `condition` says which class is assumed by
    `encode`, `decode`, `reconstruct` and `sample`; without one `encode` and
    `reconstruct` take the label where it is known, and else the class that is most
    probable under q(y|x).

    With free bits the floor of a variable looks at its mean rate over all classes of
    all examples, each with the same weight.

    Beside what a `VAE` reports there are `accuracy` of q(y|x) and `calibration_error`
    (the expected one, in ten bins) over the examples whose class is known, and
    `bound_labelled` and `bound_unlabelled`, means of the two bounds above.

    Args:
        encoder: (x, y) -> q(z|x, y), as a `VAE`'s.
        decoder: (z, y) -> p(x|z, y).
        classifier: x -> the logits of q(y|x), a Keras model that puts out C numbers.
        latent: The family of z, or its name.
        prior: p(z), or "conditional" for p(z|y).
        likelihood: As a `VAE`'s.
        missing: As a `VAE`'s; the classifier sees x alone, filled up.
        condition: How networks see y, one of the classes of `tfvae.conditions`; None:
            OneHot(C).
        class_probabilities: p(y), C numbers whose sum is 1; None: all alike.
        classifier_weight: The factor of log q(y|x) where y is known, 0 or more.

    Raises:
        InputError: if the parts do not fit together.
    """

    has_one_posterior = False

    def __init__(
        self,
        encoder: ConditionalDistribution | keras.Model,
        decoder: ConditionalDistribution | keras.Model,
        classifier: keras.Model,
        latent: Latent | str = "normal",
        prior: Prior | str | None = None,
        *,
        likelihood: DistributionHead | str | None = None,
        condition: Condition | None = None,
        class_probabilities: Sequence[float] | np.ndarray | None = None,
        classifier_weight: float = 1.0,
        **kwargs,
    ) -> None:
        check_network(classifier)
        shape = tuple(classifier.output_shape[1:])
        if len(shape) != 1 or len(classifier.inputs) != 1:
            raise InputError(
                f"the classifier puts out {shape}, from {len(classifier.inputs)} "
                "inputs; give a network from x to one logit for each class"
            )
        if condition is None:
            condition = OneHot(shape[0])
        if getattr(condition, "num_classes", None) != shape[0]:
            raise InputError(
                f"the classifier knows {shape[0]} classes, and the condition is "
                f"{condition!r:.60}; give one of as many classes, or leave it out"
            )
        super().__init__(
            encoder,
            decoder,
            latent,
            prior,
            likelihood=likelihood,
            condition=condition,
            **kwargs,
        )
        if input_shapes(classifier)[0] != self.data_shape:
            raise InputError(
                f"the classifier takes {input_shapes(classifier)[0]} and the model's "
                f"examples are {self.data_shape}; make them equal"
            )
        self.role_beside = "label"
        self.classifier = classifier
        self.num_classes = shape[0]
        self.class_probabilities = _probabilities(class_probabilities, shape[0])
        self.classifier_weight = require_number(
            "classifier_weight", classifier_weight, zero=True
        )
        self.accuracy = keras.metrics.Mean(name="accuracy")
        self.calibration_error = CalibrationError(name="calibration_error")
        self.bound_labelled = keras.metrics.Mean(name="bound_labelled")
        self.bound_unlabelled = keras.metrics.Mean(name="bound_unlabelled")

    # -- Classes -----------------------------------------------------------------------

    def classify(self, x: Any, batch_size: int = 100) -> np.ndarray:
        """Returns q(y|x) of all examples, [N, C].

        Args:
            x: [N, *data_shape], or batches of examples; labels have no effect.
            batch_size: The examples at a time, of an array.
        """
        x = self._checked(x)
        probabilities = tf.function(
            self.class_probability, reduce_retracing=True, autograph=False
        )
        size = require_int("batch_size", batch_size)
        found = [
            probabilities(self.as_batch(batch).x).numpy()
            for batch in split_examples(x, self.data_shape, size, self.role_beside)
        ]
        if not found:
            raise InputError("there are no examples to classify; give at least one")
        return np.concatenate(found)

    def class_probability(self, x: tf.Tensor) -> tf.Tensor:
        """Returns q(y|x), [B, C], for x [B, *data_shape]."""
        return tf.exp(self._log_q(x, training=False))

    def log_weight_terms(
        self, x: Any, num_samples: int, seed: Seed, chunk: Chunk | None = None
    ) -> LogWeightTerms:
        """Returns the terms of weights of p(x), with y summed out in each sample.

            w_s = sum_y p(y) p(x|z_sy, y) p(z_sy) / q(z_sy|x, y),    z_sy ~ q(z|x, y)

        Labels have no effect. With a condition they are the terms of p(x|y). Each term
        is a mean over y with the weights r_y that the classes have in w_s, and log r_y
        belongs to log q, so that their sum is log w_s.
        """
        batch = self.as_batch(x)
        if batch.condition is not None:
            return super().log_weight_terms(batch, num_samples, seed, chunk)
        terms = super().log_weight_terms(
            self._of_every_class(batch), num_samples, seed, chunk
        )
        log_prior = np.log(self.class_probabilities)[:, np.newaxis]  # [C, 1]
        log_weights = self._by_class(terms.sampled_log_weights()) + log_prior
        log_share = tf.nn.log_softmax(log_weights, axis=-2)  # [S, C, B]

        def mean(values: tf.Tensor, of_class: Any = 0.0) -> tf.Tensor:
            values = self._by_class(values) + of_class
            return tf.reduce_sum(tf.exp(log_share) * values, axis=-2)

        return LogWeightTerms(
            mean(terms.log_likelihood),
            mean(terms.log_prior, log_prior),
            mean(terms.log_posterior, log_share),
        )

    def _of_every_class(self, batch: Batch) -> Batch:
        """Returns a batch [C B] of the examples in each class, class by class."""
        classes, size = self.num_classes, tf.shape(batch.x)[0]
        repeats = [classes] + [1] * (batch.x.shape.rank - 1)
        numbers = tf.repeat(tf.range(classes, dtype=tf.int64), size)
        static = batch.x.shape[0]
        total = None if static is None else classes * static
        numbers = tf.ensure_shape(numbers, [total])
        observed = batch.observed
        if observed is not None:
            observed = tf.tile(observed, repeats)
        return Batch(tf.tile(batch.x, repeats), numbers, observed)

    def _by_class(self, values: tf.Tensor) -> tf.Tensor:
        """Returns [..., C, B] of [..., C B]."""
        size = tf.shape(values)[-1] // self.num_classes
        front = tf.shape(values)[:-1]
        shape = tf.concat([front, [self.num_classes, size]], axis=0)
        return tf.reshape(values, shape)

    def sample(
        self, num_samples: int, seed: Seed | None = None, condition: Any = None
    ) -> Samples:
        """Draws examples, of classes from p(y) where none is given; see `VAE`."""
        num_samples = require_int("num_samples", num_samples)
        if condition is None:
            seed = random.getrandbits(31) if seed is None else seed
            logits = tf.constant(np.log(self.class_probabilities), tf.float32)
            (condition,) = tf.random.stateless_categorical(
                logits[tf.newaxis], num_samples, derive_seed(seed, "class")
            )
        return super().sample(num_samples, seed, condition)

    def _log_q(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        logits = self.classifier(x, training=training)
        return tf.nn.log_softmax(tf.cast(logits, self.compute_dtype), axis=-1)

    def encode(self, x: Any, training: bool | None = None) -> Distribution:
        """Returns q(z|x, y), batch [B]; see the class for the y that is taken."""
        return super().encode(self.with_condition(x), training)

    def reconstruct(self, x: Any, condition: Any = None) -> tf.Tensor:
        """Returns the mean of p(x|z, y) at the mean of q(z|x, y); see `VAE`."""
        return super().reconstruct(self.with_condition(x), condition)

    def with_condition(self, x: Any) -> Batch:
        """Returns a batch with the class that is taken where none is said."""
        batch = self.as_batch(x)
        if batch.condition is not None:
            return batch
        found = tf.argmax(self._log_q(batch.x, training=False), axis=-1)
        if batch.label is not None:
            found = tf.where(batch.label == UNKNOWN, found, batch.label)
        return batch._replace(condition=found)

    def _completed(self, batch: Batch, x: tf.Tensor) -> Batch:
        if batch.condition is not None:
            batch = super()._completed(batch, x)
        if batch.label is not None:
            batch = batch._replace(label=self._label_of(batch.label, x))
        return batch

    def _label_of(self, label: Any, x: tf.Tensor) -> tf.Tensor:
        """Returns labels as int64 [B]; what is unknown is -1.

        Where classes have names, "" is unknown too, and so is None in a list.

        Raises:
            InputError: if a label is no class, or there is another number of them.
        """
        condition: Any = self.condition
        if not isinstance(label, tf.Tensor):
            label = condition._as_tensor(_without_none(label), "label")
        if label.dtype == tf.string and condition.names is not None:
            unknown = tf.equal(label, "")
            label = tf.where(unknown, condition.names[0], label)
            number = condition.checked_dtype(label, "label")
        else:
            number = condition.checked_dtype(label, "label")
            unknown = tf.equal(number, UNKNOWN)
            number = tf.where(unknown, tf.zeros_like(number), number)
        if not number.shape.is_compatible_with(x.shape[:1]):
            raise InputError(
                f"the label has shape {tuple(number.shape)} for {x.shape[0]} examples; "
                "give a class for each, -1 where it is not known"
            )
        known = condition.read(number, "label")
        return tf.where(unknown, tf.constant(UNKNOWN, tf.int64), known)

    def _checked_roles(self, roles: Any) -> dict[str, Any]:
        given = {key: value for key, value in roles.items() if value is not None}
        found = {**given, "x": as_array(given["x"], "x")}
        if "label" in given:
            found["label"] = self._label_of(given["label"], found["x"]).numpy()
        if "condition" in given:
            condition = self._condition_of(given["condition"], found["x"])
            found["condition"] = condition.numpy()
        return found

    # -- The step ----------------------------------------------------------------------

    @property
    def evaluations_per_step(self) -> int:
        """The decoder's evaluations of a step, for each example with every class."""
        return self.num_classes * super().evaluations_per_step

    def _estimate(
        self,
        batch: Batch,
        seed: tf.Tensor,
        training: bool,
        kl_weight: float | tf.Tensor,
    ) -> StepEstimate:
        """Returns the terms and the surrogate of a batch, y summed out where unknown.

        The numbers of all classes, [C B], lie class by class.
        """
        if batch.condition is not None:
            raise InputError(
                "the examples have a condition, which has no effect on bounds in which "
                "y is summed out; give their class as the label"
            )
        every = self._of_every_class(batch)
        of_class = super()._estimate(every, seed, training, kl_weight)
        log_q = self._log_q(batch.x, training)  # [B, C]
        weight, log_prior, log_posterior = self._weights(batch, log_q)  # [C, B]
        bounds = of_class.bounds

        def summed(values: tf.Tensor, of_labels: tf.Tensor | float = 0.0) -> tf.Tensor:
            return tf.reduce_sum(weight * (self._by_class(values) + of_labels), axis=-2)

        kl_weight = tf.cast(kl_weight, log_q.dtype)
        loss_labels = kl_weight * (log_prior - log_posterior)  # of the rate
        # The surrogate has the gradient of the bound, and another value, on which the
        # gradient of q(y|x) depends.
        surrogate = of_class.surrogate
        value = tf.stop_gradient(bounds.loss - surrogate) + surrogate
        terms = of_class.terms
        analytic, floored = (
            None if each is None else summed(each)
            for each in (terms.analytic_rate, terms.floored_rate)
        )
        label_rate = tf.reduce_sum(weight * (log_posterior - log_prior), axis=0)
        return _Estimate(
            of_class.posterior,
            LogWeightTerms(
                summed(terms.log_likelihood),
                summed(terms.log_prior, log_prior),
                summed(terms.log_posterior, log_posterior),
                None if analytic is None else analytic + label_rate,
                None if floored is None else floored + label_rate,
            ),
            summed(value, loss_labels),
            of_class.penalty,
            training,
            Bounds(
                summed(bounds.loss, loss_labels),
                summed(bounds.plain, log_prior - log_posterior),
                summed(bounds.ess),
            ),
            log_q,
        )

    def _weights(
        self, batch: Batch, log_q: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the weight of each class, log p(y), and log q(y) under it, [C, B].

        A class that is known has the weight 1, and so the log-probability 0.
        """
        weight, log_posterior = tf.exp(log_q), log_q
        if batch.label is not None:
            known = (batch.label != UNKNOWN)[:, tf.newaxis]
            own = tf.one_hot(batch.label, self.num_classes, dtype=log_q.dtype)
            weight = tf.where(known, own, weight)
            log_posterior = tf.where(known, tf.zeros_like(log_q), log_q)
        log_prior = tf.constant(np.log(self.class_probabilities), log_q.dtype)
        log_prior = tf.broadcast_to(log_prior, tf.shape(log_q))
        return tuple(map(tf.transpose, (weight, log_prior, log_posterior)))

    def compute_loss(self, batch: Batch, estimate: StepEstimate) -> tf.Tensor:
        """Returns the loss, with the classifier's; see `VAE.compute_loss`."""
        assert isinstance(estimate, _Estimate)
        found, loss = estimate, super().compute_loss(batch, estimate)
        if batch.label is None:
            self.bound_unlabelled.update_state(
                found.bounds.plain, sample_weight=batch.sample_weight
            )
            return loss
        known = batch.label != UNKNOWN
        counts = tf.cast(known, found.log_q.dtype)
        label = tf.where(known, batch.label, tf.zeros_like(batch.label))
        log_prob = tf.gather(found.log_q, label, axis=1, batch_dims=1)  # [B]
        right = tf.equal(tf.argmax(found.log_q, axis=1), label)
        weight = counts
        if batch.sample_weight is not None:
            weight = counts * batch.sample_weight
        others = (
            (1 - counts)
            if batch.sample_weight is None
            else ((1 - counts) * batch.sample_weight)
        )
        self.accuracy.update_state(right, sample_weight=weight)
        self.calibration_error.update_state(
            tf.exp(tf.reduce_max(found.log_q, axis=1)), right, weight
        )
        self.bound_labelled.update_state(found.bounds.plain, sample_weight=weight)
        self.bound_unlabelled.update_state(found.bounds.plain, sample_weight=others)
        return loss - self.classifier_weight * tf.reduce_mean(weight * log_prob)

    def summary(self, *args, **kwargs) -> None:
        """Prints the parts, with the classifier; see `VAE.summary`."""
        show = kwargs.get("print_fn") or print
        show(f"classifier: x {self.data_shape} -> q(y|x) of {self.num_classes} classes")
        super().summary(*args, **kwargs)

    # -- Saving ------------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        return {
            **super()._parts(),
            "classifier": self.classifier,
            "class_probabilities": self.class_probabilities.tolist(),
            "classifier_weight": self.classifier_weight,
        }

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None
    ) -> SemiSupervisedVAE:
        """Rebuilds a model from `get_config`."""
        config = with_parts(config, ("classifier",), custom_objects)
        return super().from_config(config, custom_objects)  # type: ignore[return-value]


class CalibrationError(keras.metrics.Metric):
    """The expected calibration error: sum_bins share |accuracy - confidence|.

    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017).

    Args:
        num_bins: The number of bins of the confidence, of equal width.
    """

    def __init__(self, num_bins: int = 10, name: str = "calibration_error") -> None:
        super().__init__(name=name)
        self.num_bins = num_bins
        # Of each bin: examples, the sum of confidences, and how many are right.
        self.sums = self.add_variable((3, num_bins), initializer="zeros", name="sums")

    def update_state(
        self, confidence: tf.Tensor, right: tf.Tensor, sample_weight: tf.Tensor
    ) -> None:
        """Takes in examples: the largest probability, and whether it was right, [B]."""
        dtype = self.sums.dtype
        confidence = tf.cast(confidence, dtype)
        number = tf.cast(confidence * self.num_bins, tf.int32)
        number = tf.clip_by_value(number, 0, self.num_bins - 1)
        one_hot = tf.one_hot(number, self.num_bins, dtype=dtype)
        one_hot *= tf.cast(sample_weight, dtype)[:, tf.newaxis]  # [B, bins]
        columns = tf.stack(
            [tf.ones_like(confidence), confidence, tf.cast(right, dtype)]
        )
        self.sums.assign_add(columns @ one_hot)

    def result(self) -> tf.Tensor:
        """Returns the error, 0 without examples."""
        count, confidence, right = tf.unstack(tf.convert_to_tensor(self.sums))
        gaps = tf.abs(right - confidence)  # share |accuracy - confidence|, times N
        return tf.math.divide_no_nan(tf.reduce_sum(gaps), tf.reduce_sum(count))


def _probabilities(
    given: Sequence[float] | np.ndarray | None, classes: int
) -> np.ndarray:
    """Returns p(y), float64 [C].

    Raises:
        InputError: if it is no distribution over C classes.
    """
    if given is None:
        return np.full([classes], 1 / classes)
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        found = np.zeros([0])
    sums = found.shape == (classes,) and abs(found.sum() - 1) < 1e-6
    if not (sums and (found > 0).all()):
        raise InputError(
            f"class_probabilities {given!r:.60} are not usable; give {classes} numbers "
            "above 0 whose sum is 1"
        )
    return found / found.sum()


def _without_none(label: Any) -> Any:
    """Returns labels with -1, or "" among names, in the place of None and NaN."""
    if isinstance(label, np.ndarray) and label.dtype.kind != "O":
        return label
    if hasattr(label, "dtype") and getattr(label.dtype, "kind", "O") in "iufb":
        return label
    values = list(np.asarray(label, object).ravel())
    missing = [v is None or (isinstance(v, float) and np.isnan(v)) for v in values]
    if not any(missing):
        return label
    names = any(isinstance(v, str) for v in values)
    blank = "" if names else UNKNOWN
    return [blank if gone else v for v, gone in zip(values, missing, strict=True)]
