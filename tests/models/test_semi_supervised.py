"""Semi-supervised models: y is summed out exactly, and labels train the classifier."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.conditional import CLASSES, SHAPE, Known
from helpers.models import binary_images, standard_error
from scipy import special

import tfvae
from tfvae.conditions import OneHot
from tfvae.core.types import InputError
from tfvae.data import ArraySplit, partly_labelled
from tfvae.evaluation import posterior_summary, score_images
from tfvae.latents import LATENTS
from tfvae.models import Batch, ConditionalDistribution, SemiSupervisedVAE
from tfvae.models.semi_supervised import CalibrationError
from tfvae.networks import NETWORKS, augmented_classifier, mlp
from tfvae.objectives import OBJECTIVES

P_Y = np.array([0.5, 0.2, 0.3])


class KnownClasses(Known):
    """`Known` with classes to sum out: log p(x) is a mixture's, p(y|x) linear in x."""

    def __init__(self, right: bool = True, conditional_prior: bool = False) -> None:
        super().__init__(conditional_prior)
        weights, scale = self.base.weights, self.base.scale
        covariance = weights @ weights.T + scale**2 * np.eye(len(weights))
        means = self.bias + self.prior_means @ weights.T  # [C, X]
        kernel = np.linalg.solve(covariance, means.T)  # [X, C]
        bias = np.log(P_Y) - 0.5 * np.sum(means * kernel.T, axis=1)
        if not right:
            rng = np.random.default_rng(3)
            kernel, bias = rng.normal(size=kernel.shape), rng.normal(size=bias.shape)
        x = keras.Input((len(weights),), dtype="float64")
        logits = keras.layers.Dense(CLASSES, dtype="float64")(x)
        classifier = keras.Model(x, logits)
        classifier.set_weights([kernel, bias])
        base = self.vae
        self.vae = SemiSupervisedVAE(
            base.encoder,
            base.decoder,
            classifier,
            base.latent,
            base.prior_layer,
            condition=base.condition,
            class_probabilities=P_Y,
            classifier_weight=2.0,
        )

    def joint(self, x: np.ndarray) -> np.ndarray:
        """[B, C] log p(x, y)."""
        each = [self.log_marginal(x, np.full(len(x), y)) for y in range(CLASSES)]
        return np.stack(each, axis=1) + np.log(P_Y)

    def bound(self, x: np.ndarray) -> np.ndarray:
        """[B] sum_y q(y|x) (log p(x, y) - log q(y|x))."""
        kernel, bias = self.vae.classifier.get_weights()
        log_q = special.log_softmax(x @ kernel + bias, axis=1)
        return np.sum(np.exp(log_q) * (self.joint(x) - log_q), axis=1)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(2).normal(0, 2, [5, 6])


def values(vae: SemiSupervisedVAE, batch: Batch, **how) -> tuple:
    vae.compile("sgd", run_eagerly=True, **how)
    found = vae._estimate(vae.as_batch(batch), (0, 1), True, 1.0)
    return found, vae.compute_loss(vae.as_batch(batch), found)


@pytest.mark.parametrize("conditional_prior", [False, True])
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_with_true_posteriors_every_bound_is_log_p_of_x(
    points, objective, conditional_prior
):
    known = KnownClasses(conditional_prior=conditional_prior)
    found, _ = values(known.vae, Batch(points), objective=objective, num_samples=4)
    wanted = special.logsumexp(known.joint(points), axis=1)
    # Rounding in float64 of numbers below 1000.
    for bound in (found.bounds.loss, found.bounds.plain):
        np.testing.assert_allclose(bound, wanted, rtol=0, atol=1e-10)
    weights = found.terms.log_weights()
    np.testing.assert_allclose(weights, np.tile(wanted, [4, 1]), rtol=0, atol=1e-10)


