"""Bad input gives one line that names what was given."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, tiny_vae

from tfvae.core.seeds import as_seed
from tfvae.core.types import InputError
from tfvae.estimators import get_estimator
from tfvae.heads import BernoulliHead, BinConcreteHead, FixedScaleNormalHead, NormalHead
from tfvae.latents import BinConcreteLatent, LogisticLatent, NormalLatent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import batch_apply, conv_decoder, conv_encoder, mlp
from tfvae.objectives import Elbo, get_objective

IMAGE = (8, 8, 1)


def compiled(latent: str = "normal", **settings) -> VAE:
    vae = tiny_vae(latent)
    vae.compile(**settings)
    return vae


def step(x, y=None):
    vae = tiny_vae()
    vae.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return vae.train_step((x, y) if y is not None else x)


def scored(num_samples):
    return tiny_vae().log_weight_terms(binary_images(1), num_samples, seed=0)


def encoder_of(head, input_shape=IMAGE) -> ConditionalDistribution:
    return ConditionalDistribution(mlp(input_shape, head.params_shape, ()), head)


def decoder_of(latent_size=3, image_shape=IMAGE) -> ConditionalDistribution:
    network = mlp((latent_size,), image_shape, ())
    return ConditionalDistribution(network, BernoulliHead(image_shape))


def two_inputs() -> keras.Model:
    parts = [keras.Input((2,)), keras.Input((2,))]
    return keras.Model(parts, keras.layers.Add()(parts))


def unbuilt() -> keras.Model:
    return keras.Sequential([keras.layers.Dense(6)])


ramp = keras.optimizers.schedules.PolynomialDecay(0.5, 5, 1.0)
normal, bits = NormalHead((3,)), BinConcreteHead((3,))

# What is done, and what the message must contain: what was given, or what to choose.
CASES = {
    # names
    "objective name": (lambda: get_objective("vae"), ["'vae'", "elbo, iwae"]),
    "objective type": (lambda: get_objective(3), ["3", "elbo, iwae"]),
    "objective class": (lambda: get_objective(Elbo), ["Elbo", "elbo, iwae"]),
    "objective in compile": (lambda: compiled(objective="x"), ["'x'", "elbo"]),
    "estimator name": (lambda: get_estimator("drug"), ["'drug'", "pathwise"]),
    "estimator type": (lambda: get_estimator(None), ["None", "pathwise"]),
    # num_samples
    **{
        f"num_samples {n}": (lambda n=n: compiled(num_samples=n), ["num_samples", n])
        for n in (0, -1, 2.5, True, "3", None)
    },
    **{
        f"samples {n}": (lambda n=n: tiny_vae().sample(n, seed=0), ["num_samples", n])
        for n in (0, -3, 2.5, True)
    },
    **{
        f"scored {n}": (lambda n=n: scored(n), ["num_samples", n])
        for n in (0, -1, 2.5, True)
    },
    # settings
    **{
        f"temperature {t}": (
            lambda t=t: compiled("bin_concrete", temperature=t),
            ["temperature", t],
        )
        for t in (0, -1, float("nan"), float("inf"), True, "warm")
    },
    "prior temperature": (
        lambda: compiled("bin_concrete", prior_temperature=0.0),
        ["prior_temperature", 0.0],
    ),
    **{
        f"kl_weight {getattr(w, '__name__', w)}": (
            lambda w=w: compiled(kl_weight=w),
            ["kl_weight", w],
        )
        for w in (-0.1, float("nan"), True, "1", lambda step: 1.0)
    },
    "temperature of a normal": (
        lambda: compiled(temperature=0.5),
        ["temperature", 0.5, "no effect"],
    ),
    "schedule of a normal": (
        lambda: compiled("logistic", prior_temperature=ramp),
        ["prior_temperature", "no effect"],
    ),
    "analytic rate": (
        lambda: compiled("logistic", objective=Elbo(analytic_kl=True)),
        ["analytic_kl"],
    ),
    # seeds
    **{
        f"seed {s}": (lambda s=s: compiled(seed=s), ["seed"])
        for s in (None, True, 1.5, "1", [1, 2, 3])
    },
    "seed of a sample": (lambda: tiny_vae().sample(2, seed="x"), ["seed"]),
    "seed beyond 64 bits": (lambda: as_seed(2**64), ["seed", 2**64]),
    # parts
    "latent_size 0": (lambda: NormalLatent(0), ["latent_size", 0]),
    "latent_size 2.0": (lambda: LogisticLatent(2.0), ["latent_size", 2.0]),
    "latent_size True": (lambda: NormalLatent(True), ["latent_size", True]),
    "latent temperature": (
        lambda: BinConcreteLatent(3, temperature=0),
        ["temperature", 0],
    ),
    "latent prior temperature": (
        lambda: BinConcreteLatent(3, prior_temperature=-1.0),
        ["prior_temperature", -1.0],
    ),
    "head temperature": (lambda: BinConcreteHead((3,), True), ["temperature", True]),
    "scale": (lambda: FixedScaleNormalHead(IMAGE, scale=0), ["scale", 0]),
    "empty event": (lambda: NormalHead(()), ["event_shape", "()"]),
    "event of zero": (lambda: NormalHead((3, 0)), ["event_shape", "(3, 0)"]),
    "event of an int": (lambda: NormalHead(3), ["event_shape", 3]),
    "event of a fraction": (lambda: NormalHead((2.5,)), ["event_shape", 2.5]),
    # networks
    "head and network": (
        lambda: ConditionalDistribution(mlp(IMAGE, (5,), ()), normal),
        ["(5,)", "(6,)", "NormalHead"],
    ),
    "unbuilt network": (
        lambda: ConditionalDistribution(unbuilt(), normal),
        ["keras.Input"],
    ),
    "no network": (lambda: ConditionalDistribution("mlp", normal), ["'mlp'"]),
    "two inputs": (
        lambda: ConditionalDistribution(two_inputs(), BernoulliHead((2,))),
        ["one input"],
    ),
    "encoder of another size": (
        lambda: VAE(encoder_of(NormalHead((4,))), decoder_of(), NormalLatent(3)),
        ["(4,)", "(3,)"],
    ),
    "decoder of another size": (
        lambda: VAE(encoder_of(normal), decoder_of(5), NormalLatent(3)),
        ["(5,)", "(3,)"],
    ),
    "encoder of other images": (
        lambda: VAE(encoder_of(normal, (4, 4, 1)), decoder_of(), NormalLatent(3)),
        ["(4, 4, 1)", "(8, 8, 1)"],
    ),
    "head of another family": (
        lambda: VAE(encoder_of(bits), decoder_of(), NormalLatent(3)),
        ["BinConcreteHead", "NormalHead"],
    ),
    "head of another temperature": (
        lambda: VAE(encoder_of(bits), decoder_of(), BinConcreteLatent(3, 0.9)),
        ["temperature", 0.5, 0.9],
    ),
    "head of another float type": (
        lambda: VAE(
            encoder_of(NormalHead((3,), dtype="float64")), decoder_of(), NormalLatent(3)
        ),
        ["float64", "float32"],
    ),
    "conv encoder of a row": (lambda: conv_encoder((64,), (6,), ()), ["(64,)"]),
    "conv decoder to a row": (lambda: conv_decoder((3,), (8, 8), ()), ["(8, 8)"]),
    "batch_apply": (
        lambda: batch_apply(mlp((4,), (3,), ()), tf.zeros([2, 5])),
        ["(2, 5)"],
    ),
    "head's parameters": (lambda: normal(np.zeros([2, 7])), ["(2, 7)", "(6,)"]),
    "decoder's input": (
        lambda: tiny_vae().decode(tf.zeros([2, 5])),
        ["(2, 5)"],
    ),
    # images
    "uint8 images to predict": (
        lambda: tiny_vae()(np.zeros([2, *IMAGE], "uint8")),
        ["uint8"],
    ),
    "uint8 images": (lambda: step(np.zeros([2, *IMAGE], "uint8")), ["uint8"]),
    "int images": (lambda: tiny_vae().encode(np.zeros([2, *IMAGE], int)), ["int64"]),
    "bool images": (lambda: step(np.zeros([2, *IMAGE], bool)), ["bool"]),
    "one image": (lambda: step(np.zeros(IMAGE)), ["(8, 8, 1)"]),
    "other images": (lambda: step(np.zeros([2, 8, 8, 3])), ["(2, 8, 8, 3)"]),
    "flat images": (lambda: step(np.zeros([2, 64])), ["(2, 64)"]),
    "no image key": (
        lambda: step({"img": np.zeros([2, *IMAGE]), "label": np.zeros(2)}),
        ["img", "label", "'image'"],
    ),
    "data without end": (
        lambda: compiled().fit(
            tf.data.Dataset.from_tensors(binary_images(2)).repeat(), verbose=0
        ),
        ["steps_per_epoch"],
    ),
}


@pytest.mark.quick(15)
@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_one_line_that_says_what_was_given(name):
    action, parts = CASES[name]
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and message
    for part in parts:
        assert (part if isinstance(part, str) else repr(part)) in message


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "settings",
    [
        {"num_samples": np.int64(2)},
        {"kl_weight": np.float32(0.5)},
        {"kl_weight": 0},
        {"kl_weight": 2},
        {"seed": np.int64(3)},
        {"temperature": np.float64(0.5)},
    ],
    ids=str,
)
def test_good_input_of_another_type_is_not_refused(settings, tmp_path, eagerly_here):
    vae = compiled("bin_concrete", optimizer=keras.optimizers.SGD(0.1), **settings)
    assert np.all(np.isfinite(vae.train_on_batch(binary_images(2))))
    vae.save(tmp_path / "vae.keras")  # and can be saved
    assert keras.models.load_model(tmp_path / "vae.keras").compiled


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_refusal_within_a_traced_step_is_the_same_error(jit_compile):
    vae = compiled(jit_compile=jit_compile)
    with pytest.raises(InputError, match="uint8"):
        vae.fit(np.zeros([2, *IMAGE], "uint8"), verbose=0)
