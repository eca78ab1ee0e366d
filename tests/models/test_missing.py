"""Values that are missing: exact answers, and the mask wherever x goes."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers.heads import head_of
from helpers.missing import KnownHoles
from helpers.models import standard_error
from helpers.several import assert_alike, on_several
from scipy import integrate, optimize, special, stats

import tfvae
from tfvae.conditions import OneHot
from tfvae.core.types import InputError
from tfvae.evaluation import score_images
from tfvae.evaluation.ais import ais_log_likelihood
from tfvae.heads import HEADS, NormalHead
from tfvae.latents import LATENTS, NormalLatent
from tfvae.models import VAE, Batch, SelfMasking, SemiSupervisedVAE
from tfvae.networks import mlp
from tfvae.objectives import OBJECTIVES
from tfvae.priors import VampPrior

SIZE = 6
RNG = np.random.default_rng(3)
POINTS = RNG.normal(0, 2, [7, SIZE])
SEEN = RNG.random([7, SIZE]) < 0.6
SEEN[0], SEEN[1] = True, False  # all, and none
HOLES = np.where(SEEN, POINTS, np.nan)


@pytest.fixture(scope="module")
def known() -> KnownHoles:
    return KnownHoles()


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_with_the_true_posterior_every_objective_is_log_p_of_what_is_observed(
    known, objective
):
    wanted = known.log_marginal(POINTS, SEEN)
    terms = known.vae.log_weight_terms(HOLES, 8, seed=3)
    np.testing.assert_allclose(terms.log_weights(), np.tile(wanted, [8, 1]), atol=1e-10)
    found = OBJECTIVES[objective]().value(terms.log_weights())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", ["pathwise", "stl", "dreg", "chunks"])
def test_every_estimator_sees_log_p_of_what_is_observed(known, estimator):
    how = {"sample_chunk": 3} if estimator == "chunks" else {"estimator": estimator}
    known.vae.compile("sgd", "iwae", 6, run_eagerly=True, seed=1, **how)
    batch = known.vae.variational_batch(
        HOLES, 6, (0, 1), True, known.vae.objective, tf.ones([], "float64")
    )
    terms = known.vae.estimator.estimate(batch)[0]
    found = known.vae.objective.value(terms.log_weights())
    wanted = known.log_marginal(POINTS, SEEN)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", HEADS)
def test_nothing_depends_on_what_is_not_observed(name):
    """The elements' log-probabilities are those of the whole; the rest is exactly 0."""
    head = head_of(name)
    rng = np.random.default_rng(0)
    params = tf.constant(rng.normal(size=[5, *head.params_shape]))
    law = head(params)
    x = law.sample(seed=(0, 1))
    observed = tf.constant(rng.random(x.shape) < 0.5)
    parts = head.element_log_probs(law, x)
    np.testing.assert_allclose(
        tf.reduce_sum(parts, axis=-1), law.log_prob(x), rtol=1e-9
    )
    with tf.GradientTape() as tape:
        tape.watch([params, x])
        law = head(params)
        some = head.observed_log_prob(law, x, observed)
    by_params, by_x = tape.gradient(some, [params, x])
    np.testing.assert_allclose(
        some, tf.reduce_sum(tf.where(observed, parts, 0), axis=-1), rtol=1e-12
    )
    if by_x is not None:
        assert (by_x.numpy()[~observed.numpy()] == 0).all()
    blank = tf.where(observed, x, tf.constant(head.filler, x.dtype))
    with tf.GradientTape() as tape:
        tape.watch(params)
        again = head.observed_log_prob(head(params), blank, observed)
    np.testing.assert_array_equal(again, some)
    np.testing.assert_array_equal(tape.gradient(again, params), by_params)
    assert np.isfinite(by_params).all()


# -- imputation ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imputed(known):
    return known.vae.impute(HOLES, num_samples=1000, num_draws=1000, seed=1)


