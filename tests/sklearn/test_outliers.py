"""The outlier detector keeps scikit-learn's conventions, and its own promise."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn.base
from scipy import sparse, stats
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from tfvae import anomaly
from tfvae.core.types import InputError
from tfvae.models import VAE
from tfvae.sklearn import VAEOutlierDetector, VAETransformer

TINY = {"latent_size": 2, "hidden_sizes": (4,), "epochs": 2}


def tiny(**settings) -> VAEOutlierDetector:
    transformer = VAETransformer(**TINY, **settings.pop("model", {}))
    settings = {"num_samples": 5, "random_state": 0, **settings}
    return VAEOutlierDetector(transformer, **settings)


def iris() -> np.ndarray:
    return StandardScaler().fit_transform(load_iris().data).astype(np.float32)


@pytest.fixture
def eager(monkeypatch):
    """Two steps are sooner taken than traced, and most fits here have two."""
    always = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(VAE, "run_eagerly", always)


@pytest.fixture(scope="module")
def fitted() -> VAEOutlierDetector:
    return tiny().fit(iris())


# -- scikit-learn's checks -------------------------------------------------------------

# Each makes several fits to see again what others see.
COSTLY = {
    "check_dtype_object",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimators_dtypes",
    "check_estimators_overwrite_params",
    "check_fit_score_takes_y",
    "check_outliers_fit_predict",
    "check_outliers_train",
    "check_pipeline_consistency",
}


def checks() -> list:
    # With alpha 20 rows would be too few: it says so, and the checks give so few.
    estimator = tiny(contamination=0.1)
    return [
        pytest.param(*pair, id=name, marks=[pytest.mark.slow] * (name in COSTLY))
        for pair in estimator_checks.estimator_checks_generator(estimator)
        for name in [pair[1].func.__name__]
    ]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learns_checks(estimator, check, eager):
    check(estimator)


@pytest.mark.slow
def test_scikit_learns_check_of_outlier_detectors(eager):
    estimator_checks.check_outliers_train("VAE", tiny(contamination=0.1))


def test_the_default_can_be_made_and_copied():
    estimator = VAEOutlierDetector()
    assert sklearn.base.clone(estimator).get_params() == estimator.get_params()


# -- the promise -----------------------------------------------------------------------


@pytest.mark.slow
def test_false_alarms_are_a_share_alpha_over_splits(eager):
    """Each of four splits trains, calibrates and tests with other rows."""
    rows, found = np.random.default_rng(0).normal(size=[4, 645, 3]), []
    for part in rows.astype(np.float32):
        model = tiny(alpha=0.1, model={"batch_size": 250}, num_samples=1)
        found.append(np.mean(model.fit(part[:245]).predict(part[245:]) == -1))
    # 49 are held out, and given these the rate is a Beta(5, 45) variable: Bates et al.
    variance = stats.beta(5, 45).var() + 0.1 * 0.9 / 400
    assert abs(np.mean(found) - 0.1) < 5 * np.sqrt(variance / 4)


def test_marked_rows_are_those_with_a_p_value_of_alpha_or_less(fitted):
    x = np.concatenate([iris(), 3 * iris()])
    np.testing.assert_array_equal(fitted.predict(x) == -1, fitted.p_values(x) <= 0.1)
    assert 0.2 < np.mean(fitted.predict(x) == -1) < 0.8


def test_p_values_are_those_of_the_held_out_rows(fitted):
    x, held_out = iris(), fitted._detector.calibration
    assert len(held_out) == 30
    scores = -fitted.score_samples(x)
    assert set(held_out) <= set(scores)
    count = (held_out >= scores[:, np.newaxis]).sum(axis=1)
    np.testing.assert_array_equal(fitted.p_values(x), (1 + count) / 31)


@pytest.mark.slow
def test_contamination_marks_that_share_of_the_rows(eager):
    model = tiny(contamination=0.2)
    found = model.fit_predict(iris())
    assert np.sum(found == -1) == 30
    scores = model.score_samples(iris())
    np.testing.assert_array_equal(
        model.decision_function(iris()), scores - model.offset_
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("score", [*anomaly.SCORES, anomaly.Regret(num_steps=3)])
def test_every_score_finds_what_is_far(score, eager):
    model = tiny(anomaly_score=score).fit(iris())
    far = np.array([[9.0, -9.0, 9.0, -9.0]])
    assert model.p_values(far) < np.median(model.p_values(iris()))


# -- what surrounds it -----------------------------------------------------------------


def test_a_row_has_one_score_in_whatever_company(fitted):
    x = iris()
    scores = fitted.score_samples(x)
    np.testing.assert_array_equal(fitted.score_samples(x[::-1])[::-1], scores)
    np.testing.assert_array_equal(fitted.score_samples(x[5:6]), scores[5:6])


@pytest.mark.slow
def test_an_int_repeats_a_fit(fitted):
    again = tiny().fit(iris())
    np.testing.assert_array_equal(again.p_values(iris()), fitted.p_values(iris()))


def test_a_pickle_has_the_same_p_values(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.p_values(iris()), fitted.p_values(iris()))
    with pytest.raises(NotFittedError):
        pickle.loads(pickle.dumps(tiny())).p_values(iris())


def test_a_sparse_matrix_is_its_array(fitted, eager):
    x = sparse.csr_array(iris())
    np.testing.assert_array_equal(fitted.score_samples(x), fitted.score_samples(iris()))
    again = tiny(anomaly_score="dose").fit(x)
    assert again.p_values(x).shape == (150,)


@pytest.mark.slow
def test_columns_of_a_frame_can_be_a_condition(eager):
    frame = load_iris(as_frame=True).data
    name = frame.columns[3]
    model = tiny(model={"condition_columns": [name]}).fit(frame)
    assert model.p_values(frame).min() >= 1 / 31
    assert list(model.feature_names_in_) == list(frame.columns)


@pytest.mark.slow
def test_a_scaler_before_the_model_sees_no_row_that_calibrates(eager):
    raw = load_iris().data
    model = VAEOutlierDetector(
        make_pipeline(StandardScaler(), tiny().transformer),
        num_samples=5,
        random_state=0,
    ).fit(raw)
    scaler, vae = model.transformer_[0], model.transformer_[-1]
    assert scaler.n_samples_seen_ == 120 and model._detector.size == 30
    scaled = np.float32(scaler.transform(np.float32(raw)))
    seed = model._detector.seed
    wanted = anomaly.calibrate(vae.vae_, scaled, num_samples=5, seed=seed).calibration
    # The same rows through the same model: every score is one of these.
    assert set(model._detector.calibration) <= set(wanted)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.p_values(raw), model.p_values(raw))


def test_settings_of_the_model_can_be_searched():
    model = VAEOutlierDetector(VAETransformer()).set_params(transformer__latent_size=3)
    assert model.transformer.latent_size == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alpha": 0.001}, "give 999 or more"),
        ({"alpha": 2}, "below 1"),
        ({"contamination": 0.6}, "0.5 at most"),
        ({"contamination": 0}, "contamination"),
        ({"validation_fraction": 1.0}, "none of 150 rows"),
        ({"validation_fraction": -1}, "validation_fraction"),
        ({"anomaly_score": "nonsense"}, "unknown anomaly_score"),
        ({"num_samples": 0}, "num_samples"),
        ({"transformer": VAETransformer(epochs=0)}, "epochs"),
        ({"transformer": StandardScaler()}, "no VAETransformer"),
    ],
)
def test_what_cannot_be_used_is_refused(settings, said, eager):
    model = tiny().set_params(**settings)
    with pytest.raises(InputError, match=said):
        model.fit(iris())
