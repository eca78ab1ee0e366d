"""Outliers: p-values keep their promise, scores are those of their papers."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.conditional import Known
from helpers.models import binary_images, linear_gaussian, tiny_vae
from scipy import integrate, stats

import tfvae
from tfvae import anomaly
from tfvae.core.types import InputError
from tfvae.evaluation.anomaly.detector import check_alpha
from tfvae.latents import LATENTS
from tfvae.models import VAE, Batch

MODEL = linear_gaussian()


def draw(count: int, seed: int) -> np.ndarray:
    """x [count, 6] of the linear-Gaussian model itself."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=[count, MODEL.weights.shape[1]])
    noise = rng.normal(0, MODEL.scale, [count, len(MODEL.bias)])
    return z @ MODEL.weights.T + MODEL.bias + noise


@pytest.fixture(scope="module")
def wrong() -> VAE:
    """A model whose q(z|x) is not the posterior, so that all statistics vary."""
    return MODEL.vae(shift=0.3, widen=1.4)


@pytest.fixture(scope="module")
def detectors(wrong) -> dict[str, anomaly.Detector]:
    x = draw(60, 0)
    return {n: anomaly.calibrate(wrong, x, n, 20) for n in anomaly.SCORES}


@functools.cache
def exact_model() -> VAE:
    return MODEL.vae()


# -- the promise -----------------------------------------------------------------------


def detector_of(scores: np.ndarray) -> anomaly.Detector:
    """A detector of known calibration scores; its model is never called."""
    return anomaly.Detector(exact_model(), anomaly.Likelihood(), scores, 1, 0)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.13, 0.5])
def test_false_alarms_are_a_share_alpha_over_splits(alpha):
    """Exact scores, -log p(x), of 200 splits into 99 held-out and 50 new examples."""
    x = draw(200 * 149, 1)
    scores = -MODEL.log_marginal(x).reshape(200, 149)
    found = [np.mean(detector_of(s[:99]).p_values_of(s[99:]) <= alpha) for s in scores]
    # Without ties p is uniform on 1 / 100, ..., 1.
    wanted = np.floor(alpha * 100 + 1e-9) / 100
    # The rates of the splits are independent: five standard errors of their mean.
    assert abs(np.mean(found) - wanted) < 5 * np.std(found, ddof=1) / np.sqrt(200)


@pytest.mark.parametrize("name", ["typicality", "dose"])
def test_what_is_fitted_keeps_the_promise(name):
    """Statistics of any law, the score fitted to half of what is held out."""
    rng, kind = np.random.default_rng(2), anomaly.SCORES[name]
    found = []
    for _ in range(200):
        statistics = rng.gamma(2.0, size=[20 + 39 + 40, 4])
        score = kind().fitted(statistics[:20])
        values = score.values(statistics[20:])
        found.append(np.mean(detector_of(values[:39]).p_values_of(values[39:]) <= 0.1))
    assert abs(np.mean(found) - 0.1) < 5 * np.std(found, ddof=1) / np.sqrt(200)


def test_ties_make_fewer_alarms_and_never_more():
    """Discrete scores: p <= alpha at most as often as alpha says."""
    rng = np.random.default_rng(3)
    found = [
        np.mean(detector_of(s[:99]).p_values_of(s[99:]) <= 0.1)
        for s in rng.integers(0, 4, [200, 149]).astype(float)
    ]
    assert np.mean(found) < 0.1 + 5 * np.std(found, ddof=1) / np.sqrt(200)


def test_a_detector_of_a_model_has_the_false_alarms_that_it_promises(detectors):
    """Given one holdout the share of alarms is a Beta variable's: Bates et al. (2023).

    With n examples and k = floor(alpha (n + 1)) it is Beta(k, n + 1 - k).
    """
    x = draw(300, 4)
    for detector in detectors.values():
        n, alpha = detector.size, 0.1
        k = int(alpha * (n + 1))
        rate = np.mean(detector.flag(x, alpha))
        variance = stats.beta(k, n + 1 - k).var() + alpha * (1 - alpha) / len(x)
        assert abs(rate - k / (n + 1)) < 5 * np.sqrt(variance)


