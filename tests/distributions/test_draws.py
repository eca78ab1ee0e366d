"""Every draw has the law that its density says, to the tails."""

from __future__ import annotations

import ast
import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.heads import CONTINUOUS
from helpers.latents import DISCRETE
from helpers.models import LATENTS, slow_but, standard_error, vae_of
from scipy import stats

import tfvae
from tfvae import distributions, priors
from tfvae.distributions import draws
from tfvae.evaluation import score_images
from tfvae.heads import (
    HEADS,
    BinConcreteHead,
    ConcreteHead,
    DiscretizedLogisticHead,
    FlowHead,
    MultivariateNormalHead,
)
from tfvae.latents import LogisticLatent
from tfvae.networks import mlp

tfd = tfp.distributions

QUICK, SLOW = 10**7, 10**9
CHUNK = 10**6  # draws at a time
# Of a test's own chance to fail: a millionth for all that it compares.
RARELY = 1e-8
RAW_ONE = float(np.log(np.expm1(1.0 - 1e-5)))  # softplus(raw) + 1e-5 = 1
TEMPERATURE = 0.5


class Tails(NamedTuple):
    """Draws that a family's standard variable is made of.

    Attributes:
        distribution: Made anew in each graph.
        standard: Draws [n, ...] -> the standard variable, of any shape.
        law: Its law.
        beyond: The distances from 0, to both sides, at which draws are counted.
    """

    distribution: Callable[[], tfd.Distribution]
    standard: Callable[[tf.Tensor], tf.Tensor]
    law: stats.rv_continuous
    beyond: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0)


def as_it_is(z: tf.Tensor) -> tf.Tensor:
    return z


def tempered(z: tf.Tensor) -> tf.Tensor:
    return z * TEMPERATURE


def classes_apart(z: tf.Tensor) -> tf.Tensor:
    """Two Gumbels differ by a Logistic."""
    return TEMPERATURE * (z[..., 0] - z[..., 1])


def of_head(head: str | Callable, size: int = 8) -> Callable[[], tfd.Distribution]:
    head = HEADS[head] if isinstance(head, str) else head

    def distribution() -> tfd.Distribution:
        made = head((size,))
        params = np.zeros(made.params_shape, np.float32)
        if made.params_shape == (2 * size,):
            params[size:] = RAW_ONE
        return made(tf.constant(params))

    return distribution


def full_covariance() -> tfd.Distribution:
    head = MultivariateNormalHead((8,))
    raw = tfp.math.fill_triangular_inverse(RAW_ONE * np.eye(8, dtype=np.float32))
    return head(tf.concat([tf.zeros([8]), raw], axis=0))


def mixture_of_logistics() -> tfd.Distribution:
    prior = priors.MixturePrior(LogisticLatent(8), 3)
    prior.params.assign(np.tile([0.0] * 8 + [RAW_ONE] * 8, [3, 1]))
    return prior.distribution()


def levels() -> tfd.Distribution:
    return distributions.IndependentLogistic and DiscretizedLogisticHead((8,)).call(
        tf.concat([tf.zeros([8]), tf.fill([8], RAW_LEVELS)], axis=0)
    )


RAW_LEVELS = -2.3592
_LEVEL = 255.0 * float(
    DiscretizedLogisticHead((1,))(tf.constant([0.0, RAW_LEVELS])).distribution.scale[0]
)

