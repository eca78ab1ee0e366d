"""The gaps between elbos and log p(x) are the exact ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from helpers.conditional import CLASSES, Known
from helpers.models import LinearGaussian, binary_images, standard_error, tiny_vae
from scipy import optimize
from scipy.special import logsumexp

from tfvae.config import Config
from tfvae.config.settings import Annealing, Scoring
from tfvae.core.types import InputError
from tfvae.evaluation import Ladder, inference_ladder
from tfvae.models import VAE
from tfvae.reports import evaluate_run
from tfvae.reports.images import images_of
from tfvae.training import train
from tfvae.training.runs import load_run

# -- arithmetic ------------------------------------------------------------------------


def test_gaps_add_up_and_are_paired():
    rng = np.random.default_rng(0)
    steps = rng.gamma(2.0, size=[5, 50])
    *rungs, log_likelihood = np.cumsum(steps, axis=0) - 100
    gaps = Ladder(*rungs).gaps(log_likelihood)
    wanted = {
        "total": steps[1:].sum(axis=0),
        "amortisation": steps[1],
        "approximation": steps[2:].sum(axis=0),
        "linear_gain": steps[2],
        "flow_gain": steps[3],
        "rest": steps[4],
    }
    assert gaps._fields == tuple(wanted)
    for name, values in wanted.items():
        found = getattr(gaps, name)
        assert found.mean == pytest.approx(values.mean(), rel=1e-10)
        assert found.standard_error == pytest.approx(standard_error(values), rel=1e-10)


def test_another_number_of_log_likelihoods_is_refused():
    ladder = Ladder(*np.zeros([4, 3]))
    with pytest.raises(InputError, match=r"shape \(2,\).*3 examples"):
        ladder.gaps(np.zeros(2))
    with pytest.raises(InputError, match="1 values that are not finite"):
        ladder.gaps(np.array([0.0, np.nan, 0.0]))


@pytest.mark.parametrize(
    ("latent", "arguments", "said"),
    [
        ("bernoulli", {}, "BernoulliLatent have none"),
        ("concrete", {}, "a flow moves z of shape [D]"),
        ("normal", {"num_steps": 0}, "num_steps 0"),
        ("normal", {"num_samples": 0}, "num_samples 0"),
        ("normal", {"batches": []}, "no images"),
    ],
)
def test_bad_input_is_refused_in_one_line(latent, arguments, said):
    given = {"batches": [binary_images(2)], **arguments}
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        inference_ladder(tiny_vae(latent), **given)
    assert said in str(caught.value)


# -- the linear-Gaussian model, whose exact posterior has a full covariance ------------


def correlated() -> tuple[LinearGaussian, float]:
    """A model, and the approximation gap of a Normal of independent variables.

    Its posterior is Normal(m, P^-1) with P = I + W^T W / s^2. Of q = Normal(m, diag(v))

        KL(q || p(z|x)) = 0.5 (sum_d P_dd v_d - D - log det P - sum_d log v_d)

    is least at v_d = 1 / P_dd, and is 0.5 (sum_d log P_dd - log det P) there.
    """
    rng = np.random.default_rng(0)
    weights = 0.5 * rng.normal(size=[6, 3])
    weights[:, 1] += weights[:, 0]
    known = LinearGaussian(weights, rng.normal(size=6), scale=0.7)
    precision = np.eye(3) + weights.T @ weights / known.scale**2
    logs = np.sum(np.log(np.diag(precision)))
    return known, 0.5 * (logs - np.linalg.slogdet(precision)[1])


@pytest.mark.slow
def test_the_ladder_of_a_linear_gaussian_model_is_exact():
    known, approximation = correlated()
    rng = np.random.default_rng(1)
    z = rng.normal(size=[48, 3])
    x = z @ known.weights.T + known.bias + known.scale * rng.normal(size=[48, 6])
    vae, exact = known.vae(), known.log_marginal(x)
    ladder = inference_ladder(vae, [x[:40], x[40:]], 400, num_samples=4000)
    # The encoder's variances are the best ones, its means are of another model.
    wanted = known.elbo(x, known.posterior_mean(x), known.variance)
    off = ladder.encoder - wanted
    assert abs(off.mean()) < 5 * standard_error(off)
    lost = exact - ladder.refined
    # Each elbo has the noise of its 4,000 draws, and Adam stops a little below.
    assert -5 * standard_error(lost) < lost.mean() - approximation < 0.02
    assert 5 * standard_error(lost) + 0.02 < 0.1 * approximation
    # With the exact q every log-weight is log p(x); a draw more or less is chosen.
    np.testing.assert_allclose(ladder.linear, exact, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ladder.flow, exact, rtol=0, atol=0.01)
    for below, above in zip(ladder, ladder[1:], strict=False):
        assert np.all(above >= below)
    alone = inference_ladder(vae, [x[41:43]], 400, num_samples=4000)
    np.testing.assert_array_equal(np.stack(alone), np.stack(ladder)[:, 41:43])


@pytest.mark.slow
@pytest.mark.parametrize("conditional_prior", [False, True])
def test_the_ladder_of_a_conditional_model_is_of_its_conditions(conditional_prior):
    """The encoder's means are off by d: KL(q, p(z|x, c)) = sum_d d^2 / (2 v_d)."""
    known = Known(conditional_prior)
    off = np.array([0.3, -0.2, 0.25])
    network = known.vae.encoder.network
    kernel, bias = network.get_weights()
    network.set_weights([kernel, bias + np.concatenate([off, np.zeros(3)])])
    x, c = known.draw(24, seed=2)
    ladder = inference_ladder(known.vae, [(x, c)], 400, num_samples=4000)
    exact = known.log_marginal(x, c)
    amortisation = np.sum(off**2 / (2 * known.base.variance))
    lost = exact - ladder.encoder
    assert abs(lost.mean() - amortisation) < 5 * standard_error(lost)
    assert 5 * standard_error(lost) < 0.3 * amortisation
    # Where q is exact each log-weight is log p(x|c), whatever the draws.
    np.testing.assert_allclose(ladder.refined, exact, rtol=0, atol=0.01)
    np.testing.assert_allclose(ladder.flow, exact, rtol=0, atol=0.01)
    moved = inference_ladder(known.vae, [(x, (c + 1) % CLASSES)], 5, num_samples=10)
    assert np.abs(moved.refined - exact).mean() > 1


