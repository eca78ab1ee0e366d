"""Frames of mixed columns in the estimators: round trips, scores, and refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from helpers.columns import mixed_frame
from scipy import special, stats
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from tfvae.core.types import InputError
from tfvae.heads import Columns
from tfvae.models import VAE
from tfvae.sklearn import VAEImputer, VAEOutlierDetector, VAETransformer

TINY = {
    "latent_size": 2,
    "hidden_sizes": (4,),
    "epochs": 2,
    "score_num_samples": 5,
    "random_state": 0,
}


# One of each kind and dtype that matters here; a graph of few is sooner traced.
KEPT = ["height", "children", "points", "member", "city", "size"]


@pytest.fixture(autouse=True)
def eager(monkeypatch, request):
    """Two steps are sooner taken than traced."""
    if "traced" not in request.fixturenames:
        always = property(lambda self: True, lambda self, value: None)
        monkeypatch.setattr(VAE, "run_eagerly", always)


@pytest.fixture
def traced():
    """Says that a test has many steps."""


def tiny(**settings) -> VAETransformer:
    return VAETransformer(**{**TINY, **settings})


def mixed(rows: int = 60) -> pd.DataFrame:
    frame = mixed_frame(rows)[KEPT]
    return frame.set_index(pd.Index([f"row {n}" for n in range(rows)]))


def some_people() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 120)
    return pd.DataFrame(
        {
            "height": 150 + 20 * kind + rng.normal(0, 5, 120),
            "kind": pd.Categorical(np.array(["a", "b", "c"])[kind]),
            "member": rng.random(120) < (0.2 + 0.3 * kind),
        }
    )


@pytest.fixture(scope="module")
def fitted() -> VAETransformer:
    return tiny().fit(mixed())


# -- round trips -----------------------------------------------------------------------


def test_columns_take_the_place_of_the_likelihood(fitted):
    assert isinstance(fitted.columns_, Columns)
    assert fitted.vae_.decoder.head is fitted.columns_ and fitted.vae_.missing == "mar"
    assert list(fitted.feature_names_in_) == list(mixed())
    assert fitted.n_features_in_ == 6 and np.isfinite(fitted.history_["loss"]).all()
    codes = fitted.transform(mixed())
    assert codes.shape == (60, 2) and np.isfinite(codes).all()
    assert list(fitted.get_feature_names_out()) == [
        "vaetransformer0",
        "vaetransformer1",
    ]


@pytest.mark.parametrize("method", ["sample", "sample_frame"])
def test_samples_are_frames_like_the_first(fitted, method):
    found, frame = getattr(fitted, method)(40, random_state=1), mixed()
    assert found.dtypes.equals(frame.dtypes) and len(found) == 40
    assert not found.isna().any().any()
    assert set(found["size"]) <= set(frame["size"].cat.categories)
    assert set(found["city"]) <= {"Bonn", "Ulm", "Köln"}
    again = getattr(fitted, method)(40, random_state=1)
    pd.testing.assert_frame_equal(again, found)
    assert not getattr(fitted, method)(40, random_state=2).equals(found)


def test_reconstructions_are_frames_like_the_first(fitted):
    frame = mixed()
    found = fitted.inverse_transform(fitted.transform(frame))
    assert found.dtypes.equals(frame.dtypes) and len(found) == len(frame)
    fitted.set_output(transform="pandas")
    try:
        codes = fitted.transform(frame)
        assert list(fitted.inverse_transform(codes).index) == list(frame.index)
    finally:
        fitted.set_output(transform="default")


@pytest.mark.slow
def test_a_row_has_one_score_beside_any_others(fitted):
    frame = mixed()
    scores = fitted.score_samples(frame)
    np.testing.assert_array_equal(fitted.score_samples(frame[7:9]), scores[7:9])
    turned = frame[frame.columns[::-1]]  # names say which column is which
    np.testing.assert_array_equal(fitted.score_samples(turned), scores)


@pytest.mark.slow
def test_the_same_frame_and_state_make_the_same_model():
    frame = some_people()
    one, same, other = (tiny(random_state=s).fit(frame) for s in (0, 0, 1))
    scores = one.score_samples(frame[:9])
    np.testing.assert_array_equal(same.score_samples(frame[:9]), scores)
    assert (other.score_samples(frame[:9]) != scores).all()


@pytest.mark.slow
def test_a_pickled_model_is_the_same(fitted):
    frame, again = mixed(), pickle.loads(pickle.dumps(fitted))
    assert again.columns_ is again.vae_.decoder.head
    np.testing.assert_array_equal(
        again.score_samples(frame), fitted.score_samples(frame)
    )
    pd.testing.assert_frame_equal(
        again.sample_frame(5, random_state=0), fitted.sample_frame(5, random_state=0)
    )
    pickle.loads(pickle.dumps(again)).partial_fit(frame)
    assert clone(fitted).get_params() == fitted.get_params()


def test_partial_fit_goes_on_with_the_columns_of_the_first_frame():
    frame = some_people()
    model = tiny().partial_fit(frame[:60])
    columns = model.columns_
    model.partial_fit(frame[60:])
    assert model.columns_ is columns and model.n_iter_ == 2


@pytest.mark.slow
def test_early_stopping_contamination_and_verbose_take_frames():
    frame = some_people()
    model = tiny(early_stopping=2, contamination=0.2, epochs=3).fit(frame)
    assert "val_loss" in model.history_
    assert np.mean(model.predict(frame) == -1) == pytest.approx(0.2, abs=1 / 120)


# -- which frames are mixed ------------------------------------------------------------


@pytest.mark.slow
def test_frames_of_numbers_are_numbers_as_before():
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=[40, 3]), columns=[*"abc"]
    )
    model = tiny().fit(frame)
    assert model.columns_ is None
    same = tiny().fit(frame.to_numpy())
    np.testing.assert_array_equal(
        model.score_samples(frame), same.score_samples(frame.to_numpy())
    )
    assert isinstance(model.sample(3), np.ndarray)
    found = model.sample_frame(3, random_state=0)
    assert list(found) == [*"abc"]
    np.testing.assert_array_equal(found, model.sample(3, random_state=0))
    assert tiny().fit(frame.astype(object)).columns_ is None  # objects that are numbers


@pytest.mark.slow
def test_kinds_make_columns_of_numbers_too():
    frame = pd.DataFrame(
        {"a": np.random.default_rng(0).normal(size=40), "n": np.arange(40) % 5}
    )
    for kinds, kind in (({"n": "categorical"}, "categorical"), ({}, "poisson")):
        model = tiny(kinds=kinds).fit(frame)
        assert model.columns_.choices["n"].kind == kind
        assert model.vae_.missing is None
        imputer = VAEImputer(kinds=kinds, epochs=1, impute_num_samples=5).fit(frame)
        assert imputer.columns_.choices["n"].kind == kind


@pytest.mark.slow
def test_booleans_are_columns_unless_a_likelihood_is_chosen():
    bits = np.random.default_rng(0).random([60, 3]) < 0.5
    frame = pd.DataFrame(bits, columns=[*"abc"])
    assert tiny().fit(frame).columns_.choices["a"].kind == "bernoulli"
    chosen = tiny(likelihood="bernoulli").fit(frame)
    assert chosen.columns_ is None and isinstance(chosen.sample(2), np.ndarray)
    detector = VAEOutlierDetector(chosen, random_state=0).fit(frame)
    assert np.isfinite(detector.score_samples(frame)).all()


# -- scores ----------------------------------------------------------------------------


@pytest.mark.slow
def test_scores_are_of_the_data_as_they_are_given(traced):
    """By quadrature over the one latent variable, with SciPy's laws."""
    frame = some_people()
    model = VAETransformer(
        latent_size=1,
        hidden_sizes=(8,),
        epochs=30,
        learning_rate=0.02,
        batch_size=40,
        score_num_samples=2000,
        random_state=0,
    ).fit(frame)
    z = np.linspace(-8, 8, 4001)
    params = model.vae_.decoder.network.predict(z[:, None], verbose=0).astype(float)
    height = model.columns_.columns[0]
    loc = height.loc + height.scale * params[:, 0]
    scale = height.scale * (np.logaddexp(0, params[:, 1]) + 1e-5)
    codes = frame["kind"].cat.codes
    few = frame[:10]
    log_joint = (
        stats.norm.logpdf(z)
        + stats.norm.logpdf(few["height"].to_numpy()[:, None], loc, scale)
        + special.log_softmax(params[:, 2:5], axis=1).T[codes[:10]]
        + stats.bernoulli.logpmf(
            few["member"].to_numpy()[:, None], special.expit(params[:, 5])
        )
    )  # [n, Z]
    wanted = special.logsumexp(log_joint, axis=1) + np.log(z[1] - z[0])
    found = model.score_samples(few)
    # Relative errors of a mean of 2,000 weights whose spread the posterior's fit
    # keeps below their mean are below 1 / sqrt(2000) = 0.022; five of them.
    np.testing.assert_allclose(found, wanted, atol=0.11)
    assert abs(np.mean(found - wanted)) < 0.11 / np.sqrt(10) + 0.002
    metres = frame.assign(height=frame["height"] / 100)
    again = clone(model).fit(metres).score_samples(metres[:10])
    # Each row's density grows by log(100); the model is the same, to rounding that
    # training carries on.
    np.testing.assert_allclose(again, found + np.log(100), atol=0.1)


