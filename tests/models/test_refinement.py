"""An example's own posterior is the best of its family, and no worse than the start."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.models import binary_images, linear_gaussian, tiny_vae

from tfvae import VAE, SemiSupervisedVAE
from tfvae.core.types import InputError
from tfvae.models.refinement import Refinement

MODEL = linear_gaussian()  # whose exact posterior is of the family


def draw(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    size, latent_size = MODEL.weights.shape
    z = rng.normal(size=[count, latent_size])
    noise = MODEL.scale * rng.normal(size=[count, size])
    return z @ MODEL.weights.T + MODEL.bias + noise


@pytest.fixture(scope="module")
def wrong() -> VAE:
    """A model whose encoder's q is beside the exact posterior, and wider."""
    return MODEL.vae(shift=0.5, widen=1.5)


def test_the_refined_posterior_is_the_exact_one(wrong):
    x = draw(40)  # more than a block of 32
    refined = wrong.refine(x, num_steps=200, num_samples=200)
    exact = MODEL.log_marginal(x)
    # With the exact q every log-weight is log p(x). The encoder's elbo is 2.5 lower.
    np.testing.assert_allclose(refined.elbo, exact, rtol=0, atol=1e-4)
    shifts = 0.25 / MODEL.variance
    gap = 0.5 * np.sum(shifts + 1.5**2 - 1 - np.log(1.5**2))
    lost = exact - refined.encoder_elbo
    error = 5 * lost.std(ddof=1) / np.sqrt(len(x))
    assert abs(lost.mean() - gap) < error < 0.2 * gap
    assert np.all(refined.elbo >= refined.encoder_elbo)
    mean = MODEL.posterior_mean(x)
    np.testing.assert_allclose(refined.posterior.mean(), mean, atol=0.01)
    assert refined.history.shape == (40, 200)
    np.testing.assert_allclose(refined.history[:, -1], exact, atol=1e-3)
    # An example alone, with the same trace.
    alone = wrong.refine(x[37:38], num_steps=200, num_samples=200)
    np.testing.assert_array_equal(alone.elbo, refined.elbo[37:38])
    np.testing.assert_array_equal(
        alone.posterior.mean(), refined.posterior.mean()[37:38]
    )


@pytest.mark.slow
def test_the_encoders_parameters_are_kept_where_steps_do_harm(wrong):
    x = draw(3)
    refined = wrong.refine(x, num_steps=1, learning_rate=100.0, num_samples=20)
    np.testing.assert_array_equal(refined.elbo, refined.encoder_elbo)
    np.testing.assert_array_equal(refined.posterior.mean(), wrong.encode(x).mean())


@pytest.mark.slow
def test_the_model_is_traced_once_for_any_number_of_examples(wrong, monkeypatch):
    traced, original = [], Refinement.refined

    def spy(*args):
        traced.append(1)
        return original(*args)

    monkeypatch.setattr(Refinement, "refined", spy)
    for count in (1, 40, 7):
        wrong.refine(draw(count), num_steps=2, num_samples=5)
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_steps": 0}, "num_steps 0"),
        ({"num_steps": 2.5}, "num_steps 2.5"),
        ({"learning_rate": -0.1}, "learning_rate -0.1"),
        ({"num_draws": 0}, "num_draws 0"),
        ({"num_samples": True}, "num_samples True"),
        ({"seed": "x"}, "'x'"),
        ({"x": binary_images(0)}, "give at least one"),
        ({"x": binary_images(2)[:, :4]}, "(2, 4, 8, 1)"),
        ({"x": binary_images(2) / 2}, "0 and 1"),
        ({"x": binary_images(2) * np.nan}, "NaN"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        tiny_vae().refine(**{"x": binary_images(2), **arguments})
    assert said in str(caught.value)


def test_draws_without_gradients_are_refused():
    with pytest.raises(InputError, match="BernoulliLatent have none; use the enc"):
        tiny_vae("bernoulli").refine(binary_images(2))


def test_a_model_of_one_posterior_for_each_class_is_refused(monkeypatch):
    assert not SemiSupervisedVAE.has_one_posterior
    monkeypatch.setattr(VAE, "has_one_posterior", False)
    with pytest.raises(InputError, match="one for each class; use the encoder's"):
        tiny_vae().refine(binary_images(2))
