"""Numbers at the ends of float32, and samples from one to thousands.

Learned scales end at 1e-5 (`heads.MIN_SCALE`), so that a scale of 1e-6 is what a
temperature can make, and no network.
"""

from __future__ import annotations

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.latents import DISCRETE
from helpers.models import (
    binary_images,
    estimate_of,
    linear_gaussian,
    slow_but,
    tiny_vae,
)
from scipy import stats

from tfvae.core.types import InputError
from tfvae.estimators import ESTIMATORS
from tfvae.heads import MIN_SCALE
from tfvae.latents import LATENTS
from tfvae.models import VAE
from tfvae.objectives import OBJECTIVES, Elbo, Iwae, LogWeightTerms, Objective, Piwae

LOGITS = (*DISCRETE, "bin_concrete", "concrete")
D = 3


# -- models whose encoder says something extreme ---------------------------------------


def triangle(diagonal: float, below: float = 0.0) -> np.ndarray:
    """The parameters of a triangular matrix with these raw elements."""
    matrix = diagonal * np.eye(D) + np.tril(np.full([D, D], below), -1)
    return tfp.math.fill_triangular_inverse(matrix).numpy()


def encoder_outputs(latent: str) -> dict[str, np.ndarray]:
    """Extreme parameters of one posterior, flat, by what they are."""
    if latent in LOGITS:
        count = int(np.prod(LATENTS[latent](D).posterior_head().params_shape))
        each = count // D  # logits of one variable; of several classes one is sure
        signs = np.where(np.arange(count) % max(each, 2) == 0, 1.0, -1.0)
        return {
            "logits +-1e4": 1e4 * signs,
            "all logits 1e4": np.full(count, 1e4),
            "all logits -1e4": np.full(count, -1e4),
        }
    raw = triangle if latent == "multivariate_normal" else lambda r: np.full(D, r)
    locs = np.array([1e4, -1e4, 0.0])
    dependent = {}
    if latent == "multivariate_normal":
        dependent = {
            f"scale {scale}, {below} beside it": np.concatenate(
                [locs, triangle(raw, below)]
            )
            for (scale, raw), below in itertools.product(
                [(1e-5, -1e4), (1e6, 1e6)], [1.0, -1e4, 1e4]
            )
        }
    if latent == "student_t":  # the fewest and very many degrees of freedom
        dependent = {
            f"scale {scale}, {df} of freedom": np.concatenate(
                [locs, raw(said), np.full(3, df)]
            )
            for (scale, said), df in itertools.product(
                [(1e-5, -1e4), (1e6, 1e6)], [-1e4, 1e6]
            )
        }
    rest = np.zeros(3 if latent == "student_t" else 0)
    return dependent | {
        "scale 1e-5": np.concatenate([0 * locs, raw(-1e4), rest]),
        "scale 1e-5 far away": np.concatenate([locs, raw(-1e4), rest]),
        "scale 1e6": np.concatenate([0 * locs, raw(1e6), rest]),
        "scale 1e6 far away": np.concatenate([locs, raw(1e6), rest]),
    }


@functools.cache
def vae_that_says(latent: str, case: str, head: str = "bernoulli") -> VAE:
    vae = tiny_vae(latent, head=head)
    if case in encoder_outputs(latent):
        put_out(vae.encoder.network, encoder_outputs(latent)[case])
    return vae


def put_out(network: keras.Model, values: np.ndarray) -> None:
    """Makes a network's last layer put these values out, and hardly depend on x."""
    kernel, bias = network.weights[-2:]
    kernel.assign(1e-3 * kernel)
    bias.assign(values)


def step(
    vae: VAE, objective: Objective, estimator: str, samples: int
) -> tuple[LogWeightTerms, list[tf.Tensor]]:
    """An estimate as `train_step` has it, and its gradients."""
    vae.compile("sgd", objective, samples, estimator)
    x = tf.constant(binary_images(2))
    with tf.GradientTape() as tape:
        estimate = estimate_of(vae, x, 0)
    return estimate.terms, tape.gradient(estimate.surrogate, vae.trainable_variables)


def assert_finite(vae: VAE, objective: Objective, estimator: str, samples: int) -> None:
    terms, gradients = step(vae, objective, estimator, samples)
    value = objective.value(terms.log_weights())
    for found in (*terms[:3], value, *gradients):
        assert np.all(np.isfinite(found)), (objective, estimator)


OF_BITS = ("disarm", "arms", "double_cv", "rodeo", "bitflip", "ugc")
OF_MEANS = ("arms", "double_cv", "rodeo")
PAIRS = [
    (latent, estimator)
    for latent, estimator in itertools.product(LATENTS, ESTIMATORS)
    if ESTIMATORS[estimator].needs
    in ("any", "discrete" if latent in DISCRETE else "reparameterised")
    and (latent != "categorical" or estimator not in OF_BITS)
]
BOUNDS_OF = {"ovis": ("iwae",), **dict.fromkeys(OF_MEANS, ("elbo",))}


def _bound_of(estimator: str) -> Objective:
    return OBJECTIVES[BOUNDS_OF.get(estimator, ("iwae",))[0]]()


# Every family with one or two estimators.
SOME_PAIRS = [pair for pair in PAIRS if pair[1] in ("dreg", "vimco", "reinforce")]
CASES = [(*pair, case) for pair in PAIRS for case in encoder_outputs(pair[0])]


@pytest.mark.quick(8)
@pytest.mark.parametrize(
    ("latent", "estimator", "case"),
    slow_but((case for case in CASES if case[:2] in SOME_PAIRS), CASES),
)
def test_extreme_posteriors_have_finite_values_and_gradients(latent, estimator, case):
    last = "ciwae" if latent in DISCRETE or estimator == "rws" else "piwae"
    for objective in BOUNDS_OF.get(estimator, ("elbo", "iwae", "tvo", last)):
        assert_finite(
            vae_that_says(latent, case), OBJECTIVES[objective](), estimator, 4
        )


