"""Keras networks from tensor to tensor, built when they are made.

Every initial weight is a function of the seed. Any other Keras model with one output
serves as well; its second input, if it has one, is the features of the condition.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_int, derive_seed
from tfvae.core.sharding import replica_seed
from tfvae.core.types import InputError

Shape = tuple[int, ...]
Activation = str | Callable[[tf.Tensor], tf.Tensor]
NetworkBuilder = Callable[..., keras.Model]


class Architecture(NamedTuple):
    """The builders of a VAE's two networks.

    Both are called as `build(input_shape, output_shape, hidden_sizes, activation,
    seed=..., dtype=..., output_bias=..., name=...)`; `hidden_sizes` run from the input
    to the output of each. For a conditional model there is `condition_shape=...` too,
    and for an encoder whose inputs are centred `input_mean=...`.
    """

    encoder: NetworkBuilder
    decoder: NetworkBuilder


def mlp(
    input_shape: Shape,
    output_shape: Shape,
    hidden_sizes: Sequence[int],
    activation: Activation = "tanh",
    *,
    seed: int = 0,
    dtype: str | None = None,
    output_bias: np.ndarray | None = None,
    name: str | None = None,
    condition_shape: Shape | None = None,
    input_mean: np.ndarray | None = None,
) -> keras.Model:
    """Builds a multi-layer perceptron, Glorot-initialised.

    Args:
        input_shape: The shape of one example.
        output_shape: The shape of one example's output.
        hidden_sizes: The units of the hidden layers.
        activation: A Keras activation, for the hidden layers.
        seed: The seed of the initial weights.
        dtype: A Keras dtype policy, for example "mixed_bfloat16".
        output_bias: [*output_shape] The initial bias of the output, else zeros.
        name: The name of the model; its layers' names begin with it.
        condition_shape: The shape of a condition's features (`condition.shape`), which
            are a second input, and go in beside the first; None: there is none.
        input_mean: [*input_shape] What is subtracted from each example; None: nothing.
    """
    make = _LayerMaker(name or "mlp", seed, dtype)
    inputs, c = make.inputs(input_shape, condition_shape)
    x = make.beside(make.flat(make.centred(inputs[0], input_mean)), c)
    for units in hidden_sizes:
        x = make.weighted(keras.layers.Dense, units, activation=activation)(x)
    return make.model(inputs, make.output(x, output_shape, output_bias), name)


def conv_encoder(
    input_shape: Shape,
    output_shape: Shape,
    hidden_sizes: Sequence[int],
    activation: Activation = "relu",
    *,
    seed: int = 0,
    dtype: str | None = None,
    output_bias: np.ndarray | None = None,
    name: str | None = None,
    condition_shape: Shape | None = None,
    input_mean: np.ndarray | None = None,
) -> keras.Model:
    """Builds 3 x 3 convolutions of stride 2, then a dense layer.

    The arguments are those of `mlp`, but `input_shape` is (H, W, C), and `hidden_sizes`
    are the filters of the convolutions, each of which halves height and width. The
    features of a condition are more channels: those of an image of the same height and
    width its own, others one each, the same everywhere.
    """
    _require_image(input_shape, "the input of the encoder")
    make = _LayerMaker(name or "conv_encoder", seed, dtype)
    inputs, c = make.inputs(input_shape, condition_shape)
    x = make.centred(inputs[0], input_mean)
    x = x if c is None else make.as_channels(x, c)
    for filters in hidden_sizes:
        x = make.strided(keras.layers.Conv2D, filters, activation)(x)
    x = make.flat(x)
    return make.model(inputs, make.output(x, output_shape, output_bias), name)


def conv_decoder(
    input_shape: Shape,
    output_shape: Shape,
    hidden_sizes: Sequence[int],
    activation: Activation = "relu",
    *,
    seed: int = 0,
    dtype: str | None = None,
    output_bias: np.ndarray | None = None,
    name: str | None = None,
    condition_shape: Shape | None = None,
) -> keras.Model:
    """Builds the mirror of `conv_encoder`: a dense layer, then 3 x 3 convolutions.

    Each stage doubles height and width, cropped where the image's size is odd: all but
    the last are transposed convolutions of stride 2. The last is a sub-pixel
    convolution, from "Real-Time Single Image and Video Super-Resolution Using an
    Efficient Sub-Pixel Convolutional Neural Network" (Shi et al., 2016): it works at
    half the size, with four channels for each of the output's, one for each place in a
    square of 2 x 2 pixels. At full size, two convolutions cost several times as much.

    The arguments are those of `mlp`, but `output_shape` is (H, W, C), `hidden_sizes`
    are the filters of each stage's input, and the mean of `output_bias` over H and W is
    the initial bias. The features of a condition go in beside z, and scale and shift
    each stage's feature maps: "FiLM: Visual Reasoning with a General Conditioning
    Layer" (Perez et al., 2018).
    """
    _require_image(output_shape, "the output of the decoder")
    make = _LayerMaker(name or "conv_decoder", seed, dtype)
    height, width, channels = output_shape
    stages = len(hidden_sizes)
    sizes = [(_halved(height, i), _halved(width, i)) for i in range(stages + 1)]
    inputs, c = make.inputs(input_shape, condition_shape)
    x = make.beside(make.flat(inputs[0]), c)
    if not stages:
        return make.model(inputs, make.output(x, output_shape, output_bias), name)
    start = (*sizes[-1], hidden_sizes[0])
    x = make.weighted(keras.layers.Dense, math.prod(start), activation=activation)(x)
    x = make(keras.layers.Reshape, start)(x)
    for filters, size in zip(hidden_sizes[1:], sizes[-2:0:-1], strict=True):
        x = make.strided(keras.layers.Conv2DTranspose, filters, activation)(x)
        x = make.modulated(make.cropped(x, size), c)
    x = make.doubled(x, channels, output_bias)
    return make.model(inputs, make.cropped(x, (height, width)), name)


def augmented_classifier(
    input_shape: Shape,
    num_classes: int,
    *,
    seed: int = 0,
    dtype: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a convolutional classifier that sees each image moved a little.

    In training, and not in evaluation, an image is turned by up to 18 degrees, shifted
    by up to 10 % and scaled by up to 12 %, with zeros beyond its edges, and half of the
    units after the convolutions are left out (dropout): for few labels.

    Args:
        input_shape: (H, W, C).
        num_classes: The number of logits.
        seed: The seed of the initial weights.
        dtype: A Keras dtype policy.
        name: The name of the model; its layers' names begin with it.

    Raises:
        InputError: if the input is no image.
    """
    _require_image(input_shape, "a classifier's input")
    make = _LayerMaker(name or "classifier", seed, dtype)
    image = make.input(input_shape)
    options = {"fill_mode": "constant", "data_format": "channels_last"}
    x = make(keras.layers.RandomRotation, 0.05, seed=seed, **options)(image)
    x = make(keras.layers.RandomTranslation, 0.1, 0.1, seed=seed, **options)(x)
    x = make(keras.layers.RandomZoom, 0.12, 0.12, seed=seed, **options)(x)
    for filters in (32, 64):
        convolution = {"data_format": "channels_last", "activation": "relu"}
        x = make.weighted(keras.layers.Conv2D, filters, 5, 2, "same", **convolution)(x)
    x = make(keras.layers.Dropout, 0.5, seed=seed)(make.flat(x))
    x = make.weighted(keras.layers.Dense, 128, activation="relu")(x)
    x = make(keras.layers.Dropout, 0.5, seed=seed)(x)
    return make.model([image], make.output(x, (num_classes,), None), name)


