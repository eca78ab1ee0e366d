"""Latent families: what belongs together does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tfvae.latents import LATENTS, BinConcreteLatent

NAMES = sorted(LATENTS)


@pytest.mark.parametrize("name", NAMES)
def test_posterior_and_prior_are_over_the_same_event(name):
    family = LATENTS[name](4, dtype="float64")
    head = family.posterior_head()
    posterior = head(tf.zeros([2, *head.params_shape], tf.float64))
    assert posterior.event_shape == family.prior().event_shape == (4,)
    assert posterior.dtype == family.prior().dtype == tf.float64
    assert posterior.batch_shape == (2,)


@pytest.mark.parametrize("name", NAMES)
def test_a_posterior_can_be_the_prior(name):
    # Then the rate is zero, sample by sample.
    settings = {"temperature": 0.4, "prior_temperature": 0.4}
    family = LATENTS[name](
        3, dtype="float64", **(settings if name == "bin_concrete" else {})
    )
    head = family.posterior_head()
    # softplus(raw) + 1e-5 = 1.
    raw = np.full([1, 3], np.log(np.expm1(1 - 1e-5)))
    loc = np.zeros([1, 3])
    posterior = head(np.concatenate([loc, raw], 1) if head.num_params == 2 else loc)
    z = posterior.sample(50, seed=[1, 2])
    rate = posterior.log_prob(z) - family.prior().log_prob(z)
    np.testing.assert_allclose(rate, 0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_posterior_head_is_a_new_one(name):
    family = LATENTS[name](4)
    assert family.posterior_head() is not family.posterior_head()


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_rebuilt_from_its_config(name):
    settings = {"temperature": 0.7, "prior_temperature": 0.6}
    family = LATENTS[name](4, **(settings if name == "bin_concrete" else {}))
    rebuilt = LATENTS[name].from_config(family.get_config())
    assert rebuilt.get_config() == family.get_config()
    assert rebuilt.latent_size == 4


@pytest.mark.parametrize("name", ["normal", "logistic"])
def test_the_decoder_reads_real_latents_as_they_are(name):
    z = tf.constant([[1.5, -2.0]])
    assert LATENTS[name](2).decoder_input(z) is z


def test_the_decoder_reads_relaxed_bits_between_zero_and_one():
    z = np.linspace(-30, 30, 8).reshape([2, 4])
    read = BinConcreteLatent(4, dtype="float64").decoder_input(z)
    np.testing.assert_allclose(read, special.expit(z), rtol=1e-12)


def test_posterior_and_prior_temperatures_are_two_settings():
    family = BinConcreteLatent(1, 0.5, 0.25, dtype="float64")
    posterior = family.posterior_head()(np.zeros([1, 1]))
    np.testing.assert_allclose(
        family.prior().stddev(), 2 * posterior.stddev()[0], rtol=1e-12
    )
    family.prior_temperature.assign(0.5)
    np.testing.assert_allclose(
        family.prior().stddev(), posterior.stddev()[0], rtol=1e-12
    )


def test_only_bin_concrete_is_relaxed():
    assert [n for n in NAMES if LATENTS[n](2).relaxed] == ["bin_concrete"]
    assert all(LATENTS[n](2).discrete() is None for n in ("normal", "logistic"))