def test_what_is_imputed_has_the_conditional_mean_and_covariance(known, imputed):
    """With the true posterior all weights are 1: S samples of E[x|z]."""
    for number in range(1, len(HOLES)):
        gone = ~SEEN[number]
        mean, covariance = known.rest_given(POINTS[number], SEEN[number])
        # E[x|z] varies less than x.
        error = np.sqrt(np.diag(covariance) / 1000)
        assert (np.abs(imputed.mean[number, gone] - mean) < 5 * error).all()
        draws = imputed.draws[:, number, gone] - mean  # [M, gone]
        products = draws[:, :, np.newaxis] * draws[:, np.newaxis]
        # Of 1,000 samples 1,000 are drawn with replacement, which at most doubles the
        # variance of independent ones.
        spread = products.std(axis=0, ddof=1) * np.sqrt(2 / 1000)
        assert (np.abs(products.mean(axis=0) - covariance) < 5 * spread).all()
        spread = draws.std(axis=0, ddof=1) * np.sqrt(2 / 1000)
        assert (np.abs(draws.mean(axis=0)) < 5 * spread).all()
    np.testing.assert_allclose(imputed.ess, 1000, rtol=1e-9)


def test_what_is_observed_stays_as_it_was(imputed):
    for found in (imputed.mean, *imputed.draws[:3]):
        np.testing.assert_array_equal(found[SEEN], POINTS[SEEN])
    assert imputed.lower is None and imputed.upper is None


def test_intervals_cover_what_they_promise(known):
    x = known.draw(400, seed=5)
    seen = np.random.default_rng(6).random(x.shape) < 0.5
    found = known.vae.impute(x, seen, num_samples=400, interval=0.9, seed=2)
    assert (found.lower <= found.upper).all()
    # One hole an example: those of one example depend on each other.
    first = [
        (n, np.flatnonzero(~row)[0]) for n, row in enumerate(seen) if not row.all()
    ]
    covered = [found.lower[at] <= x[at] <= found.upper[at] for at in first]
    # Quantiles of 400 samples miss theirs by up to sqrt(.05 .95 / 400) on each side.
    error = np.sqrt(0.9 * 0.1 / len(covered) + 2 * 0.05 * 0.95 / 400)
    assert abs(np.mean(covered) - 0.9) < 5 * error


@pytest.mark.slow
def test_weights_correct_a_bad_proposal(known):
    """An encoder that knows nothing of the mask has another q, and the same p."""
    poor = small(with_mask=False, dtype="float64")
    poor.decoder.network.set_weights(known.vae.decoder.network.get_weights())
    x = np.where(SEEN[2], POINTS[2], np.nan)[np.newaxis]
    found = poor.impute(x, num_samples=4000, seed=4)
    mean, covariance = known.rest_given(POINTS[2], SEEN[2])
    # A mean of as many independent draws as the effective sample size says.
    error = np.sqrt(np.diag(covariance) / found.ess)
    assert (np.abs(found.mean[0, ~SEEN[2]] - mean) < 5 * error).all()
    assert found.ess[0] < 3000


def test_an_example_is_imputed_the_same_beside_any_others(known):
    whole = known.vae.impute(HOLES, num_samples=50, num_draws=2, seed=3, interval=0.5)
    part = known.vae.impute(HOLES[4:6], num_samples=50, num_draws=2, seed=3)
    np.testing.assert_array_equal(part.mean, whole.mean[4:6])
    np.testing.assert_array_equal(part.draws, whole.draws[:, 4:6])
    other = known.vae.impute(HOLES[4:6], num_samples=50, num_draws=2, seed=4)
    assert np.abs(other.draws - part.draws).max() > 0.1


def small(with_mask: bool = True, dtype: str = "float32", **how) -> VAE:
    given = {"condition_shape": (SIZE,)} if with_mask else {}
    head = NormalHead((SIZE,), dtype=dtype)
    if dtype == "float64":
        from helpers.models import KnownScaleNormalHead, linear_gaussian

        head = KnownScaleNormalHead((SIZE,), linear_gaussian().scale, dtype=dtype)
    shape = {"missing": "mar", "likelihood": head, **how}
    if shape["likelihood"] == "bernoulli":
        head = HEADS["bernoulli"]((SIZE,))
    family = shape.pop("latent", "normal")
    latent = LATENTS[family](3, dtype=dtype)
    params = latent.posterior_head().params_shape
    return VAE(
        mlp((SIZE,), params, (5,), seed=1, dtype=dtype, **given),
        mlp(latent.decoder_shape, head.params_shape, (), seed=2, dtype=dtype),
        latent,
        **shape,
    )


