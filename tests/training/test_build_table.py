"""The model of a table: its parts, its scores by quadrature, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from helpers.columns import RAW_ONE, mixed_frame, softplus
from scipy import special, stats

import tfvae
from tfvae.conditions import OneHot
from tfvae.core.types import InputError
from tfvae.heads import CategoricalColumn, Columns, NormalColumn, NormalHead
from tfvae.models.missing import SelfMasking, given_beside_x

SMALL = {"latent_size": 1, "hidden_sizes": (6,)}


def people(rows: int = 200) -> pd.DataFrame:
    return mixed_frame(rows)[["grade", "children", "member", "colour"]]


def tiny(table: object = None, **settings) -> tfvae.VAE:
    table = people() if table is None else table
    return tfvae.build_table(table, **{**SMALL, **settings})


# -- what is built ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_frame_makes_its_columns_and_a_model_that_trains():
    frame = mixed_frame(80).dropna()
    vae = tfvae.build_table(frame, 3, (8,), learning_rate=0.01)
    head = vae.decoder.head
    assert isinstance(head, Columns) and head.names == tuple(frame)
    assert vae.missing is None and len(vae.encoder.network.inputs) == 1
    x = head.encode(frame)
    loss = vae.fit(x, epochs=10, batch_size=len(x), verbose=0).history["loss"]
    assert np.isfinite(loss).all() and loss[-1] < loss[0]


@pytest.mark.slow
def test_missing_values_of_the_frame_make_a_model_that_sees_the_mask():
    frame = mixed_frame(80)
    vae = tiny(frame)
    assert vae.missing == "mar" and len(vae.encoder.network.inputs) == 2
    loss = vae.fit(vae.decoder.head.encode(frame), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    assert tiny(frame, missing=None).missing is None
    assert tiny(missing="mcar").missing == "mcar"


def test_features_are_what_the_network_reads():
    """Another unit of a number changes its density by a constant, and q(z|x) not."""
    frame = people()
    scaled = frame.assign(grade=1000 * frame["grade"].astype(float))
    vaes = [tiny(each) for each in (frame, scaled)]
    first, second = (
        vae.encode(vae.decoder.head.encode(each)).mean().numpy()
        for vae, each in zip(vaes, (frame, scaled), strict=True)
    )
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-5)  # float32


@pytest.mark.slow
def test_a_condition_stands_beside_the_mask_and_alone():
    c = np.arange(80) % 3
    for frame in (mixed_frame(80), people(80)):
        vae = tiny(frame, condition=OneHot(3))
        x = vae.decoder.head.encode(frame)
        assert np.isfinite(vae.fit(x, c, epochs=1, verbose=0).history["loss"]).all()
        assert len(tfvae.sample_frame(vae, 4, seed=0, condition=2)) == 4


def test_the_second_input_is_what_there_is_to_see():
    assert given_beside_x((5,), None, None) is None
    assert given_beside_x((5,), None, "mar") == (5,)
    assert given_beside_x((5,), OneHot(3), None) == (3,)
    assert given_beside_x((5,), OneHot(3), "mar") == (8,)
    assert given_beside_x((2, 2, 1), None, "mar") == (2, 2, 1)
    # An image's mask beside a condition would be channels of the vector of both.
    assert given_beside_x((2, 2, 1), OneHot(3), "mar") == (3,)


def test_columns_and_other_heads_of_rows_are_tables_too():
    columns = Columns([NormalColumn("a"), CategoricalColumn("b", ("x", "y"))])
    assert tiny(columns).decoder.head is columns
    vae = tiny(NormalHead((3,)), missing="mar")
    assert vae.data_shape == (3,) and len(vae.encoder.network.inputs) == 2


def test_settings_are_those_of_a_configuration():
    vae = tiny(
        latent="bernoulli",
        objective="iwae",
        num_samples=4,
        estimator="vimco",
        prior="standard",
        seed=3,
        learning_rate=0.5,
    )
    assert type(vae.latent).__name__ == "BernoulliLatent"
    assert (vae.num_samples, vae.seed) == (4, 3)
    assert float(vae.optimizer.learning_rate) == 0.5
    same, other = tiny(seed=3), tiny(seed=4)
    weights = [[w.numpy() for w in v.trainable_weights] for v in (tiny(seed=3), same)]
    assert all(map(np.array_equal, *weights))
    assert not np.array_equal(weights[0][0], other.trainable_weights[0].numpy())


def test_a_saved_model_draws_the_same_frame(tmp_path):
    vae = tiny(mixed_frame(80))
    vae.save(tmp_path / "table.keras")
    again = keras.models.load_model(tmp_path / "table.keras")
    pd.testing.assert_frame_equal(
        tfvae.sample_frame(again, 6, seed=1), tfvae.sample_frame(vae, 6, seed=1)
    )


def test_sampled_frames_have_the_dtypes_and_categories_of_the_first():
    frame = mixed_frame(80)
    found = tfvae.sample_frame(tiny(frame), 50, seed=0)
    assert found.dtypes.equals(frame.dtypes) and len(found) == 50
    assert set(found["city"]) <= set(frame["city"].dropna())
    assert not found.isna().any().any()


# -- scores ----------------------------------------------------------------------------


def log_prob_by_quadrature(vae: tfvae.VAE, frame: pd.DataFrame) -> np.ndarray:
    """Log p(x) [n] by SciPy's laws, on a grid of z; what is missing is left out."""
    z = np.linspace(-8, 8, 4001)
    params = vae.decoder.network.predict(z[:, None], verbose=0).astype(float).T
    columns = {c.name: c for c in vae.decoder.head.columns}
    grade, children, colours = (columns[n] for n in ("grade", "children", "colour"))
    mean = children.rate * softplus(params[2] + RAW_ONE)
    colour = special.log_softmax(params[4:6], axis=0)
    log_joint = np.tile(stats.norm.logpdf(z), (len(frame), 1))  # [n, Z]
    for row, values in enumerate(frame.itertuples(index=False)):
        if not pd.isna(values.grade):
            loc = grade.loc + grade.scale * params[0]
            scale = grade.scale * softplus(params[1])
            log_joint[row] += stats.norm.logpdf(values.grade, loc, scale)
        log_joint[row] += stats.poisson.logpmf(values.children, mean)
        odds = params[3] * (1 if values.member else -1)
        log_joint[row] -= np.logaddexp(0, -odds)
        if not pd.isna(values.colour):
            log_joint[row] += colour[colours.categories.index(values.colour)]
    return special.logsumexp(log_joint, axis=1) + np.log(z[1] - z[0])


