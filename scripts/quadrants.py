#!/usr/bin/env python3
r"""Completes MNIST's digits from one, two or three of their quadrants.

The task of Pyro's tutorial on conditional VAEs (Sohn, Lee and Yan, 2015): c is an image
whose unknown pixels are 0, x the unknown pixels. Networks 500-500 ReLU, 200 latent
variables, p(z|c) by a network of the same sizes, Adam 0.001, batch 128, grey targets,
patience 3. Beside it a plain network from c to x. With the four MNIST files in
PATH/TO/mnist:

    .venv/bin/python scripts/quadrants.py --manual-dir PATH/TO/mnist

prints a table of nats per image: minus the ELBO (ten samples) and minus L_1000 of the
test images, and the plain network's cross-entropy. Settings and the epoch are chosen on
5,000 images that are held out of the training data.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import tfvae  # isort: skip  # before Keras, whose backend it chooses
import keras
import numpy as np

from tfvae.conditions import Image
from tfvae.evaluation import score_images
from tfvae.heads import BernoulliHead
from tfvae.latents import NormalLatent
from tfvae.networks import mlp
from tfvae.priors import ConditionalPrior

SIZES, LATENT_SIZE = (500, 500), 200
HALF = 14
PRINTED = {1: (71.8, 100.4), 2: (51.0, 61.9), 3: (24.2, 25.4)}  # by Pyro's tutorial


def known_pixels(quadrants: int) -> np.ndarray:
    """Returns which pixels are known, [28, 28]: lower left, then left, then 3 of 4."""
    known = np.zeros([2 * HALF, 2 * HALF], bool)
    known[HALF:, :HALF] = True
    if quadrants >= 2:
        known[:, :HALF] = True
    if quadrants == 3:
        known[:HALF] = True
    return known


def parts_of(images: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the unknown pixels [N, n], and images [N, 28, 28, 1] of the others."""
    return images[:, ~known, 0], images * known[..., np.newaxis]


def conditional_vae(size: int, condition: Image) -> tfvae.VAE:
    """Returns the model of `size` unknown pixels, compiled."""
    latent = NormalLatent(LATENT_SIZE)
    given = {"activation": "relu", "condition_shape": condition.shape}
    vae = tfvae.VAE(
        mlp((size,), (2 * LATENT_SIZE,), SIZES, seed=1, **given),
        mlp((LATENT_SIZE,), (size,), SIZES, seed=2, **given),
        latent,
        ConditionalPrior(latent, condition.shape, SIZES, "relu", seed=3),
        likelihood=BernoulliHead((size,), grey_targets=True),
        condition=condition,
    )
    vae.compile(keras.optimizers.Adam(1e-3), seed=0)
    return vae


def plain_network(size: int, shape: Sequence[int]) -> keras.Model:
    """Returns the network from c to the means of x, compiled."""
    network = mlp(shape, (size,), SIZES, "relu", seed=4)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-3), loss)
    return network


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and scores; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--manual-dir", help="the folder of MNIST's files")
    parser.add_argument("--epochs", type=int, default=50, help="at most; default: 50")
    parser.add_argument("--limit", type=int, help="test images; default: all")
    given = parser.parse_args(arguments)
    try:
        data = tfvae.data.load(
            "mnist", manual_dir=given.manual_dir, validation_size=5000
        )
    except tfvae.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    splits = [s.first(len(s))[0] for s in (data.train, data.validation, data.test)]
    splits[2] = splits[2][: given.limit]
    print(
        f"{'given':>6}{'-ELBO':>18}{'-L_1000':>18}{'plain network':>16}{'printed':>16}"
    )
    for quadrants, printed in PRINTED.items():
        known = known_pixels(quadrants)
        (x, c), held_out, (x_test, c_test) = (parts_of(s, known) for s in splits)
        size = x.shape[1]
        found, begun = {}, time.monotonic()
        vae = conditional_vae(size, Image(c.shape[1:]))
        network = plain_network(size, c.shape[1:])
        for model, inputs, valid in (
            (vae, (x, c), held_out),
            (network, (c, x), held_out[::-1]),
        ):
            stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
            model.fit(
                *inputs,
                batch_size=128,
                epochs=given.epochs,
                validation_data=valid,
                callbacks=[stop],
                verbose=0,
            )
            found[model.name] = stop.best_epoch + 1
        batch = {"x": x_test, "condition": c_test}
        elbo = score_images(vae, batch, 10).elbo
        bound = score_images(vae, batch, 1000).log_likelihood
        plain = size * network.evaluate(c_test, x_test, verbose=0)
        minutes = (time.monotonic() - begun) / 60
        cells = [with_error(-values) for values in (elbo, bound)]
        print(
            f"{quadrants:6}{cells[0]:>18}{cells[1]:>18}{plain:16.2f}"
            f"{printed[0]:10} {printed[1]:5}   epochs {list(found.values())}, "
            f"{minutes:.1f} min",
            flush=True,
        )
    print("\nnats per image; printed: Pyro's minus ELBO, and its plain network")
    return 0


def with_error(values: np.ndarray) -> str:
    """Returns the mean of an array [N], and its standard error."""
    return f"{values.mean():.2f} +- {values.std(ddof=1) / len(values) ** 0.5:.2f}"


if __name__ == "__main__":
    sys.exit(main())
