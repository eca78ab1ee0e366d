"""The scikit-learn estimator keeps scikit-learn's conventions, and its own promises."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import numpy as np
import pytest
import sklearn.base
from helpers.models import estimator_for
from scipy import sparse, stats
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import tfvae.sklearn.estimator
import tfvae.sklearn.rows
from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.evaluation import score_images
from tfvae.latents import LATENTS
from tfvae.models import VAE
from tfvae.sklearn import VAETransformer
from tfvae.sklearn.settings import OWN

TINY = {
    "latent_size": 2,
    "hidden_sizes": (4,),
    "epochs": 2,
    "score_num_samples": 5,
    "random_state": 0,
}


def tiny(**settings) -> VAETransformer:
    return VAETransformer(**{**TINY, **settings})


def iris() -> np.ndarray:
    return StandardScaler().fit_transform(load_iris().data).astype(np.float32)


def weights(model: VAETransformer) -> list[np.ndarray]:
    return [weight.numpy() for weight in model.vae_.weights]


def same_weights(one: VAETransformer, other: VAETransformer) -> bool:
    return all(map(np.array_equal, weights(one), weights(other)))


# -- scikit-learn's checks -------------------------------------------------------------

# All apply: none is expected to fail. check_array_api_input skips itself unless
# SCIPY_ARRAY_API is set before SciPy is imported. These make several fits each to see
# again what others see.
COSTLY = {
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_overwrite_params",
    "check_fit_score_takes_y",
    "check_pipeline_consistency",
    "check_transformer_data_not_an_array",
}


def checks() -> list:
    estimator = VAETransformer(**TINY)
    return [
        pytest.param(*pair, id=name, marks=[pytest.mark.slow] * (name in COSTLY))
        for pair in estimator_checks.estimator_checks_generator(estimator)
        for name in [pair[1].func.__name__]
    ]


@pytest.fixture
def eager(monkeypatch):
    """Two steps are sooner taken than traced, and most fits here have two."""
    always = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(VAE, "run_eagerly", always)


@pytest.mark.quick(1)
@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learns_checks(estimator, check, eager):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_set_output_transform,
    ],
)
def test_checks_that_scikit_learn_has_for_its_own_transformers(check, eager):
    check("VAETransformer", VAETransformer(**TINY))


# -- a linear model, whose density is known --------------------------------------------


@pytest.fixture(scope="module")
def linear() -> VAETransformer:
    """p(x|z) = Normal(W z + b, s^2), which is probabilistic PCA's model."""
    model = VAETransformer(
        likelihood="normal_shared_scale",
        latent_size=1,
        hidden_sizes=(),
        analytic_kl=True,
        epochs=40,
        batch_size=25,
        learning_rate=0.02,
        score_num_samples=50,
        random_state=0,
    )
    return model.fit(iris())


def parts(model: VAETransformer) -> tuple[np.ndarray, np.ndarray, float]:
    """W [D, n_features], b [n_features] and s^2."""
    w, b = (
        weight.numpy().astype(float) for weight in model.vae_.decoder.network.weights
    )
    raw = float(model.vae_.decoder.head.raw_scale.numpy())
    return w, b, (np.log1p(np.exp(raw)) + 1e-5) ** 2


def marginal(model: VAETransformer) -> stats._multivariate.multivariate_normal_frozen:
    w, b, variance = parts(model)
    return stats.multivariate_normal(b, w.T @ w + variance * np.eye(len(b)))


def test_scores_estimate_the_density_without_bias(linear):
    """E mean_k w_k = p(x), and each row has draws of its own."""
    x = iris()
    ratios = np.exp(linear.score_samples(x) - marginal(linear).logpdf(x))
    assert abs(ratios.mean() - 1) < 5 * ratios.std(ddof=1) / np.sqrt(len(x))


