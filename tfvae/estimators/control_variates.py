"""Leave-one-out estimators for Bernoulli variables with learned control variates.

Both are for a mean of f_s = log w_s. With p = sigmoid(logits), the control variates
are made of the values f_t and the slopes f'_t, the gradient of f_t by z_t, of the other
samples, so that they know nothing of z_s. The slopes cost as much as S evaluations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfvae.core.validation import require_int, require_real
from tfvae.distributions import Distribution
from tfvae.estimators.bernoulli import LogitsGradient, OfMeans, mean_of_others
from tfvae.estimators.discrete import constant_log_weights
from tfvae.estimators.learned import ControlVariate, adapted
from tfvae.estimators.variational_batch import VariationalBatch
from tfvae.networks import batch_apply, mlp


class Sloped(NamedTuple):
    """Samples, as a control variate sees them: constants.

    Attributes:
        z: [S, B, D]
        logits: [B, D]
        f: [S, B] The loss's log w_s.
        slopes: [S, B, D] The gradient of f_s by z_s.
    """

    z: tf.Tensor
    logits: tf.Tensor
    f: tf.Tensor
    slopes: tf.Tensor

    @property
    def score(self) -> tf.Tensor:
        """The gradient of log q(z_s|x) by the logits, z_s - p, [S, B, D]."""
        return self.z - tf.sigmoid(self.logits)


def leave_one_out(signals: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
    """Returns mean_s (signal_s - mean of the others) score_s, [B, D]."""
    centred = signals - mean_of_others(signals)  # [S, B]
    return tf.reduce_mean(centred[..., tf.newaxis] * score, axis=0)


@dataclasses.dataclass(frozen=True)
class _Sloped(OfMeans):
    """The base of the estimators of this module.

    Attributes:
        start: The first parameters of the control variate.
    """

    evaluations_per_sample = 2

    @property
    def start(self) -> Any:
        """See the class."""
        raise NotImplementedError

    def gradient(self, drawn: Sloped, control: Any) -> tf.Tensor:
        """Returns the logits' gradient [B, D], given `start` or what was learned."""
        raise NotImplementedError

    def logits_gradient(
        self, batch: VariationalBatch, logits: tf.Tensor
    ) -> LogitsGradient:
        """See `BernoulliEstimator.logits_gradient`."""
        z = tf.stop_gradient(batch.draw())  # [S, B, D]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            terms = batch.log_weight_terms(z)
            total = tf.reduce_sum(terms.loss_log_weights(batch.kl_weight))
        slopes = tape.gradient(total, z, unconnected_gradients="zero")
        f = constant_log_weights(batch, terms)
        drawn = Sloped(z, logits, f, tf.stop_gradient(slopes))
        found = adapted(batch, lambda c: self.gradient(drawn, c), self.start)
        return LogitsGradient(terms, *found)


class _LearnedCoefficient(ControlVariate):
    """The trained coefficient of `DoubleCv`."""

    def __init__(self, start: float, posterior: Distribution) -> None:
        super().__init__(posterior)
        self.add_scalar("coefficient", start)

    def control(self) -> tf.Tensor:
        """See `ControlVariate.control`."""
        return tf.convert_to_tensor(self.coefficient)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class DoubleCv(_Sloped):
    """Leave-one-out reinforce with two control variates (Titsias and Shi, 2022).

    Both are the first-order expansion about the mean p, by the others' slopes,

        b_s = (z_s - p) . mean over t != s of f'_t

    One is taken from the sample's own value and put back as its mean, the other from
    the values in the baseline. With a coefficient a the logits' gradient is

        mean_s (f_s - a b_s - mean over t != s of (f_t - a b_t)) (z_s - p)
            + a p (1 - p) mean_s f'_s

    It has the right mean for any a, and no noise where a is 1 and f is linear in z.
    Where f bends between 0 and 1, as a decoder's does that is trained, a near 0 is
    better, which is leave-one-out reinforce. The paper's a has the other sign.

    Attributes:
        coefficient: The a that training starts with.
        adaptive: Whether training moves it from there on, to a smaller variance.
    """

    coefficient: float = 0.0
    adaptive: bool = True
    method = "log q's gradient; control variates of the others' slopes by z, learned"
    paper = "Titsias and Shi (2022)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        require_real("coefficient", self.coefficient)

    @property
    def start(self) -> float:
        """The coefficient."""
        return self.coefficient

    def learned(self, posterior: Distribution) -> ControlVariate | None:
        """See `Estimator.learned`."""
        return _LearnedCoefficient(self.start, posterior) if self.adaptive else None

    def gradient(self, drawn: Sloped, control: float | tf.Tensor) -> tf.Tensor:
        """Returns the formula of the class, [B, D]."""
        score = drawn.score
        linear = tf.reduce_sum(mean_of_others(drawn.slopes) * score, axis=-1)  # [S, B]
        variance = tf.sigmoid(drawn.logits) * tf.sigmoid(-drawn.logits)  # [B, D]
        put_back = variance * tf.reduce_mean(drawn.slopes, axis=0)
        return leave_one_out(drawn.f - control * linear, score) + control * put_back


class SteinControl(NamedTuple):
    """The parameters of `Rodeo`.

    Attributes:
        baseline: The factor of the control variate of the baseline's values, a scalar.
        own: The factor of that of the sample itself, a scalar.
        correction: Features [..., 2] -> nats [..., 2] that are added to both
            surrogates; None: none.
    """

    baseline: float | tf.Tensor
    own: float | tf.Tensor
    correction: Callable[[tf.Tensor], tf.Tensor] | None = None