@pytest.mark.parametrize("case", ["scale 1e-5", "scale 1e6"])
@pytest.mark.parametrize("option", [{"analytic_kl": True}, {"free_bits": 0.1}])
def test_analytic_and_floored_rates_of_extreme_scales_are_finite(case, option):
    assert_finite(vae_that_says("normal", case), Elbo(**option), "pathwise", 4)


def test_no_network_makes_a_scale_below_the_smallest():
    vae = vae_that_says("normal", "scale 1e-5")
    scale = vae.encode(binary_images(2)).distribution.scale
    np.testing.assert_array_equal(scale, np.float32(MIN_SCALE))


@pytest.mark.quick(1)
@pytest.mark.parametrize("temperature", [1e-6, 1e6])
@pytest.mark.parametrize("latent", ["bin_concrete", "concrete"])
def test_extreme_temperatures_have_finite_values_and_gradients(latent, temperature):
    vae = tiny_vae(latent)
    vae.encoder.head.temperature.assign(temperature)
    for estimator in ("pathwise", "stl", "dreg"):
        for objective in (Elbo(), Iwae(), Piwae()):
            assert_finite(vae, objective, estimator, 4)


@pytest.mark.quick(10)
@pytest.mark.parametrize("raw", [-1e4, 1e6])
@pytest.mark.parametrize(("latent", "estimator"), PAIRS)
def test_likelihoods_of_extreme_scales_have_finite_values_and_gradients(
    latent, estimator, raw
):
    # With a scale of 1e-5, a log-likelihood is about -1e11.
    vae = tiny_vae(latent, head="normal")
    bias = np.stack([np.zeros([8, 8]), np.full([8, 8], raw)], axis=-1)
    put_out(vae.decoder.network, np.reshape(bias, [-1]))
    for objective in BOUNDS_OF.get(estimator, ("elbo", "iwae")):
        assert_finite(vae, OBJECTIVES[objective](), estimator, 4)


# -- exact answers at the ends ---------------------------------------------------------


@pytest.mark.parametrize(
    ("latent", "estimator"), [p for p in PAIRS if p[0] in DISCRETE]
)
def test_a_posterior_that_is_sure_has_one_weight_and_no_score(latent, estimator):
    vae = vae_that_says(latent, "logits +-1e4")
    samples = 7
    terms, gradients = step(vae, _bound_of(estimator), estimator, samples)
    np.testing.assert_array_equal(terms.log_posterior, 0)
    log_weights = terms.log_weights().numpy()  # [S, B]
    # Rows of a matrix product may be rounded otherwise than their equals are.
    np.testing.assert_allclose(log_weights, log_weights[:1].repeat(samples, 0), 1e-6)
    # Numbers of about 50 in float32, plus and minus a logarithm.
    value = Iwae().value(log_weights).numpy()
    np.testing.assert_allclose(value, log_weights[0], rtol=0, atol=2e-5)
    count = len(vae.encoder.trainable_variables)
    for gradient in gradients[:count]:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("latent", ["bin_concrete", "concrete"])
def test_saturated_relaxed_samples_have_the_likelihood_of_the_discrete_twin(latent):
    vae, x = vae_that_says(latent, "logits +-1e4"), binary_images(2)
    terms = vae.log_weight_terms(x, 5, seed=0)
    twin = vae.discrete().log_weight_terms(x, 5, seed=0)
    # Both decoders read the same zeros and ones.
    np.testing.assert_array_equal(terms.log_likelihood, twin.log_likelihood)


def test_a_saturated_binary_sample_keeps_the_density_of_its_noise():
    # With logits of 1e4 and temperature 1/2, draws are 2e4 plus noise, which float32
    # carries to 1 / 1024 (half of its spacing there); the scale is 2.
    head = vae_that_says("bin_concrete", "all logits 1e4").encoder.head
    logits = tf.fill([1, D], 1e4)
    z = head(logits).sample(1000, seed=(1, 2))
    found = head(logits).log_prob(z).numpy()
    noise = z.numpy().astype("float64") - 2e4
    wanted = stats.logistic.logpdf(noise, scale=2).sum(axis=-1)
    # A float32 sum of three logarithms of about 10; the noise is that of z, exactly.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    # The median of |noise| / 2 is log 3.
    inside = np.mean(np.abs(noise) < 2 * np.log(3))
    assert abs(inside - 0.5) < 5 * 0.5 / np.sqrt(noise.size)


# -- from one sample to thousands ------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("samples", [1, 5000])
@pytest.mark.parametrize(("latent", "estimator"), slow_but(SOME_PAIRS, PAIRS))
def test_one_sample_and_thousands_have_finite_values_and_gradients(
    latent, estimator, samples
):
    vae = tiny_vae(latent)
    objective = _bound_of(estimator)
    if samples == 1 and estimator in ("vimco", *OF_MEANS, "ovis", "rws"):
        with pytest.raises(InputError, match="num_samples 1"):
            vae.compile("sgd", objective, samples, estimator)
        return
    assert_finite(vae, objective, estimator, samples)


def test_thousands_of_samples_of_the_exact_posterior_give_the_exact_value():
    model = linear_gaussian()
    x = np.random.default_rng(0).normal(size=[2, 6])
    log_weights = model.vae().log_weight_terms(x, 5000, seed=0).log_weights()
    # float64, with an exponential, a sum of 5,000 and a logarithm.
    np.testing.assert_allclose(
        Iwae().value(log_weights), model.log_marginal(x), rtol=0, atol=1e-10
    )
