#!/usr/bin/env python3
r"""How well a VAE of mixed columns knows a table, beside a Gaussian copula.

    .venv/bin/python scripts/mixed_tables.py             # some twenty minutes
    .venv/bin/python scripts/mixed_tables.py --seeds 1 --epochs 2

Four tables, all within scikit-learn's wheel, some from its own tests:

    titanic        1,309 passengers: class, sex, age, relatives, fare, port; survived
    penguins         344 penguins: island, four measures, sex; species
    wine             178 wines, 13 real numbers; cultivar
    breast cancer    569 tumours, 30 real numbers; benign

The first two are mixed and have missing values; the numbers of the others are real, so
that a Gaussian copula has a density of them. A fifth of the rows are test rows, another
split for each seed; an eighth of the others tell the VAE when its training ends.

Held-out log-likelihood: nats a test row, of what is observed of the columns without the
target; L_1000 of the VAE, a lower bound. The copula's columns have kernel densities
(Scott's rule), and "independent" is the same with no correlations.

Train on synthetic, test on real: the accuracy of a random forest for the target on test
rows, trained on as many rows as there are training rows: the real ones, those of
`sample_frame`, those of the copula. Numbers are means and standard deviations of seeds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.resources
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import datasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import tfvae
from tfvae.sklearn import VAETransformer

_OPENML = "sklearn.datasets.tests.data.openml"
_TITANIC = (
    "pclass survived name sex age sibsp parch ticket fare cabin embarked"
).split()
_PENGUINS = ("species", "island", "length", "depth", "flipper", "mass", "sex")


def of_tests(
    folder: str, file: str, names: tuple[str, ...] | list[str]
) -> pd.DataFrame:
    """Returns an ARFF file of scikit-learn's tests, as text with None where missing."""
    place = importlib.resources.files(f"{_OPENML}.{folder}") / file
    text = gzip.decompress(place.read_bytes()).decode()
    lines = text.partition("@DATA")[2] or text.partition("@data")[2]
    rows = [line for line in lines.splitlines() if line.strip()]
    found = csv.reader(rows, escapechar="\\")
    frame = pd.DataFrame([row[: len(names)] for row in found], columns=list(names))
    return frame.map(str.strip).replace({"?": None, "_": None})


def titanic() -> pd.DataFrame:
    """Returns passengers with what a model can know of them."""
    raw = of_tests("id_40945", "data-v1-dl-16826755.arff.gz", _TITANIC)
    return pd.DataFrame(
        {
            "class": pd.Categorical(raw["pclass"], ["1", "2", "3"], ordered=True),
            "sex": pd.Categorical(raw["sex"]),
            "age": raw["age"].astype(float),
            "siblings": raw["sibsp"].astype(int),
            "parents": raw["parch"].astype(int),
            "fare": raw["fare"].astype(float),
            "port": pd.Categorical(raw["embarked"]),
            "target": pd.Categorical(raw["survived"]),
        }
    )


def penguins() -> pd.DataFrame:
    """Returns penguins; their lengths in mm, their mass in g."""
    raw = of_tests("id_42585", "data-v1-dl-21854866.arff.gz", _PENGUINS)
    numbers = raw[list(_PENGUINS[2:6])].astype(float)
    coded = {n: pd.Categorical(raw[n]) for n in ("island", "sex")}
    return numbers.assign(**coded, target=pd.Categorical(raw["species"]))


def continuous(load: Callable) -> pd.DataFrame:
    """Returns one of scikit-learn's tables of real numbers."""
    found = load(as_frame=True)
    return found.data.assign(target=pd.Categorical(found.target.astype(str)))


class Case(NamedTuple):
    """A table, and the kinds that are better said than chosen."""

    load: Callable[[], pd.DataFrame]
    kinds: dict[str, str]
    continuous: bool


CASES = {
    # Some fares are 0, which no log-normal has.
    "titanic": Case(titanic, {"fare": "student_t", "age": "normal"}, False),
    "penguins": Case(penguins, dict.fromkeys(_PENGUINS[2:6], "normal"), False),
    "wine": Case(lambda: continuous(datasets.load_wine), {}, True),
    "breast cancer": Case(lambda: continuous(datasets.load_breast_cancer), {}, True),
}


# -- the copula ------------------------------------------------------------------------


