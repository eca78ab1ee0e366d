"""Runs, models and artefacts that earlier versions made keep loading.

`tests/saved/v0_1` was made by version 0.1.0 on 2026-11-25: models of every part, with
what they said then and after one more epoch, and a run of two epochs with the history
that the same code gave it in four.
"""

from __future__ import annotations

import csv
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

import tfvae.models.schedules
import tfvae.training
from tfvae.config import Config
from tfvae.export import verify_saved_model
from tfvae.reports import evaluate_run

SAVED = pathlib.Path(__file__).parent / "saved" / "v0_1"
ARTEFACTS = pathlib.Path(__file__).parents[1] / "saved_models" / "digits"
MODELS = sorted(path.stem for path in (SAVED / "models").glob("*.keras"))
# float32 sums of some ten numbers, added in another order on another processor; a step
# of Adam carries them on.
ROUNDING = {"rtol": 2e-4, "atol": 2e-5}


def numbers_of(name):
    return json.loads((SAVED / "models" / "numbers.json").read_text())[name]


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_says_what_it_said_and_trains_on(name, eagerly_here):
    with np.load(SAVED / "models" / "means.npz") as arrays:
        x, mean = arrays[f"{name}/x"], arrays[f"{name}/mean"]
    vae = keras.models.load_model(SAVED / "models" / f"{name}.keras")
    then = numbers_of(name)
    assert int(vae.steps) == then["steps"]
    np.testing.assert_allclose(vae.predict(x, verbose=0), mean, **ROUNDING)

    def check(wanted):
        said = vae.evaluate(x, batch_size=4, verbose=0, return_dict=True)
        assert said.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_allclose(said[key], value, **ROUNDING, err_msg=key)

    check(then["evaluate"])
    vae.fit(x, batch_size=4, epochs=1, shuffle=False, verbose=0)
    check(then["then"])


def test_every_name_that_a_file_may_hold_is_still_registered():
    names = (SAVED / "registered.txt").read_text().split()
    missing = [n for n in names if keras.saving.get_registered_object(n) is None]
    assert not missing


def test_a_saved_run_goes_on_as_it_would_have_then(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(SAVED / "run", run)
    record = json.loads((run / "config.json").read_text())
    config = Config.from_dict({**record["config"], "epochs": 4})
    tfvae.training.train(config, run, progress_bar=False)

    def rows(path):
        with path.open() as file:
            return list(csv.DictReader(file))

    found = rows(run / "history.csv")
    wanted = rows(SAVED / "history_of_four_epochs.csv")
    assert len(found) == len(wanted) == 4
    for here, there in zip(found, wanted, strict=True):
        assert here.keys() == there.keys()
        for name in there.keys() - {"seconds"}:
            value, then = float(here[name]), float(there[name])
            np.testing.assert_allclose(value, then, **ROUNDING, err_msg=name)


def test_a_saved_run_is_scored(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(SAVED / "run", run)
    result = evaluate_run(run, num_samples=20, limit=50)
    assert np.isfinite(result["results"]["elbo"]["mean"])


@pytest.mark.quick(1)
@pytest.mark.parametrize("version", ["1", "2"])
def test_a_released_artefact_answers_as_recorded(version):
    found = verify_saved_model(ARTEFACTS / version)
    assert all(row["rows"] == 2 for row in found.signatures.values())
