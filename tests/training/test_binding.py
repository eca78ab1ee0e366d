"""Model, configuration and history of a run belong to each other, or are refused."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.reports import evaluate_run
from tfvae.training import train
from tfvae.training.runs import load_run, read_record, versions
from tfvae.training.runs.folder import RunFolder

SMALL = dict(latent_size=2, hidden_sizes=(8,), batch_size=1000)


def made(folder: pathlib.Path, **settings) -> pathlib.Path:
    train(Config(**{**SMALL, **settings}), folder, progress_bar=False)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Runs that differ in their seed, and in their epochs."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "one": made(folder / "one", epochs=1),
        "other seed": made(folder / "other", epochs=1, seed=1),
        "longer": made(folder / "longer", epochs=4),
    }


@pytest.fixture
def copied(runs, tmp_path):
    def copy(name: str) -> pathlib.Path:
        return shutil.copytree(runs[name], tmp_path / name)

    return copy


def refused(folder: pathlib.Path, *said: str) -> None:
    for use in (load_run, lambda f: evaluate_run(f, num_samples=1, limit=2)):
        with pytest.raises(InputError) as caught:
            use(folder)
        message = str(caught.value)
        assert all(part in message for part in said) and "\n" not in message, message


def test_a_copied_run_is_a_run(copied):
    load_run(copied("one"))


@pytest.mark.parametrize("other", ["other seed", "longer"])
def test_the_model_of_another_run_is_refused(copied, runs, other):
    folder = copied("one")
    shutil.copy(runs[other] / "model.keras", folder / "model.keras")
    refused(folder, "model.keras")


def test_the_longer_runs_model_is_refused_without_the_file_too(copied, runs):
    folder = copied("one")
    shutil.copy(runs["longer"] / "model.keras", folder / "model.keras")
    (folder / "model.json").unlink()
    refused(folder, "training steps", "of another run")


def test_a_run_of_before_has_no_such_file_and_loads(copied):
    folder = copied("one")
    (folder / "model.json").unlink()
    load_run(folder)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("name", "value"),
    [("latent_size", 3), ("seed", 7), ("likelihood", "normal"), ("objective", "elbo")],
)
def test_an_edited_configuration_is_refused(copied, name, value):
    folder = copied("one")
    content = json.loads((folder / "config.json").read_text())
    content["config"][name] = value
    if name == "likelihood":
        content["config"]["binarization"] = "none"
    (folder / "config.json").write_text(json.dumps(content))
    refused(folder, "config.json", "was trained with")


def test_an_edit_of_every_file_is_refused_by_the_model(copied):
    folder = copied("one")
    for path in (folder / "config.json", folder / "model.json"):
        content = json.loads(path.read_text())
        content["config"]["latent_size"] += 1
        path.write_text(json.dumps(content))
    refused(folder, "latent_size", "model.keras", "restore")


@pytest.mark.slow
def test_a_run_that_goes_on_stays_bound(copied):
    folder = copied("one")
    made(folder, epochs=2)
    assert int(load_run(folder).vae.steps) == 4
    train(
        Config(**SMALL, epochs=3, learning_rate=0.01),
        folder,
        progress_bar=False,
        allow_changed=["learning_rate"],
    )
    load_run(folder)


@pytest.mark.slow
def test_the_number_of_threads_is_recorded_and_a_change_is_said(copied, capsys):
    folder = copied("one")
    assert read_record(RunFolder(folder)).versions["threads"] == versions()["threads"]
    content = json.loads((folder / "config.json").read_text())
    content["versions"]["threads"] = "77"
    (folder / "config.json").write_text(json.dumps(content))
    made(folder, epochs=2)
    assert "the run began with threads 77" in capsys.readouterr().out


@pytest.mark.slow
def test_what_was_found_is_said_once_at_the_start(tmp_path, capsys):
    made(tmp_path / "run", epochs=1)
    out = capsys.readouterr().out
    assert out.count("data: ") == 1
    assert (
        "note: data: 1,258 train, 180 validation, 359 test images of 8 x 8 x 1" in out
    )


@pytest.mark.slow
def test_progress_in_a_terminal_fits_eighty_columns(tmp_path, capsys):
    config = Config(**SMALL, epochs=2)
    train(config, tmp_path / "run", progress_bar=True)
    lines = capsys.readouterr().out.split("\n")  # and no lines at "\r"
    epochs = [line for line in lines if line.startswith(("\r", "epoch"))]
    assert len(epochs) == 2
    for number, line in enumerate(epochs, start=1):
        *running, last = line.split("\r")
        assert all(len(part) <= 79 for part in (*running, last))
        assert last.startswith(f"epoch {number}/2") and "val_elbo" in last
    assert any("/2  loss " in line for line in epochs)


@pytest.mark.parametrize("binarization", ["dynamic", "fixed", "threshold"])
def test_colours_are_not_made_black_and_white(tmp_path, binarization):
    rng = np.random.default_rng(0)
    for number in range(20):
        image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        image.save(tmp_path / f"{number}.png")
    config = Config(
        **SMALL, epochs=1, dataset=f"folder:{tmp_path}", binarization=binarization
    )
    with pytest.raises(InputError, match="images of 3 channels"):
        train(config, tmp_path / "run", progress_bar=False)
    assert not (tmp_path / "run").exists()
