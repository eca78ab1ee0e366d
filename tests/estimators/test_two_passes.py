"""ResampledBackward and chunks have the gradient of all samples at once."""

from __future__ import annotations

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from helpers import hierarchies
from helpers.models import (
    FLOAT64,
    binary_images,
    estimate_of,
    slow_but,
    standard_error,
    tiny_vae,
)

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.estimators import (
    ESTIMATORS,
    Chunk,
    Chunked,
    Ovis,
    ResampledBackward,
    Rws,
    VariationalBatch,
)
from tfvae.latents import NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.objectives import Ciwae, Elbo, Iwae, Miwae, Objective, Piwae, Renyi, Tvo
from tfvae.training.building import build_vae

tfd = tfp.distributions
THROUGH_Z = ("pathwise", "stl", "dreg")
OBJECTIVES = [Iwae(), Renyi(0.4), Ciwae(0.3), Miwae(2), Piwae(2), Tvo(3, 0.1)]
X = tf.constant(binary_images(3), tf.float64)


# -- the same gradient -----------------------------------------------------------------


def gradients(vae: VAE, objective: Objective, samples: int, estimator: str, **how):
    """The estimate's terms and gradients, in chunks of a step in a graph."""
    vae.compile("sgd", objective, samples, estimator, **how)

    def step(x):
        with tf.GradientTape() as tape:
            estimate = estimate_of(vae, x, (1, 2))
        slopes = tape.gradient(estimate.surrogate, vae.trainable_variables)
        return [*estimate.terms[:3], estimate.surrogate], slopes

    if "sample_chunk" in how:  # a loop, which is another thing in a graph
        step = tf.function(step, autograph=False)
    return step(X)


@functools.cache
def dense(latent: str, objective: Objective, samples: int, estimator: str):
    return gradients(tiny_vae(latent, **FLOAT64), objective, samples, estimator)


def assert_dense(latent, objective, samples, estimator, **how):
    vae = tiny_vae(latent, **FLOAT64)
    found = gradients(vae, objective, samples, estimator, **how)
    wanted = dense(latent, objective, samples, estimator)
    assert any(np.abs(slope).max() > 1e-3 for slope in wanted[1])
    for ours, theirs in zip(sum(found, []), sum(wanted, []), strict=True):
        # float64 sums in another order, of log-weights of size 50.
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.quick(3)
@pytest.mark.parametrize("estimator", THROUGH_Z)
@pytest.mark.parametrize("latent", ["normal", "logistic", "bin_concrete"])
def test_all_samples_kept_give_the_dense_gradient(latent, estimator):
    assert_dense(latent, Iwae(), 6, estimator, backward_samples=6)


@pytest.mark.quick(2)
@pytest.mark.parametrize("objective", OBJECTIVES[1:], ids=str)
def test_all_samples_kept_give_the_dense_gradient_of_each_objective(objective):
    assert_dense("normal", objective, 6, "dreg", backward_samples=6)


@pytest.mark.parametrize("latent", ["multivariate_normal", "flow", "concrete"])
def test_all_samples_kept_give_the_dense_gradient_of_dependent_variables(latent):
    assert_dense(latent, Iwae(), 6, "pathwise", backward_samples=6)


@pytest.mark.quick(1)
@pytest.mark.parametrize("latent", ["normal", "logistic", "bin_concrete"])
def test_all_samples_kept_after_a_chunked_forward_pass_give_the_dense_gradient(latent):
    assert_dense(latent, Iwae(), 70, "pathwise", backward_samples=70, sample_chunk=16)


@pytest.mark.quick(3)
@pytest.mark.parametrize("estimator", THROUGH_Z)
@pytest.mark.parametrize("size", [1, 4, 6])
def test_chunks_give_the_dense_gradient(estimator, size):
    assert_dense("normal", Iwae(), 6, estimator, sample_chunk=size)


@pytest.mark.quick(1)
@pytest.mark.parametrize("size", [16, 50, 64, 100])
def test_chunks_of_many_samples_give_the_dense_gradient(size):
    assert_dense("normal", Iwae(), 150, "pathwise", sample_chunk=size)


@pytest.mark.quick(2)
@pytest.mark.parametrize("objective", [Elbo(), *OBJECTIVES[1:]], ids=str)
def test_chunks_give_the_dense_gradient_of_each_objective(objective):
    assert_dense("normal", objective, 6, "dreg", sample_chunk=4)


