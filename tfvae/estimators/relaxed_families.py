"""The families of discrete variables that have a relaxation, given their logits.

A one-hot z of K classes with probabilities pi is the place of the largest of

    u_k = log pi_k + g_k,    g_k ~ Gumbel(0, 1),

and softmax(u / temperature) is a continuous stand-in for it (Maddison, Mnih and Teh,
2017; Jang, Gu and Poole, 2017). A Bernoulli variable is the first of two classes whose
logits are (logits, 0): it is 1 where u = u_1 - u_2 = logits + Logistic(0, 1) is above
0, and sigmoid(u / temperature) stands for it. Bits need no axis of two classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.sharding import draw_for_shard
from tfvae.core.types import InputError
from tfvae.distributions import (
    AnyBernoulli,
    Distribution,
    OneHotCategorical,
    draws,
)
from tfvae.estimators.base import Estimator, estimator_name
from tfvae.estimators.layers import layer_seed, logits_of
from tfvae.estimators.variational_batch import VariationalBatch


class Bits(NamedTuple):
    """Independent Bernoulli variables.

    Attributes:
        logits: [B, ...], or of each sample its own, [S, B, ...].
    """

    logits: tf.Tensor

    def relaxed(self, u: tf.Tensor, temperature: float | tf.Tensor) -> tf.Tensor:
        """Returns what stands for z, of u [..., S, B, ...]."""
        return tf.sigmoid(u / temperature)

    def perturbed(
        self, batch: VariationalBatch, z: tf.Tensor, *leading: int, layer: int = 0
    ) -> tf.Tensor:
        """Draws u given z of a layer, constants [*leading, S, B, ...].

        With the sign 2 z - 1 and a Logistic number g it is

            sign softplus(g - log sigmoid(-sign logits)):

        how far the other class lies below the first, by `perturbed_logits`.
        """
        noise = _noise(draws.standard_logistic, batch, z, leading, layer)
        sign = 2.0 * z - 1.0
        of_other = tf.nn.softplus(sign * tf.stop_gradient(self.logits))
        return sign * tf.nn.softplus(noise + of_other)

    def with_slope_at_both_ends(self, z: tf.Tensor) -> tf.Tensor:
        """Returns what has the gradient of `Reinmax`'s stand-in for z [S, B, ...].

        Its 2 p (1 - p) - pi (1 - pi) / 2 is half the probability of the other value.
        """
        return tf.stop_gradient(0.5 * self._other(z)) * self.logits

    def with_mean_slope(self, u: tf.Tensor, temperature: float) -> tf.Tensor:
        """Returns what has the gradient of the mean of relaxed u [J, S, B, ...]."""
        z = self.relaxed(u, temperature)
        slope = tf.reduce_mean(z * (1.0 - z), axis=0) / temperature
        return tf.stop_gradient(slope) * self.logits

    def logits_gradient(
        self, z: tf.Tensor, u: tf.Tensor, signals: tf.Tensor, slopes: tf.Tensor
    ) -> tf.Tensor:
        """Returns signal d log q(z|x) + slope c(u) of each sample, [S, B, ...].

        With c(u) = sum_k e^(u_k - max u) |d log pi_k / d logits| of the two classes,
        1 for z's own and e^-|u| for the other, each by the probability of the one
        that it is not. The slope by u_2 is that by u_1 with the other sign, and so is
        d log pi_2: both terms have the sign of the slope.

        Args:
            z: [S, B, ...] The samples.
            u: [S, B, ...] Of which they are made.
            signals: [S, B, 1, ...]
            slopes: [S, B, ...] Of any function of relaxed z, by u.

        Returns:
            [S, B, ...] The second part has the mean of the function times
            d log q(z|x).
        """
        other = tf.stop_gradient(self._other(z))
        through_draw = other + (1.0 - other) * tf.exp(-tf.abs(u))
        score = (2.0 * z - 1.0) * other
        return signals * score + slopes * through_draw

    def _other(self, z: tf.Tensor) -> tf.Tensor:
        """Returns the probability of the value that z does not have, |z - pi|."""
        return tf.sigmoid((1.0 - 2.0 * z) * self.logits)


class OneHots(NamedTuple):
    """Independent one-hot variables.

    Attributes:
        logits: [B, ..., K] Those of the classes.
    """

    logits: tf.Tensor

    def relaxed(self, u: tf.Tensor, temperature: float | tf.Tensor) -> tf.Tensor:
        """Returns what stands for z, of u [..., S, B, ..., K]."""
        return tf.nn.softmax(u / temperature)

    def perturbed(
        self, batch: VariationalBatch, z: tf.Tensor, *leading: int, layer: int = 0
    ) -> tf.Tensor:
        """Draws u given z of a layer, constants [*leading, S, B, ..., K]."""
        log_probs = tf.nn.log_softmax(tf.stop_gradient(self.logits))
        noise = _noise(draws.standard_gumbel, batch, z, leading, layer)
        return perturbed_logits(log_probs, z, noise)

    def with_slope_at_both_ends(self, z: tf.Tensor) -> tf.Tensor:
        """Returns `Reinmax`'s stand-in for z [S, B, ..., K], 2 p - pi / 2."""
        probs = tf.nn.softmax(self.logits)
        middle = tf.stop_gradient(0.5 * (z + probs))
        moved = tf.math.log(middle) + self._with_slope_alone()
        return 2.0 * tf.nn.softmax(moved) - 0.5 * probs

    def with_mean_slope(self, u: tf.Tensor, temperature: float) -> tf.Tensor:
        """Returns what has the gradient of the mean of relaxed u [J, S, B, ..., K]."""
        return tf.reduce_mean(
            self.relaxed(u + self._with_slope_alone(), temperature), axis=0
        )

    def logits_gradient(
        self, z: tf.Tensor, u: tf.Tensor, signals: tf.Tensor, slopes: tf.Tensor
    ) -> tf.Tensor:
        """See `Bits.logits_gradient`; all but the signals are [S, B, ..., K]."""
        shares = tf.exp(u - tf.reduce_max(u, axis=-1, keepdims=True))
        by_log_probs = signals * z + shares * slopes
        total = tf.reduce_sum(by_log_probs, axis=-1, keepdims=True)
        return by_log_probs - tf.nn.softmax(tf.stop_gradient(self.logits)) * total

    def _with_slope_alone(self) -> tf.Tensor:
        """Returns zeros with the gradient of the logits."""
        return self.logits - tf.stop_gradient(self.logits)


