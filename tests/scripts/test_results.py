"""scripts/results: each row is understood, is run once, and says what it found."""

from __future__ import annotations

import json
import math
import pathlib

import pytest
import results
from result_rows import QUANTITIES, ROWS, Row

from tfvae import cli

ROOT = pathlib.Path(__file__).parents[2]
DIGITS = Row(
    "digits-binconcrete",
    "-",
    ("--epochs", "1", "--num-samples", "2"),
    num_samples=3,
    quantity="NLL, discrete",
)


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_understood(name, monkeypatch, tmp_path):
    """Each goes as far as importing TensorFlow: its options are good."""

    class Understood(Exception):
        pass

    def stop():
        raise Understood

    monkeypatch.setattr(cli.commands, "import_tensorflow", stop)
    row = ROWS[name]
    with pytest.raises(Understood):
        arguments = [row.recipe, *row.options, "--workdir", str(tmp_path / "run")]
        cli.main(["train", *arguments])
    assert row.quantity in QUANTITIES


def test_the_tf1_tutorials_gaussian_cost_is_half_the_squared_error_and_the_rate():
    """A Normal of scale 1 has 0.5 log 2 pi a pixel more."""
    half_squares, rate = 12.5, 6.0
    elbo = -(half_squares + 784 * 0.5 * math.log(2 * math.pi) + rate)
    found = {"results": {"elbo": {"mean": elbo, "standard_error": 0.1}}}
    value, error = QUANTITIES["test cost without constant"](found)
    assert value == pytest.approx(half_squares + rate, abs=1e-9)
    assert error == 0.1


def test_the_pages_table_is_that_of_the_files():
    """`scripts/results --table` makes it anew."""
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert results.with_results(page) == page


def test_what_was_found_is_of_the_rows_as_they_are():
    """A row whose options have changed since is to be run again."""
    files = {
        path.stem: json.loads(path.read_text()) for path in results.FOUND.glob("*")
    }
    assert set(files) <= set(ROWS)
    for name, found in files.items():
        row = ROWS[name]
        assert found["train"].startswith(
            f"tfvae train {' '.join(results._train(row))} "
        )
        assert found["num_samples"] == row.num_samples
        assert found["quantity"] == row.quantity
        assert tuple(run["seed"] for run in found["runs"]) == row.seeds


@pytest.mark.slow
def test_a_row_is_run_once_and_written_down(tmp_path, monkeypatch, eagerly_here):
    monkeypatch.setattr(results, "ROWS", {"digits": DIGITS})
    monkeypatch.setattr(results, "FOUND", tmp_path / "found")
    monkeypatch.setattr(results, "write_table", lambda: None)

    def run_here(command, given):  # in this process, which has TensorFlow already
        return cli.main([command, *given]) == 0

    monkeypatch.setattr(results, "_tfvae", run_here)
    arguments = ["digits", "--runs", str(tmp_path / "runs")]
    assert results.main(arguments) == 0
    (run,) = (tmp_path / "runs").iterdir()
    found = json.loads((tmp_path / "found" / "digits.json").read_text())
    evaluation = json.loads((run / "evaluation.json").read_text())
    twin = evaluation["discrete_twin"]["results"]["log_likelihood"]
    assert found["runs"][0]["value"] == -twin["mean"]
    assert found["num_samples"] == 3 and found["epochs"] == 1

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert results.main(arguments) == 0
    changed = {
        path.name
        for path in run.rglob("*")
        if before.get(path) != path.stat().st_mtime_ns
    }
    assert not any("evaluation" in name or "model" in name for name in changed)


def test_an_unknown_row_is_one_line_and_status_2(capsys):
    assert results.main(["no-such-row"]) == 2
    assert "no-such-row" in capsys.readouterr().err
