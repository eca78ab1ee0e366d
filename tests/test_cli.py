"""The command line: fast answers, one clear error, status 2, and the whole path."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest

from tfvae import cli
from tfvae.config import Config
from tfvae.recipes import RECIPES

SMALL = "--epochs 2 --latent-size 3 --hidden-sizes 8 --batch-size 400".split()

WITHOUT_TENSORFLOW = """
import sys
sys.orig_argv = [sys.executable, "-m", "tfvae"]
for name in ("tensorflow", "keras", "tensorflow_probability", "matplotlib", "sklearn"):
    sys.modules[name] = None  # importing it now fails
from tfvae.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 0, "usage: tfvae"),
        (["--help"], 0, "evaluate DIR"),
        (["--version"], 0, "tfvae 0."),
        (["recipes"], 0, "digits-binconcrete"),
        (["recipes", "mnist-iwae"], 0, "Burda"),
        (["recipes", "--help"], 0, "usage"),
        (["recipes", "nonsense"], 2, "digits-binconcrete"),
        (["recipes", "a", "b"], 2, "one name"),
        (["nonsense"], 2, "plot, export, benchmark, recipes"),
        (["--nonsense"], 2, "--nonsense"),
        (["train"], 2, "needs a recipe"),
        (["train", "--help"], 0, "RECIPE"),
        (["train", "nonsense"], 2, "unknown recipe 'nonsense'"),
        (["train", "mnist-iwae", "--help"], 0, "--kl-warmup-steps"),
        (["train", "mnist-iwae"], 2, "--workdir"),
        (["train", "mnist-iwae", "--workdir", "w", "--nonsense", "1"], 2, "nonsense"),
        (["train", "mnist-iwae", "--workdir", "w", "--objective", "x"], 2, "'iwae'"),
        (["train", "mnist-iwae", "--workdir", "w", "--epochs", "x"], 2, "epochs"),
        (["train", "mnist-iwae", "--workdir", "w", "--epochs", "0"], 2, "epochs 0"),
        (
            ["train", "mnist-iwae", "--workdir", "w", "--temperature", "0"],
            2,
            "temperature 0",
        ),
        (
            ["train", "mnist-iwae", "--workdir", "w", "--binarization", "none"],
            2,
            "grey_targets",
        ),
        (["evaluate"], 2, "run"),
        (["evaluate", "w", "--split", "dev"], 2, "validation"),
        (["evaluate", "w", "--num-samples", "many"], 2, "num-samples"),
        (["plot", "--help"], 0, "--seed"),
        (["export", "w"], 2, "path"),
        (["benchmark", "--help"], 0, "--evaluation-samples"),
        (["benchmark", "mnist-iwae", "--help"], 0, "--kl-warmup-steps"),
        (["benchmark", "nonsense"], 2, "unknown recipe 'nonsense'"),
        (["benchmark", "--nonsense", "1"], 2, "nonsense"),
        (["benchmark", "--epochs", "0"], 2, "epochs 0"),
        (["benchmark", "--blocks", "0"], 2, "--blocks"),
        (["benchmark", "--block-seconds", "nan"], 2, "--block-seconds"),
        (["benchmark", "--json", "--evaluation-samples", "0"], 2, "-samples) 0"),
        (["benchmark", "--evaluation-images", "-1"], 2, "--evaluation-images"),
    ],
)
def test_help_and_bad_arguments_answer_without_tensorflow(arguments, status, said):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments],
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    assert said.lower() in output.lower()
    assert "Traceback" not in output
    if status == 0:
        assert done.stderr == ""


def test_every_field_can_be_overridden():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, "train", "mnist-iwae", "--help"],
        capture_output=True,
        text=True,
    )
    for field in Config.__dataclass_fields__:
        assert f"--{field.replace('_', '-')}" in done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "run"
    arguments = ["train", "digits-binconcrete", "--workdir", str(path), *SMALL]
    assert cli.main(arguments) == 0
    return path


def test_train_overrides_the_recipe(run):
    config = json.loads((run / "config.json").read_text())["config"]
    recipe = RECIPES["digits-binconcrete"].config.to_dict()
    changed = {name for name, value in config.items() if value != recipe[name]}
    assert changed == {"epochs", "latent_size", "hidden_sizes", "batch_size"}
    assert config["hidden_sizes"] == [8]