@pytest.mark.quick(1)
@pytest.mark.parametrize("latent", ["logistic", "bin_concrete", "concrete", "flow"])
def test_chunks_give_the_dense_gradient_of_each_family(latent):
    assert_dense(latent, Iwae(), 6, "pathwise", sample_chunk=4)


@pytest.mark.quick(2)
@pytest.mark.parametrize("how", [{"backward_samples": 6}, {"sample_chunk": 4}])
@pytest.mark.parametrize(
    "made",
    [
        {"upper_latent_sizes": (2,)},
        {"prior": "learned"},
        {"prior": "mixture", "num_components": 3},
        {"prior": "vamp", "num_components": 3},
    ],
)
def test_several_layers_and_other_priors_have_the_dense_gradient(made, how):
    config = Config(latent_size=3, hidden_sizes=(8,), **made)
    slopes = []
    for given in ({}, how):
        vae = build_vae(config, (8, 8, 1), images=binary_images(20))
        vae.compile("sgd", "iwae", 6, "dreg", **given)
        with tf.GradientTape() as tape:
            x = tf.cast(X, tf.float32)
            surrogate = estimate_of(vae, x, (1, 2)).surrogate
        slopes.append(tape.gradient(surrogate, vae.trainable_variables))
    for ours, theirs in zip(*slopes, strict=True):
        # float32 sums of a few hundred numbers, in another order.
        size = np.abs(theirs).max()
        assert size > 0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("how", [{"backward_samples": 2}, {"sample_chunk": 3}])
def test_terms_are_those_of_all_samples(how):
    wanted, _ = dense("normal", Iwae(), 6, "pathwise")
    found, _ = gradients(tiny_vae(**FLOAT64), Iwae(), 6, "pathwise", **how)
    for ours, theirs in zip(found[:3], wanted[:3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


# -- samples without a gradient --------------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("objective", [Elbo(), Iwae(), Miwae(2), Tvo(3)], ids=str)
@pytest.mark.parametrize("latent", ["bernoulli", "categorical"])
def test_chunks_of_discrete_samples_give_the_dense_gradient(latent, objective):
    assert_dense(latent, objective, 6, "vimco", sample_chunk=4)


@pytest.mark.quick(2)
@pytest.mark.parametrize("how", [{"sample_chunk": 4}, {"backward_samples": 6}, {}])
@pytest.mark.parametrize(
    "estimator", ["reinforce", "ovis", Ovis(num_auxiliary=3), "rws"], ids=str
)
def test_score_functions_in_two_passes_have_the_dense_gradient(estimator, how):
    how = how or {"backward_samples": 6, "sample_chunk": 4}
    assert_dense("bernoulli", Iwae(), 6, estimator, **how)


@pytest.mark.quick(2)
@pytest.mark.parametrize("latent", ["normal", "bin_concrete", "flow", "concrete"])
def test_wake_sleep_of_continuous_samples_in_chunks_has_the_dense_gradient(latent):
    assert_dense(latent, Iwae(), 70, "rws", sample_chunk=32)


@pytest.mark.quick(1)
def test_wake_sleep_in_chunks_dreams_as_without():
    assert_dense("bernoulli", Iwae(), 6, Rws(0.5), sample_chunk=4)


@pytest.mark.quick(2)
@pytest.mark.parametrize("estimator", ["vimco", "rws"])
def test_chunks_of_a_hierarchy_of_bits_give_the_dense_gradient(estimator):
    slopes = []
    for given in ({}, {"sample_chunk": 4}, {"backward_samples": 6}):
        vae = hierarchies.model("bernoulli")
        x = tf.constant(binary_images(3, shape=hierarchies.SHAPE), tf.float64)
        vae.compile("sgd", "iwae", 6, estimator, **given)
        with tf.GradientTape() as tape:
            surrogate = estimate_of(vae, x, (1, 2)).surrogate
        slopes.append(tape.gradient(surrogate, vae.trainable_variables))
    for theirs, *ours in zip(*slopes, strict=True):
        assert np.abs(theirs).max() > 1e-3
        for slope in ours:  # as in `assert_dense`
            np.testing.assert_allclose(slope, theirs, rtol=1e-9, atol=1e-10)


BOTH = {"backward_samples": 2, "sample_chunk": 3}


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("eager", {"backward_samples": 2}),
        pytest.param("eager", {"sample_chunk": 3}, marks=pytest.mark.slow),
        pytest.param("xla", BOTH, marks=pytest.mark.slow),
        pytest.param("xla", {"backward_samples": 2}, marks=pytest.mark.slow),
        pytest.param("xla", {"sample_chunk": 3}, marks=pytest.mark.slow),
        *(
            pytest.param("xla", {"estimator": each, **more}, marks=pytest.mark.slow)
            for each, more in (
                ("vimco", {"sample_chunk": 3}),
                ("ovis", {}),
                (Rws(0.5), BOTH),
            )
        ),
    ],
)
def test_fit_learns_eagerly_and_compiled(mode, how):
    vae = tiny_vae("bernoulli" if "estimator" in how else "normal")
    x = binary_images(60)
    vae.compile(
        keras.optimizers.Adam(0.01),
        "iwae",
        8,
        run_eagerly=mode == "eager",
        jit_compile=mode == "xla",
        **how,
    )
    first, *_, last = vae.fit(x, batch_size=20, epochs=4, verbose=0).history["loss"]
    assert last < first - 1