def test_the_bound_is_the_sum_over_y_where_y_is_unknown(points):
    known = KnownClasses(right=False)
    label = np.array([-1, 2, -1, 0, 1])
    for objective in ("elbo", "iwae"):
        found, loss = values(
            known.vae, Batch(points, label=label), objective=objective, num_samples=3
        )
        joint = known.joint(points)
        given = joint[np.arange(5), label]
        wanted = np.where(label < 0, known.bound(points), given)
        np.testing.assert_allclose(found.bounds.loss, wanted, rtol=0, atol=1e-10)
        kernel, bias = known.vae.classifier.get_weights()
        log_q = special.log_softmax(points @ kernel + bias, axis=1)
        of_labels = np.where(label < 0, 0, log_q[np.arange(5), label])
        wanted_loss = -found.surrogate.numpy().mean() - 2 * of_labels.mean()
        np.testing.assert_allclose(loss, wanted_loss, rtol=0, atol=1e-10)
    logs = known.vae.evaluate(points, label, batch_size=2, verbose=0, return_dict=True)
    shown = -wanted.mean() - 2 * of_labels.mean()
    np.testing.assert_allclose(logs["loss"], shown, rtol=1e-5)
    np.testing.assert_allclose(logs["bound_labelled"], given[label >= 0].mean(), 1e-5)
    unknown = known.bound(points)[label < 0].mean()
    np.testing.assert_allclose(logs["bound_unlabelled"], unknown, rtol=1e-5)
    right = log_q.argmax(axis=1)[label >= 0] == label[label >= 0]
    np.testing.assert_allclose(logs["accuracy"], right.mean(), rtol=1e-6)


def numeric_gradient(value, variable, places: list, step: float = 1e-5) -> list:
    found = []
    start = variable.numpy()
    for place in places:
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * step
            variable.assign(moved)
            ends.append(value())
        found.append((ends[0] - ends[1]) / (2 * step))
    variable.assign(start)
    return found


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_an_unlabelled_example_has_the_gradient_of_the_enumerated_bound(
    points, objective
):
    known = KnownClasses(right=False)
    vae = known.vae
    vae.compile("sgd", objective, 3, run_eagerly=True)
    classifier = vae.classifier.trainable_weights[0]
    with tf.GradientTape() as tape:
        found = vae._estimate(vae.as_batch(Batch(points)), (0, 1), True, 1.0)
        surrogate = tf.reduce_sum(found.surrogate)
    decoder = vae.decoder.network.trainable_weights[0]
    gradients = tape.gradient(surrogate, [classifier, decoder])
    places = [(0, 0), (3, 1), (5, 2)]
    wanted = numeric_gradient(lambda: known.bound(points).sum(), classifier, places)
    found_there = [gradients[0].numpy()[place] for place in places]
    np.testing.assert_allclose(found_there, wanted, rtol=1e-6, atol=1e-7)

    def by_draws() -> float:  # with the same draws, enumerated outside of the model
        kernel, bias = vae.classifier.get_weights()
        log_q = special.log_softmax(points @ kernel + bias, axis=1).T.ravel()
        every = vae._of_every_class(vae.as_batch(points))
        terms = vae.log_weight_terms(every, 3, (0, 1))
        bound = vae.objective.value(terms.log_weights()).numpy()
        return float(np.sum(np.exp(log_q) * bound))

    places = [(0, 0), (-1, 2), (4, 5)]
    wanted = numeric_gradient(by_draws, decoder, places)
    found_there = [gradients[1].numpy()[place] for place in places]
    np.testing.assert_allclose(found_there, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.quick(1)
@pytest.mark.parametrize("conditional_prior", [False, True])
def test_scores_are_of_p_of_x_whatever_the_label(points, conditional_prior):
    known = KnownClasses(right=False, conditional_prior=conditional_prior)
    wanted = special.logsumexp(known.joint(points), axis=1)
    for batch in (points, {"x": points, "label": np.array([0, -1, 1, 2, 0])}):
        scores = score_images(known.vae, batch, 70)
        np.testing.assert_allclose(scores.log_likelihood, wanted, rtol=0, atol=1e-9)
        np.testing.assert_allclose(scores.elbo, wanted, rtol=0, atol=1e-9)
    given = score_images(known.vae, {"x": points, "condition": np.ones(5, int)}, 70)
    joint = known.joint(points)[:, 1] - np.log(P_Y[1])
    np.testing.assert_allclose(given.log_likelihood, joint, rtol=0, atol=1e-9)
    summary = posterior_summary(known.vae, points, 10, 5)
    assert np.isfinite(summary.aggregate.rate).all()


def test_samples_have_the_classes_probabilities():
    vae = KnownClasses().vae
    drawn = vae.sample(3000, seed=1)
    again = vae.sample(3000, seed=1)
    np.testing.assert_array_equal(drawn.mean, again.mean)
    # p(x) is a mixture: the mean of draws is that of the classes' means.
    known = KnownClasses()
    wanted = P_Y @ known.bias
    error = standard_error(drawn.draw.numpy())
    assert (np.abs(drawn.draw.numpy().mean(axis=0) - wanted) < 5 * error).all()


# -- any model -------------------------------------------------------------------------


def small(latent: str = "normal", network: str = "mlp", **how) -> SemiSupervisedVAE:
    family, build = LATENTS[latent](2), NETWORKS[network]
    head = family.posterior_head()
    given = {"condition_shape": (CLASSES,)}
    encoder = build.encoder(SHAPE, head.params_shape, (6,), seed=1, **given)
    decoder = build.decoder(family.decoder_shape, SHAPE, (6,), seed=2, **given)
    classifier = build.encoder(SHAPE, (CLASSES,), (6,), seed=3)
    return SemiSupervisedVAE(
        ConditionalDistribution(encoder, head), decoder, classifier, family, **how
    )


X = binary_images(24)
Y = np.where(np.arange(24) % 2, np.arange(24) % CLASSES, -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("latent", "estimator", "objective", "network"),
    [
        ("normal", "pathwise", "iwae", "conv"),
        ("bernoulli", "vimco", "iwae", "mlp"),
        ("normal", "dreg", "iwae", "mlp"),
        ("bin_concrete", "pathwise", "elbo", "mlp"),
        ("bernoulli", "disarm", "elbo", "mlp"),
    ],
)
def test_it_trains_saves_and_classifies(
    latent, estimator, objective, network, tmp_path
):
    vae = small(latent, network)
    samples = {"disarm": 2}.get(estimator, 3)
    vae.compile(keras.optimizers.Adam(0.01), objective, samples, estimator, seed=4)
    history = vae.fit(X, Y, batch_size=8, epochs=2, verbose=0).history
    assert {"accuracy", "calibration_error", "bound_labelled"} <= history.keys()
    vae.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, SemiSupervisedVAE)
    probabilities = vae.classify(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities, again.classify({"x": X, "label": Y}))
    np.testing.assert_array_equal(
        vae.predict(X, verbose=0), again.predict(X, verbose=0)
    )
    best = vae.reconstruct(Batch(X, probabilities.argmax(axis=1)))
    np.testing.assert_allclose(vae.predict(X, verbose=0), best, rtol=1e-5, atol=1e-6)
    logs = again.evaluate({"x": X, "label": Y}, verbose=0, return_dict=True)
    assert logs == vae.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_array_equal(
        vae.sample(3, 1, condition=2).mean, again.sample(3, 1, condition=2).mean
    )


