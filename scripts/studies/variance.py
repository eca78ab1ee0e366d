"""How much the gradients of estimators for discrete z vary, and how far off they are.

A model of scikit-learn's digits has few enough Bernoulli variables that the elbo's
gradient is known by a sum over all their states. Each estimator then draws the gradient
for the same images again and again, with as many samples as its evaluations of the
decoder allow: comparisons are at equal cost.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tfvae  # isort: skip  # before Keras, whose backend it chooses
import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.estimators import ESTIMATORS, Estimator, check_combination
from tfvae.objectives import Objective, get_objective

PARTS = ("encoder", "decoder")
_GROUPS = 20  # of the jackknife


class VarianceSize(NamedTuple):
    """How much is computed.

    Attributes:
        latent_size: D Bernoulli variables, of which all 2^D states are summed over.
        epochs: The epochs that the model is trained for before.
        images: B images, whose mean gradient is estimated.
        copies: Independent gradients of each estimator.
        evaluations: Evaluations of the decoder for each image, in turn.
    """

    latent_size: int
    epochs: int
    images: int
    copies: int
    evaluations: tuple[int, ...]


# Evaluations that one, two and three for each sample divide.
FULL_VARIANCE = VarianceSize(10, 60, 50, 1000, (2, 6, 12, 24))
FAST_VARIANCE = VarianceSize(6, 10, 20, 60, (2, 6))
_ADAPTING_STEPS = 1000


class Measured(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


class Spread(NamedTuple):
    """The gradients of one estimator, relative to the exact one's squared norm.

    Attributes:
        estimator: Its name.
        unbiased: Whether it says so.
        evaluations: Evaluations of the decoder for each image.
        num_samples: S.
        variance: The sum of the parameters' variances, by part.
        squared_bias: The squared distance of the mean from the exact gradient, less
            what chance adds to it, by part.
    """

    estimator: str
    unbiased: bool
    evaluations: int
    num_samples: int
    variance: dict[str, Measured]
    squared_bias: dict[str, Measured]


def compare_variances(
    size: VarianceSize = FULL_VARIANCE, seed: int = 0
) -> list[Spread]:
    """Returns the spread of every estimator for the elbo of Bernoulli variables.

    Args:
        size: How much is computed.
        seed: Of the model and of every draw; estimators share their draws' seeds.

    Raises:
        InputError: if there are too few copies for an error.
    """
    require_int("copies", size.copies, least=2 * _GROUPS)
    vae, x = trained(size, seed)
    objective = get_objective("elbo")
    exact = exact_gradient(vae, x)
    found = []
    for evaluations, (name, kind) in itertools.product(
        size.evaluations, ESTIMATORS.items()
    ):
        estimator = kind()
        num_samples = evaluations // estimator.evaluations_per_sample
        equal = evaluations == estimator.evaluations(num_samples)
        if not equal or not _is_defined(estimator, objective, vae, x, num_samples):
            continue
        learned = adapted(estimator, vae, x, num_samples, seed)
        draw = gradient_of(estimator, vae, x, num_samples, learned)
        seeds = [derive_seed(seed, "gradient", i) for i in range(size.copies)]
        draws = [draw(each) for each in seeds]
        by_part = {
            part: statistics(np.stack([d[part] for d in draws]), exact[part])
            for part in PARTS
        }
        found.append(
            Spread(
                name,
                estimator.unbiased(objective),
                evaluations,
                num_samples,
                {part: both[0] for part, both in by_part.items()},
                {part: both[1] for part, both in by_part.items()},
            )
        )
    return found


def trained(size: VarianceSize, seed: int) -> tuple[tfvae.VAE, np.ndarray]:
    """Returns a model of binary digits after some epochs, and images [B, 8, 8, 1]."""
    data = tfvae.data.load("digits")
    how = {"binarization": "dynamic", "seed": seed}
    vae = tfvae.build(
        data.image_shape,
        latent="bernoulli",
        latent_size=size.latent_size,
        hidden_sizes=(64,),
        activation="relu",
        objective="elbo",
        estimator="reinforce",
        num_samples=8,
        learning_rate=3e-3,
        seed=seed,
    )
    vae.fit(
        tfvae.data.training_batches(data.train, 100, **how),
        epochs=size.epochs,
        steps_per_epoch=tfvae.data.steps_per_epoch(data.train, 100),
        verbose=0,
    )
    batches = tfvae.data.evaluation_batches(data.test, size.images, **how)
    return vae, next(iter(batches)).numpy()


def exact_gradient(vae: tfvae.VAE, x: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the gradient of the mean elbo by a sum over all states, by part.

    It is [P], of the P parameters of a part in one vector.
    """
    with tf.GradientTape(persistent=True) as tape:
        mean = exact_elbo(vae, x)
    return {part: _flat(tape, mean, vae, part).numpy() for part in PARTS}