# -- unbiased --------------------------------------------------------------------------


class SameNoise(tfd.Independent):
    """Normal or Logistic posteriors [B, 1] whose draws have the same noise for all."""

    def experimental_sample_and_log_prob(self, count, seed):
        z = self.sample(count, seed)
        return z, self.log_prob(z)

    def sample(self, count, seed):
        single = self.distribution
        noise = np.random.default_rng(0).normal(size=[count, 1, 1])
        return single.loc + single.scale * noise


def copies_of(
    kind, params: list[tf.Variable], objective: Objective
) -> VariationalBatch:
    """One problem many times: all its copies have the same samples and weights."""
    q, p_x, p_z = params
    loc, scale = q[:, :1], tf.exp(q[:, 1:])

    def log_likelihood(z: tf.Tensor) -> tf.Tensor:
        return -((p_x[:, 0] * tf.sin(2 * z[..., 0]) - 3 * p_x[:, 1]) ** 2)

    def posterior(loc, scale):
        return SameNoise(kind(loc, scale), 1)

    return VariationalBatch(
        objective=objective,
        posterior_params=tf.zeros([]),  # the functions below know theirs
        make_posterior=lambda _: posterior(loc, scale),
        make_stopped_posterior=lambda _: posterior(
            *map(tf.stop_gradient, (loc, scale))
        ),
        make_prior=lambda: tfd.Independent(tfd.Normal(p_z, tf.ones([], tf.float64)), 1),
        log_likelihood=log_likelihood,
        num_samples=10,
        kl_weight=1.0,
        seed=tf.constant([1, 2]),
    )


def slopes_of(estimator, kind, objective, count) -> list[np.ndarray]:
    start = [[0.3, -0.4], [0.9, -0.7], [-1.2]]
    params = [tf.Variable(np.tile(np.array(p), [count, 1])) for p in start]
    with tf.GradientTape() as tape:
        problem = copies_of(kind, params, objective)
        surrogate = estimator.estimate(problem).surrogate
    return [slope.numpy() for slope in tape.gradient(surrogate, params)]


@pytest.mark.quick(6)
@pytest.mark.parametrize("kept", [1, 3])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("estimator", THROUGH_Z)
@pytest.mark.parametrize("kind", slow_but([tfd.Normal], [tfd.Normal, tfd.Logistic]))
def test_over_resamplings_the_mean_is_the_dense_gradient(
    kind, estimator, objective, kept
):
    inner = ESTIMATORS[estimator]()
    wanted = slopes_of(inner, kind, objective, 1)
    found = slopes_of(ResampledBackward(inner, kept), kind, objective, 40_000)
    whole = np.linalg.norm(np.concatenate(wanted, axis=1))
    for slope, draws in zip(wanted, found, strict=True):
        error = standard_error(draws)
        assert np.all(5 * error < 0.05 * whole), "a 5 % error would not be seen"
        assert np.all(np.abs(draws.mean(axis=0) - slope[0]) < 5 * error + 1e-9)
        assert draws.std() > 0


