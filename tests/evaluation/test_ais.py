"""Annealed bounds are on their side of log p(x), and close to it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers.hierarchies import model as hierarchical
from helpers.models import (
    FLOAT64,
    binary_images,
    linear_gaussian,
    slow_but,
    standard_error,
    tiny_vae,
)
from scipy.special import logsumexp

from tfvae.core.types import InputError
from tfvae.evaluation.ais import ais_log_likelihood, bdmc
from tfvae.evaluation.ais.chains import Chains
from tfvae.evaluation.ais.hmc import move
from tfvae.models import VAE, Batch
from tfvae.priors import LearnedPrior, MixturePrior, VampPrior

tfd = tfp.distributions

KNOWN = linear_gaussian()
FAR = {"shift": 0.3, "widen": 1.5}  # how q(z|x) differs from the true posterior


def images_of(known, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    size, latent_size = known.weights.shape
    z = rng.normal(size=[count, latent_size])
    noise = known.scale * rng.normal(size=[count, size])
    return z @ known.weights.T + known.bias + noise


def assert_mean_is(draws: np.ndarray, expected: float) -> None:
    assert abs(draws.mean() - expected) < 5 * standard_error(draws)


class Seen:
    """A model that remembers the images that it has made."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.batches, original = vae, [], vae.sample

        def sample(*args):
            samples = original(*args)
            self.batches.append(samples.draw.numpy())
            return samples

        vae.sample = sample

    @property
    def images(self) -> np.ndarray:
        return np.concatenate(self.batches)


