"""The estimator: scikit-learn's conventions around a `VAE`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.models import VAE
from tfvae.sklearn.rows import by_rows, check_finite, row_scorer, training_batches
from tfvae.sklearn.settings import RandomState, as_config, as_seed
from tfvae.training.building import build_vae, compile_vae

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


class VAETransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator
):
    """A VAE that reduces rows of X to D latent variables, and gives their density.

    Rows are float32, and should have columns of about unit scale: put a
    `StandardScaler` before it in a `Pipeline`. Nothing is scaled here, so that
    `score_samples` is a density over X as it is given. What cannot be used is refused
    in `fit` with an `InputError`, a `ValueError`.

    Arguments not explained here are those of `tfvae.config.Config`.

    Args:
        likelihood: p(x|z), a name of the README's table. X must be in its support.
        likelihood_scale: The scale of likelihood normal_fixed_scale, and the start of
            normal_shared_scale's; None: 1.
        latent: The family of z.
        latent_size: The number of latent variables, D.
        prior: p(z).
        num_components: The components of prior mixture or vamp; None: 10 or 100.
        hidden_sizes: Units of the encoder; the decoder has them in reverse.
        activation: The activation of the hidden layers.
        objective: The bound to maximise.
        num_samples: Samples of z per row in training, S.
        estimator: The gradient estimator.
        analytic_kl: Whether objective elbo has the KL divergence in closed form.
        kl_weight: The factor of the rate in the loss; only 1 makes a bound.
        kl_warmup_steps: Training steps in which the factor grows from 0 to kl_weight.
        epochs: Passes over X in `fit`.
        batch_size: Rows in a training step; of fewer rows all are one batch.
        optimizer: The optimizer, with Keras' defaults but for the learning rate.
        learning_rate: The learning rate of every step.
        score_num_samples: Samples of z per row in `score_samples`, K.
        random_state: The source of initial weights, order and samples; an int makes
            every `fit` the same.

    Attributes:
        vae_: The model, a `tfvae.VAE` over rows of shape (n_features_in_,).
        history_: By name a list with a number for each epoch, in nats a row: "loss",
            "elbo", "distortion", "rate", and others that `VAE` explains.
        n_iter_: Passes over X so far, also those of `partial_fit`.
        n_features_in_: The number of columns of X.
        feature_names_in_: Their names, if X has any.
    """

    def __init__(
        self,
        *,
        likelihood: str = "normal",
        likelihood_scale: float | None = None,
        latent: str = "normal",
        latent_size: int = 10,
        prior: str = "standard",
        num_components: int | None = None,
        hidden_sizes: Sequence[int] = (200, 200),
        activation: str = "tanh",
        objective: str = "elbo",
        num_samples: int = 1,
        estimator: str = "pathwise",
        analytic_kl: bool = False,
        kl_weight: float = 1.0,
        kl_warmup_steps: int = 0,
        epochs: int = 100,
        batch_size: int = 100,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        score_num_samples: int = 100,
        random_state: RandomState = None,
    ) -> None:
        self.likelihood = likelihood
        self.likelihood_scale = likelihood_scale
        self.latent = latent
        self.latent_size = latent_size
        self.prior = prior
        self.num_components = num_components
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.objective = objective
        self.num_samples = num_samples
        self.estimator = estimator
        self.analytic_kl = analytic_kl
        self.kl_weight = kl_weight
        self.kl_warmup_steps = kl_warmup_steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.score_num_samples = score_num_samples
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> VAETransformer:
        """Trains a new model for `epochs` passes over X.

        Args:
            X: [n, n_features].
            y: Not used.

        Raises:
            InputError: if a setting is not usable, X is outside the likelihood's
                support, or the loss is not finite.
        """
        rows = validate_data(self, X, dtype=np.float32)
        self._start(rows)
        return self._train(rows, int(self.epochs))

    def partial_fit(self, X: ArrayLike, y: object = None) -> VAETransformer:
        """Goes on training, with the same optimizer, for one pass over X.

        It starts a new model if there is none; later changes of settings have no
        effect on it. X of at most `batch_size` rows is one training step, as in the TF1
        tutorial's class. Passes over the same X are those of a longer `fit`.

        Args:
            X: [n, n_features].
            y: Not used.

        Raises:
            InputError: if `fit` would raise it.
        """
        started = hasattr(self, "vae_")
        rows = validate_data(self, X, dtype=np.float32, reset=not started)
        if started:
            self._check_support(rows, self.vae_)
        else:
            self._start(rows)
        return self._train(rows, epochs=1)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Returns point estimates of z: means of q(z|x), or modes of discrete ones.

        Args:
            X: [n, n_features].

        Returns:
            Float32 [n, D]; latent 'categorical' and 'concrete' have D K columns.
        """
        vae, X = self._checked(X)
        return by_rows(lambda x: vae.latent.point_estimate(vae.encode(x)), X)

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Returns the means of p(x|z).

        Args:
            X: [n, D] Values of z, for example from `transform`.

        Returns:
            Float32 [n, n_features].

        Raises:
            InputError: if there is another number of columns.
        """
        check_is_fitted(self)
        vae, Z = self.vae_, check_array(X, dtype=np.float32)
        if Z.shape[1] != self._n_features_out:
            raise InputError(
                f"inverse_transform was given {Z.shape[1]} columns and the latent "
                f"variables have {self._n_features_out}; give what transform returns"
            )
        Z = Z.reshape(-1, *vae.latent.event_shape)  # [n, D], or [n, D, K] for one-hots
        return by_rows(lambda z: vae.decode(z).mean(), Z)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Returns L_K, the importance-weighted bound on log p(x) (Burda et al., 2016).

        K is `score_num_samples`. The draws for a row are a function of the row and of
        the model's seed, so that a row has one score beside any other rows.

        Args:
            X: [n, n_features].

        Returns:
            Float64 [n], in nats. For a continuous likelihood it is a log-density over
            X, which changes with the scale of X.

        Raises:
            InputError: if X is outside the likelihood's support.
        """
        vae, X = self._checked(X)
        self._check_support(X, vae)
        num_samples = require_int("score_num_samples", self.score_num_samples)
        return self._score_rows(X, num_samples)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Returns the mean of `score_samples(X)`, in nats a row; higher is better."""
        return float(np.mean(self.score_samples(X)))

    def sample(
        self, n_samples: int = 1, random_state: RandomState = None
    ) -> np.ndarray:
        """Draws rows from p(z) p(x|z).

        Args:
            n_samples: n.
            random_state: The source of the draw; None draws anew in each call.

        Returns:
            Float32 [n, n_features].
        """
        check_is_fitted(self)
        n_samples = require_int("n_samples", n_samples)
        draw = self.vae_.sample(n_samples, as_seed(random_state)).draw
        return draw.numpy().astype(np.float32)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")  # a refused `fit` leaves n_features_in_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_score_rows", None)
        if "vae_" in state:  # the content of a .keras file, optimizer included
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "vae.keras"
                state["vae_"].save(path)
                state["vae_"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "vae_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "vae.keras"
                path.write_bytes(state["vae_"])
                vae = keras.models.load_model(path)
            state = {**state, "vae_": vae, "_score_rows": row_scorer(vae)}
        super().__setstate__(state)

    @property
    def _n_features_out(self) -> int:
        """The number of columns that `transform` returns."""
        return int(np.prod(self.vae_.latent.event_shape))

    def _start(self, X: np.ndarray) -> None:
        """Makes a new model and optimizer, if the settings and X are usable."""
        require_int("score_num_samples", self.score_num_samples)
        config = as_config(self.get_params(), as_seed(self.random_state))
        mean = X.mean(axis=0, dtype=np.float64)
        vae = build_vae(config, (X.shape[1],), mean, images=X)
        self._check_support(X, vae)
        compile_vae(vae, config, steps_per_epoch=1)
        self.vae_, self._score_rows = vae, row_scorer(vae)
        self.history_: dict[str, list[float]] = {}
        self.n_iter_ = 0

    def _train(self, X: np.ndarray, epochs: int) -> VAETransformer:
        size = min(require_int("batch_size", self.batch_size), len(X))
        history = self.vae_.fit(
            training_batches(X, size, self.vae_.seed, first_pass=self.n_iter_),
            epochs=epochs,
            steps_per_epoch=-(-len(X) // size),
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=check_finite)],
        )
        for name, values in history.history.items():
            self.history_.setdefault(name, []).extend(map(float, values))
        self.n_iter_ += epochs
        return self

    def _checked(self, X: ArrayLike) -> tuple[VAE, np.ndarray]:
        check_is_fitted(self)
        return self.vae_, validate_data(self, X, dtype=np.float32, reset=False)

    def _check_support(self, X: np.ndarray, vae: VAE) -> None:
        head = vae.decoder.head
        if not head.in_support(X):
            raise InputError(
                f"X has values from {X.min():g} to {X.max():g} of which some are "
                f"outside the support of likelihood {self.likelihood!r}: "
                f"{head.support}; change X, or choose another likelihood"
            )
