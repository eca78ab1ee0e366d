"""scripts/estimator_costs.py: what is timed, and the table."""

from __future__ import annotations

import dataclasses

import estimator_costs
import pytest
from estimator_costs import Cost

from tfvae.config.recipes import RECIPES
from tfvae.estimators import ESTIMATORS


def test_every_estimator_for_bits_is_timed_and_no_other():
    base = dataclasses.replace(RECIPES["mnist-discrete"].config, num_samples=2)
    found = {c.estimator: c.objective for c in estimator_costs.usable(base)}
    assert set(ESTIMATORS) - set(found) == {"pathwise", "stl", "dreg"}
    assert {name for name, objective in found.items() if objective == "iwae"} == {
        "ovis"
    }


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [
        ("vimco", [(2, 5, 200)]),
        ("rebar", [(2, 5, 200), (2, 5, 200)]),  # z, and u given z
        ("gumbel_rao", [(2, 5, 200), (10, 2, 5, 200)]),
    ],
)
def test_the_noise_is_what_the_estimator_draws(estimator, wanted):
    config = dataclasses.replace(
        RECIPES["mnist-discrete"].config,
        num_samples=2,
        batch_size=5,
        estimator=estimator,
    )
    found = estimator_costs.noise_shapes(config)
    assert found == [(5, 28, 28, 1), *wanted]


def test_the_table_begins_with_the_cheapest_and_has_their_part_of_the_work():
    costs = [Cost("arms", "elbo", 2, 6.0, 4.0, 1.0), Cost("b", "elbo", 2, 5.0, 4.0, 1)]
    lines = estimator_costs.table(costs).splitlines()
    assert lines[2] == "| `b` | elbo | 2 | 5.00 | 4.00 | 1.00 | 1.00 |"
    assert lines[3].endswith("| 6.00 | 4.00 | 1.00 | 1.20 |")


@pytest.mark.slow
def test_a_study_of_the_digits_runs_to_its_table(capsys, monkeypatch):
    few = {name: ESTIMATORS[name] for name in ("reinforce", "disarm")}
    monkeypatch.setattr(estimator_costs, "ESTIMATORS", few)
    arguments = ["--dataset", "digits", "--seconds", "0.05"]
    assert estimator_costs.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    for line in lines[2:]:
        step, products, noise = map(float, line.split("|")[4:7])
        assert 0 < noise < step and 0 < products


def test_bad_data_is_one_line_and_status_2(capsys, monkeypatch):
    monkeypatch.setattr(estimator_costs, "ESTIMATORS", {"vimco": None})
    assert estimator_costs.main(["--dataset", "npz:nothing.npz"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "nothing.npz" in said
