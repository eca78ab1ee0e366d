"""Examples of every kind that Keras takes are read right, or refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import tiny_vae

from tfvae.core.types import InputError
from tfvae.heads import HEADS
from tfvae.latents import NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import mlp

# Keras warns when a generator, or a data set of nothing, ends.
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")

SHAPE = (2, 3, 1)


def vae_of(likelihood: str, **settings) -> VAE:
    latent = NormalLatent(2)
    head = HEADS[likelihood](SHAPE, **settings)
    encoder, posterior = mlp(SHAPE, (4,), ()), latent.posterior_head()
    vae = VAE(
        ConditionalDistribution(encoder, posterior),
        ConditionalDistribution(mlp((2,), head.params_shape, ()), head),
        latent,
    )
    vae.compile(keras.optimizers.SGD(1e-3), run_eagerly=True)
    return vae


def good(count: int = 8) -> np.ndarray:
    """Zeros and ones, which every likelihood takes."""
    return np.random.default_rng(0).integers(0, 2, (count, *SHAPE)).astype(np.float32)


class Sequence(keras.utils.PyDataset):
    def __init__(self, x: np.ndarray) -> None:
        super().__init__()
        self.x = x

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> np.ndarray:
        return (self.x[4 * index : 4 * index + 4],)


def generator(x: np.ndarray):
    for start in (0, 4):
        yield (x[start : start + 4],)


KINDS = {
    "array": lambda x: x,
    "tensor": tf.constant,
    "list": list,
    "dictionary": lambda x: {"x": x},
    "data set": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(4),
    "data set of pairs": lambda x: tf.data.Dataset.from_tensor_slices((x, x)).batch(4),
    "data set of dictionaries": lambda x: tf.data.Dataset.from_tensor_slices(
        {"x": x, "label": np.zeros(len(x), np.int64)}
    ).batch(4),
    "sequence": Sequence,
    "generator": generator,
}
METHODS = {
    "fit": lambda vae, x: vae.fit(x, batch_size=4, verbose=0),
    "evaluate": lambda vae, x: vae.evaluate(x, verbose=0),
    "predict": lambda vae, x: vae.predict(x, verbose=0),
}
WRONG = {
    "bernoulli": [0.5, np.nan],
    "continuous_bernoulli": [-0.1, 1.5, np.nan],
    "normal": [np.inf, np.nan],
    "discretized_logistic": [0.3337, np.nan],
    "poisson": [-1.0, 0.5, np.nan],
}


@pytest.mark.quick(5)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_takes_every_kind_of_examples(method, kind):
    METHODS[method](vae_of("bernoulli"), KINDS[kind](good()))


@pytest.mark.quick(5)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_without_a_probability_is_refused_in_every_kind(method, kind):
    x = good()
    x[5, 0, 1, 0] = -0.5  # in the second batch
    with pytest.raises(InputError, match="the images h"):
        METHODS[method](vae_of("continuous_bernoulli"), KINDS[kind](x))


@pytest.mark.quick(1)
@pytest.mark.parametrize("likelihood", HEADS)
def test_nan_in_a_data_set_is_refused_by_every_likelihood(likelihood):
    x = good()
    x[5, 0, 1, 0] = np.nan
    for method in METHODS.values():
        with pytest.raises(InputError, match="the images h"):
            method(vae_of(likelihood), KINDS["data set"](x))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", WRONG)
def test_a_data_set_is_looked_at_in_graphs_and_in_validation_too(likelihood):
    for wrong in WRONG[likelihood]:
        x = good()
        x[5, 0, 1, 0] = wrong
        vae, data = vae_of(likelihood), KINDS["data set"]
        with pytest.raises(InputError, match="the images h"):
            vae.fit(good(), validation_data=data(x), verbose=0)
    vae.compile(keras.optimizers.SGD(1e-3))
    for method in METHODS.values():
        with pytest.raises(InputError, match="the images h"):
            method(vae, data(x))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", WRONG)
def test_a_data_set_is_looked_at_under_xla_too(likelihood):
    for wrong in WRONG[likelihood]:
        x = good()
        x[5, 0, 1, 0] = wrong
        vae = vae_of(likelihood)
        vae.compile(keras.optimizers.SGD(1e-3), jit_compile=True)
        with pytest.raises(InputError, match="the images h"):
            vae.fit(KINDS["data set"](x), verbose=0)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_single_batches_are_looked_at(method):
    vae = vae_of("bernoulli")
    getattr(vae, method)(good())
    getattr(vae, method)(good(), sample_weight=np.ones(8))
    with pytest.raises(InputError, match="the images h"):
        getattr(vae, method)(good() * 0.5)


@pytest.mark.quick(1)
@pytest.mark.parametrize("wrong", [-1.0, 1.5, np.nan])
def test_grey_targets_and_pixels_to_draw_are_within_0_and_1(wrong):
    x = good()
    x[5, 0, 1, 0] = wrong
    data = KINDS["data set"](x)
    with pytest.raises(InputError, match="the images h"):
        vae_of("bernoulli", grey_targets=True).evaluate(data, verbose=0)
    vae = vae_of("bernoulli")
    vae.compile(binarize=True, run_eagerly=True)
    with pytest.raises(InputError, match="the images h"):
        vae.fit(data, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["array", "list", "data set"])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_no_examples_are_no_loss_of_0(kind, method):
    empty = good()[:0]
    with pytest.raises(InputError, match="there are no|makes? no array"):
        METHODS[method](vae_of("bernoulli"), KINDS[kind](empty))


@pytest.mark.slow
def test_a_list_of_images_is_their_array():
    # Row 0 alone is white: a shuffle of rows would show.
    image = np.zeros([8, 8, 1], np.float32)
    image[0] = 1
    one, other = tiny_vae(), tiny_vae()
    for vae, x in ((one, [image] * 16), (other, np.stack([image] * 16))):
        vae.compile(seed=1)
        vae.fit(x, epochs=2, batch_size=8, verbose=0, shuffle=False)
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(
        one.predict([image] * 3, verbose=0), one.predict(np.stack([image] * 3))
    )
    for method in (one.encode, one.reconstruct, one):
        method([image] * 2)  # as an array


def test_what_is_no_array_is_refused():
    image = np.zeros([8, 8, 1], np.float32)
    vae = tiny_vae()
    vae.compile()
    for x in ([image, image[:4]], (np.stack([image] * 2), np.zeros(2))):
        for method in METHODS.values():
            with pytest.raises(InputError, match="x is a (list|tuple) of 2"):
                method(vae, x)
