"""`tfvae detect`: outliers among images, by a run's held-out ones."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfvae import anomaly, cli
from tfvae.data.images import to_grey
from tfvae.data.sources.npz import read_examples
from tfvae.export.layout import CARD
from tfvae.reports import detect_run
from tfvae.training.runs import load_data, load_run

SMALL = "--epochs 2 --latent-size 3 --hidden-sizes 8 --batch-size 400".split()
QUICK = ["--num-samples", "3"]


NORMAL = "--latent normal --temperature None --prior-temperature None".split()


def trained(path, recipe: str, *more: str):
    """A run's folder; few steps are sooner taken than traced, and scores are not."""
    tf.config.run_functions_eagerly(True)
    assert cli.main(["train", recipe, "--workdir", str(path), *SMALL, *more]) == 0
    tf.config.run_functions_eagerly(False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("detect") / "run"
    return trained(path, "digits-binconcrete", *NORMAL)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("conditional") / "run", "digits-cvae")


@pytest.fixture(scope="module")
def digits(run):
    return load_data(load_run(run).record.config)


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_data_set_has_a_line_for_each_image(run, tmp_path, capsys):
    out = tmp_path / "out.csv"
    asked = ["detect", str(run), "digits", "--alpha", "0.05", "--out", str(out), *QUICK]
    assert cli.main([*asked, "--limit", "20"]) == 0
    said = capsys.readouterr().out
    found = rows(out)
    assert [int(row["index"]) for row in found] == list(range(20))
    p = np.array([float(row["p_value"]) for row in found])
    flagged = np.array([int(row["flagged"]) for row in found])
    np.testing.assert_array_equal(flagged, p <= 0.05)
    assert f"{flagged.sum()} of 20" in said and "validation images" in said
    vae = load_run(run).vae
    detector = anomaly.load(run / "calibration.json", vae)
    scores = np.array([float(row["score"]) for row in found])
    np.testing.assert_array_equal(detector.p_values_of(scores), p)


