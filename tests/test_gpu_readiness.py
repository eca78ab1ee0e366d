"""Steps and endpoints run on a GPU as a whole: shown without one, by TensorFlow itself.

What is not covered: the pipeline of `tfvae.data` runs on the CPU on purpose, beside the
step, so that a GPU never waits for it. Nothing of it is traced here. On a machine with
a GPU a step is run on it besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.estimators import PathwiseOfGivenDraws
from helpers.kernels import XLA_GPU, Transfer, graphs, transfers, without_kernel
from helpers.models import (
    IMAGE_SHAPE,
    SOME_LATENTS,
    WRITTEN_OUT,
    binary_images,
    slow_but,
    tiny_vae,
    with_layer,
)
from helpers.priors import vae_with

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.estimators import ESTIMATORS
from tfvae.export import export_saved_model
from tfvae.heads import HEADS
from tfvae.latents import LATENTS
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import NETWORKS
from tfvae.priors import PRIORS
from tfvae.training.building import build_vae, compile_vae

ConcreteFunction = tf.types.experimental.ConcreteFunction
PLAIN, XLA = ("GPU", "DEFAULT"), (XLA_GPU,)


@pytest.fixture(scope="module", autouse=True)
def xla_has_registered_its_kernels() -> None:
    tf.function(tf.tanh, jit_compile=True)(tf.zeros([1]))


def traced(step: Callable, shape: tuple[int, ...]) -> ConcreteFunction:
    """A step's graph for batches of any size, as `fit` makes it; nothing is run."""
    batch = tf.TensorSpec([None, *shape], tf.float32)
    return tf.function(step).get_concrete_function(batch)


def missing(function: ConcreteFunction, devices: tuple[str, ...]) -> set[str]:
    return set().union(*(without_kernel(graph, devices) for graph in graphs(function)))


def assert_runs_on_a_gpu(function: ConcreteFunction) -> None:
    """Every op has a kernel there, for its types, and is one that XLA compiles."""
    assert missing(function, PLAIN) == set()
    assert missing(function, XLA) == set()


def from_the_network(
    function: ConcreteFunction, counters: list[keras.Variable] | None = None
) -> list[Transfer]:
    """What a GPU hands to the host, but for numbers made of counters alone.

    The seed of a step's draws is a function of the number of steps, and TensorFlow's
    kernels read seeds on the host (XLA does not). That is a few pairs of integers,
    which wait for no network. What depends on no argument at all, the sizes of tensors
    and constants, is there already.
    """
    handles = [counter.value.handle for counter in counters or []]
    allowed = {
        inner.op.name
        for outer, inner in function.graph.captures
        if any(outer is handle for handle in handles)
    }
    found = [each for graph in graphs(function) for each in transfers(graph)]
    return [each for each in found if not each.roots <= allowed]


def assert_train_step_is_ready(vae: VAE, *more: keras.Variable) -> None:
    function = traced(vae.train_step, vae.image_shape)
    assert_runs_on_a_gpu(function)
    assert from_the_network(function, [vae.steps, *more]) == []


def assert_test_step_is_ready(vae: VAE) -> None:
    function = traced(vae.test_step, vae.image_shape)
    assert_runs_on_a_gpu(function)
    seen = next(metric.counts for metric in vae.metrics if metric.name == "means")
    assert from_the_network(function, [seen]) == []


# -- training and evaluation -----------------------------------------------------------


def compiled_with_each_estimator(latent: str) -> Iterator[VAE]:
    """The estimators that fit, each with one objective."""
    vae = tiny_vae(latent)
    for estimator in ESTIMATORS:
        for objective in ("iwae", "elbo"):
            try:
                vae.compile("sgd", objective, 4, estimator)
            except InputError:
                continue
            yield vae
            break


@pytest.mark.slow
@pytest.mark.parametrize("latent", SOME_LATENTS)
def test_steps_of_every_family_and_estimator_stay_on_the_gpu(latent):
    count = 0
    for vae in compiled_with_each_estimator(latent):
        assert_train_step_is_ready(vae)
        count += 1
    assert count >= 3
    assert_test_step_is_ready(vae)


@pytest.mark.quick(1)
@pytest.mark.parametrize("head", HEADS)
def test_steps_of_every_likelihood_stay_on_the_gpu(head):
    vae = tiny_vae(head=head)
    vae.compile("sgd", "iwae", 4)
    assert_train_step_is_ready(vae)


@pytest.mark.quick(1)
@pytest.mark.parametrize("prior", PRIORS)
def test_steps_of_every_prior_stay_on_the_gpu(prior):
    vae = vae_with(prior, "normal")
    vae.compile("sgd", "iwae", 4)
    assert_train_step_is_ready(vae)


@pytest.mark.quick(1)
@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
@pytest.mark.parametrize("network", NETWORKS)
def test_steps_of_every_network_stay_on_the_gpu_in_other_float_types(network, policy):
    head_dtype = "float64" if policy == "float64" else "float32"
    vae = tiny_vae(network=network, dtype=policy, head_dtype=head_dtype)
    vae.compile("adam", "iwae", 4)
    assert_train_step_is_ready(vae)


def test_a_step_in_float16_runs_on_the_gpu():
    # Keras asks on the host, within the step, whether the scaled gradients are finite;
    # with XLA it does not leave the GPU.
    vae = tiny_vae(dtype="mixed_float16")
    vae.compile("adam", "iwae", 4)
    assert_runs_on_a_gpu(traced(vae.train_step, vae.image_shape))