def test_evaluate_names_everything_needed_to_repeat_it(run, capsys):
    assert cli.main(["evaluate", str(run), "--num-samples", "20", "--seed", "4"]) == 0
    output = capsys.readouterr().out
    for words in ("L_20", "359 test", "dynamic", "seed 4", "relaxed model", "+-"):
        assert words in output
    written = json.loads((run / "evaluation.json").read_text())
    assert written["num_samples"] == 20 and written["split"] == "test"
    results = written["results"]
    assert results["elbo"]["mean"] < results["log_likelihood"]["mean"]
    assert f"{results['log_likelihood']['mean']:.2f}" in output
    assert cli.main(["evaluate", str(run), "--num-samples", "20", "--seed", "4"]) == 0
    assert json.loads((run / "evaluation.json").read_text()) == written


@pytest.mark.parametrize("split", ["train", "validation"])
def test_evaluate_scores_the_split_and_number_asked_for(run, split, capsys):
    arguments = ["--split", split, "--limit", "30", "--num-samples", "2"]
    assert cli.main(["evaluate", str(run), *arguments]) == 0
    assert f"30 {split} images" in capsys.readouterr().out


def test_plot_draws_four_pictures(run, capsys):
    assert cli.main(["plot", str(run)]) == 0
    paths = capsys.readouterr().out.split()
    names = ["reconstructions", "samples", "traversal", "training_curves"]
    assert paths == [str(run / "pictures" / f"{name}.png") for name in names]
    for path in paths:
        with open(path, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_export_prints_the_version_that_it_wrote(run, tmp_path, capsys):
    target = tmp_path / "models" / "digits"
    for version in ("1", "2"):
        assert cli.main(["export", str(run), str(target)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == str(target / version)
        assert (target / version / "saved_model.pb").exists()


def test_the_command_goes_through_in_a_process_of_its_own(tmp_path):
    """Also: a saved model is found by Keras, and nothing but our lines is printed."""
    arguments = ["train", "digits-binconcrete", "--workdir", str(tmp_path), *SMALL]
    for command in (arguments, ["evaluate", str(tmp_path), "--num-samples", "2"]):
        done = subprocess.run(
            [sys.executable, "-m", "tfvae", *command], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout


def foreign(path):
    path.mkdir()
    (path / "thesis.tex").write_text("mine")


BAD_RUNS = [
    (["evaluate", "{missing}"], "not a folder"),
    (["evaluate", "{foreign}"], "no run"),
    (["plot", "{foreign}"], "no run"),
    (["export", "{foreign}", "{missing}"], "no run"),
    (["evaluate", "{unfinished}"], "no model yet"),
    (["evaluate", "{damaged}"], "model.keras"),
    (["evaluate", "{run}", "--num-samples", "0"], "num_samples 0"),
    (["evaluate", "{run}", "--chunk-size", "-1"], "chunk_size -1"),
    (["evaluate", "{run}", "--batch-size", "0"], "batch_size 0"),
    (["evaluate", "{run}", "--limit", "0"], "limit 0"),
    (["export", "{run}", "{foreign}"], "thesis.tex"),
    (["train", "digits-binconcrete", "--workdir", "{foreign}"], "no run"),
    (["train", "digits-binconcrete", "--workdir", "{run}"], "holds another run"),
    (["train", "mnist-iwae", "--workdir", "{new}", "--dataset", "x"], "'x'"),
    (
        [
            *("train", "mnist-iwae", "--workdir", "{new}", "--data-dir", "{empty}"),
            *("--manual-dir", "{empty}"),
        ],
        "manual",
    ),
    (
        ["train", "digits-binconcrete", "--workdir", "{new}", "--batch-size", "9999"],
        "batch_size 9999",
    ),
    (["benchmark", "--batch-size", "9999"], "batch_size 9999"),
    (["benchmark", "--dataset", "x"], "'x'"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD_RUNS)
def test_bad_input_is_one_line_and_status_2(arguments, said, run, tmp_path, capsys):
    paths = {"run": run}
    for name in ("missing", "foreign", "unfinished", "damaged", "new", "empty"):
        paths[name] = tmp_path / name
    foreign(paths["foreign"])
    paths["empty"].mkdir()
    for name in ("unfinished", "damaged"):
        paths[name].mkdir()
        (paths[name] / "config.json").write_bytes((run / "config.json").read_bytes())
    with zipfile.ZipFile(paths["damaged"] / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    before = sorted(tmp_path.rglob("*"))
    status = cli.main([argument.format(**paths) for argument in arguments])
    output = capsys.readouterr()
    assert status == 2, output
    lines = [line for line in output.err.splitlines() if line.startswith("tfvae: ")]
    assert len(lines) == 1 and said in lines[0], output.err
    assert "Traceback" not in output.err
    left = [p for p in sorted(tmp_path.rglob("*")) if paths["empty"] not in p.parents]
    assert left == before
