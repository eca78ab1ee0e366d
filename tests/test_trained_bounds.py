"""A trained run reports what quadrature, or a sum over all states, gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import slow_but
from scipy.special import logsumexp

from tfvae.config import Config
from tfvae.config.settings import Scoring
from tfvae.evaluation import score_images
from tfvae.models import VAE, Batch, SemiSupervisedVAE
from tfvae.models.batch import concatenate_batches
from tfvae.reports import evaluate_run
from tfvae.reports.images import images_of
from tfvae.training import train
from tfvae.training.runs import load_run

SHARED = {
    "latent_size": 2,
    "hidden_sizes": (32,),
    "epochs": 12,
    "num_samples": 4,
    "learning_rate": 0.01,
}
VIMCO = {"estimator": "vimco"}
TEMPERED = {"temperature": 0.7, "prior_temperature": 0.4}
RUNS = {
    "normal": {},
    "logistic": {"latent": "logistic"},
    "multivariate_normal": {"latent": "multivariate_normal"},
    "flow": {"latent": "flow"},
    "bin_concrete": {"latent": "bin_concrete", **TEMPERED},
    "concrete": {"latent": "concrete", "num_classes": 2, **TEMPERED},
    "bernoulli": {"latent": "bernoulli", **VIMCO},
    "categorical": {"latent": "categorical", **VIMCO},
    "learned prior": {"latent": "logistic", "prior": "learned"},
    "mixture prior": {"prior": "mixture", "num_components": 3},
    "mixture of logistics": {"latent": "logistic", "prior": "mixture"},
    "vamp prior": {"prior": "vamp", "num_components": 5},
    "two layers": {"latent_size": 1, "upper_latent_sizes": (1,)},
    "a prior for each class": {"condition": "label", "prior": "conditional"},
    "bernoulli given the class": {"latent": "bernoulli", "condition": "label", **VIMCO},
    "classes summed out": {"condition": "label", "labels": 50, "epochs": 4},
    "two relaxed layers": {
        "latent": "bin_concrete",
        "latent_size": 1,
        "upper_latent_sizes": (1,),
        **TEMPERED,
    },
}
QUICK = ("logistic", "classes summed out")
IMAGES = 50
NUM_SAMPLES = 5000
POINTS = 361  # on an axis


def states(vae: VAE) -> tuple[np.ndarray, np.ndarray]:
    """Values [n, D] of z, or [n, D, K], and the logarithms of their volumes, [n]."""
    event = vae.latent.event_shape
    if not vae.latent.reparameterised:
        if len(event) == 1:
            z = np.array(list(itertools.product([0.0, 1.0], repeat=event[0])))
        else:
            one_hots = np.eye(event[1])
            z = np.array(list(itertools.product(one_hots, repeat=event[0])))
        return z.astype("float32"), np.zeros(len(z))
    # An axis dense in the middle: z = s sinh(u) / sinh(1) by the trapezium rule in u.
    u = np.linspace(-4.0, 4.0, POINTS)
    axis, slope = 2.0 * np.sinh(u), 2.0 * np.cosh(u) * (u[1] - u[0])
    first, second = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    volumes = np.log(np.outer(slope, slope).ravel())
    if len(event) == 1:
        return np.stack([first, second], axis=-1).astype("float32"), volumes
    # Two classes in log space, by the difference l of their logarithms, of which the
    # density is (Maddison et al., 2017, appendix C.3): z = log sigmoid(l, -l).
    logits = np.stack([first, second], axis=-1)
    z = np.stack([-np.logaddexp(0, -logits), -np.logaddexp(0, logits)], axis=-1)
    return z.astype("float32"), volumes


def exact_bounds(vae: VAE, batch: Batch) -> np.ndarray:
    """log p(x) [B], or log p(x|c) of a conditional model."""
    x = batch.x.numpy()
    if vae.condition is None:
        return log_likelihoods(vae, x)
    classes = range(vae.condition.num_classes)
    given = np.stack([log_likelihoods(vae, x, condition=c) for c in classes])  # [C, B]
    if not isinstance(vae, SemiSupervisedVAE):
        return given[batch.condition.numpy(), np.arange(len(x))]
    return logsumexp(given + np.log(vae.class_probabilities)[:, None], axis=0)


def log_likelihoods(vae: VAE, x: np.ndarray, **given) -> np.ndarray:
    """log p(x) [B] of a model with two latent variables, in float64."""
    z, volumes = states(vae)
    log_prior = vae.prior(**given).log_prob(z).numpy().astype("float64") + volumes
    assert abs(logsumexp(log_prior)) < 1e-4  # the prior is found, whole
    flat = x.reshape(len(x), -1).astype("float64")
    terms = []
    for some in np.array_split(np.arange(len(z)), max(1, len(z) // 4096)):
        p = vae.decode(tf.constant(z[some]), **given)
        logits = p.distribution.logits.numpy().reshape(len(some), -1).astype("float64")
        log_joint = logits @ flat.T - np.logaddexp(0, logits).sum(axis=1)[:, None]
        terms.append(logsumexp(log_joint + log_prior[some][:, None], axis=0))
    return logsumexp(terms, axis=0)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", slow_but(QUICK, RUNS))
def test_the_reported_bound_is_the_likelihood_to_the_draws_error(name, tmp_path):
    train(Config(**{**SHARED, **RUNS[name]}), tmp_path)
    how = {"num_samples": NUM_SAMPLES, "limit": IMAGES}
    reported = evaluate_run(tmp_path, **how)
    run = load_run(tmp_path)
    batches = list(images_of(run, Scoring(**how)).batches)
    read = concatenate_batches([run.vae.as_batch(batch) for batch in batches])
    exact = exact_bounds(run.vae, run.vae.as_batch(read))
    scores = score_images(run.vae, batches, NUM_SAMPLES)
    mean = reported["results"]["log_likelihood"]["mean"]
    assert scores.log_likelihood.mean() == pytest.approx(mean, abs=1e-6)
    # The delta method: log of a mean of K weights has a variance of 1 / ess - 1 / K,
    # and is below the logarithm of their expectation by half of it.
    variances = np.maximum(1 / scores.ess - 1 / NUM_SAMPLES, 0.0)
    error = np.sqrt(variances.sum()) / IMAGES
    quadrature = 1e-4
    assert abs(mean - exact.mean()) < 5 * error + variances.mean() + quadrature
    assert error < 0.02  # else nothing would be seen
