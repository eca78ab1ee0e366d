"""What a Keras user does by habit has its effect, or says why it has none."""

from __future__ import annotations

import time
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import IMAGE_SHAPE, binary_images, tiny_vae

import tfvae
from tfvae.core.types import InputError
from tfvae.evaluation import estimate_log_likelihood
from tfvae.heads import BernoulliHead
from tfvae.latents import NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import mlp
from tfvae.training.running import cost_notes

X = binary_images(8)


def compiled(kind: str = "normal", **settings) -> VAE:
    vae = tiny_vae(kind)
    vae.compile(keras.optimizers.SGD(0.01), **settings)
    return vae


# -- settings after compile ------------------------------------------------------------


def test_an_assigned_kl_weight_is_that_of_the_next_step():
    vae = compiled()
    vae.fit(X, verbose=0)
    vae.kl_weight = 0.25
    assert isinstance(vae.kl_weight, keras.Variable)
    history = vae.fit(X, verbose=0).history
    assert history["kl_weight"] == [0.25]
    expected = history["distortion"][0] + 0.25 * history["rate"][0]
    # One sample: the loss is the weighted sum, to float32's rounding of 3 numbers.
    assert history["loss"][0] == pytest.approx(expected, rel=1e-6)


def test_a_callback_may_set_the_kl_weight():
    vae, seen = compiled(), []

    def grow(epoch: int, logs=None) -> None:
        vae.kl_weight = 0.1 * (epoch + 1)

    steps = keras.callbacks.LambdaCallback(
        on_epoch_begin=grow, on_epoch_end=lambda epoch, logs: seen.append(dict(logs))
    )
    vae.fit(X, epochs=3, verbose=0, callbacks=[steps])
    found = [logs["kl_weight"] for logs in seen]
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3], rtol=1e-6)


def test_assigned_temperatures_are_those_of_the_next_step():
    vae = compiled("bin_concrete")
    vae.fit(X, verbose=0)
    vae.encoder.head.temperature = 0.125
    vae.latent.prior_temperature = 0.25
    assert float(vae.encoder.head.temperature) == 0.125
    assert float(vae.latent.prior_temperature) == 0.25
    before = vae.evaluate(X, verbose=0)
    vae.encoder.head.temperature = 0.9
    assert vae.evaluate(X, verbose=0) != before


@pytest.mark.parametrize("value", [-1.0, np.nan, "0.5", None])
def test_an_assigned_number_is_checked(value):
    vae = compiled()
    with pytest.raises(InputError, match="kl_weight"):
        vae.kl_weight = value
    assert float(vae.kl_weight) == 1.0


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_samples", 50),
        ("objective", "elbo"),
        ("estimator", "stl"),
        ("seed", 3),
        ("binarize", True),
    ],
)
def test_what_compile_was_given_is_not_changed_alone(name, value):
    vae = compiled()
    vae.fit(X, verbose=0)
    setattr(vae, name, value)
    for method in (vae.fit, vae.evaluate):
        with pytest.raises(InputError, match=rf"{name} .*vae\.compile"):
            method(X, verbose=0)
    vae.compile(**{name: value})


def test_a_scheduled_weight_is_not_assigned():
    ramp = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 1.0)
    vae = compiled(kl_weight=ramp)
    with pytest.raises(InputError, match="follows a schedule"):
        vae.kl_weight = 0.5


@pytest.mark.parametrize("name", ["loss", "metrics"])
def test_a_loss_or_metrics_of_keras_are_refused_with_the_way(name):
    with pytest.raises(InputError, match="compute_loss"):
        tiny_vae().compile(**{name: "mse"})


# -- layers that draw ------------------------------------------------------------------

DRAWING = {
    "flip": lambda: keras.layers.RandomFlip("horizontal"),
    "rotation": lambda: keras.layers.RandomRotation(0.2),
    "noise": lambda: keras.layers.GaussianNoise(0.1),
    "dropout": lambda: keras.layers.Dropout(0.3),
}