def test_scores_of_missing_values_are_those_of_what_is_observed(fitted):
    frame = mixed()
    none = frame.reindex(["nobody", "no one"])
    # Of nothing: log 1, up to the weights' spread, since q(z|nothing) is not p(z).
    scores = fitted.score_samples(none)
    assert len(set(scores)) == 1 and scores[0] > fitted.score_samples(frame).max()


# -- beside other estimators -----------------------------------------------------------


@pytest.mark.slow
def test_a_detector_takes_mixed_frames():
    frame = some_people()[:60]
    detector = VAEOutlierDetector(tiny(), random_state=0).fit(frame)
    p = detector.p_values(frame)
    assert ((p > 0) & (p <= 1)).all() and list(detector.feature_names_in_) == [*frame]
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.p_values(frame), p)
    piped = VAEOutlierDetector(make_pipeline(tiny()), random_state=0).fit(frame)
    np.testing.assert_array_equal(piped.p_values(frame), p)
    coded = pd.DataFrame({"size": np.arange(60) % 3 + 38, "height": frame["height"]})
    kinds = VAEOutlierDetector(tiny(kinds={"size": "categorical"}), random_state=0)
    assert np.isfinite(kinds.fit(coded).score_samples(coded)).all()


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"likelihood": "student_t"}, "likelihood 'student_t' does not go with"),
        ({"likelihood_scale": 2.0}, "likelihood_scale 2.0 does not go with"),
        ({"condition_columns": ["member"]}, "condition_columns .* does not go with"),
        ({"prior": "vamp"}, "'vamp' starts from images"),
        ({"kinds": {"citty": "categorical"}}, "kinds names 'citty'"),
        ({"kinds": {"city": "normal"}}, "'city'"),
        ({"kinds": {"city": "nominal"}}, "nominal"),
        ({"epochs": 0}, "epochs 0"),
    ],
)
def test_settings_that_do_not_go_with_columns_are_refused(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        tiny(**settings).fit(mixed())
    assert "\n" not in str(caught.value)


def test_kinds_of_an_array_are_refused():
    for model in (tiny(kinds={}), VAEImputer(kinds={})):
        with pytest.raises(InputError, match="kinds has no effect on a ndarray"):
            model.fit(np.zeros([9, 2]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.to_numpy(), "a ndarray is no table"),
        (lambda f: f.drop(columns="city"), "no column 'city'"),
        (lambda f: f.assign(city="Paris"), "'Paris', which is no category"),
        (lambda f: f.assign(children=-1), "'children' holds -1"),
        (lambda f: f.assign(height="tall"), "'height' has dtype"),
    ],
)
def test_frames_that_are_not_of_the_columns_are_refused(fitted, change, said):
    for method in (fitted.score_samples, fitted.transform, fitted.partial_fit):
        with pytest.raises(InputError, match=said) as caught:
            method(change(mixed()))
        assert "\n" not in str(caught.value)


def test_missing_values_that_fit_has_not_seen_are_refused():
    frame = some_people()
    model = tiny().fit(frame)
    assert model.vae_.missing is None
    frame.loc[3, "height"] = np.nan
    with pytest.raises(InputError, match="column 'height' has missing values"):
        model.score_samples(frame)


def test_sample_frame_of_an_array_has_no_names():
    model = tiny().fit(np.random.default_rng(0).normal(size=[20, 2]))
    with pytest.raises(InputError, match="fit a pandas DataFrame, or use sample"):
        model.sample_frame(2)
    with pytest.raises(InputError, match="a condition was given"):
        model.sample(2, condition=[[1.0]])
