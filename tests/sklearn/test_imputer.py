"""The imputer keeps scikit-learn's conventions, and fills in what it promises."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from tfvae.core.types import InputError
from tfvae.models import VAE
from tfvae.sklearn import VAEImputer

TINY = {
    "latent_size": 2,
    "hidden_sizes": (4,),
    "num_samples": 2,
    "epochs": 2,
    "impute_num_samples": 5,
    "random_state": 0,
}


def tiny(**settings) -> VAEImputer:
    return VAEImputer(**{**TINY, **settings})


def with_holes(x: np.ndarray, share: float = 0.3) -> np.ndarray:
    holes = np.random.default_rng(1).random(x.shape) < share
    return np.where(holes, np.nan, x)


def iris() -> np.ndarray:
    return with_holes(load_iris().data)


def mixed() -> pd.DataFrame:
    x = load_wine().data
    frame = pd.DataFrame(
        {
            "alcohol": x[:, 0],
            "acid": pd.Categorical(np.where(x[:, 1] > 2, "high", "low")),
            "red": x[:, 9] > 5,
            "proline": pd.array(x[:, 12].astype(int), "Int64"),
        },
        index=[f"wine {n}" for n in range(len(x))],
    )
    frame.loc[frame.index[::3], "acid"] = np.nan
    frame.loc[frame.index[1::4], "alcohol"] = np.nan
    frame.loc[frame.index[2::5], "proline"] = pd.NA
    return frame


def checks() -> list:
    made = estimator_checks.estimator_checks_generator(VAEImputer(**TINY))
    return [pytest.param(*pair, id=pair[1].func.__name__) for pair in made]


@pytest.fixture
def eager(monkeypatch):
    """Two steps are sooner taken than traced."""
    always = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(VAE, "run_eagerly", always)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learns_checks(estimator, check, eager):
    check(estimator)


@pytest.mark.slow
def test_checks_that_scikit_learn_has_for_its_own_transformers(eager):
    estimator_checks.check_transformer_get_feature_names_out("VAEImputer", tiny())
    estimator_checks.check_set_output_transform("VAEImputer", tiny())


@pytest.mark.slow  # twenty seconds
def test_it_is_nearer_to_the_truth_than_means():
    x = load_wine().data
    holes = with_holes(x)
    gone = np.isnan(holes)
    filled = VAEImputer(epochs=60, random_state=0).fit_transform(holes)
    means = SimpleImputer().fit_transform(holes)
    ours, theirs = (
        np.mean((((f - x) / x.std(axis=0))[gone]) ** 2) for f in (filled, means)
    )
    assert ours < 0.8 * theirs


@pytest.mark.slow
def test_what_is_observed_stays_and_a_row_is_the_same_beside_others():
    x = iris()
    model = tiny().fit(x)
    filled = model.transform(x)
    seen = ~np.isnan(x)
    np.testing.assert_array_equal(filled[seen], x[seen])
    assert np.isfinite(filled).all() and filled.dtype == np.float64
    np.testing.assert_array_equal(model.transform(x[7:9]), filled[7:9])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(x), filled)
    np.testing.assert_array_equal(tiny().fit(x).transform(x), filled)
    drawn = tiny(sample_posterior=True).fit(x).transform(x)
    assert np.abs(drawn - filled)[~seen].max() > 0.1
    np.testing.assert_array_equal(drawn[seen], x[seen])
    found = model.impute(x[:5], num_draws=3, interval=0.5)
    assert found.draws.shape == (3, 5, 4) and (found.lower <= found.upper).all()
    assert np.isfinite(model.history_["loss"]).all() and model.vae_.missing == "mar"


@pytest.mark.slow
def test_frames_of_mixed_columns_come_back_as_they_were():
    frame = mixed()
    model = tiny().fit(frame)
    filled = model.transform(frame)
    assert not filled.isna().any().any()
    assert list(filled.index) == list(frame.index)
    pd.testing.assert_series_equal(filled.dtypes, frame.dtypes)
    for name in frame:
        seen = frame[name].notna()
        pd.testing.assert_series_equal(filled[name][seen], frame[name][seen])
    assert list(model.get_feature_names_out()) == list(frame)
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.transform(frame), filled)
    chosen = tiny(kinds={"proline": "negative_binomial"}).fit(frame)
    assert chosen.columns_.choices["proline"].kind == "negative_binomial"


@pytest.mark.slow
def test_it_stands_in_pipelines_and_column_transformers():
    x, y = with_holes(load_iris().data), load_iris().target
    model = make_pipeline(tiny(), LogisticRegression(max_iter=500)).fit(x, y)
    assert model.score(x, y) > 0.5
    frame = pd.DataFrame(x, columns=list("abcd"))
    both = make_column_transformer((tiny(), ["a", "b", "c"]), remainder="passthrough")
    both.set_output(transform="pandas")
    assert "vaeimputer__a" in both.fit_transform(frame)


@pytest.mark.parametrize(
    ("settings", "data", "said"),
    [
        ({"likelihood": "bernoulli"}, iris, "over real numbers"),
        ({"likelihood": "nomal"}, iris, "nomal"),
        ({"latent": "gauss"}, iris, "gauss"),
        ({"epochs": 0}, iris, "epochs 0"),
        ({"num_samples": 0}, iris, "num_samples 0"),
        ({"batch_size": 2.5}, iris, "batch_size 2.5"),
        ({"kinds": {"a": "normal"}}, iris, "kinds has no effect"),
        ({"kinds": {"alcool": "normal"}}, mixed, "alcool"),
        ({}, lambda: np.where([True, False], np.nan, np.ones([5, 2])), "column 0"),
        ({}, lambda: np.where(np.eye(4) > 0, np.inf, np.ones([4, 4])), "infinity"),
        ({}, lambda: mixed().assign(red=None), "red"),
    ],
)
def test_what_cannot_be_used_is_refused(settings, data, said):
    with pytest.raises(ValueError, match=said):
        tiny(**settings).fit(data())


@pytest.mark.slow
def test_categories_never_seen_and_columns_that_are_missing_are_refused():
    model = tiny().fit(mixed())
    other = mixed()
    other["acid"] = other["acid"].astype(object).fillna("medium")
    with pytest.raises(InputError, match="'medium'"):
        model.transform(other)
    with pytest.raises(InputError, match="no column 'red'"):
        model.transform(mixed().drop(columns="red"))