@pytest.mark.parametrize("name", anomaly.SCORES)
def test_p_values_are_the_formula(detectors, name):
    detector, x = detectors[name], draw(40, 5)
    scores = detector.scores(x)
    count = np.array([np.sum(detector.calibration >= score) for score in scores])
    wanted = (1 + count) / (detector.size + 1)
    np.testing.assert_array_equal(detector.p_values(x), wanted)
    np.testing.assert_array_equal(detector.flag(x, 0.25), wanted <= 0.25)


def test_ties_count_against_being_an_outlier():
    detector = detector_of(np.array([1.0, 2.0, 2.0, 3.0]))
    p = detector.p_values_of(np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0]))
    np.testing.assert_array_equal(p, np.array([5, 5, 4, 2, 2, 1]) / 5)


@pytest.mark.parametrize("alpha", [0.01, 0.07, 0.29, 0.3, 0.5, 0.999])
def test_above_the_threshold_and_nowhere_else_is_flagged(alpha):
    detector = detector_of(np.random.default_rng(6).integers(0, 50, 99).astype(float))
    scores = np.linspace(-1, 51, 105)
    flagged = detector.p_values_of(scores) <= alpha
    np.testing.assert_array_equal(scores > detector.threshold(alpha), flagged)


# -- what a score depends on -----------------------------------------------------------


@pytest.mark.parametrize("name", anomaly.SCORES)
def test_an_example_has_one_score_in_whatever_company(detectors, name):
    detector, x = detectors[name], draw(40, 7)
    scores = detector.scores(x)
    np.testing.assert_array_equal(detector.scores(x[::-1])[::-1], scores)
    np.testing.assert_array_equal(detector.scores(x[7:8]), scores[7:8])
    np.testing.assert_array_equal(detector.scores([x[:3], x[3:]]), scores)


@pytest.mark.parametrize("name", anomaly.SCORES)
def test_the_order_of_the_holdout_has_no_effect(detectors, wrong, name):
    x, new = draw(60, 0), draw(10, 8)
    order = np.random.default_rng(9).permutation(len(x))
    again = anomaly.calibrate(wrong, x[order], name, 20)
    np.testing.assert_array_equal(again.calibration, detectors[name].calibration)
    np.testing.assert_array_equal(again.scores(new), detectors[name].scores(new))


def test_another_seed_has_other_draws(wrong, detectors):
    other = anomaly.calibrate(wrong, draw(60, 0), "likelihood", 20, seed=1)
    assert not np.array_equal(other.calibration, detectors["likelihood"].calibration)


def test_a_data_set_a_dictionary_and_a_batch_are_the_array(detectors):
    detector, x = detectors["likelihood"], draw(12, 10)
    wanted = detector.scores(x)
    for given in (tf.data.Dataset.from_tensor_slices(x).batch(5), {"x": x}, Batch(x)):
        np.testing.assert_array_equal(detector.scores(given), wanted)


def test_a_strange_condition_is_strange_and_nothing_else_changes():
    known = Known(conditional_prior=True)
    x, c = known.draw(100, 11)
    detector = anomaly.calibrate(known.vae, {"x": x, "condition": c})
    # The exact posterior: L_K is log p(x|c), to the rounding of q's scale.
    np.testing.assert_allclose(
        detector.calibration, np.sort(-known.log_marginal(x, c)), rtol=1e-3, atol=1e-3
    )
    new, its = known.draw(50, 12)
    assert detector.scores({"x": new, "condition": (its + 1) % 3}).mean() > (
        detector.scores({"x": new, "condition": its}).mean()
    )
    with pytest.raises(InputError, match="no condition"):
        detector.scores(new)


# -- the scores ------------------------------------------------------------------------


def test_scores_go_up_far_from_the_data(detectors):
    """But for the regret: this model's encoder is as wrong for every x."""
    far = MODEL.bias + 20 * np.ones([5, len(MODEL.bias)])
    for name in ("likelihood", "typicality", "dose"):
        detector = detectors[name]
        least = 1 / (detector.size + 1)
        np.testing.assert_array_equal(detector.p_values(far), least)


