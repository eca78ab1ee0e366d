"""The package's presets are those of the script, small, and score what they say."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import make_presets
import numpy as np
import pytest
import tensorflow as tf
from helpers import hostile_files as hostile

from tfvae.config.recipes import RECIPES
from tfvae.config.settings import Scoring
from tfvae.core.types import InputError
from tfvae.evaluation import estimate_log_likelihood
from tfvae.models import VAE, PresetScore
from tfvae.models.presets.places import PACKAGED
from tfvae.reports import evaluate_run, export_preset, export_web_run
from tfvae.training.runs import load_data, run_evaluation_batches

MNIST = pathlib.Path(__file__).parents[3] / "shared" / "data" / "mnist"
NAMES = list(make_presets.SOURCES)


def test_the_package_brings_what_the_script_makes():
    assert set(VAE.presets) == set(NAMES)
    files = {path for path in PACKAGED.rglob("*") if path.is_file()}
    assert len(files) == 4 * len(NAMES)
    assert max(path.stat().st_size for path in files) <= make_presets.MOST_BYTES
    # What is added to a wheel, which packs them a little.
    assert sum(path.stat().st_size for path in files) < 4 << 20


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_the_settings_of_its_source(name):
    source, preset = make_presets.SOURCES[name], VAE.presets[name]
    wanted = dataclasses.replace(RECIPES[source.recipe].config, **source.changes)
    assert preset.card.settings == wanted
    text = "".join(path.read_text() for path in (PACKAGED / name).glob("*.[jm][sd]*"))
    assert "/root" not in text and "/tmp" not in text and "/work" not in text


def scored_batches(
    name: str, score: PresetScore, data_dir: pathlib.Path
) -> tf.data.Dataset:
    """Returns the images that a score is of, as it saw them."""
    config = VAE.presets[name].card.settings
    if config.dataset == "mnist":
        if not MNIST.is_dir():
            pytest.skip(f"MNIST's files are not in {MNIST}")
        config = dataclasses.replace(
            config, manual_dir=str(MNIST), data_dir=str(data_dir)
        )
    split = getattr(load_data(config), score.split)
    assert len(split) == score.num_examples
    return run_evaluation_batches(config, split, min(Scoring().batch_size, len(split)))


def found_of(vae: VAE, name: str, score: PresetScore, data_dir: pathlib.Path) -> float:
    """Returns the bound that is found anew on the split that a score names."""
    batches = scored_batches(name, score, data_dir)
    how = {"num_samples": score.num_samples, "seed": score.seed}
    return float(estimate_log_likelihood(vae, batches, **how).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_scores_what_it_says(name, tmp_path):
    """To rounding on another processor; an error of 5 % is a nat."""
    vae = VAE.from_preset(name)
    first, *twin = VAE.presets[name].card.scores
    assert found_of(vae, name, first, tmp_path) == pytest.approx(first.value, abs=0.01)
    for score in twin:
        found = found_of(vae.discrete(), name, score, tmp_path)
        assert found == pytest.approx(score.value, abs=0.01)


@pytest.mark.slow
def test_the_share_of_right_classes_is_what_the_card_says(tmp_path):
    vae = VAE.from_preset("digits-m2")
    (score,) = VAE.presets["digits-m2"].card.scores
    right = []
    for batch in scored_batches("digits-m2", score, tmp_path):
        data = vae.as_batch(batch)
        right += list(vae.classify(data.x).argmax(axis=1) == data.label.numpy())
    assert len(right) == score.num_examples
    assert np.mean(right) == pytest.approx(score.accuracy, abs=0.5 / len(right))


@pytest.mark.slow
def test_fresh_weights_do_not_score_so(tmp_path):
    (score,) = VAE.presets["digits-cvae"].card.scores
    vae = VAE.from_preset("digits-cvae", load_weights=False)
    assert found_of(vae, "digits-cvae", score, tmp_path) < score.value - 5


def test_a_run_becomes_a_preset_without_the_paths_of_this_machine(tmp_path, eagerly):
    how = (
        "digits-binconcrete --epochs 1 --latent-size 3 --hidden-sizes 8 --batch-size 9"
    )
    run = hostile.good_run(tmp_path, how.split())
    export_preset(run, tmp_path / "unscored")
    evaluation = evaluate_run(run, num_samples=5)
    export_preset(run, tmp_path / "preset", "a test", licence="CC0")
    text = "".join(p.read_text() for p in (tmp_path / "preset").glob("*.[jm][sd]*"))
    assert str(tmp_path) not in text and "npz:data.npz" in text
    vae = VAE.from_preset(tmp_path / "preset")
    assert int(vae.steps) == evaluation["step"]
    metadata = json.loads((tmp_path / "preset" / "metadata.json").read_text())
    model, twin = metadata["card"]["scores"]
    bound = evaluation["results"]["log_likelihood"]
    assert (model["value"], model["num_samples"]) == (bound["mean"], 5)
    bound = evaluation["discrete_twin"]["results"]["log_likelihood"]
    assert twin["value"] == bound["mean"] and "discrete twin" in twin["bounds"]
    unscored = json.loads((tmp_path / "unscored" / "metadata.json").read_text())
    assert unscored["card"]["scores"] == []
    with pytest.raises(InputError, match="is there"):
        export_preset(run, tmp_path / "preset")


def test_an_evaluation_of_one_image_has_no_error_and_is_shown_so(tmp_path, eagerly):
    how = "digits-binconcrete --epochs 1 --latent-size 3 --hidden-sizes 8"
    run = hostile.good_run(tmp_path, [*how.split(), "--batch-size", "9"])
    evaluate_run(run, num_samples=5, limit=1)
    page = export_web_run(run, tmp_path / "page.html")
    assert " +- ? nats, L_5 of 1 test images" in page.read_text("utf-8")
    export_preset(run, tmp_path / "preset")
    assert " +- ? nats" in (tmp_path / "preset" / "README.md").read_text("utf-8")