Relaxable: TypeAlias = Bits | OneHots


def relaxable(posterior: Distribution, estimator: Estimator) -> Relaxable:
    """Returns the variables of a posterior.

    Raises:
        InputError: if it is not of independent Bernoulli or one-hot variables.
    """
    inner = getattr(posterior, "distribution", posterior)
    if isinstance(inner, AnyBernoulli):
        return Bits(logits_of(posterior))
    if isinstance(inner, OneHotCategorical):  # TFP's own stops the gradient by z
        return OneHots(logits_of(posterior))
    raise InputError(
        f"estimator {estimator_name(estimator)!r} is for Bernoulli and one-hot "
        f"posteriors, and this one is {posterior.name}; use 'reinforce' or 'vimco'"
    )


def perturbed_logits(
    log_probs: tf.Tensor, one_hots: tf.Tensor, gumbel: tf.Tensor
) -> tf.Tensor:
    """Returns u [..., K] given the place of its largest element.

        u_k = g_k where z_k = 1, and -log(e^-u_k + e^-(log pi_i + g_i)) for the others i

    Args:
        log_probs: [..., K] log pi, normalised.
        one_hots: [..., K] z.
        gumbel: [..., K] Gumbel(0, 1) noise.

    Paulus, Maddison and Krause (2021), after Maddison, Tarlow and Minka (2014).
    """
    top = tf.reduce_sum(one_hots * gumbel, axis=-1, keepdims=True)
    # As a difference from the largest, which is 0 or more.
    others = top - tf.nn.softplus(top - gumbel - log_probs)
    return tf.where(one_hots > 0.5, top, others)


def _noise(
    draw: Callable,
    batch: VariationalBatch,
    z: tf.Tensor,
    leading: tuple[int, ...],
    layer: int,
) -> tf.Tensor:
    """Draws [*leading, *shape of z] for one layer."""
    seed = derive_seed(layer_seed(batch.seed, layer), "gumbel")
    return draw_for_shard(
        lambda shape: draw(shape, seed, z.dtype),
        [*leading, batch.num_samples, *tf.unstack(tf.shape(z)[1:])],
        batch.shard,
        axis=len(leading) + 1,
    )