def test_a_step_that_draws_the_pixels_stays_on_the_gpu():
    vae = tiny_vae()
    vae.compile("adam", "iwae", 4, binarize=True)
    assert_train_step_is_ready(vae)


IN_PARTS = [{"backward_samples": 3}, {"sample_chunk": 3}]
IN_PARTS += [{"backward_samples": 3, "sample_chunk": 3}]


@pytest.mark.slow
@pytest.mark.parametrize("how", IN_PARTS, ids=str)
def test_steps_on_a_part_of_the_samples_stay_on_the_gpu(how):
    vae = tiny_vae()
    vae.compile("sgd", "iwae", 8, "dreg", **how)
    assert_train_step_is_ready(vae)


@pytest.mark.slow
def test_steps_of_a_hierarchy_stay_on_the_gpu():
    made = Config(
        latent="bin_concrete", upper_latent_sizes=(2,), hidden_sizes=(8,), num_samples=4
    )
    vae = build_vae(made, IMAGE_SHAPE)
    compile_vae(vae, made, 2)
    assert_train_step_is_ready(vae)
    assert_test_step_is_ready(vae)


def test_steps_with_dropout_stay_on_the_gpu():
    dropout = keras.layers.Dropout(0.5, seed=3)
    vae = with_layer(tiny_vae(), dropout)
    vae.compile("sgd", "iwae", 4)
    assert_train_step_is_ready(vae, dropout.seed_generator.state)


# -- serving ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("latent", slow_but(["bin_concrete"], LATENTS))
def test_every_endpoint_runs_on_the_gpu(latent, tmp_path):
    path = export_saved_model(tiny_vae(latent), tmp_path / "model")
    signatures = tf.saved_model.load(str(path)).signatures
    assert {"encode", "decode", "reconstruct", "sample", "score"} <= set(signatures)
    for name, function in signatures.items():
        assert missing(function, PLAIN) == set()
        # What is drawn from seeds in the request has them read on the host.
        drawn = name.startswith(("sample", "score"))
        assert drawn or from_the_network(function) == []


# -- what would be found ---------------------------------------------------------------


def step_with(planted: Callable[[tf.Tensor], tf.Tensor]) -> ConcreteFunction:
    """The training step of a VAE whose decoder computes something else besides."""
    vae = tiny_vae()
    z = keras.Input(vae.latent.decoder_shape)
    layer = keras.layers.Lambda(
        lambda z: z + tf.reshape(planted(z), tf.shape(z)), output_shape=z.shape[1:]
    )
    network = keras.Model(z, vae.decoder.network(layer(z)))
    decoder = ConditionalDistribution(network, vae.decoder.head)
    vae = VAE(vae.encoder, decoder, vae.latent)
    vae.compile("sgd", "iwae", 4)
    return traced(vae.train_step, vae.image_shape)


def in_python(z: tf.Tensor) -> tf.Tensor:
    return tf.py_function(np.tanh, [z], tf.float32)


def as_text(z: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(tf.strings.as_string(z)), tf.float32)


def in_integers(z: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(tf.cast(z, tf.int32), tf.eye(3, dtype=tf.int32)), z.dtype)


def sized_by_data(z: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.boolean_mask(z, z > 0)) * tf.ones_like(z)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("planted", "op"),
    [
        (in_python, "EagerPyFunc(float32, float32)"),
        (as_text, "StringLength(string, int32)"),
        (in_integers, "MatMul(int32, int32, int32)"),
        (sized_by_data, "Where(bool, int64)"),
    ],
)
def test_an_op_that_a_gpu_does_not_run_by_itself_is_found(planted, op):
    assert op in missing(step_with(planted), PLAIN)


def test_an_op_that_xla_does_not_compile_is_found():
    function = step_with(tf.math.special.bessel_j0)
    assert missing(function, PLAIN) == set()
    assert any(name.startswith("BesselJ0") for name in missing(function, XLA))


def checked(z: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(z < 9), ["z"])]):
        return tf.identity(z)


def counted(z: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.cast(z, tf.int32) + 1, z.dtype)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("planted", "reader"), [(checked, "Assert"), (counted, "AddV2")]
)
def test_a_tensor_that_the_host_must_wait_for_is_found(planted, reader):
    # Kernels for an int32 do their arithmetic on the host.
    found = from_the_network(step_with(planted))
    assert any(t.wanted_by == reader and "data" in t.roots for t in found)


# -- on a GPU --------------------------------------------------------------------------


@pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU here"
)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("latent", WRITTEN_OUT)
def test_a_train_step_on_a_gpu_is_that_on_the_cpu(latent, jit_compile):
    # XLA's draws are others, so these are given.
    x, trained = binary_images(4), []
    for device in ("CPU:0", "GPU:0"):
        with tf.device(device):
            vae = tiny_vae(latent, dtype="float64", head_dtype="float64")
            vae.compile(
                keras.optimizers.SGD(0.1),
                "iwae",
                3,
                PathwiseOfGivenDraws(),
                jit_compile=jit_compile and device == "GPU:0",
            )
            vae.train_on_batch(x)
        for variable in vae.trainable_variables:
            assert variable.value.device.endswith(device)
        trained.append([v.numpy() for v in vae.trainable_variables])
    # float64, in which no GPU rounds the factors of a product: sums of fewer than 200
    # numbers below 100, in another order, times 0.1.
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