# -- a trained run, against quadrature -------------------------------------------------


class Quadrature(NamedTuple):
    """What is exact of a model with two variables and one image."""

    vae: VAE
    x: tf.Tensor  # [1, H, W, C]

    def elbo(self, params: tf.Tensor) -> tf.Tensor:
        """E_q[log w] of q = Normal of `params` [4], by Gauss and Hermite."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(24)
        loc, raw = tf.split(params, 2)
        scale = tf.nn.softplus(raw) + 1e-5
        noise = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
        share = np.outer(weights, weights).ravel() / weights.sum() ** 2
        z = loc + scale * noise.astype("float32")
        log_prior = -0.5 * tf.reduce_sum(z**2, axis=1) - np.log(2 * np.pi)
        log_joint = self.vae.decode(z).log_prob(self.x) + log_prior
        entropy = tf.reduce_sum(tf.math.log(scale)) + 1 + np.log(2 * np.pi)
        return tf.reduce_sum(share.astype("float32") * log_joint) + entropy

    def best_elbo(self, params: np.ndarray) -> float:
        """The elbo of the best `params`, from a start."""

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            given = tf.constant(values, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(given)
                elbo = self.elbo(given)
            return -float(elbo), -tape.gradient(elbo, given).numpy().astype("float64")

        found = optimize.minimize(loss, params, jac=True, method="L-BFGS-B")
        return -found.fun

    def log_likelihood(self) -> float:
        """Log p(x), by the trapezium rule."""
        axis = np.linspace(-6, 6, 241)
        z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype("float32")
        log_prior = -0.5 * np.sum(z**2, axis=1) - np.log(2 * np.pi)
        log_joint = self.vae.decode(z).log_prob(self.x) + log_prior
        return float(logsumexp(log_joint) + 2 * np.log(axis[1] - axis[0]))


@pytest.mark.slow
def test_a_runs_gaps_are_those_of_quadrature(tmp_path):
    sizes = {"latent_size": 2, "hidden_sizes": (32,), "learning_rate": 0.01}
    # With 10 samples the encoder is trained for another q than the elbo's best.
    objective = {"objective": "iwae", "num_samples": 10}
    train(Config(**sizes, **objective, epochs=25), tmp_path)
    how = {"num_samples": 4000, "limit": 12}
    annealing = Annealing(
        gaps=True, ais_chains=8, ais_steps=100, ais_initial="posterior", bdmc_images=12
    )
    found = evaluate_run(tmp_path, annealing, **how)["gaps"]
    run = load_run(tmp_path)
    (x,) = images_of(run, Scoring(**how)).batches
    each = [Quadrature(run.vae, x[row : row + 1]) for row in range(12)]
    own = run.vae.encoder.params(run.vae.as_batch(x).x, False).numpy()
    encoder = [float(q.elbo(tf.constant(p))) for q, p in zip(each, own, strict=True)]
    refined = [q.best_elbo(p) for q, p in zip(each, own, strict=True)]
    exact = np.array([q.log_likelihood() for q in each])
    wanted = {
        "amortisation": np.subtract(refined, encoder),
        "approximation": exact - refined,
        "total": exact - encoder,
    }
    # A log-weight's standard deviation is about the root of twice the gap below it: 0.9
    # for the encoder, 0.3 for the best q; five standard errors of 48,000 draws. AIS has
    # an error of 0.001.
    errors = {"amortisation": 0.02, "approximation": 0.007, "total": 0.021}
    for name, values in wanted.items():
        mean, error = values.mean(), errors[name]
        reported = found["differences"][name]["mean"]
        assert reported == pytest.approx(mean, abs=error), name
        assert error < 0.3 * mean, name  # else it would say little
    assert errors["amortisation"] < 0.06 * wanted["amortisation"].mean()
    width = found["bdmc_width"]
    assert abs(width["mean"]) < 5 * width["standard_error"] + 0.02
    assert found["elbos"]["flow"]["mean"] < exact.mean() + 0.007
    assert (tmp_path / "evaluation_gaps.png").read_bytes().startswith(b"\x89PNG")