TAILS = {
    "normal": Tails(of_head("normal"), as_it_is, stats.norm, (4.0, 5.0, 5.8, 6.5)),
    "multivariate_normal": Tails(
        full_covariance, as_it_is, stats.norm, (4.0, 5.0, 5.8, 6.5)
    ),
    "flow": Tails(of_head(FlowHead), as_it_is, stats.norm, (4.0, 5.0, 5.8, 6.5)),
    "logistic": Tails(of_head("logistic"), as_it_is, stats.logistic),
    "laplace": Tails(of_head("laplace"), as_it_is, stats.laplace),
    "bin_concrete": Tails(of_head(BinConcreteHead), tempered, stats.logistic),
    "concrete": Tails(
        lambda: ConcreteHead((4, 3))(tf.zeros([4, 3])), classes_apart, stats.logistic
    ),
    "continuous_bernoulli": Tails(
        lambda: HEADS["continuous_bernoulli"]((8,))(tf.fill([8], -1000.0)),
        lambda x: 1000.0 * x,
        stats.expon,
    ),
    "continuous_bernoulli, above": Tails(
        lambda: HEADS["continuous_bernoulli"]((8,))(tf.fill([8], 1000.0)),
        lambda x: 1000.0 * (1.0 - x),
        stats.expon,
    ),
    # A level above 0 is a draw beyond its lower edge.
    "discretized_logistic": Tails(
        levels,
        lambda x: (255.0 * x - 0.4999) / _LEVEL,
        stats.logistic,
        tuple((k - 0.5) / _LEVEL for k in (12, 25, 37, 50)),
    ),
    # With as many degrees of freedom, 6e-8 lies beyond 80 on each side.
    "student_t": Tails(
        lambda: distributions.StudentT(4.0, tf.zeros([8]), 1.0),
        as_it_is,
        stats.t(4.0),
        (5.0, 15.0, 40.0, 80.0),
    ),
    "prior normal": Tails(
        lambda: priors.standard_normal(8), as_it_is, stats.norm, (4.0, 5.0, 5.8, 6.5)
    ),
    "prior student_t": Tails(
        LATENTS["student_t"](8).prior, as_it_is, stats.norm, (4.0, 5.0, 5.8, 6.5)
    ),
    "prior multivariate_normal": Tails(
        lambda: priors.standard_multivariate_normal(8),
        as_it_is,
        stats.norm,
        (4.0, 5.0, 5.8, 6.5),
    ),
    "prior logistic": Tails(
        lambda: priors.standard_logistic(8), as_it_is, stats.logistic
    ),
    "prior bin_concrete": Tails(
        lambda: priors.tempered_logistic(8, tf.constant(TEMPERATURE)),
        tempered,
        stats.logistic,
    ),
    "prior concrete": Tails(
        lambda: priors.uniform_concrete(4, 3, tf.constant(TEMPERATURE)),
        classes_apart,
        stats.logistic,
    ),
    "prior mixture": Tails(mixture_of_logistics, as_it_is, stats.logistic),
}
# Heads of a Normal, whose tails are those of "normal".
OF_A_NORMAL = {"normal_fixed_scale", "normal_shared_scale"}
ONE_SIDED = (
    "continuous_bernoulli",
    "continuous_bernoulli, above",
    "discretized_logistic",
)


