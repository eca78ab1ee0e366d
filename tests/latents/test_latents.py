"""Latent families: what belongs together does."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.latents import DISCRETE, ONE_HOT, RELAXED
from scipy import special, stats

from tfvae.latents import (
    LATENTS,
    BernoulliLatent,
    BinConcreteLatent,
    CategoricalLatent,
    ConcreteLatent,
    Latent,
)

tfd = tfp.distributions
NAMES = sorted(LATENTS)


def family_of(name: str, size: int = 4, dtype: str | None = "float64") -> Latent:
    """A family with arguments that are not the defaults."""
    arguments = {
        "num_classes": 5,
        "temperature": 0.4,
        "prior_temperature": 0.6,
        "num_flows": 3,
        "hidden_sizes": (7, 6),
        "seed": 8,
    }
    known = inspect.signature(LATENTS[name]).parameters
    taken = {key: value for key, value in arguments.items() if key in known}
    return LATENTS[name](size, dtype=dtype, **taken)


def some_params(family: Latent, *batch: int) -> np.ndarray:
    shape = [*batch, *family.posterior_head().params_shape]
    return np.random.default_rng(3).normal(0, 1, shape)


@pytest.mark.parametrize("name", NAMES)
def test_posterior_prior_and_draws_are_over_the_same_event(name):
    family = family_of(name)
    head = family.posterior_head()
    posterior, prior = head(some_params(family, 2)), family.prior()
    assert family.event_shape == ((4, 5) if name in ONE_HOT else (4,))
    assert posterior.event_shape == prior.event_shape == family.event_shape
    assert posterior.dtype == prior.dtype == tf.float64
    assert posterior.batch_shape == (2,) and prior.batch_shape == ()
    z = posterior.sample(3, seed=[1, 2])
    assert posterior.log_prob(z).shape == prior.log_prob(z).shape == (3, 2)
    assert family.decoder_input(z).shape == (3, 2, *family.decoder_shape)
    assert family.point_estimate(posterior).shape == (2, *family.event_shape)
    assert prior.sample(3, seed=[1, 2]).shape == (3, *family.event_shape)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "student_t"])
def test_a_posterior_can_be_the_prior(name):
    # Then the rate is zero, sample by sample.
    settings = {"temperature": 0.4, "prior_temperature": 0.4}
    family = LATENTS[name](3, dtype="float64", **(settings if name in RELAXED else {}))
    head = family.posterior_head()
    params = family.prior_params()
    if params is None and name == "flow":  # before training it is its base
        params = LATENTS["normal"](3).prior_params()
    params = np.zeros(head.params_shape) if params is None else params
    posterior = head(params[np.newaxis])
    z = posterior.sample(50, seed=[1, 2])
    rate = posterior.log_prob(z) - family.prior().log_prob(z)
    # Rounding, of up to 30 float64 terms, each below 100.
    np.testing.assert_allclose(rate, 0, atol=1e-11)


def test_a_student_t_posterior_comes_near_its_normal_prior():
    family = LATENTS["student_t"](3, dtype="float64")
    one = np.log(np.expm1(1 - 1e-5))
    posterior = family.posterior_head()(np.array([[0.0] * 3 + [one] * 3 + [1e6] * 3]))
    z = posterior.sample(50, seed=[1, 2])
    rate = posterior.log_prob(z) - family.prior().log_prob(z)
    # log t - log Normal is of the order of z^4 / (4 df), and |z| is below 5.
    assert 0 < np.abs(rate).max() < 3 * 5**4 / 4e6


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_a_gradient_unless_they_are_discrete(name):
    posterior = family_of(name).posterior_head()(some_params(family_of(name), 2))
    through = posterior.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    assert through == (name not in DISCRETE)


@pytest.mark.parametrize("name", NAMES)
def test_every_posterior_head_is_a_new_one_with_the_same_weights(name):
    family = family_of(name)
    one, other = family.posterior_head(), family.posterior_head()
    assert one is not other and one.get_config().keys() == other.get_config().keys()
    for here, there in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_and_its_head_are_rebuilt_from_their_configs(name):
    family = family_of(name)
    rebuilt = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(family)
    )
    assert rebuilt.get_config() == family.get_config()
    assert rebuilt.latent_size == 4 and rebuilt.compute_dtype == "float64"
    head = family.posterior_head()
    assert type(head).from_config(head.get_config()).get_config() == head.get_config()


@pytest.mark.parametrize("name", NAMES)
def test_the_default_dtype_is_kerass_float_type(name, float64):
    family = family_of(name, dtype=None)
    posterior = family.posterior_head()(some_params(family, 1))
    z = posterior.sample(seed=[1, 2])
    assert z.dtype == posterior.log_prob(z).dtype == family.prior().dtype == tf.float64
    assert family.decoder_input(z).dtype == tf.float64


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", NAMES)
def test_draws_and_densities_are_the_same_in_a_graph_and_with_xla(name):
    family = family_of(name)
    head, params = family.posterior_head(), tf.constant(some_params(family, 2))
    fixed = head(params).sample(3, seed=[1, 2])

    def rate(params: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        return head(params).log_prob(z) - family.prior().log_prob(z)

    def rate_and_draw(params: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rate(params, z), head(params).sample(3, seed=[1, 2])

    eager = rate(params, fixed)
    for jit in (False, True):
        found, z = tf.function(rate_and_draw, jit_compile=jit)(params, fixed)
        np.testing.assert_allclose(found, eager, rtol=1e-10, atol=1e-10)
        # XLA draws other numbers from a seed; the shapes and support are the same.
        assert z.shape == fixed.shape and np.all(np.isfinite(rate(params, z)))
        if not jit:
            np.testing.assert_allclose(z, fixed, rtol=1e-12, atol=1e-12)


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_known_where_the_batch_is_not(name):
    family = family_of(name)
    head = family.posterior_head()
    spec = tf.TensorSpec([None, *head.params_shape], tf.float64)

    @tf.function(input_signature=[spec])
    def read(params: tf.Tensor) -> tf.Tensor:
        posterior = head(params)
        z = posterior.sample(3, seed=[1, 2])
        read = family.decoder_input(z)
        assert read.shape.as_list()[2:] == list(family.decoder_shape)
        return read, posterior.log_prob(z)

    found, density = read(some_params(family, 2))
    assert found.shape == (3, 2, *family.decoder_shape) and density.shape == (3, 2)


# -- what the decoder reads, the middle, the twin --------------------------------------


@pytest.mark.parametrize(
    "name", [n for n in NAMES if LATENTS[n].decoder_reads == "z" and n not in ONE_HOT]
)
def test_the_decoder_reads_z_as_it_is(name):
    z = tf.constant([[1.5, -2.0]])
    assert LATENTS[name](2).decoder_input(z) is z


def test_the_decoder_reads_relaxed_bits_between_zero_and_one():
    z = np.linspace(-30, 30, 8).reshape([2, 4])
    read = BinConcreteLatent(4, dtype="float64").decoder_input(z)
    np.testing.assert_allclose(read, special.expit(z), rtol=1e-12)


def test_the_decoder_reads_one_hots_variable_after_variable():
    z = np.random.default_rng(0).normal(size=[3, 2, 4, 5])
    exact = CategoricalLatent(4, 5, dtype="float64").decoder_input(z)
    np.testing.assert_array_equal(exact, z.reshape([3, 2, 20]))
    relaxed = ConcreteLatent(4, 5, dtype="float64").decoder_input(z)
    np.testing.assert_allclose(relaxed, np.exp(z).reshape([3, 2, 20]), rtol=1e-12)


@pytest.mark.parametrize("name", ["normal", "logistic", "multivariate_normal"])
def test_the_centre_of_a_symmetric_posterior_is_its_location(name):
    family = family_of(name)
    params = some_params(family, 2)
    centre = family.point_estimate(family.posterior_head()(params))
    np.testing.assert_array_equal(centre, params[:, :4])


@pytest.mark.parametrize("name", DISCRETE)
def test_the_centre_of_a_discrete_posterior_is_its_most_likely_value(name):
    family = family_of(name, size=2)
    posterior = family.posterior_head()(some_params(family, 3))
    draws = posterior.sample(500, seed=[1, 2])
    centre = family.point_estimate(posterior)
    assert np.all(posterior.log_prob(centre)[tf.newaxis] >= posterior.log_prob(draws))
    assert np.any(posterior.log_prob(centre)[tf.newaxis] == posterior.log_prob(draws))


def test_the_centre_of_a_concrete_posterior_has_equal_noise():
    family = family_of("concrete")
    logits = some_params(family, 2)
    expected = special.log_softmax(logits / 0.4, axis=-1)
    centre = family.point_estimate(family.posterior_head()(logits))
    np.testing.assert_allclose(centre, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("normal", stats.norm()),
        ("multivariate_normal", stats.norm()),
        ("flow", stats.norm()),
        ("logistic", stats.logistic()),
        ("bin_concrete", stats.logistic(0, 1 / 0.6)),
        ("bernoulli", stats.bernoulli(0.5)),
    ],
)
def test_a_traversal_goes_through_the_priors_quantiles(name, oracle):
    levels = np.linspace(0.01, 0.99, 7)
    expected = np.tile(oracle.ppf(levels)[:, np.newaxis], [1, 4])
    found = family_of(name).traversal(levels)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ONE_HOT)
def test_one_hots_cannot_be_moved_one_by_one(name):
    assert family_of(name).traversal(np.array([0.1, 0.9])) is None


def test_relaxed_families_are_those_with_a_discrete_twin():
    assert {n for n in NAMES if LATENTS[n].relaxed} == set(RELAXED)
    for name in NAMES:
        twin = family_of(name).discrete()
        assert (twin is not None) == (name in RELAXED)
        if twin is not None:
            assert twin.latent_size == 4 and twin.compute_dtype == "float64"
            assert twin.event_shape == family_of(name).event_shape
            assert twin.decoder_shape == family_of(name).decoder_shape


def test_a_relaxed_bit_is_above_a_half_as_often_as_its_twin_is_one():
    family = family_of("bin_concrete")
    assert isinstance(family.discrete(), BernoulliLatent)
    params = some_params(family, 3)
    relaxed = family.posterior_head()(params)
    exact = family.discrete().posterior_head()(params)
    above = relaxed.distribution.survival_function(tf.zeros([], tf.float64))
    np.testing.assert_allclose(above, exact.mean(), rtol=1e-12)


@pytest.mark.parametrize("name", RELAXED)
def test_posterior_and_prior_temperatures_are_two_settings(name):
    family = LATENTS[name](1, temperature=0.5, prior_temperature=0.25, dtype="float64")
    head = family.posterior_head()
    posterior = head(np.zeros([1, *head.params_shape]))
    z = posterior.sample(3, seed=[1, 2])
    before = family.prior().log_prob(z).numpy()
    assert np.all(np.abs(before - posterior.log_prob(z)[:, 0]) > 1e-3)
    family.prior_temperature.assign(0.5)
    np.testing.assert_allclose(
        family.prior().log_prob(z), posterior.log_prob(z), rtol=1e-12
    )
    head.temperature.assign(0.25)  # and the head's is a weight as well
    again = head(np.zeros([1, *head.params_shape]))
    np.testing.assert_allclose(again.log_prob(z), before, rtol=1e-12)
    assert not family.trainable_variables and not head.trainable_variables


@pytest.mark.parametrize("name", NAMES)
def test_a_family_says_in_words_what_a_table_needs(name):
    kind = LATENTS[name]
    for text in (kind.posterior_text, kind.prior_text, kind.decoder_reads, kind.paper):
        assert text and "|" not in text and "\n" not in text
    kinds = [LATENTS[name] for name in NAMES]
    words = {(k.posterior_text, k.prior_text, k.decoder_reads) for k in kinds}
    assert len(words) == len(NAMES)
