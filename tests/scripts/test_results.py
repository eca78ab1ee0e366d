"""scripts/results: each row is understood, is run once, and says what it found."""

from __future__ import annotations

import json
import math
import pathlib

import pytest
import results
from result_rows import BESIDE, GROUPS, QUANTITIES, ROWS, Row

from tfvae import cli

ROOT = pathlib.Path(__file__).parents[2]
DIGITS = Row(
    "digits-binconcrete",
    "-",
    ("--epochs", "1", "--num-samples", "2"),
    num_samples=3,
    quantity="NLL, discrete",
    seeds=(0, 1),
)


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_understood_and_found_with_these_settings(name, monkeypatch, tmp_path):
    """A row whose recipe or options have changed since is to be run again."""
    understood = []

    class Understood(Exception):
        pass

    def stop(config):  # as late as all options are read, and before TensorFlow is
        understood.append(config)
        raise Understood

    monkeypatch.setattr(cli.commands, "choose_threads", stop)
    row = ROWS[name]
    with pytest.raises(Understood):
        arguments = [row.recipe, *row.options, "--workdir", str(tmp_path / "run")]
        cli.main(["train", *arguments])
    assert row.quantity in QUANTITIES
    (config,) = understood
    path = results.FOUND / f"{name}.json"
    if path.exists():
        found = json.loads(path.read_text())
        now = {"settings": results.settings_of(config.to_dict())}
        assert (
            results._completed(found)["settings"] == results._completed(now)["settings"]
        )
        # What `--missing` and a new seed ask.
        assert results._recorded(name, now).keys() == {r["seed"] for r in found["runs"]}


def test_the_tf1_tutorials_gaussian_cost_is_half_the_squared_error_and_the_rate():
    """A Normal of scale 1 has 0.5 log 2 pi a pixel more."""
    half_squares, rate = 12.5, 6.0
    elbo = -(half_squares + 784 * 0.5 * math.log(2 * math.pi) + rate)
    found = {"results": {"elbo": {"mean": elbo, "standard_error": 0.1}}}
    value, error = QUANTITIES["test cost without constant"](found)
    assert value == pytest.approx(half_squares + rate, abs=1e-9)
    assert error == 0.1