__all__ = [
    "NETWORKS",
    "Architecture",
    "augmented_classifier",
    "batch_apply",
    "conv_decoder",
    "conv_encoder",
    "input_shapes",
    "leading_axes",
    "mlp",
    "seed_layers",
]
__dir__ = __all__.copy  # what completion shows

NETWORKS: Mapping[str, Architecture] = {
    "mlp": Architecture(mlp, mlp),
    "conv": Architecture(conv_encoder, conv_decoder),
}


def input_shapes(network: keras.Model) -> list[Shape]:
    """Returns the shapes of one example of each of a network's inputs."""
    return [tuple(each.shape[1:]) for each in network.inputs]


def batch_apply(
    network: keras.Model,
    inputs: tf.Tensor,
    training: bool | None = None,
    condition: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns [..., *output_shape] of a network for inputs [..., *input_shape].

    This is the one place where leading axes (samples, batch) are folded. There is at
    least one.

    Args:
        network: A network of one input, or of two.
        inputs: The first.
        training: Whether layers are called as in training.
        condition: The second, the features of a condition. Its leading axes are the
            last of the inputs' own, or none: it is the same for the others.

    Raises:
        InputError: if the inputs do not end in the network's input shape, or there is
            another number of them.
    """
    leading = leading_axes(network, inputs)
    if condition is not None or len(network.inputs) > 1:
        check_features(network, inputs, condition)
    inputs = tf.convert_to_tensor(inputs)
    dynamic = tf.shape(inputs)
    sizes = [dynamic[i] if n is None else n for i, n in enumerate(inputs.shape)]
    if condition is not None:
        shape = input_shapes(network)[1]
        condition = tf.broadcast_to(condition, [*sizes[:leading], *shape])
        if leading > 1:
            condition = tf.reshape(condition, [-1, *shape])
    if leading == 1:
        both = inputs if condition is None else [inputs, condition]
        return network(both, training=training)
    rows = tf.reshape(inputs, [-1, *sizes[leading:]])
    both = rows if condition is None else [rows, condition]
    outputs = network(both, training=training)
    return tf.reshape(outputs, [*sizes[:leading], *outputs.shape[1:]])


def check_features(
    network: keras.Model, inputs: tf.Tensor, condition: tf.Tensor | None
) -> None:
    """Refuses features of a condition that do not go with a network and its inputs.

    Raises:
        InputError: if there is another number of inputs, or the features have another
            shape.
    """
    if (condition is None) == (len(network.inputs) > 1):
        given = "no condition" if condition is None else "a condition"
        raise InputError(
            f"network {network.name!r} has {len(network.inputs)} inputs and was given "
            f"{given}; give the features of a condition to a network of two inputs, "
            "and none to one of one"
        )
    if condition is None:
        return
    leading, shape = leading_axes(network, inputs), input_shapes(network)[1]
    given = tf.TensorShape(getattr(condition, "shape", None) or np.shape(condition))
    static = tf.TensorShape(getattr(inputs, "shape", None) or np.shape(inputs))
    number = len(given) - len(shape)
    fits = 0 <= number <= leading and all(
        here == 1 or here is None or there is None or here == there
        for here, there in zip(
            given[:number][::-1], static[:leading][::-1], strict=False
        )
    )
    if not fits or not given[number:].is_compatible_with(shape):
        raise InputError(
            f"a condition's features have shape {tuple(given)}, for inputs of "
            f"{static[:leading].as_list()} examples and a network that takes {shape}; "
            "give one for each example, or one for all"
        )


def leading_axes(network: keras.Model, inputs: tf.Tensor) -> int:
    """Returns the number of the inputs' axes before the network's own.

    Raises:
        InputError: if the inputs do not end in the network's input shape.
    """
    event_shape = tuple(network.inputs[0].shape[1:])
    shape = tf.TensorShape(getattr(inputs, "shape", None) or np.shape(inputs))
    leading = len(shape) - len(event_shape)
    if leading < 1 or not shape[leading:].is_compatible_with(event_shape):
        raise InputError(
            f"network {network.name!r} was given inputs of shape {tuple(shape)} and "
            f"takes [..., {str(event_shape)[1:-1]}] with at least one leading axis; "
            "change the inputs or the network"
        )
    return leading


class _LayerMaker:
    """A maker of one network's layers, each with a name and a seed of its own."""

    def __init__(self, prefix: str, seed: int, dtype: str | None) -> None:
        self.prefix, self.seed, self.dtype, self.count = prefix, seed, dtype, 0

    def __call__(self, layer: type, *args, **kwargs) -> keras.layers.Layer:
        self.count += 1
        name = f"{self.prefix}_{self.count}"
        return layer(*args, name=name, dtype=self.dtype, **kwargs)

    def input(self, shape: Shape) -> keras.KerasTensor:
        """Returns the input, of the float type of the policy's variables."""
        policy = keras.DTypePolicy(self.dtype or keras.config.floatx())
        return keras.Input(shape, dtype=policy.variable_dtype)

    def inputs(
        self, shape: Shape, condition_shape: Shape | None
    ) -> tuple[list[keras.KerasTensor], keras.KerasTensor | None]:
        """Returns the inputs, and the second of them if there is one."""
        x = self.input(shape)
        if condition_shape is None:
            return [x], None
        sizes = isinstance(condition_shape, (tuple, list)) and condition_shape
        if not sizes or not all(isinstance(n, int) and n > 0 for n in condition_shape):
            raise InputError(
                f"condition_shape {condition_shape!r:.60} is not usable; give that of "
                "a condition's features, condition.shape"
            )
        c = self.input(condition_shape)
        return [x, c], c

    def model(
        self,
        inputs: Sequence[keras.KerasTensor],
        output: keras.KerasTensor,
        name: str | None,
    ) -> keras.Model:
        """Returns the network."""
        given = inputs if len(inputs) > 1 else inputs[0]
        return keras.Model(given, output, name=name)

    def centred(
        self, x: keras.KerasTensor, mean: np.ndarray | None
    ) -> keras.KerasTensor:
        """Subtracts a mean from every example."""
        if mean is None:
            return x
        return self(keras.layers.Rescaling, 1.0, offset=(-mean).tolist())(x)

    def beside(
        self, x: keras.KerasTensor, c: keras.KerasTensor | None
    ) -> keras.KerasTensor:
        """Puts a condition beside a vector."""
        return x if c is None else self(keras.layers.Concatenate)([x, self.flat(c)])

    def as_channels(
        self, x: keras.KerasTensor, c: keras.KerasTensor
    ) -> keras.KerasTensor:
        """Gives an image the channels of a condition."""
        if len(c.shape) != 4 or c.shape[1:3] != x.shape[1:3]:
            height, width = x.shape[1:3]
            c = self.flat(c)
            channels = c.shape[-1]
            c = self(keras.layers.RepeatVector, height * width)(c)
            c = self(keras.layers.Reshape, (height, width, channels))(c)
        return self(keras.layers.Concatenate)([x, c])

    def modulated(
        self, x: keras.KerasTensor, c: keras.KerasTensor | None
    ) -> keras.KerasTensor:
        """Scales and shifts feature maps [H, W, F] by a condition; none at the start.

        x + x scale(c) + shift(c), both linear in c, and 0 at the start.
        """
        if c is None:
            return x
        c, filters = self.flat(c), x.shape[-1]
        changes = []
        for _ in range(2):
            made = self(keras.layers.Dense, filters, kernel_initializer="zeros")(c)
            changes.append(self(keras.layers.Reshape, (1, 1, filters))(made))
        scaled = self(keras.layers.Multiply)([x, changes[0]])
        return self(keras.layers.Add)([x, scaled, changes[1]])

    def flat(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Makes a vector of what has more axes."""
        if len(x.shape) == 2:
            return x
        return self(keras.layers.Flatten, data_format="channels_last")(x)

    def weighted(self, layer: type, *args, **kwargs) -> keras.layers.Layer:
        seed = derive_int(self.seed, f"{self.prefix}/{self.count}")
        glorot = keras.initializers.GlorotUniform(seed)
        return self(layer, *args, kernel_initializer=glorot, **kwargs)

    def strided(
        self, layer: type, filters: int, activation: Activation
    ) -> keras.layers.Layer:
        """Returns a 3 x 3 convolution, or transposed one, of stride 2."""
        options = {"data_format": "channels_last", "activation": activation}
        return self.weighted(layer, filters, 3, 2, "same", **options)

    def doubled(
        self, x: keras.KerasTensor, channels: int, bias: np.ndarray | None
    ) -> keras.KerasTensor:
        """Doubles height and width with a sub-pixel convolution."""
        rows, columns = x.shape[1:3]
        convolution = self.weighted(
            keras.layers.Conv2D, 4 * channels, 3, 1, "same", data_format="channels_last"
        )
        x = convolution(x)
        if bias is not None:
            convolution.bias.assign(np.tile(np.mean(bias, axis=(0, 1)), 4))
        x = self(keras.layers.Reshape, (rows, columns, 2, 2, channels))(x)
        x = self(keras.layers.Permute, (1, 3, 2, 4, 5))(x)
        return self(keras.layers.Reshape, (2 * rows, 2 * columns, channels))(x)

    def cropped(self, x: keras.KerasTensor, size: Shape) -> keras.KerasTensor:
        """Cuts the rows and columns of an image beyond a size."""
        crop = ((0, x.shape[1] - size[0]), (0, x.shape[2] - size[1]))
        if crop == ((0, 0), (0, 0)):
            return x
        return self(keras.layers.Cropping2D, crop, data_format="channels_last")(x)

    def output(
        self, x: keras.KerasTensor, shape: Shape, bias: np.ndarray | None
    ) -> keras.KerasTensor:
        """Ends a network with a dense layer, from an initial bias if one is given."""
        dense = self.weighted(keras.layers.Dense, math.prod(shape))
        x = dense(x)
        if bias is not None:
            dense.bias.assign(np.reshape(bias, [-1]))
        return self(keras.layers.Reshape, shape)(x) if len(shape) > 1 else x


def _halved(size: int, times: int) -> int:
    return -(-size // 2**times)


def _require_image(shape: Shape, what: str) -> None:
    if len(shape) != 3:
        raise InputError(
            f"network 'conv' was given shape {tuple(shape)} for {what} and needs "
            "(H, W, C); use network 'mlp' for other shapes"
        )


def seed_layers(model: keras.Model, seed: tf.Tensor) -> None:
    """Makes the draws of layers (dropout) a function of the step's seed, as z is.

    Each replica has draws of its own.
    """
    for index, layer in enumerate(model._flatten_layers()):
        # Augmentation calls it otherwise than dropout, so no name is asked for.
        for number, generator in enumerate(layer._seed_generators):
            name = "layer" if not number else f"layer, generator {number}"
            state = derive_seed(replica_seed(seed), name, index)
            generator.state.assign(tf.cast(state, generator.state.dtype))
