"""Estimators for discrete latent variables that are made with a relaxation.

What is relaxed, and how, is in `relaxed_families`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.core.validation import require_int, require_number, require_real
from tfvae.distributions import Distribution
from tfvae.estimators import layers
from tfvae.estimators.base import Estimate, Estimator
from tfvae.estimators.discrete import (
    ScoreFunction,
    StraightThrough,
    Vimco,
    constant_log_weights,
)
from tfvae.estimators.learned import ControlVariate, adapted
from tfvae.estimators.relaxed_families import Relaxable, relaxable
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.networks import batch_apply, mlp
from tfvae.objectives import LogWeightTerms, Objective


@dataclasses.dataclass(frozen=True)
class _Relaxed(StraightThrough):
    """The base of those that give z another stand-in than the posterior's mean."""

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        super().check(objective, posterior, num_samples)
        _layers_at(posterior, posterior.mean(), self)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Reinmax(_Relaxed):
    """Straight-through to second order (Liu et al., 2023): biased.

    The gradient of E[f(z)] is a sum of differences f(z) - f(z'). Straight-through takes
    each for the slope at z times z - z', which is Euler's rule, and ReinMax the mean of
    the slopes at both, which is Heun's: exact where f is quadratic in one variable.
    With p = (z + pi) / 2, as a function of the logits through its own softmax, z gets
    the gradient of 2 p - pi / 2 (their algorithm 2, at temperature 1).
    """

    method = "through z by the trapezoid rule: the slopes at both ends of a step"
    paper = "Liu, Dong, Liu, Yu and Gao (2023)"

    def stand_in(
        self, batch: VariationalBatch, k: int, layer: Distribution, z: tf.Tensor
    ) -> tf.Tensor:
        """See `StraightThrough.stand_in`."""
        return relaxable(layer, self).with_slope_at_both_ends(z)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class GumbelRao(_Relaxed):
    """Straight-through Gumbel-softmax, Rao-Blackwellised: biased.

    z gets the gradient of softmax(u / temperature), of which this is the mean over
    `num_draws` of u given z (Paulus, Maddison and Krause, 2021). The mean gradient does
    not depend on their number, and the variance falls with it; one is the
    straight-through Gumbel-softmax estimator of Jang, Gu and Poole (2017). The decoder
    is evaluated once whatever the number.

    Attributes:
        temperature: The relaxation's. The smaller, the smaller the bias and the larger
            the variance.
        num_draws: The draws of u for each z.
    """

    temperature: float = 0.5
    num_draws: int = 10
    method = "through z as if it were the mean of relaxed draws that have z's maximum"
    paper = "Paulus, Maddison and Krause (2021)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_number("temperature", self.temperature)
        require_int("num_draws", self.num_draws)

    def stand_in(
        self, batch: VariationalBatch, k: int, layer: Distribution, z: tf.Tensor
    ) -> tf.Tensor:
        """See `StraightThrough.stand_in`; its gradient is that of the mean."""
        family = relaxable(layer, self)
        u = family.perturbed(batch, z, self.num_draws, layer=k)  # [J, S, B, ...]
        return family.with_mean_slope(u, self.temperature)


class Control(NamedTuple):
    """The parameters of a control variate.

    Attributes:
        temperature: The relaxation's, a scalar.
        eta: The factor of the control variate, a scalar.
        correction: z [S, B, ...] -> nats [S, B] that are added to the log-weights of
            relaxed z; None: none.
    """

    temperature: float | tf.Tensor
    eta: float | tf.Tensor
    correction: Callable[[tf.Tensor], tf.Tensor] | None = None


