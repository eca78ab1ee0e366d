"""The fast sums of log-probabilities are TFP's, in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tfvae.distributions import IndependentLogistic, Normal, NormalMixture, mixture
from tfvae.distributions.mixtures import Mixture
from tfvae.distributions.tfd import CHECKED_WITH
from tfvae.heads import BernoulliHead
from tfvae.latents import LATENTS

tfd = tfp.distributions
EVENTS = [(1,), (784,), (28, 28, 1), (13, 61, 1), (131,)]  # 131 and 793 = 13 * 61


def test_the_installed_tfp_is_the_one_that_the_names_were_checked_with():
    # Another version: run the suite, look at TFP's release notes, change the constant.
    assert tfp.__version__ == CHECKED_WITH


def both(logits: tf.Tensor, event: tuple[int, ...]) -> tuple:
    """Ours and TFP's."""
    ours = BernoulliHead(event, dtype=logits.dtype.name)(logits)
    plain = tfd.Bernoulli(logits=logits, dtype=logits.dtype)
    return ours, tfd.Independent(plain, len(event))


def some_logits(shape: tuple[int, ...], seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(0, 4, shape))


def some_x(shape: tuple[int, ...], grey: bool = False) -> tf.Tensor:
    x = np.random.default_rng(1).random(shape)
    return tf.constant(x if grey else (x < 0.4).astype("float64"))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("event", EVENTS)
def test_value_and_gradients_are_tfps(event, grey):
    logits, x = some_logits((3, 2, *event)), some_x((2, *event), grey)
    weights = tf.constant([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]], tf.float64)
    found = []
    for which in (0, 1):
        with tf.GradientTape() as tape:
            tape.watch([logits, x])
            value = both(logits, event)[which].log_prob(x)
            total = tf.reduce_sum(weights * value)
        found.append([value, *tape.gradient(total, [logits, x])])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(
    ("x_shape", "logits_shape"),
    [((), (4,)), ((4,), ()), ((4,), (1,)), ((1,), (4,)), ((3, 1), (1, 4)), ((), ())],
)
def test_it_broadcasts_as_tfp_does(x_shape, logits_shape):
    logits, x = some_logits((*logits_shape, 5)), some_x((*x_shape, 5))
    found = []
    for which in (0, 1):
        with tf.GradientTape() as tape:
            tape.watch([logits, x])
            value = both(logits, (5,))[which].log_prob(x)
            squared = tf.reduce_sum(value**2)
        found.append([value, *tape.gradient(squared, [logits, x])])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-11)


def test_it_broadcasts_in_a_graph_that_does_not_know_the_shapes():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 5], tf.float64)] * 2)
    def gradient(x, logits):
        with tf.GradientTape() as tape:
            tape.watch([logits, x])
            value = both(logits, (5,))[0].log_prob(x)
        return value, *tape.gradient(value, [logits, x])

    x, logits = some_x((1, 4, 5)), some_logits((3, 1, 5))
    value, *slopes = gradient(x, logits)
    assert value.shape == (3, 4)
    assert [slope.shape for slope in slopes] == [logits.shape, x.shape]
    expected = tf.reduce_sum(x - tf.sigmoid(logits), axis=1, keepdims=True)
    np.testing.assert_allclose(slopes[0], expected, rtol=1e-12)


