"""Heads against SciPy, TFP's other routes, and themselves after loading."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.heads import (
    CONTINUOUS,
    LEVELS,
    NUM_PARAMS,
    UNIT_INTERVAL,
    frozen,
    head_of,
    log_density,
    some_params,
    some_values,
)
from helpers.models import standard_error
from scipy import special

from tfvae.core.types import InputError
from tfvae.heads import HEADS, MIN_SCALE, BernoulliHead, BinConcreteHead

tfd = tfp.distributions
NAMES = sorted(HEADS)


# -- against SciPy ---------------------------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_log_density_mean_and_spread_are_scipys(name):
    head = head_of(name)
    params = some_params(head, 3, 2)
    x = some_values(name, [3, 2, 4])
    found, oracle = head(params), frozen(name, params, 4)
    wanted = log_density(oracle)(x).sum(-1)
    # Rounding in float64 of numbers below 1000; a float32 anywhere is 1e-7 off.
    np.testing.assert_allclose(found.log_prob(x), wanted, rtol=1e-11)
    np.testing.assert_allclose(found.mean(), oracle.mean(), rtol=1e-12)
    # TFP's variance near logits 0 is a difference of numbers up to 3,000 times it.
    rtol = 1e-11 if name == "continuous_bernoulli" else 1e-12
    np.testing.assert_allclose(found.stddev(), oracle.std(), rtol=rtol)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_says_whether_it_is_a_density(name):
    """SciPy's continuous laws have a pdf; probabilities are at most 1 everywhere."""
    head = head_of(name)
    params = some_params(head, 50)
    assert head.is_density == (name in CONTINUOUS)
    assert head.is_probability == (not head.is_density)
    if not head.is_density:
        x = some_values(name, [50, 4])
        assert np.all(head(params).log_prob(x) <= 0)


def test_the_cross_entropy_with_grey_targets_is_no_probability():
    head = BernoulliHead((4,), grey_targets=True)
    assert not head.is_density and not head.is_probability


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_batch_then_event(name):
    head = head_of(name, (2, 3, 5))
    assert head.params_shape == (2, 3, 5 * NUM_PARAMS.get(name, 1))
    found = head(some_params(head, 7, 4))
    assert found.batch_shape == (7, 4) and found.event_shape == (2, 3, 5)
    assert found.log_prob(np.zeros([7, 4, 2, 3, 5])).shape == (7, 4)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_density_of_its_pixels_in_a_row(name):
    flat, image = head_of(name, (30,)), head_of(name, (2, 3, 5))
    params = some_params(image, 4)
    blocks = np.split(params, image.num_params, axis=-1)
    row = np.concatenate([np.reshape(block, [4, 30]) for block in blocks], axis=-1)
    x = some_values(name, [4, 2, 3, 5])
    np.testing.assert_allclose(
        image(params).log_prob(x), flat(row).log_prob(x.reshape([4, 30])), rtol=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
def test_params_for_mean_give_the_mean(name):
    head = head_of(name, (2, 2, 3))
    mean = np.random.default_rng(0).uniform(0.01, 0.99, [2, 2, 3])
    params = head.params_for_mean(mean)
    assert np.shape(params) == head.params_shape
    np.testing.assert_allclose(head(params[None]).mean()[0], mean, rtol=1e-12)


@pytest.mark.parametrize(
    "name", ["bernoulli", "normal_fixed_scale", *UNIT_INTERVAL, *LEVELS]
)
def test_params_for_a_mean_of_zero_or_one_are_finite(name):
    head = head_of(name, (2,))
    params = head.params_for_mean(np.array([0.0, 1.0]))
    np.testing.assert_allclose(head(params[None]).mean()[0], [0.001, 0.999])


# -- they are distributions ------------------------------------------------------------


def test_bernoulli_sums_to_one_over_both_values():
    logits = np.linspace(-30, 30, 13)[:, None]
    distribution = head_of("bernoulli", (1,))(logits)
    total = sum(np.exp(distribution.log_prob(np.full([13, 1], v))) for v in (0.0, 1.0))
    np.testing.assert_allclose(total, 1, rtol=1e-14)


def test_bernoulli_sums_to_one_over_all_images():
    head = head_of("bernoulli", (2, 2, 1))
    images = (np.arange(16)[:, None] >> np.arange(4)) & 1
    likelihood = head(some_params(head, 1))
    total = np.exp(likelihood.log_prob(images.reshape([16, 2, 2, 1]) * 1.0)).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-14)