class RelaxedControl(ControlVariate):
    """The trained `Control`.

    Args:
        start: The temperature and the eta that training starts with.
        posterior: q(z|x) for any batch.
        hidden_sizes: The units of the network z -> correction, whose factor starts at
            0; None: there is no correction.
    """

    def __init__(
        self,
        start: Control,
        posterior: Distribution,
        hidden_sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(posterior)
        if hidden_sizes is not None:
            make = functools.partial(mlp, name="correction", dtype=self.dtype)
            self.network = make(tuple(posterior.event_shape), (1,), hidden_sizes)
        self.add_scalar("log_temperature", math.log(start.temperature))
        self.add_scalar("eta", start.eta)
        if hidden_sizes is not None:
            self.add_scalar("gain", 0.0)

    def control(self) -> Control:
        """See `ControlVariate.control`."""
        temperature = tf.exp(tf.convert_to_tensor(self.log_temperature))
        correction = self._correction if hasattr(self, "network") else None
        return Control(temperature, tf.convert_to_tensor(self.eta), correction)

    def _correction(self, z: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(self.gain) * batch_apply(self.network, z)[..., 0]


class DrawnLayer(NamedTuple):
    """The samples of one layer.

    Attributes:
        family: The variables, given the samples of the layer below.
        z: [S, B, ...] The samples.
        u: [S, B, ...] The perturbed logits that they are made of.
    """

    family: Relaxable
    z: tf.Tensor
    u: tf.Tensor


class Drawn(NamedTuple):
    """Samples, as a control variate sees them: constants.

    Attributes:
        layers: The posterior's layers.
        terms: The terms of their log-weights.
        log_weights: [S, B] The loss's log w_s.
    """

    layers: list[DrawnLayer]
    terms: LogWeightTerms
    log_weights: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Controlled(ScoreFunction):
    """The base of the score functions with a relaxed control variate.

    With V_s the value where z_s is replaced by softmax(u_s / temperature), the signal
    of sample s is

        (1 - eta) (V - b_s) + eta (V - V_s)

    where b_s is `vimco`'s baseline, or 0 for one sample. What is taken away from the
    mean comes back through the relaxed draw:

        E[V_s d log q(z_s|x)] = E[sum_k (d V_s / d u_k) e^(u_k - max u) d log pi_k]

    That is Tucker et al.'s difference of two reparameterised gradients, of u and of u
    given z. Made of the same noise, both are the same numbers with other derivatives,
    so that there is a closed form, and S samples cost 3 S evaluations, with those of
    slopes. The gradient is unbiased for every objective, and for any smooth function in
    the place of V_s. In a hierarchy each layer has its own V_s: the layers below are as
    drawn, and those above relaxed too, of the noise that made their draws.

    Attributes:
        temperature: The relaxation's.
        eta: The factor of the control variate; 0 is `vimco`'s gradient.
    """

    temperature: float = 0.5
    eta: float = 1.0
    evaluations_per_sample = 3

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_number("temperature", self.temperature)
        require_real("eta", self.eta)

    @property
    def start(self) -> Control:
        """The first parameters of the control variate."""
        return Control(self.temperature, self.eta)

    def check(
        self, objective: Objective, posterior: Distribution, num_samples: int
    ) -> None:
        super().check(objective, posterior, num_samples)
        _layers_at(posterior, posterior.mean(), self)

    def estimate(self, batch: VariationalBatch) -> Estimate:
        """See `Estimator.estimate`; without a learned layer `start` is used."""
        z = tf.stop_gradient(batch.draw())
        terms = batch.log_weight_terms(z)
        found = [
            DrawnLayer(family, value, family.perturbed(batch, value, layer=k))
            for k, (family, value) in enumerate(_layers_at(batch.posterior, z, self))
        ]
        drawn = Drawn(found, terms, constant_log_weights(batch, terms))
        gradient, moving = adapted(
            batch, lambda control: logits_gradient(batch, drawn, control), self.start
        )  # [B, ...], []
        coefficients = batch.objective.coefficients(drawn.log_weights)
        log_joint = terms.log_likelihood + batch.kl_weight * terms.log_prior
        of_decoder = tf.reduce_sum(coefficients * log_joint, axis=0)  # [B]
        logits = _of_images([layer.family.logits for layer in found])
        of_encoder = _inner(tf.stop_gradient(gradient), logits)
        return Estimate(terms, of_decoder + of_encoder - moving)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Rebar(_Controlled):
    """The score function less the part that a relaxation explains (REBAR).

    Tucker et al. (2017); see `_Controlled` for the formula.

    Attributes:
        temperature: The relaxation's.
        eta: The factor of the control variate; 0 is `vimco`'s gradient.
        adaptive: Whether training moves both from there on, to a smaller variance.
    """

    adaptive: bool = True
    method = "log q's gradient, less a relaxed draw's, which goes through u"
    paper = "Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein (2017)"

    def learned(self, posterior: Distribution) -> ControlVariate | None:
        """See `Estimator.learned`."""
        return RelaxedControl(self.start, posterior) if self.adaptive else None


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Relax(_Controlled):
    """`rebar` with a learned function of z beside the relaxed log-weight (RELAX).

    A network z -> nats is added to the log-weight of relaxed z (Grathwohl et al., 2018,
    section 4); its factor starts at 0, where it is `rebar`.

    Attributes:
        temperature: The relaxation's, which training moves.
        eta: The factor of the control variate, which training moves.
        hidden_sizes: The units of its hidden layers, of tanh.
    """

    hidden_sizes: tuple[int, ...] = (32,)
    method = "as rebar, with a learned function of z beside the relaxed draw's"
    paper = "Grathwohl, Choi, Wu, Roeder and Duvenaud (2018)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        sizes = tuple(require_int("hidden_sizes", units) for units in self.hidden_sizes)
        object.__setattr__(self, "hidden_sizes", sizes)

    def learned(self, posterior: Distribution) -> ControlVariate:
        """See `Estimator.learned`."""
        return RelaxedControl(self.start, posterior, self.hidden_sizes)


def logits_gradient(
    batch: VariationalBatch, drawn: Drawn, control: Control
) -> tf.Tensor:
    """Returns the estimate of the gradient of the logits, [B, ...].

    It is a constant but for the control's parameters. Those of several layers are put
    together as their logits are, by `_of_images`.
    """
    objective, log_weights = batch.objective, drawn.log_weights
    value = objective.value(log_weights)
    plain = value
    if batch.num_samples > 1:
        plain = Vimco().signals(objective, log_weights)
    # log q is a part of the log-weights too; see `tfvae.estimators.discrete`.
    own = batch.kl_weight * (
        objective.coefficients(log_weights) - 1.0 / batch.num_samples
    )
    gradients = []
    for k, (family, z, u) in enumerate(drawn.layers):
        replaced, slopes = _relaxed_values(batch, drawn, control, k)
        signals = (1.0 - control.eta) * plain + control.eta * (value - replaced) - own
        axes = [1] * (u.shape.rank - 2)
        signals = tf.reshape(signals, tf.concat([tf.shape(signals), axes], axis=0))
        found = family.logits_gradient(z, u, signals, control.eta * slopes)
        shared = family.logits.shape.rank < found.shape.rank
        gradients.append(tf.reduce_sum(found, axis=0) if shared else found)
    return _of_images(gradients)


def _relaxed_values(
    batch: VariationalBatch, drawn: Drawn, control: Control, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns V_s [S, B] with z_s relaxed from layer k on, and its slopes by u_s."""
    u, temperature = drawn.layers[k].u, control.temperature

    def pick(number: int, distribution: Distribution) -> tf.Tensor:
        layer = drawn.layers[number]
        if number < k:
            return layer.z
        if number == k:
            return layer.family.relaxed(u, temperature)
        noise = tf.stop_gradient(layer.u - layer.family.logits)
        return layer.family.relaxed(layers.logits_of(distribution) + noise, temperature)

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(u)
        z = layers.walk(batch.posterior, pick)
        terms = layers.terms_of_changed(batch, drawn.terms, k, z)
        log_weights = terms.loss_log_weights(batch.kl_weight)
        if control.correction is not None:
            log_weights += control.correction(z)
        log_weights = tf.ensure_shape(log_weights, drawn.log_weights.shape)
        replaced = batch.objective.value_with_replaced(drawn.log_weights, log_weights)
    return replaced, tape.gradient(replaced, u)


def _layers_at(
    posterior: Distribution, z: tf.Tensor, estimator: Estimator
) -> list[tuple[Relaxable, tf.Tensor]]:
    """Returns the variables of each layer given the values below, and their values.

    Raises:
        InputError: if they are not Bernoulli or one-hot variables.
    """
    values, families = layers.split(posterior, z), []

    def pick(k: int, layer: Distribution) -> tf.Tensor:
        families.append(relaxable(layer, estimator))
        return values[k]

    layers.walk(posterior, pick)
    return list(zip(families, values, strict=True))


def _of_images(parts: list[tf.Tensor]) -> tf.Tensor:
    """Returns what layers have of each image: [B, ...] of one, and [B, n] of several.

    Layer 0 has [B, D], and others [S, B, D].
    """
    if len(parts) == 1:
        return parts[0]
    above = [tf.unstack(part) for part in parts[1:]]
    return tf.concat([parts[0], *itertools.chain(*above)], axis=-1)


def _inner(constant: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns the inner products [B] of two [B, ...]."""
    return tf.reduce_sum(constant * values, axis=range(1, values.shape.rank))