def test_without_the_inverse_probabilities_it_would_be_seen(monkeypatch):
    # That the test above can fail.
    import tfvae.estimators.resampled_backward as module

    def biased(*args):
        numbers, inverse = module_resampling(*args)
        return numbers, tf.ones_like(inverse)

    module_resampling = module.optimal_resampling
    monkeypatch.setattr(module, "optimal_resampling", biased)
    with pytest.raises(AssertionError):
        test_over_resamplings_the_mean_is_the_dense_gradient(
            tfd.Normal, "pathwise", Iwae(), 3
        )


class SameBits(tfd.Independent):
    """Bernoulli posteriors [B, 4] whose draws are the same for all."""

    def experimental_sample_and_log_prob(self, count, seed):
        z = self.sample(count, seed)
        return z, self.log_prob(z)

    def sample(self, count, seed):
        logits = self.distribution.logits
        noise = np.random.default_rng(0).random(size=[count, 1, 4])
        return tf.cast(noise < tf.sigmoid(logits), logits.dtype)


def slopes_of_bits(estimator, objective: Objective, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    start = [rng.normal(size=4), 2 * rng.normal(size=5), rng.normal(size=4)]
    params = [tf.Variable(np.tile(p, [count, 1])) for p in start]

    def bits(kind, logits: tf.Tensor):
        return kind(tfd.Bernoulli(logits, dtype=tf.float64), 1)

    with tf.GradientTape() as tape:
        q, p_x, p_z = params
        batch = VariationalBatch(
            objective=objective,
            posterior_params=tf.zeros([]),  # the functions below know theirs
            make_posterior=lambda _: bits(SameBits, q),
            make_stopped_posterior=lambda _: bits(SameBits, tf.stop_gradient(q)),
            make_prior=lambda: bits(tfd.Independent, p_z),
            log_likelihood=lambda z: (
                -((tf.reduce_sum(z * p_x[:, :4], axis=-1) - p_x[:, 4]) ** 2)
            ),
            num_samples=10,
            kl_weight=1.0,
            seed=tf.constant([1, 2]),
        )
        surrogate = estimator.estimate(batch).surrogate
    return [slope.numpy() for slope in tape.gradient(surrogate, params)]


@pytest.mark.quick(3)
@pytest.mark.parametrize("objective", [Iwae(), Miwae(2), Tvo(3, 0.1)], ids=str)
@pytest.mark.parametrize("inner", [ESTIMATORS["vimco"](), Rws()], ids=str)
def test_over_resamplings_of_bits_the_mean_is_the_dense_gradient(inner, objective):
    wanted = slopes_of_bits(inner, objective, 1)
    found = slopes_of_bits(ResampledBackward(inner, 3), objective, 40_000)
    whole = np.linalg.norm(np.concatenate(wanted, axis=1))
    for slope, draws in zip(wanted, found, strict=True):
        error = standard_error(draws)
        assert np.all(5 * error < 0.05 * whole), "a 5 % error would not be seen"
        assert np.all(np.abs(draws.mean(axis=0) - slope[0]) < 5 * error + 1e-9)
        assert draws.std() > 0


# -- draws in chunks -------------------------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("samples", [10, 64, 150])
@pytest.mark.parametrize("size", slow_but([7, 64, 128], [1, 7, 32, 64, 100, 128]))
def test_chunks_of_draws_are_the_parts_of_all_draws(samples, size):
    problem = tiny_vae().variational_batch(
        tf.cast(X, tf.float32), samples, 3, training=False
    )
    whole, density = problem.draw_with_density()
    assert whole.shape[0] == density.shape[0] == samples
    for start in range(0, samples, size):
        kept = min(size, samples - start)
        for index in (start // size, tf.constant(start // size)):
            z, log_posterior = problem.draw_with_density(Chunk(size, index, kept))
            np.testing.assert_array_equal(z, whole[start : start + kept])
            np.testing.assert_array_equal(log_posterior, density[start : start + kept])
    if samples > 2:
        assert len(np.unique(whole[:, 0, 0])) == samples


def test_chunks_of_very_many_draws_are_the_parts_of_all_draws():
    problem = tiny_vae().variational_batch(
        tf.cast(X, tf.float32), 20_000, 3, training=False
    )
    whole = problem.draw().numpy()
    for size, index in ((4096, 3), (100, 150), (128, 155)):
        start = size * index
        found = problem.draw(Chunk(size, tf.constant(index), size))
        np.testing.assert_array_equal(found, whole[start : start + size])


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latent", "arguments", "said"),
    [
        ("normal", {"backward_samples": 0}, "backward_samples 0"),
        ("normal", {"backward_samples": 2.0}, "backward_samples 2.0"),
        ("normal", {"backward_samples": 9}, "more than num_samples 8"),
        ("normal", {"sample_chunk": 0}, "sample_chunk 0"),
        ("normal", {"backward_samples": 2, "sample_chunk": -1}, "sample_chunk -1"),
        ("normal", {"backward_samples": 2, "objective": "elbo"}, "counts as much"),
        (
            "normal",
            {"sample_chunk": 2, "objective": Elbo(analytic_kl=True)},
            "analytic_kl",
        ),
        (
            "bernoulli",
            {"backward_samples": 2, "estimator": "disarm"},
            "'disarm' has no second pass",
        ),
        (
            "bernoulli",
            {"sample_chunk": 2, "estimator": "straight_through"},
            "'straight_through'",
        ),
        (
            "normal",
            {"sample_chunk": 2, "estimator": "vimco"},
            "'vimco' is for discrete",
        ),
        ("flow", {"backward_samples": 2, "sample_chunk": 2}, "location"),
    ],
)
def test_what_is_not_defined_is_refused(latent, arguments, said):
    with pytest.raises(InputError, match=said):
        tiny_vae(latent).compile(**{"objective": "iwae", "num_samples": 8, **arguments})


@pytest.mark.parametrize("layer", [keras.layers.Dropout(0.5), "batch"])
def test_layers_that_do_not_repeat_themselves_are_refused(layer):
    layer = keras.layers.BatchNormalization() if layer == "batch" else layer
    tiny = tiny_vae()
    network = keras.Sequential(
        [
            keras.Input([3]),
            layer,
            keras.layers.Dense(64),
            keras.layers.Reshape([8, 8, 1]),
        ]
    )
    decoder = ConditionalDistribution(network, tiny.decoder.head)
    vae = VAE(tiny.encoder, decoder, NormalLatent(3))
    vae.compile("adam", "iwae", 8)
    for how in ({"backward_samples": 2}, {"sample_chunk": 2}):
        with pytest.raises(InputError, match="something else in a second pass"):
            vae.compile("adam", "iwae", 8, **how)


@pytest.mark.parametrize(
    ("latent", "estimator"),
    [
        ("normal", ResampledBackward(ESTIMATORS["dreg"](), 2)),
        ("normal", Chunked(ESTIMATORS["stl"](), 3)),
        ("bernoulli", Chunked(Rws(0.25), 3)),
        ("bernoulli", Ovis(0.5)),
        ("bernoulli", Chunked(Ovis(num_auxiliary=2), 3)),
    ],
)
def test_it_survives_saving(tmp_path, latent, estimator):
    vae = tiny_vae(latent)
    vae.compile("adam", "iwae", 8, estimator)
    vae.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").estimator == estimator


# -- memory ----------------------------------------------------------------------------

LARGE = """
import numpy as np, tfvae
from tfvae.core.devices import peak_mib
from tfvae.training.building import build_vae, compile_vae
from tfvae.config import Config
config = Config(
    dataset="mnist", num_samples=SAMPLES, sample_chunk=64, batch_size=100, **MORE
)
vae = build_vae(config, (28, 28, 1))
compile_vae(vae, config, 2)
x = (np.random.default_rng(0).random([200, 28, 28, 1]) < 0.2).astype("float32")
losses = vae.fit(x, batch_size=100, epochs=1, verbose=0).history["loss"]
assert np.isfinite(losses[0])
print(peak_mib())
"""


BITS = {"latent": "bernoulli", "latent_size": 200, "estimator": "rws"}


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, BITS], ids=["normal", "bernoulli"])
def test_5000_samples_of_100_images_train_within_2_gib(more):
    given = f"SAMPLES, MORE = 5000, {more}\n"
    run = subprocess.run(
        [sys.executable, "-c", given + LARGE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout.split()[-1]) < 2048