class Copula:
    """Normal scores of each column, and their correlations.

    Codes and counts are made continuous by a uniform draw within their step of the
    distribution function; correlations are those of pairs that are both observed.
    """

    def __init__(self, frame: pd.DataFrame, seed: int) -> None:
        self.frame, rng = frame, np.random.default_rng(seed)
        self.codes = {n: _codes(frame[n]) for n in frame}
        scores = {n: _normal_scores(x, rng) for n, x in self.codes.items()}
        values, vectors = np.linalg.eigh(pd.DataFrame(scores).corr().to_numpy())
        near = (vectors * np.maximum(values, 1e-6)) @ vectors.T
        scale = np.sqrt(np.diag(near))
        self.correlations = near / scale / scale[:, None]

    def sample(self, rows: int, seed: int) -> pd.DataFrame:
        """Returns rows whose columns have the values of the training rows."""
        rng = np.random.default_rng(seed)
        zeros = np.zeros(len(self.correlations))
        scores = rng.multivariate_normal(zeros, self.correlations, rows)
        found = {}
        for name, u in zip(self.codes, stats.norm.cdf(scores).T, strict=True):
            seen = self.codes[name][~np.isnan(self.codes[name])]
            x = np.quantile(seen, u, method="inverted_cdf")
            column = self.frame[name]
            if hasattr(column, "cat"):
                x = pd.Categorical.from_codes(x.astype(int), dtype=column.dtype)
            found[name] = x
        return pd.DataFrame(found).astype(self.frame.dtypes.to_dict())

    def log_density(self, frame: pd.DataFrame, correlated: bool = True) -> np.ndarray:
        """Returns nats of each row [n], of columns that are all continuous."""
        found, scores = np.zeros(len(frame)), []
        for name in frame:
            kernel = stats.gaussian_kde(self.codes[name])
            x, width = frame[name].to_numpy(float), np.sqrt(kernel.covariance[0, 0])
            found += kernel.logpdf(x)
            below = stats.norm.cdf((x[:, None] - kernel.dataset) / width).mean(axis=1)
            scores.append(stats.norm.ppf(np.clip(below, 1e-6, 1 - 1e-6)))
        if correlated:
            z = np.stack(scores, axis=-1)
            joint = stats.multivariate_normal(cov=self.correlations)
            found += joint.logpdf(z) - stats.norm.logpdf(z).sum(axis=-1)
        return found


def _codes(column: pd.Series) -> np.ndarray:
    """Returns a column [n] as floats, codes of categories, NaN where missing."""
    if hasattr(column, "cat"):
        codes = column.cat.codes.to_numpy(float)
        return np.where(codes < 0, np.nan, codes)
    return column.to_numpy(float)


def _normal_scores(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    seen = ~np.isnan(x)
    order, values = np.sort(x[seen]), x[seen]
    low, high = (np.searchsorted(order, values, side) for side in ("left", "right"))
    u = (low + rng.random(len(values)) * (high - low)) / len(values)
    scores = np.full(len(x), np.nan)
    scores[seen] = stats.norm.ppf(np.clip(u, 1e-6, 1 - 1e-6))
    return scores


# -- what is measured ------------------------------------------------------------------


def fitted(frame: pd.DataFrame, kinds: dict, seed: int, epochs: int) -> VAETransformer:
    """Returns a VAE of a frame, which stops early."""
    known = {name: kind for name, kind in kinds.items() if name in frame}
    return VAETransformer(
        kinds=known,
        latent_size=8,
        hidden_sizes=(64,),
        activation="relu",
        objective="iwae",
        num_samples=10,
        estimator="dreg",
        epochs=epochs,
        batch_size=32,
        learning_rate=2e-3,
        early_stopping=30,
        validation_fraction=0.125,
        score_num_samples=1000,
        random_state=seed,
    ).fit(frame)


def accuracy(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> float:
    """Returns the share of test rows whose target a forest of training rows has."""
    coded = make_column_selector(dtype_include="category")
    numbers = make_column_selector(dtype_include="number")
    model = make_pipeline(
        make_column_transformer(
            (
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"),
                    OneHotEncoder(handle_unknown="ignore"),
                ),
                coded,
            ),
            (SimpleImputer(), numbers),
        ),
        RandomForestClassifier(300, min_samples_leaf=2, random_state=seed),
    )
    features = [name for name in test if name != "target"]
    model.fit(train[features], train["target"].astype(str))
    return model.score(test[features], test["target"].astype(str))


def measured(case: Case, seed: int, epochs: int) -> dict[str, float]:
    """Returns the numbers of one table and split."""
    data = tfvae.data.load_table(case.load(), 0.2, 0.0, seed=seed, target="target")
    train, test = data.train, data.test
    features, rest = (part.drop(columns="target") for part in (train, test))
    vae = fitted(features, case.kinds, seed, epochs)
    found = {"nats, VAE": vae.score(rest)}
    if case.continuous:
        copula = Copula(features, seed)
        found["nats, copula"] = copula.log_density(rest).mean()
        found["nats, independent"] = copula.log_density(rest, False).mean()
    joint = fitted(train, case.kinds, seed, epochs).sample_frame(len(train), seed)
    drawn = Copula(train, seed).sample(len(train), seed)
    found["accuracy, real"] = accuracy(train, test, seed)
    found["accuracy, VAE"] = accuracy(joint, test, seed)
    found["accuracy, copula"] = accuracy(drawn, test, seed)
    most = train["target"].mode()[0]
    found["accuracy, the most frequent"] = float(np.mean(test["target"] == most))
    return found


def main() -> None:
    """Prints a line for each table and number."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300, help="at most")
    parser.add_argument("--tables", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    print(f"{'table':16}{'number':30}{'mean':>9}{'std':>8}")
    for name in options.tables:
        begun = time.monotonic()
        each = [measured(CASES[name], s, options.epochs) for s in range(options.seeds)]
        for number in each[0]:
            values = [found[number] for found in each]
            spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
            print(f"{name:16}{number:30}{np.mean(values):9.3f}{spread:8.3f}")
        print(f"{'':16}{(time.monotonic() - begun) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
