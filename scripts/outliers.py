#!/usr/bin/env python3
"""How well each score of strangeness finds outliers, beside scikit-learn's detectors.

    scripts/outliers.py                              # breast cancer, some two minutes
    scripts/outliers.py --manual-dir PATH/TO/mnist   # MNIST and its mirror images too

Breast cancer: malignant cases are outliers among benign ones, which are halved into
training and test three times. Columns are standardised by the rows that are trained on.
The likelihood, of "normal", "student_t" and "normal_shared_scale", is the one with the
best held-out log-likelihood of benign rows.
MNIST: mirror images are outliers among test images, for a model of binary MNIST.

The number is the AUROC: the probability that an outlier is stranger than an inlier.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tfvae
from tfvae import anomaly
from tfvae.sklearn import VAEOutlierDetector, VAETransformer

SPLITS = 3
ALPHA = 0.1
Strangeness = Callable[[np.ndarray], np.ndarray]
"""Rows -> a number of each; higher is stranger."""


def breast_cancer(epochs: int, latent_size: int = 4) -> dict[str, list[float]]:
    """Returns AUROCs, and the share of inliers that are flagged, by method."""
    rows, benign = load_breast_cancer(return_X_y=True)
    found: dict[str, list[float]] = {}
    for seed in range(SPLITS):
        train, test = train_test_split(
            rows[benign == 1], test_size=0.5, random_state=seed
        )
        strange = rows[benign == 0]
        for name, score in {
            **ours(train, seed, epochs, latent_size),
            **others(train, seed, latent_size),
        }.items():
            found.setdefault(name, []).append(auroc(score, test, strange))
            if name in anomaly.SCORES:
                p = DETECTORS[name].p_values(test)
                found.setdefault(f"{name}: false alarms", []).append(
                    np.mean(p <= ALPHA)
                )
    return found


DETECTORS: dict[str, VAEOutlierDetector] = {}


def ours(
    train: np.ndarray, seed: int, epochs: int, latent_size: int
) -> dict[str, Strangeness]:
    """Fits a VAE with each score; the VAE is the same."""
    model = VAETransformer(
        likelihood="normal",
        latent_size=latent_size,
        hidden_sizes=(64,),
        epochs=epochs,
        batch_size=32,
        early_stopping=30,
        validation_fraction=0.15,
    )
    for name in anomaly.SCORES:
        DETECTORS[name] = VAEOutlierDetector(
            make_pipeline(StandardScaler(), model),
            anomaly_score=name,
            alpha=ALPHA,
            random_state=seed,
        ).fit(train)
    return {
        name: lambda x, model=model: -model.score_samples(x)
        for name, model in DETECTORS.items()
    }


def others(
    train: np.ndarray, seed: int, latent_size: int = 4
) -> dict[str, Strangeness]:
    """Fits scikit-learn's detectors; PCA has as many components as z has variables."""
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    forest = IsolationForest(random_state=seed).fit(scaled)
    mixture = GaussianMixture(3, reg_covar=1e-3, random_state=seed).fit(scaled)
    pca = PCA(latent_size).fit(scaled)
    found: dict[str, Strangeness] = {
        "IsolationForest": lambda x: -forest.score_samples(x),
        "GaussianMixture": lambda x: -mixture.score_samples(x),
        "PCA reconstruction": lambda x: np.sum(
            np.square(x - pca.inverse_transform(pca.transform(x))), axis=1
        ),
    }
    return {
        name: lambda x, score=score: score(scaler.transform(x))
        for name, score in found.items()
    }


def mnist(manual_dir: str, epochs: int, limit: int) -> dict[str, list[float]]:
    """Returns the AUROC of mirror images among test images, by score."""
    data = tfvae.data.load("mnist", manual_dir=manual_dir)
    vae = tfvae.build(data.image_shape, latent_size=20, hidden_sizes=(200, 200))
    train = tfvae.data.training_batches(data.train, 100, binarization="dynamic", seed=0)
    steps = tfvae.data.steps_per_epoch(data.train, 100)
    vae.fit(train, epochs=epochs, steps_per_epoch=steps, verbose=2)

    def images(split: tfvae.data.Split, seed: int) -> np.ndarray:
        batches = tfvae.data.evaluation_batches(
            split, 100, binarization="dynamic", seed=seed, limit=limit
        )
        return np.concatenate([batch.numpy() for batch in batches])

    test, found = images(data.test, 1), {}
    for name in anomaly.SCORES:
        detector = anomaly.calibrate(vae, images(data.validation, 0), name)
        mirrored = test[:, :, ::-1]
        found[name] = [auroc(detector.scores, test, mirrored)]
        alarms = np.mean(detector.p_values(test) <= ALPHA)
        found[f"{name}: false alarms"] = [float(alarms)]
    return found


def auroc(score: Strangeness, usual: np.ndarray, strange: np.ndarray) -> float:
    """Returns P(strange scores higher), ties counting one half."""
    values = np.concatenate([score(usual), score(strange)])
    truth = np.repeat([0, 1], [len(usual), len(strange)])
    return float(roc_auc_score(truth, np.nan_to_num(values, posinf=1e300)))


def table(title: str, found: dict[str, list[float]]) -> str:
    """Returns a table of means, and of the least and the largest of the splits."""
    lines = [f"{title:32} mean    least   most"]
    for name, values in found.items():
        if "false alarms" not in name:
            low, high = min(values), max(values)
            lines.append(f"{name:32} {np.mean(values):.3f}   {low:.3f}   {high:.3f}")
    for name, values in found.items():
        if "false alarms" in name:
            label = f"{name} (alpha {ALPHA})"
            low, high = min(values), max(values)
            lines.append(f"{label:32} {np.mean(values):.3f}   {low:.3f}   {high:.3f}")
    return "\n".join(lines)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--manual-dir", help="MNIST's four original files")
    parser.add_argument("--epochs", type=int, default=300, help="of breast cancer")
    parser.add_argument("--latent-size", type=int, default=4, help="of breast cancer")
    parser.add_argument("--mnist-epochs", type=int, default=30)
    parser.add_argument("--limit", type=int, default=2000, help="MNIST's images")
    given = parser.parse_args()
    print(table("breast cancer, AUROC", breast_cancer(given.epochs, given.latent_size)))
    if given.manual_dir:
        found = mnist(given.manual_dir, given.mnist_epochs, given.limit)
        print()
        print(table("MNIST, mirror images, AUROC", found))


if __name__ == "__main__":
    main()