@pytest.mark.parametrize("size", [30.0, 100.0, 1e4, 1e30])
def test_sure_pixels_leave_no_rounding_behind(size):
    # All right: a log-probability of 0. One wrong: of -size.
    x = tf.cast(some_x((784,)), tf.float32)
    logits = size * (2 * x - 1)
    ours, _ = both(logits, (784,))
    assert -784 * np.exp(-size) - 1e-7 <= float(ours.log_prob(x)) <= 0
    wrong = tf.concat([1 - x[:1], x[1:]], axis=0)
    np.testing.assert_allclose(ours.log_prob(wrong), -size, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = both(logits, (784,))[0].log_prob(x)
    assert np.all(np.isfinite(tape.gradient(value, logits)))


def test_float32_is_as_close_to_float64_as_tfps():
    logits, x = some_logits((50, 20, 784)), some_x((20, 784))
    exact = both(logits, (784,))[1].log_prob(x).numpy()
    ours, theirs = (
        distribution.log_prob(tf.cast(x, tf.float32)).numpy()
        for distribution in both(tf.cast(logits, tf.float32), (784,))
    )
    # The logits' own rounding, common to both, is 1e-6 of about 1,000 nats.
    assert np.abs(ours - exact).max() < 2 * np.abs(theirs - exact).max()


def test_second_derivatives_are_those_of_the_formula():
    logits, x = some_logits((2, 6)), some_x((2, 6))
    with tf.GradientTape() as outer:
        outer.watch(logits)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            value = both(logits, (6,))[0].log_prob(x)
        slope = inner.gradient(value, logits)
    s = tf.sigmoid(logits)
    np.testing.assert_allclose(outer.gradient(slope, logits), -s * (1 - s), rtol=1e-12)


def test_the_compiled_function_gives_the_same():
    logits, x = some_logits((3, 2, 28, 28, 1)), some_x((2, 28, 28, 1))

    def gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = both(logits, (28, 28, 1))[0].log_prob(x)
        return value, tape.gradient(value, logits)

    wanted = gradient(logits)
    for how in ({}, {"jit_compile": True}):
        for one, other in zip(
            tf.function(gradient, **how)(logits), wanted, strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_to_its_users_it_is_an_independent_bernoulli():
    ours, theirs = both(some_logits((4, 3, 2)), (3, 2))
    assert isinstance(ours, tfd.Independent)
    assert isinstance(ours.distribution, tfd.Bernoulli)
    assert ours.event_shape == theirs.event_shape
    assert ours.batch_shape == theirs.batch_shape
    assert set(np.unique(ours.sample(5, seed=(1, 2)))) == {0, 1}
    for statistic in ("mean", "mode", "variance", "entropy"):
        np.testing.assert_array_equal(
            getattr(ours, statistic)(), getattr(theirs, statistic)()
        )
    other = both(some_logits((4, 3, 2), seed=3), (3, 2))[1]
    np.testing.assert_array_equal(
        tfd.kl_divergence(ours, other), tfd.kl_divergence(theirs, other)
    )
    x = some_x((3, 2))
    np.testing.assert_allclose(ours[1:3].log_prob(x), ours.log_prob(x)[1:3])
    np.testing.assert_allclose(ours.copy().log_prob(x), ours.log_prob(x))
    integers = tf.cast(x, tf.int32)
    np.testing.assert_array_equal(ours.log_prob(integers), ours.log_prob(x))


# -- Logistic --------------------------------------------------------------------------


def logistics(loc, scale) -> tuple:
    """Ours and TFP's."""
    single = tfd.Logistic(loc, scale)
    return IndependentLogistic(single, 1), tfd.Independent(single, 1)


@pytest.mark.parametrize("size", [1, 50, 67, 128])
@pytest.mark.parametrize("shared", [False, True])
def test_logistic_densities_and_gradients_are_tfps(size, shared):
    rng = np.random.default_rng(0)
    loc = tf.constant(rng.normal(0, 2, [3, size]))
    scale = tf.constant(1.7, tf.float64) if shared else tf.exp(0.3 * loc)
    x = tf.constant(rng.normal(0, 5, [4, 3, size]))
    found = []
    for which in (0, 1):
        with tf.GradientTape() as tape:
            tape.watch([loc, scale, x])
            value = logistics(loc, scale)[which].log_prob(x)
            total = tf.reduce_sum(tf.sin(value))
        found.append([value, *tape.gradient(total, [loc, scale, x])])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("x", [0.0, 30.0, -200.0, 1e30])
def test_logistic_tails_are_finite_and_linear(x):
    ours, _ = logistics(tf.zeros([50]), tf.ones([50]))
    x = tf.fill([50], x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = ours.log_prob(x)
    wanted = stats.logistic.logpdf(x.numpy().astype("float64")).sum()
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert np.all(np.abs(tape.gradient(value, x)) <= 1)


def test_to_its_users_it_is_an_independent_logistic():
    ours, theirs = logistics(tf.ones([4, 3]), 2.0)
    assert isinstance(ours, tfd.Independent)
    np.testing.assert_array_equal(
        ours.sample(5, seed=(1, 2)), theirs.sample(5, seed=(1, 2))
    )
    np.testing.assert_array_equal(ours.stddev(), theirs.stddev())
    np.testing.assert_allclose(ours[1:3].log_prob(0.5), ours.log_prob(0.5)[1:3])


@pytest.mark.parametrize("latent", ["logistic", "bin_concrete"])
def test_logistic_families_have_it(latent):
    family = LATENTS[latent](3)
    assert isinstance(family.prior(), IndependentLogistic)
    head = family.posterior_head()
    assert isinstance(head(tf.zeros([2, *head.params_shape])), IndependentLogistic)


# -- mixtures of Normals ---------------------------------------------------------------


def mixture_of(dtype: str, smallest: float) -> tuple:
    """Locations, scales [K, D], logits [K], and points [2, N, D] near components."""
    rng = np.random.default_rng(4)
    loc = rng.normal(size=(6, 5))
    scale = np.exp(rng.uniform(np.log(smallest), np.log(2.0), size=(6, 5)))
    z = loc[rng.integers(6, size=(2, 7))]
    z = z + scale[rng.integers(6, size=(2, 7))] * rng.normal(size=(2, 7, 5))
    return tuple(a.astype(dtype) for a in (loc, scale, rng.normal(size=6), z))


def density(made, loc, scale, logits, z):
    normals = tfd.Independent(tfd.Normal(loc, scale), 1)
    return made(tfd.Categorical(logits=logits), normals).log_prob(z)


@pytest.mark.parametrize("smallest", [1e-5, 1e-2])
def test_a_mixtures_density_keeps_float32s_digits(smallest):
    """Squares cancel: of a scale of 1e-5, all ten digits of (z - loc)^2 / scale^2."""
    parts = mixture_of("float32", smallest)
    loc, scale, logits, z = (np.float64(part) for part in parts)
    each = stats.norm.logpdf(z[..., np.newaxis, :], loc, scale).sum(-1)
    expected = special.logsumexp(each + special.log_softmax(logits), axis=-1)
    found = density(mixture, *(tf.constant(part) for part in parts))
    assert found.shape == (2, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_mixtures_gradient_is_that_of_tfp():
    values = [tf.constant(part) for part in mixture_of("float64", 0.1)]
    gradients = []
    for made in (mixture, tfd.MixtureSameFamily):
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(density(made, *values))
        gradients.append(tape.gradient(total, values))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_mixture_of_normals_is_fast_and_others_are_tfps():
    loc, weights = tf.zeros([3, 2]), tfd.Categorical(logits=tf.zeros([3]))
    normals = tfd.Independent(tfd.Normal(loc, 1.0), 1)
    assert type(mixture(weights, normals)) is NormalMixture
    logistics = tfd.Independent(tfd.Logistic(loc, 1.0), 1)
    assert type(mixture(weights, logistics)) is Mixture


def test_a_mixtures_draws_have_its_law():
    logits, loc = [0.0, -1.0, 1.0], tf.constant([[-4.0], [0.0], [5.0]])
    made = mixture(tfd.Categorical(logits=logits), tfd.Independent(Normal(loc, 0.5), 1))
    z = made.sample(10**5, seed=(0, 1)).numpy()[:, 0].astype("float64")
    shares = special.softmax(logits)

    def cdf(z: np.ndarray) -> np.ndarray:
        each = [stats.norm.cdf(z, m[0], 0.5) for m in loc.numpy()]
        return shares @ np.array(each)

    assert stats.kstest(z, cdf).pvalue > 1e-6
    many = mixture(
        tfd.Categorical(logits=tf.zeros([2, 3])),
        tfd.Independent(tfd.Poisson(tf.ones([2, 3, 4])), 1),
    )
    assert many.sample(5, seed=(0, 1)).shape == (5, 2, 4)
