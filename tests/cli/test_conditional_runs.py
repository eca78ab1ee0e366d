"""Runs of conditional and semi-supervised models, through all commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from helpers.rest import answered

from tfvae import cli
from tfvae.config import Config
from tfvae.config.settings import Scoring
from tfvae.core.types import InputError
from tfvae.export.layout import CARD, REQUESTS
from tfvae.models import Batch, SemiSupervisedVAE
from tfvae.reports.images import images_of
from tfvae.training.building import build_vae
from tfvae.training.runs import load_data, load_run

SMALL = "--epochs 2 --latent-size 3 --hidden-sizes 8 --batch-size 400".split()

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module", params=["cvae", "m2"])
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "run"
    more = {"cvae": [], "m2": ["--labels", "50", "--classifier-weight", "20"]}
    arguments = ["train", "digits-cvae", "--workdir", str(path), *SMALL]
    assert cli.main([*arguments, *more[request.param]]) == 0
    return path


@pytest.fixture
def in_graphs():
    """Of an export, whose graph else writes checkpoints, and of many steps."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.mark.slow
def test_a_run_is_evaluated_compared_and_drawn(run, capsys):
    how = ["--num-samples", "5", "--limit", "40"]
    assert cli.main(["evaluate", str(run), *how]) == 0
    said = capsys.readouterr().out
    vae = load_run(run).vae
    semi = isinstance(vae, SemiSupervisedVAE)
    assert ("log p(x|label)" in said) != semi
    assert ("q(y|x): accuracy" in said) == semi
    assert cli.main(["compare", str(run), str(run), *how]) == 0
    assert cli.main(["report", str(run)]) == 0
    assert cli.main(["plot", str(run), "samples"]) == 0
    evaluation = json.loads((run / "evaluation.json").read_text())
    if semi:
        x, labels = load_data(load_run(run).record.config).test.first(40)
        batch = next(iter(images_of(load_run(run), Scoring(limit=40)).batches))
        guess = vae.classify(batch["x"].numpy()).argmax(axis=1)
        np.testing.assert_array_equal(batch["label"], labels)
        shown = evaluation["classification"]
        assert shown["accuracy"] == pytest.approx((guess == labels).mean(), rel=1e-6)
        assert shown["num_images"] == len(x) == 40
    assert "divergence" not in evaluation["posterior"]["aggregate"]


@pytest.mark.slow
def test_annealed_chains_are_of_the_class_or_refused(run, capsys, in_graphs):
    how = "--num-samples 5 --limit 6 --ais --ais-chains 2 --ais-steps 3".split()
    semi = isinstance(load_run(run).vae, SemiSupervisedVAE)
    asked = ["evaluate", str(run), *how, "--bdmc-images", "8"]
    assert cli.main(asked) == (2 if semi else 0)
    said = capsys.readouterr()
    assert ("semi-supervised" in said.err) == semi


@pytest.mark.slow
def test_an_exported_model_has_the_class_as_an_input(run, tmp_path, in_graphs):
    target = tmp_path / "served"
    assert cli.main(["export", str(run), str(target)]) == 0
    version = target / "1"
    card = json.loads((version / CARD).read_text())
    inputs = card["signatures"]["decode"]["inputs"]
    assert inputs["condition"] == {"dtype": "int64", "shape": [None]}
    body = json.loads((version / REQUESTS / "encode.json").read_text())
    assert {"x", "condition"} == body["instances"][0].keys()
    model = tf.saved_model.load(str(version))
    for path in (version / REQUESTS).glob("*.json"):
        for row in answered(model, path.read_bytes())["predictions"]:
            values = row.values() if isinstance(row, dict) else [row]
            assert all(np.isfinite(value).all() for value in values), path.name
    served, vae = tf.saved_model.load(str(version)).signatures, load_run(run).vae
    z = tf.random.stateless_normal([4, 3], (1, 2))
    c = tf.constant([1, 7, 7, 0], tf.int64)
    np.testing.assert_allclose(
        served["decode"](z=z, condition=c)["mean"],
        vae.decode(z, condition=c).mean(),
        rtol=1e-5,
        atol=1e-6,
    )
    x = tf.constant(np.random.default_rng(0).random((4, 8, 8, 1)) > 0.5, tf.float32)
    seed = tf.constant([[0, n] for n in range(4)])
    scores = served["score"](x=x, seed=seed, condition=c)
    wanted = vae.log_weight_terms(Batch(x[1:2], c[1:2]), 100, seed[1])
    got = float(scores["elbo"][1])
    log_weights = wanted.log_weights().numpy()
    assert np.isfinite(got) and abs(got - log_weights.mean()) < 5
    drawn = served["sample"](seed=seed, condition=c)
    again = vae.sample(1, seed[2], condition=[7])
    np.testing.assert_allclose(drawn["z"][2], again.z[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="0 to 9"):
        served["decode"](z=z, condition=c + 8)
    if isinstance(vae, SemiSupervisedVAE):
        np.testing.assert_allclose(
            served["classify"](x=x)["probability"], vae.classify(x), rtol=1e-5
        )
    assert cli.main(["verify", str(target)]) == 0


def test_the_projector_has_the_codes_of_images_with_their_condition(run):
    (means,) = run.glob("logs/**/means.tsv")
    batch = next(iter(images_of(load_run(run), Scoring(limit=20)).batches))
    wanted, found = load_run(run).vae.embed(batch), np.loadtxt(means)
    np.testing.assert_allclose(found[: len(wanted)], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.quick(1)
def test_a_stopped_run_goes_on(run, tmp_path, capsys):
    record = load_run(run).record.config
    more = [] if record.labels is None else ["--labels", "50"]
    if record.labels is not None:
        more += ["--classifier-weight", "20"]
    arguments = ["train", "digits-cvae", "--workdir", str(run), *SMALL, *more]
    arguments[arguments.index("--epochs") + 1] = "3"
    assert cli.main([*arguments, "--allow-changed", "epochs"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--labels 55", "multiple of 10"),
        ("--condition None --labels 50", "without a condition"),
        ("--classifier-weight 2", "without labels"),
        ("--classifier augmented", "without labels"),
        ("--label-repeats 2", "without labels"),
        (
            "--labels 50 --label-repeats 2 --missing mcar --missing-share 0.5",
            "other pixels",
        ),
        ("--condition None", "'conditional' is p(z|c)"),
        ("--prior vamp", "'vamp'"),
        ("--labels 100000", "wants"),
        ("--latent flow", "FlowLatent"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(more, said, tmp_path, capsys):
    arguments = ["train", "digits-cvae", "--workdir", str(tmp_path / "run"), *SMALL]
    assert cli.main([*arguments, *more.split()]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--labels", "50"], "not counted"), (["--serving"], "no condition")],
)
def test_what_a_benchmark_would_count_wrongly_is_refused(more, said, capsys):
    assert cli.main(["benchmark", "digits-cvae", *more]) == 2
    assert said in capsys.readouterr().err


def test_a_named_condition_without_labels_is_refused():
    with pytest.raises(InputError, match="images and their labels"):
        build_vae(Config(condition="label"), (4, 4, 1))


def test_images_without_labels_have_no_condition(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x_train=images, x_test=images[:10])
    data = ["--dataset", f"npz:{tmp_path / 'data.npz'}"]
    arguments = ["train", "digits-cvae", "--workdir", str(tmp_path / "run"), *SMALL]
    assert cli.main([*arguments, *data, "--batch-size", "20"]) == 2
    assert "needs the label of every image" in capsys.readouterr().err
