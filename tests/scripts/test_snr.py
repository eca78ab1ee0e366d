"""The signal-to-noise study: its statistics, exact answers, and the known laws."""

from __future__ import annotations

import importlib.util
import math
import pathlib
import types

import numpy as np
import pytest
from studies import signal as studies
from studies.signal import (
    FAST,
    LAWS,
    PARAMETERS,
    VARIANCE,
    Curve,
    Size,
    X,
    compare_estimators,
    fit_power,
    gradients,
    signal_to_noise,
    table,
)

from tfvae.core.types import InputError

TINY = Size((1, 2, 4), copies=400, fit_from=1)


@pytest.fixture(scope="module")
def curves() -> dict[tuple[str, str, str], Curve]:
    return {(c.objective, c.estimator, c.part): c for c in compare_estimators(FAST)}


def normal_nodes(mean: float, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and probabilities that stand for a normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    return mean + math.sqrt(variance) * nodes, weights / weights.sum()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize(("objective", "estimator"), LAWS)
def test_slopes_are_those_of_the_papers(curves, objective, estimator, part):
    curve = curves[objective, estimator, part]
    assert abs(curve.slope - curve.law) < 5 * curve.slope_error
    # Another of the exponents -1/2, 0 and 1/2 would be seen.
    assert 5 * curve.slope_error < 0.4


@pytest.mark.slow
def test_pathwise_loses_the_encoders_signal_and_dreg_gains_it(curves):
    pathwise = curves["iwae", "pathwise", "encoder"].ratio
    dreg = curves["iwae", "dreg", "encoder"].ratio
    assert pathwise[-1] < pathwise[0] / 5 and dreg[-1] > 5 * dreg[0]


def elbo_ratio(part: str) -> float:
    """The exact ratio of one pathwise sample of the elbo.

    With weight 1 and bias 0, d log w / d (q's mean) is x - 2 z, d log w / d weight is
    (x - z) z, and d log w / d bias is x - z.
    """
    ratios = []
    for mean, x in zip(PARAMETERS["encoder"][0], X, strict=True):
        z, chance = normal_nodes(mean, VARIANCE)
        slopes = [x - 2 * z] if part == "encoder" else [(x - z) * z, x - z]
        for slope in slopes:
            centre = chance @ slope
            ratios.append(abs(centre) / math.sqrt(chance @ (slope - centre) ** 2))
    return np.mean(ratios)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_the_elbos_ratio_is_exact_for_every_number_of_samples(curves, part):
    curve = curves["elbo", "pathwise", part]
    exact = elbo_ratio(part) * np.sqrt(curve.num_samples)
    assert np.all(np.abs(np.log(curve.ratio / exact)) < 5 * curve.error)


@pytest.mark.slow
def test_the_encoders_ratio_has_the_papers_constant(curves):
    """With w = p / q, ratio sqrt(K) -> |E[w^2 g]| / sd(w g), g = d log w / d mean."""
    single, first, second = [], [], []
    for mean, centre in zip(PARAMETERS["encoder"][0], X / 2, strict=True):
        z, chance = normal_nodes(mean, VARIANCE)
        log_q = -0.5 * (z - mean) ** 2 / VARIANCE - 0.5 * math.log(VARIANCE)
        w = np.exp(-((z - centre) ** 2) - 0.5 * math.log(0.5) - log_q)
        g = -2 * (z - centre)
        single.append(chance @ w**2)
        first.append(chance @ (w**2 * g))
        second.append(chance @ (w * g) ** 2)
    # The variables are independent, and E[w g] = 0.
    other = single[::-1]
    exact = np.mean(np.abs(first) * other / np.sqrt(np.multiply(second, other)))
    curve = curves["iwae", "pathwise", "encoder"]
    late = curve.num_samples >= 64
    found = np.log(curve.ratio[late] * np.sqrt(curve.num_samples[late]))
    weights = curve.error[late] ** -2
    # What is left out is of order Var(w) / K.
    margin = (np.prod(single) - 1) / 64
    error = weights.sum() ** -0.5
    assert abs(np.average(found, weights=weights) - math.log(exact)) < (
        5 * error + margin
    )
    assert 5 * error + margin < 0.5


def test_dreg_and_pathwise_have_the_same_mean_gradient():
    mine, other = (
        gradients("iwae", name, 4, 50_000, seed=3)["encoder"]
        for name in ("pathwise", "dreg")
    )
    error = np.sqrt((mine.var(axis=0) + other.var(axis=0)) / len(mine))
    size = np.abs(other.mean(axis=0))
    assert np.all(5 * error < 0.2 * size)
    assert np.all(np.abs(mine.mean(axis=0) - other.mean(axis=0)) < 5 * error)


def test_copies_are_as_many_as_asked_for_and_all_different(monkeypatch):
    monkeypatch.setattr(studies, "_CHUNK", 100)  # several chunks, the last one smaller
    found = gradients("iwae", "dreg", 8, 50, seed=0)
    for part, values in PARAMETERS.items():
        assert found[part].shape == (50, values.size)
    assert len(np.unique(found["encoder"][:, 0])) == 50


def test_the_ratio_of_normal_draws_and_its_error_are_the_known_ones():
    truth, copies = np.array([0.5, -2.0]), 40_000
    draws = np.random.default_rng(0).normal(truth, 1.0, [copies, 2])
    ratio, error = signal_to_noise(draws, num_groups=400)
    # Var(log(|m| / s)) = (1 / ratio^2 + 1 / 2) / n; here for a mean of two ratios.
    spread = math.sqrt((2 + (truth**2).sum() / 2) / copies) / np.abs(truth).sum()
    assert abs(math.log(ratio / 1.25)) < 5 * spread
    # A standard deviation from 400 groups has a relative error of 1 / sqrt(800).
    assert abs(error / spread - 1) < 5 / math.sqrt(800)


def test_the_ratio_is_mean_over_standard_deviation_to_rounding():
    draws = np.random.default_rng(1).normal(1.0, 2.0, [203, 3])
    wanted = np.mean(np.abs(draws.mean(axis=0)) / draws.std(axis=0, ddof=1))
    # float64, with squares of size 10 subtracted from each other.
    np.testing.assert_allclose(signal_to_noise(draws)[0], wanted, rtol=1e-12)


def test_a_power_with_its_first_correction_is_found_exactly():
    k = np.array([4, 8, 16, 64, 256])
    ratio = 3 * k**-0.5 * np.exp(0.7 / k)
    slope, _ = fit_power(k, ratio, np.array([0.1, 0.3, 0.2, 0.5, 0.4]))
    assert abs(slope + 0.5) < 1e-12


def test_a_slopes_error_is_the_spread_of_the_slopes():
    k, error = np.array([4, 8, 16, 64, 256]), np.array([0.1, 0.3, 0.2, 0.5, 0.4])
    noise = np.random.default_rng(0).normal(0, error, [2000, 5])
    slopes, errors = zip(*(fit_power(k, np.exp(e), error) for e in noise), strict=True)
    # A standard deviation from 2,000 draws has a relative error of 1 / sqrt(4000).
    assert abs(np.std(slopes) / errors[0] - 1) < 5 / math.sqrt(4000)


def test_the_same_seed_gives_the_same_curves_and_another_seed_others():
    first, again, other = (compare_estimators(TINY, seed) for seed in (0, 0, 1))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.ratio, two.ratio)
        assert np.all(one.ratio != three.ratio)


