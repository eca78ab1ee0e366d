"""An outlier detector with p-values, in scikit-learn's conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from tfvae.core.lookup import resolve
from tfvae.core.optional import is_frame
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number
from tfvae.evaluation.anomaly import SCORES, Detector, Score, calibrate
from tfvae.evaluation.anomaly.detector import check_alpha
from tfvae.sklearn.estimator import VAETransformer
from tfvae.sklearn.frames import has_other_than_numbers
from tfvae.sklearn.rows import Table, blocks_of
from tfvae.sklearn.settings import RandomState, as_seed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


class VAEOutlierDetector(OutlierMixin, BaseEstimator):
    """Finds rows that are unlike those of `fit`, with conformal p-values.

    A part of the rows is held out, a `VAETransformer` is fitted to the others, and a
    row's p-value is its rank among the held-out ones. `predict` marks rows whose
    p-value is `alpha` or less: of new rows of the same kind a share alpha at most,
    whatever the model is worth; see `tfvae.anomaly`. For this, `fit` has to see no
    outliers; if some are in its rows, give `contamination`, their share, and `predict`
    marks the rows that are stranger than so many of them.

    Args:
        transformer: The model, of which a copy is fitted, or a `Pipeline` that ends in
            it; None: `VAETransformer()`. Steps before it, a scaler for example, belong
            here: fitted to all rows, they would have seen those that calibrate.
        anomaly_score: A name in `tfvae.anomaly.SCORES`, or one of their instances;
            scikit-learn has `score` for a method. Typicality and density of states are
            fitted to the rows that are trained on.
        alpha: The share of false alarms that `predict` accepts.
        contamination: The share of outliers in the rows of `fit`, above 0 and at most
            0.5, which sets the threshold in place of `alpha`; None: there are none.
        validation_fraction: The share of the rows that is held out. The least p-value
            is 1 / (n + 1) with n of them.
        num_samples: K, the samples of z of each row.
        random_state: The source of the split and the draws, and of the training unless
            the transformer has its own; an int makes every `fit` the same.

    Attributes:
        transformer_: The fitted `VAETransformer`, or pipeline.
        offset_: The threshold of `score_samples`.
        n_features_in_: The number of columns of X.
        feature_names_in_: Their names, if X has any.
    """

    def __init__(
        self,
        transformer: VAETransformer | Pipeline | None = None,
        *,
        anomaly_score: str | Score = "likelihood",
        alpha: float = 0.1,
        contamination: float | None = None,
        validation_fraction: float = 0.2,
        num_samples: int = 100,
        random_state: RandomState = None,
    ) -> None:
        self.transformer = transformer
        self.anomaly_score = anomaly_score
        self.alpha = alpha
        self.contamination = contamination
        self.validation_fraction = validation_fraction
        self.num_samples = num_samples
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> VAEOutlierDetector:
        """Trains a model with a part of the rows, and calibrates with the others.

        Args:
            X: [n, n_features], dense or sparse; or a pandas frame of mixed columns, as
                `VAETransformer` takes it.
            y: Not used.

        Raises:
            InputError: if a setting is not usable, X is outside the likelihood's
                support, or so few rows are held out that none could be marked.
        """
        rows = self._validated(X, reset=True, ensure_min_samples=2)
        if self.contamination is not None:
            if require_number("contamination", self.contamination) > 0.5:
                raise InputError(
                    f"contamination {self.contamination!r} is not usable; give 0.5 at "
                    "most"
                )
        seed = as_seed(self.random_state)
        trained, held_out = self._split(rows.shape[0], seed)
        model = clone(
            VAETransformer() if self.transformer is None else self.transformer
        )
        last = _last(model)
        if last.random_state is None:
            last.set_params(random_state=seed)
        whole = X if is_frame(X) and not isinstance(model, Pipeline) else rows
        self.transformer_ = model.fit(_taken(whole, trained))
        self._detector = self._calibrated(
            _taken(rows, trained), _taken(rows, held_out), seed
        )
        if self.contamination is None:
            self.offset_ = -self._detector.threshold(self.alpha)
        else:
            scores = self._scores(rows)
            self.offset_ = float(np.quantile(-scores, self.contamination))
        return self

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Returns the negative scores of `tfvae.anomaly`, float64 [n]: low is strange.

        A row has the same score beside any other rows.

        Raises:
            InputError: if X is outside the likelihood's support.
        """
        return -self._scores(self._checked(X))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Returns `score_samples(X) - offset_`, float64 [n], below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Returns 1 for inliers and -1 for outliers, int [n]."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: ArrayLike) -> np.ndarray:
        """Returns (1 + #{held-out rows as strange or stranger}) / (n + 1), float64 [n].

        Raises:
            InputError: if X is outside the likelihood's support.
        """
        scores = self._scores(self._checked(X))
        return self._detector.p_values_of(scores)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        detector = state.pop("_detector", None)
        if detector is not None:  # the transformer brings the model
            parts = ("score", "calibration", "num_samples", "seed")
            state["_calibrated_with"] = {n: getattr(detector, n) for n in parts}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        parts = state.pop("_calibrated_with", None)
        if parts is not None:
            state["_detector"] = Detector(_last(state["transformer_"]).vae_, **parts)
        super().__setstate__(state)

    def _validated(self, X: Any, reset: bool, **how: Any) -> Any:
        """Returns rows; a frame of mixed columns is what the transformer is given."""
        kinds = getattr(_last(self.transformer or VAETransformer()), "kinds", None)
        if has_other_than_numbers(X) or (is_frame(X) and kinds is not None):
            if reset:
                self.feature_names_in_: np.ndarray = np.array([*X.columns], object)
                self.n_features_in_ = len(self.feature_names_in_)
            return X
        how |= {"dtype": np.float32, "accept_sparse": "csr", "reset": reset}
        return validate_data(self, X, **how)

    def _checked(self, X: ArrayLike) -> Table:
        check_is_fitted(self)
        return self._validated(X, reset=False)

    def _split(self, size: int, seed: int) -> list[np.ndarray]:
        """Returns the places of the rows to train on and of those that calibrate."""
        share = require_number("validation_fraction", self.validation_fraction)
        count = max(1, round(share * size))
        if count >= size:
            raise InputError(
                f"validation_fraction {self.validation_fraction!r} leaves none of "
                f"{size} rows to train on; give a smaller one, or more rows"
            )
        if self.contamination is None:
            check_alpha(self.alpha, count)
        return train_test_split(np.arange(size), test_size=count, random_state=seed)

    def _calibrated(self, trained: Table, held_out: Table, seed: int) -> Detector:
        score = resolve(SCORES, self.anomaly_score, Score, "anomaly_score")
        return calibrate(
            _last(self.transformer_).vae_,
            self._batches(held_out),
            score,
            require_int("num_samples", self.num_samples),
            seed,
            reference=self._batches(trained) if score.fits else None,
        )

    def _batches(self, X: Table) -> Any:
        """Yields rows as the model takes them."""
        model = self.transformer_
        if isinstance(model, Pipeline) and len(model) > 1:
            X = model[:-1].transform(X)
        if is_frame(X):
            X = _last(model)._read(X, reset=False)
        roles = _last(model)._roles
        return (roles.batch(np.float32(rows)) for rows in blocks_of(X))

    def _scores(self, X: Table) -> np.ndarray:
        return self._detector.scores(self._batches(X))


def _last(model: VAETransformer | Pipeline) -> VAETransformer:
    """Returns the VAE's estimator.

    Raises:
        InputError: if there is none.
    """
    last = model[-1] if isinstance(model, Pipeline) else model
    if not isinstance(last, VAETransformer):
        raise InputError(
            f"transformer {type(last).__name__} is no VAETransformer; give one, or a "
            "Pipeline that ends in one"
        )
    return last


def _taken(table: Any, places: np.ndarray) -> Any:
    """Returns rows; of a frame a frame, since its columns have names."""
    return table.iloc[places] if is_frame(table) else table[places]
