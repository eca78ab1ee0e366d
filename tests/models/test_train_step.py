"""What `fit` does and what it logs, against the same numbers made by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import (
    FLOAT64,
    IMAGE_SHAPE,
    WRITTEN_OUT,
    binary_images,
    compiled,
    tiny_vae,
    train_terms,
)

from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.models import VAE, ConditionalDistribution
from tfvae.objectives import OBJECTIVES, Elbo

NAMES = ["loss", "elbo", "distortion", "rate", "ess"]


def values_of(vae: VAE) -> list[np.ndarray]:
    return [v.numpy() for v in vae.trainable_variables]


def hand_gradient(vae: VAE, x, weights=None, kl_weight=1.0, penalty=None):
    """d/dtheta of sum_b weight_b (-bound_b) / B + penalty, by autodiff of the value."""
    weights = np.ones(len(x)) if weights is None else weights
    slopes = []
    for part, objective in (
        (vae.encoder, vae.objective.encoder_objective),
        (vae.decoder, vae.objective),
    ):
        with tf.GradientTape() as tape:
            log_weights = train_terms(vae, x).loss_log_weights(kl_weight)
            loss = -tf.reduce_sum(weights * objective.value(log_weights)) / len(x)
            if penalty is not None:
                loss += penalty()
        variables = [v.value for v in part.trainable_variables]
        slopes += tape.gradient(loss, variables, unconnected_gradients="zero")
    assert len(slopes) == len(vae.trainable_variables)
    return slopes


def assert_step_is_minus(gradient, before, vae) -> None:
    # Rounding in float64 of numbers below 100.
    for slope, old, new in zip(gradient, before, values_of(vae), strict=True):
        np.testing.assert_allclose(old - new, slope, rtol=0, atol=1e-12)


def with_encoder_layers(vae: VAE, *layers: keras.layers.Layer) -> VAE:
    """The VAE with layers in front of its encoder's network."""
    inputs = x = keras.Input(vae.image_shape, dtype=vae.compute_dtype)
    for layer in layers:
        x = layer(x)
    network = keras.Model(inputs, vae.encoder.network(x))
    encoder = ConditionalDistribution(network, vae.encoder.head)
    return VAE(encoder, vae.decoder, vae.latent)


# -- the step --------------------------------------------------------------------------


@pytest.mark.quick(4)
@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
@pytest.mark.parametrize("latent", WRITTEN_OUT)
def test_a_step_follows_the_gradient_of_the_mean_bound(latent, objective):
    vae = compiled(tiny_vae(latent, **FLOAT64), objective=objective)
    x = binary_images(4)
    gradient, before = hand_gradient(vae, x), values_of(vae)
    vae.train_on_batch(x)
    assert_step_is_minus(gradient, before, vae)


@pytest.mark.parametrize("shape", [[4], [4, 1]])
def test_sample_weights_weigh_the_gradient(shape):
    vae, x = compiled(), binary_images(4)
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    gradient, before = hand_gradient(vae, x, weights), values_of(vae)
    logs = vae.train_on_batch(x, sample_weight=weights.reshape(shape), return_dict=True)
    assert_step_is_minus(gradient, before, vae)
    assert np.all(np.isfinite(list(logs.values())))


@pytest.mark.parametrize("shape", [[4], [4, 1]])
def test_sample_weights_weigh_what_is_logged(shape):
    vae, x = compiled(rate=0.0), binary_images(4)
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    terms = train_terms(vae, x)
    bound = vae.objective.value(terms.log_weights()).numpy()
    rate = terms.rate.numpy().mean(axis=0)
    given = weights.reshape(shape)
    logs = vae.train_on_batch(x, sample_weight=given, return_dict=True)
    # Keras divides the loss by the batch size and a metric by the weights' sum.
    np.testing.assert_allclose(logs["loss"], -np.sum(weights * bound) / 4, 1e-6)
    np.testing.assert_allclose(logs["rate"], np.average(rate, weights=weights), 1e-6)


@pytest.mark.slow
def test_fit_and_evaluate_use_sample_weights_without_targets():
    # The decoder thinks that most pixels are 1, and the images of weight 1 are black.
    x = np.repeat(np.float32([0, 0, 1, 1]), 64).reshape(4, *IMAGE_SHAPE)
    weights = np.array([1.0, 1, 0, 0])
    logs = []
    for images, given in ((x, weights), (x[:2], None)):
        vae = compiled(rate=0.0, num_samples=500)
        vae.decoder.network.weights[-1].assign(np.full(64, 2.0))
        history = vae.fit(images, sample_weight=given, verbose=0).history
        scores = vae.evaluate(images, sample_weight=given, verbose=0, return_dict=True)
        logs.append((history["distortion"][0], scores["distortion"]))
    # The draws differ: 1,000 of spread below 10.
    np.testing.assert_allclose(logs[0], logs[1], rtol=0, atol=5 * 10 / np.sqrt(1000))
    assert logs[0][0] > vae.evaluate(x, verbose=0, return_dict=True)["distortion"] + 20


