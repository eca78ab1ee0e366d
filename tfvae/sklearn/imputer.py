"""An imputer of missing values, in scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from tfvae.core.lookup import lookup
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.heads import HEADS, DistributionHead
from tfvae.latents import LATENTS
from tfvae.models import VAE, Imputation
from tfvae.sklearn.frames import columns_of
from tfvae.sklearn.rows import check_finite, training_batches
from tfvae.sklearn.settings import (
    RandomState,
    as_seed,
    restored_models,
    saved_models,
)
from tfvae.training.tables import build_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills in missing values with a VAE that is trained on what is observed: MIWAE.

    Mattei and Frellsen, "MIWAE: Deep Generative Modelling and Imputation of Incomplete
    Data Sets" (2019). Values are missing at random, given those that are observed.

    X is a table of numbers, in which NaN is a missing value, and whose columns are
    standardised within; or a pandas frame of which some columns are no numbers: each
    column then has a law of its own, see `tfvae.heads.Columns`.

    Args:
        likelihood: p(x|z) of a table of numbers, a name in `tfvae.heads.HEADS` of a
            distribution over real numbers.
        kinds: Of a frame, name of a column -> its kind, in place of what
            `Columns.from_frame` chooses. With it columns of numbers have laws of their
            own too; {} chooses all of them.
        latent: The family of z.
        latent_size: The number of latent variables.
        hidden_sizes: Units of the encoder; the decoder has them in reverse.
        activation: The activation of the hidden layers.
        num_samples: Samples of z per row in training, K of the IWAE bound.
        epochs: Passes over X in `fit`.
        batch_size: Rows in a training step; of fewer rows all are one batch.
        learning_rate: Adam's learning rate.
        impute_num_samples: Importance samples of z for each row that is filled in.
        sample_posterior: True to fill in a draw of p(missing|observed), for multiple
            imputation; False: its mean (of a category the most probable one).
        verbose: 1 prints a line for each pass; 0 prints nothing.
        random_state: The source of initial weights, order and samples; an int makes
            every `fit` the same.

    Attributes:
        vae_: The model, a `tfvae.VAE` with `missing="mar"`.
        columns_: The `tfvae.heads.Columns` of a frame; None of a table of numbers.
        history_: By name a list with a number for each epoch, in nats a row.
        n_features_in_: The number of columns of X.
        feature_names_in_: Their names, if X has any.
    """

    def __init__(
        self,
        *,
        likelihood: str = "normal",
        kinds: Mapping[str, str] | None = None,
        latent: str = "normal",
        latent_size: int = 10,
        hidden_sizes: Sequence[int] = (128, 128),
        activation: str = "relu",
        num_samples: int = 20,
        epochs: int = 200,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        impute_num_samples: int = 1000,
        sample_posterior: bool = False,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.likelihood = likelihood
        self.kinds = kinds
        self.latent = latent
        self.latent_size = latent_size
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.num_samples = num_samples
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.impute_num_samples = impute_num_samples
        self.sample_posterior = sample_posterior
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> VAEImputer:
        """Trains a new model on what is observed of X.

        Args:
            X: [n, n_features], NaN (None in a frame of text) where a value is missing.
            y: Not used.

        Raises:
            InputError: if a setting is not usable, nothing of a column is observed, or
                the loss is not finite.
        """
        seed = as_seed(self.random_state)
        rows = self._read(X, reset=True)
        vae = self._made(rows, seed)
        size = min(require_int("batch_size", self.batch_size), len(rows))
        history = vae.fit(
            training_batches(rows, size, seed, first_pass=0),
            epochs=require_int("epochs", self.epochs),
            steps_per_epoch=-(-len(rows) // size),
            verbose=2 if require_int("verbose", self.verbose, 0, 1) else 0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=check_finite)],
        )
        self.history_ = {k: [float(v) for v in h] for k, h in history.history.items()}
        self.vae_ = vae
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Returns X with its missing values filled in; what is observed stays.

        The draws for a row are a function of the row and of the model's seed, so that a
        row is filled in the same beside any other rows.

        Args:
            X: [n, n_features].

        Returns:
            [n, n_features] floats, or a frame of the dtypes of `fit`'s.
        """
        found = self.impute(X, num_draws=1 if self.sample_posterior else 0)
        filled = found.draws[0] if self.sample_posterior else found.mean
        if self.columns_ is not None:
            frame: Any = X
            made = self.columns_.decode(filled).set_index(frame.index)
            # Digits of what is observed are those that were given.
            return made.where(frame.isna(), frame[list(made)])
        rows = self._validated(X, reset=False)
        values = self._mean + self._scale * filled
        return np.where(np.isnan(rows), values, rows).astype(rows.dtype)

    def impute(
        self, X: ArrayLike, num_draws: int = 20, interval: float | None = None
    ) -> Imputation:
        """Returns means, draws, intervals and effective sample sizes; see `VAE.impute`.

        Numbers are standardised, as the model sees them; of a frame they are not, and
        categories are codes: `columns_.decode` gives frames.
        """
        check_is_fitted(self)
        return self.vae_.impute(
            self._read(X, reset=False),
            num_samples=require_int("impute_num_samples", self.impute_num_samples),
            num_draws=num_draws,
            interval=interval,
            seed=self.vae_.seed,
        )

    def _read(self, X: Any, reset: bool) -> np.ndarray:
        """Returns rows as the model takes them, float32 [n, n_features]."""
        if reset:
            self.columns_ = columns_of(X, self.kinds)
        if self.columns_ is not None:
            # Its own errors name columns and categories.
            encoded = self.columns_.encode(X)
            if reset:
                self.feature_names_in_ = np.array(list(X.columns), object)
                self.n_features_in_ = len(self.feature_names_in_)
            return encoded
        rows = self._validated(X, reset)
        if reset:
            self._mean, self._scale = _moments(rows)
        return ((rows - self._mean) / self._scale).astype(np.float32)

    def _validated(self, X: ArrayLike, reset: bool) -> np.ndarray:
        return validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            reset=reset,
        )

    def _made(self, rows: np.ndarray, seed: int) -> VAE:
        """Returns the model of rows [n, D], compiled."""
        size = rows.shape[1]
        head: DistributionHead
        if self.columns_ is not None:
            head = self.columns_
        else:
            head = lookup(HEADS, self.likelihood, "likelihood")((size,))
            if head.support != DistributionHead.support:
                raise InputError(
                    f"likelihood {self.likelihood!r} is over {head.support}, and "
                    "columns are standardised; choose one over real numbers, for "
                    "example 'normal' or 'student_t'"
                )
        family = lookup(LATENTS, self.latent, "latent")
        return build_table(
            head,
            require_int("latent_size", self.latent_size),
            tuple(self.hidden_sizes),
            self.activation,
            missing="mar",
            latent=self.latent,
            objective="iwae",
            num_samples=require_int("num_samples", self.num_samples),
            estimator="pathwise" if family.reparameterised else "vimco",
            learning_rate=self.learning_rate,
            seed=seed,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return saved_models(dict(super().__getstate__()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(restored_models(state))


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of what is observed in each column.

    Raises:
        InputError: if there is a column of which nothing is.
    """
    seen = ~np.isnan(rows)
    counts = seen.sum(axis=0)
    if not counts.all():
        raise InputError(
            f"all {len(rows)} values of column {int(np.argmin(counts))} are missing; "
            "leave the column out"
        )
    values = np.where(seen, rows, 0.0).astype(np.float64)
    mean = values.sum(axis=0) / counts
    squares = np.where(seen, rows - mean, 0.0).astype(np.float64) ** 2
    scale = np.sqrt(squares.sum(axis=0) / counts)
    return mean, np.where(scale > 0, scale, 1.0)