def with_layer(layer: keras.layers.Layer, decoder: bool = False) -> VAE:
    keras.utils.set_random_seed(0)
    latent = NormalLatent(3)

    def network(shape, outputs, extra):
        inputs = keras.Input(shape)
        x = extra(inputs) if extra is not None else inputs
        x = keras.layers.Dense(outputs[-1])(keras.layers.Flatten()(x))
        return keras.Model(inputs, keras.layers.Reshape(outputs)(x))

    posterior, head = latent.posterior_head(), BernoulliHead((*IMAGE_SHAPE,))
    encoder = network(IMAGE_SHAPE, posterior.params_shape, None if decoder else layer)
    if decoder:
        inputs = keras.Input((3,))
        x = layer(keras.layers.Dense(64)(inputs))
        decoder_network = keras.Model(inputs, keras.layers.Reshape(IMAGE_SHAPE)(x))
    else:
        decoder_network = mlp((3,), IMAGE_SHAPE, ())
    return VAE(
        ConditionalDistribution(encoder, posterior),
        ConditionalDistribution(decoder_network, head),
        latent,
    )


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", DRAWING)
def test_layers_that_draw_repeat_with_the_seed(kind):
    losses = []
    for _ in range(2):
        vae = with_layer(DRAWING[kind]())
        start = [w.copy() for w in vae.get_weights()]
        for index, weight in enumerate(start):  # the same start, whatever was drawn
            start[index] = np.full_like(weight, 0.05) if weight.ndim > 1 else weight
        vae.set_weights(start)
        vae.compile(keras.optimizers.SGD(0.01), seed=5, run_eagerly=True)
        losses.append(vae.fit(X, epochs=2, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == losses[1]


SECOND_PASS = {
    **{kind: DRAWING[kind] for kind in ("noise", "dropout")},
    "spectral": lambda: keras.layers.SpectralNormalization(keras.layers.Dense(64)),
    "batch": keras.layers.BatchNormalization,
}


@pytest.mark.parametrize("kind", SECOND_PASS)
def test_a_layer_that_changes_between_two_passes_is_refused(kind):
    vae = with_layer(SECOND_PASS[kind](), decoder=True)
    with pytest.raises(InputError, match="something else in a second pass"):
        vae.compile(num_samples=4, backward_samples=2)


def test_constants_of_a_layer_may_be_in_two_passes():
    normalized = keras.layers.Normalization(mean=0.0, variance=1.0)
    vae = with_layer(normalized, decoder=True)
    vae.compile(objective="iwae", num_samples=4, backward_samples=2)


def test_a_network_of_keras_2_is_refused():
    old = pytest.importorskip("tf_keras")
    network = old.Sequential([old.layers.Input((3,)), old.layers.Dense(64)])
    with pytest.raises(InputError, match=r"no model of Keras 3.*tf_keras"):
        ConditionalDistribution(network, BernoulliHead((64,)))


# -- classes of one's own --------------------------------------------------------------


class Classifying(VAE):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.classifier = keras.layers.Dense(2)
        self.classifier.build((None, 3))
        self.accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")

    def compute_loss(self, batch, estimate):
        logits = self.classifier(self.latent.point_estimate(estimate.posterior))
        self.accuracy.update_state(batch.label, logits)
        entropy = keras.losses.sparse_categorical_crossentropy(
            batch.label, logits, from_logits=True
        )
        return super().compute_loss(batch, estimate) + tf.reduce_mean(entropy)


@pytest.mark.quick(1)
@pytest.mark.parametrize("eager", [False, True])
def test_a_term_of_ones_own_is_trained_reported_and_in_no_bound(eager):
    plain = tiny_vae()
    vae = Classifying(plain.encoder, plain.decoder, plain.latent)
    vae.compile(keras.optimizers.SGD(0.1), run_eagerly=eager, seed=1)
    y = (X.mean(axis=(1, 2, 3)) > np.median(X.mean(axis=(1, 2, 3)))).astype(np.int64)
    before = vae.evaluate(X, y, verbose=0, return_dict=True)
    kernel = vae.classifier.kernel.numpy()
    logs = vae.fit(X, y, validation_data=(X, y), epochs=3, verbose=0).history
    assert not np.array_equal(kernel, vae.classifier.kernel.numpy())
    assert {"accuracy", "val_accuracy", "loss", "elbo"} <= logs.keys()
    assert 0 <= logs["accuracy"][0] <= 1
    # At first the classifier knows nothing, and its entropy is near log 2.
    assert before["loss"] + before["elbo"] > 0.3


def test_the_added_term_is_the_difference_of_loss_and_negative_objective():
    class Constant(VAE):
        def compute_loss(self, batch, estimate):
            return super().compute_loss(batch, estimate) + 2.5

    plain = tiny_vae()
    vae = Constant(plain.encoder, plain.decoder, plain.latent)
    vae.compile(keras.optimizers.SGD(0.0), objective="elbo", seed=1)
    logs = vae.fit(X, verbose=0, validation_data=(X,)).history
    for prefix in ("", "val_"):
        loss, elbo = logs[f"{prefix}loss"][0], logs[f"{prefix}elbo"][0]
        assert loss + elbo == pytest.approx(2.5, abs=1e-4)  # of float32 around 50


def test_a_step_of_ones_own_reports_its_own_numbers():
    class Own(VAE):
        def train_step(self, data):
            self.mine.update_state(7.0)
            return {"loss": self.mine.result(), "else": tf.constant(3.0)}

    plain = tiny_vae()
    vae = Own(plain.encoder, plain.decoder, plain.latent)
    vae.mine = keras.metrics.Mean("mine")
    vae.compile()
    logs = vae.fit(X, epochs=2, verbose=0).history
    assert logs["loss"] == [7.0, 7.0] and logs["else"] == [3.0, 3.0]


# -- freezing, saving, drawing ---------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("eager", [False, True])
def test_layers_frozen_after_compile_stay_as_they_are(eager):
    vae = compiled(run_eagerly=eager)
    vae.fit(X, verbose=0)
    vae.encoder.trainable = False
    before = [w.copy() for w in vae.encoder.get_weights()]
    decoder = vae.decoder.get_weights()[0].copy()
    vae.fit(X, verbose=0)
    for one, other in zip(before, vae.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(decoder, vae.decoder.get_weights()[0])


def test_a_draw_without_a_seed_is_another_each_time_and_repeats_with_keras_seed():
    vae = tiny_vae()
    assert not np.array_equal(vae.sample(4).z, vae.sample(4).z)
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        drawn.append(vae.sample(4).z)
    np.testing.assert_array_equal(*drawn)
    np.testing.assert_array_equal(vae.sample(4, 0).z, vae.sample(4, seed=0).z)


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5"])
def test_hdf5_is_refused(tmp_path, suffix):
    with pytest.raises(InputError, match=r"ends in \.keras"):
        compiled().save(tmp_path / f"vae{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_clock_before_1980_saves_a_model(tmp_path, monkeypatch):
    early = time.gmtime(1000.0)
    monkeypatch.setattr(time, "localtime", lambda *_: early)
    vae = compiled()
    vae.save(tmp_path / "vae.keras")
    monkeypatch.undo()
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.reconstruct(X), vae.reconstruct(X))


def test_weights_of_another_family_are_refused_in_one_line(tmp_path):
    path = tmp_path / "a.weights.h5"
    tiny_vae("bernoulli").save_weights(path)
    with pytest.raises(InputError, match="does not hold the weights") as caught:
        tiny_vae("normal").load_weights(path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_size_are_left_out_with_a_warning_for_who_asks(tmp_path):
    path, (first, second) = tmp_path / "a.weights.h5", (built(3), built(4))
    for weight in first.weights:
        weight.assign(weight + tf.ones_like(weight))
    first.save_weights(path)
    with pytest.raises(InputError, match="does not hold the weights"):
        second.load_weights(path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        second.load_weights(path, skip_mismatch=True)
    assert any("could not be loaded" in str(warning.message) for warning in said)
    for number in (0, 1):  # hidden layers of the encoder, before the one of z
        one, other = (vae.encoder.network.layers[1:][number] for vae in (first, second))
        for weight, loaded in zip(one.weights, other.weights, strict=True):
            np.testing.assert_array_equal(weight, loaded)


def built(size: int) -> VAE:
    """A model whose layers next to z depend on its size, and others do not."""
    return tfvae.build(IMAGE_SHAPE, latent_size=size, hidden_sizes=(5, 4))


def test_keras_export_serves_reconstructions(tmp_path):
    vae = compiled()
    vae.fit(X, verbose=0)
    vae.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "served")
    served = loaded.serve(X)
    np.testing.assert_allclose(served, vae.reconstruct(X), atol=1e-6)


# -- means and codes -------------------------------------------------------------------

BATCHED = {
    "array": lambda x: x,
    "list": list,
    "pair": lambda x: (x, np.zeros(len(x), np.int64)),
    "dictionary": lambda x: {"x": x, "label": np.zeros(len(x), np.int64)},
    "data set": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(3),
    "batches": lambda x: [x[:3], x[3:]],
}


@pytest.mark.parametrize("kind", BATCHED)
def test_embed_gives_the_code_of_each_example(kind):
    vae = tiny_vae()
    found = vae.embed(BATCHED[kind](X), batch_size=3)
    # another batch size may sum in another order
    np.testing.assert_allclose(found, vae.encode(X).mean(), atol=1e-6)


@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", BATCHED)
def test_scores_take_all_examples_at_once(kind):
    vae = tiny_vae()
    found = estimate_log_likelihood(vae, BATCHED[kind](X), 5)
    assert found.shape == (len(X),)
    if kind not in ("data set", "batches"):  # which are other batches
        np.testing.assert_array_equal(found, estimate_log_likelihood(vae, [X], 5))


def test_encoder_and_decoder_predict_means():
    vae = tiny_vae()
    codes = vae.encoder.predict(X, verbose=0)
    np.testing.assert_allclose(codes, vae.encode(X).mean(), atol=1e-6)
    images = vae.decoder.predict(codes, verbose=0)
    np.testing.assert_allclose(images, vae.reconstruct(X), atol=1e-6)


# -- words -----------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["cat"] * 8, np.array(["cat"] * 8)])
def test_labels_that_are_text_are_refused(labels):
    with pytest.raises(InputError, match="y holds text"):
        compiled().fit(X, labels, verbose=0)


def test_weights_of_pixels_are_refused():
    with pytest.raises(InputError, match=r"one weight an example, \[B\]"):
        compiled(run_eagerly=True).fit(X, sample_weight=np.ones(X.shape), verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
def test_a_data_set_that_knows_no_shape_is_taken():
    spec = tf.TensorSpec(None, tf.float32)
    data = tf.data.Dataset.from_generator(lambda: iter([X, X]), output_signature=spec)
    logs = compiled().fit(data, verbose=0).history
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.parametrize("x", [X[..., 0], X.reshape(8, -1)])
@pytest.mark.parametrize("as_data_set", [False, True])
def test_images_of_another_rank_are_told_their_shape(x, as_data_set):
    given = tf.data.Dataset.from_tensor_slices(x).batch(4) if as_data_set else x
    with pytest.raises(InputError, match=r"images have shape .* takes \[B, 8, 8, 1\]"):
        compiled().fit(given, verbose=0)


def test_a_summary_names_the_parts_with_their_shapes():
    lines: list[str] = []
    compiled("bin_concrete").summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "encoder: x (8, 8, 1) -> (3,)" in text
    assert "latent: z (3,), p(z) = Logistic" in text
    assert "decoder: (3,) -> (8, 8, 1), p(x|z) by BernoulliHead" in text
    assert "training: elbo of 1 by pathwise, 1 evaluation of the decoder" in text
    assert "Total params" in text


def test_a_summary_and_a_run_say_what_a_step_costs():
    lines: list[str] = []
    vae = compiled("bernoulli", num_samples=3, estimator="disarm")
    vae.summary(print_fn=lines.append)
    said = "training: elbo of 3 by disarm, 6 evaluations of the decoder a step"
    assert said in "\n".join(lines)
    said = "a step evaluates the decoder 6 times for each image, with num_samples 3"
    assert cost_notes(vae) == [said]
    assert cost_notes(compiled()) == []
    kept = compiled(objective="iwae", num_samples=5, backward_samples=2)
    assert "7 times" in cost_notes(kept)[0]