@pytest.mark.parametrize("weights", [np.ones(3), np.ones([4, 2])])
def test_sample_weights_of_another_size_are_refused(weights):
    vae = compiled()
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        vae.train_on_batch(binary_images(4), sample_weight=weights)


@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", ["array", "dict", "dataset", "validation", "evaluate"])
def test_grey_values_are_refused_wherever_they_come_from(kind):
    grey = np.full([4, *IMAGE_SHAPE], 0.5, "float32")
    vae = compiled(run_eagerly=False)
    with pytest.raises(InputError, match="binarise"):
        if kind == "array":
            vae.fit(grey, verbose=0)
        elif kind == "dict":
            vae.fit({"image": grey}, verbose=0)
        elif kind == "dataset":
            vae.fit(tf.data.Dataset.from_tensor_slices(grey).batch(2), verbose=0)
        elif kind == "validation":
            vae.fit(binary_images(4), validation_data=(grey, None), verbose=0)
        else:
            vae.evaluate(tf.data.Dataset.from_tensors(grey), verbose=0)


def test_a_kl_weight_that_is_not_one_is_reported():
    logs = compiled(kl_weight=4.0).train_on_batch(binary_images(4), return_dict=True)
    assert logs["kl_weight"] == 4
    assert "kl_weight" not in compiled().train_on_batch(
        binary_images(4), return_dict=True
    )


def test_an_image_of_weight_zero_has_no_influence():
    x = binary_images(4)
    other = np.concatenate([x[:3], 1 - x[3:]])
    trained = []
    for images in (x, other):
        vae = compiled()
        vae.train_on_batch(images, sample_weight=np.array([1.0, 1, 1, 0]))
        trained.append(values_of(vae))
    for one, two in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_kl_weight_weighs_the_rate_in_the_gradient():
    vae, x = compiled(kl_weight=0.25), binary_images(4)
    gradient, before = hand_gradient(vae, x, kl_weight=0.25), values_of(vae)
    vae.train_on_batch(x)
    assert_step_is_minus(gradient, before, vae)


def test_regularisation_enters_loss_and_gradient():
    vae = tiny_vae(**FLOAT64)
    factor = 2.0**-7  # Keras rounds it to float32
    layers = [vae.encoder.network.layers[-1], vae.decoder.network.layers[1]]
    for layer in layers:
        layer.kernel.regularizer = keras.regularizers.L2(factor)
    vae, x = compiled(vae), binary_images(4)

    def penalty() -> tf.Tensor:
        kernels = [layer.kernel.value for layer in layers]
        return factor * tf.add_n([tf.reduce_sum(k**2) for k in kernels])

    assert penalty() > 0.01
    bound = vae.objective.value(train_terms(vae, x).log_weights())
    loss = penalty() - tf.reduce_mean(bound)
    gradient, before = hand_gradient(vae, x, penalty=penalty), values_of(vae)
    logs = vae.train_on_batch(x, return_dict=True)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-6)
    assert_step_is_minus(gradient, before, vae)


def test_an_activity_penalty_counts_once_in_every_step_and_in_evaluation():
    # In float32: Keras 3.12 has no activity penalty in float64.
    vae = tiny_vae()
    plain = compiled(with_encoder_layers(vae), 0.0)
    layer = keras.layers.Activation(
        "linear", activity_regularizer=keras.regularizers.L1(0.5)
    )
    penalised = compiled(with_encoder_layers(vae, layer), 0.0)
    x = binary_images(4)
    # Keras 3.13 and later divide it by the batch size, 3.12 does not.
    layer(x)
    (wanted,) = layer.losses
    for run in ("train_on_batch", "train_on_batch", "test_on_batch", "test_on_batch"):
        for model in (plain, penalised):
            model.reset_metrics()
        losses = [
            getattr(m, run)(x, return_dict=True)["loss"] for m in (plain, penalised)
        ]
        np.testing.assert_allclose(losses[1] - losses[0], wanted, rtol=1e-5)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_part_that_is_not_trainable_stays_as_it_is(part):
    vae = tiny_vae(**FLOAT64)
    frozen = getattr(vae, part)
    frozen.trainable = False
    before = {"frozen": frozen.get_weights(), "all": vae.get_weights()}
    compiled(vae).train_on_batch(binary_images(4))
    for old, new in zip(before["frozen"], frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    pairs = zip(before["all"], vae.get_weights(), strict=True)
    assert any(np.any(old != new) for old, new in pairs)


def test_a_model_without_trainable_weights_warns_as_keras_does():
    vae = tiny_vae(**FLOAT64)
    vae.trainable = False
    with pytest.warns(UserWarning, match="trainable"):
        compiled(vae).train_on_batch(binary_images(4))


# -- what comes in ---------------------------------------------------------------------


@pytest.mark.slow
def test_every_form_of_batch_trains_the_same():
    x, y, w = binary_images(6), np.arange(6), np.ones(6)
    slices = tf.data.Dataset.from_tensor_slices
    forms = {
        "x": (x,),
        "x y": (x, y),
        "x y w": (x, y, w),
        "dictionary": ({"image": x, "label": y},),
        "tensor": (tf.constant(x),),
        "data x": (slices(x).batch(4),),
        "data x y": (slices((x, y)).batch(4),),
        "data x y w": (slices((x, y, w)).batch(4),),
        "data dictionary": (slices({"image": x, "label": y}).batch(4),),
    }
    trained = {}
    for form, given in forms.items():
        vae = compiled(rate=0.1)
        batch_size = None if form.startswith("data") else 4
        keys = ("x", "y", "sample_weight")
        data = dict(zip(keys, given, strict=False))
        vae.fit(**data, batch_size=batch_size, shuffle=False, verbose=0)
        trained[form] = np.concatenate([v.ravel() for v in values_of(vae)])
    for form, found in trained.items():
        np.testing.assert_array_equal(found, trained["x"], err_msg=form)


@pytest.mark.quick(1)
@pytest.mark.parametrize("eager", [True, False])
def test_an_epochs_logs_are_means_over_images_with_a_partial_batch(eager):
    x = binary_images(250)
    vae = compiled(rate=0.0, run_eagerly=eager, jit_compile=False)
    logs = vae.fit(x, batch_size=100, shuffle=False, verbose=0).history
    each = [train_terms(vae, x[100 * i : 100 * i + 100], i) for i in range(3)]
    log_weights = np.concatenate([t.log_weights() for t in each], axis=1)
    likelihood = np.concatenate([t.log_likelihood for t in each], axis=1)
    rate = np.concatenate([t.rate for t in each], axis=1)
    weights = np.exp(log_weights - log_weights.max(axis=0))
    wanted = {
        "loss": -np.log(np.exp(log_weights).mean(axis=0)).mean(),
        "elbo": log_weights.mean(),
        "distortion": -likelihood.mean(),
        "rate": rate.mean(),
        "ess": (weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)).mean(),
    }
    assert set(logs) == set(NAMES)
    for name, value in wanted.items():
        # Keras' metrics are float32 sums over 250 images.
        np.testing.assert_allclose(logs[name][0], value, rtol=1e-5, err_msg=name)


