"""The matrix products of a training step and of an evaluation, counted and run alone.

A layer's products are its forward pass, the gradient to its input and the gradient to
its kernel, each of the same number of operations: a multiplication and an addition for
every weight that meets a number. Nothing else is counted or run: no bias, activation,
draw, density or optimizer.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.seeds import derive_seed
from tfvae.heads import FlowHead
from tfvae.latents import Hierarchy
from tfvae.models import VAE
from tfvae.priors import VampPrior

COUNTED = "dense and convolution layers of encoder, decoder, hierarchy and flow"

_LAYERS = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.Conv2DTranspose)

Shape = tuple[int, ...]


class Product(NamedTuple):
    """The matrix product of one Dense, Conv2D or Conv2DTranspose layer.

    Shapes are those of one row, an example or a sample of it.
    """

    layer: keras.layers.Layer
    input_shape: Shape
    output_shape: Shape

    @property
    def flops(self) -> int:
        """The operations of one pass of one row, two for each multiply-add."""
        if isinstance(self.layer, keras.layers.Dense):
            return 2 * math.prod(self.input_shape) * self.layer.units
        # Every pixel of the smaller side meets the whole kernel.
        convolved = isinstance(self.layer, keras.layers.Conv2D)
        side = self.output_shape if convolved else self.input_shape
        channels = (self.input_shape if convolved else self.output_shape)[-1]
        return 2 * math.prod(self.layer.kernel_size) * channels * math.prod(side)


class Work(NamedTuple):
    """The products of one network, from its input on, on some rows at a time.

    If there is a backward pass too, `to_input` says that it goes on to the input.
    """

    products: tuple[Product, ...]
    rows: int
    times: int = 1
    backward: bool = False
    to_input: bool = False

    def passes(self, index: int) -> int:
        """Returns the passes of the product at `index`: 1, 2 or 3."""
        return 1 + self.backward * (1 + (self.to_input or index > 0))

    @property
    def flops(self) -> int:
        """The operations that are run."""
        each = (p.flops * self.passes(i) for i, p in enumerate(self.products))
        return self.times * self.rows * sum(each)

    @property
    def nominal_flops(self) -> int:
        """The peers' count: a backward pass has two products in every layer."""
        passes = 3 if self.backward else 1
        return self.times * self.rows * passes * sum(p.flops for p in self.products)


def training_work(vae: VAE, config: Config) -> list[Work]:
    """Returns the products of one training step on a whole batch.

    With `backward_samples` or `sample_chunk` the samples go forward once without a
    backward pass, and those of the backward pass go forward again. Networks within the
    posterior and the prior are counted like the decoder, though some densities take
    them a second time.
    """
    samples, batch = config.num_samples, config.batch_size
    kept, chunk = config.backward_samples, config.sample_chunk
    estimator = vae.estimator
    # Those that have no backward pass to the weights.
    forward_alone = vae.evaluations_per_step - (kept or samples)
    encoder, *others = _networks(vae)
    work = [Work(encoder, batch, backward=True)]
    if isinstance(vae.prior_layer, VampPrior):
        pseudo_inputs = vae.prior_layer.raw.shape[0]
        work.append(Work(encoder, pseudo_inputs, backward=True, to_input=True))
    to_input = estimator.gradient_through_z
    for products in others:
        for size, times in _pieces(forward_alone, chunk):
            work.append(Work(products, size * batch, times))
        # Survivors are few, and go back all at once.
        for size, times in _pieces(kept or samples, None if kept else chunk):
            work.append(Work(products, size * batch, times, True, to_input))
    return work


def evaluation_work(vae: VAE, batch: int, samples: int, chunk: int) -> list[Work]:
    """Returns the products of scoring one batch with `samples` samples."""
    encoder, *others = _networks(vae)
    pieces = [
        Work(products, size * batch, times)
        for products in others
        for size, times in _pieces(samples, chunk)
    ]
    if isinstance(vae.prior_layer, VampPrior):
        pieces.append(Work(encoder, vae.prior_layer.raw.shape[0]))
    return [Work(encoder, batch), *pieces]


