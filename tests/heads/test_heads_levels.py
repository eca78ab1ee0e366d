"""Heads over levels: probabilities that add up, to the last digit and at extremes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers.heads import LEVELS, head_of, some_params
from scipy import special, stats

from tfvae.core.types import InputError
from tfvae.heads import (
    HEADS,
    CategoricalLevelsHead,
    DiscretizedLogisticHead,
    DiscretizedLogisticMixtureHead,
)
from tfvae.heads.discretized import DiscretizedLogistic

LOCS = [-1e4, -3.0, -1e-3, 0.0, 0.2, 0.5, 1.0, 1.001, 4.0, 1e4]
SCALES = [1e-6, 1e-5, 1e-3, 0.03, 0.1, 1.0, 1e3, 1e6]


def levels(count: int, dtype: str = "float64") -> np.ndarray:
    """[count, 1]."""
    return (np.arange(count) / (count - 1)).astype(dtype)[:, None]


def grid(dtype: str) -> tuple[tf.Tensor, tf.Tensor]:
    """All locations with all scales, [L, S]."""
    loc, scale = np.meshgrid(LOCS, SCALES, indexing="ij")
    return tf.constant(loc, dtype), tf.constant(scale, dtype)


# -- they add up to one ----------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 0)])
@pytest.mark.parametrize("num_levels", [2, 3, 17, 256])
@pytest.mark.parametrize("name", LEVELS)
def test_levels_sum_to_one(name, num_levels, dtype, tolerance):
    head = HEADS[name]((1,), num_levels=num_levels, dtype=dtype)
    params = some_params(head, 20).astype(dtype)
    log_prob = head(params).log_prob(levels(num_levels, dtype)[:, None])  # [K, 20]
    total = np.exp(log_prob.numpy().astype("float64")).sum(axis=0)
    assert log_prob.shape == (num_levels, 20) and log_prob.dtype == dtype
    np.testing.assert_allclose(total, 1, atol=tolerance or 1e-6 * num_levels, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 0)])
@pytest.mark.parametrize("num_levels", [2, 256])
def test_discretized_logistics_of_any_scale_sum_to_one(num_levels, dtype, tolerance):
    distribution = DiscretizedLogistic(*grid(dtype), num_levels)
    log_prob = distribution.log_prob(levels(num_levels, dtype)[:, None])
    total = np.exp(log_prob.numpy().astype("float64")).sum(axis=0)
    np.testing.assert_allclose(total, 1, atol=tolerance or 1e-6 * num_levels, rtol=0)


# -- formulas --------------------------------------------------------------------------


def test_a_level_has_what_a_logistic_has_between_its_edges():
    loc, scale, k = 0.4, 0.05, np.arange(1, 255)
    oracle = stats.logistic(loc, scale)
    edges = (k - 0.5) / 255, (k + 0.5) / 255
    # Each from the side on which SciPy keeps its digits.
    inside = np.where(
        k / 255 < loc,
        oracle.cdf(edges[1]) - oracle.cdf(edges[0]),
        oracle.sf(edges[0]) - oracle.sf(edges[1]),
    )
    ends = [oracle.cdf(0.5 / 255), oracle.sf(254.5 / 255)]
    wanted = np.log([ends[0], *inside, ends[1]])
    found = DiscretizedLogistic(np.float64(loc), np.float64(scale), 256)
    np.testing.assert_allclose(found.log_prob(levels(256)[:, 0]), wanted, rtol=1e-10)


def test_a_level_in_the_far_tail_has_the_density_times_the_width():
    # exp(-4000) is no float64, and its logarithm is.
    loc, scale = np.float64(-3.6), np.float64(1e-3)
    found = DiscretizedLogistic(loc, scale, 256).log_prob(100 / 255)
    # For u >> 1 sigmoid is 1 - exp(-u): the level's edges are u and u + 1 / 0.255.
    u = (99.5 / 255 - loc) / scale
    wanted = -u + np.log1p(-np.exp(-1 / (255 * scale)))
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_a_wide_logistic_gives_inner_levels_the_width_over_four_scales(scale):
    found = DiscretizedLogistic(tf.constant(0.5), tf.constant(scale), 256)
    # Log of density 1 / (4 scale) times 1 / 255; float32 has seven digits.
    wanted = -np.log(4 * scale * 255)
    np.testing.assert_allclose(found.log_prob([0.2, 0.8]), wanted, rtol=1e-6)


def test_a_mixture_is_the_weighted_sum_of_its_components():
    head = DiscretizedLogisticMixtureHead((2,), num_components=3, dtype="float64")
    single = DiscretizedLogisticHead((1,), dtype="float64")
    params = some_params(head, 1)
    x = levels(256)[[0, 100]].T  # [1, 2]
    logits, locs, raw_scales = params.reshape([3, 3, 2])  # [component, element]
    each = np.stack(
        [
            [
                single(np.array([[locs[m, i], raw_scales[m, i]]])).log_prob(x[:, [i]])
                for i in range(2)
            ]
            for m in range(3)
        ]
    )[..., 0]
    wanted = special.logsumexp(special.log_softmax(logits, axis=0) + each, axis=0)
    np.testing.assert_allclose(head(params).log_prob(x), [wanted.sum()], rtol=1e-12)


def test_equal_components_are_one_component():
    mixture = DiscretizedLogisticMixtureHead((1,), num_components=4, dtype="float64")
    single = DiscretizedLogisticHead((1,), dtype="float64")
    blocks = np.repeat([[0.3, 0.2, -0.4]], 4, axis=0).T.reshape([1, 12])
    x = levels(256)[:, None]  # [256, 1, 1]
    np.testing.assert_allclose(
        mixture(blocks).log_prob(x),
        single(np.array([[0.2, -0.4]])).log_prob(x),
        rtol=1e-12,
    )


def test_an_untrained_scale_is_a_tenth():
    for head in (DiscretizedLogisticHead((1,)), DiscretizedLogisticMixtureHead((1,))):
        scale = head.named_params(head(np.zeros([1, *head.params_shape])))["scale"]
        np.testing.assert_allclose(scale, 0.1, rtol=1e-6)


def test_two_categorical_levels_are_a_bernoulli():
    head = CategoricalLevelsHead((1,), num_levels=2, dtype="float64")
    logits = np.linspace(-30, 30, 13)[:, None]
    found = head(np.concatenate([np.zeros_like(logits), logits], axis=-1))
    oracle = HEADS["bernoulli"]((1,), dtype="float64")(logits)
    for value in (0.0, 1.0):
        x = np.full([13, 1], value)
        # The softmax knows 1 - exp(-30) to float64's 2e-16, relative to 1.
        np.testing.assert_allclose(
            found.log_prob(x), oracle.log_prob(x), rtol=1e-12, atol=1e-15
        )


def test_categorical_params_for_a_mean_have_the_largest_entropy():
    head = CategoricalLevelsHead((1,), num_levels=9, dtype="float64")
    params = head.params_for_mean(np.array([0.3]))
    # Of all with this mean, that whose logits are a straight line.
    np.testing.assert_allclose(np.diff(params, 2), 0, atol=1e-12)
    np.testing.assert_allclose(head(params[None]).mean(), [[0.3]], rtol=1e-12)


# -- extremes --------------------------------------------------------------------------


@pytest.mark.parametrize("num_levels", [2, 256])
def test_any_location_and_scale_has_finite_values_and_gradients(num_levels):
    loc, scale = grid("float32")
    x = levels(num_levels, "float32")[:, None]
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        log_prob = DiscretizedLogistic(loc, scale, num_levels).log_prob(x)
    gradients = tape.gradient(log_prob, [loc, scale])
    assert all(np.all(np.isfinite(found)) for found in [log_prob, *gradients])
    moments = DiscretizedLogistic(loc, scale, num_levels)
    assert np.all(np.isfinite(moments.mean()) & np.isfinite(moments.stddev()))


@pytest.mark.parametrize("name", LEVELS)
def test_float32_levels_are_levels_and_what_lies_between_has_no_probability(name):
    head = HEADS[name]((1,), num_levels=256)
    distribution = head(np.zeros([1, *head.params_shape], "float32"))
    x = np.arange(256, dtype="uint8").astype("float32")
    for scaled in (x / 255, x * np.float32(1 / 255), (x / 255.0).astype("float32")):
        assert np.all(np.isfinite(distribution.log_prob(scaled[:, None, None])))
        assert head.in_support(scaled)
    for wrong in (0.5 / 255, -1 / 255, 256 / 255, 0.5, 3.0, np.inf, np.nan):
        found = distribution.log_prob(tf.constant([[wrong]], tf.float32))
        assert found[0] == -np.inf, wrong
        assert not head.in_support(np.array([0.0, wrong])), wrong


@pytest.mark.parametrize("name", LEVELS)
def test_draws_are_levels_as_often_as_their_probabilities_say(name):
    head = HEADS[name]((1,), num_levels=5, dtype="float64")
    distribution = head(some_params(head, 1))
    count = 20_000
    draws = distribution.sample(count, seed=[5, 6]).numpy().ravel()
    p = np.exp(distribution.log_prob(levels(5)[:, None])).ravel()
    found = np.array([np.mean(draws == value) for value in levels(5)[:, 0]])
    assert found.sum() == 1  # to the last bit k / 4
    assert np.all(np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / count))


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("wrong", [1, 0, 2.5, True])
def test_less_than_two_levels_are_refused(name, wrong):
    with pytest.raises(InputError, match="num_levels .* give an int >= 2"):
        HEADS[name]((3,), num_levels=wrong)


def test_no_components_are_refused():
    with pytest.raises(InputError, match="num_components 0 .* give an int >= 1"):
        DiscretizedLogisticMixtureHead((3,), num_components=0)


@pytest.mark.parametrize("name", LEVELS)
def test_what_makes_the_levels_is_in_the_config(name):
    config = head_of(name).get_config()
    assert config["num_levels"] == LEVELS[name]
    other = HEADS[name].from_config({**config, "num_levels": 7})
    assert other.num_levels == 7 and other.support == "levels k / 6 in [0, 1]"
