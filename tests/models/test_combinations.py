"""What the tables allow together works; nothing else is let in."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.latents import CLOSED_FORM, DEPENDENT, DISCRETE, ONE_HOT
from helpers.models import IMAGE_SHAPE, SOME_LATENTS, binary_images, slow_but, tiny_vae

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.data import load, steps_per_epoch, training_batches
from tfvae.estimators import ESTIMATORS
from tfvae.latents import LATENTS
from tfvae.objectives import OBJECTIVES, Elbo
from tfvae.training.building import build_vae, check_config, compile_vae

OPTIONS = [{}, {"analytic_kl": True}, {"free_bits": 0.1}]
CASES = [
    (latent, objective, estimator, option, samples)
    for latent, objective, estimator in itertools.product(
        LATENTS, OBJECTIVES, ESTIMATORS
    )
    for option in (OPTIONS if objective == "elbo" else OPTIONS[:1])
    for samples in (1, 3, 4)
]


def configuration(latent, objective, estimator, option, samples) -> Config:
    return Config(
        latent=latent,
        latent_size=3,
        hidden_sizes=(8,),
        objective=objective,
        estimator=estimator,
        num_samples=samples,
        **option,
    )


THROUGH_Z = ("pathwise", "stl", "dreg")
OF_BITS = ("disarm", "arms", "double_cv", "rodeo", "bitflip", "ugc")
OF_MEANS = ("arms", "double_cv", "rodeo")
OF_SEVERAL = ("vimco", *OF_MEANS, "ovis")
THROUGH_DISCRETE = ("straight_through", "reinmax", "gumbel_rao")


def is_defined(latent, objective, estimator, option, samples) -> bool:
    """What the literature defines, written out apart from the classes."""
    grouped, discrete = objective in ("miwae", "piwae"), latent in DISCRETE
    return not (
        (discrete == (estimator in THROUGH_Z) and estimator != "rws")
        or (estimator == "rws" and (samples < 2 or objective == "piwae"))
        or (estimator in OF_BITS and latent != "bernoulli")
        or (estimator in OF_SEVERAL and samples < 2)
        or (estimator in OF_MEANS and objective != "elbo")
        or (estimator == "ovis" and objective != "iwae")
        or (grouped and samples % 2)
        or (grouped and estimator == "reinforce" and samples > 1)  # one is left out
        or (objective == "piwae" and discrete)
        or (option and estimator not in ("pathwise", *THROUGH_DISCRETE))
        or ("analytic_kl" in option and latent not in CLOSED_FORM)
        or ("free_bits" in option and latent in (*DEPENDENT, *ONE_HOT))
    )


LET_IN = [case for case in CASES if is_defined(*case)]
ALLOWED = [case for case in LET_IN if case[-1] == 4]


@pytest.mark.quick(2)
@pytest.mark.parametrize("latent", LATENTS)
def test_compile_lets_in_what_is_defined(latent):
    vae = tiny_vae(latent)
    for case in CASES:
        if case[0] != latent:
            continue
        _, objective, estimator, option, samples = case
        made = Elbo(**option) if option else OBJECTIVES[objective]()
        try:
            vae.compile("sgd", made, samples, estimator)  # it has no weights to make
            compiles = True
        except InputError:
            compiles = False
        assert compiles == (case in LET_IN), case


@pytest.mark.slow
@pytest.mark.parametrize("latent", slow_but(["normal", "bernoulli"], LATENTS))
def test_a_configuration_is_refused_as_compile_would_refuse_it(latent):
    for case in CASES[:: 7 if latent in ("normal", "bernoulli") else 3]:
        if case[0] != latent:
            continue
        try:
            check_config(configuration(*case))
            lets_in = True
        except InputError:
            lets_in = False
        assert lets_in == (case in LET_IN), case


def test_the_tables_allow_what_the_field_uses():
    names = {case[:3] for case in ALLOWED}
    # Every objective through z; of bits with ten estimators and of one-hots with
    # seven, all but piwae, and miwae without reinforce; of bits three more with elbo;
    # iwae with ovis; of all families with rws all but piwae.
    bounds, through_z = len(OBJECTIVES), set(LATENTS) - set(DISCRETE)
    discrete = ((bounds - 1) * 10 - 1 + 3) + ((bounds - 1) * 7 - 1) + 2
    wake_sleep = len(LATENTS) * (bounds - 1)
    through = len(through_z) * bounds * len(THROUGH_Z)
    assert len(names) == through + discrete + wake_sleep
    for usual in (
        ("normal", "iwae", "dreg"),
        ("bernoulli", "iwae", "vimco"),
        ("bernoulli", "elbo", "disarm"),
        ("categorical", "elbo", "reinforce"),
        ("flow", "elbo", "stl"),
    ):
        assert usual in names


@pytest.mark.slow
@pytest.mark.parametrize("latent", SOME_LATENTS)
def test_every_combination_takes_steps_with_finite_numbers_and_gradients(latent):
    vae, x = tiny_vae(latent), binary_images(8)
    # Not the model's: an estimator that learns something of its own adds to these.
    parts = (vae.encoder, vae.decoder)
    starts = [part.get_weights() for part in parts]
    for case in ALLOWED:
        if case[0] != latent:
            continue
        for part, start in zip(parts, starts, strict=True):
            part.set_weights(start)
        _, objective, estimator, option, _ = case
        made = Elbo(**option) if option else OBJECTIVES[objective]()
        optimizer = keras.optimizers.Adam(0.01)
        vae.compile(optimizer, made, 4, estimator, run_eagerly=True)
        before = [v.numpy() for v in vae.trainable_variables]
        # Two steps: the couplings of a flow start with an output layer of zeros.
        losses = [vae.train_on_batch(x, return_dict=True)["loss"] for _ in range(2)]
        assert np.all(np.isfinite(losses)), case
        for old, variable in zip(before, vae.trainable_variables, strict=True):
            assert np.all(np.isfinite(variable)), case
            assert np.any(old != variable.numpy()), (case, variable.path)


@pytest.mark.slow
@pytest.mark.parametrize("latent", slow_but(["bin_concrete"], LATENTS))
def test_every_family_trains_under_xla_with_batches_of_several_sizes(latent):
    vae, x = tiny_vae(latent), binary_images(13)
    estimator = "vimco" if latent in DISCRETE else "dreg"
    vae.compile("adam", "iwae", 4, estimator, jit_compile=True)
    data = tf.data.Dataset.from_tensor_slices(x).batch(8)
    logs = vae.fit(data, epochs=2, verbose=0).history
    assert np.all(np.isfinite(logs["loss"]))
    assert int(vae.steps) == 4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "xla", "mixed_bfloat16"])
@pytest.mark.parametrize("case", ALLOWED, ids=lambda case: "-".join(map(str, case)))
def test_every_combination_learns_the_digits(case, how):
    latent, objective, estimator, option, samples = case
    config = Config(
        latent=latent,
        latent_size=8,
        hidden_sizes=(64,),
        objective=objective,
        estimator=estimator,
        num_samples=samples,
        learning_rate=3e-3,
        epochs=8,
        jit_compile=how == "xla",
        dtype_policy=how if how == "mixed_bfloat16" else "float32",
        **option,
    )
    data = load("digits")
    vae = build_vae(config, data.image_shape, data.train.mean_image())
    steps = steps_per_epoch(data.train, 100)
    compile_vae(vae, config, steps)
    batches = training_batches(data.train, 100, binarization="dynamic", seed=0)
    history = vae.fit(batches, epochs=8, steps_per_epoch=steps, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    # The loss of an epoch of 1,258 images has a standard error of 0.1.
    assert history["loss"][-1] < history["loss"][0] - 0.5


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal_fixed_scale"])
def test_a_decoder_starts_from_the_mean_image_or_from_zeros(likelihood):
    """At z = 0, with no layer between, the bias alone is left."""
    mean = np.random.default_rng(0).uniform(0.01, 0.99, IMAGE_SHAPE)
    for start, expected in (("mean", mean), ("zero", np.full(IMAGE_SHAPE, 0.5))):
        config = Config(
            likelihood=likelihood, latent_size=3, hidden_sizes=(), output_start=start
        )
        vae = build_vae(config, IMAGE_SHAPE, mean)
        found = vae.decode(tf.zeros([1, 3])).mean()[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