class Runner:
    """Runs products alone, on random numbers.

    Work that is done once makes one graph; work of several times, a graph each.
    `calls` has (graph, its inputs, number of times) of each part of a step.
    """

    def __init__(self, work: Sequence[Work], seed: int = 0) -> None:
        work = [one for one in work if one.products]
        together = [one for one in work if one.times == 1]
        groups: list[tuple[Work, ...]] = [(one,) for one in work if one.times > 1]
        groups += [tuple(together)] if together else []
        numbers = itertools.count()
        self.calls = []
        for group in groups:
            inputs = _inputs(group, seed, numbers)
            # Traced here: TensorFlow warns of many functions made in one place.
            graph = _function(group).get_concrete_function(inputs)
            self.calls.append((graph, inputs, group[0].times))

    def run(self, steps: int = 1) -> None:
        """Runs everything `steps` times, and returns when it is done."""
        for _ in range(steps):
            for graph, inputs, times in self.calls:
                for _ in range(times):
                    graph(inputs)
        tf.test.experimental.sync_devices()


def _networks(vae: VAE) -> list[tuple[Product, ...]]:
    """Returns the products of encoder, decoder, hierarchy and flow, each apart."""
    networks = [_of_network(vae.encoder.network), _of_network(vae.decoder.network)]
    if isinstance(vae.latent, Hierarchy):
        links = (*vae.latent.upward, *vae.latent.downward)
        networks += [_of_network(link) for link in links]
    if isinstance(vae.encoder.head, FlowHead):
        for coupling in vae.encoder.head.couplings:
            shapes = [(layer, layer.kernel.shape) for layer in coupling.network]
            networks.append(
                tuple(Product(layer, (n,), (units,)) for layer, (n, units) in shapes)
            )
    return networks


def _of_network(network: keras.Model) -> tuple[Product, ...]:
    """Returns the products of a network's layers, as configurations build them."""
    products = []
    for layer in network.layers:
        if isinstance(layer, _LAYERS):
            shapes = (layer.input.shape[1:], layer.output.shape[1:])
            products.append(Product(layer, *map(tuple, shapes)))
    return tuple(products)


def _pieces(samples: int, chunk: int | None) -> list[tuple[int, int]]:
    """Returns (samples, times) of whole chunks, then of the rest."""
    size = min(chunk or samples, samples)
    whole, rest = divmod(samples, size) if samples else (0, 0)
    return [(n, times) for n, times in ((size, whole), (rest, 1)) if n]


def _inputs(
    group: Sequence[Work], seed: int, numbers: Iterator[int]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns random (input, gradient of the output) for each product of each work."""

    def draw(one: Work, product: Product, shape: Shape) -> tf.Tensor:
        draw_seed = derive_seed(seed, "benchmark", next(numbers))
        numbers_drawn = tf.random.stateless_normal([one.rows, *shape], draw_seed)
        return tf.cast(numbers_drawn, product.layer.compute_dtype)

    pairs = []
    for one in group:
        for p in one.products:
            x = draw(one, p, p.input_shape)
            # A forward pass needs none, and this much memory can matter.
            gradient = draw(one, p, p.output_shape) if one.backward else tf.zeros([])
            pairs.append((x, gradient))
    return pairs


def _function(group: Sequence[Work]) -> tf.function:
    """Returns a function of `_inputs` that runs the group's products once."""
    tasks = [
        (_bare(product), one.passes(index))
        for one in group
        for index, product in enumerate(one.products)
    ]

    @tf.function(autograph=False)
    def run(inputs: list[tuple[tf.Tensor, tf.Tensor]]) -> list[tf.Tensor]:
        results = []
        for (layer, passes), (x, gradient) in zip(tasks, inputs, strict=True):
            results += _passes(layer, passes, x, gradient)
        # One number of each, or TensorFlow would leave the product out.
        return [tf.reshape(result, [-1])[0] for result in results]

    return run


def _passes(
    layer: keras.layers.Layer, passes: int, x: tf.Tensor, gradient: tf.Tensor
) -> list[tf.Tensor]:
    """Returns the output and the gradients to kernel and input, `passes` in all."""
    if passes == 1:
        return [layer(x)]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        sources = [layer.kernel.value, x][: passes - 1]
        tape.watch(sources)
        output = layer(x)
    return [output, *tape.gradient(output, sources, output_gradients=gradient)]


def _bare(product: Product) -> keras.layers.Layer:
    """Returns a new layer of the same shapes, without bias and activation."""
    config = product.layer.get_config()
    config |= {"use_bias": False, "activation": None, "kernel_regularizer": None}
    layer = type(product.layer).from_config(config)
    layer.build((None, *product.input_shape))
    return layer