def exact_elbo(vae: tfvae.VAE, x: np.ndarray) -> tf.Tensor:
    """Returns the mean elbo of images by a sum over all states, in nats."""
    size = vae.latent.latent_size
    states = np.array(list(itertools.product([0.0, 1.0], repeat=size)), np.float32)
    z = np.repeat(states[:, np.newaxis], len(x), axis=1)  # [2^D, B, D]
    log_q = vae.encode(x).log_prob(z)  # [2^D, B]
    log_joint = vae.decode(z).log_prob(x) + vae.prior().log_prob(z)
    elbo = tf.reduce_sum(tf.exp(log_q) * (log_joint - log_q), axis=0)
    return tf.reduce_mean(elbo)


def adapted(
    estimator: Estimator, vae: tfvae.VAE, x: np.ndarray, num_samples: int, seed: int
) -> keras.layers.Layer | None:
    """Returns what an estimator learns of its own, trained for this model."""
    learned = estimator.learned(vae.encode(x))
    if learned is None:
        return None
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(learned.trainable_variables)

    @tf.function
    def step(index: tf.Tensor) -> None:
        given = derive_seed(seed, "adapting", index)
        with tf.GradientTape() as tape:
            batch = vae.variational_batch(x, num_samples, given)
            batch = dataclasses.replace(batch, learned=learned)
            loss = -tf.reduce_mean(estimator.estimate(batch).surrogate)
        variables = learned.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    for index in range(_ADAPTING_STEPS):
        step(tf.constant(index))
    return learned


def gradient_of(
    estimator: Estimator,
    vae: tfvae.VAE,
    x: np.ndarray,
    num_samples: int,
    learned: keras.layers.Layer | None = None,
) -> Callable[[tf.Tensor], dict[str, np.ndarray]]:
    """Returns a function from a seed to a draw of the mean gradient, [P] by part."""

    @tf.function
    def draw(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape:
            batch = vae.variational_batch(x, num_samples, seed)
            batch = dataclasses.replace(batch, learned=learned)
            mean = tf.reduce_mean(estimator.estimate(batch).surrogate)
        return {part: _flat(tape, mean, vae, part) for part in PARTS}

    return lambda seed: {part: flat.numpy() for part, flat in draw(seed).items()}


def statistics(draws: np.ndarray, exact: np.ndarray) -> tuple[Measured, Measured]:
    """Returns variance and squared bias of draws [n, P], over |exact|^2.

    Errors are those of the jackknife, which leaves out a group of draws at a time. It
    errs on the safe side: where there is no bias, its error of that is too large, by
    the square root of 2 (Efron and Stein, 1981).
    """
    scale = np.sum(np.square(exact, dtype=np.float64))
    groups = np.array_split(np.asarray(draws, np.float64) - exact, _GROUPS)
    count = np.array([len(group) for group in groups])
    sums = np.array([group.sum(axis=0) for group in groups])  # [G, P]
    squares = np.array([np.square(group).sum() for group in groups])  # [G]

    def both(
        n: np.ndarray, total: np.ndarray, square: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        off = np.sum(np.square(total), axis=-1) / n**2  # |mean - exact|^2
        variance = (square - n * off) / (n - 1)
        return variance / scale, (off - variance / n) / scale

    whole = both(count.sum(), sums.sum(axis=0), squares.sum())
    left_out = both(
        count.sum() - count, sums.sum(axis=0) - sums, squares.sum() - squares
    )
    spread = math.sqrt(_GROUPS - 1)
    variance, bias = (
        Measured(float(value), float(spread * np.std(parts)))
        for value, parts in zip(whole, left_out, strict=True)
    )
    return variance, bias


def variance_table(spreads: Sequence[Spread]) -> str:
    """Returns the spreads in Markdown, one row each, at equal cost together."""
    lines = [
        "| evaluations | estimator | samples | unbiased | variance, encoder "
        "| variance, decoder | squared bias, encoder |",
        "|---:|---|---:|---|---:|---:|---:|",
    ]
    for s in sorted(spreads, key=lambda s: (s.evaluations, s.variance["encoder"])):
        encoder, decoder = (s.variance[part] for part in PARTS)
        bias = s.squared_bias["encoder"]
        lines.append(
            f"| {s.evaluations} | `{s.estimator}` | {s.num_samples} "
            f"| {'yes' if s.unbiased else 'no'} | {encoder.value:.3g} +- "
            f"{encoder.error:.1g} | {decoder.value:.3g} +- {decoder.error:.1g} "
            f"| {bias.value:.4f} +- {bias.error:.4f} |"
        )
    return "\n".join(lines)


def _is_defined(
    estimator: Estimator,
    objective: Objective,
    vae: tfvae.VAE,
    x: np.ndarray,
    num_samples: int,
) -> bool:
    """Returns whether an estimator takes Bernoulli variables and so many samples."""
    try:
        check_combination(estimator, objective, vae.encode(x), num_samples)
    except InputError:
        return False
    return num_samples > 0


def _flat(
    tape: tf.GradientTape, value: tf.Tensor, vae: tfvae.VAE, part: str
) -> tf.Tensor:
    variables = [v.value for v in getattr(vae, part).trainable_variables]
    slopes = tape.gradient(value, variables, unconnected_gradients="zero")
    return tf.concat([tf.reshape(slope, [-1]) for slope in slopes], axis=0)