# -- the mask goes wherever x goes -----------------------------------------------------

X = HOLES.astype("float32")
FILLED = np.where(SEEN, POINTS, 17.0).astype("float32")


def stepped(vae: VAE) -> VAE:
    vae.compile(keras.optimizers.SGD(0.01), "iwae", 4, seed=1, run_eagerly=True)
    return vae


@pytest.mark.slow
def test_holes_are_the_same_however_they_are_given():
    vae = stepped(small())
    wanted = vae.evaluate(X, batch_size=7, verbose=0, return_dict=True)
    assert np.isfinite(wanted["loss"])
    whole = {"x": FILLED, "observed": SEEN}
    sets = tf.data.Dataset.from_tensor_slices
    for given in (
        whole,
        {"x": X, "observed": SEEN},
        {"x": FILLED, "observed": SEEN.astype("float32")},
        {"x": FILLED.tolist(), "observed": SEEN.tolist()},
        Batch(FILLED, observed=SEEN),
        pd.DataFrame(X),
        pd.DataFrame(X.astype("float64")),
        sets(X).batch(7),
        sets(whole).batch(7),
    ):
        how = {} if isinstance(given, tf.data.Dataset) else {"batch_size": 7}
        found = vae.evaluate(given, verbose=0, return_dict=True, **how)
        assert found == pytest.approx(wanted, rel=1e-6), type(given)
    scores = [score_images(vae, each, 20).log_likelihood for each in (X, whole)]
    np.testing.assert_array_equal(*scores)
    codes = [vae.embed(each) for each in (X, whole, sets(whole).batch(7))]
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_array_equal(codes[0], codes[2])
    assert np.isfinite(vae.predict(X, verbose=0)).all()
    results = [
        vae.impute(*each, num_samples=20, num_draws=2)
        for each in ((X,), (whole,), (FILLED, SEEN))
    ]
    for other in results[1:]:
        for one, same in zip(results[0][:2], other[:2], strict=True):
            np.testing.assert_array_equal(one, same)
    history = vae.fit(X, epochs=2, batch_size=4, verbose=0, validation_data=(X,))
    assert np.isfinite(history.history["val_loss"]).all() and int(vae.steps) == 4


@pytest.mark.parametrize("latent", LATENTS)
def test_where_all_is_observed_the_model_is_the_plain_one(latent):
    x = RNG.normal(size=[5, SIZE]).astype("float32")
    plain, holes = (small(False, latent=latent, missing=m) for m in (None, "mcar"))
    kinds = [vae.log_weight_terms(x, 6, (1, 2)).log_weights() for vae in (plain, holes)]
    np.testing.assert_allclose(*kinds, rtol=1e-5)  # another order of the same sums


