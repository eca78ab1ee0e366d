"""Columns of a table that are given: p(x|c) in scikit-learn's manner."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfvae.core.types import InputError
from tfvae.sklearn import VAETransformer

SETTINGS = {
    "likelihood": "normal_shared_scale",
    "latent_size": 1,
    "hidden_sizes": (),
    "epochs": 5,
    "batch_size": 25,
    "learning_rate": 0.02,
    "score_num_samples": 50,
    "random_state": 0,
}
GIVEN = [3, 1]


def rows() -> np.ndarray:
    return load_iris().data.astype(np.float32)


@pytest.fixture(scope="module")
def model() -> VAETransformer:
    return VAETransformer(condition_columns=GIVEN, **SETTINGS).fit(rows())


def test_scores_estimate_the_conditional_density_without_bias(model):
    """p(x|z, c) = Normal(A z + B c + b, s^2), so that p(x|c) is a normal too."""
    x, c = rows()[:, [0, 2]].astype(float), rows()[:, GIVEN].astype(float)
    c = (c - c.mean(axis=0)) / c.std(axis=0)
    w, b = (w.numpy().astype(float) for w in model.vae_.decoder.network.weights)
    scale = np.log1p(np.exp(float(model.vae_.decoder.head.raw_scale.numpy()))) + 1e-5
    covariance = w[:1].T @ w[:1] + scale**2 * np.eye(2)
    wanted = stats.multivariate_normal(np.zeros(2), covariance).logpdf(
        x - c @ w[1:] - b
    )
    ratios = np.exp(model.score_samples(rows()) - wanted)
    assert abs(ratios.mean() - 1) < 5 * ratios.std(ddof=1) / np.sqrt(len(x))


def test_a_table_comes_back_with_the_columns_that_were_given(model):
    z, c = model.transform(rows()), rows()[:, GIVEN]
    assert z.shape == (150, 1)
    back = model.inverse_transform(z, condition=c)
    np.testing.assert_array_equal(back[:, GIVEN], c)
    wanted = model.vae_.decode(z, condition=c).mean()
    np.testing.assert_allclose(back[:, [0, 2]], wanted, rtol=1e-5)
    drawn = model.sample(7, random_state=3, condition=c[0])
    np.testing.assert_array_equal(drawn[:, GIVEN], np.tile(c[0], (7, 1)))
    again = model.sample(7, random_state=3, condition=np.tile(c[0], (7, 1)))
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.slow
def test_columns_by_name_sparse_rows_and_pickles_are_the_same_model(model):
    frame = pd.DataFrame(rows(), columns=list("abcd"))
    named = VAETransformer(condition_columns=["d", "b"], **SETTINGS).fit(frame)
    np.testing.assert_array_equal(
        named.score_samples(frame), model.score_samples(rows())
    )
    other = pickle.loads(pickle.dumps(named))
    np.testing.assert_array_equal(other.transform(frame), named.transform(frame))
    thin = VAETransformer(condition_columns=GIVEN, **SETTINGS)
    thin.fit(sparse.csr_matrix(rows()))
    np.testing.assert_allclose(
        thin.transform(sparse.csr_matrix(rows())), model.transform(rows()), rtol=1e-4
    )
    back = named.inverse_transform(
        pd.DataFrame(named.transform(frame)), frame[["d", "b"]]
    )
    assert list(back.columns) == list("abcd")
    np.testing.assert_array_equal(back["d"], frame["d"])


@pytest.mark.slow
def test_it_has_a_conditional_prior_holds_rows_out_and_finds_outliers_in_a_pipeline():
    settings = {
        **SETTINGS,
        "prior": "conditional",
        "early_stopping": 1,
        "contamination": 0.1,
        "condition_columns": [0],
    }
    model = make_pipeline(StandardScaler(), VAETransformer(**settings)).fit(rows())
    assert 0.05 < (model.predict(rows()) == -1).mean() < 0.15
    assert "val_loss" in model[-1].history_


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["d"], "has 'd', which X has not; it has the numbers 0 to 3"),
        ([4], "has 4, which X has not"),
        ([-1], "has -1, which X has not"),
        ([1.5], "has 1.5, which X has not"),
        ([1, 1], "give each once"),
        ([0, 1, 2, 3], "leave at least one"),
        ([], "give each once"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns, said):
    with pytest.raises(InputError, match=said):
        VAETransformer(condition_columns=columns, **SETTINGS).fit(rows())


def test_conditions_that_do_not_fit_are_refused(model):
    z = model.transform(rows()[:3])
    plain = VAETransformer(**SETTINGS).fit(rows())
    for call, said in [
        (lambda: model.inverse_transform(z), "give condition .3, 2."),
        (lambda: model.sample(2), "give condition .2, 2."),
        (lambda: model.sample(2, condition=np.ones([3, 2])), "shape .3, 2."),
        (lambda: plain.sample(2, condition=[1.0]), "the model has none"),
        (lambda: model.sample(2, condition=[np.nan, 1.0]), "NaN"),
    ]:
        with pytest.raises(ValueError, match=said):
            call()