class _LearnedStein(ControlVariate):
    """The trained `SteinControl`."""

    def __init__(
        self, start: SteinControl, posterior: Distribution, hidden_sizes: Sequence[int]
    ) -> None:
        super().__init__(posterior)
        self.network = mlp((2,), (2,), hidden_sizes, name="surrogate", dtype=self.dtype)
        self.add_scalar("baseline", start.baseline)
        self.add_scalar("own", start.own)

    def control(self) -> SteinControl:
        """See `ControlVariate.control`."""
        baseline, own = map(tf.convert_to_tensor, (self.baseline, self.own))
        return SteinControl(baseline, own, self._correction)

    def _correction(self, features: tf.Tensor) -> tf.Tensor:
        return batch_apply(self.network, features)


@keras.saving.register_keras_serializable(package="tfvae")
@dataclasses.dataclass(frozen=True)
class Rodeo(_Sloped):
    """Leave-one-out reinforce with discrete Stein operators (Shi et al., 2022).

    With y_i for z with the variable i flipped, and q(y_i|z) for the probability that
    this variable has its value in y_i given the others, the operator

        (A h)(z) = sum_i q(y_i|z) (h(y_i) - h(z))

    has the mean 0 for any function h: it is D times that of a Gibbs sampler. It takes
    two surrogates h_s and k_s of f, means over other samples t of

        linear = f'_t . (y - z_t)
        (h, k) = linear + network(f_t - mean over u != s of f_u, linear),

    which cost no evaluation of the decoder. One has a part in the baseline, the other
    is for the sample itself; the logits' gradient is

        mean_s (f_s - mean over t != s of (f_t + a (A h_t)(z_t))) (z_s - p)
            + b (A (k_s score))(z_s),    score(y) = y - p

    and unbiased for any network, a and b, which go down its squared norm. Both begin at
    0, where it is leave-one-out reinforce.

    The paper's operator is a mean over variables, and not the sum, which lets a near 1
    have the size of a first-order expansion whatever D is. The paper's surrogates have
    no linear term outside of the network, their network is given f_t itself and has 100
    leaky rectifiers, and they are means over all other samples, which is the same here
    for four samples or fewer.

    Attributes:
        hidden_sizes: The units of the network's hidden layers, of tanh.
        num_others: The most other samples in a surrogate. The network is evaluated
            S (D + 1) times for each.
    """

    hidden_sizes: tuple[int, ...] = (32,)
    num_others: int = 3
    method = "log q's gradient; Stein operators' control variates of a learned network"
    paper = "Shi, Zhou, Hwang, Titsias and Mackey (2022)"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        sizes = tuple(require_int("hidden_sizes", units) for units in self.hidden_sizes)
        object.__setattr__(self, "hidden_sizes", sizes)
        require_int("num_others", self.num_others)

    @property
    def start(self) -> SteinControl:
        """The factors 0."""
        return SteinControl(0.0, 0.0)

    def learned(self, posterior: Distribution) -> ControlVariate:
        """See `Estimator.learned`."""
        return _LearnedStein(self.start, posterior, self.hidden_sizes)

    def gradient(self, drawn: Sloped, control: SteinControl) -> tf.Tensor:
        """Returns the formula of the class, [B, D].

        Since q(y_d|z) (y_d - z)_d is -(z_d - p_d), element d of A (k score) is
        (z_d - p_d) ((A k)(z) - k(y_d)).
        """
        here, flipped = surrogates(drawn, control.correction, self.num_others)
        chances = tf.sigmoid((1.0 - 2.0 * drawn.z) * drawn.logits)  # [S, B, D] q(y|z)
        changes = flipped - here[..., tf.newaxis, :]  # [S, B, D, 2]
        moved = tf.reduce_sum(chances[..., tf.newaxis] * changes, axis=-2)  # [S, B, 2]
        baseline = mean_of_others(drawn.f + control.baseline * moved[..., 0])  # [S, B]
        own = control.own * (moved[..., 1:] - flipped[..., 1])  # [S, B, D]
        signals = (drawn.f - baseline)[..., tf.newaxis] + own
        return tf.reduce_mean(signals * drawn.score, axis=0)


def surrogates(
    drawn: Sloped,
    correction: Callable[[tf.Tensor], tf.Tensor] | None,
    num_others: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns both surrogates of `Rodeo` at z, [S, B, 2], and flipped, [S, B, D, 2].

    Sample s has those of the T samples behind it, the last ones the first.
    """
    z, _, f, slopes = drawn
    shifts = range(1, 1 + min(num_others, z.shape[0] - 1))

    def others(values: tf.Tensor) -> tf.Tensor:  # [S, ...] -> [S, T, ...]
        return tf.stack([tf.roll(values, -t, axis=0) for t in shifts], axis=1)

    of_others = others(slopes)  # [S, T, B, D]
    here = tf.reduce_sum(of_others * (z[:, tf.newaxis] - others(z)), axis=-1)
    steps = of_others * (1.0 - 2.0 * z)[:, tf.newaxis]  # [S, T, B, D]
    here = here[..., tf.newaxis]
    linear = tf.concat([here, here + steps], axis=-1)  # [S, T, B, 1 + D]
    found = tf.stack([linear, linear], axis=-1)
    if correction is not None:
        level = others(f) - mean_of_others(f)[:, tf.newaxis]  # [S, T, B]
        level = tf.broadcast_to(level[..., tf.newaxis], tf.shape(linear))
        found += correction(tf.stack([level, linear], axis=-1))
    found = tf.reduce_mean(found, axis=1)  # [S, B, 1 + D, 2]
    return found[..., 0, :], found[..., 1:, :]
