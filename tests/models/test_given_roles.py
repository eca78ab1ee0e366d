"""c and labels mean the same however they are given, or are refused."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.conditional import CLASSES
from helpers.models import binary_images

from tfvae.conditions import Image, Numeric, OneHot, Several
from tfvae.core.types import InputError
from tfvae.evaluation import score_images
from tfvae.models import VAE, Batch, SemiSupervisedVAE
from tfvae.networks import mlp

SHAPE = (4, 4, 1)
X = binary_images(20, shape=SHAPE)
C = np.arange(20) % CLASSES
NAMES = ("ant", "bee", "cat")
SIZE = np.linspace(-1, 1, 20).astype("float32")
BOTH = {"kind": C, "size": SIZE}
WEIGHTS = np.linspace(0.5, 2, 20)
LABELS = np.where(np.arange(20) % 2, C, -1)


def model(condition=None, semi: bool = False, **how) -> VAE:
    condition = condition or OneHot(CLASSES)
    given = {"condition_shape": condition.shape}
    encoder = mlp(SHAPE, (4,), (5,), seed=1, **given)
    decoder = mlp((2,), SHAPE, (5,), seed=2, **given)
    more = (mlp(SHAPE, (CLASSES,), (5,), seed=3),) if semi else ()
    kind = SemiSupervisedVAE if semi else VAE
    vae = kind(encoder, decoder, *more, condition=condition, **how)
    vae.compile(keras.optimizers.SGD(0.01), num_samples=2, seed=1, run_eagerly=True)
    return vae


def both() -> VAE:
    return model(Several({"kind": OneHot(CLASSES), "size": Numeric()}))


def batches(*given) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(given if len(given) > 1 else given[0])


def evaluated(vae: VAE, *given, **how) -> dict:
    if not isinstance(given[0], Iterator):
        how["batch_size"] = 20
    return vae.evaluate(*given, verbose=0, return_dict=True, **how)


def endless(batch) -> Iterator:
    while True:
        yield batch


def in_batches(vae: VAE, *given) -> dict:
    return vae.evaluate(batches(*given).batch(20), verbose=0, return_dict=True)


@pytest.mark.slow
def test_a_condition_is_the_same_however_it_is_given():
    vae = model()
    wanted = evaluated(vae, X, C)
    for found in (
        evaluated(vae, {"x": X, "condition": C}),
        evaluated(vae, {"x": X}, C),
        evaluated(vae, {"x": X, "condition": C.tolist()}),
        evaluated(vae, X, C.tolist()),
        evaluated(vae, list(X), C.astype("uint8")),
        in_batches(vae, X, C),
        in_batches(vae, {"x": X, "condition": C}),
    ):
        assert found == wanted
    assert evaluated(vae, X, (C + 1) % CLASSES) != wanted


@pytest.mark.slow
def test_names_are_the_classes_however_they_are_given():
    vae = model(OneHot(NAMES))
    names = np.array(NAMES)[C]
    wanted = evaluated(vae, X, C)
    for found in (
        evaluated(vae, X, names),
        evaluated(vae, X, names.tolist()),
        evaluated(vae, X, names.astype(object)),
        evaluated(vae, {"x": X}, names),
        evaluated(vae, {"x": X, "condition": names}),
        in_batches(vae, X, names),
    ):
        assert found == wanted
    for validation in (
        (X, names),
        ({"x": X}, names),
        {"x": X, "condition": names},
        ({"x": X, "condition": names},),
    ):
        history = vae.fit(X, names, validation_data=validation, verbose=0).history
        assert np.isfinite(history["val_loss"]).all()


@pytest.mark.slow
def test_several_conditions_and_weights_go_together():
    vae = both()
    plain = evaluated(vae, X, BOTH)
    wanted = evaluated(vae, {"x": X, "condition": BOTH, "sample_weight": WEIGHTS})
    assert wanted["loss"] != plain["loss"]
    for found in (
        evaluated(vae, X, BOTH, sample_weight=WEIGHTS),
        evaluated(vae, X, BOTH, sample_weight=WEIGHTS.tolist()),
        evaluated(vae, {"x": X, "condition": BOTH}, sample_weight=WEIGHTS),
    ):
        assert found == wanted
    frozen = both()
    frozen.optimizer.learning_rate = 0.0
    for validation in (
        (X, BOTH, WEIGHTS),
        ({"x": X, "condition": BOTH}, None, WEIGHTS),
    ):
        history = frozen.fit(
            X, BOTH, batch_size=20, validation_data=validation, verbose=0
        ).history
        assert history["val_loss"][0] == pytest.approx(wanted["loss"], rel=1e-6)


def test_weights_of_validation_data_count_in_a_plain_model_too():
    vae = VAE(mlp(SHAPE, (4,), (5,)), mlp((2,), SHAPE, (5,)))
    vae.compile(keras.optimizers.SGD(0.0), seed=1, run_eagerly=True)
    wanted = evaluated(vae, X, sample_weight=WEIGHTS)["loss"]
    fitted = vae.fit(X, validation_data=(X, None, WEIGHTS), batch_size=20, verbose=0)
    assert fitted.history["val_loss"][0] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.slow
def test_scores_and_codes_take_lists_and_pairs():
    vae, several = model(OneHot(NAMES)), both()
    names = np.array(NAMES)[C].tolist()
    codes = vae.embed({"x": X, "condition": C})
    wanted = score_images(vae, {"x": X, "condition": C}, 5).elbo
    for given in (
        {"x": X, "condition": names},
        {"x": list(X), "condition": C.tolist()},
        (X, names),
        Batch(X, C),
    ):
        np.testing.assert_array_equal(vae.embed(given, batch_size=20), codes)
        np.testing.assert_array_equal(vae.embed(given, batch_size=7).shape, codes.shape)
        np.testing.assert_array_equal(score_images(vae, given, 5).elbo, wanted)
    lists = {"kind": C.tolist(), "size": SIZE.tolist()}
    np.testing.assert_array_equal(several.embed((X, lists)), several.embed((X, BOTH)))
    image = model(Image(SHAPE))
    np.testing.assert_array_equal(
        image.embed((X, X)), image.embed({"x": X, "condition": X})
    )


@pytest.mark.parametrize(
    "given",
    [
        {"x": X, "condition": np.concatenate([C, C])},
        {"x": X, "condition": C[:7]},
        {"x": X, "condition": 1},
        {"x": X, "condition": [[1], [2, 3]]},
        (X, C + 7),
        (X, None),
    ],
)
def test_rows_of_another_number_are_refused_before_they_are_split(given):
    vae = model()
    for call in (
        lambda: vae.embed(given, batch_size=5),
        lambda: score_images(vae, given, 2),
    ):
        with pytest.raises(InputError):
            call()


def test_what_goes_wrong_within_keras_is_one_line():
    vae = model()
    for call in (
        lambda: vae.reconstruct((X, C), condition=C[:7]),
        lambda: vae.reconstruct((X, C), condition=[1]),
        lambda: vae.reconstruct((X, C), condition=C[:, None]),
        lambda: vae.decode(np.zeros([4, 2], "float32"), condition=[0, 1]),
        lambda: vae(X),
        lambda: vae.encoder(X),
        lambda: vae.predict_on_batch({"x": X, "condition": C + 5}),
        lambda: vae.evaluate(batches(X).batch(5), C, verbose=0),
        lambda: vae.fit(batches(X).batch(5), C, verbose=0),
        lambda: vae.fit({"x": X, "condition": C}, C, verbose=0),
        lambda: mlp(SHAPE, (4,), (5,), condition_shape=3),
        lambda: mlp(SHAPE, (4,), (5,), condition_shape=(0,)),
        lambda: both().evaluate(X, {**BOTH, "size": 1.0}, verbose=0),
        lambda: both().evaluate(X, {**BOTH, "size": SIZE[:3]}, verbose=0),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_validation_data_may_be_a_batch_of_which_no_role_is_lost():
    vae = model(semi=True)
    vae.optimizer.learning_rate = 0.0
    wanted = evaluated(vae, {"x": X, "label": LABELS, "sample_weight": WEIGHTS})
    batch = Batch(X, label=LABELS, sample_weight=WEIGHTS)
    fitted = vae.fit(X, LABELS, validation_data=batch, batch_size=20, verbose=0)
    assert fitted.history["val_loss"][0] == pytest.approx(wanted["loss"], rel=1e-6)
    assert fitted.history["val_accuracy"][0] == wanted["accuracy"]


def test_a_plain_model_says_that_it_has_no_use_for_y():
    vae = VAE(mlp(SHAPE, (4,), (5,)), mlp((2,), SHAPE, (5,)))
    vae.compile("adam", run_eagerly=True)
    vae.fit(X, X, verbose=0)
    for call in (vae.fit, vae.evaluate):
        with pytest.warns(UserWarning, match="no use in this model.*SemiSupervised"):
            call(X, C, verbose=0)


# -- labels ----------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_are_the_same_however_they_are_given():
    vae = model(OneHot(NAMES), semi=True)
    wanted = evaluated(vae, X, LABELS)
    assert wanted["bound_labelled"] != 0
    names = np.where(LABELS < 0, "", np.array(NAMES)[C])
    with_none = [None if n == "" else str(n) for n in names]
    for found in (
        evaluated(vae, {"x": X, "label": LABELS}),
        evaluated(vae, {"x": X}, LABELS),
        evaluated(vae, X, LABELS.tolist()),
        evaluated(vae, X, [None if n < 0 else int(n) for n in LABELS]),
        evaluated(vae, X, names),
        evaluated(vae, X, with_none),
        evaluated(vae, X, np.array(with_none, object)),
        in_batches(vae, X, LABELS),
        in_batches(vae, X, names),
        in_batches(vae, {"x": X, "label": names}),
    ):
        assert found == wanted


def test_scores_and_codes_read_y_as_the_label_too():
    vae = model(semi=True)
    wanted = score_images(vae, X, 5).elbo
    for given in ((X, LABELS), {"x": X, "label": LABELS.tolist()}, Batch(X, label=C)):
        np.testing.assert_array_equal(score_images(vae, given, 5).elbo, wanted)
    codes = vae.embed({"x": X, "label": LABELS})
    np.testing.assert_array_equal(vae.embed((X, LABELS)), codes)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype("float32"),
        LABELS[:, np.newaxis],
        np.eye(CLASSES, dtype="float32")[C],
        C > 0,
        np.array(NAMES)[C],
        C + 1,
    ],
    ids=["floats", "a column", "one-hots", "booleans", "names", "out of range"],
)
def test_labels_that_are_none_are_refused_in_data_sets_too(labels):
    vae = model(semi=True)
    for call in (
        lambda: evaluated(vae, X, labels),
        lambda: evaluated(vae, {"x": X}, labels),
        lambda: in_batches(vae, X, labels),
        lambda: in_batches(vae, {"x": X, "label": labels}),
        lambda: vae.fit(batches(X, labels).batch(5), verbose=0),
    ):
        with pytest.raises(InputError, match="label"):
            call()


@pytest.mark.slow
def test_a_name_that_is_no_class_is_not_taken_for_unknown():
    vae = model(OneHot(NAMES), semi=True)
    labels = np.where(LABELS < 0, "zzz", np.array(NAMES)[C])
    for call in (
        lambda: evaluated(vae, X, labels),
        lambda: in_batches(vae, X, labels),
    ):
        with pytest.raises(InputError, match="label"):
            call()
    graph = model(OneHot(NAMES), semi=True)
    graph.compile("adam")
    with pytest.raises(InputError, match="the label holds"):
        graph.fit(batches(X, labels).batch(5), verbose=0)


def test_a_condition_has_no_part_in_bounds_over_all_classes():
    vae = model(semi=True)
    with pytest.raises(InputError, match="as the label"):
        evaluated(vae, {"x": X, "condition": C})
    with pytest.raises(InputError, match="int >= 1"):
        vae.sample(-1)


def test_weights_count_in_everything_that_is_reported():
    vae = model(semi=True)
    zero = np.where(np.arange(20) < 10, 1.0, 0.0)
    found = evaluated(vae, {"x": X, "label": LABELS, "sample_weight": zero})
    log_q = np.log(vae.classify(X))
    known = (LABELS >= 0) & (zero > 0)
    right = log_q.argmax(axis=1)[known] == LABELS[known]
    assert found["accuracy"] == pytest.approx(right.mean(), rel=1e-6)


# -- conditions that could not work ----------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Numeric.from_data(1.7e9 + np.arange(4.0)),
        lambda: Numeric.from_data([[1], [2, 3]]),
        lambda: OneHot.from_data([[1], [2, 3]]),
        lambda: Numeric(1, "a"),
        lambda: Several({0: OneHot(2)}),
        lambda: Several({"a_": OneHot(2)}),
        lambda: Several({"hair colour": OneHot(2)}),
        lambda: Image(SHAPE).read(np.zeros([1, *SHAPE], np.uint8)),
    ],
)
def test_conditions_that_could_not_work_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_an_array_of_names_are_names():
    assert OneHot(np.array(["a", "b"])).names == ("a", "b")


@pytest.mark.quick(1)
@pytest.mark.parametrize("semi", [False, True])
def test_generators_yield_names_lists_and_dictionaries(semi):
    """Of which Keras takes none: a generator's batches are tuples of numbers."""
    vae = model(OneHot(NAMES), semi)
    role, names = "label" if semi else "condition", [NAMES[c] for c in C]
    wanted = vae.evaluate(X, C, batch_size=20, verbose=0, return_dict=True)
    for batch in (
        (X, np.array(names)),
        (X, names),
        {"x": X, role: np.array(names)},
        {"x": X.tolist(), role: names},
        {"x": X, role: C},
        Batch(**{"x": X, role: names}),
    ):
        found = evaluated(vae, endless(batch), steps=1)
        assert found == pytest.approx(wanted, rel=1e-6)
    history = vae.fit(
        endless((X, names)),
        steps_per_epoch=2,
        validation_data=endless({"x": X, role: names}),
        validation_steps=1,
        verbose=0,
    ).history
    assert int(vae.steps) == 2 and np.isfinite(history["val_loss"][0])
    with pytest.raises(InputError, match="'wasp'"):
        vae.evaluate(endless((X, ["wasp", *names[1:]])), steps=1, verbose=0)


def test_generators_of_a_plain_model_yield_dictionaries_too():
    vae = VAE(mlp(SHAPE, (4,), (5,), seed=1), mlp((2,), SHAPE, (5,), seed=2))
    vae.compile("sgd", seed=1, run_eagerly=True)
    wanted = vae.evaluate(X, batch_size=20, verbose=0, return_dict=True)
    for batch in ({"x": X}, {"image": X}, (X,), (X, X)):
        found = evaluated(vae, endless(batch), steps=1)
        assert found == pytest.approx(wanted, rel=1e-6)