def test_a_trained_linear_model_is_between_independent_columns_and_ppca(linear):
    """PCA.score is the largest log-likelihood that this family can have."""
    x = iris().astype(float)
    independent = stats.norm(x.mean(axis=0), x.std(axis=0)).logpdf(x).sum(axis=1).mean()
    reached = marginal(linear).logpdf(x).mean()
    # scikit-learn divides by n - 1, the maximum likelihood estimate by n.
    pca = PCA(1).fit(x)
    shrunk = pca.get_covariance() * (len(x) - 1) / len(x)
    best = stats.multivariate_normal(x.mean(axis=0), shrunk).logpdf(x).mean()
    assert independent < reached <= best + 1e-9


def test_inverse_transform_is_the_decoders_mean(linear):
    w, b, _ = parts(linear)
    z = np.random.default_rng(0).normal(size=(7, 1))
    # float32 of numbers of order 1
    np.testing.assert_allclose(linear.inverse_transform(z), z @ w + b, atol=1e-5)


def test_samples_have_the_models_mean_and_variance(linear):
    count = 2000
    x = linear.sample(count, random_state=0).astype(float)
    mean, variance = marginal(linear).mean, np.diag(marginal(linear).cov)
    errors = np.sqrt(variance / count)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * errors)
    errors = variance * np.sqrt(2 / count)  # of the mean of (x - mean)^2, x Gaussian
    assert np.all(np.abs(np.square(x - mean).mean(axis=0) - variance) < 5 * errors)


# -- latent families and likelihoods ---------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.parametrize("latent", LATENTS)
def test_the_way_there_and_back_is_the_models_reconstruction(latent, eager):
    x = iris()[::10]
    model = tiny(latent=latent, estimator=estimator_for(latent), num_samples=2).fit(x)
    z = model.transform(x)
    assert z.shape == (len(x), len(model.get_feature_names_out()))
    wanted = model.vae_.reconstruct(x).numpy()
    # Float32 rounding of matrix products of other numbers of rows.
    np.testing.assert_allclose(model.inverse_transform(z), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_binary_columns_have_probabilities_that_sum_to_one(eager):
    states = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    model = tiny(likelihood="bernoulli", score_num_samples=2000).fit(states)
    p = np.exp(model.score_samples(states))
    ess = score_images(model.vae_, [states.astype(np.float32)], 2000).ess
    # each row has draws of its own, and p a relative variance of at most 1 / ess
    assert abs(p.sum() - 1) < 5 * np.sqrt(np.sum(p**2 / ess))


def test_rows_in_chunks_are_the_rows_at_once(monkeypatch, eager):
    x = iris()
    model = tiny().fit(x)
    whole = model.transform(x)
    monkeypatch.setattr(tfvae.sklearn.rows, "_ROWS", 7)
    # a matrix product of fewer rows may sum in another order
    np.testing.assert_allclose(model.transform(x), whole, rtol=1e-4, atol=1e-6)


# -- training --------------------------------------------------------------------------


def test_the_history_has_the_tf1_classes_losses(eager):
    history = tiny(epochs=3).fit(iris()).history_
    assert len(history["loss"]) == 3
    # sums of 150 float32 in another order
    both = np.add(history["rate"], history["distortion"])
    np.testing.assert_allclose(history["loss"], both, rtol=1e-5)


@pytest.mark.slow
def test_passes_of_partial_fit_are_those_of_fit(eager):
    x = iris()
    at_once = tiny(epochs=3, batch_size=40).fit(x)
    one_by_one = tiny(batch_size=40)
    for _ in range(3):
        one_by_one.partial_fit(x)
    assert same_weights(at_once, one_by_one)
    assert at_once.history_ == one_by_one.history_
    assert at_once.n_iter_ == one_by_one.n_iter_ == 3


def test_partial_fit_of_one_batch_is_one_step(eager):
    model = tiny(batch_size=100).partial_fit(iris()[:100])
    assert int(model.vae_.optimizer.iterations.numpy()) == 1
    model.partial_fit(iris()[100:])
    assert int(model.vae_.optimizer.iterations.numpy()) == 2


def test_fit_starts_anew(eager):
    x = iris()
    model = tiny().fit(x)
    first = weights(model)
    model.fit(x)
    assert all(map(np.array_equal, first, weights(model))) and model.n_iter_ == 2


def test_each_pass_shows_each_row_once_in_an_order_of_its_own():
    x = np.arange(10, dtype=np.float32)[:, np.newaxis]
    batches = tfvae.sklearn.rows.training_batches(x, 4, seed=3, first_pass=0)
    seen = [batch.numpy().ravel() for batch in batches.take(6)]
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    one, two = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(one) == sorted(two) == list(range(10))
    assert list(one) != list(two)
    later = tfvae.sklearn.rows.training_batches(x, 4, seed=3, first_pass=1)
    np.testing.assert_array_equal(
        two, np.concatenate([batch.numpy().ravel() for batch in later.take(3)])
    )


@pytest.mark.slow
def test_nothing_is_printed(capfd, caplog):
    """Not by many models either: TensorFlow takes their traces for one's."""
    for _ in range(6):
        model = tiny(epochs=1).fit(iris()[:20])
        model.score(iris()[:20])
    out, err = capfd.readouterr()
    assert not out and not err and not caplog.records


# -- randomness ------------------------------------------------------------------------


def test_an_int_repeats_a_fit_and_a_generator_goes_on(eager):
    x = iris()[:50]
    model = tiny(random_state=4).fit(x)
    assert same_weights(model, tiny(random_state=4).fit(x))
    assert not same_weights(model, tiny(random_state=5).fit(x))
    generator = np.random.RandomState(4)  # an int makes one of these in each fit
    assert same_weights(model, tiny(random_state=generator).fit(x))
    assert not same_weights(model, tiny(random_state=generator).fit(x))


def test_sample_repeats_an_int_and_goes_on_with_none(linear):
    one = linear.sample(3, random_state=1)
    np.testing.assert_array_equal(one, linear.sample(3, random_state=1))
    assert not np.array_equal(one, linear.sample(3, random_state=2))
    assert not np.array_equal(linear.sample(3), linear.sample(3))


def test_a_row_has_one_score_in_whatever_company(linear):
    x = iris()
    scores = linear.score_samples(x)
    np.testing.assert_array_equal(linear.score_samples(x[::-1])[::-1], scores)
    np.testing.assert_array_equal(linear.score_samples(x[5:6]), scores[5:6])


def test_zero_and_minus_zero_score_alike(linear):
    zero = np.zeros((1, 4))
    np.testing.assert_array_equal(
        linear.score_samples(zero), linear.score_samples(-zero)
    )


# -- what surrounds it -----------------------------------------------------------------


def test_a_pickle_scores_the_same_and_goes_on_training_the_same(eager):
    x = iris()
    model = tiny().fit(x)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.transform(x), model.transform(x))
    np.testing.assert_array_equal(copy.score_samples(x), model.score_samples(x))
    assert copy.history_ == model.history_
    assert same_weights(copy.partial_fit(x), model.partial_fit(x))


