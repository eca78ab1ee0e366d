"""Networks: shapes, seeds, initial outputs, and folding of leading axes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import numpy_mlp

from tfvae.core.types import InputError
from tfvae.networks import NETWORKS, batch_apply, conv_decoder, mlp

SHAPES = [(7, 5, 3), (8, 8, 1), (28, 28, 1), (1, 1, 1), (2, 9, 1)]
NAMES = sorted(NETWORKS)


def kernels_of(network: keras.Model) -> np.ndarray:
    """What is drawn; biases and scales start as constants."""
    return np.concatenate([w.ravel() for w in network.get_weights() if w.ndim > 1])


# -- shapes ----------------------------------------------------------------------------


@pytest.mark.quick(8)
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3, 2)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_networks_put_out_the_shapes_asked_for(name, shape, hidden):
    encoder = NETWORKS[name].encoder(shape, (6,), hidden)
    decoder = NETWORKS[name].decoder((3,), shape, hidden)
    assert (encoder.input_shape[1:], encoder.output_shape[1:]) == (shape, (6,))
    assert (decoder.input_shape[1:], decoder.output_shape[1:]) == ((3,), shape)
    assert encoder(np.zeros([2, *shape])).shape == (2, 6)
    assert decoder(np.zeros([2, 3])).shape == (2, *shape)


def test_an_mlp_is_what_numpy_makes_of_its_weights():
    network = mlp((5,), (3,), (4, 6), dtype="float64", seed=2)
    x = np.random.default_rng(0).normal(size=[7, 5])
    np.testing.assert_allclose(network(x), numpy_mlp(network, x), rtol=1e-12)


def test_an_mlp_can_put_out_an_image_and_read_one():
    network = mlp((2, 3, 1), (3, 2, 2), (4,), dtype="float64")
    x = np.random.default_rng(0).normal(size=[5, 2, 3, 1])
    flat = numpy_mlp(network, x.reshape([5, 6]))
    np.testing.assert_allclose(network(x), flat.reshape([5, 3, 2, 2]), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_input_mean_is_subtracted_before_anything_else(name):
    mean, x = np.random.default_rng(0).normal(size=[2, 4, 6, 2])
    mean = mean.astype(np.float32).astype(float)  # as the layer keeps it
    build = NETWORKS[name].encoder
    plain, centred = (
        build((4, 6, 2), (3,), (5,), dtype="float64", input_mean=m)
        for m in (None, mean)
    )
    centred.set_weights(plain.get_weights())
    np.testing.assert_allclose(centred(x[None]), plain((x - mean)[None]), rtol=1e-12)
    again = keras.Model.from_config(centred.get_config())
    again.set_weights(centred.get_weights())
    np.testing.assert_array_equal(again(x[None]), centred(x[None]))


@pytest.mark.parametrize("shape", [(8, 6, 3), (7, 5, 2)])
def test_a_convolutions_last_stage_is_tensorflows_depth_to_space(shape):
    decoder = conv_decoder((3,), shape, (4, 5), "tanh", dtype="float64")
    x = np.random.default_rng(0).normal(size=[2, 3])
    kernels = [w for w in decoder.get_weights() if w.ndim == 4]
    assert [k.shape for k in kernels] == [(3, 3, 5, 4), (3, 3, 5, 4 * shape[2])]
    (last,) = (la for la in decoder.layers if type(la) is keras.layers.Conv2D)
    small = keras.Model(decoder.inputs[0], last.output)(x)
    wanted = tf.nn.depth_to_space(small, 2)[:, : shape[0], : shape[1]]
    np.testing.assert_array_equal(decoder(x), wanted)


# -- what is in them at the start ------------------------------------------------------


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_a_function_of_the_seed(name, part):
    build = getattr(NETWORKS[name], part)
    sizes = ((8, 8, 1), (6,)) if part == "encoder" else ((6,), (8, 8, 1))
    first, again, other = (
        kernels_of(build(*sizes, (4, 4), seed=seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_layers_of_one_size_begin_differently():
    first, second = mlp((6,), (6,), (6,)).get_weights()[::2]
    assert np.all(first != second)


def test_encoder_and_decoder_begin_differently():
    first = mlp((6,), (6,), (), name="encoder").get_weights()[0]
    second = mlp((6,), (6,), (), name="decoder").get_weights()[0]
    assert np.all(first != second)


@pytest.mark.parametrize("name", NAMES)
def test_an_output_bias_is_what_a_network_puts_out_for_zeros(name):
    bias = np.random.default_rng(0).normal(size=[4, 6, 2])
    decoder = NETWORKS[name].decoder(
        (3,), (4, 6, 2), (4,), dtype="float64", output_bias=bias
    )
    # A convolution has one bias a channel: the mean over height and width.
    wanted = bias
    if name == "conv":
        wanted = np.tile(bias.mean(axis=(0, 1)), [4, 6, 1])
    np.testing.assert_allclose(decoder(np.zeros([1, 3]))[0], wanted, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_used(name):
    decoder = NETWORKS[name].decoder((3,), (5, 5, 1), (4, 4), activation="tanh")
    x = np.random.default_rng(0).normal(size=[4, 3]).astype("float32")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.square(decoder(x) - 1.0))
    for gradient in tape.gradient(total, [v.value for v in decoder.variables]):
        assert np.any(gradient != 0)


@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_dtype_policy_holds_in_every_layer(name, policy):
    decoder = NETWORKS[name].decoder((3,), (5, 5, 1), (4,), dtype=policy)
    found = {layer.dtype_policy.name for layer in decoder.layers[1:]}
    assert found == {policy}
    assert decoder(np.zeros([1, 3])).dtype == policy.removeprefix("mixed_")


# -- folding ---------------------------------------------------------------------------


@pytest.mark.parametrize("leading", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_batch_apply_equals_a_loop(name, leading):
    network = NETWORKS[name].decoder((3,), (5, 4, 2), (4,), dtype="float64")
    inputs = tf.constant(np.random.default_rng(0).normal(size=[*leading, 3]))
    wanted = np.empty([*leading, 5, 4, 2])
    for index in np.ndindex(leading):
        wanted[index] = network(inputs[index][None])[0]
    # Rounding: a larger matrix product may be summed in another order.
    np.testing.assert_allclose(batch_apply(network, inputs), wanted, atol=1e-13)


def test_batch_apply_works_where_sizes_are_known_only_when_run():
    network = mlp((4,), (3,), (5,), dtype="float64")
    inputs = tf.constant(np.random.default_rng(0).normal(size=[2, 3, 4]))
    for sizes in ([None, None, 4], [None, 3, 4], [2, None, 4]):
        traced = tf.function(
            lambda x: batch_apply(network, x),
            input_signature=[tf.TensorSpec(sizes, tf.float64)],
        )
        found = traced(inputs)
        np.testing.assert_allclose(found, batch_apply(network, inputs), atol=1e-13)
        assert traced.get_concrete_function().output_shapes[-1] == 3


def test_batch_apply_takes_arrays_as_keras_does():
    network = mlp((4,), (3,), (5,))
    for ones in (np.ones([2, 4], "float32"), np.ones([2, 3, 4], "float32")):
        wanted = batch_apply(network, tf.constant(ones))
        np.testing.assert_array_equal(batch_apply(network, ones), wanted)


def test_batch_apply_hands_on_whether_it_is_training():
    network = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5, seed=0)])
    ones = tf.ones([2, 3, 50])
    assert np.all(batch_apply(network, ones, training=False) == 1)
    assert np.any(batch_apply(network, ones, training=True) == 0)


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 3, 5)])
def test_batch_apply_refuses_other_shapes_than_the_networks(shape):
    with pytest.raises(InputError, match=r"\[\.\.\., 4"):
        batch_apply(mlp((4,), (3,), ()), tf.zeros(shape))


@pytest.mark.parametrize("shape", [(4,), (4, 4), (4, 4, 1, 1)])
def test_convolutions_refuse_what_is_no_image(shape):
    with pytest.raises(InputError, match="mlp"):
        conv_decoder((3,), shape, (4,))
    with pytest.raises(InputError, match="mlp"):
        NETWORKS["conv"].encoder(shape, (3,), (4,))