def test_likelihood_is_the_exact_one_with_the_exact_posterior():
    x = draw(20, 13)
    detector = anomaly.calibrate(MODEL.vae(), x, "likelihood")
    np.testing.assert_allclose(
        detector.scores(x), -MODEL.log_marginal(x), rtol=1e-4, atol=1e-3
    )


def test_typicality_is_small_at_the_mean_and_large_at_the_mode():
    # Of the exact posterior: nothing is as likely as the mode, whatever the draws.
    x, mode, vae = draw(200, 14), MODEL.bias[np.newaxis], exact_model()
    detector = anomaly.calibrate(vae, x, "typicality", reference=draw(200, 15))
    assert detector.size == 200
    likelihood = anomaly.calibrate(vae, x, "likelihood")
    np.testing.assert_allclose(
        detector.scores(x), np.abs(likelihood.scores(x) + detector.score.mean)
    )
    assert likelihood.p_values(mode) == 1 and detector.p_values(mode) < 0.1


def test_the_regret_of_the_exact_posterior_is_nothing():
    x = draw(30, 16)
    detector = anomaly.calibrate(MODEL.vae(), x, "regret")
    # Adam moves a parameter by some 1e-3 at a slope of rounding; the bound is flat.
    np.testing.assert_allclose(detector.scores(x), 0, atol=2e-3)


def test_regret_is_the_divergence_from_the_exact_posterior():
    """Of q = Normal(m + 0.5, 1.5^2 v): the best q is the exact posterior."""
    vae, x = MODEL.vae(shift=0.5, widen=1.5), draw(30, 17)
    detector = anomaly.calibrate(vae, x, "regret", num_samples=500)
    shifts = 0.25 / MODEL.variance
    wanted = 0.5 * np.sum(shifts + 1.5**2 - 1 - np.log(1.5**2))
    scores = detector.scores(x)
    assert np.all(scores > 0)  # refined is above the encoder's
    # Independent draws for each example; 1 % for Adam, which stops 1e-2 away.
    error = 5 * scores.std(ddof=1) / np.sqrt(len(x))
    assert abs(scores.mean() - wanted) < error + 0.01 * wanted


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "latent", [name for name in LATENTS if LATENTS[name](2).reparameterised]
)
def test_every_family_whose_draws_have_gradients_has_a_regret(latent):
    x = binary_images(40)
    detector = anomaly.calibrate(
        tiny_vae(latent), x, anomaly.Regret(num_steps=30), num_samples=50
    )
    scores = detector.scores(x)
    assert scores.mean() > 0
    np.testing.assert_array_equal(detector.scores(x[5:6]), scores[5:6])


def test_the_density_of_states_integrates_to_one():
    """A product over statistics: each factor does."""
    statistics = np.random.default_rng(18).gamma(3.0, size=[15, 1])
    score = anomaly.Dose().fitted(statistics)
    (width,) = score.widths
    low, high = statistics.min() - 9 * width, statistics.max() + 9 * width
    total, _ = integrate.quad(
        lambda t: np.exp(-score.values(np.array([[t]]))[0]), low, high, limit=200
    )
    assert abs(total - 1) < 1e-6  # of nine widths beyond there are 1e-18 left


def test_the_density_of_states_is_scipys():
    rng = np.random.default_rng(19)
    points, new = rng.normal(size=[30, 4]), rng.normal(0, 3, [20, 4])
    score = anomaly.Dose().fitted(points)
    wanted = -sum(stats.gaussian_kde(points[:, j]).logpdf(new[:, j]) for j in range(4))
    np.testing.assert_allclose(score.values(new), wanted)  # the same formula


def test_a_statistic_that_is_constant_is_no_error():
    points = np.random.default_rng(20).normal(size=[30, 4])
    points[:, 3] = 100.0
    score = anomaly.Dose().fitted(points)
    assert np.isfinite(score.values(points)).all()


# -- files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", anomaly.SCORES)
def test_a_saved_calibration_gives_the_same_p_values(detectors, name, tmp_path):
    x, path = draw(20, 21), tmp_path / "calibration.json"
    detectors[name].save(path)
    again = anomaly.load(path, MODEL.vae(shift=0.3, widen=1.4))
    np.testing.assert_array_equal(again.p_values(x), detectors[name].p_values(x))
    assert again.score == detectors[name].score
    with pytest.raises(InputError, match="another model"):
        anomaly.load(path, MODEL.vae())


