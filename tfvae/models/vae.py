"""The variational autoencoder that Keras' `fit` trains."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.estimators import Estimate, Estimator, get_estimator, sample_terms
from tfvae.latents import Latent
from tfvae.models.checks import Schedule, check_parts, check_setting
from tfvae.models.conditional import ConditionalDistribution, with_parts
from tfvae.models.reporting import Report, weighted_mean
from tfvae.objectives import LogWeightTerms, Objective, get_objective
from tfvae.seeds import derive_seed
from tfvae.types import InputError, Seed

tfd = tfp.distributions

IMAGE_KEY = "image"


class Samples(NamedTuple):
    """Draws from a trained model.

    Attributes:
        z: [n, D] Draws from the prior.
        mean: [n, *image_shape] The mean of p(x|z) for each z.
        draw: [n, *image_shape] One draw from p(x|z) for each z.
    """

    z: tf.Tensor
    mean: tf.Tensor
    draw: tf.Tensor


@keras.saving.register_keras_serializable(package="tfvae")
class VAE(keras.Model):
    """A variational autoencoder.

    Its parts say what the model is; `compile` says how it is trained, so that a model
    trained with one bound can go on with another. `fit`, `evaluate`, `save` and the
    rest are Keras' own. `predict` gives reconstruction means.

    `fit` and `evaluate` report, as means over the data, in nats per example:

    - `loss`: the negative objective, plus the layers' regularisation losses if any. In
      `fit` it has the `kl_weight` of the step; in `evaluate` always 1.
    - `elbo`: mean_s log w_s, with `kl_weight` 1.
    - `distortion`: -log p(x|z), and `rate`: log q(z|x) - log p(z) (the closed form of
      KL(q || p) if the objective says so); elbo = -distortion - rate.
    - `ess`: the effective sample size of the importance weights, between 1 and S.
    - `kl_weight`, `temperature`, `prior_temperature`: where they follow a schedule.

    Args:
        encoder: x -> q(z|x).
        decoder: What `latent.decoder_input` makes of z -> p(x|z).
        latent: The family of z. The encoder's head is its `posterior_head()`.

    Raises:
        InputError: The parts do not fit together.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        latent: Latent,
        **kwargs,
    ) -> None:
        kwargs.setdefault("dtype", decoder.head.compute_dtype)
        super().__init__(**kwargs)
        check_parts(encoder, decoder, latent)
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.kl_weight = self.add_weight(
            name="kl_weight", shape=(), initializer="ones", trainable=False
        )
        self.built = True

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one example, (H, W, C) for images."""
        return self.decoder.head.event_shape

    # -- what the model says -----------------------------------------------------------

    def encode(self, x: tf.Tensor, training: bool | None = None) -> tfd.Distribution:
        """Returns q(z|x), batch [B], for x [B, *image_shape]."""
        return self.encoder(self._images(x), training=training)

    def decode(self, z: tf.Tensor, training: bool | None = None) -> tfd.Distribution:
        """Returns p(x|z), batch [...], for z [..., D]."""
        return self.decoder(self.latent.decoder_input(z), training=training)

    def reconstruct(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), [B, *image_shape]."""
        return self.decode(self.encode(x).mean()).mean()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns `reconstruct(x)`, so that Keras' `predict` works."""
        return self.reconstruct(x)

    def sample(self, num_samples: int, seed: Seed) -> Samples:
        """Draws images from the model, the same for the same seed.

        Args:
            num_samples: How many images.
            seed: Of the draws of z and of x.
        """
        if not isinstance(num_samples, int) or num_samples < 1:
            raise InputError(f"num_samples {num_samples!r} is not an int of 1 or more")
        z = self.latent.prior().sample(num_samples, seed=derive_seed(seed, "prior"))
        likelihood = self.decode(z)
        draw = likelihood.sample(seed=derive_seed(seed, "likelihood"))
        return Samples(z, likelihood.mean(), draw)

    def log_weight_terms(
        self, x: tf.Tensor, num_samples: int, seed: Seed
    ) -> LogWeightTerms:
        """Draws z_s ~ q(z|x) and returns the terms of log w_s, each [S, B], in nats.

        Args:
            x: [B, *image_shape].
            num_samples: S.
            seed: Of the draws.
        """
        x = self._images(x)
        seed = derive_seed(seed, "posterior")
        log_joint = functools.partial(self._log_joint, x, training=False)
        posterior, prior = self.encode(x), self.latent.prior()
        return sample_terms(posterior, prior, log_joint, num_samples, seed)

    def _log_joint(
        self, x: tf.Tensor, z: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        likelihood = self.decode(z, training=training)
        return likelihood.log_prob(x), self.latent.prior().log_prob(z)

    # -- how it is trained -------------------------------------------------------------

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        objective: str | Objective = "elbo",
        num_samples: int = 1,
        estimator: str | Estimator = "pathwise",
        *,
        kl_weight: float | Schedule = 1.0,
        temperature: float | Schedule | None = None,
        prior_temperature: float | Schedule | None = None,
        seed: int = 0,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Says how the model is trained and scored.

        A schedule is one of `keras.optimizers.schedules`, counted in training steps;
        it is evaluated within the step, so that it is exact whatever
        `steps_per_execution`, and after a resume.

        Args:
            optimizer: Keras' name for it, or the optimizer.
            objective: A name in `OBJECTIVES`, or an `Objective`.
            num_samples: S, samples of z per example.
            estimator: A name in `ESTIMATORS`, or an `Estimator`.
            kl_weight: The factor of the rate in the loss. Only 1 makes a bound.
            temperature: Of a posterior that has one; None leaves it as it is.
            prior_temperature: Of a prior that has one; None leaves it as it is.
            seed: The root of every draw in training and evaluation.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: As in Keras: XLA.
            auto_scale_loss: As in Keras: scale the loss if a network is mixed_float16.

        Raises:
            InputError: A value is out of range, or would have no effect.
        """
        objective, estimator = get_objective(objective), get_estimator(estimator)
        if not isinstance(num_samples, int) or num_samples < 1:
            raise InputError(
                f"num_samples {num_samples!r} is not usable; give an int of 1 or more"
            )
        settings = {
            "kl_weight": (self.kl_weight, kl_weight),
            "temperature": (
                getattr(self.encoder.head, "temperature", None),
                temperature,
            ),
            "prior_temperature": (self.latent.prior_temperature, prior_temperature),
        }
        for name, (weight, value) in settings.items():
            check_setting(name, weight, value)
        optimizer = keras.optimizers.get(optimizer)
        if auto_scale_loss and self._has_float16_network():
            optimizer = _loss_scaled(optimizer)
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self.objective, self.estimator = objective, estimator
        self.num_samples, self.seed = num_samples, seed
        if objective.analytic_kl:  # refuses now what has no closed form
            self._estimate(
                tf.zeros([1, *self.image_shape], self.compute_dtype), 0, True
            )
        self._set_schedules(settings)
        self._report = Report(self._schedules)
        self._compile_arguments = dict(
            optimizer=optimizer,
            objective=objective,
            num_samples=num_samples,
            estimator=estimator,
            kl_weight=kl_weight,
            temperature=temperature,
            prior_temperature=prior_temperature,
            seed=seed,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=self.jit_compile,
            auto_scale_loss=auto_scale_loss,
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers of what `fit` and `evaluate` report."""
        return self._report.metrics if self.compiled else []

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """One step of the optimizer on one batch."""
        x, sample_weight = self._unpack(data)
        step = self.optimizer.iterations
        for weight, schedule in self._schedules.values():
            weight.assign(schedule(step))
        with tf.GradientTape() as tape:
            seed = derive_seed(self.seed, "train", step)
            estimate = self._estimate(x, seed, training=True)
            surrogate = -weighted_mean(estimate.surrogate, sample_weight)
            penalty = self._penalty(surrogate.dtype)
            loss = self.optimizer.scale_loss(surrogate + penalty)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        kl_weight = tf.convert_to_tensor(self.kl_weight)
        return self._reported(estimate.terms, kl_weight, penalty, sample_weight)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """Scores one batch, with kl_weight 1."""
        x, sample_weight = self._unpack(data)
        # The number of examples seen so far, which Keras sets to 0 when it begins, is
        # what makes the draws of two batches differ and those of two runs agree.
        seed = derive_seed(self.seed, "test", self._report.examples_seen)
        terms = self._estimate(x, seed, training=False).terms
        one = tf.ones([], terms.rate.dtype)
        return self._reported(terms, one, self._penalty(one.dtype), sample_weight)

    def _reported(
        self,
        terms: LogWeightTerms,
        kl_weight: tf.Tensor,
        penalty: tf.Tensor,
        sample_weight: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        current = {name: weight for name, (weight, _) in self._schedules.items()}
        settings = {**current, "kl_weight": kl_weight}
        self._report.update(
            self.objective, terms, kl_weight, penalty, sample_weight, settings
        )
        return self.get_metrics_result()

    def _estimate(self, x: tf.Tensor, seed: Seed, training: bool) -> Estimate:
        return self.estimator.estimate(
            self.objective,
            self.encode(x, training=training),
            self.latent.prior(),
            functools.partial(self._log_joint, x, training=training),
            self.num_samples,
            tf.convert_to_tensor(self.kl_weight),
            derive_seed(seed, "posterior"),
        )

    def _penalty(self, dtype: tf.DType) -> tf.Tensor:
        """The layers' regularisation losses."""
        return tf.add_n(
            [tf.zeros([], dtype), *(tf.cast(p, dtype) for p in self.losses)]
        )

    def _set_schedules(self, settings: Mapping[str, tuple]) -> None:
        self._schedules = {}
        for name, (weight, value) in settings.items():
            if isinstance(value, Schedule):
                self._schedules[name] = (weight, value)
            elif value is not None:
                weight.assign(value)

    # -- what comes in -----------------------------------------------------------------

    def _unpack(self, data) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns (x, sample_weight); the batch is x, (x, y), (x, y, w) or a dict."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return self._images(x), sample_weight

    def _images(self, x) -> tf.Tensor:
        if isinstance(x, Mapping):
            if IMAGE_KEY not in x:
                raise InputError(
                    f"a batch is a dictionary with the keys {sorted(x)}; its images "
                    f"must be under {IMAGE_KEY!r}"
                )
            x = x[IMAGE_KEY]
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating:
            raise InputError(
                f"images have dtype {x.dtype.name}; give floats between 0 and 1, for "
                "example tf.cast(x, tf.float32) / 255"
            )
        if not x.shape[1:].is_compatible_with(self.image_shape):
            raise InputError(
                f"images have shape {tuple(x.shape)} and the model takes "
                f"[B, {str(self.image_shape)[1:-1]}]; change the data or the model"
            )
        return tf.cast(x, self.compute_dtype)

    # -- how it is saved ---------------------------------------------------------------

    def get_config(self) -> dict:
        """Returns what rebuilds this model."""
        serialize = keras.saving.serialize_keras_object
        parts = ("encoder", "decoder", "latent")
        config = {name: serialize(getattr(self, name)) for name in parts}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> VAE:
        """Rebuilds a model from `get_config`."""
        parts = ("encoder", "decoder", "latent")
        return cls(**with_parts(config, parts, custom_objects))

    def get_compile_config(self) -> dict:
        """Returns the arguments of `compile`, as Keras saves them."""
        if not self.compiled:
            return {}
        return keras.saving.serialize_keras_object(self._compile_arguments)

    def compile_from_config(self, config: dict) -> None:
        """Compiles a loaded model as it was when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def _has_float16_network(self) -> bool:
        return any(
            layer.dtype_policy.name == "mixed_float16"
            for layer in self._flatten_layers()
        )


def _loss_scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)