@pytest.mark.slow
def test_noise_is_flagged_and_digits_are_as_often_as_alpha_says(run, digits, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    target = tmp_path / "out.csv"
    found = detect_run(run, str(tmp_path / "noise.npy"), target, 0.05, num_samples=3)
    assert found.flagged.mean() > 0.5
    kept = detect_run(run, "digits", target, 0.05, num_samples=3)
    # Beta(k, n + 1 - k) and the test images' own chance, five standard errors.
    n, size = len(digits.validation), len(digits.test)
    error = np.sqrt(0.05 * 0.95 * (1 / n + 1 / size))
    assert abs(kept.flagged.mean() - 0.05) < 5 * error


@pytest.mark.quick(1)
@pytest.mark.parametrize("score", ["typicality", "regret", "dose"])
def test_every_score_can_be_asked_for(run, tmp_path, score):
    out = tmp_path / "out.csv"
    asked = ["detect", str(run), "digits", "--alpha", "0.1", "--out", str(out), *QUICK]
    assert cli.main([*asked, "--limit", "3", "--score", score]) == 0
    assert len(rows(out)) == 3


@pytest.mark.slow
def test_a_file_of_examples_with_labels_serves_a_conditional_run(
    conditional, tmp_path, capsys
):
    out, data = tmp_path / "out.csv", tmp_path / "data.npz"
    images = np.random.default_rng(1).random((4, 8, 8), dtype=np.float32)
    asked = ["detect", str(conditional), str(data), "--out", str(out), *QUICK]
    np.savez(data, x=images, y=np.arange(4))
    assert cli.main(asked) == 0 and len(rows(out)) == 4
    np.savez(data, x=images)
    assert cli.main(asked) == 2
    assert "no labels" in capsys.readouterr().err


def test_examples_of_a_file_are_its_images(tmp_path):
    images = np.random.default_rng(2).integers(0, 255, (3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    np.savez(tmp_path / "bare.npz", images=images, labels=np.arange(3))
    np.savez(tmp_path / "test.npz", x_train=images[:1], x_test=images)
    for name in ("x.npy", "bare.npz", "test.npz"):
        split = read_examples(str(tmp_path / name))
        np.testing.assert_array_equal(split.images[..., 0], images)
        assert split.has_labels == (name == "bare.npz")


BAD = {
    "no run": ("{nothing} digits", "is not a folder"),
    "no data": ("{run} nonsense", "nonsense"),
    "no file": ("{run} {nothing}.npy", "is no file"),
    "no npz": ("{run} {nothing}.npz", "is no file"),
    "not NumPy's": ("{run} {text}", "cannot be read"),
    "NaN": ("{run} {nan}", "NaN"),
    "empty": ("{run} {empty}", "empty"),
    "another shape": ("{run} {wide}", "have shape (4, 9, 1)"),
    "no images": ("{run} {strange}", "one named x"),
    "those that calibrate": ("{run} digits --split validation", "calibrate"),
    "alpha too small": ("{run} digits --alpha 0.0001", "give 9999 or more"),
    "alpha of 1": ("{run} digits --alpha 1", "below 1"),
    "alpha of nan": ("{run} digits --alpha nan", "alpha nan"),
    "no number": ("{run} digits --alpha x", "alpha"),
    "unknown score": ("{run} digits --score nonsense", "nonsense"),
    "no samples": ("{run} digits --num-samples 0", "num_samples"),
    "no limit": ("{run} digits --limit 0", "limit"),
    "a folder without effect": ("{run} digits --data-dir {folder}", "no effect"),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(case, run, tmp_path, capsys):
    names = {n: tmp_path / f"{n}.npy" for n in ("text", "nan", "empty", "wide")}
    names["text"].write_text("no array")
    np.save(names["nan"], np.full([2, 8, 8], np.nan, np.float32))
    np.save(names["empty"], np.zeros([0, 8, 8], np.uint8))
    np.save(names["wide"], np.zeros([2, 4, 9], np.uint8))
    names |= {"strange": tmp_path / "strange.npz", "nothing": tmp_path / "nothing"}
    np.savez(names["strange"], what=np.zeros([2, 8, 8], np.uint8))
    arguments, said = BAD[case]
    asked = arguments.format(run=run, folder=tmp_path, **names).split()
    out = tmp_path / "out.csv"
    assert cli.main(["detect", *asked, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert not out.exists()


@pytest.mark.parametrize("out", ["", "nothing/out.csv"])
def test_a_file_that_cannot_be_written_is_refused_at_once(run, tmp_path, out, capsys):
    target = tmp_path / out
    assert cli.main(["detect", str(run), "digits", "--out", str(target)]) == 2
    assert "folder" in capsys.readouterr().err


def test_what_is_missing_is_asked_for(run, capsys):
    assert cli.main(["detect", str(run), "digits"]) == 2
    assert "--out" in capsys.readouterr().err


def exported(run, target, *more: str) -> tuple[dict, dict]:
    """The next version's card, and the outputs of its score."""
    assert cli.main(["export", str(run), str(target), *more]) == 0
    version = max(target.iterdir(), key=lambda path: int(path.name))
    card = json.loads((version / CARD).read_text())
    return card, card["signatures"]["score"]["outputs"]


@pytest.mark.slow
def test_a_calibrated_run_serves_p_values(run, digits, tmp_path, capsys):
    out, target = tmp_path / "out.csv", tmp_path / "served"
    asked = ["detect", str(run), "digits", "--alpha", "0.1", "--out", str(out)]
    assert cli.main([*asked, "--num-samples", "20"]) == 0
    capsys.readouterr()
    card, outputs = exported(run, target)
    assert outputs["p_value"] == {"dtype": "float32", "shape": [None]}
    assert "L_20" in card["signatures"]["score"]["description"]
    assert f"{len(digits.validation)} held-out images" in card["p_value"]
    assert capsys.readouterr().err == ""
    score = tf.saved_model.load(str(target / "1")).signatures["score"]
    x = to_grey(tf.constant(digits.test.images[:200]))
    seed = np.stack([np.zeros(200), np.arange(200)], 1).astype(np.int32)
    found = score(x=x, seed=tf.constant(seed))["p_value"].numpy()
    own = np.array([float(row["p_value"]) for row in rows(out)])[:200]
    # The pixels and z have other draws: five standard errors of the mean.
    assert abs(np.mean(found - own)) < 5 * np.std(found - own) / np.sqrt(200)
    assert cli.main(["verify", str(target)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["none", "samples", "score", "damaged", "another"])
def test_scores_without_p_values_say_why(case, run, tmp_path, capsys):
    copy, more = shutil.copytree(run, tmp_path / "run"), ["--num-samples", "2"]
    calibration = copy / "calibration.json"
    how = {"score": ["--score", "dose"], "none": None}.get(case, [])
    if how is not None:
        asked = ["detect", str(copy), "digits", "--alpha", "0.1"]
        asked += ["--out", str(tmp_path / "out.csv")]
        samples = "3" if case == "samples" else "2"
        assert cli.main([*asked, "--num-samples", samples, "--limit", "2", *how]) == 0
    else:
        calibration.unlink(missing_ok=True)
    if case == "damaged":
        calibration.write_text("{")
    if case == "another":
        state = json.loads(calibration.read_text())
        calibration.write_text(json.dumps({**state, "model": "0"}))
    capsys.readouterr()
    card, outputs = exported(copy, tmp_path / "served", *more)
    assert "p_value" not in outputs and str(tmp_path) not in json.dumps(card)
    said = {
        "none": "",
        "samples": "tfvae detect --num-samples 2",
        "score": "--score likelihood",
        "damaged": "cannot be used",
        "another": "of another model",
    }[case]
    assert said in (card["p_value"] or "")
    error = capsys.readouterr().err
    assert (error.count("\n") == 1 and said in error) if said else error == ""