def test_training_changes_the_fingerprint_and_compiling_does_not():
    vae = tiny_vae()
    before = anomaly.fingerprint(vae)
    vae.compile("sgd")
    vae.kl_weight = 0.5
    assert anomaly.fingerprint(vae) == before
    vae.fit(binary_images(8), epochs=1, verbose=0)
    assert anomaly.fingerprint(vae) != before
    assert anomaly.fingerprint(tiny_vae("logistic")) != before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be used"),
        ("[1]", "no calibration"),
        ('{"format": "other"}', "no calibration"),
        ({"calibration": []}, "damaged"),
        ({"calibration": "x"}, "damaged"),
        ({"calibration": [None]}, "not finite"),
        ({"score": "nonsense"}, "unknown score"),
        ({"score": "dose"}, "damaged"),
        ({"arguments": {"mean": 1.0}}, "damaged"),
        ({"num_samples": 0}, "num_samples"),
    ],
)
def test_a_damaged_file_is_one_line(detectors, wrong, tmp_path, content, said):
    path = tmp_path / "calibration.json"
    if isinstance(content, dict):
        content = json.dumps({**detectors["likelihood"].state(), **content})
    path.write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        anomaly.load(path, wrong)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_folder_is_one_line(detectors, wrong, tmp_path):
    with pytest.raises(InputError, match="no calibration"):
        anomaly.load(tmp_path / "nothing.json", wrong)
    with pytest.raises(InputError, match="no folder"):
        detectors["dose"].save(tmp_path / "nothing" / "calibration.json")


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holdout", "how", "said"),
    [
        (None, {}, "no holdout"),
        (np.zeros([0, 6]), {}, "no images"),
        (np.full([3, 6], np.nan), {}, "NaN"),
        (np.zeros([3, 5]), {}, "shape"),
        (np.zeros([3, 6]), {"score": "nonsense"}, "unknown score"),
        (np.zeros([3, 6]), {"score": 3}, "neither a name"),
        (np.zeros([3, 6]), {"num_samples": 0}, "num_samples"),
        (np.zeros([3, 6]), {"seed": -1}, "seed"),
        (np.zeros([3, 6]), {"reference": np.zeros([3, 6])}, "no effect"),
        (np.zeros([1, 6]), {"score": "typicality"}, "one example"),
        (np.zeros([3, 6]), {"score": "dose"}, "no width"),
    ],
)
def test_what_cannot_calibrate_is_refused(wrong, holdout, how, said):
    with pytest.raises(InputError, match=said):
        anomaly.calibrate(wrong, holdout, **how)


def test_what_is_no_model_is_refused():
    with pytest.raises(InputError, match="no VAE"):
        anomaly.calibrate("model", np.zeros([3, 6]))


def test_the_regret_of_draws_without_gradients_is_refused():
    with pytest.raises(InputError, match="BernoulliLatent have none"):
        anomaly.calibrate(tiny_vae("bernoulli"), binary_images(5), "regret")


@pytest.mark.parametrize("alpha", [0, -1, 1, 2, np.nan, None, "x", True])
def test_an_alpha_that_is_no_share_is_refused(detectors, alpha):
    with pytest.raises(InputError, match="alpha"):
        detectors["likelihood"].flag(draw(2, 22), alpha)


@pytest.mark.parametrize("alpha", [0.01, 0.001, 0.07, 1 / 3, 0.3, 1e-9])
def test_so_many_held_out_examples_are_said_as_are_needed(alpha):
    with pytest.raises(InputError, match="or more, or a larger alpha") as caught:
        check_alpha(alpha, 1)
    needed = int(str(caught.value).split("give ")[1].split(" ")[0])
    assert check_alpha(alpha, needed) == alpha
    with pytest.raises(InputError, match="least p-value"):
        check_alpha(alpha, needed - 1)


def test_the_module_is_an_attribute_of_the_package():
    assert tfvae.anomaly is anomaly and "anomaly" in dir(tfvae)
