"""The variational autoencoder that Keras' `fit` trains."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfvae.core.seeds import as_seed
from tfvae.core.sharding import leave_gradients, several_workers, shared_if_several
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int
from tfvae.estimators import (
    Estimator,
    TwoPasses,
    check_combination,
    get_estimator,
    in_two_passes,
)
from tfvae.heads import BernoulliHead, constant_weight
from tfvae.latents import Latent
from tfvae.models.checks import (
    Schedule,
    check_order,
    check_replicas,
    check_second_pass,
    check_setting,
    check_steps,
    check_values,
)
from tfvae.models.conditional import ConditionalDistribution
from tfvae.models.finite import FiniteWatch
from tfvae.models.layers import Counter, has_float16_layer, loss_scaled
from tfvae.models.metrics import SKIPPED, Report
from tfvae.models.optimizers import get_optimizer
from tfvae.models.steps import SteppingModel
from tfvae.objectives import Objective, get_objective
from tfvae.priors import Prior


@keras.saving.register_keras_serializable(package="tfvae")
class VAE(SteppingModel):
    """A variational autoencoder.

    Its parts say what the model is; `compile` says how it is trained, so that a model
    trained with one bound can go on with another. `fit`, `evaluate`, `save` and the
    rest are Keras' own. `predict` gives reconstruction means.

    `fit` and `evaluate` report, as means over the data, in nats per example:

    - `loss`: the negative objective, plus the layers' regularisation losses if any. In
      `fit` it has the `kl_weight` of the step; in `evaluate` always 1. In both it has
      the floor of free bits.
    - `bound`: with free bits, the objective without the floor, at `kl_weight` 1.
    - `elbo`: mean_s log w_s, with `kl_weight` 1.
    - `distortion`: -log p(x|z), and `rate`: log q(z|x) - log p(z) (the closed form of
      KL(q || p) if the objective says so); elbo = -distortion - rate.
    - `ess`: the effective sample size of the importance weights, between 1 and S.
    - `kl_weight`, `temperature`, `prior_temperature`: where they follow a schedule, and
      a `kl_weight` that is not 1.

    Made and compiled in the scope of a `tf.distribute` strategy, it trains on several
    replicas as on one, to rounding: data and draws depend on the place in the global
    batch. Two kinds of layers know their replica's rows alone: those with draws of
    their own (dropout), and `BatchNormalization` unless it is synchronised.

    Args:
        encoder: x -> q(z|x).
        decoder: What `latent.decoder_input` makes of z -> p(x|z).
        latent: The family of z. The encoder's head is its `posterior_head()`.
        prior: One of `tfvae.priors`, in place of the family's standard prior.

    Raises:
        InputError: The parts do not fit together.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        latent: Latent,
        prior: Prior | None = None,
        **kwargs,
    ) -> None:
        super().__init__(encoder, decoder, latent, prior, **kwargs)
        self.kl_weight = constant_weight(self, "kl_weight", 1.0)
        self.steps = Counter(
            "zeros", shape=(), dtype="int64", trainable=False, name="steps"
        )

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        objective: str | Objective = "elbo",
        num_samples: int = 1,
        estimator: str | Estimator = "pathwise",
        *,
        backward_samples: int | None = None,
        sample_chunk: int | None = None,
        kl_weight: float | Schedule = 1.0,
        temperature: float | Schedule | None = None,
        prior_temperature: float | Schedule | None = None,
        binarize: bool = False,
        seed: int = 0,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool = "auto",
        auto_scale_loss: bool = True,
        skip_nonfinite: int = 0,
    ) -> None:
        """Says how the model is trained and scored.

        A schedule is one of `keras.optimizers.schedules`, counted in training steps
        from here on; it is evaluated within the step, so that it is exact whatever
        `steps_per_execution`, and after a resume.

        Args:
            optimizer: Keras' name for it, or the optimizer.
            objective: A name in `OBJECTIVES`, or an `Objective`.
            num_samples: S, samples of z per example.
            estimator: A name in `ESTIMATORS`, or an `Estimator`.
            backward_samples: m, the samples of each example that go through the
                backward pass, kept by optimal resampling (see `Survivors`); None: all.
            sample_chunk: Samples at a time, so that memory does not grow with S (see
                `Chunked`); None: all.
            kl_weight: The factor of the rate in the loss. Only 1 makes a bound.
            temperature: Of a posterior that has one; None leaves it as it is.
            prior_temperature: Of a prior that has one; None leaves it as it is.
            binarize: Whether images to train on are grey, uint8 or in [0, 1], and each
                step draws binary ones from them, as `tfvae.data.drawn_at_step` does.
                Images to evaluate on are not drawn.
            seed: The root of every draw in training and evaluation. With XLA z is drawn
                as without, to rounding, and the pixels of `binarize` are others.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: As in Keras: XLA.
            auto_scale_loss: As in Keras: scale the loss if a network is mixed_float16.
            skip_nonfinite: Training steps with a loss or a gradient that is not finite
                that are left out, weights and optimizer as they were; `skipped_steps`
                counts them. See `check_finite` for what comes after.

        Raises:
            InputError: A value is out of range, or would have no effect.
        """
        objective, estimator = get_objective(objective), get_estimator(estimator)
        estimator = in_two_passes(estimator, backward_samples, sample_chunk)
        num_samples = require_int("num_samples", num_samples)
        steps_per_execution = require_int("steps_per_execution", steps_per_execution)
        skip_nonfinite = require_int("skip_nonfinite", skip_nonfinite, least=0)
        if not (isinstance(jit_compile, bool) or jit_compile == "auto"):
            raise InputError(
                f"jit_compile {jit_compile!r} is not usable; give True, False or 'auto'"
            )
        if optimizer is None:
            raise InputError("optimizer None is not usable; give one, such as 'adam'")
        seed = require_int("seed", seed, 0, SEEDS)
        as_seed(seed)  # refuses now what no step could use
        settings = {
            "kl_weight": (self.kl_weight, kl_weight),
            "temperature": (
                getattr(self.encoder.head, "temperature", None),
                temperature,
            ),
            "prior_temperature": (self.latent.prior_temperature, prior_temperature),
        }
        settings = {
            name: (weight, check_setting(name, weight, value))
            for name, (weight, value) in settings.items()
        }
        self._check_combination(objective, estimator, num_samples)
        optimizer = get_optimizer(optimizer)
        if auto_scale_loss and has_float16_layer(self):
            optimizer = loss_scaled(optimizer)
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        if self.distribute_strategy.num_replicas_in_sync > 1:
            check_replicas(steps_per_execution, jit_compile)
            leave_gradients(optimizer)
        self.optimizer.build(self.trainable_variables)  # so that it can be saved now
        self.objective, self.estimator = objective, estimator
        self.num_samples, self.seed, self.binarize = num_samples, seed, binarize
        self.steps.assign(0)
        self._set_schedules(settings)
        reported = list(self._schedules)
        if settings["kl_weight"][1] != 1.0 and "kl_weight" not in reported:
            reported.append("kl_weight")
        if skip_nonfinite:
            reported.append(SKIPPED)
        self._report = Report(reported, shows_bound=bool(objective.free_bits))
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._watch = FiniteWatch(self.trainable_variables, skip_nonfinite, not scaled)
        self._compile_arguments = dict(
            optimizer=optimizer,
            objective=objective,
            num_samples=num_samples,
            estimator=estimator,
            **{name: value for name, (_, value) in settings.items()},
            binarize=binarize,
            seed=seed,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
            skip_nonfinite=skip_nonfinite,
        )

    def fit(self, x=None, y=None, *args, **kwargs) -> keras.callbacks.History:
        """Keras' `fit`, which see; of `y` nothing is used.

        Raises:
            InputError: `x` is a data set that never ends, as `training_batches` gives,
                and no `steps_per_epoch` is given; or images hold values that the
                likelihood has no probability for (arrays are looked at before, what a
                data set yields at the end of the first epoch).
        """
        check_values(
            x, BernoulliHead([1], True) if self.binarize else self.decoder.head
        )
        validation = kwargs.get("validation_data")
        if isinstance(validation, (tuple, list)) and validation:
            check_values(validation[0], self.decoder.head)
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # else Keras warns that it cannot
        check_steps(x, kwargs.get("steps_per_epoch"), self.steps_per_execution)
        if kwargs.get("sample_weight") is not None and y is None:
            y = x  # without it Keras drops the weights
        if several_workers(self.distribute_strategy):
            check_order(x, kwargs.get("shuffle", True))
        if validation is not None:
            shared = shared_if_several(validation, self.distribute_strategy)
            kwargs["validation_data"] = shared
        x = shared_if_several(x, self.distribute_strategy)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Keras' `evaluate`, which see; of `y` nothing is used.

        Raises:
            InputError: Images hold values that the likelihood has no probability for.
        """
        if not kwargs.get("_use_cached_eval_dataset"):  # else `fit` has looked at them
            check_values(x, self.decoder.head)
        if kwargs.get("sample_weight") is not None and y is None:
            y = x
        x = shared_if_several(x, self.distribute_strategy)
        return super().evaluate(x, y, *args, **kwargs)

    def _check_combination(
        self, objective: Objective, estimator: Estimator, num_samples: int
    ) -> None:
        """Refuses now what no step could do."""
        objective.check(num_samples)
        apart = objective.encoder_objective is not objective
        if apart and has_float16_layer(self):
            raise InputError(
                "piwae divides by weights that float16 rounds to 0; use dtype "
                "mixed_bfloat16 or float32 networks, or objective 'miwae'"
            )
        if isinstance(estimator, TwoPasses):
            check_second_pass(self.decoder, self.encoder.head, self.latent)
        blank = tf.zeros([1, *self.image_shape], self.compute_dtype)
        problem = self._problem(blank, num_samples, 0, training=False)
        check_combination(estimator, objective, problem.posterior, num_samples)
        if objective.analytic_kl or objective.free_bits:
            problem._replace(objective=objective, num_samples=1).draw_and_weigh()

    def _set_schedules(self, settings: Mapping[str, tuple]) -> None:
        self._schedules = {}
        for name, (weight, value) in settings.items():
            if isinstance(value, Schedule):
                self._schedules[name] = (weight, value)
                weight.assign(value(0))
            elif value is not None:
                weight.assign(value)

    def get_compile_config(self) -> dict:
        """Returns the arguments of `compile`, as Keras saves them."""
        if not self.compiled:
            return {}
        return keras.saving.serialize_keras_object(self._compile_arguments)

    def compile_from_config(self, config: dict) -> None:
        """Compiles a loaded model as it was when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