def test_a_pickle_of_an_unfitted_one_is_unfitted():
    with pytest.raises(NotFittedError):
        pickle.loads(pickle.dumps(tiny())).transform(iris())


@pytest.mark.slow
def test_a_pipeline_with_a_scaler_is_the_two_one_after_the_other(eager):
    raw = load_iris().data
    pipeline = make_pipeline(StandardScaler(), tiny()).fit(raw)
    model = tiny().fit(iris())
    np.testing.assert_array_equal(pipeline.transform(raw), model.transform(iris()))
    assert pipeline.score(raw) == model.score(iris())
    back = pipeline.inverse_transform(pipeline.transform(raw))
    scaled = model.inverse_transform(model.transform(iris()))
    scaler = StandardScaler().fit(raw)
    np.testing.assert_allclose(back, scaler.inverse_transform(scaled), rtol=1e-6)


@pytest.mark.slow
def test_a_search_takes_numpys_numbers_and_prefers_a_model_that_learns():
    model = tiny(hidden_sizes=[np.int64(4)], epochs=np.int64(10), batch_size=25)
    rates, folds = np.array([1e-6, 1e-2]), KFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(model, {"learning_rate": rates}, cv=folds, refit=False)
    assert search.fit(iris()).best_params_ == {"learning_rate": 1e-2}


