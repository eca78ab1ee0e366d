"""Columns from frames and back, and in models."""

from __future__ import annotations

import builtins
import importlib

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers.columns import KINDS_OF_FRAME, mixed_frame
from sklearn import datasets

import tfvae
from tfvae.core.types import InputError
from tfvae.heads import (
    BernoulliColumn,
    CategoricalColumn,
    ColumnInputs,
    Columns,
    LogNormalColumn,
    NegativeBinomialColumn,
    NormalColumn,
    OrdinalColumn,
)

SCALES = {"rtol": 1e-6}  # of float32's rounding, 6e-8, and its repetitions


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Frames with the same dtypes and values, numbers to float32's rounding."""
    pd.testing.assert_frame_equal(found, wanted.reset_index(drop=True), **SCALES)


# -- choosing --------------------------------------------------------------------------


def test_kinds_fit_dtypes_and_values():
    columns = Columns.from_frame(mixed_frame())
    kinds = {name: choice.kind for name, choice in columns.choices.items()}
    assert kinds == KINDS_OF_FRAME
    missing = {c.name for c in columns.columns if c.nullable}
    assert missing == {"height", "points", "known", "city", "size"}


def test_locations_and_scales_are_those_of_the_data():
    frame = mixed_frame()
    columns = {c.name: c for c in Columns.from_frame(frame).columns}
    height, income = columns["height"], columns["income"]
    np.testing.assert_allclose(height.loc, frame.height.mean(), rtol=1e-12)
    np.testing.assert_allclose(height.scale, frame.height.std(ddof=0), rtol=1e-12)
    np.testing.assert_allclose(income.loc, np.log(frame.income).mean(), rtol=1e-12)
    np.testing.assert_allclose(columns["claims"].rate, frame.claims.mean(), rtol=1e-12)
    logs = np.log1p(frame.claims)
    np.testing.assert_allclose(columns["claims"].loc, logs.mean(), rtol=1e-12)
    assert columns["size"].categories == ("small", "middle", "large")
    assert columns["shoe"].categories == (38, 40, 42)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([3.5, -1.0, 2.0, 7.25], "normal"),
        ([1.0, 2.0, 3.0, np.nan], "poisson"),  # ints, but for what is missing
        ([0.0, 1.0, 0.0, np.nan], "bernoulli"),
        ([1990, 2001, 2010, 2020], "normal"),  # years are no counts
        ([-1, 0, 1, 2], "normal"),
        ([0, 0, 0, 0], "bernoulli"),
        ([7, 7, 7, 7], "poisson"),
        ([True, False, None, True], "bernoulli"),
        (["x", "y", None, "x"], "categorical"),
        ([1.0, 1.0, 1.0, 1.0], "normal"),
        (pd.Categorical(["x"] * 4, ordered=True), "categorical"),
    ],
)
def test_small_columns_have_a_kind(values, kind):
    frame = pd.DataFrame({"x": values})
    columns = Columns.from_frame(frame)
    assert columns.choices["x"].kind == kind
    assert_same(columns.decode(columns.encode(frame)), frame)


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_told_apart(seed):
    """Of 4,000 values each, whose differences are more than three standard errors."""
    rng, n = np.random.default_rng(seed), 4000
    zero = rng.random(n) < 0.5
    laws = {
        "poisson": rng.poisson(3, n),
        "negative_binomial": rng.negative_binomial(2, 0.2, n),
        "zero_inflated_poisson": np.where(zero, 0, rng.poisson(6, n)),
        "zero_inflated_negative_binomial": np.where(
            zero, 0, rng.negative_binomial(3, 0.1, n)
        ),
    }
    found = Columns.from_frame(pd.DataFrame(laws)).choices
    assert {name: choice.kind for name, choice in found.items()} == {
        name: name for name in laws
    }


def test_kinds_that_are_given_are_taken():
    frame = mixed_frame()
    given = {
        "height": "student_t",
        "children": "zero_inflated_negative_binomial",
        "visits": "ordinal",
        "points": "normal",
        "flag": "categorical",
        "size": "categorical",
        "member": "categorical",
        "shoe": "ordinal",
    }
    columns = Columns.from_frame(frame, kinds=given)
    for name, kind in given.items():
        assert columns.choices[name] == (kind, "given")
    assert_same(columns.decode(columns.encode(frame)), frame)


