"""Trains the same model on one device and on several, and says how they differ.

A script: `python reference_replicas.py REPLICAS STEPS CASE ...` prints JSON. It has a
process of its own, since devices are divided before TensorFlow starts. With the
environment variable TF_CONFIG it is one worker, and trains the cases on all of them.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import tensorflow as tf

SIDE = 4
IMAGES = 25  # in batches of 8: the last one has 1 image, and most replicas none
BATCH = 8
CLASSES = 3


def cases() -> dict[str, tuple[str, dict]]:
    """Latent families with the arguments of `compile`."""
    from tfvae.estimators import Rws
    from tfvae.objectives import Elbo

    iwae = {"objective": "iwae", "num_samples": 5}
    return {
        "elbo": ("normal", {"objective": "elbo", "num_samples": 2}),
        "iwae": ("normal", iwae),
        "free_bits": ("normal", {"objective": Elbo(free_bits=0.2)}),
        "analytic_kl": ("normal", {"objective": Elbo(analytic_kl=True)}),
        "stl": ("logistic", {**iwae, "estimator": "stl"}),
        "piwae": ("normal", {"objective": "piwae", "num_samples": 4}),
        "survivors": ("logistic", {**iwae, "backward_samples": 2}),
        "chunks": ("normal", {**iwae, "num_samples": 130, "sample_chunk": 50}),
        "both": ("normal", {**iwae, "backward_samples": 2, "sample_chunk": 3}),
        "reinforce": ("bernoulli", {**iwae, "estimator": "reinforce"}),
        "vimco": ("bernoulli", {**iwae, "estimator": "vimco"}),
        "disarm": ("bernoulli", {**iwae, "estimator": "disarm"}),
        "arms": ("bernoulli", {"num_samples": 5, "estimator": "arms"}),
        "double_cv": ("bernoulli", {"num_samples": 3, "estimator": "double_cv"}),
        "rodeo": ("bernoulli", {"num_samples": 5, "estimator": "rodeo"}),
        "ugc": ("bernoulli", {**iwae, "estimator": "ugc"}),
        "rws": ("bernoulli", {**iwae, "estimator": Rws(0.5), "sample_chunk": 3}),
        "gumbel_rao": ("categorical", {**iwae, "estimator": "gumbel_rao"}),
        "relax": ("bernoulli", {**iwae, "estimator": "relax"}),
        "bin_concrete": ("bin_concrete", {**iwae, "estimator": "dreg"}),
        "multivariate": ("multivariate_normal", iwae),
        "flow": ("flow", iwae),
        "binarize": ("normal", {**iwae, "binarize": True}),
        "clipped": ("normal", {**iwae, "clip": 0.05}),
        "weights": ("normal", {**iwae, "weigh": True}),
        "penalty": ("normal", {**iwae, "l2": 0.1}),
        "conditional": ("normal", {**iwae, "condition": True}),
        "missing": ("normal", {**iwae, "missing": "mar"}),
        "skipped": ("normal", {**iwae, "skip_nonfinite": 1000, "nan": True}),
    }


def model(
    latent: str,
    l2: float | None,
    conditional: bool = False,
    missing: str | None = None,
):
    """A small VAE in float64, the same whenever it is made."""
    import keras

    from tfvae.conditions import OneHot
    from tfvae.heads import BernoulliHead
    from tfvae.latents import LATENTS
    from tfvae.models import VAE, ConditionalDistribution
    from tfvae.networks import mlp
    from tfvae.priors import ConditionalPrior

    family = LATENTS[latent](3)
    head, likelihood = family.posterior_head(), BernoulliHead((SIDE, SIDE, 1))
    sizes = likelihood.params_shape
    takes = {"condition_shape": (CLASSES,)} if conditional else {}
    shapes = (sizes, head.params_shape, (5,), "tanh")
    seen = {"condition_shape": (SIDE, SIDE, 1)} if missing else takes
    encoder = mlp(*shapes, name="encoder", seed=1, **seen)
    shapes = (family.decoder_shape, sizes, (5,), "tanh")
    decoder = mlp(*shapes, name="decoder", seed=2, **takes)
    if l2:
        for layer in decoder.layers:
            if isinstance(layer, keras.layers.Dense):
                layer.kernel.regularizer = keras.regularizers.L2(l2)
    return VAE(
        ConditionalDistribution(encoder, head),
        ConditionalDistribution(decoder, likelihood),
        family,
        ConditionalPrior(family, (CLASSES,), (4,)) if conditional else None,
        condition=OneHot(CLASSES) if conditional else None,
        missing=missing,
    )


def images(binary: bool) -> np.ndarray:
    """[N, SIDE, SIDE, 1] Binary, or grey values."""
    grey = np.random.default_rng(0).random((IMAGES, SIDE, SIDE, 1))
    return (grey < 0.4).astype("float64") if binary else grey.astype("float32")


def trained(strategy, latent: str, settings: dict, steps: int) -> dict:
    """Weights and everything that is reported, after some steps and an evaluation."""
    import keras

    settings = dict(settings)
    clip, weigh = settings.pop("clip", None), settings.pop("weigh", False)
    l2, nan = settings.pop("l2", None), settings.pop("nan", False)
    conditional = settings.pop("condition", False)
    missing = settings.pop("missing", None)
    with strategy.scope():
        vae = model(latent, l2, conditional, missing)
        optimizer = keras.optimizers.Adam(0.01, global_clipnorm=clip)
        vae.compile(optimizer, seed=3, jit_compile=False, **settings)
    assert bool(vae.losses) == bool(l2)
    vae.track_gradients(1)
    x = images(binary=not settings.get("binarize"))
    if nan:
        x[3] = np.nan
    scored = images(binary=True)
    if missing:
        x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
        scored = x
    given = (x, x, np.linspace(0.5, 2.0, IMAGES)) if weigh else x
    if conditional:
        given = (x, np.arange(IMAGES) % CLASSES)
        scored = {"x": scored, "condition": np.arange(IMAGES) % CLASSES}
    batches = tf.data.Dataset.from_tensor_slices(given).batch(BATCH)
    history = vae.fit(batches.repeat(), steps_per_epoch=steps, verbose=0).history
    tracked = {f"fit {name}": value for name, value in vae.tracked().items()}
    tracked["examples seen"] = vae.examples_seen
    batches = tf.data.Dataset.from_tensor_slices(scored).batch(BATCH)
    test = vae.evaluate(batches, return_dict=True, verbose=0)
    return {
        "weights": [w.tolist() for w in map(np.array, vae.get_weights())],
        **{name: values[0] for name, values in history.items()},
        **tracked,
        **{f"test {name}": value for name, value in test.items()},
        **{f"test {name}": value for name, value in vae.tracked().items()},
        "test examples seen": vae.examples_seen,
    }


def worker(names: list[str], steps: int) -> None:
    """Prints what one of several workers has after its training."""
    import keras

    from tfvae.config.settings import Distribution
    from tfvae.training.workers import worker_group

    keras.config.set_floatx("float64")
    with worker_group(Distribution("multi_worker")) as group:
        found = {n: trained(group.strategy, *cases()[n], steps) for n in names}
        group.barrier()
    print(json.dumps(found), flush=True)


def main() -> None:
    """See the module."""
    replicas, steps, *names = sys.argv[1:]
    if "TF_CONFIG" in os.environ:
        return worker(names, int(steps))
    import keras

    keras.config.set_floatx("float64")
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
    tf.config.set_logical_device_configuration(cpu, logical)
    devices = [f"CPU:{number}" for number in range(int(replicas))]
    several = tf.distribute.MirroredStrategy(devices)
    found = {}
    for name in names:
        one = trained(tf.distribute.get_strategy(), *cases()[name], int(steps))
        other = trained(several, *cases()[name], int(steps))
        found[name] = [one, other]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
