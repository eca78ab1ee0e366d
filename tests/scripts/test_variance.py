"""The variance study: its statistics, and its exact gradient."""

from __future__ import annotations

import importlib
import pathlib

import numpy as np
import pytest

import tfvae

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("studies.variance")


@pytest.mark.parametrize("off", [0.0, 0.5])
def test_variance_and_squared_bias_are_those_of_known_draws(study, off):
    rng = np.random.default_rng(0)
    exact, scale = rng.normal(size=30), rng.uniform(0.5, 2, size=30)
    draws = exact + off + scale * rng.normal(size=(5000, 30))
    variance, bias = study.statistics(draws, exact)
    norm = np.sum(exact**2)
    for found, true in ((variance, np.sum(scale**2)), (bias, 30 * off**2)):
        assert abs(found.value - true / norm) < 5 * found.error
    # A variance that is 5 % off, and a bias of a fifth, would be seen.
    assert 5 * variance.error < 0.05 * variance.value
    assert 5 * bias.error < 30 * 0.1**2 / norm or off


def test_errors_are_the_spread_of_independent_studies(study):
    rng = np.random.default_rng(1)
    exact = np.ones(8)
    # Without a bias the jackknife's error of it is too large, by the square root of 2.
    made = [
        study.statistics(exact + rng.normal(1, size=(200, 8)), exact) for _ in "x" * 99
    ]
    for found in zip(*made, strict=True):
        values, errors = np.transpose(found)
        # The mean of 99 jackknife variances with 19 degrees of freedom has a relative
        # error of (2 / 19 / 99)^(1/2), and that of the spread (2 / 98)^(1/2).
        ratio = np.mean(errors**2) / np.var(values, ddof=1)
        assert abs(ratio - 1) < 5 * (2 / 19 / 99 + 2 / 98) ** 0.5


@pytest.mark.slow
def test_draws_of_every_estimator_have_the_mean_that_it_says(study):
    size = study.VarianceSize(5, 5, 10, 400, (2,))
    spreads = {s.estimator: s for s in study.compare_variances(size)}
    assert {"reinforce", "vimco", "disarm"} <= set(spreads)
    for spread in spreads.values():
        for part in study.PARTS if spread.unbiased else ("decoder",):
            bias = spread.squared_bias[part]
            assert abs(bias.value) < 5 * bias.error
    # With the elbo both take the mean of the other samples as their baseline.
    vimco, reinforce = spreads["vimco"], spreads["reinforce"]
    for part in study.PARTS:
        np.testing.assert_allclose(
            vimco.variance[part].value, reinforce.variance[part].value, rtol=1e-4
        )
    text = study.variance_table(list(spreads.values()))
    assert len(text.splitlines()) == 2 + len(spreads)


def test_the_exact_gradient_is_the_slope_of_the_sum_over_states(study):
    vae = tfvae.build(
        (2, 2, 1),
        latent="bernoulli",
        latent_size=3,
        hidden_sizes=(4,),
        seed=1,
        objective="elbo",
        estimator="reinforce",
    )
    x = np.random.default_rng(0).integers(0, 2, (3, 2, 2, 1)).astype(np.float32)
    exact = study.exact_gradient(vae, x)
    for part in study.PARTS:
        network = getattr(vae, part)
        weights = network.trainable_variables
        direction = [
            np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(weights)
        ]
        along = np.concatenate([d.ravel() for d in direction])
        start = [w.numpy() for w in weights]
        values = []
        for step in (-1e-2, 1e-2):
            for w, at, d in zip(weights, start, direction, strict=True):
                w.assign(at + step * d)
            values.append(study.exact_elbo(vae, x).numpy())
        for w, at in zip(weights, start, strict=True):
            w.assign(at)
        slope = (values[1] - values[0]) / 2e-2
        # float32's rounding of a sum of some nats is 1e-6, over the step 1e-4; the
        # third derivative adds as much.
        np.testing.assert_allclose(exact[part] @ along, slope, atol=2e-3, rtol=2e-3)


def test_the_script_prints_the_variances_and_writes_their_picture(
    study, monkeypatch, tmp_path, capsys
):
    """Its command, with a model that is not trained and two estimators."""
    script = importlib.import_module("compare_estimators")
    names = ("arms", "double_cv")
    monkeypatch.setattr(study, "ESTIMATORS", {n: study.ESTIMATORS[n] for n in names})
    monkeypatch.setattr(study, "_ADAPTING_STEPS", 2)
    size = study.VarianceSize(3, 0, 4, 40, (2, 4))
    monkeypatch.setattr(script, "FAST_VARIANCE", size)
    out = tmp_path / "new" / "variance.png"
    command = ["--latent", "bernoulli", "--fast", "--out", str(out)]
    assert script.main(command) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if line.startswith("| ") and "`" in line]
    # Two evaluations are one sample of double_cv, which needs two.
    assert [row.split("|")[1:4] for row in sorted(rows)] == [
        [" 2 ", " `arms` ", " 2 "],
        [" 4 ", " `arms` ", " 4 "],
        [" 4 ", " `double_cv` ", " 2 "],
    ]
    assert "3 Bernoulli variables, 40 draws" in said and str(out) in said