def counted(tails: Tails, total: int, seed: int = 0) -> tuple[int, dict, float]:
    """How many draws there were, how many beyond each distance, and the farthest."""
    sides = tf.constant([*tails.beyond, *(-d for d in tails.beyond)], tf.float32)
    made = tails.distribution()
    size = int(np.prod(tails.standard(made.sample(1, seed=(0, 0))).shape))

    @tf.function
    def some(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        z = made.sample(CHUNK // size, seed=tf.stack([seed, number]))
        x = tf.reshape(tails.standard(z), [-1])
        beyond = [tf.math.count_nonzero(x > d) for d in tf.unstack(sides[:4])]
        beyond += [tf.math.count_nonzero(x < d) for d in tf.unstack(sides[4:])]
        return tf.stack(beyond), tf.reduce_max(tf.abs(x))

    found, farthest, rounds = np.zeros(8, np.int64), 0.0, -(-total // CHUNK)
    for number in range(rounds):
        beyond, most = some(tf.constant(number))
        found += beyond.numpy()
        farthest = max(farthest, float(most))
    return (
        rounds * (CHUNK // size) * size,
        dict(zip(sides.numpy(), found, strict=True)),
        farthest,
    )


def assert_chance_allows(count: int, total: int, probability: float) -> None:
    law = stats.binom(total, probability)
    assert law.sf(count - 1) > RARELY, (
        f"{count} draws, {total * probability:g} expected"
    )
    assert law.cdf(count) > RARELY, f"{count} draws, {total * probability:g} expected"


def check_tails(name: str, tails: Tails, total: int) -> None:
    total, found, farthest = counted(tails, total)
    for distance, count in found.items():
        if distance > 0:
            assert_chance_allows(count, total, tails.law.sf(distance))
        elif name not in ONE_SIDED:
            assert_chance_allows(count, total, tails.law.cdf(distance))
    assert total * 2 * tails.law.sf(farthest) > RARELY


def test_every_density_and_every_family_has_its_tails_counted():
    assert set(CONTINUOUS) <= TAILS.keys() | OF_A_NORMAL
    families = set(LATENTS) - set(DISCRETE)
    assert families <= TAILS.keys()
    assert {f"prior {name}" for name in families - {"flow"}} <= TAILS.keys()


@pytest.mark.parametrize("name", TAILS)
def test_ten_million_draws_have_the_tails_of_their_density(name):
    check_tails(name, TAILS[name], QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", TAILS)
def test_a_thousand_million_draws_have_the_tails_of_their_density(name):
    check_tails(name, TAILS[name], SLOW)


@pytest.mark.slow
def test_tensorflows_own_draws_would_have_been_found():
    theirs = TAILS["logistic"]._replace(
        distribution=lambda: tfd.Logistic(tf.zeros([8]), 1.0)
    )
    with pytest.raises(AssertionError):
        check_tails("logistic", theirs, SLOW)


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", TAILS)
def test_compiled_draws_are_the_same_to_rounding(name):
    """Integer bits are the same under XLA; what is made of them, to rounding."""
    made = TAILS[name].distribution()

    def drawn() -> tf.Tensor:
        return made.sample(1000, seed=(3, 4))

    plain = tf.function(drawn)()
    xla = tf.function(drawn, jit_compile=True)()
    # A few roundings of numbers of size 20; a level or a class may fall otherwise.
    close = np.isclose(plain, xla, rtol=1e-5, atol=2e-6)
    assert np.mean(close) > 0.999


# -- discrete values -------------------------------------------------------------------


def check_rare_values(total: int) -> None:
    logits = tf.constant([-20.0, -15.0, -10.0, -5.0, 5.0, 10.0, 15.0, 20.0])
    bits = distributions.Bernoulli(logits=logits, dtype=tf.float32)
    ones = np.zeros([8])
    for number in range(-(-total // CHUNK)):
        ones += tf.reduce_sum(bits.sample(CHUNK, seed=(1, number)), axis=0).numpy()
    total = -(-total // CHUNK) * CHUNK
    rare = np.where(logits < 0, ones, total - ones)
    for count, logit in zip(rare, logits.numpy(), strict=True):
        assert_chance_allows(int(count), total, stats.logistic.cdf(-abs(logit)))


def test_rare_bits_are_as_rare_as_their_probability():
    check_rare_values(QUICK)


@pytest.mark.slow
def test_rare_bits_are_as_rare_in_a_thousand_million_draws():
    check_rare_values(SLOW)


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("total", slow_but([QUICK], [QUICK, SLOW]))
def test_rare_classes_are_as_rare_as_their_probability(place, total):
    logits = np.array([0.0, 0.5, -0.5, 1.0], np.float32)
    logits[place] = -14.0 if total == QUICK else -19.0
    probabilities = np.exp(logits) / np.exp(logits).sum()
    z = distributions.OneHotCategorical(logits=logits, dtype=tf.float32)
    counts = np.zeros(4)
    for number in range(-(-total // CHUNK)):
        counts += tf.reduce_sum(z.sample(CHUNK, seed=(2, number)), axis=0).numpy()
    for count, probability in zip(counts, probabilities, strict=True):
        assert_chance_allows(int(count), -(-total // CHUNK) * CHUNK, probability)


def test_antithetic_bits_are_those_of_one_minus_u():
    v = tf.constant([-0.9, -0.2, 0.2, 0.9])  # u = 0.55, 0.9, 0.1, 0.45
    logits = tf.constant([[-1.0], [0.0], [1.0]])
    u = np.array([0.55, 0.9, 0.1, 0.45])
    p = 1 / (1 + np.exp(-logits.numpy()))
    np.testing.assert_array_equal(draws.bernoulli(logits, v), u < p)
    np.testing.assert_array_equal(draws.bernoulli(logits, -v), 1 - u < p)


# -- whole laws, and precision ---------------------------------------------------------

STANDARD = {
    "logistic": (draws.standard_logistic, stats.logistic),
    "laplace": (draws.standard_laplace, stats.laplace),
    "gumbel": (draws.standard_gumbel, stats.gumbel_r),
    "exponential": (draws.standard_exponential, stats.expon),
    "normal": (draws.standard_normal, stats.norm),
    "student_t": (
        functools.partial(draws.standard_student_t, df=tf.constant(3.0)),
        stats.t(3.0),
    ),
}


@pytest.mark.parametrize("name", STANDARD)
def test_draws_have_the_whole_law(name):
    draw, law = STANDARD[name]
    x = draw([10**6], tf.constant([5, 6]), tf.float32).numpy()
    assert stats.kstest(x.astype("float64"), law.cdf).pvalue > 1e-6


@pytest.mark.parametrize("name", STANDARD)
def test_float32_draws_are_the_float64_ones_rounded(name):
    draw, _ = STANDARD[name]
    seed = tf.constant([5, 6])
    single, double = (draw([1000], seed, d).numpy() for d in (tf.float32, tf.float64))
    # Roundings of |v| by 2^-24 and of what is made of it, near 0 of the 1 it is near.
    np.testing.assert_allclose(single, double, rtol=2e-6, atol=2e-6)
    # A float16 ends at 6e-8, where draws of a small |v| would be infinite.
    half = draw([10**7], seed, tf.float16).numpy()
    assert half.dtype == np.float16 and np.all(np.isfinite(half))


def test_normal_draws_of_one_radius_are_uncorrelated():
    z = draws.standard_normal([2, 10**6], tf.constant([7, 8]), tf.float32).numpy()
    for first, second in ((z[0], z[1]), (z[0] ** 2, z[1] ** 2)):
        correlation = np.corrcoef(first, second)[0, 1]
        assert abs(correlation) < 5 / np.sqrt(10**6)  # five standard errors


@pytest.mark.parametrize("shape", [[], [3], [0], [2, 3, 1]])
def test_any_shape_is_drawn(shape):
    for draw, _ in STANDARD.values():
        assert draw(shape, tf.constant([0, 1]), tf.float32).shape == shape


@pytest.mark.parametrize("logits", [-1000.0, -3.0, -1.0, -1e-3, 0.0, 1e-3, 0.7, 50.0])
def test_continuous_bernoulli_draws_have_the_whole_law(logits):
    x = distributions.ContinuousBernoulli(logits=logits).sample(10**5, seed=(0, 1))

    def cdf(x: np.ndarray) -> np.ndarray:
        rate = abs(logits)
        if rate == 0:
            return x
        y = x if logits < 0 else 1 - x  # from the likelier end
        below = np.expm1(-rate * y) / np.expm1(-rate)
        return below if logits < 0 else 1 - below

    assert stats.kstest(x.numpy().astype("float64"), cdf).pvalue > 1e-6


# -- importance weights ----------------------------------------------------------------

LAWS = {  # family -> (the head, prior of a scale, law)
    "normal": (distributions.Normal, stats.norm),
    "logistic": (distributions.Logistic, stats.logistic),
    "laplace": (distributions.Laplace, stats.laplace),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("scale", [0.3, 0.7, 2.0], ids="scale={}".format)
def test_importance_weights_have_mean_one(name, scale):
    """E_q[p / q] = 1 for a standard p; up to a distance, p's mass within it.

    For a narrow q the weights' variance is infinite, so that the mean of all is held by
    Markov's inequality alone: it is above 1 / c with a probability of c at most.
    """
    family, law = LAWS[name]
    q, p = family(0.0, scale), family(0.0, 1.0)
    z = q.sample(QUICK // 5, seed=(4, 5))
    weights = tf.exp(p.log_prob(z) - q.log_prob(z)).numpy().astype("float64")
    distance = scale * law.isf(1e-4)  # 400 draws lie farther out
    inside = np.where(np.abs(z) < distance, weights, 0.0)
    error = 5 * standard_error(inside)
    assert abs(inside.mean() - (1 - 2 * law.sf(distance))) < error
    assert weights.mean() < 1 / RARELY
    if scale > 1:
        assert abs(weights.mean() - 1) < 5 * standard_error(weights)


# -- L_K and a known log p(x) ----------------------------------------------------------

# What the encoder puts out, whatever x: a posterior that is much narrower than the
# prior, where a draw too far out would have a huge weight.
NARROW = {
    "normal": [0.0] * 8 + [-1.2] * 8,  # a scale of 0.26
    "logistic": [0.0] * 8 + [-1.2] * 8,
    "multivariate_normal": [0.0] * 8 + [-1.2] * 36,
    "flow": [0.0] * 8 + [-1.2] * 8,
    "student_t": [0.0] * 8 + [-1.2] * 8 + [0.0] * 8,
    "bin_concrete": [0.0] * 8,
    "concrete": [0.0] * 80,
    "bernoulli": [-40.0, 40.0] * 4,
    "categorical": [-40.0, *[0.0] * 9] * 8,
}
OPTIONS = {
    "bin_concrete": {"temperature": 4.0, "prior_temperature": 0.5},
    "concrete": {"temperature": 4.0, "prior_temperature": 0.5},
}
PIXELS = (2, 2, 1)


def test_every_family_has_a_narrow_posterior():
    assert set(NARROW) == set(LATENTS)


def blind_vae(latent: str) -> tfvae.VAE:
    """A model whose decoder and encoder ignore what they are given."""
    family = LATENTS[latent](8, **OPTIONS.get(latent, {}))
    posterior, likelihood = family.posterior_head(), HEADS["bernoulli"](PIXELS)
    encoder = mlp(PIXELS, posterior.params_shape, hidden_sizes=())
    decoder = mlp(family.decoder_shape, likelihood.params_shape, hidden_sizes=())
    for network in (encoder, decoder):
        network.set_weights([np.zeros_like(w) for w in network.get_weights()])
    bias = np.reshape(np.array(NARROW[latent], np.float32), -1)
    encoder.set_weights([np.zeros_like(encoder.get_weights()[0]), bias])
    return vae_of(encoder, decoder, posterior, likelihood, family)


@pytest.mark.slow
@pytest.mark.parametrize(
    "latent",
    slow_but(["logistic"], LATENTS),  # test_rare_bits has the bits
)
def test_no_bound_is_above_the_likelihood_by_more_than_chance_allows(latent):
    """P(L_K > log p(x) + t) <= e^-t for each image, by Markov's inequality.

    In 4e7 draws TensorFlow's own least uniform comes five times, and its weight would
    be too large by 40 nats and more, of which K = 5000 leaves 30.
    """
    count = 1000
    batches = [np.zeros([250, *PIXELS], np.float32)] * (count // 250)
    scores = score_images(blind_vae(latent), batches, num_samples=5000)
    known = -4 * np.log(2)
    excess = scores.log_likelihood - known
    assert excess.max() < np.log(count / 1e-6)
    for t in (1.0, 2.0, 5.0):
        allowed = stats.binom(count, np.exp(-t))
        assert allowed.sf(np.sum(excess > t) - 1) > 1e-6


# -- nothing else draws ----------------------------------------------------------------

OURS = {
    name
    for name in distributions.__all__
    if hasattr(tfd, name) and not name.startswith("Independent")
} | {"RelaxedBernoulli", "RelaxedOneHotCategorical", "Gumbel", "Uniform", "Exponential"}
# TFP's kernel for levels' classes draws from 52 bits where there is no accelerator, and
# takes no memory of their number squared; it is a likelihood's draw, never weighed.
ELSEWHERE = {("heads/discretized.py", "Categorical")}


def test_nothing_outside_of_distributions_draws_from_tfps_classes():
    root = pathlib.Path(tfvae.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if name.startswith("distributions/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(
                node.func, ast.Attribute
            ):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "tfd":
                if node.func.attr in OURS:
                    found.add((name, node.func.attr))
    assert found == ELSEWHERE


# The largest and the least |v|, those next to 1, and one in the middle.
_ENDS = (1.0, 1.0 - 2.0**-24, 2.0**-64, 2.0**-40, 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n in LATENTS if n not in DISCRETE])
def test_draws_at_the_ends_of_the_uniform_numbers_have_slopes(name, dtype, monkeypatch):
    """One in ten million is there, and a NaN among the gradients ends a training."""
    ends = np.array([sign * v for v in _ENDS for sign in (-1, 1)])

    def signed_uniform(shape, seed, dtype):
        count = tf.reduce_prod(tf.convert_to_tensor(shape, tf.int32))
        order = np.random.default_rng(len(given)).permutation(len(ends))
        given.append(order)
        values = tf.constant(ends[order], dtype)
        tiled = tf.tile(values, [count // len(ends) + 1])[:count]
        return tf.reshape(tiled, shape)

    given: list[np.ndarray] = []
    monkeypatch.setattr(draws, "signed_uniform", signed_uniform)
    head = tfvae.latents.LATENTS[name](5).posterior_head()
    rng = np.random.default_rng(0)
    for scale in (0.5, 3.0):
        params = tf.constant(rng.normal(0, scale, [40, *head.params_shape]), dtype)
        with tf.GradientTape() as tape:
            tape.watch(params)
            z = head(params).sample(20, seed=(1, 2))
            total = tf.reduce_sum(tf.math.tanh(z))
        assert np.isfinite(z).all()
        slope = tape.gradient(total, params, unconnected_gradients="zero")
        assert np.isfinite(slope).all()
    assert given or name in ("flow",), "nothing was drawn from the ends"


@pytest.mark.parametrize("df", [0.5, 1.0, 3.0, 30.0, 1e4])
def test_student_t_draws_have_the_slope_of_their_quantiles(df, monkeypatch):
    """By df, of the radius at every |v|, the ends among them."""
    v = np.concatenate([np.array(_ENDS[1:]), np.random.default_rng(0).random(50)])

    def signed_uniform(shape, seed, dtype):
        return tf.constant(np.stack([v, np.zeros_like(v)]), dtype)

    monkeypatch.setattr(draws, "signed_uniform", signed_uniform)

    def drawn(df):
        return draws.standard_student_t([len(v)], (1, 2), tf.float64, df)

    e = -np.log(v)
    radius = np.sqrt(df * np.expm1(2 * e / df))
    given = tf.constant(df, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = drawn(given)
    np.testing.assert_allclose(found, radius, rtol=1e-12)
    power = 2 * e / df
    slope = (np.expm1(power) - power * np.exp(power)) / (2 * radius)
    total = tape.gradient(found, given)
    # The terms of the difference are as large as their square at small e.
    np.testing.assert_allclose(total, slope.sum(), rtol=1e-9)
