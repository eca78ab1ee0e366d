"""Estimators made with a relaxation, against exact expectations.

The noise of a relaxed draw is integrated by the trapezoid rule: with a Gumbel number
g = -x its density is e^(x - e^x), which falls off so fast that the rule is exact to
rounding for smooth functions. Sums over states and draws are those of
`helpers/exact_gradients.py`.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.exact_gradients import PARAMS, assert_unbiased, exact, problem, states
from helpers.models import binary_images, tiny_vae
from scipy import special

from tfvae.core.types import InputError
from tfvae.estimators import (
    ESTIMATORS,
    GumbelRao,
    Rebar,
    Reinforce,
    Reinmax,
    Relax,
    StraightThrough,
    VariationalBatch,
    Vimco,
)
from tfvae.estimators.learned import ControlVariate
from tfvae.estimators.relaxed_families import (
    Bits,
    OneHots,
    perturbed_logits,
    relaxable,
)
from tfvae.export import export_saved_model
from tfvae.objectives import Elbo, Iwae, Miwae, Renyi

FAMILIES = ("bernoulli", "categorical")


# -- noise, exactly --------------------------------------------------------------------


def noise(classes: int, step: float = 0.4) -> tuple[tf.Tensor, tf.Tensor]:
    """Gumbel numbers [n, K] and their weights [n], which sum to 1."""
    x = np.arange(-28.0, 4.5, step)  # beyond: a mass of 1e-12 and of e^-90
    one = np.exp(x - np.exp(x)) * step
    nodes = np.stack(np.meshgrid(*[-x] * classes, indexing="ij"), axis=-1)
    weights = np.prod(np.stack(np.meshgrid(*[one] * classes), axis=-1), axis=-1)
    return tf.constant(nodes.reshape(-1, classes)), tf.constant(weights.ravel())


def given_each_state(probs: np.ndarray) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """u [n, K] and the weights [n] of each state, which sum to its probability."""
    gumbel, weights = noise(len(probs))
    found = []
    for one_hot, chance in zip(np.eye(len(probs)), probs, strict=True):
        state = tf.broadcast_to(tf.constant(one_hot), gumbel.shape)
        found.append((perturbed_logits(np.log(probs), state, gumbel), chance * weights))
    return found


PROBS = [np.array([0.3, 0.7]), np.array([0.15, 0.6, 0.25]), np.array([0.998, 0.002])]


def some_function(u: tf.Tensor) -> tf.Tensor:
    """A smooth function [n] of u [n, K], neither symmetric nor monotone."""
    return tf.sin(u[:, 0]) * tf.exp(-0.1 * u[:, 1] ** 2) + tf.tanh(u[:, -1] - u[:, 0])


@pytest.mark.parametrize("probs", PROBS, ids=len)
def test_perturbed_logits_have_their_largest_at_z_and_together_the_gumbel_law(probs):
    gumbel, weights = noise(len(probs))
    np.testing.assert_allclose(tf.reduce_sum(weights), 1, rtol=1e-8)
    found = 0.0
    for k, (u, chances) in enumerate(given_each_state(probs)):
        assert np.all(np.argmax(u, axis=-1)[chances.numpy() > 1e-20] == k)
        found += tf.reduce_sum(chances * some_function(u))
    wanted = tf.reduce_sum(weights * some_function(np.log(probs) + gumbel))
    # The rule's own error.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("probs", PROBS, ids=len)
def test_the_score_of_a_relaxed_function_is_its_gradient_times_shares(probs):
    """The identity of the control variates: E[c d log q] = E[sum c' e^(u - max) d]."""
    score, through = np.zeros(len(probs)), np.zeros(len(probs))
    for k, (u, chances) in enumerate(given_each_state(probs)):
        with tf.GradientTape() as tape:
            tape.watch(u)
            value = some_function(u)
        slopes = tape.gradient(value, u)
        shares = tf.exp(u - tf.reduce_max(u, axis=-1, keepdims=True))
        mean = tf.reduce_sum(chances * value).numpy()
        score += mean * (np.eye(len(probs))[k] - probs)
        by_log_probs = tf.einsum("n,nk->k", chances, slopes * shares).numpy()
        through += by_log_probs - probs * by_log_probs.sum()
    assert np.max(np.abs(score)) > 1e-4
    np.testing.assert_allclose(through, score, rtol=0, atol=1e-8)


@pytest.mark.parametrize("z", [0.0, 1.0])
def test_relaxed_bits_are_the_first_of_two_relaxed_classes(z):
    """Both moments of softmax(u / temperature) given z, for each bit."""
    copies, temperature = 100_000, 0.5
    logits = PARAMS["bernoulli"][0]
    parts = [tf.constant(np.tile(p, [copies, 1])) for p in PARAMS["bernoulli"]]
    batch = problem("bernoulli", Elbo(), parts, 1, 1.0)
    family = relaxable(batch.posterior, GumbelRao())
    states = tf.fill([1, copies, len(logits)], tf.constant(z, tf.float64))
    u = family.perturbed(batch, states)
    np.testing.assert_array_equal(tf.sign(u), 2 * z - 1)
    found = family.relaxed(u, temperature)[0].numpy()  # [copies, D]
    for d, logit in enumerate(logits):
        p = 1 / (1 + np.exp(-logit))
        of_states = given_each_state(np.array([p, 1 - p]))
        exact_u, chances = of_states[int(1 - z)]
        relaxed = tf.nn.softmax(exact_u / temperature)[:, 0].numpy()
        for power in (1, 2):
            wanted = np.average(relaxed**power, weights=chances)
            draws = found[:, d] ** power
            error = draws.std(ddof=1) / np.sqrt(copies)
            assert abs(draws.mean() - wanted) < 5 * error
            assert 5 * error < 0.05 * draws.std()


def test_bits_have_the_slopes_of_two_classes():
    shape, temperature = (4, 3, 20, 2), 0.6  # [J, S, B, D]
    draw = np.random.default_rng(0)
    logits = tf.constant(draw.normal(0, 3, shape[2:]))
    u, signals = draw.logistic(0, 3, shape), draw.normal(0, 1, (*shape[1:3], 1))
    z, slopes = (u[0] > 0) * 1.0, draw.normal(0, 1, shape[1:])

    def two(first, second):
        return tf.stack([first, second], axis=-1)

    def found(family, logits, z, u, signals, slopes) -> list[np.ndarray]:
        """The gradients by the logits for a loss of slopes by z."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            of = family(logits)
            losses = [
                tf.reduce_sum(slopes * of.with_slope_at_both_ends(z)),
                tf.reduce_sum(slopes * of.with_mean_slope(u, temperature)),
            ]
        gradients = [tape.gradient(loss, logits) for loss in losses]
        return [*gradients, of.logits_gradient(z, u[0], signals, slopes)]

    ours = found(Bits, logits, z, u, signals, slopes)
    # The decoder sees the first class alone; a value of u_1 - u_2 has the slopes +-.
    of_first, of_both = two(slopes, 0 * slopes), two(slopes, -slopes)
    below = two(np.minimum(u, 0), np.minimum(-u, 0))
    given = (OneHots, two(logits, 0 * logits), two(z, 1 - z), below)
    signals = signals[..., np.newaxis]
    theirs = found(*given, signals, of_first)[:2] + found(*given, signals, of_both)[2:]
    for one, other in zip(ours, theirs, strict=True):
        assert np.all(np.abs(one) > 1e-9)
        np.testing.assert_allclose(one, other[..., 0], rtol=1e-9)


@pytest.mark.parametrize("logit", [12.0, 20.0, 80.0, 1e4, -20.0, -1e4])
def test_bits_that_are_nearly_sure_keep_their_digits_in_float32(logit):
    logits = tf.fill([1, 1], np.float32(logit))
    z = tf.constant([[[0.0]], [[1.0]]])  # [S, B, D], one of them all but impossible
    rare = special.expit(-abs(logit))
    other = np.array([1 - rare, rare] if logit > 0 else [rare, 1 - rare])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        stand_in = Bits(logits).with_slope_at_both_ends(z)
    slopes = tape.jacobian(stand_in, logits).numpy().ravel()
    np.testing.assert_allclose(slopes, 0.5 * other, rtol=1e-5)
    for u, share in ((0.0, 1.0), (1e30, 0.0)):  # e^-|u| of the other class
        signals, ones = tf.constant([[[3.0]], [[0.0]]]), tf.ones_like(z)
        found = Bits(logits).logits_gradient(z, u * ones, signals, ones)
        wanted = -3 * other[0] + np.sum(other + (1 - other) * share)
        np.testing.assert_allclose(np.sum(found), wanted, rtol=1e-5)


# -- straight through ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class AtStates(VariationalBatch):
    """A batch whose one draw for each example is given."""

    z: tf.Tensor | None = None

    def draw(self, chunk=None) -> tf.Tensor:
        return self.z


def mean_over_states(estimator, family: str, likelihood=None) -> np.ndarray:
    """The exact mean of the logits' gradient, for one sample and the elbo."""
    z, chances = states(family, [tf.constant(p) for p in PARAMS[family]])
    parts = [tf.Variable(np.tile(p, [len(z), 1])) for p in PARAMS[family]]
    with tf.GradientTape() as tape:
        given = problem(family, Elbo(), parts, 1, 1.0)
        fields = [f.name for f in dataclasses.fields(given) if f.init]
        given = {name: getattr(given, name) for name in fields}
        if likelihood is not None:
            given["log_likelihood"] = likelihood
        batch = AtStates(**given, z=z[tf.newaxis])
        surrogate = tf.reduce_sum(chances * estimator.estimate(batch).surrogate)
    return tf.reduce_sum(tape.gradient(surrogate, parts[0]), axis=0).numpy()


def size_of_bias(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("family", FAMILIES)
def test_reinmax_is_exact_for_what_is_quadratic_in_each_variable(family):
    # So is log p(x|z) of that module, and straight-through is no good for it.
    wanted = exact(family, Elbo(), 1, 1.0)[0]
    found = mean_over_states(Reinmax(), family)
    np.testing.assert_allclose(found, wanted, rtol=1e-11)
    assert size_of_bias(mean_over_states(StraightThrough(), family), wanted) > 0.3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("power", [3, 4])
def test_reinmax_is_biased_beyond_the_second_order_and_less_than_it_was(family, power):
    slope = tf.constant(PARAMS[family][1])

    def likelihood(z: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(slope * z, axis=-1) ** power

    # The mean over states of the score function's gradient is the exact one.
    wanted = mean_over_states(Reinforce(), family, likelihood)
    bias, before = (
        size_of_bias(mean_over_states(estimator, family, likelihood), wanted)
        for estimator in (Reinmax(), StraightThrough())
    )
    # Of the gradient's size: 0.67 and 1.01 for bits, 0.60 and 0.64 for one-hots, where
    # straight-through has 0.97, 1.52, 0.63 and 0.84.
    assert 0.5 < bias < 0.97 * before


def straight_through_gumbel(
    logits: np.ndarray, slopes: np.ndarray, temperature: float
) -> np.ndarray:
    """E[f'(z) d softmax(u / temperature) / d logits] for slopes f'(z) [K, K] by state.

    Of one one-hot variable, written out.
    """
    probs = np.exp(logits) / np.exp(logits).sum()
    total = np.zeros(len(probs))
    for slope, (u, chances) in zip(slopes, given_each_state(probs), strict=True):
        relaxed = tf.nn.softmax(u / temperature).numpy()
        each = relaxed * (slope - relaxed @ slope[:, np.newaxis]) / temperature
        total += chances.numpy() @ each
    return total


CUBE = np.array([1.3, -0.7, 0.5])


def cubed(z: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(CUBE * z, axis=-1) ** 3


def slopes_of_cubed(logits: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Of cubed(z) + log p(z) - log q(z), at each state: [K, K]."""
    log_ratio = prior - np.log(np.exp(prior).sum())
    log_ratio = log_ratio - (logits - np.log(np.exp(logits).sum()))
    at = np.eye(3) @ CUBE
    return 3 * at[:, np.newaxis] ** 2 * CUBE + log_ratio


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_gumbel_rao_has_the_mean_of_straight_through_gumbel_and_less_variance(
    temperature,
):
    logits, prior = PARAMS["categorical"][0], PARAMS["categorical"][2]
    slopes = slopes_of_cubed(logits, prior)
    wanted = straight_through_gumbel(logits, slopes, temperature)
    copies, spreads = 100_000, []
    for num_draws in (1, 10):
        parts = [tf.Variable(np.tile(p, [copies, 1])) for p in PARAMS["categorical"]]
        with tf.GradientTape() as tape:
            given = problem("categorical", Elbo(), parts, 1, 1.0)
            given = dataclasses.replace(given, log_likelihood=cubed)
            estimator = GumbelRao(temperature, num_draws)
            surrogate = estimator.estimate(given).surrogate
        draws = tape.gradient(surrogate, parts[0]).numpy()
        # Its own mean is that of the estimator; log q's own gradient has the mean 0.
        error = draws.std(axis=0, ddof=1) / np.sqrt(copies)
        assert np.all(5 * error < 0.05 * np.linalg.norm(wanted))
        assert np.all(np.abs(draws.mean(axis=0) - wanted) < 5 * error)
        spreads.append(draws.var(axis=0).sum())
    assert spreads[1] < 0.9 * spreads[0]
    # The mean is not the gradient: it is off by 0.60 and 0.58 of its size.
    unbiased = mean_over_states(Reinforce(), "categorical", cubed)
    assert 0.5 < size_of_bias(wanted, unbiased) < 0.7


@pytest.mark.parametrize("name", ["reinmax", "gumbel_rao"])
def test_straight_through_estimators_say_that_they_are_biased(name):
    assert not any(ESTIMATORS[name]().unbiased(o) for o in (Elbo(), Iwae()))


# -- control variates ------------------------------------------------------------------

FIXED = [Rebar(0.5, 1.0, False), Rebar(0.2, 0.6, False), Rebar(2.0, -0.5, False)]


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("estimator", FIXED, ids=str)
@pytest.mark.parametrize("num_samples", [1, 2])
def test_rebar_is_unbiased_for_any_temperature_and_eta(family, estimator, num_samples):
    assert_unbiased(estimator, family, Elbo(), num_samples)


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("objective", "num_samples"), [(Iwae(), 3), (Renyi(0.4), 3), (Miwae(2), 4)]
)
def test_rebar_is_unbiased_for_other_bounds(family, objective, num_samples):
    # One that has little variance: 5 % of the gradient must be seen.
    assert_unbiased(Rebar(0.5, 0.3, False), family, objective, num_samples)


@pytest.mark.parametrize("family", FAMILIES)
def test_rebar_is_unbiased_for_the_loss_with_a_kl_weight(family):
    assert_unbiased(Rebar(0.5, 0.3, False), family, Iwae(), 2, kl_weight=0.4)


def test_without_its_control_variate_rebar_is_vimco():
    family = "categorical"
    found = []
    for estimator in (Rebar(0.5, 0.0, False), Vimco()):
        parts = [tf.Variable(np.tile(p, [50, 1])) for p in PARAMS[family]]
        with tf.GradientTape() as tape:
            given = problem(family, Iwae(), parts, 3, 0.7)
            surrogate = estimator.estimate(given).surrogate
        found.append(tape.gradient(surrogate, parts))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


# -- what they learn -------------------------------------------------------------------

LEARNING = [Rebar(0.7, 0.8), Relax(0.7, 0.8, hidden_sizes=(3,))]


def layer_of(estimator, family: str) -> ControlVariate:
    """Its learned layer, with no weight at 0."""
    parts = [tf.constant(p)[tf.newaxis] for p in PARAMS[family]]
    layer = estimator.learned(problem(family, Elbo(), parts, 1, 1.0).posterior)
    if hasattr(layer, "gain"):
        layer.gain.assign(0.4)
    return layer


def learn(estimator, layer, family, objective, num_samples, copies=50):
    """The gradients of parts [B, ...] and of the layer's weights, of one surrogate."""
    parts = [tf.Variable(np.tile(p, [copies, 1])) for p in PARAMS[family]]
    weights = [] if layer is None else [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        given = problem(family, objective, parts, num_samples, 0.7)
        given = dataclasses.replace(given, learned=layer)
        surrogate = tf.reduce_mean(estimator.estimate(given).surrogate)
    found = tape.gradient(surrogate, [*parts, *weights])
    return found[:3], found[3:]


@pytest.mark.quick(3)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("estimator", LEARNING, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(("objective", "samples"), [(Elbo(), 1), (Iwae(), 3)])
def test_what_is_learned_descends_the_mean_square_of_the_logits_gradient(
    estimator, family, objective, samples
):
    layer = layer_of(estimator, family)
    found = learn(estimator, layer, family, objective, samples)[1]

    def log_mean_square() -> float:
        slopes = learn(estimator, layer, family, objective, samples)[0][0].numpy()
        return float(np.log(np.mean(np.sum(np.square(slopes), axis=-1))))

    moving = 0
    for variable, slope in zip(layer.trainable_variables, found, strict=True):
        start = variable.numpy()
        for index in np.ndindex(start.shape):
            ends = []
            for sign in (1, -1):
                moved = np.array(start)
                moved[index] += sign * 1e-5
                variable.assign(moved)
                ends.append(log_mean_square())
            variable.assign(start)
            wanted = (ends[0] - ends[1]) / 2e-5
            # A step goes up the surrogate. Rounding: 1e-14 over 2e-5; curvature: 1e-10
            # of a third derivative of order 10.
            np.testing.assert_allclose(-slope.numpy()[index], wanted, atol=1e-8)
            moving += abs(wanted) > 1e-4
    assert moving >= 2 + (len(found) > 2)


@pytest.mark.parametrize("estimator", LEARNING, ids=lambda e: type(e).__name__)
def test_what_is_learned_takes_no_part_in_the_models_gradient(estimator):
    layer = layer_of(estimator, "bernoulli")
    # Keras' start is rounded to float32.
    layer.log_temperature.assign(np.log(0.7))
    layer.eta.assign(0.8)
    if hasattr(layer, "gain"):
        layer.gain.assign(0.0)
    fixed = Rebar(0.7, 0.8, adaptive=False)
    found = learn(estimator, layer, "bernoulli", Elbo(), 2)[0]
    wanted = learn(fixed, None, "bernoulli", Elbo(), 2)[0]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    # Decoder and prior do not know how the encoder's gradient is made.
    plain = learn(Reinforce(), None, "bernoulli", Elbo(), 2)[0]
    for one, other in zip(found[1:], plain[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", [Elbo(), Iwae()], ids=lambda o: type(o).__name__)
def test_relax_is_unbiased_whatever_its_network_says(family, objective):
    class Given(Relax):
        """With a network of random weights that the surrogate sees."""

        def estimate(self, batch):
            batch = dataclasses.replace(batch, learned=layer_of(self, family))
            return super().estimate(batch)

    assert_unbiased(Given(0.7, 0.3, hidden_sizes=(4,)), family, objective, 2)


def encoder_variance(vae, x, estimator, draws: int = 300) -> float:
    """The sum of variances of the encoder's gradient, over draws of z alone."""
    weights = [v.value for v in vae.encoder.trainable_variables]

    @tf.function
    def gradient(seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            batch = vae.variational_batch(x, vae.num_samples, seed, True)
            surrogate = tf.reduce_mean(estimator.estimate(batch).surrogate)
        slopes = tape.gradient(surrogate, weights)
        return tf.concat([tf.reshape(slope, [-1]) for slope in slopes], axis=0)

    found = np.stack([gradient(tf.constant([3, i])) for i in range(draws)])
    return float(found.var(axis=0).sum())


@pytest.mark.parametrize(
    ("estimator", "num_samples"), [(Rebar(0.3, 0.5), 1), (Relax(0.3, 0.5), 1)], ids=str
)
def test_training_lowers_the_variance_below_its_start_and_reinforces(
    estimator, num_samples
):
    vae, x = tiny_vae("bernoulli"), binary_images(16, 5)
    how = {"num_samples": num_samples, "jit_compile": False}
    vae.compile(keras.optimizers.Adam(0.02), "elbo", estimator=estimator, **how)
    vae.fit(np.tile(x, [150, 1, 1, 1]), batch_size=16, shuffle=False, verbose=0)
    learned = encoder_variance(vae, x, estimator)
    reinforce = encoder_variance(vae, x, Reinforce())
    vae.learned = None
    start = encoder_variance(vae, x, estimator)
    # Of rebar 5 beside 70 and 221; 300 draws know a variance to 10 % or so.
    assert learned < 0.5 * start and learned < 0.5 * reinforce


# -- in a model ------------------------------------------------------------------------

ALL = [Reinmax(), GumbelRao(), Rebar(), Relax()]


def trained(estimator, steps: int = 2, **how):
    vae = tiny_vae("bernoulli", dtype="float64", head_dtype="float64")
    vae.compile(keras.optimizers.SGD(0.05), "elbo", 2, estimator, seed=1, **how)
    x = binary_images(4)
    logs = [vae.train_on_batch(x, return_dict=True)["loss"] for _ in range(steps)]
    return vae, logs


@pytest.mark.quick(2)
@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_steps_are_the_same_eagerly_and_in_a_graph(estimator):
    one, other = (
        trained(estimator, run_eagerly=eager, jit_compile=False)[0]
        for eager in (True, False)
    )
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_steps_under_xla_are_those_of_a_graph(estimator):
    # Draws are functions of the seed alone, on every device.
    graph, xla = (trained(estimator, jit_compile=jit) for jit in (False, True))
    np.testing.assert_allclose(graph[1], xla[1], rtol=1e-9)
    for a, b in zip(graph[0].weights, xla[0].weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_what_is_learned_is_trained_and_saved_with_the_model(tmp_path):
    vae, _ = trained(Relax(hidden_sizes=(3,)), run_eagerly=True)
    layer, x = vae.learned, binary_images(4)
    assert float(layer.eta) != 1.0 and float(layer.gain) != 0.0
    assert {v.path for v in layer.weights} < {v.path for v in vae.trainable_variables}
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert again.estimator == vae.estimator and again.seed == vae.seed
    assert len(again.weights) == len(vae.weights)
    alone = keras.models.load_model(tmp_path / "vae.keras", compile=False)
    assert alone.learned is None
    assert len(alone.weights) == len(vae.weights) - len(layer.weights)
    np.testing.assert_array_equal(alone(x), vae(x))
    for step in range(2):  # as saved, and after one more step of both
        for one, other in zip(again.weights, vae.weights, strict=True):
            np.testing.assert_array_equal(one, other)
        if not step:
            again.train_on_batch(x), vae.train_on_batch(x)


def test_another_compile_takes_what_was_learned_away():
    vae, _ = trained(Rebar(), run_eagerly=True)
    count = len(vae.trainable_variables)
    vae.compile(estimator="rebar")
    assert float(vae.learned.eta) == 1.0
    assert len(vae.trainable_variables) == count
    vae.compile(estimator="vimco", num_samples=2)
    assert vae.learned is None and len(vae.trainable_variables) == count - 2
    with pytest.raises(InputError):
        vae.compile(estimator="rebar", objective=Elbo(analytic_kl=True))
    assert vae.learned is None


def test_an_export_does_not_hold_what_was_learned(tmp_path):
    vae, _ = trained(Rebar(), run_eagerly=True)
    export_saved_model(vae, tmp_path / "served")
    (index,) = (tmp_path / "served").rglob("variables.index")
    found = tf.train.list_variables(str(index.with_suffix("")))
    shapes = [shape for name, shape in found if name.endswith("VARIABLE_VALUE")]
    ours = vae.encoder.weights + vae.decoder.weights
    assert len(shapes) == len(ours)  # and no scalar


# -- refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GumbelRao(0.0), "temperature 0.0"),
        (lambda: GumbelRao(0.5, 0), "num_draws 0"),
        (lambda: Rebar(-1.0), "temperature -1.0"),
        (lambda: Rebar(1.0, float("nan")), "eta nan"),
        (lambda: Relax(hidden_sizes=(3, 0)), "hidden_sizes 0"),
    ],
)
def test_arguments_out_of_range_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