# -- the linear-Gaussian model, where log p(x) is known --------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [1, 25])
def test_from_the_exact_posterior_every_weight_is_exact(num_steps):
    x = images_of(KNOWN, 5)
    scores = ais_log_likelihood(
        KNOWN.vae(), [x[:3], x[3:]], 2, num_steps, step_size=0.5, initial="posterior"
    )
    np.testing.assert_allclose(
        scores.log_likelihood, KNOWN.log_marginal(x), rtol=0, atol=1e-8
    )
    np.testing.assert_allclose(scores.ess, 2, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("initial", ["prior", "posterior"])
def test_one_step_of_one_chain_has_the_elbo_as_its_mean(initial):
    x = images_of(KNOWN, 1)
    mean, variance = np.zeros([1, 3]), np.ones(3)
    if initial == "posterior":
        variance = FAR["widen"] ** 2 * KNOWN.variance
        mean = KNOWN.posterior_mean(x) + FAR["shift"]
    draws = ais_log_likelihood(
        KNOWN.vae(**FAR), [x.repeat(4000, 0)], 1, 1, step_size=0.5, initial=initial
    ).log_likelihood
    assert_mean_is(draws, KNOWN.elbo(x, mean, variance)[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_steps", "initial"),
    slow_but([(3, "prior")], [(3, "prior"), (10, "posterior"), (25, "prior")]),
)
def test_weights_have_the_mean_p_of_x_and_those_of_the_way_back_its_inverse(
    num_steps, initial
):
    """A move that accepts by the density of another temperature would be found."""
    seen = Seen(KNOWN.vae(**FAR))
    bounds = bdmc(seen.vae, 4000, 1, num_steps, batch_size=2000, initial=initial)
    exact = KNOWN.log_marginal(seen.images)
    assert_mean_is(np.exp(bounds.lower - exact), 1.0)
    assert_mean_is(np.exp(exact - bounds.upper), 1.0)


@functools.cache
def gaps(num_steps: int, initial: str) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) - lower and upper - log p(x) of 200 simulated images, 8 chains each."""
    seen = Seen(KNOWN.vae(**FAR))
    bounds = bdmc(
        seen.vae,
        200,
        8,
        num_steps,
        num_leapfrog_steps=5,
        batch_size=200,
        initial=initial,
    )
    exact = KNOWN.log_marginal(seen.images)
    return exact - bounds.lower, bounds.upper - exact


@pytest.mark.parametrize("initial", slow_but(["prior"], ["prior", "posterior"]))
def test_both_bounds_bracket_log_p_of_x_within_a_twentieth_of_a_nat(initial):
    for gap in gaps(400, initial):
        slack = 5 * standard_error(gap)
        assert -slack < gap.mean() < 0.05 + slack
        assert slack < 0.05  # else the sentence above would say little


@pytest.mark.slow
@pytest.mark.parametrize("side", [0, 1], ids=["lower", "upper"])
def test_more_steps_bring_the_bounds_closer(side):
    few, many = gaps(5, "prior")[side], gaps(400, "prior")[side]  # of the same images
    assert np.mean(few - many) > 5 * standard_error(few - many)


@pytest.mark.slow
def test_a_bound_holds_with_bad_steps_too():
    x = images_of(KNOWN, 200)
    exact = KNOWN.log_marginal(x)
    for step_size, (low, high) in {1e-4: (0.99, 1.0), 30.0: (0.0, 0.2)}.items():
        scores = ais_log_likelihood(KNOWN.vae(), [x], 4, 20, step_size=step_size)
        gap = exact - scores.log_likelihood
        assert gap.mean() > -5 * standard_error(gap)
        assert low <= scores.acceptance.mean() <= high


@pytest.mark.slow
def test_tuned_steps_are_accepted_about_as_often_as_is_best():
    # The best steps are about 0.1 and 1 long, for the first guess 0.1.
    for scale in (0.05, 1.0):
        known = KNOWN._replace(scale=scale)
        x = images_of(known, 50)
        acceptance = ais_log_likelihood(known.vae(), [x], 4, 100).acceptance
        assert 0.5 < acceptance.mean() < 0.8


# -- other families, against a grid over z ---------------------------------------------


def with_prior(make) -> VAE:
    vae = tiny_vae(latent_size=1, **FLOAT64)
    return VAE(vae.encoder, vae.decoder, vae.latent, make(vae.latent))


def learned(family) -> LearnedPrior:
    prior = LearnedPrior(family)
    prior.params.assign([1.0, -0.5])
    return prior


# How a model is made, and p_0; the prior does not depend on the posterior's family.
MODELS = {
    "logistic": (lambda: tiny_vae("logistic", latent_size=1, **FLOAT64), "prior"),
    "bin_concrete": (lambda: tiny_vae("bin_concrete", latent_size=1), "prior"),
    "multivariate_normal": (
        lambda: tiny_vae("multivariate_normal", latent_size=2, **FLOAT64),
        "posterior",
    ),
    "flow": (lambda: tiny_vae("flow", latent_size=2, **FLOAT64), "posterior"),
    "hierarchy": (lambda: hierarchical("normal", (1, 1)), "posterior"),
    "learned prior": (lambda: with_prior(learned), "prior"),
    "mixture prior": (lambda: with_prior(lambda f: MixturePrior(f, 3)), "prior"),
    "vamp prior": (
        lambda: with_prior(lambda f: VampPrior(f, binary_images(3))),
        "prior",
    ),
}


def log_marginal(vae: VAE, x: np.ndarray) -> np.ndarray:
    """[B] log of the integral of p(z) p(x|z), by the trapezium rule."""
    size = vae.latent.latent_size
    reach, points = (150.0, 20_001) if size == 1 else (9.0, 181)
    axis = np.linspace(-reach, reach, points)
    z = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), axis=-1)
    z = z.reshape([-1, 1, size]).astype(vae.compute_dtype)
    log_prior = vae.prior().log_prob(z).numpy().astype("float64")  # [Z, 1]
    log_cell = size * np.log(axis[1] - axis[0])
    assert logsumexp(log_prior) + log_cell == pytest.approx(0, abs=1e-5)
    log_likelihood = vae.decode(z).log_prob(x.astype(vae.compute_dtype))  # [Z, B]
    return logsumexp(log_prior + log_likelihood, axis=0) + log_cell


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    slow_but(("bin_concrete", "learned prior"), MODELS),
)
def test_weights_of_every_family_and_prior_have_the_mean_p_of_x(name):
    make, initial = MODELS[name]
    vae = make()
    # So that p(z|x) is far from p(z), and q(z|x) wide: from a narrow one the weights
    # have tails so heavy that 400 draws do not show their standard error.
    for network, factor in ((vae.decoder.network, 2.0), (vae.encoder.network, 0.3)):
        network.set_weights([factor * w for w in network.get_weights()])
    x = binary_images(2, shape=vae.image_shape)
    batch = x.repeat(400, axis=0).astype(vae.compute_dtype)
    few = {"num_leapfrog_steps": 4, "step_size": 0.5}  # saves time
    scores = ais_log_likelihood(vae, [batch], 1, 40, **few, initial=initial)
    log_ratios = scores.log_likelihood.reshape([2, 400]) - log_marginal(vae, x)[:, None]
    for ratios in np.exp(log_ratios):
        assert_mean_is(ratios, 1.0)
        assert standard_error(ratios) < 0.1  # else it would say little


# -- the driver ------------------------------------------------------------------------


def mean_weight(run) -> np.ndarray:
    """exp(log-weights) of 20,000 chains from N(0, 1) to N(2, 1/2), whose mean is 1."""
    loc = tf.constant([0.0, 2.0], tf.float64)
    begin, end = tfd.Normal(loc[0], 1.0), tfd.Normal(loc[1], 0.5)
    z = tf.random.stateless_normal([20_000, 1, 1], [1, 2], dtype=tf.float64)
    first, last = (
        lambda z, of=of: tf.reduce_sum(of.log_prob(z), axis=-1) for of in (begin, end)
    )
    return np.exp(tf.function(run)(first, last, z).numpy()).ravel()


@pytest.mark.slow
def test_moves_between_two_normals_have_weights_of_mean_one():
    def run(first, last, z):
        half = tf.constant([0.5], tf.float64)
        return move(
            lambda z: (first(z), last(z) - first(z)),
            z,
            tf.constant([0.0, 1.0], tf.float64),
            10,
            half,
            3,
            tf.zeros([], tf.float64),
            tf.constant([3, 4]),
        )[1]

    assert_mean_is(mean_weight(run), 1.0)


def test_tfps_driver_with_plain_hmc_has_weights_of_another_mean():
    """The reason for a kernel of our own; if this fails, TFP no longer needs it."""

    def run(first, last, z):
        half = tf.constant(0.5, tf.float64)
        return tfp.mcmc.sample_annealed_importance_chain(
            10,
            first,
            last,
            z,
            lambda log_prob: tfp.mcmc.HamiltonianMonteCarlo(log_prob, half, 3),
            seed=tf.constant([3, 4]),
        )[1]

    weights = mean_weight(run)
    assert abs(weights.mean() - 1) > 20 * standard_error(weights)


@pytest.mark.slow
def test_chains_that_are_weighed_keep_the_step_sizes_that_they_are_given():
    chains = Chains(KNOWN.vae(), 2, 25, 10, None, None, "prior")
    used, original = [], chains._anneal

    def spy(x, z, step_size, *args):
        results = original(x, z, step_size, *args)
        used.append((np.log(step_size), results[-1].log_step.numpy()))
        return results

    chains._anneal = spy
    batch = Batch(tf.constant(images_of(KNOWN, 3)))
    step_sizes = chains.step_sizes(batch, tf.constant([1, 2]))
    assert step_sizes.shape == (20, 3)
    # NumPy's and TensorFlow's logarithms differ in their last digits.
    rounding = {"rtol": 1e-13, "atol": 1e-15}
    assert not any(
        np.any(np.isclose(*pair, **rounding)) for pair in used
    )  # these adapt
    for exact in (None, tf.zeros([3, 3], tf.float64)):
        used.clear()
        chains.weigh(batch, step_sizes, tf.constant([3, 4]), exact)
        wanted = np.log(step_sizes if exact is None else step_sizes[::-1])
        assert len(used) == 20
        for before, after in used:
            np.testing.assert_allclose(before, after, **rounding)
        np.testing.assert_array_equal([before for before, _ in used], wanted)


# -- seeds, chunks, progress -----------------------------------------------------------


@pytest.mark.slow
def test_same_seed_gives_the_same_numbers_and_another_others():
    vae = KNOWN.vae()
    first, again, other = (bdmc(vae, 4, 2, 3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(first.lower != other.lower) and np.all(first.upper != other.upper)


@pytest.mark.slow
def test_equal_images_have_chains_of_their_own(eagerly_here):
    x = images_of(KNOWN, 1).repeat(3, axis=0)
    scores = ais_log_likelihood(KNOWN.vae(), [x, x], 1, 3, step_size=0.5).log_likelihood
    assert len(set(scores)) == 6


@pytest.mark.slow
def test_chains_run_in_chunks_and_all_of_them_count(monkeypatch, eagerly_here):
    parts, original = [], Chains._travel

    def spy(*args):
        parts.append(original(*args))
        return parts[-1]

    monkeypatch.setattr(Chains, "_travel", spy)
    x = images_of(KNOWN, 3)
    scores = ais_log_likelihood(KNOWN.vae(), [x], 5, 3, step_size=0.5, chunk_size=2)
    assert [len(log_weights) for log_weights, _ in parts] == [2, 2, 1]
    log_weights = np.concatenate([part[0] for part in parts])  # [5, 3]
    assert len(np.unique(log_weights)) == 15
    weights = np.exp(log_weights - logsumexp(log_weights, axis=0))
    expected = {
        "log_likelihood": logsumexp(log_weights, axis=0) - np.log(5),
        "ess": 1 / np.square(weights).sum(axis=0),
        "acceptance": sum(n * part[1] for n, part in zip((2, 2, 1), parts, strict=True))
        / 5,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(scores, name), values, rtol=1e-12)


@pytest.mark.slow
def test_what_is_traced_does_not_grow_with_batches_chunks_or_steps(monkeypatch):
    traced, original = [], Chains._densities

    def spy(*args):
        traced.append(1)
        return original(*args)

    monkeypatch.setattr(Chains, "_densities", spy)
    vae, x = KNOWN.vae(), images_of(KNOWN, 7)
    for steps, batches in ((1, [x]), (50, [x[:3], x[3:6], x[6:]])):
        traced.clear()
        ais_log_likelihood(vae, batches, 5, steps, chunk_size=2)
        assert len(traced) == 1


@pytest.mark.slow
def test_progress_counts_images(eagerly_here):
    vae, x, seen = KNOWN.vae(), images_of(KNOWN, 5), []
    ais_log_likelihood(vae, [x[:3], x[3:]], 1, 1, step_size=1, progress=seen.append)
    bdmc(vae, 5, 1, 1, step_size=1, batch_size=3, progress=seen.append)
    assert seen == [3, 5, 3, 5]


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_chains": 0}, "num_chains 0"),
        ({"num_steps": 2.5}, "num_steps 2.5"),
        ({"num_leapfrog_steps": 0}, "num_leapfrog_steps 0"),
        ({"step_size": -1.0}, "step_size -1.0"),
        ({"step_size": "big"}, "step_size 'big'"),
        ({"chunk_size": 0}, "chunk_size 0"),
        ({"initial": "q"}, "'q'; choose one of prior, posterior"),
        ({"seed": "x"}, "'x'"),
        ({"batches": []}, "no images"),
        ({"batches": [binary_images(2)[:, :4]]}, "(2, 4, 8, 1)"),
        ({"batches": [binary_images(2) / 2]}, "binarise"),
        ({"batches": [binary_images(2).astype("uint8")]}, "uint8"),
        ({"batches": [binary_images(2) * np.nan]}, "NaN"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, said):
    arguments = {
        "batches": [binary_images(2)],
        "num_chains": 1,
        "num_steps": 1,
        **arguments,
    }
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        ais_log_likelihood(tiny_vae(), **arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("num_images", 0), ("batch_size", 1.5), ("num_chains", True)]
)
def test_bad_numbers_of_a_simulation_are_refused(name, value):
    arguments = {"num_images": 1, "num_chains": 1, "num_steps": 1, name: value}
    with pytest.raises(InputError, match=f"^{name} {value}[^\n]*$"):
        bdmc(tiny_vae(), **arguments)


@pytest.mark.parametrize("latent", ["bernoulli", "categorical", "concrete", "layers"])
def test_a_latent_variable_that_cannot_move_is_refused_with_what_to_use(latent):
    vae = hierarchical("bernoulli") if latent == "layers" else tiny_vae(latent)
    why = "has shape (3, 10)" if latent == "concrete" else "is discrete"
    for run in (
        lambda: ais_log_likelihood(vae, [binary_images(1)], 1, 1),
        lambda: bdmc(vae, 1, 1, 1),
    ):
        with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
            run()
        for said in (type(vae.latent).__name__, why, "L_K", "--num-samples"):
            assert said in str(caught.value)