def test_names_and_none_are_labels_too():
    labels = [None, "b", "c", "a", None, "b"]
    histories = []
    for given in (labels, np.array([-1, 1, 2, 0, -1, 1])):
        vae = small(condition=OneHot(["a", "b", "c"]))
        vae.compile("adam", seed=1, run_eagerly=True)
        if isinstance(given, list):
            given = [-1 if g is None else "abc".index(g) for g in given]
        histories.append(vae.fit(X[:6], given, shuffle=False, verbose=0).history)
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_with_labels_for_all_the_classifier_learns_the_digits():
    data = tfvae.data.load("digits")
    few = partly_labelled(data.train, 50, seed=1)
    shape, given = data.image_shape, {"condition_shape": (10,)}
    vae = SemiSupervisedVAE(
        mlp(shape, (20,), (64,), "relu", seed=1, **given),
        mlp((10,), shape, (64,), "relu", seed=2, **given),
        mlp(shape, (10,), (64,), "relu", seed=3),
        classifier_weight=30.0,
    )
    vae.compile(keras.optimizers.Adam(3e-3), seed=1)
    batches = tfvae.data.training_batches(
        few, 100, binarization="dynamic", seed=0, labels=True
    )
    steps = tfvae.data.steps_per_epoch(few, 100)
    vae.fit(batches, epochs=12, steps_per_epoch=steps, verbose=0)
    x, y = data.test.first(len(data.test))
    right = vae.classify(np.round(x)).argmax(axis=1) == y
    assert right.mean() > 0.7  # ten classes; a guess has 0.1


