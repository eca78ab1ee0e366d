"""Runs from whose images pixels are missing, through all commands."""

from __future__ import annotations

import json
import typing

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import slow_but

import tfvae
from tfvae import cli
from tfvae.config import Config
from tfvae.config.names import MissingName
from tfvae.core.types import InputError
from tfvae.export.layout import CARD
from tfvae.models.missing import AT_RANDOM
from tfvae.training.building import check_config
from tfvae.training.running import notes
from tfvae.training.runs import load_data, load_run, meaning, run_evaluation_batches

SMALL = "--epochs 2 --latent-size 3 --hidden-sizes 8 --batch-size 400".split()
HOLES = "--missing mcar --missing-share 0.3".split()
NORMAL = "--latent normal --temperature None --prior-temperature None".split()
KINDS = {
    "plain": ["digits-binconcrete", *NORMAL],
    "cvae": ["digits-cvae"],
    "m2": ["digits-cvae", "--labels", "50"],
}

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module", params=slow_but(("plain",), KINDS))
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "run"
    recipe, *more = KINDS[request.param]
    asked = ["train", recipe, "--workdir", str(path), *SMALL, *HOLES, *more]
    assert cli.main(asked) == 0
    return path


def words_of(run) -> list[str]:
    """The recipe of a run, with the arguments that make its kind."""
    config = load_run(run).record.config
    if config.condition is None:
        return KINDS["plain"]
    return KINDS["cvae" if config.labels is None else "m2"]


@pytest.fixture
def in_graphs():
    """Of an export, whose graph else writes checkpoints."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


def test_the_encoder_sees_the_mask_unless_there_is_a_condition(run):
    vae = load_run(run).vae
    assert vae.missing == "mcar"
    seen = vae.image_shape if vae.condition is None else vae.condition.shape
    assert vae.encoder.condition_shape == seen


@pytest.mark.slow
def test_a_run_is_evaluated_compared_drawn_and_gone_on_with(run, capsys):
    how = ["--num-samples", "5", "--limit", "40"]
    assert cli.main(["evaluate", str(run), *how]) == 0
    said = capsys.readouterr().out
    assert "log p(x_observed" in said and "bits" not in said.lower()
    assert cli.main(["compare", str(run), str(run), *how]) == 0
    assert cli.main(["plot", str(run), "reconstructions"]) == 0
    assert cli.main(["report", str(run)]) == 0
    asked = ["train", *words_of(run), "--workdir", str(run), *SMALL, *HOLES]
    asked[asked.index("--epochs") + 1] = "3"
    assert cli.main(asked) == 0
    assert "epoch 3/3" in capsys.readouterr().out


def test_a_run_fills_in_finds_outliers_and_is_served(run, tmp_path, capsys, in_graphs):
    x = (np.random.default_rng(0).random((4, 8, 8)) < 0.3).astype(np.float32)
    x[:, 4:] = np.nan
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(4))
    asked = ["impute", str(run), str(tmp_path / "x.npz"), "--out"]
    assert cli.main([*asked, str(tmp_path / "o.npz"), "--num-samples", "5"]) == 0
    assert "not trained with values missing" not in capsys.readouterr().out
    asked = ["detect", str(run), "digits", "--alpha", "0.1", "--limit", "5"]
    asked += ["--num-samples", "2", "--out", str(tmp_path / "o.csv")]
    assert cli.main(asked) == 0
    assert cli.main(["export", str(run), str(tmp_path / "served")]) == 0
    card = json.loads((tmp_path / "served" / "1" / CARD).read_text())
    assert "observed" in card["signatures"]["impute"]["inputs"]
    assert ("p_value" in card["signatures"]["score"]["outputs"]) == (
        load_run(run).record.config.labels is None
    )


@pytest.mark.slow
def test_runs_of_other_pixels_are_not_compared(run, tmp_path, capsys):
    other = tmp_path / "run"
    assert cli.main(["train", *words_of(run), "--workdir", str(other), *SMALL]) == 0
    assert cli.main(["compare", str(run), str(other), "--num-samples", "2"]) == 2
    assert "missing_share is 0.3 and None" in capsys.readouterr().err


def test_runs_of_other_seeds_lack_the_same_in_evaluation(run):
    config = load_run(run).record.config
    split = load_data(config).test
    other = Config.from_dict({**config.to_dict(), "seed": 9})
    one, two = (
        next(iter(run_evaluation_batches(c, split, 100))) for c in (config, other)
    )
    np.testing.assert_array_equal(one["observed"], two["observed"])


# -- settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--missing-share 0.3", "no effect without missing"),
        ("--missing mcar --missing-share 1", "between 0 and 1"),
        ("--missing mcar --missing-share nan", "between 0 and 1"),
        ("--missing nmar", "'mcar'"),
        ("--missing mar --prior vamp", "'vamp'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(more, said, tmp_path, capsys):
    asked = ["train", *KINDS["plain"], "--workdir", str(tmp_path / "run"), *SMALL]
    assert cli.main([*asked, *more.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error


def test_a_benchmark_of_requests_has_no_mask(capsys):
    asked = ["benchmark", "digits-binconcrete", "--serving", "--missing", "mar"]
    assert cli.main(asked) == 2
    assert "no mask" in capsys.readouterr().err


def test_names_are_those_of_models():
    assert set(typing.get_args(MissingName)) <= set(AT_RANDOM)


def test_a_share_is_said_where_it_counts():
    whole, holes = Config(missing="mar"), Config(missing="mar", missing_share=0.2)
    assert any("nothing is" in line for line in notes(whole, 10))
    assert meaning(holes) == "log p(x_observed)" and meaning(whole) == "log p(x)"


@pytest.mark.quick(1)
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_network_takes_the_mask(network):
    hidden = {"hidden_sizes": (4,)}
    vae = tfvae.build(
        (8, 8, 1), missing="mar", network=network, latent_size=2, **hidden
    )
    assert vae.encoder.condition_shape == (8, 8, 1)
    check_config(Config(missing="mar", network=network))
    x = np.where(np.arange(64).reshape(1, 8, 8, 1) % 3 > 0, 1.0, np.nan)
    assert np.isfinite(vae.impute(x.astype(np.float32), num_samples=3).mean).all()
    with pytest.raises(InputError, match="missing_share has no effect on a model"):
        tfvae.build((8, 8, 1), missing="mar", missing_share=0.2)