@pytest.mark.parametrize("name", ["results", "discrete"])
def test_the_pages_tables_are_those_of_the_files(name):
    """`scripts/results --table` makes them anew."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert "<!-- end of " in page
    assert results.with_results(page) == page


def test_every_group_has_a_table():
    page = (ROOT / "docs" / "discrete.md").read_text(encoding="utf-8")
    for league in GROUPS:
        assert f"<!-- {league} -->" in page and f"<!-- end of {league} -->" in page


def test_what_was_found_is_of_the_rows_as_they_are():
    """What is evaluated, and the seeds; settings are compared above."""
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
        seeds = tuple(run["seed"] for run in found["runs"])
        assert seeds and seeds == row.seeds[: len(seeds)]


def test_more_samples_are_of_the_same_models():
    """A row beside another scores the weights that the other does."""
    for name in ROWS:
        path = results._found_file(name)
        if not (name.endswith(BESIDE) and path.exists()):
            continue
        first = results._read(results._found_file(name.removesuffix(BESIDE)))["runs"]
        trained = {run["seed"]: run for run in first}
        for run in results._read(path)["runs"]:
            fewer = trained[run["seed"]]
            assert run["training_elbo"] == fewer["training_elbo"], name
            assert run["value"] < fewer["value"], name


@pytest.mark.slow
def test_a_row_is_run_once_and_written_down(
    tmp_path, monkeypatch, capsys, eagerly_here
):
    monkeypatch.setattr(results, "ROWS", {"digits": DIGITS})
    monkeypatch.setattr(results, "FOUND", tmp_path / "found")
    monkeypatch.setattr(results, "write_tables", lambda: None)

    def run_here(command, given):  # in this process, which has TensorFlow already
        return cli.main([command, *given])

    monkeypatch.setattr(results, "_tfvae", run_here)
    arguments = ["digits", "--runs", str(tmp_path / "runs")]
    assert results.main(arguments) == 0
    runs = sorted((tmp_path / "runs").iterdir())
    assert [path.name[-1] for path in runs] == ["0", "1"]
    found = json.loads((tmp_path / "found" / "digits.json").read_text())
    for run, of_run in zip(runs, found["runs"], strict=True):
        evaluation = json.loads((run / "evaluation.json").read_text())
        twin = evaluation["discrete_twin"]["results"]["log_likelihood"]
        assert of_run["value"] == -twin["mean"]
        assert (
            of_run["training_elbo"]
            == json.loads((run / "metrics.json").read_text())["elbo"]
        )
    assert found["num_samples"] == 3 and found["epochs"] == 1
    assert found["evaluations_per_step"] == 2 and found["dataset"] == "digits"
    assert found["settings"]["epochs"] == 1 and "seed" not in found["settings"]

    revision = json.loads((runs[0] / "evaluation-3.json").read_text())["revision"]
    assert found["runs"][0]["revision"] == revision
    assert results.main([*arguments, "--seeds", "1"]) == 0
    assert json.loads((tmp_path / "found" / "digits.json").read_text()) == found

    before = {p: p.stat().st_mtime_ns for run in runs for p in run.rglob("*")}
    assert results.main(arguments) == 0
    changed = {
        path.name
        for run in runs
        for path in run.rglob("*")
        if before.get(path) != path.stat().st_mtime_ns
    }
    assert not any("evaluation" in name or "model" in name for name in changed)

    # Elsewhere, what is written down is enough.
    assert results.main(["digits", "--missing", "--runs", str(tmp_path / "new")]) == 0
    assert not (tmp_path / "new").exists()
    kept = found | {"runs": found["runs"][1:]}
    (tmp_path / "found" / "digits.json").write_text(json.dumps(kept))
    assert results.main([*arguments, "--missing"]) == 0
    assert json.loads((tmp_path / "found" / "digits.json").read_text()) == found

    other = found | {"settings": found["settings"] | {"epochs": 9}}
    (tmp_path / "found" / "digits.json").write_text(json.dumps(other))
    capsys.readouterr()
    assert results.main([*arguments, "--seeds", "1"]) == 0
    assert "other settings with seeds [1]" in capsys.readouterr().out


def test_fewer_seeds_are_run_where_that_is_asked_for(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(results, "ROWS", {"digits": DIGITS, "one": DIGITS})
    monkeypatch.setattr(
        results, "_do_row", lambda name, place, args: done.append((name, place))
    )
    monkeypatch.setattr(results, "write_tables", lambda: None)
    assert results.main(["--seeds", "1"]) == 0
    assert done == [("digits", 0), ("one", 0)]
    done.clear()
    assert results.main(["digits"]) == 0
    assert done == [("digits", 0), ("digits", 1)]


def test_other_seeds_stay_while_the_settings_do(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOUND", tmp_path)
    common = {"train": "tfvae train digits", "settings": {"num_samples": 2}}
    common |= {"num_samples": 3, "quantity": "NLL"}
    found = {"standard_error": 0.1, "minutes": 0.5}
    runs = [{"seed": 0, "value": 1.0} | found, {"seed": 1, "value": 2.0} | found]
    assert results._recorded("digits", common) == {}
    results._write(tmp_path / "digits.json", common | {"runs": runs})
    assert results._recorded("digits", common) == {0: runs[0], 1: runs[1]}
    assert results._recorded("digits", common | {"settings": {}}) == {}
    # A setting that is new since, by its default and by another value.
    settings = common["settings"]
    for new, kept in (("iwae", {0, 1}), ("elbo", set())):
        later = common | {"settings": settings | {"objective": new}}
        assert results._recorded("digits", later).keys() == kept
    assert results._recorded("digits", common | {"not said then": 1}) == {}
    assert results._recorded("digits", common | {"train": "tfvae train other"}) == {}


def test_bad_input_of_a_run_ends_with_its_status(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(results, "ROWS", {"digits": DIGITS})
    monkeypatch.setattr(
        results, "_tfvae", lambda command, given: asked.append(command) or 2
    )
    assert results.main(["digits", "--runs", str(tmp_path)]) == 2
    assert asked == ["train"]


@pytest.mark.parametrize(
    "content", ['{"runs": [', "[]", "{}", '{"runs": [{}]}', "\xff"]
)
@pytest.mark.parametrize("options", [["digits"], ["digits", "--missing"], ["--table"]])
def test_a_broken_file_of_results_is_one_line_before_anything_runs(
    content, options, monkeypatch, tmp_path, capsys
):
    def never(command, given):
        raise AssertionError(f"{command} was run")

    monkeypatch.setattr(results, "ROWS", {"digits": DIGITS})
    monkeypatch.setattr(results, "FOUND", tmp_path)
    monkeypatch.setattr(results, "_tfvae", never)
    path = tmp_path / "digits.json"
    path.write_bytes(content.encode("latin-1"))
    assert results.main([*options, "--runs", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert path.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_a_bad_count_of_seeds_is_status_2(count, capsys):
    with pytest.raises(SystemExit, match="2"):
        results.main([f"--seeds={count}"])
    assert count in capsys.readouterr().err


def test_an_unknown_row_is_one_line_and_status_2(capsys):
    assert results.main(["no-such-row"]) == 2
    assert "no-such-row" in capsys.readouterr().err