def test_what_was_chosen_can_be_read():
    columns = Columns.from_frame(mixed_frame())
    lines = columns.summary().splitlines()
    assert lines[0].split() == ["column", "kind", "parameters", "missing", "because"]
    assert len(lines) == 1 + len(KINDS_OF_FRAME)
    size = next(line for line in lines if line.startswith("size"))
    assert size.split() == "size ordinal 2 yes 3 categories with an order".split()
    assert repr(columns).startswith("Columns(height: normal, grade: normal, ")
    assert repr(columns).endswith("and 9 more)")


# -- there and back --------------------------------------------------------------------


def test_frames_come_back_with_their_dtypes_and_missing_values():
    frame = mixed_frame()
    columns = Columns.from_frame(frame)
    x = columns.encode(frame)
    assert x.dtype == np.float32 and x.shape == frame.shape
    np.testing.assert_array_equal(np.isnan(x), frame.isna())
    outside = columns.outside(tf.constant(x)).numpy()
    np.testing.assert_array_equal(outside, frame.isna())
    assert_same(columns.decode(x), frame)
    np.testing.assert_array_equal(columns.encode(columns.decode(x)), x)


@pytest.mark.parametrize(
    "load",
    [datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer]
    + [datasets.load_diabetes],
)
def test_tables_of_scikit_learn_come_back(load):
    frame = load(as_frame=True).frame
    columns = Columns.from_frame(frame)
    x = columns.encode(frame)
    assert columns.in_support(x)
    assert_same(columns.decode(x), frame)
    params = np.zeros([len(x), *columns.params_shape], np.float32)
    assert np.all(np.isfinite(columns(params).log_prob(x)))


def test_other_frames_are_encoded_by_name_and_value():
    frame = mixed_frame()
    columns = Columns.from_frame(frame)
    other = frame.iloc[::-1, ::-1].assign(more=1, city=frame.city.astype("category"))
    np.testing.assert_array_equal(columns.encode(other), columns.encode(frame)[::-1])


def test_missing_values_of_a_dtype_that_has_none_get_its_nullable_twin():
    names = ["member", "flag", "balance", "visits", "children"]
    frame = mixed_frame()[names]
    columns = Columns.from_frame(frame)
    x = columns.encode(frame)
    x[0] = np.nan
    found = columns.decode(x)
    assert found.iloc[0].isna().all() and found.iloc[1:].notna().all(axis=None)
    dtypes = ["boolean", "UInt8", "Int64", "Int16", "Int64"]
    assert [str(dtype) for dtype in found.dtypes] == dtypes


def test_means_are_decoded_to_the_nearest_value():
    frame = mixed_frame()[["visits", "member", "size", "height"]]
    columns = Columns.from_frame(frame)
    found = columns.decode(tf.constant([[3.7, 0.8, 1.4, 170.25], [1e9, 0.2, 0.0, 0.0]]))
    assert found.iloc[0].tolist() == [4, True, "middle", 170.25]
    assert found.iloc[1].tolist() == [32767, False, "small", 0.0]  # int16's largest


def test_columns_without_a_frame_are_decoded_too():
    columns = Columns([NormalColumn("a"), CategoricalColumn("b", ("x", "y"))])
    found = columns.decode([[0.5, 1.0], [1.5, np.nan]])
    assert found.a.dtype == "float32" and found.b.tolist() == ["y", None]


def test_pandas_is_imported_when_a_frame_is_asked_for(monkeypatch):
    columns = Columns([NormalColumn("a")])

    def without(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return builtins.__import__(name, *args, **kwargs)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match=r"pip install 'tfvae.tables.'"):
        columns.decode([[0.5]])


# -- what an encoder reads -------------------------------------------------------------


