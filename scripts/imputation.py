#!/usr/bin/env python3
r"""Fills the holes of scikit-learn's tables, beside other imputers.

The protocol of MIWAE's notebook (Mattei and Frellsen, 2019): columns are standardised,
half of all values are taken out at random (seed 1234), and the error is the mean of
(imputed - true)^2 over these. Encoder 3 x 128, decoder 2 x 128 ReLU, 10 latents,
Student-t q and p, Adam 2e-4, batch 32, K = 20, 1,001 epochs, no mask in the encoder.

    .venv/bin/python scripts/imputation.py

prints a line for each table and imputer. With the four MNIST files in PATH/TO/mnist,
`--manual-dir PATH/TO/mnist` trains on images of which a random half of the pixels is
missing, and fills such holes, and the lower half, in test images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import tfvae  # isort: skip  # before Keras, whose backend it chooses
import keras
import numpy as np
from sklearn import datasets
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from tfvae.heads import BernoulliHead
from tfvae.networks import mlp

TABLES = {
    "breast cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
}
PRINTED = {"breast cancer": "0.2867 (MIWAE's notebook)"}
OTHERS = {
    "chained equations": IterativeImputer(max_iter=20, random_state=0),
    "5 neighbours": KNNImputer(n_neighbors=5),
    "mean": SimpleImputer(),
}


def with_holes(x: np.ndarray) -> np.ndarray:
    """Returns a table [n, D] of which half of the values are NaN, as the notebook's."""
    holes = np.random.RandomState(1234).choice(x.size, x.size // 2, replace=False)
    found = x.copy().ravel()
    found[holes] = np.nan
    return found.reshape(x.shape)


def miwae(x: np.ndarray, seed: int, epochs: int) -> np.ndarray:
    """Returns a table [n, D] with its holes filled."""
    size = x.shape[1]
    vae = tfvae.VAE(
        mlp((size,), (30,), [128] * 3, "relu", seed=seed),
        mlp((10,), (3 * size,), [128] * 2, "relu", seed=seed + 1),
        "student_t",
        likelihood="student_t",
        missing="mar",
    )
    vae.compile(keras.optimizers.Adam(2e-4), "iwae", 20, seed=seed)
    keras.utils.set_random_seed(seed)  # of the order of the rows
    vae.fit(x.astype(np.float32), epochs=epochs, batch_size=32, verbose=0)
    return vae.impute(x.astype(np.float32), num_samples=1000, seed=seed).mean


def tables(seeds: int, epochs: int) -> None:
    """Prints the errors of all tables and imputers."""
    print(f"{'table':16}{'imputer':20}{'error':>18}{'minutes':>10}   printed")
    for name, load in TABLES.items():
        x = load().data
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        holes = with_holes(x)
        gone = np.isnan(holes)
        begun, errors = time.monotonic(), []
        for seed in range(seeds):
            filled = miwae(holes, seed, epochs)
            errors.append(np.mean((filled - x)[gone] ** 2))
        minutes = (time.monotonic() - begun) / 60 / seeds
        spread = f" +- {np.std(errors, ddof=1):.4f}" if seeds > 1 else ""
        shown = f"{np.mean(errors):.4f}{spread}"
        print(
            f"{name:16}{'tfvae, MIWAE':20}{shown:>18}{minutes:10.1f}   "
            f"{PRINTED.get(name, '')}",
            flush=True,
        )
        for other, imputer in OTHERS.items():
            error = np.mean((imputer.fit_transform(holes) - x)[gone] ** 2)
            print(f"{'':16}{other:20}{error:18.4f}", flush=True)


def images(manual_dir: str, epochs: int) -> None:
    """Prints the errors of MNIST's pixels, of 1,000 test images.

    One model is trained on images of which a random half is missing. It fills such
    holes, and the lower half, which no training image lacked as a whole: pixels that
    are never observed cannot be learned.
    """
    data = tfvae.data.load("mnist", manual_dir=manual_dir, validation_size=10_000)
    x, test = data.train.first(len(data.train))[0], data.test.first(1000)[0]
    random = np.random.default_rng(1234)
    begun = time.monotonic()
    vae = tfvae.VAE(
        mlp(
            x.shape[1:], (100,), [500, 500], "relu", seed=1, condition_shape=x.shape[1:]
        ),
        mlp((50,), x.shape[1:], [500, 500], "relu", seed=2),
        likelihood=BernoulliHead(x.shape[1:], grey_targets=True),
        missing="mcar",
    )
    vae.compile(keras.optimizers.Adam(1e-3), "iwae", 5, seed=0)
    keras.utils.set_random_seed(0)
    batch = {"x": x, "observed": random.random(x.shape) < 0.5}
    vae.fit(batch, epochs=epochs, batch_size=100, verbose=0)
    print(f"trained in {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
    lower = np.ones(test.shape, bool)
    lower[:, 14:] = False
    print(f"{'missing':18}{'tfvae, MIWAE':>14}{'pixel means':>14}")
    masks = {"a random half": random.random(test.shape) < 0.5, "the lower half": lower}
    for name, seen in masks.items():
        filled = vae.impute(test, seen, num_samples=200).mean
        means = np.broadcast_to(x.mean(axis=0), test.shape)
        errors = [np.mean((f - test)[~seen] ** 2) for f in (filled, means)]
        print(f"{name:18}{errors[0]:14.4f}{errors[1]:14.4f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    parser.add_argument("--epochs", type=int, help="default: 1,001, and 20 of images")
    parser.add_argument("--manual-dir", help="the folder of MNIST's files: images")
    given = parser.parse_args(arguments)
    try:
        if given.manual_dir:
            images(given.manual_dir, given.epochs or 20)
        else:
            tables(given.seeds, given.epochs or 1001)
    except tfvae.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
