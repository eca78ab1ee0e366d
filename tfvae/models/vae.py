"""The variational autoencoder that Keras' `fit` trains."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions import Condition
from tfvae.config.steps import MANY_WEIGHTS
from tfvae.core.files import dated_archives
from tfvae.core.seeds import as_seed, derive_seed
from tfvae.core.sharding import (
    leave_gradients,
    replica_share,
    several_workers,
    shared_out,
    sums_over_replicas,
)
from tfvae.core.types import InputError, Seed, first_line
from tfvae.core.validation import SEEDS, require_int
from tfvae.data import drawn_at_step
from tfvae.distributions import Distribution
from tfvae.estimators import (
    Chunk,
    Estimator,
    TwoPasses,
    VariationalBatch,
    check_combination,
    get_estimator,
    in_two_passes,
)
from tfvae.estimators.base import estimator_name
from tfvae.heads import (
    BernoulliHead,
    DistributionHead,
    assign_weight,
    constant_weight,
)
from tfvae.heads.base import with_parts
from tfvae.latents import Hierarchy, Latent, require_own_twin
from tfvae.models.assembly import assembled
from tfvae.models.batch import (
    Batch,
    as_array,
    check_order,
    check_steps,
    check_x,
    checked_examples,
    checked_labels,
    named_errors,
    outside_support,
    read_batch,
    split_examples,
)
from tfvae.models.checks import (
    check_parts,
    check_replicas,
    check_second_pass,
    check_setting,
    weights_of_rows,
)
from tfvae.models.conditional import ConditionalDistribution
from tfvae.models.executions import Executions
from tfvae.models.imputation import Imputation, impute
from tfvae.models.metrics import SKIPPED, Bounds, MetricTracker
from tfvae.models.missing import (
    SelfMasking,
    check_self_masking,
    checked_missing,
    completed,
    filled,
    read_observed,
    seen_by_encoder,
)
from tfvae.models.nonfinite import NonFiniteGuard, term_means
from tfvae.models.optimizers import get_optimizer, has_float16_layer, loss_scaled
from tfvae.models.presets import (
    PresetCard,
    PresetsOfClass,
    load_preset,
    save_preset,
)
from tfvae.models.refinement import Refined, Refinement, refine
from tfvae.models.schedules import Schedule
from tfvae.networks import seed_layers
from tfvae.objectives import Elbo, LogWeightTerms, Objective, get_objective
from tfvae.objectives.bounds import effective_sample_size
from tfvae.priors import Prior

_ELBO = Elbo()
_COMPILED = ("objective", "estimator", "num_samples", "seed", "binarize")


class Samples(NamedTuple):
    """Draws from a trained model.

    Attributes:
        z: [n, D] Draws from the prior.
        mean: [n, *data_shape] The mean of p(x|z) for each z.
        draw: [n, *data_shape] One draw from p(x|z) for each z.
    """

    z: tf.Tensor
    mean: tf.Tensor
    draw: tf.Tensor


@dataclasses.dataclass(frozen=True)
class StepEstimate:
    """What a step has computed of a batch, for `VAE.compute_loss`.

    Attributes:
        posterior: q(z|x), batch [B]; `vae.latent.point_estimate` gives its codes, and
            `vae.decode(codes).mean()` the reconstructions.
        terms: The terms of the log-weights of the samples, [S, B].
        surrogate: [B] Its gradient is the objective's.
        penalty: The layers' regularisation losses, a scalar.
        training: Whether this is a step of training.
        bounds: What is reported of the bounds, [B] each.
    """

    posterior: Distribution
    terms: LogWeightTerms
    surrogate: tf.Tensor
    penalty: tf.Tensor
    training: bool
    bounds: Bounds


class Counter(keras.Variable):
    """An integer that counts; `int` takes it on one device and on several."""

    def __int__(self) -> int:
        return int(tf.convert_to_tensor(self))


@keras.saving.register_keras_serializable(package="tfvae")
class VAE(keras.Model):
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

    With a `condition` it is a model of p(x|c): whatever takes x takes c with it, as
    `fit(x, c)`, in a dictionary of roles or in a `Batch`.

    Args:
        encoder: x -> q(z|x), or its network alone, a Keras model that puts out the
            posterior's parameters: for "normal" 2 D numbers, means and raw scales. With
            a second input, the condition's features, it is q(z|x, c).
        decoder: `latent.decoder_input(z)` -> p(x|z), or its network alone; with a
            second input p(x|z, c).
        latent: The family of z, or its name in `LATENTS`; the encoder's head is its
            `posterior_head()`, and the decoder's input says how many variables it has.
        prior: One of `tfvae.priors`, or its name in `PRIORS`, in place of the family's
            standard prior.
        likelihood: The head of a decoder given as a network, or its name in `HEADS`;
            None: "bernoulli".
        condition: One of `tfvae.conditions`, or a dictionary of several; None: the
            model has none.
        missing: Says that values of x may be missing, where `observed` is False or x is
            NaN, and of what that tells: "mcar" or "mar" (also "nan"), missing
            completely at random or at random: nothing, given what is observed; or a
            `SelfMasking`. None: x is whole.

    Attributes:
        objective: The bound that is maximised, once `compile` has said so, as
            `estimator`, `num_samples`, `seed` and `binarize`.
        data_shape: The shape of one example, (H, W, C) for images.
        role_beside: The role of y in (x, y); None: the label, which has no use.
        kl_weight: The factor of the rate in the loss, a weight.
        learned: What the estimator learns of its own, a layer that is trained and saved
            with the model and no part of it; None: nothing.
        steps: The number of training steps taken, a weight. The optimizer's own count
            is another when it accumulates gradients or skips a step.
        presets: Of the class: the presets that `from_preset` knows by name.

    Raises:
        InputError: if the parts do not fit together.
    """

    objective: Objective
    estimator: Estimator
    num_samples: int
    seed: int
    binarize: bool = False
    condition: Any  # a Condition, or None
    learned: keras.layers.Layer | None = None
    _schedules: Mapping[str, tuple[keras.Variable, Schedule]] = {}
    _metric_tracker: MetricTracker
    _guard: NonFiniteGuard
    has_one_posterior: ClassVar[bool] = True  # and none for each class
    _track_every: int | None = None
    _shows_kl_weight = _evaluates = False
    role_beside: str | None
    presets = PresetsOfClass()

    def __init__(
        self,
        encoder: ConditionalDistribution | keras.Model,
        decoder: ConditionalDistribution | keras.Model,
        latent: Latent | str = "normal",
        prior: Prior | str | None = None,
        *,
        likelihood: DistributionHead | str | None = None,
        condition: Condition | Mapping[str, Condition] | None = None,
        missing: str | SelfMasking | None = None,
        **kwargs,
    ) -> None:
        parts = assembled(encoder, decoder, latent, prior, likelihood, condition)
        check_parts(*parts, missing)
        kwargs["dtype"] = kwargs.get("dtype") or parts.decoder.head.compute_dtype
        super().__init__(**kwargs)
        self.encoder = parts.encoder
        self.decoder = parts.decoder
        self.latent = parts.latent
        self.prior_layer = parts.prior
        self.condition = parts.condition
        head = parts.decoder.head
        self.missing = checked_missing(missing, head)
        self._encoder_sees = seen_by_encoder(
            self.encoder.condition_shape, head.event_shape, parts.condition, missing
        )
        uses = {"condition": self.condition, "observed": self.missing}
        self._unused_roles = [role for role, use in uses.items() if use is None]
        self.role_beside = None if self.condition is None else "condition"
        self._naming = named_errors if self.role_beside else contextlib.nullcontext
        self.data_shape = head.event_shape
        # Draws of values that are missing are of all rows at once.
        own = type(self).decode is not VAE.decode or isinstance(missing, SelfMasking)
        self._weights_a_sample = 0 if own else weights_of_rows(parts.decoder)
        self.built = True
        self._kl_weight = constant_weight(self, "kl_weight", 1.0)
        self.steps = Counter(
            "zeros", shape=(), dtype="int64", trainable=False, name="steps"
        )

    # -- The model ---------------------------------------------------------------------

    @property
    def kl_weight(self) -> keras.Variable:
        """The factor of the rate in the loss; a number that is assigned is its value.

        Raises:
            InputError: if the number is below 0 or not finite, or there is a schedule.
        """
        return self._kl_weight

    @kl_weight.setter
    def kl_weight(self, value: float | tf.Tensor) -> None:
        if "kl_weight" in self._schedules:
            raise InputError(
                "kl_weight follows a schedule, which would set it again in the next "
                "step; call vae.compile with a number in its place"
            )
        assign_weight(self, "_kl_weight", value)
        self._shows_kl_weight = True

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The same as `data_shape`."""
        return self.data_shape

    def encode(self, x: Any, training: bool | None = None) -> Distribution:
        """Returns q(z|x), batch [B], for x [B, *data_shape] or a `Batch`.

        Of x with values that are missing it is q(z|what is observed).
        """
        batch = self.as_batch(x)
        return self.encoder(batch.x, training=training, **self._given_to_encoder(batch))

    def _given_to_encoder(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns the argument of the encoder's second input, if it has one."""
        given: dict[str, tf.Tensor] = {}
        if "observed" in self._encoder_sees:
            given["observed"] = tf.cast(batch.observed, self.compute_dtype)
        if "condition" in self._encoder_sees:
            given["condition"] = self.condition(batch.condition)
        if len(given) < 2:
            return dict(zip(["condition"], given.values(), strict=False))
        size = tf.shape(batch.x)[0]
        flat = [tf.reshape(part, [size, -1]) for part in given.values()]
        return {"condition": tf.concat(flat, axis=1)}

    def decode(
        self, z: tf.Tensor, training: bool | None = None, condition: Any = None
    ) -> Distribution:
        """Returns p(x|z), batch [...], for z [..., D].

        c has one entry for each example, [B] or [B, ...], or is the same for all.
        """
        given = {}
        if self.condition is not None or condition is not None:
            condition = self._read_condition(condition)
            given = self._features_for(self.decoder, condition)
        return self.decoder(self.latent.decoder_input(z), training=training, **given)

    def prior(self, condition: Any = None) -> Distribution:
        """Returns p(z), batch [], event [D]; or p(z|c), batch [B], for c [B, ...]."""
        if self.condition is None and condition is not None:
            self._read_condition(condition)  # refuses it
        if self.prior_layer is None:
            return self.latent.prior()
        if not self.prior_layer.conditional:
            return self.prior_layer.distribution(self.encoder)
        condition = self._read_condition(condition)
        return self.prior_layer.distribution(
            self.encoder, **self._features_for(self.prior_layer, condition)
        )

    def draw_prior(
        self, shape: Sequence[int], seed: Seed, condition: Any = None
    ) -> tf.Tensor:
        """Draws z ~ p(z), [*shape, D], or z ~ p(z|c) where c has shape[-1] entries."""
        prior = self.prior(condition)
        return prior.sample(shape[: len(shape) - prior.batch_shape.rank], seed=seed)

    def _features_for(
        self, part: ConditionalDistribution | Prior, condition: Any
    ) -> dict[str, tf.Tensor]:
        """Returns the argument of a part that takes the features of a condition."""
        if self.condition is None or part.condition_shape is None:
            return {}
        return {"condition": self.condition(condition)}

    def _read_condition(self, condition: Any) -> Any:
        """Returns c as the layer takes it.

        Raises:
            InputError: if the model has none and one is given, or it is missing.
        """
        if self.condition is not None:
            return self.condition.read(condition)
        if condition is not None:
            raise InputError(
                "this model has no condition, and one is given; leave it out, or make "
                "a model of p(x|c) with tfvae.VAE(..., condition=...)"
            )
        return None

    def reconstruct(self, x: Any, condition: Any = None) -> tf.Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), [B, *data_shape].

        A discrete posterior has its mode instead of its mean. x is encoded with its own
        condition, and decoded with `condition` if that is another: one for all, or one
        for each example.
        """
        batch = self.as_batch(x)
        z = self.latent.point_estimate(self.encode(batch))
        other = batch.condition
        if condition is not None:
            other = self._read_condition(condition)
            if self.condition is not None and z.shape[0] is not None:
                other = self.condition.broadcast(other, z.shape[0])
        return self._decode_given(z, other).mean()

    def _decode_given(self, z: tf.Tensor, condition: Any) -> Distribution:
        """Calls `decode`, which classes override, with a condition if there is one."""
        given = {} if condition is None else {"condition": condition}
        return self.decode(z, **given)

    def embed(self, x: Any, batch_size: int = 100) -> np.ndarray:
        """Returns point estimates of z of all examples, [N, *latent.event_shape].

        They are means of q(z|x), or modes of a discrete posterior.

        Args:
            x: [N, *data_shape]; a list, a dictionary of roles or a `Batch` of as many;
                or batches, for example a data set.
            batch_size: The examples at a time, of an array.
        """
        codes = tf.function(
            lambda batch: self.latent.point_estimate(self.encode(batch)),
            reduce_retracing=True,
            autograph=False,
        )
        batches = split_examples(
            x,
            self.data_shape,
            require_int("batch_size", batch_size),
            self.role_beside,
        )
        found = [codes(self.as_batch(batch)).numpy() for batch in batches]
        if not found:
            raise InputError("there are no examples to embed; give at least one")
        return np.concatenate(found)

    def sample(
        self, num_samples: int, seed: Seed | None = None, condition: Any = None
    ) -> Samples:
        """Draws n = `num_samples` examples, the same for the same seed.

        Without a seed each call has other draws, which `keras.utils.set_random_seed`
        repeats. The condition of a conditional model is one for all examples, or one
        for each.
        """
        num_samples = require_int("num_samples", num_samples)
        condition = self._read_condition(condition)
        if self.condition is not None:
            condition = self.condition.broadcast(condition, num_samples)
        seed = random.getrandbits(31) if seed is None else seed
        z = self.draw_prior([num_samples], derive_seed(seed, "prior"), condition)
        likelihood = self._decode_given(z, condition)
        draw = likelihood.sample(seed=derive_seed(seed, "likelihood"))
        return Samples(z, likelihood.mean(), draw)

    def log_weight_terms(
        self, x: Any, num_samples: int, seed: Seed, chunk: Chunk | None = None
    ) -> LogWeightTerms:
        """Draws z_s ~ q(z|x) and returns the terms of log w_s, each [S, B], in nats.

        x is [B, *data_shape] or a `Batch`, and `chunk` a part of the S samples.
        """
        num_samples = require_int("num_samples", num_samples)
        return self.variational_batch(x, num_samples, seed).draw_log_weight_terms(chunk)

    def variational_batch(
        self,
        x: Any,
        num_samples: int,
        seed: Seed,
        training: bool = False,
        objective: Objective = _ELBO,
        kl_weight: float | tf.Tensor = 1.0,
    ) -> VariationalBatch:
        """Returns q(z|x), p(z) and log p(x|z) of a batch, as estimators take them.

        x is [B, *data_shape] or a `Batch`. In `training` networks are called so.
        """
        batch = self.as_batch(x)
        make_prior, features, given = self.prior, {}, {}
        if self._encoder_sees:
            features = self._given_to_encoder(batch)
        if self.condition is not None:
            c = batch.condition
            make_prior, given = functools.partial(self.prior, c), {"condition": c}

        def log_likelihood(z: tf.Tensor) -> tf.Tensor:
            # Two halves, which need not wait for each other, keep two cores busy.
            number = z.shape[0] or 1
            halves = [z]
            if number > 1 and number * self._weights_a_sample >= MANY_WEIGHTS:
                halves = tf.split(z, [number // 2, number - number // 2])
            made = [self.decode(half, training=training, **given) for half in halves]
            if batch.observed is None:
                values = [likelihood.log_prob(batch.x) for likelihood in made]
            else:
                own = self.draws_seed(z, seed)
                values = [self.log_prob_observed(p, batch, own) for p in made]
            return values[0] if len(values) == 1 else tf.concat(values, axis=0)

        return VariationalBatch(
            objective=objective,
            num_samples=num_samples,
            kl_weight=kl_weight,
            seed=derive_seed(seed, "posterior"),
            posterior_params=self.encoder.params(batch.x, training, **features),
            make_posterior=self.encoder.head,
            make_stopped_posterior=self.encoder.head.stopped,
            make_prior=make_prior,
            log_likelihood=log_likelihood,
            shard=batch.shard,
            dream_log_posterior=functools.partial(
                self._dream_log_posterior, batch, seed, training
            ),
            learned=self.learned,
            first_layer_alone=isinstance(self.latent, Hierarchy)
            and self.latent.decoder_layers == 1,
        )

    def _dream_log_posterior(
        self, batch: Batch, seed: Seed, training: bool
    ) -> tf.Tensor:
        """Returns log q(z'|x') [B] of a draw of the model itself for each example.

        It has the example's condition, and lacks what the example lacks.
        """
        z, x = self._dream(batch, seed)
        x = tf.cast(x, self.compute_dtype)
        if batch.observed is not None:
            x = filled(self.decoder.head, x, batch.observed)
        seen = self._given_to_encoder(batch._replace(x=x)) if self._encoder_sees else {}
        return self.encoder.head(self.encoder.params(x, training, **seen)).log_prob(z)

    def _dream(self, batch: Batch, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws z' ~ p(z) and x' ~ p(x|z') for each example, as constants."""
        size, condition, shard = tf.shape(batch.x)[0], batch.condition, batch.shard
        if shard is not None:  # a replica draws for all, and takes its own
            size = shard.total
            if condition is not None:
                condition = tf.nest.map_structure(shard.padded, condition)
        z = self.draw_prior([size], derive_seed(seed, "dream"), condition)
        likelihood = self._decode_given(z, condition)
        x = likelihood.sample(seed=derive_seed(seed, "dreamt example"))
        own = (z, x) if shard is None else map(shard.own, (z, x))
        return tuple(map(tf.stop_gradient, own))

    def draws_seed(self, z: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Returns the seed of draws of what is missing beside samples z [S, B, ...].

        It is a function of z, so that each chunk of the samples has draws of its own.
        """
        bits = tf.bitcast(tf.cast(tf.reshape(z, [-1])[0], tf.float32), tf.int32)
        return tf.random.fold_in(derive_seed(seed, "missing"), bits)

    def log_prob_observed(
        self, likelihood: Distribution, batch: Batch, seed: Seed | None = None
    ) -> tf.Tensor:
        """Returns log p(x|z) of what is observed of a batch, [...], in nats.

        With `SelfMasking` it is log p(x, s|z) of the mask s too, in which one draw of
        p(x|z) stands for what is missing: an estimate without bias of p(x, s|z), as an
        importance weight needs it (Ipsen, Mattei and Frellsen, 2021, equation 7).

        Args:
            likelihood: p(x|z), batch [..., B].
            batch: The examples, of `as_batch`.
            seed: The seed of that draw; without one no mask can be scored.
        """
        if batch.observed is None:
            return likelihood.log_prob(batch.x)
        observed = batch.observed
        found = self.decoder.head.observed_log_prob(likelihood, batch.x, observed)
        if not isinstance(self.missing, SelfMasking):
            return found
        if seed is None:
            raise InputError(
                "with SelfMasking p(x|z) is known up to a draw alone; use L_K: "
                "tfvae.evaluation.score_images, or tfvae evaluate --num-samples K"
            )
        x = completed(likelihood, batch.x, observed, seed)
        return found + self.missing.log_prob(observed, x)

    def discrete(self) -> VAE:
        """Returns the model that a relaxed one relaxes, with the same weights.

        Its latent variables have the exact discrete distribution of the same logits,
        and the standard prior. It is not compiled.

        Raises:
            InputError: if the latent family relaxes none, or is a subclass with a
                decoder input, prior or head that its twin does not know.
        """
        twin = self.latent.discrete()
        if twin is None:
            raise InputError(
                f"{type(self.latent).__name__} relaxes no discrete family; use one "
                "that does, for example BinConcreteLatent"
            )
        require_own_twin(self.latent, self.encoder.head)
        encoder = ConditionalDistribution(self.encoder.network, twin.posterior_head())
        changed = {"encoder": encoder, "latent": twin, "prior": None}
        return type(self)(**{**self._parts(), **changed})

    def with_missing(self, missing: str | SelfMasking | None = "mar") -> VAE:
        """Returns the model of the same weights in which values of x may be missing.

        Its encoder is given the `filler` in their place, for which it was not trained:
        q(z|x) is then a worse proposal, and bounds are less tight. It is not compiled.
        """
        return type(self)(**{**self._parts(), "missing": missing})

    def impute(
        self,
        x: Any,
        observed: Any = None,
        num_samples: int = 1000,
        num_draws: int = 0,
        interval: float | None = None,
        seed: Seed = 0,
    ) -> Imputation:
        """Returns what may stand in the place of values that are missing.

        They are expectations and draws of p(x_missing | x_observed), by importance
        weighting with q(z|x) as the proposal (Mattei and Frellsen, "MIWAE", 2019). A
        model without `missing` is taken as `with_missing("mar")`.

        Args:
            x: [N, *data_shape]; a dictionary of roles or a `Batch` of as many; or
                batches of these.
            observed: [N, *data_shape] True where x is known; None: where it is not NaN,
                or as the dictionary says.
            num_samples: The importance samples S of each example.
            num_draws: The number of draws M of each example (multiple imputation).
            interval: The probability of an interval for each value, below 1, between
                quantiles of draws: of codes of categories without an order it says
                nothing. None: no interval.
            seed: The seed.

        Raises:
            InputError: if an argument is out of range, or the examples cannot be used.
        """
        if observed is not None:
            if not isinstance(x, (Mapping, np.ndarray, tf.Tensor, list)):
                raise InputError(
                    f"x is a {type(x).__name__}, and observed is given beside it; give "
                    "batches of {'x': x, 'observed': observed}"
                )
            x = {**(x if isinstance(x, Mapping) else {"x": x}), "observed": observed}
        vae = self if self.missing is not None else self.with_missing()
        x = vae._checked(x)
        return impute(vae, x, num_samples, num_draws, interval, seed)

    def refine(
        self,
        x: Any,
        num_steps: int = 300,
        learning_rate: float = 0.05,
        num_draws: int = 8,
        num_samples: int = 1000,
        seed: Seed = 0,
    ) -> Refined:
        """Returns the best posterior of the encoder's family for each example alone.

        The parameters that the posterior's head takes start at the encoder's, and climb
        the elbo by gradient steps (Kim et al., 2018; Cremer, Li and Duvenaud, 2018); no
        weight changes. Of a head with weights of its own (a flow, a hierarchy), these
        stay as they are: the family is what the head makes of any parameters.

        Both elbos are means over the same `num_samples` draws, fresh ones, and the
        encoder's parameters are kept where the steps' end is no better: `elbo` >=
        `encoder_elbo` holds for every example, as an inequality of these estimates.
        What is returned of an example is a function of its values and the seed, and
        does not depend on the examples beside it.

        Args:
            x: [N, *data_shape]; a dictionary of roles or a `Batch` of as many; or
                batches of these.
            num_steps: The steps of Adam.
            learning_rate: The size of its first steps; it falls to 0.
            num_draws: The draws of z in each step.
            num_samples: The draws of z of both elbos.
            seed: The seed.

        Raises:
            InputError: if draws of z have no gradient, the model is semi-supervised, an
                argument is out of range, or the examples cannot be used.
        """
        how = Refinement(num_steps, learning_rate, num_draws)
        return refine(self, self._checked(x), how, num_samples, seed)

    def as_batch(
        self, data: Any, step: tf.Tensor | None = None, sharded: bool = False
    ) -> Batch:
        """Returns the examples of a batch with their roles.

        Args:
            data: x [B, *data_shape]; (x, y) or (x, y, sample_weight); a dictionary of
                roles, of which x may be called image; or a `Batch`.
            step: The training step in which x is drawn from grey values, where
                `compile` says so; None: x is taken as it is.
            sharded: Whether this replica may hold a part of the batch.

        Raises:
            InputError: if x is no floats of that shape, or the model has no use for a
                role.
        """
        batch = read_batch(data, sharded, self.role_beside)
        if self.binarize and step is not None:
            grey = tf.convert_to_tensor(batch.x)
            x = drawn_at_step(grey, self.seed, step, batch.shard)
            if grey.dtype.is_floating:  # what has no probability stays so
                beyond = tf.where(tf.math.is_nan(grey), grey, math.inf)  # no hole
                x = tf.where((grey >= 0) & (grey <= 1), x, tf.cast(beyond, x.dtype))
            batch = batch._replace(x=x)
        for role in self._unused_roles:
            if getattr(batch, role) is not None:
                how = {"observed": "missing='mar'", "condition": "condition=..."}[role]
                raise InputError(
                    f"the batch has the role {role!r}, for which this model has no "
                    f"use; leave it out, or make the model with {how}"
                )
        x = tf.cast(check_x(batch.x, self.data_shape), self.compute_dtype)
        if self.missing is not None:
            observed = read_observed(batch.observed, x)
            x = filled(self.decoder.head, x, observed)
            batch = batch._replace(observed=observed)
        if self.condition is not None:
            batch = self._completed(batch, x)
        weight = batch.sample_weight
        if weight is not None:
            shape = tf.TensorShape(weight.shape)
            if not any(shape[1:].is_compatible_with(rest) for rest in ([], [1])):
                raise InputError(
                    f"sample_weight has shape {tuple(shape)}; give one weight an "
                    "example, [B]"
                )
            weight = tf.reshape(tf.cast(weight, self.compute_dtype), tf.shape(x)[:1])
        return batch._replace(x=x, sample_weight=weight)

    def _completed(self, batch: Batch, x: tf.Tensor) -> Batch:
        """Returns a batch with its condition as the layer takes it."""
        return batch._replace(condition=self._condition_of(batch.condition, x))

    def _condition_of(self, condition: Any, x: tf.Tensor) -> Any:
        """Returns the condition of a batch, as the layer takes it.

        Raises:
            InputError: if it is missing, or has another number of entries than x.
        """
        if condition is None:
            raise InputError(
                "the model is conditional, and the examples have no condition; give "
                f"{self.condition.wanted}, as fit(x, c) or "
                "{'x': x, 'condition': c}"
            )
        found = self.condition.read(condition)
        rows = self.condition.leading_shape(found)
        if not rows.is_compatible_with(x.shape[:1]):
            raise InputError(
                f"the condition has {rows} entries for {x.shape[0]} "
                "examples; give one for each"
            )
        return found

    def with_condition(self, x: Any) -> Batch:
        """Returns a batch with the condition that `encode` takes, if it takes one."""
        return self.as_batch(x)

    def blank_batch(self, size: int = 1) -> Batch:
        """Returns examples of zeros, with some condition if the model has one."""
        x = tf.zeros([size, *self.data_shape], self.compute_dtype)
        observed = None if self.missing is None else tf.ones_like(x, tf.bool)
        return Batch(x, self.condition and self.condition.blank(size), observed)

    def __call__(self, x, *args, **kwargs) -> tf.Tensor:
        """Checks x before Keras does, which would rewrite the message."""
        check_x(read_batch(x).x, self.data_shape)
        if self.condition is not None:
            self.as_batch(x)
        return super().__call__(x, *args, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns `reconstruct(x)`, so that Keras' `predict` works."""
        return self.reconstruct(x)

    # -- The step ----------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Takes one step of the optimizer on one batch."""
        step = tf.convert_to_tensor(self.steps)
        batch = self.as_batch(data, step, sharded=True)
        for weight, schedule in self._schedules.values():
            weight.assign(schedule(step))
        kl_weight = tf.convert_to_tensor(self._kl_weight)
        seed = derive_seed(self.seed, "train", step)
        seed_layers(self, seed)
        with tf.GradientTape() as tape:
            estimate = self._estimate(batch, seed, True, kl_weight)
            terms, penalty = estimate.terms, estimate.penalty
            loss = self.compute_loss(batch, estimate)
            scaled_loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled_loss, variables)
        if self._has_own_loss:
            penalty += tf.stop_gradient(loss - VAE.compute_loss(self, batch, estimate))
        values = self._metric_tracker.compute(
            estimate.bounds, terms, penalty, batch, self.decoder.head
        )
        means = term_means(terms, loss, batch.shard)
        if batch.shard is not None:
            every = sums_over_replicas([*gradients, values, means])
            *gradients, values, means = every

        def apply() -> None:
            if self._track_every is not None:
                self._track_gradient_norm(gradients, step)
            if variables:
                self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            else:
                warnings.warn("the model has no trainable weights", stacklevel=2)
            self._metric_tracker.update(values, kl_weight)

        with tf.control_dependencies([loss]):  # where data end, nothing is counted
            self.steps.assign_add(1)
            self._guard.apply_if_finite(apply, step, means, gradients)
        if self._guard.tolerated:
            self._metric_tracker.update_skipped(values)
        return self._step_result(batch)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Scores one batch, with kl_weight 1."""
        batch = self.as_batch(data, sharded=True)
        # The number of examples seen so far, which Keras sets to 0 when it begins, is
        # what makes the draws of two batches differ and those of two runs agree.
        seed = derive_seed(self.seed, "test", self._metric_tracker.examples_seen)
        estimate, head = self._estimate(batch, seed, False, 1.0), self.decoder.head
        one, penalty = tf.ones([], estimate.terms.rate.dtype), estimate.penalty
        if self._has_own_loss:
            loss = self.compute_loss(batch, estimate)
            penalty += loss - VAE.compute_loss(self, batch, estimate)
        values = self._metric_tracker.compute(
            estimate.bounds, estimate.terms, penalty, batch, head
        )
        if batch.shard is not None:
            (values,) = sums_over_replicas([values])
        self._metric_tracker.update(values, one)
        return self._step_result(batch)

    def _estimate(
        self,
        batch: Batch,
        seed: tf.Tensor,
        training: bool,
        kl_weight: float | tf.Tensor,
    ) -> StepEstimate:
        """Returns the terms and the surrogate of a batch."""
        variational = self.variational_batch(
            batch, self.num_samples, seed, training, self.objective, kl_weight
        )
        terms, surrogate = self.estimator.estimate(variational)
        log_weights = sampled = terms.log_weights()  # [S, B]
        if terms.analytic_rate is not None:
            sampled = terms.sampled_log_weights()
        bounds = Bounds(
            self.objective.value(terms.loss_log_weights(kl_weight)),
            self.objective.value(log_weights),
            effective_sample_size(sampled),
        )
        # The layers' regularisation losses.
        losses = [tf.cast(loss, surrogate.dtype) for loss in self.losses]
        penalty = tf.add_n([tf.zeros([], surrogate.dtype), *losses])
        return StepEstimate(
            variational.posterior, terms, surrogate, penalty, training, bounds
        )

    def compute_loss(self, batch: Batch, estimate: StepEstimate) -> tf.Tensor:
        """Returns the loss that a step minimises: a class of yours may add to it.

        What it adds to this method's result is in the reported `loss` too, in training
        and in evaluation, but in no bound. Metrics that are attributes of the model are
        reported under their names; update them here.

        Args:
            batch: The examples with their roles.
            estimate: What the step has computed of them.

        Returns:
            A scalar, in nats per example: penalty - sum_b weight_b surrogate_b / B, as
            Keras reduces losses. Of a shard it is this replica's part of the loss, over
            the global batch's B.
        """
        values, shard = estimate.surrogate, batch.shard
        if batch.sample_weight is not None:
            values = values * batch.sample_weight
        if shard is None:
            return estimate.penalty - tf.reduce_mean(values)
        mean = tf.reduce_sum(values) / tf.cast(shard.total, values.dtype)
        return replica_share(estimate.penalty, shard) - mean

    def _track_gradient_norm(self, gradients: list, step: tf.Tensor) -> None:
        every = self._track_every
        wanted = True if every == 1 else tf.equal(step % every, 0)
        scale = self.optimizer.scale_loss(tf.ones([], self.compute_dtype))
        self._metric_tracker.update_gradient_norm(gradients, scale, wanted)

    # -- Training and scoring ----------------------------------------------------------

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
        loss: None = None,
        metrics: None = None,
    ) -> None:
        """Sets how the model is trained and scored.

        A schedule is one of `keras.optimizers.schedules`, counted in training steps
        from here on; it is evaluated within the step, so that it is exact whatever
        `steps_per_execution`, and after a resume.

        Args:
            optimizer: Keras' name for it, or the optimizer.
            objective: A name in `OBJECTIVES`, or an `Objective`.
            num_samples: S, samples of z per example.
            estimator: A name in `ESTIMATORS`, or an `Estimator`.
            backward_samples: m, the samples of each example that go through the
                backward pass, kept by optimal resampling (see
                `ResampledBackward`); None: all.
            sample_chunk: Samples at a time, so that memory does not grow with S (see
                `Chunked`); None: all.
            kl_weight: The factor of the rate in the loss. Only 1 makes a bound.
            temperature: That of a relaxed posterior; None leaves it as it is.
            prior_temperature: That of a relaxed prior; None leaves it as it is.
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
            loss: Not used: the objective is the loss, and `compute_loss` adds to it.
            metrics: Not used: metrics are attributes of a class of yours.

        Raises:
            InputError: if a value is out of range, or would have no effect.
        """
        for name, given in {"loss": loss, "metrics": metrics}.items():
            if given is not None:
                raise InputError(
                    f"{name} {given!r:.100} has no effect: the objective is the loss. "
                    "Make a class of VAE whose compute_loss adds a term to it, and "
                    "whose attributes are metrics"
                )
        self._has_own_loss = type(self).compute_loss is not VAE.compute_loss
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
        posterior = self._check_combination(objective, estimator, num_samples)
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
            check_replicas(steps_per_execution, jit_compile, self._has_own_loss)
            leave_gradients(optimizer)
        if self.learned is not None:
            self._tracker.untrack(self.learned)  # Keras keeps what is replaced
        self.learned = estimator.learned(posterior)
        self.optimizer.build(self.trainable_variables)  # so that it can be saved now
        self.objective, self.estimator = objective, estimator
        self.num_samples, self.seed, self.binarize = num_samples, seed, binarize
        self._settled = {name: getattr(self, name) for name in _COMPILED}
        self._shows_kl_weight = False
        self.steps.assign(0)
        self._set_schedules(settings)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._guard = NonFiniteGuard(
            self.trainable_variables, skip_nonfinite, gradients=not scaled
        )
        reported = {name: weight for name, (weight, _) in self._schedules.items()}
        if settings["kl_weight"][1] != 1.0:
            reported["kl_weight"] = self.kl_weight
        if skip_nonfinite:
            reported[SKIPPED] = self._guard.skipped
        self._metric_tracker = MetricTracker(reported, bool(objective.free_bits))
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
        """Keras' `fit`, which see; `y` is the condition, of a model that has one.

        Of another model's `y` nothing is used, and a warning says so, unless it has the
        shape of `x`, as an autoencoder's target. Another warning, at the end, names the
        first step that was not finite, if there was one.

        Raises:
            InputError: if `x` is a data set that never ends, as `training_batches`
                gives, and no `steps_per_epoch` is given; or images hold values that the
                likelihood has no probability for (arrays are looked at before, what a
                data set yields at the end of the first epoch).
        """
        self._check_settled()
        head = BernoulliHead([1], True) if self.binarize else self.decoder.head
        x = checked_examples(x, head, self.missing is not None)
        if y is not None or self.role_beside or isinstance(x, GeneratorType):
            x, y = self._checked_beside(x, y)
        validation = kwargs.get("validation_data")
        if isinstance(validation, Batch):  # a tuple too
            validation = validation.roles()
        if isinstance(validation, (tuple, list)) and validation:
            first, *others = validation
            beside, weights, *_ = [*others, None, None]
            first = self._checked(first)
            first, beside = self._checked_beside(first, beside)
            if weights is not None:
                first, beside, weights = self._weighted(first, beside, weights)
            given = (first, beside, weights)
            kwargs["validation_data"] = given[: 3 if weights is not None else 2]
            if beside is None:
                kwargs["validation_data"] = (first,)
        elif isinstance(validation, Mapping):
            first = self._checked(validation)
            kwargs["validation_data"] = self._checked_beside(first, None)[0]
        elif isinstance(validation, GeneratorType):
            kwargs["validation_data"] = self._read_each(validation)
        if isinstance(x, (tf.data.Dataset, Iterator)):
            kwargs.setdefault("shuffle", False)  # else Keras warns that it cannot
        steps = kwargs.get("steps_per_epoch")
        if steps or isinstance(x, tf.data.Dataset):
            whole = not self._set_executions(x, steps)
            check_steps(x, steps, self.steps_per_execution if whole else 1)
        if kwargs.get("sample_weight") is not None:
            weights = kwargs["sample_weight"]
            x, y, kwargs["sample_weight"] = self._weighted(x, y, weights)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            if several_workers(self.distribute_strategy):
                check_order(x, kwargs.get("shuffle", True))
            x = shared_out(x, self.distribute_strategy)
            if validation is not None:
                shared = shared_out(validation, self.distribute_strategy)
                kwargs["validation_data"] = shared
        start = tf.convert_to_tensor(self.steps)
        with self._naming():
            history = super().fit(x, y, *args, **kwargs)
        idle = bool(start == tf.convert_to_tensor(self.steps))
        if history.epoch and idle and type(self).train_step is VAE.train_step:
            raise InputError("there are no examples to train on; give at least one")
        try:
            self._guard.check(since=int(start))
        except InputError as error:
            # As Keras has it, a training that diverged has a history.
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
        return history

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Keras' `evaluate`, which see; `y` is that of `fit`.

        Raises:
            InputError: if images hold values that have no probability.
        """
        self._check_settled()
        if not kwargs.get("_use_cached_eval_dataset"):  # else `fit` has looked at them
            x, y = self._checked_beside(self._checked(x), y)
        if kwargs.get("sample_weight") is not None:
            weights = kwargs["sample_weight"]
            x, y, kwargs["sample_weight"] = self._weighted(x, y, weights)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            x = shared_out(x, self.distribute_strategy)
        self._evaluates = True
        try:
            # Keras 3.12, the newest for Python 3.10, gives tensors.
            with self._naming():
                found = super().evaluate(x, y, *args, **kwargs)
        finally:
            self._evaluates = False
        if not self.examples_seen:
            raise InputError("there are no examples to evaluate on; give at least one")
        return tf.nest.map_structure(float, found)

    def train_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        """Keras' `train_on_batch`, which see; it refuses what `fit` does."""
        self._check_settled()
        x, y = self._checked_beside(self._checked(x, self.binarize), y)
        x, y, sample_weight = self._weighted(x, y, sample_weight)
        with self._naming():
            return super().train_on_batch(x, y, sample_weight, *args, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, *args, **kwargs):
        """Keras' `test_on_batch`, which see; it refuses what `evaluate` does."""
        self._check_settled()
        x, y = self._checked_beside(self._checked(x), y)
        x, y, sample_weight = self._weighted(x, y, sample_weight)
        with self._naming():
            return super().test_on_batch(x, y, sample_weight, *args, **kwargs)

    def _checked(self, x: Any, grey: bool = False) -> Any:
        """Returns examples of `fit` and its kin as `checked_examples` does."""
        head = BernoulliHead([1], True) if grey else self.decoder.head
        return checked_examples(x, head, self.missing is not None)

    def _checked_beside(self, x: Any, y: Any) -> tuple:
        """Returns checked `x`, and `y`, of `fit` and its kin as Keras can take them.

        Raises:
            InputError: if there is a condition that cannot be used, or none.
        """
        if isinstance(x, GeneratorType) and y is None:
            return self._read_each(x), None
        if self.role_beside is None:
            y = None if y is None else checked_labels(y)
            if self.missing is not None and getattr(y, "dtype", None) in (
                bool,
                tf.bool,
            ):
                raise InputError(
                    "y is a mask, which has no use there; give fit {'x': x, "
                    "'observed': y}"
                )
            # The shape of x is that of an autoencoder's target.
            unused = y is not None and np.shape(y) != np.shape(x)
            if unused and not self._has_own_loss:
                warnings.warn(
                    "y has no use in this model; leave it out, or make a model that "
                    "has: tfvae.VAE(..., condition=...) of p(x|y), or "
                    "tfvae.SemiSupervisedVAE of both",
                    stacklevel=3,
                )
            return x, y
        arrays = isinstance(x, (np.ndarray, tf.Tensor))
        if y is not None and not (arrays or isinstance(x, Mapping)):
            raise InputError(
                f"x is a {type(x).__name__}, and y is given beside it; give batches of "
                "(x, y)"
            )
        if isinstance(x, Mapping):
            if y is not None and x.get(self.role_beside) is not None:
                raise InputError(
                    f"the {self.role_beside} is given twice, in the dictionary and "
                    "beside it; leave one out"
                )
            x, y = x if y is None else {**x, self.role_beside: y}, None
            return self._checked_roles(x), None
        if not arrays:
            return x, y
        roles = self._checked_roles({"x": x, self.role_beside: y})
        return roles["x"], roles.get(self.role_beside)

    def _read_each(self, batches: Iterable[Any]) -> Iterator[tuple]:
        """Yields a generator's batches as Keras can take them: without text or lists.

        Raises:
            InputError: if a batch cannot be used.
        """
        for data in batches:
            if self.role_beside is None and isinstance(data, tuple):
                yield data
                continue
            roles = read_batch(data, beside=self.role_beside).roles()
            yield (self._checked_roles(roles),)

    def _checked_roles(self, roles: Mapping[str, Any]) -> dict[str, Any]:
        """Returns arrays of roles, with the condition without names.

        Raises:
            InputError: if the condition is missing, or cannot be used.
        """
        given = {key: value for key, value in roles.items() if value is not None}
        values = as_array(given["x"], "x")
        if self.condition is None:
            return {**given, "x": values}
        condition = self._condition_of(given.get("condition"), values)
        found = tf.nest.map_structure(lambda each: each.numpy(), condition)
        return {**given, "x": values, "condition": found}

    def _weighted(self, x: Any, y: Any, sample_weight: Any) -> tuple:
        """Returns x, y and weights of which Keras drops none: it does without a y."""
        if sample_weight is None or (y is not None and not isinstance(y, Mapping)):
            return x, y, sample_weight
        sample_weight = as_array(sample_weight, "sample_weight")
        if not isinstance(x, Mapping) and (self.condition is None or y is None):
            return x, x, sample_weight
        # Keras would have weights for each part of a dictionary.
        roles = x if isinstance(x, Mapping) else {"x": x, self.role_beside: y}
        return {**roles, "sample_weight": sample_weight}, None, None

    def predict(self, x, *args, **kwargs) -> np.ndarray:
        """Returns reconstruction means of all examples, [N, *data_shape].

        Raises:
            InputError: if images hold values that have no probability.
        """
        x, _ = self._checked_beside(self._checked(x), None)
        with self._naming():
            found = super().predict(x, *args, **kwargs)
        return self._checked_means(found)

    def predict_on_batch(self, x) -> np.ndarray:
        """Returns reconstruction means of a batch; see `predict`."""
        with self._naming():
            return self._checked_means(super().predict_on_batch(x))

    def predict_step(self, data: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns reconstruction means, and which examples have no probability, [B]."""
        batch = self.as_batch(data)
        outside = self.decoder.head.outside(batch.x)
        axes = range(1, batch.x.shape.rank)
        return self.reconstruct(batch), tf.reduce_any(outside, axis=axes)

    def _checked_means(self, found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        means, outside = found
        if np.any(outside):
            raise outside_support(self.decoder.head)
        return means

    def _check_combination(
        self, objective: Objective, estimator: Estimator, num_samples: int
    ) -> Distribution:
        """Refuses now what no step could do, and returns q(z|x) of one example."""
        objective.check(num_samples)
        if objective.two_objectives and has_float16_layer(self):
            raise InputError(
                "piwae divides by weights that float16 rounds to 0; use dtype "
                "mixed_bfloat16 or float32 networks, or objective 'miwae'"
            )
        if isinstance(estimator, TwoPasses):
            check_second_pass(self.decoder, self.encoder.head, self.latent)
        if isinstance(self.missing, SelfMasking):
            check_self_masking(self.distribute_strategy, estimator)
        batch = self.variational_batch(self.blank_batch(), 1, 0, objective=objective)
        check_combination(estimator, objective, batch.posterior, num_samples)
        if objective.analytic_kl or objective.free_bits:
            batch.draw_log_weight_terms()
        return batch.posterior

    def _check_settled(self) -> None:
        """Refuses arguments of `compile` that were changed alone: steps are traced.

        Layers may have been frozen since, as in Keras.
        """
        paths = [variable.path for variable in self.trainable_variables]
        if self.compiled and self._guard.names != paths:
            self._guard.watch(self.trainable_variables)
            self.train_function = None  # Keras traces anew
        for name in _COMPILED if self.compiled else ():
            if getattr(self, name) != self._settled[name]:
                raise InputError(
                    f"{name} {getattr(self, name)!r:.100} was set after compile, which "
                    f"made steps of {self._settled[name]!r:.100}; call vae.compile("
                    f"..., {name}=...)"
                )

    def _set_executions(self, x: Any, steps_per_epoch: int | None) -> bool:
        """Gives Keras a `train_function` that ends with the epoch, if it needs one."""
        several = isinstance(x, tf.data.Dataset) and self.steps_per_execution > 1
        own = type(self).train_step is VAE.train_step and not self.run_eagerly
        if several and own and steps_per_epoch:
            executions = Executions.of(self, steps_per_epoch)
            self.train_function = executions  # type: ignore[assignment]
            return True
        if isinstance(self.train_function, Executions):
            self.train_function = None  # Keras makes its own
        return False

    def _set_schedules(self, settings: Mapping[str, tuple]) -> None:
        self._schedules = {}
        for name, (weight, value) in settings.items():
            if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
                self._schedules[name] = (weight, value)
                weight.assign(value(0))
            elif value is not None:
                weight.assign(value)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers of what `fit` and `evaluate` report, and a class's own."""
        if not self.compiled:
            return [*self._metrics]
        return [*self._metric_tracker.metrics, *self._metrics]

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Returns what is reported.

        Raises:
            InputError: In eager mode, as at the end of an epoch: images held values
                that the likelihood has no probability for.
        """
        if tf.executing_eagerly():
            self._metric_tracker.check_support(self.decoder.head)
        result = self._metric_tracker.result()
        for metric in self._metrics:
            own = metric.result()
            result |= own if isinstance(own, dict) else {metric.name: own}
        if self._shows_kl_weight and not self._evaluates and tf.executing_eagerly():
            result["kl_weight"] = tf.convert_to_tensor(self._kl_weight)
        return result

    @property
    def evaluations_per_step(self) -> int:
        """The decoder's evaluations of a training step, for each example.

        They are what estimators of one cost have in common: S, or several times S.
        """
        return self.estimator.evaluations(self.num_samples, self.latent.decoder_layers)

    @property
    def skipped_steps(self) -> tf.Variable:
        """The number of training steps that `skip_nonfinite` left out."""
        return self._guard.skipped

    def check_finite(self) -> None:
        """Looks at the training steps since `compile`, in eager mode.

        Raises:
            InputError: if the loss or the gradient of one was not finite, and it is
                more than `skip_nonfinite` tolerates.
        """
        self._guard.check()

    def _maybe_symbolic_build(self, *args, **kwargs) -> None:
        """Does nothing: the model and its optimizer are built when they are made.

        Keras would add up one batch of all replicas, whose shapes must then be equal.
        """

    def track_gradients(self, every: int | None) -> None:
        """Sets the training steps to come whose `grad_norm` is looked at.

        They are those whose number, from 0, is a multiple of `every`; None: no step. It
        is no argument of `compile`, since what is trained does not depend on it.
        """
        every = None if every is None else require_int("every", every)
        if every != self._track_every:
            self._track_every = every
            self.train_function = None  # Keras traces anew

    @property
    def examples_seen(self) -> int:
        """The number of examples that the running epoch or evaluation has seen."""
        return int(self._metric_tracker.examples_seen)

    def tracked(self) -> dict[str, float]:
        """Returns what is tracked beside what is reported, in eager mode.

        `bound` is the objective at kl_weight 1, without free bits and regularisation, a
        mean over the examples seen since the running epoch or evaluation began.

        `grad_norm` is the L2 norm of the loss's gradient, all weights together, before
        the optimizer clips or scales it, a mean over the epoch's steps that
        `track_gradients` names. With loss scaling it is that of the loss unscaled, and
        steps whose gradient overflows do not count.
        """
        return self._metric_tracker.unreported()

    def _step_result(self, batch: Batch) -> dict[str, tf.Tensor]:
        result = self.get_metrics_result()
        if batch.shard is not None and several_workers():
            # Keras takes the mean over all workers of each, along its first axis.
            return {"loss": result["loss"][tf.newaxis]}
        return result

    def _get_metrics_result_or_logs(self, logs) -> dict[str, tf.Tensor]:
        """Returns the epoch's numbers, of which several workers log few by steps.

        A class whose step reports numbers of its own has those.
        """
        result = self.get_metrics_result()
        ours = isinstance(logs, dict) and logs.keys() <= result.keys()
        return result if ours and self.examples_seen else logs

    def summary(self, *args, **kwargs) -> None:
        """Prints the parts with their distributions and shapes, then Keras' summary."""
        show = kwargs.get("print_fn") or print
        learned = "" if self.prior_layer is None else type(self.prior_layer).__name__
        parts = {
            "encoder": f"x {self.data_shape} -> {self.encoder.head.params_shape}, "
            f"q(z|x) = {self.latent.posterior_text}",
            "latent": f"z {self.latent.event_shape}, "
            f"p(z) = {learned or self.latent.prior_text}",
            "decoder": f"{self.latent.decoder_shape} -> "
            f"{self.decoder.head.params_shape}, p(x|z) by "
            f"{type(self.decoder.head).__name__} over {self.decoder.head.support}",
        }
        if self.condition is not None:
            takers = [
                name
                for name in ("encoder", "decoder", "prior_layer")
                if getattr(getattr(self, name), "condition_shape", None) is not None
            ]
            parts["condition"] = (
                f"c {self.condition.event_shape} -> {self.condition.shape} by "
                f"{type(self.condition).__name__}: {self.condition.wanted}; for "
                f"{', '.join(takers).replace('_layer', '')}"
            )
        if self.compiled:
            count = self.evaluations_per_step
            parts["training"] = (
                f"{type(self.objective).__name__.lower()} of {self.num_samples} by "
                f"{estimator_name(self.estimator)}, {count} "
                f"evaluation{'s' if count > 1 else ''} of the decoder a step"
            )
        for name, text in parts.items():
            show(f"{name}: {text}")
        super().summary(*args, **kwargs)

    # -- Saving ------------------------------------------------------------------------

    def save(self, filepath: str | os.PathLike, *args, **kwargs) -> None:
        """Writes the model with its optimizer to a `.keras` file.

        Raises:
            InputError: if the file is to be HDF5, which does not hold such models.
        """
        if str(filepath).lower().endswith((".h5", ".hdf5")):
            raise InputError(
                f"{str(filepath)!r} is to be an HDF5 file, which cannot hold this "
                "model; give a path that ends in .keras, or use save_weights"
            )
        with dated_archives():
            super().save(filepath, *args, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, *args, **kwargs) -> None:
        """Loads weights that a model of the same parts has saved.

        Raises:
            InputError: if they are those of other parts.
        """
        try:
            with warnings.catch_warnings():
                if not kwargs.get("skip_mismatch"):  # who asks for it is warned alone
                    warnings.simplefilter("error", UserWarning)  # of weights left out
                super().load_weights(filepath, *args, **kwargs)
        except (ValueError, KeyError, UserWarning) as error:
            raise InputError(
                f"{str(filepath)!r} does not hold the weights of this model "
                f"({first_line(error)}); give those of a model of the same parts"
            ) from error

    def save_to_preset(
        self, preset_dir: str | os.PathLike, card: PresetCard | None = None
    ) -> None:
        """Writes a folder for `from_preset`, without the optimizer.

        It holds config.json, metadata.json, model.weights.h5 and a README.md.

        Args:
            preset_dir: The folder, which is new or empty.
            card: What the model was trained on, and its scores, for metadata.json and
                README.md; `tfvae.reports.export_preset` makes a run's. None: what the
                model itself knows.

        Raises:
            InputError: if there is something there, or a part of the model is none that
                `from_preset` lets through.
        """
        save_preset(self, preset_dir, card)

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike,
        load_weights: bool = True,
        *,
        seed: int | None = None,
    ) -> VAE:
        """Returns the model of a preset, not compiled: of this class, or one below.

        Nothing in a preset is executed, and a preset may be of anyone.

        Args:
            preset: A name in `VAE.presets`, a folder of `save_to_preset`, or
                "hf://USER/NAME" of Hugging Face's hub (`pip install 'tfvae[hub]'`).
            load_weights: Whether to have the preset's weights; else the architecture
                has fresh ones.
            seed: The seed of fresh weights; None: 0.

        Raises:
            InputError: if there is no such preset, it is of another class or damaged,
                or it names a class that no preset may.
        """
        return load_preset(cls, preset, load_weights, seed)

    def export(self, filepath: str | os.PathLike, *args, **kwargs) -> None:
        """Keras' `export` of x -> `reconstruct(x)`; `tfvae.export` serves more."""
        if self.condition is not None:
            raise InputError(
                "Keras' export has one input, and this model has a condition; use "
                "tfvae.export.export_saved_model"
            )
        spec = keras.InputSpec(shape=(None, *self.data_shape), dtype=self.compute_dtype)
        kwargs.setdefault("input_signature", [spec])
        super().export(filepath, *args, **kwargs)

    def _parts(self) -> dict[str, Any]:
        """Returns the arguments of which the model was made."""
        return {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "latent": self.latent,
            "prior": self.prior_layer,
            "condition": self.condition,
            "missing": self.missing,
        }

    def get_config(self) -> dict:
        """Returns what rebuilds this model."""
        # Models without these can be read by earlier versions.
        parts = {
            name: part
            for name, part in self._parts().items()
            if part is not None or name not in ("condition", "missing")
        }
        return {**super().get_config(), **keras.saving.serialize_keras_object(parts)}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> VAE:
        """Rebuilds a model from `get_config`."""
        names = ("encoder", "decoder", "latent", "prior", "condition", "missing")
        parts = with_parts(config, names, custom_objects)
        if isinstance(parts["latent"], Hierarchy):
            # Its head shares networks with it, which two configs cannot say.
            encoder, head = parts["encoder"], parts["latent"].posterior_head()
            parts["encoder"] = ConditionalDistribution(
                encoder.network, head, name=encoder.name
            )
        return cls(**parts)

    def get_compile_config(self) -> dict:
        """Returns the arguments of `compile`, as Keras saves them."""
        if not self.compiled:
            return {}
        return keras.saving.serialize_keras_object(self._compile_arguments)

    def compile_from_config(self, config: dict) -> None:
        """Compiles a loaded model as it was when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
