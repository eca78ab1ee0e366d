"""What is written of a run, and of two, is what its scores are, and can be repeated."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.config.settings import Annealing, Scoring
from tfvae.core.types import InputError
from tfvae.evaluation import ImageScores, posterior_summary, score_images
from tfvae.evaluation.ais import ais_log_likelihood, bdmc
from tfvae.reports import compare_runs, comparison_text, evaluate_run, evaluation_text
from tfvae.training import make_model
from tfvae.training.runs import (
    RunFolder,
    RunRecord,
    load_data,
    load_run,
    run_evaluation_batches,
    versions,
    write_record,
)

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = {"latent_size": 3, "hidden_sizes": (8,), "epochs": 1}
GREY = {"binarization": "none"}
# name -> the settings in which a run differs
RUNS = {
    "normal": {},
    "other": {"latent_size": 2, "seed": 1},
    "relaxed": {"latent": "bin_concrete"},
    "relaxed_too": {"latent": "bin_concrete", "latent_size": 4},
    "bits": {"latent": "bernoulli", "estimator": "vimco", "num_samples": 2},
    "fixed": {"binarization": "fixed"},
    "threshold": {"binarization": "threshold"},
    "density": {**GREY, "likelihood": "normal_fixed_scale"},
    "density_too": {**GREY, "likelihood": "laplace"},
    "levels": {**GREY, "likelihood": "categorical", "likelihood_levels": 17},
    "grey": {**GREY, "grey_targets": True},
    "smaller": {"image_size": (4, 4)},
    "validated": {"validation_size": 100},
    "unvalidated": {"validation_size": 0},
}
SIDES = ("first", "second")
HOW = {"num_samples": 5, "limit": 30, "seed": 3, "batch_size": 20}


def run_of(path, name: str) -> None:
    """Writes a run as it begins."""
    config = Config(**{**SMALL, **RUNS[name]})
    data = load_data(config)
    folder = RunFolder(path)
    path.mkdir()
    vae = make_model(config, data)
    # So that posteriors differ between images more than they do at first.
    rng = np.random.default_rng(config.seed)
    for variable in vae.trainable_variables:
        noise = rng.normal(0, 0.3, variable.shape)
        variable.assign(variable + noise.astype("float32"))
    vae.save(folder.model)
    write_record(folder, RunRecord(config, data.provenance, versions()))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Gives a run's folder by name, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("runs")

    def path_of(name: str):
        if not (folder / name).exists():
            run_of(folder / name, name)
        return folder / name

    return path_of


def batches_of(run, split: str = "test"):
    config = run.record.config
    images = getattr(load_data(config), split)
    return run_evaluation_batches(config, images, HOW["batch_size"], HOW["limit"])


def scores_of(run, vae=None) -> ImageScores:
    return score_images(
        vae or run.vae, batches_of(run), HOW["num_samples"], seed=HOW["seed"]
    )


def assert_mean_of(found: dict, values: np.ndarray) -> None:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert found["mean"] == pytest.approx(np.mean(values), rel=1e-12)
    assert found["standard_error"] == pytest.approx(error, rel=1e-12)


# -- one run ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_relaxed_run_is_scored_as_itself_and_as_its_discrete_twin(runs):
    path = runs("relaxed")
    found = evaluate_run(path, **HOW)
    run = load_run(path)
    relaxed, twin = scores_of(run), scores_of(run, run.vae.discrete())
    for name in ImageScores._fields:
        assert_mean_of(found["results"][name], getattr(relaxed, name))
        assert_mean_of(found["discrete_twin"]["results"][name], getattr(twin, name))
    for name in ("log_likelihood", "elbo"):
        gap = getattr(relaxed, name) - getattr(twin, name)
        assert_mean_of(found["gap"][name], gap)
        assert abs(found["gap"][name]["mean"]) > 0.01  # they are two models
    assert (found["model"], found["discrete_twin"]["model"]) == (
        "relaxed model",
        "discrete twin",
    )
    text = evaluation_text(found)
    for words in ("relaxed model  ", "discrete twin  ", "relaxed model - discrete"):
        assert words in text


@pytest.mark.slow
def test_a_run_that_relaxes_nothing_has_one_model(runs):
    for name in ("normal", "bits"):
        found = evaluate_run(runs(name), **HOW)
        assert found["model"] == "model"
        assert not {"discrete_twin", "gap", "ais"} & found.keys()
        assert "twin" not in evaluation_text(found)


def test_the_file_says_what_repeats_it(runs):
    path = runs("normal")
    found = evaluate_run(path, **HOW, binarization="threshold")
    assert "binarization threshold, K = 5, seed 3" in evaluation_text(found)
    assert json.loads((path / "evaluation.json").read_text()) == found
    how = {name: found[name] for name in (*HOW, "chunk_size", "split", "binarization")}
    again = evaluate_run(path, **how)
    assert again.pop("date") >= found.pop("date")
    assert again == found
    for name in ("dataset", "binarization_seed", "step", "device", "versions"):
        assert found[name] is not None
    assert found["chunk_size"] == 5 and found["num_images"] == 30


def test_the_posteriors_part_is_the_summarys(runs):
    path = runs("normal")
    found = evaluate_run(path, **HOW)["posterior"]
    run = load_run(path)
    summary = posterior_summary(run.vae, batches_of(run), seed=HOW["seed"])
    (layer,), (wanted,) = found["layers"], summary.layers
    assert layer["active_units"] == wanted.active_units
    np.testing.assert_allclose(layer["variable_rates"], wanted.variable_rates)
    np.testing.assert_allclose(layer["mean_variances"], wanted.mean_variances)
    assert layer["rates"] == layer["means"] == "closed form"
    aggregate = found["aggregate"]
    assert aggregate["num_images"] == 30
    assert aggregate["mutual_information_at_most"] == pytest.approx(np.log(30))
    parts = aggregate["mutual_information"]["mean"] + aggregate["divergence"]["mean"]
    assert parts == pytest.approx(aggregate["rate"]["mean"], rel=1e-12)
    text = evaluation_text(evaluate_run(path, **HOW))
    assert "estimated with 30 images: at most 3.40" in text


@pytest.mark.slow
def test_annealed_bounds_are_those_of_the_function(runs):
    path = runs("normal")
    annealing = Annealing(
        ais=True, ais_chains=2, ais_steps=3, ais_leapfrogs=2, bdmc_images=5
    )
    found = evaluate_run(path, annealing, **HOW)
    run = load_run(path)
    how = {"num_leapfrog_steps": 2, "seed": HOW["seed"]}
    wanted = ais_log_likelihood(run.vae, batches_of(run), 2, 3, **how)
    ais = found["ais"]
    assert_mean_of(ais["log_likelihood"], wanted.log_likelihood)
    assert_mean_of(ais["acceptance"], wanted.acceptance)
    above = wanted.log_likelihood - scores_of(run).log_likelihood
    assert_mean_of(ais["above_log_likelihood"], above)
    both = bdmc(run.vae, 5, 2, 3, batch_size=5, **how)
    assert_mean_of(ais["bdmc"]["lower"], both.lower)
    assert_mean_of(ais["bdmc"]["upper"], both.upper)
    assert_mean_of(ais["bdmc"]["gap"], both.upper - both.lower)
    text = evaluation_text(found)
    for words in ("2 chains from the prior, 3 steps, 2 leap", "AIS - L_5", "5 images"):
        assert words in text


def test_annealing_of_bits_is_refused_and_nothing_is_written(runs, tmp_path):
    path = shutil.copytree(runs("bits"), tmp_path / "bits")
    (path / "evaluation.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match="discrete"):
        evaluate_run(path, Annealing(ais=True), **HOW)
    assert not (path / "evaluation.json").exists()


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("name", "binarization", "meaning"),
    [
        ("normal", "threshold", "log p(x)"),
        ("fixed", "dynamic", "log p(x)"),
        ("grey", "fixed", "log p(x)"),
        ("grey", None, "the expected log-likelihood of a binarised image (grey"),
    ],
)
def test_another_binarization_scores_other_images_of_the_same_kind(
    runs, name, binarization, meaning
):
    found = evaluate_run(runs(name), **HOW, binarization=binarization)
    assert found["bounds"].startswith(meaning)
    assert found["binarization"] == (binarization or "none")
    config = Config(**{**SMALL, **RUNS[name]})
    if binarization:
        config = Config(**{**SMALL, "binarization": binarization})
    images = load_data(config).test
    batches = run_evaluation_batches(config, images, HOW["batch_size"], HOW["limit"])
    wanted = score_images(load_run(runs(name)).vae, batches, 5, seed=3)
    assert_mean_of(found["results"]["elbo"], wanted.elbo)


@pytest.mark.parametrize(
    ("name", "binarization", "said"),
    [
        ("normal", "none", ["'none'", "grey", "'dynamic'", "--binarization"]),
        ("density", "threshold", ["'threshold'", "'normal_fixed_scale'"]),
        ("levels", "dynamic", ["'dynamic'", "'categorical'"]),
    ],
)
def test_a_binarization_without_a_meaning_is_refused(runs, name, binarization, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        evaluate_run(runs(name), **HOW, binarization=binarization)
    for words in said:
        assert words in str(caught.value)


# -- two runs --------------------------------------------------------------------------


def test_a_difference_has_the_error_of_the_pairs(runs):
    first, second = runs("normal"), runs("other")
    found = compare_runs(first, second, **HOW)
    scores = [scores_of(load_run(path)) for path in (first, second)]
    (difference,) = found["differences"]
    for name in ("log_likelihood", "elbo"):
        one, other = (getattr(s, name) for s in scores)
        assert_mean_of(found["first"]["models"]["model"][name], one)
        assert_mean_of(found["second"]["models"]["model"][name], other)
        assert_mean_of(difference[name], one - other)
    apart = np.hypot(
        *(found[side]["models"]["model"]["elbo"]["standard_error"] for side in SIDES)
    )
    assert difference["elbo"]["standard_error"] < apart
    text = comparison_text(found)
    for words in ("1 - 2", "30 test", "K = 5", "seed 3", str(first), str(second)):
        assert words in text
    assert f"{difference['elbo']['mean']:.3f}" in text


@pytest.mark.slow
def test_a_run_does_not_differ_from_itself_and_the_other_way_round_is_the_negative(
    runs,
):
    normal, other = runs("normal"), runs("other")
    (same,) = compare_runs(normal, normal, **HOW)["differences"]
    assert same["elbo"] == {"mean": 0.0, "standard_error": 0.0}
    (there,) = compare_runs(normal, other, **HOW)["differences"]
    (back,) = compare_runs(other, normal, **HOW)["differences"]
    assert there["elbo"]["mean"] == -back["elbo"]["mean"] != 0


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        (
            "relaxed",
            "relaxed_too",
            [
                ("relaxed model", "relaxed model"),
                ("discrete twin", "discrete twin"),
            ],
        ),
        (
            "relaxed",
            "normal",
            [("relaxed model", "model"), ("discrete twin", "model")],
        ),
        ("bits", "relaxed", [("model", "relaxed model"), ("model", "discrete twin")]),
    ],
)
def test_each_model_is_compared_with_its_like(runs, first, second, pairs):
    found = compare_runs(runs(first), runs(second), **HOW)
    assert [(d["first"], d["second"]) for d in found["differences"]] == pairs
    for difference in found["differences"]:
        means = [
            found[side]["models"][difference[side]]["elbo"]["mean"] for side in SIDES
        ]
        assert difference["elbo"]["mean"] == pytest.approx(means[0] - means[1])


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        ("normal", "fixed", {}),  # the same draw
        ("normal", "threshold", {"binarization": "threshold"}),
        ("normal", "grey", {"binarization": "fixed"}),
        ("density", "density_too", {}),
        ("normal", "unvalidated", {}),  # the same test images
    ],
)
def test_what_is_scored_on_the_same_images_can_be_compared(runs, first, second, how):
    found = compare_runs(runs(first), runs(second), **HOW, **how)
    assert len(found["differences"]) == 1


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("first", "second", "how", "said"),
    [
        ("normal", "threshold", {}, ["binarization", "'dynamic'", "'threshold'"]),
        ("normal", "levels", {}, ["binarization", "'dynamic'", "'none'"]),
        ("density", "levels", {}, ["a density", "a probability", "'categorical'"]),
        ("grey", "levels", {}, ["grey targets", "a probability"]),
        ("normal", "smaller", {}, ["image_size", "[4, 4]"]),
        (
            "normal",
            "validated",
            {"split": "validation"},
            ["validation_size", "None", "100"],
        ),
        ("normal", "unvalidated", {"split": "validation"}, ["no validation"]),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_differs(
    runs, first, second, how, said
):
    how = {**HOW, "limit": None, "num_samples": 1, **how}
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        compare_runs(runs(first), runs(second), **how)
    for words in said:
        assert words in str(caught.value)


# -- settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Scoring, {"num_samples": 0}, "num_samples (--num-samples) 0"),
        (Scoring, {"num_samples": None}, "(--num-samples) None"),
        (Scoring, {"limit": -1}, "(--limit) -1"),
        (Scoring, {"batch_size": 1.5}, "(--batch-size) 1.5"),
        (Scoring, {"chunk_size": True}, "(--chunk-size) True"),
        (Scoring, {"seed": -1}, "(--seed) -1"),
        (Scoring, {"seed": 2**62}, f"{2**62 - 1} at most"),
        (Scoring, {"split": "dev"}, "'dev'; choose one of test, validation, train"),
        (Scoring, {"binarization": "x"}, "'x'; choose one of dynamic"),
        (Annealing, {"ais": True, "ais_chains": 0}, "(--ais-chains) 0"),
        (Annealing, {"ais": True, "bdmc_images": -1}, "(--bdmc-images) -1"),
        (Annealing, {"ais": True, "ais_initial": "q"}, "'q'; choose one of prior"),
        (Annealing, {"ais_steps": 10}, "has no effect without ais; set ais (--ais)"),
    ],
)
def test_bad_settings_are_refused_in_one_line(kind, values, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        kind(**values)
    assert said in str(caught.value)
