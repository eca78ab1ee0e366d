"""Conditions: what they make of c, what they refuse, and how they are saved."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.conditions import (
    CONDITIONS,
    Embedding,
    Image,
    Numeric,
    OneHot,
    Several,
)
from tfvae.core.types import InputError
from tfvae.models.batch import named_errors

NAMED = OneHot(["ant", "bee", "cat"])
SOME = {
    "one_hot": (OneHot(3), [2, 0]),
    "embedding": (Embedding(3, 4, seed=5), [2, 0]),
    "numeric": (Numeric(2, [1.0, 2.0], [2.0, 4.0]), [[1.0, 2.0], [3.0, 10.0]]),
    "image": (Image((2, 3, 1)), np.arange(12.0).reshape(2, 2, 3, 1)),
    "several": (
        Several({"size": Numeric(), "kind": OneHot(["a", "b"])}),
        {"size": [0.5, -1.0], "kind": ["b", "a"]},
    ),
}


def test_every_condition_is_tried():
    assert SOME.keys() == CONDITIONS.keys()


@pytest.mark.parametrize("name", SOME)
def test_features_have_the_shape_that_is_said_and_a_saved_condition_gives_them(name):
    condition, c = SOME[name]
    features = condition(condition.read(c))
    assert features.shape == (2, *condition.shape)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(condition)
    )
    again.set_weights(condition.get_weights())
    np.testing.assert_array_equal(again(again.read(c)), features)
    blank = condition(condition.read(condition.blank(3)))
    assert np.isfinite(blank).all() and blank.shape == (3, *condition.shape)
    served = condition(condition.read(condition.examples(3)))
    assert np.isfinite(served).all() and served.shape == (3, *condition.shape)


@pytest.mark.parametrize("name", SOME)
def test_a_graph_gives_the_features_of_eager(name):
    condition, c = SOME[name]
    c = condition.read(c)
    found = tf.function(lambda c: condition(condition.read(c)), autograph=False)(c)
    np.testing.assert_allclose(found, condition(c), rtol=1e-6)


def test_features_are_what_they_are_said_to_be():
    np.testing.assert_array_equal(NAMED(NAMED.read("bee")), [0, 1, 0])
    np.testing.assert_array_equal(
        NAMED(NAMED.read(np.array([2, 0]))), np.eye(3)[[2, 0]]
    )
    numeric, c = SOME["numeric"]
    np.testing.assert_allclose(numeric(numeric.read(c)), [[0, 0], [1, 2]])
    several, c = SOME["several"]  # in the order of the names: kind, size
    np.testing.assert_allclose(several(several.read(c)), [[0, 1, 0.5], [1, 0, -1]])
    embedding = SOME["embedding"][0]
    np.testing.assert_array_equal(embedding(embedding.read(1)), embedding.embeddings[1])


def test_conditions_are_made_from_data():
    assert OneHot.from_data(["b", "a", "b"]).names == ("a", "b")
    assert OneHot.from_data(np.array([0, 4])).num_classes == 5
    assert Embedding.from_data([0, 1], size=2).shape == (2,)
    values = np.random.default_rng(0).normal(3, 2, [50, 2])
    values[:, 1] = 7
    features = (numeric := Numeric.from_data(values))(numeric.read(values))
    np.testing.assert_allclose(np.mean(features, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(features, axis=0), [1, 0], atol=1e-5)


REFUSED = [
    (NAMED, ["ant", "bees"], "'bees'.*did you mean 'bee'"),
    (NAMED, [0, 3], "holds 3.*3 classes"),
    (NAMED, [-1], "holds -1"),
    (NAMED, None, "missing"),
    (NAMED, ["ant", None], "missing values"),
    (NAMED, [0.0, 1.0], "dtype float64"),
    (NAMED, [True], "dtype bool"),
    (OneHot(3), ["ant"], "dtype string.*0 to 2"),
    (OneHot(3), [[1], [2, 3]], "no array"),
    (Numeric(), [0.5, np.nan], "holds nan"),
    (Numeric(), ["0.5"], "dtype string"),
    (Numeric(2), [0.5, 1.0, 2.0], r"shape \(3,\)"),
    (Numeric(2), [[0.5, np.inf]], "holds"),
    (Image((2, 3, 1)), np.zeros([4, 2, 3]), "shape"),
    (SOME["several"][0], {"size": [1.0]}, "keys"),
    (SOME["several"][0], [1.0], "is a list"),
    (SOME["several"][0], {"size": [np.nan], "kind": ["a"]}, "'size' holds nan"),
]


@pytest.mark.parametrize(("condition", "c", "message"), REFUSED)
def test_what_has_no_features_is_refused_with_what_is_wanted(condition, c, message):
    with pytest.raises(InputError, match=message):
        condition.read(c)


@pytest.mark.parametrize(
    ("condition", "c"),
    [(OneHot(3), tf.constant([1, 3])), (Numeric(), tf.constant([1.0, np.nan]))],
)
def test_a_graph_refuses_what_eager_does(condition, c):
    read = tf.function(lambda c: condition(condition.read(c)), autograph=False)
    with pytest.raises(InputError, match="no features; give"), named_errors():
        read(c)


@pytest.mark.parametrize("condition", [OneHot(3), Embedding(3, 2)])
def test_where_xla_leaves_the_assertion_out_an_unknown_class_is_nan(condition):
    read = tf.function(
        lambda c: condition(condition.read(c)), autograph=False, jit_compile=True
    )
    found = read(tf.constant([1, 3])).numpy()
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneHot(0),
        lambda: OneHot("ab"),
        lambda: OneHot(["a", "a"]),
        lambda: OneHot([]),
        lambda: OneHot(2.5),
        lambda: Embedding(3, 0),
        lambda: Numeric(2, scale=0.0),
        lambda: Numeric(2, mean=[1.0]),
        lambda: Numeric(mean=np.nan),
        lambda: Image(()),
        lambda: Several({}),
        lambda: Several({"a": 3}),
        lambda: Several({"a": Several({"b": OneHot(2)})}),
        lambda: OneHot.from_data([0.5]),
        lambda: OneHot.from_data([-1, 2]),
        lambda: OneHot.from_data([]),
        lambda: Numeric.from_data([np.nan]),
        lambda: Numeric.from_data(["a"]),
    ],
)
def test_conditions_that_cannot_be_are_refused(make):
    with pytest.raises(InputError):
        make()