def test_the_calibration_error_is_that_of_its_bins():
    metric = CalibrationError()
    rng = np.random.default_rng(0)
    confidence, right = rng.uniform(0.2, 1, 500), rng.random(500) < 0.6
    weight = (rng.random(500) < 0.7).astype(float)
    for part in np.split(np.arange(500), 5):
        metric.update_state(confidence[part], right[part], weight[part])
    bins = np.minimum((confidence * 10).astype(int), 9)
    wanted = 0.0
    for number in range(10):
        inside = (bins == number) & (weight > 0)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            wanted += gap * inside.sum() / weight.sum()
    np.testing.assert_allclose(metric.result(), wanted, rtol=1e-5)


# -- few labels ------------------------------------------------------------------------


def test_labels_are_kept_alike_by_class_and_by_seed():
    split = tfvae.data.load("digits").train
    few = partly_labelled(split, 30, seed=2)
    known = few.labels >= 0
    assert known.sum() == 30
    np.testing.assert_array_equal(np.bincount(few.labels[known]), 3)
    np.testing.assert_array_equal(few.labels[known], split.labels[known])
    np.testing.assert_array_equal(few.images, split.images)
    again = partly_labelled(split, 30, seed=2)
    np.testing.assert_array_equal(again.labels, few.labels)
    assert (partly_labelled(split, 30, seed=3).labels != few.labels).any()


def test_images_with_a_label_may_be_repeated():
    split = tfvae.data.load("digits").train
    few, more = (partly_labelled(split, 30, 2, repeats) for repeats in (1, 4))
    assert len(more) == len(split) + 90
    np.testing.assert_array_equal(more.labels[: len(split)], few.labels)
    known = few.images[few.labels >= 0]
    for part in np.split(more.images[len(split) :], 3):
        np.testing.assert_array_equal(part, known)
    with pytest.raises(InputError, match="repeats 0"):
        partly_labelled(split, 30, repeats=0)


def test_an_augmented_classifier_moves_images_in_training_alone():
    network = augmented_classifier((8, 8, 1), 3, seed=1)
    x = tf.constant(binary_images(6, shape=(8, 8, 1)))
    alike = [network(x, training=False).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*alike)
    assert np.abs(network(x, training=True) - alike[0]).max() > 1e-3
    other = augmented_classifier((8, 8, 1), 3, seed=1)
    np.testing.assert_array_equal(other(x, training=False), alike[0])
    with pytest.raises(InputError, match="H, W, C"):
        augmented_classifier((8,), 3)


def test_what_is_no_choice_of_labels_is_refused():
    split = tfvae.data.load("digits").train
    images = np.zeros([4, 2, 2, 1], np.uint8)
    for given, labels, message in (
        (split, 25, "multiple of 10"),
        (split, 5, "multiple of 10"),
        (split, 0, "int >= 1"),
        (split, 100_000, "wants"),
        (ArraySplit("train", images), 2, "no labels"),
        (ArraySplit("train", images, np.full(4, -1)), 2, "0 classes"),
        ("digits", 10, "ArraySplit"),
    ):
        with pytest.raises(InputError, match=message):
            partly_labelled(given, labels)


def test_bad_parts_and_labels_are_refused():
    with pytest.raises(InputError, match="knows 3 classes"):
        small(condition=OneHot(4))
    with pytest.raises(InputError, match="class_probabilities"):
        small(class_probabilities=[0.5, 0.5, 0.5])
    with pytest.raises(InputError, match="classifier_weight"):
        small(classifier_weight=-1)
    vae = small()
    vae.compile("adam")
    for labels, message in (
        (Y + 5, "the label holds"),
        (Y[:5], r"\(5,\) for 24"),
        (Y.astype(float), "dtype float64"),
        (np.full(24, -2), "holds -2"),
    ):
        for call in (
            lambda: vae.fit(X, labels, verbose=0),  # noqa: B023
            lambda: vae.evaluate(X, labels, verbose=0),  # noqa: B023
            lambda: vae.fit({"x": X, "label": labels}, verbose=0),  # noqa: B023
        ):
            with pytest.raises(InputError, match=message):
                call()
    assert int(vae.steps) == 0
