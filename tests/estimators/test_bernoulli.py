"""Estimators for Bernoulli latent variables: laws of draws, limits, exact cases."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers import hierarchies
from helpers.learned import with_random_layer
from helpers.models import binary_images, standard_error, tiny_vae

from tfvae.core.sharding import BatchShard
from tfvae.core.types import InputError
from tfvae.distributions import Bernoulli, draws
from tfvae.estimators import ESTIMATORS, DoubleCv, VariationalBatch, get_estimator
from tfvae.estimators.bernoulli import (
    Disarm,
    DrawnLayer,
    Ugc,
    bernoulli_of,
    coupled_bernoulli,
)
from tfvae.objectives import Elbo, Iwae, Objective

tfd = tfp.distributions

NEW = ["arms", "double_cv", "rodeo", "bitflip", "ugc"]
LOGITS = np.array([0.4, -0.9, 2.5, -7.0, 0.0])
D = len(LOGITS)


def linear(z: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(z * tf.range(1.0, D + 1, dtype=z.dtype), axis=-1)


def curved(z: tf.Tensor) -> tf.Tensor:
    return -2.0 * tf.square(0.4 * linear(z) - 0.8) + z[..., 0] * z[..., 1]


def batch_of(
    logits: tf.Tensor,
    objective: Objective,
    num_samples: int,
    log_likelihood=curved,
    seed=(1, 2),
    shard: BatchShard | None = None,
) -> VariationalBatch:
    """The prior is fair."""

    def posterior(params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(Bernoulli(logits=params, dtype=params.dtype), 1)

    return VariationalBatch(
        objective=objective,
        posterior_params=tf.convert_to_tensor(logits),
        make_posterior=posterior,
        make_stopped_posterior=lambda params: posterior(tf.stop_gradient(params)),
        make_prior=lambda: posterior(tf.zeros([D], logits.dtype)),
        log_likelihood=log_likelihood,
        num_samples=num_samples,
        kl_weight=1.0,
        seed=tf.constant(seed),
        shard=shard,
    )


def made(estimator):
    """The estimator; what it learns has random values."""
    q = batch_of(tf.constant(LOGITS)[tf.newaxis], Elbo(), 1).posterior
    return with_random_layer(get_estimator(estimator), q)


def gradients(estimator, objective, num_samples, copies=1, logits=LOGITS, **how):
    """Estimates [copies, D], and the terms."""
    estimator = made(estimator)
    variable = tf.Variable(np.tile(logits, [copies, 1]))
    with tf.GradientTape() as tape:
        batch = batch_of(variable, objective, num_samples, **how)
        terms, surrogate = estimator.estimate(batch)
    return tape.gradient(surrogate, variable).numpy(), terms


def exact(objective: Objective, num_samples: int, log_likelihood=curved) -> np.ndarray:
    """The gradient of the mean over all tuples of states."""
    z = np.array(list(itertools.product([0.0, 1.0], repeat=D)))
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        q = tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float64), 1)
        log_q = q.log_prob(z)  # [2^D]
        log_weights = log_likelihood(tf.constant(z)) - D * np.log(2) - log_q
        grid = np.array(list(itertools.product(range(len(z)), repeat=num_samples))).T
        values = objective.value(tf.gather(log_weights, grid))
        chances = tf.exp(tf.reduce_sum(tf.gather(log_q, grid), axis=0))
        expected = tf.reduce_sum(chances * values)
    return tape.gradient(expected, logits).numpy()


# -- the law of coupled draws ----------------------------------------------------------


def drawn(samples: int, copies: int, logits=LOGITS, dtype=tf.float64):
    """Coupled draws [S, copies, D] and the factor [D]."""
    shape, seed = [samples, copies, len(logits)], tf.constant([3, 4])
    exponential = draws.standard_exponential(shape, seed, dtype)
    z, factor = coupled_bernoulli(tf.constant(logits, dtype)[tf.newaxis], exponential)
    return z.numpy(), factor.numpy()[0]


def mass_of_both(samples: int, r: float) -> float:
    """P(two of the samples have the rarer value), from the law of two of a Dirichlet.

    d_1 is Beta(1, S - 1), and d_2 / (1 - d_1) is Beta(1, S - 2): one integral.
    """
    from scipy import integrate, stats

    threshold = 1 - r ** (1 / (samples - 1))
    if samples == 2:
        return max(0.0, 1 - 2 * threshold)  # d_2 is 1 - d_1
    second = stats.beta(1, samples - 2)
    density = stats.beta(1, samples - 1).pdf
    return integrate.quad(
        lambda d: density(d) * second.sf(threshold / (1 - d)),
        threshold,
        1 - threshold,
        epsabs=1e-13,
    )[0]


@pytest.mark.parametrize("samples", [2, 3, 5, 20])
def test_the_factor_of_coupled_draws_is_that_of_their_exact_correlation(samples):
    logits = np.array([0.0, 0.3, -1.0, 2.5, -4.0])
    _, factor = drawn(samples, 1, logits)
    r = 1 / (1 + np.exp(np.abs(logits)))
    both = np.array([mass_of_both(samples, each) for each in r])
    correlation = (both - r**2) / (r * (1 - r))
    assert np.all(correlation <= 0) and np.all(correlation >= -1)
    # The quadrature's error, 1e-13 of a mass of 1e-2.
    np.testing.assert_allclose(1 / factor, 1 - correlation, rtol=1e-9)


@pytest.mark.parametrize("samples", [2, 3, 8])
def test_coupled_draws_have_their_probabilities_and_their_correlation(samples):
    copies = 400_000
    z, factor = drawn(samples, copies)
    p = 1 / (1 + np.exp(-LOGITS))
    for s in range(samples):
        error = np.sqrt(p * (1 - p) / copies)
        assert np.all(np.abs(z[s].mean(axis=0) - p) < 5 * error)
    wanted = (1 - 1 / factor) * p * (1 - p)
    for s, t in itertools.combinations(range(min(samples, 3)), 2):
        products = (z[s] - p) * (z[t] - p)
        error = standard_error(products)
        assert np.all(np.abs(products.mean(axis=0) - wanted) < 5 * error + 1e-12)
    # Variables are independent of each other.
    across = (z[0][:, 0] - p[0]) * (z[1][:, 1] - p[1])
    assert abs(across.mean()) < 5 * across.std() / np.sqrt(copies)
    assert wanted[0] < -0.02  # they are coupled at all


@pytest.mark.parametrize("samples", [2, 4])
def test_coupled_draws_keep_rare_probabilities_in_float32(samples):
    copies, logit = 4_000_000, 13.0
    z, _ = drawn(samples, copies, np.array([logit]), tf.float32)
    expected = samples * copies / (1 + np.exp(logit))
    assert expected > 15
    # Coupled counts vary less than independent ones, a Poisson number.
    assert abs(np.sum(z == 0) - expected) < 5 * np.sqrt(expected)


def test_coupled_draws_of_huge_logits_are_sure_and_finite():
    logits = np.array([1e4, -1e4, 80.0])
    z, factor = drawn(7, 1000, logits, tf.float32)
    np.testing.assert_array_equal(z, np.broadcast_to([1.0, 0.0, 1.0], z.shape))
    np.testing.assert_array_equal(factor, 1.0)


def test_many_coupled_samples_are_nearly_independent():
    _, factor = drawn(2000, 1, np.array([0.0, 1.0, -3.0]))
    np.testing.assert_allclose(factor, 1, atol=2e-3)  # a correlation of order 1 / S


# -- limits and exact cases ------------------------------------------------------------


def test_two_coupled_samples_have_the_gradient_of_an_antithetic_pair():
    z, factor = drawn(2, 1000)
    f = curved(tf.constant(z)).numpy()  # [2, copies]
    signals = 0.5 * (f - f[::-1])
    arms = np.sum(signals[..., None] * (z - 1 / (1 + np.exp(-LOGITS))), axis=0) * factor
    pairs = 0.5 * (f[0] - f[1])[:, None] * (z[0] - z[1])
    pairs = pairs / (1 + np.exp(-np.abs(LOGITS)))
    np.testing.assert_allclose(arms, pairs, rtol=0, atol=1e-13)
    assert np.std(pairs[:, 0]) > 0.1


@pytest.mark.parametrize("samples", [2, 5])
def test_double_cv_is_exact_where_the_decoder_is_linear(samples):
    wanted = exact(Elbo(), 1, linear)
    estimator = DoubleCv(1.0, adaptive=False)
    found, _ = gradients(estimator, Elbo(), samples, 50, log_likelihood=linear)
    # No noise at all: rounding of numbers of size 10.
    np.testing.assert_allclose(found, np.tile(wanted, [50, 1]), rtol=0, atol=1e-12)
    noisy, _ = gradients("reinforce", Elbo(), samples, 50, log_likelihood=linear)
    assert noisy.std(axis=0).max() > 0.1


def test_control_variates_lower_the_noise_where_the_decoder_is_nearly_linear():
    def mild(z: tf.Tensor) -> tf.Tensor:
        return linear(z) - 0.005 * tf.square(linear(z))

    plain, controlled = (
        gradients(each, Elbo(), 4, 20_000, log_likelihood=mild)[0].std(axis=0)
        for each in ("reinforce", DoubleCv(1.0, adaptive=False))
    )
    moving = np.abs(LOGITS) < 5
    assert np.all(controlled[moving] < 0.5 * plain[moving])


def test_bitflip_changes_one_logit_of_an_elbo_at_a_time_and_all_alike_often():
    found, _ = gradients("bitflip", Elbo(), 1, 50_000)
    changed = found != 0
    assert np.all(changed.sum(axis=1) <= 1)
    often = changed.mean(axis=0)
    # A difference of exactly 0 hides a flip; there is none here.
    assert np.all(np.abs(often - 1 / D) < 5 * np.sqrt(0.2 * 0.8 / 50_000))


def test_bitflip_of_one_variable_has_the_exact_gradient_without_noise():
    logits = np.array([0.7])
    variable = tf.Variable(np.tile(logits, [20, 1]))

    def value(z: tf.Tensor) -> tf.Tensor:
        return 3.0 * z[..., 0]

    with tf.GradientTape() as tape:
        batch = batch_of(variable, Elbo(), 1, value)
        batch = dataclasses.replace(
            batch,
            make_prior=lambda: tfd.Independent(
                tfd.Bernoulli(logits=tf.zeros([1], tf.float64), dtype=tf.float64), 1
            ),
        )
        surrogate = ESTIMATORS["bitflip"]().estimate(batch).surrogate
    p = 1 / (1 + np.exp(-0.7))
    # d / d logit of 3 p + the entropy, whose own part is -logit p (1 - p).
    wanted = p * (1 - p) * (3.0 - 0.7)
    np.testing.assert_allclose(tape.gradient(surrogate, variable), wanted, rtol=1e-12)


def test_ugc_is_disarm_where_no_variable_is_sure():
    logits = np.array([0.4, -0.9, 1.5, -1.0, 0.0])  # all r above 1 / (2 D) = 0.1
    v = draws.signed_uniform([3, 1, D], tf.constant([1, 2]), tf.float64)
    given = tf.constant(logits)[tf.newaxis]
    batch, z = batch_of(given, Elbo(), 3), draws.bernoulli(given, v)
    layer = DrawnLayer(given, v, z)
    one, none = Ugc().twins(batch, layer, 0)
    for mine, other in zip(one, Disarm().twins(batch, layer, 0)[0], strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(none.weight, 0)
    np.testing.assert_array_equal(none.z, z)


def test_ugc_flips_the_variables_that_are_nearly_sure():
    logits = tf.constant([[0.4, -5.0, 1.5, 6.0, -7.0]], tf.float64)
    shape = [900, 1, D]
    v = draws.signed_uniform(shape, tf.constant([1, 2]), tf.float64)
    z = draws.bernoulli(logits, v)
    batch, layer = batch_of(logits, Elbo(), 900), DrawnLayer(logits, v, z)
    twin, flip = Ugc().twins(batch, layer, 0)
    sure = np.array([False, True, False, True, True])
    np.testing.assert_array_equal(twin.weight.numpy()[0] == 0, sure)
    flipped = (flip.z != z).numpy()[:, 0]  # [S, D]
    np.testing.assert_array_equal(flipped.sum(axis=1), 1)
    # 300 of each are expected, with a standard deviation of 14.
    np.testing.assert_array_equal(flipped.sum(axis=0) > 0, sure)
    assert np.all(np.abs(flipped.sum(axis=0)[sure] - 300) < 5 * 14.2)


def test_nearly_sure_variables_have_less_noise_by_ugc_than_by_disarm():
    logits = np.array([0.4, -6.0, 0.2, -6.0, 6.0])
    disarm, ugc = (
        gradients(name, Elbo(), 1, 200_000, logits)[0].std(axis=0)
        for name in ("disarm", "ugc")
    )
    sure = np.abs(logits) > 5
    assert np.all(ugc[sure] < 0.5 * disarm[sure])
    np.testing.assert_allclose(ugc[~sure], disarm[~sure], rtol=0.05)


# -- graphs, replicas, dtypes ----------------------------------------------------------


@pytest.mark.parametrize("name", NEW)
def test_a_gradient_is_the_same_eagerly_in_a_graph_and_under_xla(name):
    variable = tf.Variable(np.tile(LOGITS, [6, 1]))

    estimator = made(name)

    def slopes() -> tf.Tensor:
        with tf.GradientTape() as tape:
            batch = batch_of(variable, Elbo(), 4)
            surrogate = estimator.estimate(batch).surrogate
        return tape.gradient(surrogate, variable)

    eager = slopes().numpy()
    assert np.std(eager) > 0.01
    for jit_compile, tolerance in ((False, 1e-13), (True, 1e-10)):
        found = tf.function(slopes, jit_compile=jit_compile)()
        np.testing.assert_allclose(found, eager, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NEW)
def test_shards_draw_what_the_whole_batch_draws(name):
    whole = gradients(name, Elbo(), 3, 5)[0]
    parts = []
    for start, size in ((0, 2), (2, 3)):
        shard = BatchShard(*map(tf.constant, (start, size, 5)))
        parts.append(gradients(name, Elbo(), 3, size, shard=shard)[0])
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", NEW)
def test_half_precision_networks_train(name, policy):
    vae, x = tiny_vae("bernoulli", dtype=policy), binary_images(8)
    vae.compile(keras.optimizers.Adam(0.01), "elbo", 3, name, run_eagerly=True)
    before = [v.numpy() for v in vae.trainable_variables]
    losses = [vae.train_on_batch(x, return_dict=True)["loss"] for _ in range(2)]
    assert np.all(np.isfinite(losses))
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        assert np.all(np.isfinite(variable)) and np.any(old != variable.numpy())


@dataclasses.dataclass(frozen=True)
class Own(Objective):
    """A user's objective, without closed forms."""

    def value(self, log_weights: tf.Tensor) -> tf.Tensor:
        return Iwae().value(log_weights)

    def coefficients(self, log_weights: tf.Tensor) -> tf.Tensor:
        return Iwae().coefficients(log_weights)


@pytest.mark.parametrize("name", ["reinforce", "vimco", "disarm", "ugc"])
def test_an_objective_without_closed_forms_has_the_same_gradient(name):
    found, wanted = (gradients(name, o, 4, 3)[0] for o in (Own(), Iwae()))
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["disarm", *NEW])
def test_a_posterior_of_another_kind_is_refused_by_name(name):
    mixture = tfd.MultivariateNormalDiag(tf.zeros([D]), name="Chain")
    with pytest.raises(ValueError, match=rf"^estimator '{name}'[^\n]*Chain[^\n]*$"):
        bernoulli_of(ESTIMATORS[name](), mixture)


@pytest.mark.parametrize("name", ["arms", "double_cv", "rodeo"])
def test_a_hierarchy_is_refused_where_samples_must_share_a_distribution(name):
    with pytest.raises(InputError, match=rf"^estimator '{name}'[^\n]*use 'disarm'"):
        hierarchies.model("bernoulli").compile(estimator=name, num_samples=2)


def test_models_saved_when_disarm_was_in_another_module_load():
    saved = keras.saving.serialize_keras_object(Disarm())
    saved["module"] = "tfvae.estimators.discrete"
    assert keras.saving.deserialize_keras_object(saved) == Disarm()