def test_features_are_standardised_numbers_and_ones_for_codes():
    columns = Columns(
        [
            NormalColumn("a", 10.0, 2.0),
            LogNormalColumn("b", 1.0, 0.5),
            NegativeBinomialColumn("c", 4.0, loc=0.5, scale=2.0),
            BernoulliColumn("d"),
            CategoricalColumn("e", ("x", "y", "z")),
            OrdinalColumn("f", ("x", "y")),
        ]
    )
    layer = columns.inputs()
    found = layer(tf.constant([[13.0, np.exp(2.0), 3.0, 1.0, 2.0, 0.0]]))
    wanted = [[1.5, 2.0, (np.log(4.0) - 0.5) / 2, 1, 0, 0, 1, 1, 0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)  # float32
    symbolic = layer(keras.Input((6,)))
    assert symbolic.shape == (None, 9) and layer.num_features == 9
    with pytest.raises(InputError, match="6 columns"):
        layer(keras.Input((5,)))
    rebuilt = ColumnInputs.from_config(layer.get_config())
    assert rebuilt.columns == columns.columns


def test_features_of_what_a_column_cannot_have_are_0():
    frame = mixed_frame()
    columns = Columns.from_frame(frame)
    layer, x = columns.inputs(), columns.encode(frame)
    x[:, list(frame).index("income")] = 0.0  # no logarithm
    found = layer(x).numpy()
    starts = np.cumsum([0] + [c.num_features for c in columns.columns])
    for i, begin in enumerate(starts[:-1]):
        outside = columns.outside(tf.constant(x))[:, i].numpy()
        assert np.all(found[outside, begin : starts[i + 1]] == 0)
        assert np.any(found[~outside, begin : starts[i + 1]] != 0) or outside.all()


def test_features_of_training_data_have_mean_0_and_scale_1():
    frame = mixed_frame()[["height", "income", "claims", "visits"]].dropna()
    columns = Columns.from_frame(frame)
    features = columns.inputs()(columns.encode(frame)).numpy()
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, rtol=1e-4)


# -- in a model ------------------------------------------------------------------------


def made(columns: Columns) -> tfvae.VAE:
    size = len(columns.columns)
    dense = keras.layers.Dense
    encoder = [keras.Input((size,)), columns.inputs(), dense(8, "relu"), dense(4)]
    decoder = [keras.Input((2,)), dense(8, "relu"), dense(columns.params_shape[-1])]
    return tfvae.VAE(
        keras.Sequential(encoder),
        keras.Sequential(decoder),
        latent="normal",
        likelihood=columns,
    )


@pytest.mark.slow
def test_a_model_of_a_table_trains_draws_and_is_saved(tmp_path):
    keras.utils.set_random_seed(0)
    frame = mixed_frame(60).dropna()
    columns = Columns.from_frame(frame)
    x = columns.encode(frame)
    vae = made(columns)
    vae.compile(optimizer=keras.optimizers.Adam(0.01))
    history = vae.fit(x, epochs=8, batch_size=len(x), verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert history["loss"][-1] < history["loss"][0]
    drawn = vae.sample(5, seed=1)
    table = columns.decode(drawn.draw)
    assert len(table) == 5 and table.dtypes.equals(frame.dtypes)
    assert columns.in_support(drawn.draw.numpy())
    assert len(columns.decode(vae.reconstruct(x))) == len(x)

    vae.save(tmp_path / "table.keras")
    loaded = keras.models.load_model(tmp_path / "table.keras")
    head = loaded.decoder.head
    assert isinstance(head, Columns) and head.columns == columns.columns
    np.testing.assert_array_equal(loaded.sample(5, seed=1).draw, drawn.draw)
    pd.testing.assert_frame_equal(head.decode(loaded.sample(5, seed=1).draw), table)
    assert head.summary() == columns.summary()


def test_a_model_refuses_what_is_outside_of_a_columns_support():
    frame = mixed_frame(60).dropna()
    columns = Columns.from_frame(frame)
    x = columns.encode(frame)
    vae = made(columns)
    vae.compile(optimizer="adam")
    x[3, list(frame).index("children")] = -1
    with pytest.raises(InputError, match="outside the support of Columns"):
        vae.fit(x, verbose=0)


def test_a_decoder_of_another_width_is_refused():
    columns = Columns.from_frame(mixed_frame())
    size = len(columns.columns)
    encoder = keras.Sequential([keras.Input((size,)), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(7)])
    wanted = columns.params_shape[-1]
    with pytest.raises(InputError, match=f"Columns needs .{wanted},.; end it") as error:
        tfvae.VAE(encoder, decoder, likelihood=columns, latent="normal")
    assert "\n" not in str(error.value)