def test_arguments_are_called_as_in_a_configuration():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert set(inspect.signature(VAETransformer).parameters) - set(OWN) <= fields


# -- outliers --------------------------------------------------------------------------


@pytest.mark.slow
def test_scikit_learns_check_of_outlier_detectors(eager):
    estimator_checks.check_outliers_train(
        "VAE", VAETransformer(**TINY, contamination=0.1)
    )


def test_outliers_are_the_share_of_the_training_rows_with_the_lowest_scores(eager):
    X, model = iris(), tiny(contamination=0.2)
    found = model.fit_predict(X)
    assert np.sum(found == -1) == round(0.2 * len(X))
    scores = model.score_samples(X)
    assert scores[found == -1].max() < model.offset_ <= scores[found == 1].min()
    np.testing.assert_array_equal(model.decision_function(X), scores - model.offset_)


def test_a_far_row_is_an_outlier_and_the_middle_is_none(linear):
    model = sklearn.base.clone(linear).set_params(contamination=0.05).fit(iris())
    rows = np.array([[6.0, -6.0, 6.0, -6.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(model.predict(rows), [-1, 1])


@pytest.mark.slow
def test_without_contamination_there_is_no_threshold(eager):
    model = tiny().fit(iris())
    assert not hasattr(model, "predict")
    with pytest.raises(AttributeError) as caught:
        model.fit_predict(iris())
    assert "give VAETransformer contamination" in str(caught.value.__cause__)
    model = tiny(contamination=0.1).fit(iris())
    model.set_params(contamination=None).fit(iris())  # another model, without one
    with pytest.raises(InputError, match="a fit without contamination"):
        model.set_params(contamination=0.1).predict(iris())
    model = tiny(contamination=0.1).fit(iris()).partial_fit(iris())
    with pytest.raises(InputError, match="after partial_fit"):
        model.predict(iris())


# -- early stopping --------------------------------------------------------------------


@pytest.mark.slow
def test_early_stopping_ends_with_the_weights_of_the_best_pass():
    settings = dict(early_stopping=2, validation_fraction=0.2, epochs=40, batch_size=25)
    model = tiny(**settings, learning_rate=0.3).fit(iris())
    losses = model.history_["val_loss"]
    best = int(np.argmin(losses))
    assert model.n_iter_ == len(losses) == best + 1 + 2 < 40
    # The first passes alone give the weights that were kept.
    again = tiny(**{**settings, "epochs": best + 1}, learning_rate=0.3).fit(iris())
    assert same_weights(model, again)


@pytest.mark.slow
def test_a_pass_within_the_warm_up_is_never_the_best():
    """Its loss has a smaller kl_weight, so that each later one would seem worse."""
    settings = dict(early_stopping=1, validation_fraction=0.2, epochs=9, batch_size=25)
    # 120 rows are 5 steps a pass: 6 steps end within the second.
    model = tiny(**settings, learning_rate=1e-6, kl_warmup_steps=6).fit(iris())
    assert model.history_["kl_weight"][0] < 1 == model.history_["kl_weight"][2]
    assert model.n_iter_ >= 4


def test_held_out_rows_are_not_trained_on(eager, monkeypatch):
    seen = []
    original = tfvae.sklearn.estimator.training_batches

    def recorded(X, *args, **kwargs):
        seen.append(X)
        return original(X, *args, **kwargs)

    monkeypatch.setattr(tfvae.sklearn.estimator, "training_batches", recorded)
    tiny(early_stopping=1, validation_fraction=0.2).fit(iris())
    assert len(seen[0]) == 120


def test_early_stopping_has_no_part_in_a_single_pass():
    with pytest.raises(InputError, match="early_stopping 3 has no effect"):
        tiny(early_stopping=3).partial_fit(iris())


# -- tables of other kinds -------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "kind", [sparse.csr_matrix, sparse.csr_array, sparse.coo_array]
)
def test_a_sparse_table_gives_what_the_dense_one_gives(kind, eager):
    X = np.where(iris() > 0, iris(), 0).astype(np.float32)
    dense, other = tiny(contamination=0.1), tiny(contamination=0.1)
    dense.fit(X), other.fit(kind(X))
    assert same_weights(dense, other)
    for method in ("transform", "score_samples", "predict"):
        expected = getattr(dense, method)(X)
        np.testing.assert_array_equal(getattr(other, method)(kind(X)), expected)


def test_a_sparse_tables_prior_starts_from_its_rows(eager):
    X = sparse.csr_array((np.random.default_rng(0).random((30, 4)) < 0.5) * 1.0)
    tiny(likelihood="bernoulli", prior="vamp", num_components=2).fit(X)


def test_a_frames_columns_come_back_with_their_names_and_rows(eager):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(iris(), columns=["a", "b", "c", "d"], index=range(9, 159))
    model = tiny().set_output(transform="pandas").fit(frame)
    codes = model.transform(frame)
    assert list(codes.columns) == ["vaetransformer0", "vaetransformer1"]
    back = model.inverse_transform(codes)
    assert list(back.columns) == ["a", "b", "c", "d"]
    assert list(back.index) == list(frame.index)
    np.testing.assert_array_equal(back, model.inverse_transform(codes.to_numpy()))


def test_verbose_prints_a_line_for_each_pass(capsys, eager):
    tiny(verbose=1).fit(iris())
    assert capsys.readouterr().out.count("loss: ") == 2


# -- bad input -------------------------------------------------------------------------

BAD_FITS = {
    "latent_size": (dict(latent_size=0), ["latent_size 0"]),
    "likelihood": (dict(likelihood="gauss"), ["likelihood 'gauss'", "'normal'"]),
    "estimator": (dict(latent="bernoulli"), ["'pathwise'", "'reinforce'"]),
    "batch_size": (dict(batch_size=0), ["batch_size 0"]),
    "epochs": (dict(epochs=1.5), ["epochs 1.5"]),
    "hidden_sizes": (dict(hidden_sizes=4), ["hidden_sizes 4", "several ints"]),
    "score_num_samples": (dict(score_num_samples=0), ["score_num_samples 0"]),
    "contamination": (dict(contamination=0.6), ["contamination 0.6", "0.5 at most"]),
    "no contamination": (dict(contamination=0), ["contamination 0", "above 0"]),
    "validation_fraction": (
        dict(validation_fraction=1.5),
        ["validation_fraction 1.5", "1.0 at most"],
    ),
    "verbose": (dict(verbose=2), ["verbose 2"]),
    "support": (dict(likelihood="bernoulli"), ["-2.", "0 and 1", "likelihood"]),
    "vamp": (dict(prior="vamp", num_components=2), ["between 0 and 1"]),
}


@pytest.mark.parametrize(("settings", "said"), BAD_FITS.values(), ids=BAD_FITS)
def test_bad_settings_are_refused_in_one_line(settings, said):
    model = tiny(**settings)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(InputError) as caught:
            fit(iris())
        message = str(caught.value)
        assert all(part in message for part in said) and "\n" not in message
    with pytest.raises(NotFittedError):
        model.transform(iris())


BAD_CALLS = {
    "columns of z": (lambda m: m.inverse_transform(np.zeros((2, 3))), ["3", "have 1"]),
    "n_samples": (lambda m: m.sample(0), ["n_samples 0"]),
}


@pytest.mark.parametrize(("call", "said"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls_are_refused_in_one_line(call, said, linear):
    with pytest.raises(InputError) as caught:
        call(linear)
    message = str(caught.value)
    assert all(part in message for part in said) and "\n" not in message


def test_values_without_a_probability_are_refused_after_fit_too(eager):
    model = tiny(likelihood="bernoulli").fit(np.eye(3))
    for call in (model.score_samples, model.partial_fit):
        with pytest.raises(InputError, match="outside the support"):
            call(0.5 * np.eye(3))


def test_a_loss_beyond_all_numbers_says_to_standardise(eager):
    with pytest.raises(InputError, match="epoch 1; standardise X"):
        tiny().fit(1e30 * iris())