def integral(density, ends: tuple[float, float], kink: float, pieces: int) -> float:
    """By Gauss and Legendre, in as many pieces on each side of a kink."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    total = 0.0
    for begin, end in ((ends[0], kink), (kink, ends[1])):
        half = (end - begin) / pieces / 2
        middles = begin + half * (2 * np.arange(pieces) + 1)
        x = middles[:, None] + half * nodes
        total += half * np.sum(weights * density(x.ravel()).reshape(x.shape))
    return total


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_heads_integrate_to_one(name):
    head = head_of(name, (1,))
    for params in some_params(head, 3):
        distribution = head(params[None])
        centre = float(distribution.mean()[0, 0])
        spread = float(distribution.stddev()[0, 0])

        def density(x, distribution=distribution):
            return np.exp(distribution.log_prob(x[:, None]))

        # Forty standard deviations leave out less than exp(-56) of a Laplace.
        ends = centre - 40 * spread, centre + 40 * spread
        if name in UNIT_INTERVAL:
            ends = 0.0, 1.0
        if name == "student_t":  # which leaves out less than 1e-9 from there on

            def widened(t, density=density, centre=centre, spread=spread):
                x = centre + spread * np.sinh(t)
                return density(x) * spread * np.cosh(t)

            total, coarser = (integral(widened, (-8, 8), 0.0, n) for n in (80, 40))
        else:
            total, coarser = (integral(density, ends, centre, n) for n in (80, 40))
        assert abs(total - coarser) < 1e-7 and abs(total - 1) < 2e-7


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_mean_and_the_variance_that_are_said(name):
    head = head_of(name)
    distribution = head(some_params(head, 2))
    draws = distribution.sample(4000, seed=[1, 2]).numpy()
    error = np.abs(draws.mean(axis=0) - distribution.mean())
    assert np.all(error < 5 * standard_error(draws))
    squares = (draws - distribution.mean().numpy()) ** 2
    error = np.abs(squares.mean(axis=0) - distribution.variance())
    assert np.all(error < 5 * standard_error(squares))


@pytest.mark.parametrize("name", ["normal", "logistic", "laplace"])
def test_a_collapsed_scale_keeps_the_density_finite(name):
    head = head_of(name, (1,), dtype="float32")
    distribution = head(np.array([[0.5, -200.0]], "float32"))
    assert distribution.stddev()[0, 0] >= np.float32(MIN_SCALE)
    assert np.isfinite(distribution.log_prob([[0.5]]).numpy()).all()


# -- BinConcrete -----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.3, 2 / 3, 1.0, 2.0])
def test_bin_concrete_is_the_relaxed_bernoulli_seen_through_the_sigmoid(temperature):
    logits = np.array([[-2.0, -0.5, 0.0, 1.0, 3.0]])
    z = np.linspace(-6, 6, 9)[:, None, None] * np.ones([1, 1, 5])
    ours = BinConcreteHead((5,), temperature, dtype="float64")(logits)
    theirs = tfd.RelaxedBernoulli(np.float64(temperature), logits=logits)
    bits = special.expit(z)
    # p(z) = p(sigmoid z) d sigmoid/dz.
    wanted = theirs.log_prob(bits).numpy() + np.log(bits) + np.log1p(-bits)
    # 1 - bits loses up to exp(6) of float64's digits.
    np.testing.assert_allclose(ours.log_prob(z), wanted.sum(-1), rtol=1e-10)


def test_bin_concrete_is_finite_where_the_relaxed_bernoulli_is_not():
    logits = tf.fill([2000, 1], 6.0)
    ours = BinConcreteHead((1,), 0.5)(logits)
    z = ours.sample(seed=[1, 2])
    theirs = tfd.RelaxedBernoulli(0.5, logits=logits)
    assert not np.all(np.isfinite(theirs.log_prob(tf.sigmoid(z))))
    assert np.all(np.isfinite(ours.log_prob(z)))


@pytest.mark.parametrize("temperature", [0.3, 1.5])
def test_bin_concrete_draws_are_one_as_often_as_the_bernoulli(temperature):
    logits = np.array([[-3.0, -1.0, 0.0, 2.0]])
    head = BinConcreteHead((4,), temperature, dtype="float64")
    ones = head(logits).sample(20_000, seed=[3, 4]).numpy()[:, 0] > 0
    p = special.expit(logits[0])
    error = np.abs(ones.mean(axis=0) - p)
    assert np.all(error < 5 * np.sqrt(p * (1 - p) / 20_000))


def test_temperature_is_a_weight_that_can_be_changed_after_tracing():
    head = BinConcreteHead((1,), 0.5, dtype="float64")
    spread = tf.function(lambda: head(np.zeros([1, 1])).stddev())
    before = spread().numpy()
    head.temperature.assign(0.25)
    np.testing.assert_allclose(spread(), 2 * before, rtol=1e-12)
    assert head.trainable_variables == []


# -- as Keras layers -------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("leading", [(), (5,)])
def test_wrong_parameter_shapes_are_refused(name, leading):
    head = head_of(name, (2, 3))
    wrong = np.zeros([*leading, 2, 7])
    with pytest.raises(InputError, match=rf"\(.*2, 7\).*{head.params_shape[-1]}\)"):
        head(wrong)
    with pytest.raises(InputError, match="last layer"):
        head(keras.KerasTensor((None, 7)))


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_rebuilt_from_its_config(name):
    head = head_of(name, (2, 3))
    config = head.get_config()
    rebuilt = HEADS[name].from_config(config)
    assert rebuilt.get_config() == config
    params = some_params(head, 4)
    x = some_values(name, [4, 2, 3])
    np.testing.assert_array_equal(rebuilt(params).log_prob(x), head(params).log_prob(x))


def last_layer_models(name: str) -> dict[str, keras.Model]:
    head = head_of(name, (3,), dtype="float32")
    width = head.params_shape[-1]
    sequential = keras.Sequential([keras.Input((5,)), keras.layers.Dense(width), head])
    inputs = keras.Input((5,))
    outputs = head_of(name, (3,), "float32")(keras.layers.Dense(width)(inputs))
    return {"sequential": sequential, "functional": keras.Model(inputs, outputs)}


LOAD_HEADS = """
import pathlib, sys
import tfvae
import keras, numpy as np
folder = pathlib.Path(sys.argv[1])
x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
for path in sorted(folder.glob("*.keras")):
    distribution = keras.models.load_model(path)(x)
    np.save(path.with_suffix(".npy"), distribution.log_prob(y))
"""


@pytest.mark.slow
def test_heads_as_last_layers_survive_saving_and_a_fresh_process(
    tmp_path, fresh_python
):
    x = np.random.default_rng(0).normal(size=[4, 5]).astype("float32")
    y = np.random.default_rng(1).integers(0, 2, [4, 3]).astype("float32")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    wanted = {}
    for name in NAMES:
        for kind, model in last_layer_models(name).items():
            for weight in model.layers[-1].trainable_variables:
                weight.assign_add(0.25)  # what was learned, and no config knows
            assert model.output_shape == (None, 3)
            wanted[f"{name}-{kind}"] = model(x).log_prob(y)
            model.save(tmp_path / f"{name}-{kind}.keras")
    fresh_python(LOAD_HEADS, tmp_path)
    for stem, log_prob in wanted.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{stem}.npy"), log_prob)


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", NAMES)
def test_a_head_after_a_sequential_trains_by_maximum_likelihood(name):
    model = last_layer_models(name)["sequential"]
    x = np.random.default_rng(0).normal(size=[64, 5]).astype("float32")
    y = (x[:, :3] > 0).astype("float32")
    optimizer = keras.optimizers.Adam(0.05)
    losses = []
    for _ in range(20):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model(x).log_prob(y))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.1