def test_the_table_has_a_row_for_every_curve():
    found = compare_estimators(TINY)
    lines = table(found).splitlines()
    assert len(lines) == 2 + len(found) == 2 + 2 * len(LAWS)
    assert len({line.count("|") for line in lines}) == 1
    for curve, line in zip(found, lines[2:], strict=True):
        assert f"{curve.slope:+.3f}" in line and curve.estimator in line


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (Size((1, 2), 400, 1), "slope needs 3"),
        (Size((8, 16, 32), 400, 16), "16 or more"),
        (Size((0, 1, 2), 400, 0), "num_samples 0"),
        (Size((1, 2, 4), 10, 1), "copies 10"),
    ],
)
def test_a_study_that_has_no_slope_is_refused(size, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        compare_estimators(size)
    assert said in str(caught.value)


@pytest.fixture
def script(monkeypatch) -> types.ModuleType:
    """The script as a module, with less to compute."""
    path = pathlib.Path(__file__).parents[2] / "scripts" / "compare_estimators.py"
    spec = importlib.util.spec_from_file_location("compare_estimators", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FAST", TINY)
    return module


def test_the_script_prints_the_table_and_writes_a_picture(script, tmp_path, capsys):
    out = tmp_path / "new" / "picture.png"
    assert script.main(["--fast", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert table(compare_estimators(TINY)) in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--out", "x.jpg"], ["--out", "/dev/null/x.png"], ["--seed", "-1"]]
)
def test_the_script_refuses_what_it_cannot_use_in_one_line(script, arguments, capsys):
    assert script.main(["--fast", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and arguments[0].strip("-") in message