def test_examples_and_their_masks_stay_together():
    vae, order = small(), np.random.default_rng(0).permutation(len(X))

    def means(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return vae.embed({"x": x, "observed": seen})

    found = means(FILLED, SEEN)
    np.testing.assert_allclose(
        means(FILLED[order], SEEN[order]), found[order], rtol=1e-5, atol=1e-6
    )
    assert np.abs(means(FILLED, SEEN[order]) - found).max() > 0.1


@pytest.mark.parametrize("conditional", [False, True])
def test_the_encoder_sees_the_condition_and_the_mask(conditional):
    given = {"condition_shape": (SIZE + 3,)} if conditional else {}
    vae = VAE(
        mlp((SIZE,), (4,), (5,), seed=1, **given),
        mlp((2,), (2 * SIZE,), (5,), seed=2, condition_shape=(3,)),
        likelihood="normal",
        condition=OneHot(3),
        missing="mar",
    )
    stepped(vae)
    c = np.arange(len(X)) % 3
    means = vae.encode({"x": X, "condition": c}).mean().numpy()
    others = vae.encode({"x": X, "condition": (c + 1) % 3}).mean().numpy()
    assert (np.abs(means - others).max() > 1e-3) == conditional
    # The same values with and without a mask of ones.
    x = np.nan_to_num(X)
    seen = vae.encode({"x": x, "condition": c}).mean().numpy()
    assert (np.abs(means - seen).max() > 1e-3) == conditional
    vae.fit(X, c, epochs=1, verbose=0)
    found = vae.impute({"x": X, "condition": c}, num_samples=10, num_draws=3)
    assert np.isfinite(found.draws).all()


def test_a_semi_supervised_model_takes_holes_in_every_class():
    given = {"condition_shape": (3,)}
    vae = SemiSupervisedVAE(
        mlp((SIZE,), (4,), (5,), seed=1, **given),
        mlp((2,), (2 * SIZE,), (5,), seed=2, **given),
        mlp((SIZE,), (3,), (5,), seed=3),
        likelihood="normal",
        missing="mar",
    )
    stepped(vae)
    y = np.array([0, 1, 2, -1, -1, -1, 0])
    wanted = vae.evaluate(X, y, batch_size=7, verbose=0, return_dict=True)
    batch = {"x": FILLED, "observed": SEEN, "label": y}
    found = vae.evaluate(batch, batch_size=7, verbose=0, return_dict=True)
    assert found == pytest.approx(wanted, rel=1e-6)
    vae.fit(X, y, epochs=1, verbose=0)
    assert np.isfinite(vae.classify(X)).all()
    assert np.isfinite(vae.impute(X, num_samples=10, num_draws=1).draws).all()
    assert vae.with_missing(None).missing is None


def test_grey_images_with_holes_are_drawn_in_each_step():
    x = np.random.default_rng(0).random((20, 8, 8, 1)).astype("float32")
    x[:, :4] = np.nan
    vae = VAE(mlp((8, 8, 1), (4,), (5,)), mlp((2,), (8, 8, 1), (5,)), missing="nan")
    vae.compile("adam", binarize=True, seed=0, run_eagerly=True)
    history = vae.fit(x, epochs=1, batch_size=10, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    x[3, 5] = 1.5  # has no probability, and is no hole
    with pytest.raises(InputError, match="0 and 1|NaN"):
        vae.fit(tf.data.Dataset.from_tensor_slices(x).batch(10), verbose=0)
    # 32 of 64 pixels count: an untrained one has about log 2.
    assert 20 < history["distortion"][0] < 24


def test_saved_loaded_and_served_models_have_their_mask(tmp_path):
    for missing in ("mar", SelfMasking((SIZE,), "negative")):
        vae = stepped(small(missing=missing))
        vae.fit(X, epochs=1, verbose=0)
        vae.save(tmp_path / "vae.keras")
        again = keras.models.load_model(tmp_path / "vae.keras")
        assert type(again.missing) is type(missing)
        one, two = (v.evaluate(X, verbose=0, return_dict=True) for v in (vae, again))
        assert one == pytest.approx(two, rel=1e-6)


@pytest.mark.slow  # starts processes with devices of their own
def test_several_replicas_are_as_one():
    for one, other in on_several(2, 20, "missing").values():
        assert_alike(one, other)


def test_the_discrete_twin_has_the_mask():
    vae = small(latent="bin_concrete")
    twin = vae.discrete()
    assert twin.missing == "mar"
    assert np.isfinite(score_images(twin, X, 10).log_likelihood).all()


@pytest.mark.slow
def test_annealed_importance_sampling_brackets_log_p_of_what_is_observed(known):
    x = HOLES[2:6]
    found = ais_log_likelihood(known.vae, x, 16, 200, seed=0)
    wanted = known.log_marginal(POINTS[2:6], SEEN[2:6])
    # log of a mean of 16 unbiased weights: within a few tenths after 200 steps.
    assert np.abs(found.log_likelihood - wanted).max() < 0.5
    masked = small(missing=SelfMasking((SIZE,)))
    with pytest.raises(InputError, match="SelfMasking"):
        ais_log_likelihood(masked, X[2:4], 2, 2, seed=0)


# -- a mechanism -----------------------------------------------------------------------


@pytest.mark.slow
def test_self_masking_log_weights_are_those_of_data_and_mask():
    """E w = p(x_observed, s), against quadrature over the one value that is missing."""
    mechanism = SelfMasking((SIZE,), dtype="float64")
    slope, bias = RNG.normal(size=SIZE), RNG.normal(size=SIZE)
    mechanism.raw_weight.assign(slope)
    mechanism.bias.assign(bias)
    known = KnownHoles(mechanism)
    seen = np.ones([1, SIZE], bool)
    seen[0, 2] = False
    x = POINTS[3:4]
    mean, variance = (float(each.squeeze()) for each in known.rest_given(x[0], seen[0]))
    logits = slope * x[0] + bias

    def density(value: float) -> float:
        law = stats.norm(mean, np.sqrt(variance))
        return law.pdf(value) * special.expit(slope[2] * value + bias[2])

    gone = integrate.quad(density, mean - 12, mean + 12, epsabs=1e-12)[0]
    wanted = known.log_marginal(x, seen)[0] + np.log(gone)
    wanted += special.log_expit(-logits)[seen[0]].sum()
    many = {"x": np.repeat(x, 2000, axis=0), "observed": np.repeat(seen, 2000, axis=0)}
    terms = known.vae.log_weight_terms(many, 10, (3, 4))
    ratio = np.exp(terms.log_weights().numpy().ravel() - wanted)
    assert abs(ratio.mean() - 1) < 5 * standard_error(ratio)
    # What is imputed is drawn to the values that are missing more often.
    found = known.vae.impute({"x": x, "observed": seen}, num_samples=1000, seed=2)
    first = integrate.quad(lambda v: v * density(v), mean - 12, mean + 12)[0] / gone
    assert abs(found.mean[0, 2] - first) < 5 * np.sqrt(variance / found.ess[0])
    assert abs(first - mean) > 0.05


@pytest.mark.slow
def test_self_masking_recovers_a_known_mechanism():
    """Its estimate is that of maximum likelihood, by quadrature, and near the truth."""
    slope, bias = 1.5, -0.5
    mechanism = SelfMasking((SIZE,), "positive", dtype="float64")
    known = KnownHoles(mechanism)
    x, draws = known.draw(2000, seed=8), np.random.default_rng(9).random(2000)
    gone = draws < special.expit(slope * x[:, 0] + bias)
    seen = np.ones_like(x, bool)
    seen[gone, 0] = False
    known.vae.encoder.trainable = known.vae.decoder.trainable = False
    known.vae.compile(keras.optimizers.Adam(0.05), "iwae", 20, seed=3)
    batch = {"x": np.where(seen, x, 0.0), "observed": seen}
    known.vae.fit(batch, epochs=40, batch_size=500, verbose=0)
    found = np.array([mechanism.weight[0], mechanism.bias[0]])
    rest = [known.rest_given(row, mask) for row, mask in zip(x, seen, strict=True)]
    means = np.concatenate([mean for mean, _ in rest])  # of the values that are gone
    scale = np.sqrt(rest[np.flatnonzero(gone)[0]][1][0, 0])
    nodes, masses = np.polynomial.hermite_e.hermegauss(40)
    inner = means[:, np.newaxis] + scale * nodes
    masses = masses / masses.sum()

    def loss(given: np.ndarray) -> float:
        there = special.log_expit(-given[0] * x[~gone, 0] - given[1]).sum()
        return (
            -there - np.log(special.expit(given[0] * inner + given[1]) @ masses).sum()
        )

    best = optimize.minimize(loss, [1.0, 0.0])
    errors = np.sqrt(np.diag(best.hess_inv))
    assert (np.abs(best.x - [slope, bias]) < 5 * errors).all()
    # Adam's steps on batches of a quarter of the rows end within an error of it.
    assert (np.abs(found - best.x) < errors).all()
    # A column that is never missing is the more so the longer it is trained.
    assert special.expit(mechanism.bias.numpy()[1:]).max() < 0.3


# -- what is refused -------------------------------------------------------------------


HALF = np.full([2, SIZE], 0.5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: small(missing="always"), "'always' is not usable"),
        (lambda: small(missing=SelfMasking((3,))), r"event_shape \(3,\)"),
        (lambda: SelfMasking((3,), "up"), "'positive', 'negative' or None"),
        (
            lambda: small(likelihood="bernoulli", missing=SelfMasking((SIZE,))),
            "draws of the likelihood that have a gradient",
        ),
        (lambda: small(missing=None), "takes a condition of shape"),
        (
            lambda: VAE(
                mlp((SIZE,), (4,), (5,), condition_shape=(4,)),
                mlp((2,), (2 * SIZE,), (5,)),
                likelihood="normal",
                missing="mar",
            ),
            r"is given \(6,\) of observed",
        ),
        (
            lambda: small(prior=VampPrior(NormalLatent(3), HALF)),
            "the observed",
        ),
        (
            lambda: small(missing=SelfMasking((SIZE,))).compile(
                objective="iwae", num_samples=8, backward_samples=2
            ),
            "second pass",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.full([4, SIZE], np.nan), "all 24 values of x are missing"),
        ({"x": FILLED, "observed": SEEN[:, :3]}, "observed has shape"),
        ({"x": FILLED, "observed": SEEN[:3]}, "observed has shape"),
        ({"x": FILLED, "observed": np.zeros_like(SEEN)}, "are missing"),
        ({"x": FILLED, "observed": 2 * SEEN.astype(int)}, "0 and 1"),
        ({"x": FILLED, "observed": SEEN.astype(str)}, "observed"),
        ({"x": X, "observed": np.ones_like(SEEN)}, "NaN or infinite"),
        (np.where(SEEN, np.inf, 0.0), "NaN or infinite"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "evaluate", "impute"])
def test_masks_that_do_not_fit_are_refused(given, said, call):
    vae = stepped(small())
    with pytest.raises(InputError, match=said):
        getattr(vae, call)(given)


def test_a_mask_in_another_place_is_refused_and_weights_count():
    vae = stepped(small())
    with pytest.raises(InputError, match="'observed': y"):
        vae.fit(X, SEEN, verbose=0)
    with pytest.raises(InputError, match="beside it"):
        vae.impute(tf.data.Dataset.from_tensor_slices(X).batch(3), SEEN)
    whole, weights = {"x": FILLED, "observed": SEEN}, np.arange(7.0)
    found, wanted = (
        vae.evaluate(
            x, sample_weight=weights, batch_size=7, verbose=0, return_dict=True
        )
        for x in (whole, X)
    )
    assert found == pytest.approx(wanted, rel=1e-6)
    plain = stepped(small(False, missing=None))
    x = np.nan_to_num(X)
    found, wanted = (
        plain.evaluate(
            given, sample_weight=weights, batch_size=7, verbose=0, return_dict=True
        )
        for given in ({"x": x}, x)
    )
    assert found == pytest.approx(wanted, rel=1e-6)


def test_a_data_set_with_a_hole_that_is_called_observed_is_refused():
    vae = stepped(small())
    batches = tf.data.Dataset.from_tensor_slices(
        {"x": X, "observed": np.ones_like(SEEN)}
    ).batch(7)
    with pytest.raises(InputError, match="NaN"):
        vae.fit(batches, verbose=0)


def test_a_model_without_holes_says_what_to_do():
    vae = stepped(small(False, missing=None))
    with pytest.raises(InputError, match="missing='mar'"):
        vae.encode({"x": FILLED, "observed": SEEN})
    with pytest.raises(InputError, match="NaN"):
        vae.fit(X, verbose=0)
    found = vae.impute(X, num_samples=50, num_draws=1)
    assert np.isfinite(found.draws).all() and vae.missing is None
    for how, said in (
        ({"num_samples": 0}, "num_samples 0"),
        ({"num_draws": -1}, "num_draws -1"),
        ({"interval": 1.0}, "interval 1.0"),
        ({"interval": 0}, "interval 0"),
    ):
        with pytest.raises(InputError, match=said):
            vae.impute(X, **how)


def test_readers_find_it_where_they_look():
    assert tfvae.models.SelfMasking is SelfMasking
    assert list(itertools.islice(tfvae.models.Imputation._fields, 2)) == [
        "mean",
        "draws",
    ]