@pytest.mark.slow
@pytest.mark.parametrize("holes", [False, True])
def test_importance_weights_have_the_density_for_their_mean(holes):
    frame = people(60)
    if holes:
        frame.loc[::3, "grade"] = np.nan
        frame.loc[::4, "colour"] = None
    vae = tiny(frame, learning_rate=0.02)
    kinds = [column.kind for column in vae.decoder.head.columns]
    assert kinds == ["normal", "poisson", "bernoulli", "categorical"]
    x = vae.decoder.head.encode(frame)
    vae.fit(x, epochs=40, batch_size=30, verbose=0)
    few, samples = frame.iloc[:12], 4000
    wanted = log_prob_by_quadrature(vae, few)
    terms = vae.log_weight_terms(x[:12], samples, seed=1)
    w = np.exp(terms.log_weights().numpy().astype(float) - wanted)  # mean 1
    error = w.std(axis=0) / np.sqrt(samples)
    # 1e-3: float32's sums of about 10 nats, and densities on the grid.
    assert (np.abs(w.mean(axis=0) - 1) < 5 * error + 1e-3).all()
    assert error.max() < 0.1


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"likelihood": "normal"}, "likelihood 'normal' has no effect on a table"),
        ({"likelihood_scale": 1.0}, "likelihood_scale 1.0 has no effect on a table"),
        ({"network": "conv"}, "network 'conv' has no effect on a table"),
        ({"binarization": "none"}, "binarization 'none' has no effect"),
        ({"output_start": "zero"}, "output_start 'zero' has no effect"),
        ({"prior": "vamp"}, "'vamp' starts from images"),
        ({"batch_size": 10}, "batch_size has no effect on a model alone"),
        ({"latent_sise": 3}, "latent_sise"),
        ({"latent_size": 0}, "latent_size"),
        ({"activation": "rely"}, "rely"),
        ({"missing": "perhaps"}, "missing 'perhaps' is not usable"),
        ({"missing": SelfMasking((4,))}, "have none; use a likelihood of real numbers"),
        ({"condition": 3}, "condition 3 is not usable"),
        ({"learning_rate_schedule": "cosine"}, "give steps_per_epoch"),
        ({"steps_per_epoch": 0}, "steps_per_epoch 0"),
        ({"hidden_sizes": 3}, "hidden_sizes"),
        ({"objective": "elba"}, "elba"),
    ],
)
def test_settings_that_are_not_usable_are_refused(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        tiny(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "table", [np.zeros([3, 2]), "csv:a.csv", None, NormalHead((2, 2, 1))]
)
def test_what_is_no_table_is_refused(table):
    with pytest.raises(InputError, match="is no table; give a pandas DataFrame"):
        tfvae.build_table(table)


def test_a_model_without_columns_draws_no_frames():
    with pytest.raises(InputError, match="NormalHead, which knows no frame"):
        tfvae.sample_frame(tiny(NormalHead((3,))), 2)


def test_a_frame_that_has_no_kind_for_a_column_is_refused():
    with pytest.raises(InputError, match="'when'"):
        tiny(people(5).assign(when=pd.Timestamp("2020-01-01")))
