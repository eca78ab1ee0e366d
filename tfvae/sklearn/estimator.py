"""The estimator: scikit-learn's conventions around a `VAE`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from tfvae.conditions import Numeric
from tfvae.core.optional import is_frame, optional_package
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number
from tfvae.heads import Columns
from tfvae.models import VAE
from tfvae.sklearn.frames import columns_in_place_of, encoded
from tfvae.sklearn.rows import (
    Roles,
    Table,
    batches_of,
    blocks_of,
    by_rows,
    check_finite,
    dense_rows,
    mean_of,
    roles_of,
    row_scorer,
    some_rows,
    training_batches,
)
from tfvae.sklearn.settings import (
    RandomState,
    as_config,
    as_seed,
    restored_models,
    saved_models,
)
from tfvae.training.building import build_vae, compile_vae
from tfvae.training.tables import missing_of, sample_frame

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


def _finds_outliers(model: VAETransformer) -> bool:
    if model.contamination is None:
        raise AttributeError(
            "there is no threshold between inliers and outliers; give VAETransformer "
            "contamination, the share of outliers in the training rows, for example 0.1"
        )
    return True


class VAETransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator
):
    """A VAE that reduces rows of X to D latent variables, and gives their density.

    Rows are float32, and should have columns of about unit scale: put a
    `StandardScaler` before it in a `Pipeline`. Nothing is scaled here, so that
    `score_samples` is a density over X as it is given. What cannot be used is refused
    in `fit` with an `InputError`, a `ValueError`. X may be a sparse matrix, of which
    few rows at a time are made dense.

    X may be a pandas frame of mixed columns (categories, text and booleans beside
    numbers): each column then has a law of its own, see `tfvae.heads.Columns`, and
    standardises within; `score_samples` is over X as it is given, categories being
    probabilities; `inverse_transform`, `sample` and `sample_frame` give frames with the
    dtypes and categories of the one that `fit` saw. Columns may have missing values
    (NaN) if some had them in `fit`: scores are then those of what is observed.

    With `contamination` it is an outlier detector too: `predict` marks the rows whose
    `score_samples` are below the threshold that this share of the training rows is
    below.

    Arguments not explained here are those of `tfvae.config.Config`.

    Args:
        likelihood: p(x|z), a name in `tfvae.heads.HEADS`. X must be in its support. A
            frame of mixed columns has `tfvae.heads.Columns` in its place; under another
            likelihood than "normal", booleans are numbers.
        kinds: Of a frame, name of a column -> its kind, in place of what
            `Columns.from_frame` chooses. With it columns of numbers have laws of their
            own too; {} chooses all of them.
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
        early_stopping: Passes without a better loss on held-out rows after which `fit`
            ends, with the weights of the best pass; None: never. The loss is that of
            `kl_weight` 1, so passes of a warm-up do not count.
        validation_fraction: The share of the rows that early stopping holds out.
        contamination: The share of outliers in the training rows, above 0 and at most
            0.5, which sets the threshold of `predict`; None: there is none.
        condition_columns: The columns of X that are given, by name or number: the model
            is then p(x|c) of the others, and c is standardised by the training rows.
            Categories go in as columns of zeros and ones; None: all columns are x.
        verbose: 1 prints a line for each pass; 0 prints nothing.
        score_num_samples: Samples of z per row in `score_samples`, K.
        random_state: The source of initial weights, order and samples; an int makes
            every `fit` the same.

    Attributes:
        vae_: The model, a `tfvae.VAE` over rows of shape (n_features_in_,), less the
            columns of the condition.
        columns_: The `tfvae.heads.Columns` of a mixed frame, else None.
        history_: By name a list with a number for each epoch, in nats a row: "loss",
            "elbo", "distortion", "rate", and others that `VAE` explains; with early
            stopping also of the held-out rows, "val_loss" and so on.
        offset_: With `contamination`, the threshold of `score_samples`, in nats.
        n_iter_: Passes over X so far, also those of `partial_fit`.
        n_features_in_: The number of columns of X.
        feature_names_in_: Their names, if X has any.
    """

    def __init__(
        self,
        *,
        likelihood: str = "normal",
        kinds: Mapping[str, str] | None = None,
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
        early_stopping: int | None = None,
        validation_fraction: float = 0.1,
        contamination: float | None = None,
        condition_columns: Sequence[str | int] | None = None,
        verbose: int = 0,
        score_num_samples: int = 100,
        random_state: RandomState = None,
    ) -> None:
        self.likelihood = likelihood
        self.kinds = kinds
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.condition_columns = condition_columns
        self.verbose = verbose
        self.score_num_samples = score_num_samples
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> VAETransformer:
        """Trains a new model for `epochs` passes over X, or until it stops early.

        Args:
            X: [n, n_features], dense or sparse; or a pandas frame of mixed columns.
            y: Not used.

        Raises:
            InputError: if a setting is not usable, X is outside the likelihood's
                support, or the loss is not finite.
        """
        rows = self._read(X, reset=True)
        self._check_settings()
        self._forget_threshold()
        seed = as_seed(self.random_state)
        trained, held_out = rows, None
        if self.early_stopping is not None:
            trained, held_out = self._split(rows, seed)
        self._start(trained, seed)
        self._train(trained, int(self.epochs), held_out)
        if self.contamination is not None:
            scores = self._score_rows(rows, int(self.score_num_samples))
            self.offset_ = float(np.quantile(scores, self.contamination))
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> VAETransformer:
        """Goes on training, with the same optimizer, for one pass over X.

        It starts a new model if there is none; later changes of settings have no
        effect on it. X of at most `batch_size` rows is one training step, as in the TF1
        tutorial's class. Passes over the same X are those of a longer `fit`. There is
        no threshold of `predict` afterwards, since X is a part of the training rows.

        Args:
            X: [n, n_features], dense or sparse.
            y: Not used.

        Raises:
            InputError: if `fit` would raise it, or `early_stopping` is set.
        """
        if self.early_stopping is not None:
            raise InputError(
                f"early_stopping {self.early_stopping!r} has no effect in partial_fit, "
                "which makes one pass; leave it out, or use fit"
            )
        started = hasattr(self, "vae_")
        rows = self._read(X, reset=not started)
        self._check_settings()
        if started:
            self._check_support(rows, self.vae_, self._roles)
        else:
            self._start(rows, as_seed(self.random_state))
        self._forget_threshold()
        return self._train(rows, epochs=1)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Returns point estimates of z: means of q(z|x), or modes of discrete ones.

        Args:
            X: [n, n_features].

        Returns:
            Float32 [n, D]; latent 'categorical' and 'concrete' have D K columns.
        """
        vae, X = self._checked(X)
        roles = self._roles
        return by_rows(
            lambda rows: vae.latent.point_estimate(vae.encode(roles.batch(rows))), X
        )

    def inverse_transform(
        self, X: ArrayLike, condition: ArrayLike | None = None
    ) -> Any:
        """Returns the means of p(x|z), or of p(x|z, c).

        Args:
            X: [n, D] Values of z, for example from `transform`.
            condition: [n, n_condition] With `condition_columns`, their values.

        Returns:
            Float32 [n, n_features], with the condition's columns as they were given; a
            pandas frame with the columns' names if X is one and `fit` saw names. Of a
            mixed frame a frame with its dtypes: means are rounded where it has whole
            numbers, and of categories the most probable.

        Raises:
            InputError: if there is another number of columns or of rows.
        """
        check_is_fitted(self)
        vae, Z = self.vae_, check_array(X, dtype=np.float32)
        if Z.shape[1] != self._n_features_out:
            raise InputError(
                f"inverse_transform was given {Z.shape[1]} columns and the latent "
                f"variables have {self._n_features_out}; give what transform returns"
            )
        given, roles = self._condition(condition, len(Z)), self._roles
        size = Z.shape[1]
        event = vae.latent.event_shape  # [D], or [D, K] for one-hots

        def means_of(rows: tf.Tensor) -> tf.Tensor:
            z = tf.reshape(rows[:, :size], [-1, *event])
            c = None if given is None else rows[:, size:]
            return vae.decode(z, condition=c).mean()

        parts = Z if given is None else np.concatenate([Z, given], axis=1)
        means = roles.table(by_rows(means_of, parts), given)
        if self.columns_ is not None:
            made = self.columns_.decode(means)
            index = getattr(X, "index", None) if is_frame(X) else None
            return made if index is None else made.set_index(index)
        names = getattr(self, "feature_names_in_", None)
        if names is None or not (hasattr(X, "index") and hasattr(X, "columns")):
            return means
        frame: Any = type(X)  # pandas' class, whose import is the user's
        return frame(means, index=X.index, columns=names)

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
        self._check_support(X, vae, self._roles)
        num_samples = require_int("score_num_samples", self.score_num_samples)
        return self._score_rows(X, num_samples)

    @available_if(_finds_outliers)
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Returns `score_samples(X) - offset_`, float64 [n], below 0 for outliers.

        It exists with `contamination` alone, as do `predict` and `fit_predict`.

        Raises:
            InputError: if X is outside the likelihood's support, or the model was last
                trained by `partial_fit`.
        """
        check_is_fitted(self)
        if not hasattr(self, "offset_"):
            raise InputError(
                "there is no threshold between inliers and outliers after partial_fit, "
                "or a fit without contamination; call fit, or use score_samples"
            )
        return self.score_samples(X) - self.offset_

    @available_if(_finds_outliers)
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Returns 1 for inliers and -1 for outliers, int [n]."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    @available_if(_finds_outliers)
    def fit_predict(self, X: ArrayLike, y: object = None) -> np.ndarray:
        """Fits the model to X, and returns `predict(X)`."""
        return self.fit(X).predict(X)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Returns the mean of `score_samples(X)`, in nats a row; higher is better."""
        return float(np.mean(self.score_samples(X)))

    def sample(
        self,
        n_samples: int = 1,
        random_state: RandomState = None,
        condition: ArrayLike | None = None,
    ) -> Any:
        """Draws rows from p(z) p(x|z), or from p(x|c).

        Args:
            n_samples: n.
            random_state: The source of the draw; None draws anew in each call.
            condition: [n, n_condition] With `condition_columns`, their values; or one
                row for all.

        Returns:
            Float32 [n, n_features]; of a mixed frame a frame like it.
        """
        check_is_fitted(self)
        n_samples = require_int("n_samples", n_samples)
        given = self._condition(condition, n_samples)
        if self.columns_ is not None:
            return sample_frame(self.vae_, n_samples, as_seed(random_state))
        draw = self.vae_.sample(n_samples, as_seed(random_state), given).draw
        return self._roles.table(draw.numpy().astype(np.float32), given)

    def sample_frame(
        self,
        n_samples: int = 1,
        random_state: RandomState = None,
        condition: ArrayLike | None = None,
    ) -> Any:
        """Draws rows as `sample` does, as a pandas frame with the columns of `fit`'s.

        Raises:
            InputError: if `fit` saw no names of columns, or pandas is not installed.
        """
        found = self.sample(n_samples, random_state, condition)
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            raise InputError(
                "sample_frame gives columns the names that fit saw, and there were "
                "none; fit a pandas DataFrame, or use sample"
            )
        if self.columns_ is not None:
            return found
        pandas = optional_package("pandas", "tables", "sample_frame")
        return pandas.DataFrame(found, columns=names)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")  # a refused `fit` leaves n_features_in_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        for part in ("_score_rows", "columns_"):  # the model brings them
            state.pop(part, None)
        return saved_models(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = restored_models(state)
        if "vae_" in state:
            # What was pickled before there were conditions has no roles.
            roles = state.get("_roles", Roles(np.arange(state["n_features_in_"])))
            scorer, head = row_scorer(state["vae_"], roles), state["vae_"].decoder.head
            columns = head if isinstance(head, Columns) else None
            state |= {"_roles": roles, "_score_rows": scorer, "columns_": columns}
        super().__setstate__(state)

    @property
    def _n_features_out(self) -> int:
        """The number of columns that `transform` returns."""
        return int(np.prod(self.vae_.latent.event_shape))

    def _check_settings(self) -> None:
        """Refuses settings that are not a configuration's."""
        require_int("score_num_samples", self.score_num_samples)
        require_int("verbose", self.verbose, least=0, most=1)
        shares = {"validation_fraction": 1.0, "contamination": 0.5}
        for name, most in shares.items():
            value = getattr(self, name)
            if value is not None and require_number(name, value) > most:
                raise InputError(f"{name} {value!r} is not usable; give {most} at most")

    def _forget_threshold(self) -> None:
        if hasattr(self, "offset_"):
            del self.offset_

    def _split(self, X: Table, seed: int) -> list[Table]:
        """Returns the rows to train on, and those that early stopping looks at."""
        size = max(1, round(self.validation_fraction * X.shape[0]))
        if size >= X.shape[0]:
            raise InputError(
                f"validation_fraction {self.validation_fraction!r} leaves none of "
                f"{X.shape[0]} rows to train on; give a smaller one, or more rows"
            )
        return train_test_split(X, test_size=size, random_state=seed)

    def _start(self, X: Table, seed: int) -> None:
        """Makes a new model and optimizer, if the settings and X are usable."""
        config = as_config(self.get_params(), seed)
        names = getattr(self, "feature_names_in_", None)
        roles = roles_of(X, self.condition_columns, names)
        condition = None
        if roles.condition is not None:
            condition = Numeric.from_data(
                dense_rows(X[:, roles.condition], slice(None))
            )
        shape = (len(roles.x),)
        if self.columns_ is None:
            rows = some_rows(X, seed)[:, roles.x]
            vae = build_vae(config, shape, mean_of(X)[roles.x], rows, condition)
        else:
            missing = missing_of(self.columns_)
            vae = build_vae(config, shape, likelihood=self.columns_, missing=missing)
        self._check_support(X, vae, roles)
        compile_vae(vae, config, steps_per_epoch=1)
        self.vae_, self._roles, self._score_rows = vae, roles, row_scorer(vae, roles)
        self.history_: dict[str, list[float]] = {}
        self.n_iter_ = 0

    def _train(
        self, X: Table, epochs: int, held_out: Table | None = None
    ) -> VAETransformer:
        size = min(require_int("batch_size", self.batch_size), X.shape[0])
        steps = -(-X.shape[0] // size)
        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=check_finite)]
        if held_out is not None:
            stopping = keras.callbacks.EarlyStopping(
                patience=self.early_stopping,
                restore_best_weights=True,
                start_from_epoch=min(-(-self.kl_warmup_steps // steps), epochs - 1),
            )
            callbacks.append(stopping)
        history = self.vae_.fit(
            self._roles.batches(
                training_batches(X, size, self.vae_.seed, first_pass=self.n_iter_)
            ),
            epochs=epochs,
            steps_per_epoch=steps,
            verbose=2 if self.verbose else 0,
            callbacks=callbacks,
            validation_data=None
            if held_out is None
            else self._roles.batches(batches_of(held_out, size)),
        )
        for name, values in history.history.items():
            self.history_.setdefault(name, []).extend(map(float, values))
        self.n_iter_ += len(history.epoch)
        return self

    def _checked(self, X: ArrayLike) -> tuple[VAE, Table]:
        check_is_fitted(self)
        return self.vae_, self._read(X, reset=False)

    def _read(self, X: Any, reset: bool) -> Table:
        """Returns rows as the model takes them; with `reset` they say what X is."""
        columns = getattr(self, "columns_", None)
        if reset:
            settings = self.get_params(deep=False)
            columns = columns_in_place_of(X, self.kinds, settings)
        if columns is None:
            rows = validate_data(
                self, X, dtype=np.float32, accept_sparse="csr", reset=reset
            )
        else:
            rows = encoded(columns, X)  # its own errors name columns
        if reset:
            self.columns_ = columns
            if columns is not None:
                self.feature_names_in_ = np.array(columns.names, object)
                self.n_features_in_ = len(columns.names)
        return rows

    def _condition(self, given: ArrayLike | None, rows: int) -> np.ndarray | None:
        """Returns the values of the condition's columns for so many rows, or None.

        Raises:
            InputError: if there is another number of them, or none are wanted.
        """
        columns = self._roles.condition
        if columns is None:
            if given is None:
                return None
            raise InputError(
                "a condition was given, and the model has none; make it with "
                "condition_columns, or leave it out"
            )
        wanted = f"[{rows}, {len(columns)}], or one row of {len(columns)}"
        if given is None:
            raise InputError(
                f"the model is p(x|c) of condition_columns {self.condition_columns}; "
                f"give condition {wanted}"
            )
        values = np.atleast_2d(check_array(given, ensure_2d=False, dtype=np.float32))
        if values.shape not in ((rows, len(columns)), (1, len(columns))):
            raise InputError(f"condition has shape {values.shape}; give {wanted}")
        return np.broadcast_to(values, (rows, len(columns)))

    def _check_support(self, X: Table, vae: VAE, roles: Roles) -> None:
        head = vae.decoder.head
        if isinstance(head, Columns):
            return  # which has encoded X
        if not all(head.in_support(block[:, roles.x]) for block in blocks_of(X)):
            raise InputError(
                f"X has values from {X.min():g} to {X.max():g} of which some are "
                f"outside the support of likelihood {self.likelihood!r}: "
                f"{head.support}; change X, or choose another likelihood"
            )