# -- what is logged --------------------------------------------------------------------


@pytest.mark.quick(3)
@pytest.mark.parametrize("objective", [*sorted(OBJECTIVES), Elbo(analytic_kl=True)])
@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_loss_is_the_negative_objective_and_elbo_minus_distortion_minus_rate(
    objective, kl_weight
):
    vae, x = compiled(objective=objective, kl_weight=kl_weight), binary_images(4)
    terms = train_terms(vae, x)
    if vae.objective.analytic_kl:
        kl = vae.encode(x).kl_divergence(vae.latent.prior())
        terms = terms._replace(analytic_rate=kl)
    loss = -tf.reduce_mean(vae.objective.value(terms.loss_log_weights(kl_weight)))
    elbo = tf.reduce_mean(terms.log_weights())
    logs = vae.train_on_batch(x, return_dict=True)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(logs["elbo"], elbo, rtol=1e-6)
    np.testing.assert_allclose(logs["elbo"], -logs["distortion"] - logs["rate"], 1e-6)
    if kl_weight == 1 and isinstance(vae.objective, Elbo):
        np.testing.assert_allclose(logs["loss"], -logs["elbo"], rtol=1e-6)


def test_validation_is_at_kl_weight_one():
    x = binary_images(6)
    vae = compiled(rate=0.0, kl_weight=0.2)
    logs = vae.fit(x, validation_data=(x, None), batch_size=4, verbose=0).history
    seeds = [derive_seed(vae.seed, "test", seen) for seen in (0, 4)]
    bounds = [
        vae.objective.value(vae.log_weight_terms(part, 4, seed).log_weights())
        for part, seed in zip((x[:4], x[4:]), seeds, strict=True)
    ]
    wanted = -np.concatenate(bounds).mean()
    np.testing.assert_allclose(logs["val_loss"][0], wanted, rtol=1e-6)
    scored = vae.evaluate(x, batch_size=4, verbose=0, return_dict=True)
    for name, value in scored.items():
        np.testing.assert_allclose(logs[f"val_{name}"][0], value, rtol=1e-6)


@pytest.mark.slow
def test_several_steps_in_one_execution_train_as_single_steps_do():
    x, trained = binary_images(16), []
    for stride in (1, 4):
        vae = tiny_vae(**FLOAT64)
        how = {"steps_per_execution": stride, "jit_compile": False}
        vae.compile(keras.optimizers.SGD(0.1), "iwae", 2, **how)
        vae.fit(x, batch_size=2, shuffle=False, verbose=0)
        trained.append(values_of(vae))
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.quick(1)
@pytest.mark.parametrize("samples", [1, 3])
def test_categorical_draws_train_from_a_data_set_of_unknown_batch_size(samples):
    x = tf.data.Dataset.from_tensor_slices(binary_images(20)).batch(10)
    vae = tiny_vae("categorical")
    vae.compile("adam", "iwae", samples, "reinforce")
    assert np.isfinite(vae.fit(x, verbose=0).history["loss"][0])
