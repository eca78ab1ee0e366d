"""The command line: fast answers, one clear error, status 2, and the whole path."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import zipfile

import numpy as np
import pytest

from tfvae import cli
from tfvae.config import Config
from tfvae.config.config import SECTIONS
from tfvae.config.plots import PLOT_KINDS
from tfvae.config.recipes import RECIPES
from tfvae.core.files import staged_directory
from tfvae.core.types import InputError
from tfvae.evaluation import Ladder
from tfvae.evaluation.ais import AisScores
from tfvae.export import verify_saved_model
from tfvae.export.layout import CARD, REQUESTS
from tfvae.reports.exporting import _card, export_run
from tfvae.reports.html.markup import with_error
from tfvae.reports.html.titles import TITLES
from tfvae.training.runs import load_data, load_run

SMALL = "--epochs 2 --latent-size 3 --hidden-sizes 8 --batch-size 400".split()

# Commands run eagerly here; the one in a process of its own does not.
pytestmark = pytest.mark.usefixtures("eagerly")

# Answers to lists of arguments, all in one process.
WITHOUT_TENSORFLOW = """
import contextlib, io, json, sys
import tfvae_command
for name in ("tensorflow", "keras", "tensorflow_probability", "matplotlib", "sklearn"):
    sys.modules[name] = None  # importing it now fails
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = tfvae_command.main()
        except SystemExit as end:
            status = end.code
    answers.append([status or 0, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


ANSWERS_WITHOUT_TENSORFLOW = [
    ([], 0, "usage: tfvae"),
    (["--help"], 0, "evaluate DIR"),
    (["--version"], 0, "tfvae 0."),
    (["recipes"], 0, "digits-binconcrete"),
    (["recipes", "mnist-iwae"], 0, "Burda"),
    (["recipes", "--help"], 0, "usage"),
    (["recipes", "nonsense"], 2, "digits-binconcrete"),
    (["recipes", "a", "b"], 2, "one name"),
    (["nonsense"], 2, "plot, report, export, verify, benchmark, recipes"),
    (["--nonsense"], 2, "--nonsense"),
    (["detect", "--help"], 0, "--alpha"),
    (["detect", "w", "digits"], 2, "--out"),
    (["detect", "w", "d", "--out", "o", "--score", "x"], 2, "'dose'"),
    (["impute", "--help"], 0, "--num-draws"),
    (["impute", "w", "x.npy"], 2, "--out"),
    (["impute", "w", "x.npy", "--out", "o", "--interval", "2"], 2, "below 1"),
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
        ["train", "mnist-iwae", "--workdir", "w", "--grey-targets", "True"],
        2,
        "grey_targets",
    ),
    (["train", "mnist-iwae", "--workdir", "w", "--strategy", "x"], 2, "mirrored"),
    (
        ["train", "mnist-iwae", "--workdir", "w", "--strategy", "multi_worker"],
        2,
        "TF_CONFIG, which is not set",
    ),
    (["evaluate"], 2, "run"),
    (["evaluate", "w", "--split", "dev"], 2, "validation"),
    (["evaluate", "w", "--num-samples", "many"], 2, "num-samples"),
    (["evaluate", "--help"], 0, "--bdmc-images"),
    (["evaluate", "w", "--num-samples", "0"], 2, "(--num-samples) 0"),
    (["evaluate", "w", "--chunk-size", "-1"], 2, "(--chunk-size) -1"),
    (["evaluate", "w", "--batch-size", "0"], 2, "(--batch-size) 0"),
    (["evaluate", "w", "--limit", "0"], 2, "(--limit) 0"),
    (["evaluate", "w", "--seed", "-1"], 2, "(--seed) -1"),
    (["evaluate", "w", "--binarization", "grey"], 2, "threshold"),
    (["evaluate", "w", "--ais-chains", "4"], 2, "without ais"),
    (["evaluate", "w", "--ais", "--ais-steps", "0"], 2, "(--ais-steps) 0"),
    (["evaluate", "w", "--ais", "--gap-steps", "9"], 2, "without gaps"),
    (["evaluate", "w", "--gaps", "--gap-steps", "0"], 2, "(--gap-steps) 0"),
    (["compare", "--help"], 0, "--num-samples"),
    (["compare", "w"], 2, "another"),
    (["compare", "v", "w", "--limit", "0"], 2, "(--limit) 0"),
    (["plot", "--help"], 0, "importance_weights"),
    (["plot", "w", "nonsense"], 2, "(KIND) 'nonsense'; choose one of reconstr"),
    (["report"], 2, "run"),
    (["report", "--help"], 0, "--seed"),
    (["export", "w"], 2, "path"),
    (["verify"], 2, "path"),
    (["benchmark", "--serving", "--evaluation-samples", "9"], 2, "no effect"),
    (["benchmark", "--help"], 0, "--evaluation-samples"),
    (["benchmark", "mnist-iwae", "--help"], 0, "--kl-warmup-steps"),
    (["benchmark", "nonsense"], 2, "unknown recipe 'nonsense'"),
    (["benchmark", "--nonsense", "1"], 2, "nonsense"),
    (["benchmark", "--epochs", "0"], 2, "epochs 0"),
    (["benchmark", "--blocks", "0"], 2, "--blocks"),
    (["benchmark", "--block-seconds", "nan"], 2, "--block-seconds"),
    (["benchmark", "--json", "--evaluation-samples", "0"], 2, "-samples) 0"),
    (["benchmark", "--evaluation-images", "-1"], 2, "--evaluation-images"),
]


@pytest.fixture(scope="module")
def answers(fresh_python):
    """The status, output and errors of each of these commands."""
    asked = [arguments for arguments, _, _ in ANSWERS_WITHOUT_TENSORFLOW]
    found = json.loads(fresh_python(WITHOUT_TENSORFLOW, json.dumps(asked)).stdout)
    return dict(zip(map(tuple, asked), found, strict=True))


@pytest.mark.parametrize(("arguments", "status", "said"), ANSWERS_WITHOUT_TENSORFLOW)
def test_help_and_bad_arguments_answer_without_tensorflow(
    answers, arguments, status, said
):
    found, out, err = answers[tuple(arguments)]
    assert found == status, out + err
    assert said.lower() in (out + err).lower()
    assert "Traceback" not in out + err
    if status == 0:
        assert err == ""


def test_a_process_ends_with_the_commands_status_and_without_tensorflow(fresh_python):
    """As the command does, which hands it to the process."""
    script = """
import sys
import tfvae_command
sys.modules["tensorflow"] = None
sys.exit(tfvae_command.main())
"""
    done = fresh_python(script, "train", "nonsense", check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("tfvae: unknown recipe 'nonsense'")


def test_every_field_can_be_overridden(answers):
    _, out, _ = answers["train", "mnist-iwae", "--help"]
    for field in Config.__dataclass_fields__:
        assert f"--{field.replace('_', '-')}" in out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "run"
    arguments = ["train", "digits-binconcrete", "--workdir", str(path), *SMALL]
    assert cli.main(arguments) == 0
    return path


def test_help_shows_the_settings_in_groups_with_the_main_ones_first(answers):
    _, out, _ = answers["train", "mnist-iwae", "--help"]
    # Lines of boxes, or without any where the terminal has no such characters.
    _, *boxes = re.split(r"^\W*(\w+) options\b", out, flags=re.MULTILINE)
    found = dict(zip(boxes[::2], boxes[1::2], strict=True))
    assert list(found)[: len(SECTIONS)] == list(SECTIONS)
    for title, kind in SECTIONS.items():
        names = re.findall(r"^\W*--([a-z][a-z-]*)", found[title], re.MULTILINE)
        fields = [field.name.replace("_", "-") for field in dataclasses.fields(kind)]
        assert names == fields
    assert len(dataclasses.fields(SECTIONS["main"])) == 10


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
    again = json.loads((run / "evaluation.json").read_text())
    assert again.pop("date") >= written.pop("date")
    assert again == written


def test_evaluate_anneals_where_it_is_asked_to(run, capsys, monkeypatch):
    def annealed(vae, batches, num_chains, num_steps, **how):
        assert (num_chains, num_steps, how["num_leapfrog_steps"]) == (2, 9, 1)
        count = sum(len(x) for x in batches)
        return AisScores(*np.linspace([-30.0, 0.6, 1.5], [-20.0, 0.7, 1.6], count).T)

    def climbed(vae, batches, num_steps, **how):
        assert num_steps == 7 and how["num_samples"] == 2
        count = sum(len(x) for x in batches)
        return Ladder(*(np.full(count, rung) for rung in (-29.0, -28.0, -27.5, -27.0)))

    monkeypatch.setattr("tfvae.reports.evaluating.ais_log_likelihood", annealed)
    monkeypatch.setattr("tfvae.reports.evaluating.inference_ladder", climbed)
    # `gaps` stands on AIS, which need not be asked for.
    annealing = "--gaps --gap-steps 7 --ais-chains 2 --ais-steps 9 --ais-leapfrogs 1"
    annealing += " --bdmc-images 0"
    how = ["--limit", "3", "--num-samples", "2", *annealing.split()]
    assert cli.main(["evaluate", str(run), *how]) == 0
    output = capsys.readouterr().out
    assert "2 chains from the prior, 9 steps" in output and "BDMC" not in output
    ais = json.loads((run / "evaluation.json").read_text())["ais"]
    assert ais["log_likelihood"]["mean"] == -25
    gaps = json.loads((run / "evaluation.json").read_text())["gaps"]["differences"]
    assert {name: gap["mean"] for name, gap in gaps.items()} == {
        "total": 4,
        "amortisation": 1,
        "approximation": 3,
        "linear_gain": 0.5,
        "flow_gain": 0.5,
        "rest": 2,
    }
    assert "own q, 7 steps" in output and "  the rest" in output
    assert re.search(r"amortisation gap +1\.00 \+- 0\.00", output)
    assert (run / "evaluation_gaps.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((run / "evaluation.json").read_text())
    versions = set(written["versions"])
    # The names of a report are words, and not those of fields.
    assert names_in(written) - {"mean", "standard_error"} - versions <= {
        *TITLES,
        "bits_per_dim",
        "bits_per_dim_standard_error",
    }
    assert cli.main(["evaluate", str(run), "--limit", "3", "--num-samples", "2"]) == 0
    assert "gaps" not in json.loads((run / "evaluation.json").read_text())
    assert not (run / "evaluation_gaps.png").exists()


def names_in(node: object) -> set[str]:
    """Every name of a tree of mappings and lists."""
    if isinstance(node, list):
        return set().union(*map(names_in, node))
    if isinstance(node, dict):
        return set(node).union(*map(names_in, node.values()))
    return set()


def test_compare_gives_the_difference_of_two_runs(run, capsys):
    how = ["--limit", "30", "--num-samples", "3", "--seed", "2"]
    before = sorted(run.rglob("*"))
    assert cli.main(["compare", str(run), str(run), *how]) == 0
    output = capsys.readouterr().out
    for words in ("30 test", "K = 3", "seed 2", "discrete twin - discrete twin"):
        assert words in output
    assert "0.000 +- 0.000" in output
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("split", ["train", "validation"])
def test_evaluate_scores_the_split_and_number_asked_for(run, split, capsys):
    arguments = ["--split", split, "--limit", "30", "--num-samples", "2"]
    assert cli.main(["evaluate", str(run), *arguments]) == 0
    assert f"30 {split} images" in capsys.readouterr().out


def test_plot_draws_every_picture_of_the_run(run, capsys):
    assert cli.main(["plot", str(run)]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    paths = output.out.splitlines()
    assert paths == [str(run / "pictures" / f"{name}.png") for name in PLOT_KINDS]
    for path in paths:
        with open(path, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def one_hot_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "one_hot"
    how = "--latent categorical --temperature None --prior-temperature None"
    how += " --objective elbo --estimator reinforce --num-samples 2"
    arguments = ["train", "digits-binconcrete", "--workdir", str(path), *SMALL]
    assert cli.main([*arguments, *how.split()]) == 0
    return path


@pytest.mark.slow
def test_plot_says_in_a_line_what_is_not_defined(one_hot_run, capsys):
    capsys.readouterr()
    assert cli.main(["plot", str(one_hot_run)]) == 0
    output = capsys.readouterr()
    skipped = [line.split(":")[0] for line in output.err.splitlines()]
    assert skipped == [
        "no prior_traversal",
        "no posterior_traversal",
        "no interpolations",
    ]
    assert len(output.out.splitlines()) == len(PLOT_KINDS) - 3
    assert cli.main(["plot", str(one_hot_run), "interpolations"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tfvae: interpolations are not defined for Categorical")


def test_plot_draws_the_picture_asked_for(one_hot_run, capsys):
    for path in (one_hot_run / "pictures").glob("*"):
        path.unlink()
    assert cli.main(["plot", str(one_hot_run), "rates", "--seed", "3"]) == 0
    path = one_hot_run / "pictures" / "rates.png"
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_report_prints_the_page_that_it_wrote(run, capsys):
    assert cli.main(["evaluate", str(run), "--num-samples", "2", "--limit", "9"]) == 0
    capsys.readouterr()
    assert cli.main(["report", str(run)]) == 0
    page = run / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    evaluation = json.loads((run / "evaluation.json").read_text())
    elbo = evaluation["results"]["elbo"]
    written = page.read_text(encoding="utf-8")
    assert with_error(elbo["mean"], elbo["standard_error"]) in written
    assert written.count("<img") == len(PLOT_KINDS)


@pytest.mark.slow
def test_export_prints_the_version_that_it_wrote(run, tmp_path, capsys):
    target = tmp_path / "models" / "digits"
    assert cli.main(["export", str(run), str(target), "--num-samples", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(target / "1")
    card = json.loads((target / "1" / CARD).read_text())
    assert card["name"] == "digits" and "relaxed model" in card["bounds"]
    assert card["training"]["latent_size"] == 3 and card["steps"] > 0
    assert "L_3" in card["signatures"]["score"]["description"]
    # The recorded requests show test images, to four digits.
    request = json.loads((target / "1" / REQUESTS / "encode.json").read_text())
    images, _ = load_data(Config()).test.first(2)
    shown = [row["x"] for row in request["instances"]]
    np.testing.assert_allclose(shown, images, atol=6e-5)


def test_a_card_has_the_evaluation_of_its_model_alone(run, tmp_path):
    assert cli.main(["evaluate", str(run), "--num-samples", "2"]) == 0
    copy = shutil.copytree(run, tmp_path / "run")
    record = load_run(copy)
    evaluation = _card(record, "digits")["evaluation"]
    assert evaluation["num_samples"] == 2
    record.vae.steps.assign_add(1)  # trained on since
    assert _card(record, "digits")["evaluation"] is None


@pytest.mark.slow
def test_a_machine_without_the_data_exports_too(run, tmp_path, monkeypatch):
    def gone(*args):
        raise InputError("the data is not there")

    monkeypatch.setattr("tfvae.reports.exporting.split_of", gone)
    path = export_run(run, tmp_path / "model", num_samples=2)
    assert verify_saved_model(path).signatures["encode"]["rows"] == 2


# Trains a run and scores another, each as `python -m tfvae` does.
COMMANDS_ONE_AFTER_THE_OTHER = """
import json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        runpy.run_module("tfvae", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, end.code
    print("done")
"""


@pytest.mark.parametrize(
    "level",
    [None, pytest.param("3", marks=pytest.mark.slow)],
    ids=["no level", "level 3"],
)
def test_the_command_goes_through_in_a_process_of_its_own(
    run, tmp_path, level, fresh_python
):
    """Also: a saved model is found by Keras, and nothing but our lines is printed."""
    copy = shutil.copytree(run, tmp_path / "run")
    commands = [
        ["train", "digits-binconcrete", "--workdir", str(tmp_path / "new"), *SMALL],
        ["evaluate", str(copy), "--num-samples", "2"],
    ]
    done = fresh_python(
        COMMANDS_ONE_AFTER_THE_OTHER, json.dumps(commands), TF_CPP_MIN_LOG_LEVEL=level
    )
    assert done.stderr == ""
    trained, scored, rest = done.stdout.split("done\n")
    assert "epoch 2/2" in trained and "L_2" in scored and rest == ""


def foreign(path):
    path.mkdir()
    (path / "thesis.tex").write_text("mine")


BAD_RUNS = [
    (["evaluate", "{missing}"], "not a folder"),
    (["evaluate", "{foreign}"], "no run"),
    (["plot", "{foreign}"], "no run"),
    (["plot", "{run}", "--seed", "-1"], "seed -1"),
    (["report", "{foreign}"], "no run"),
    (["report", "{unfinished}"], "no model yet"),
    (["export", "{foreign}", "{missing}"], "no run"),
    (["evaluate", "{unfinished}"], "no model yet"),
    (["evaluate", "{damaged}"], "model.keras"),
    (["evaluate", "{run}", "--binarization", "none"], "'none'"),
    (["compare", "{run}", "{missing}"], "not a folder"),
    (["compare", "{foreign}", "{run}"], "no run"),
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


@pytest.mark.quick(4)
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


@pytest.mark.parametrize(
    ("command", "resumes"), [("train", True), ("benchmark", False)]
)
def test_an_interrupt_promises_to_go_on_only_where_it_is_so(
    command, resumes, monkeypatch, capsys
):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, command, interrupted)
    assert cli.main([command]) == 130
    assert ("goes on" in capsys.readouterr().err) == resumes


def test_sigterm_leaves_nothing_half_written(monkeypatch, capsys, tmp_path):
    def terminated(arguments):
        with staged_directory(tmp_path) as partial:
            partial.mkdir()
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(cli.COMMANDS, "export", terminated)
    assert cli.main(["export"]) == 143
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == "tfvae: terminated\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


TRAIN = ["train", "digits-binconcrete", "--workdir", "nowhere"]
ONE_LINE = {
    "unknown option": ([*TRAIN, "--epoch", "3"], ["--epoch", "--epochs"]),
    "no number": ([*TRAIN, "--epochs", "x"], ["--epochs", "'x'"]),
    "commas": ([*TRAIN, "--hidden-sizes", "512,256"], ["spaces, 512 256"]),
    "value": ([*TRAIN, "--likelihood", "bernouli"], ["did you mean 'bernoulli'?"]),
    "recipe": (["train", "digit-binconcrete"], ["did you mean 'digits-binconcrete'?"]),
    "no recipe": (["train", "--workdir", "x"], ["needs a recipe before --workdir"]),
    "no workdir": (TRAIN[:2], ["--workdir PATH", "(required)"]),
    "no run": (["evaluate"], ["PATH", "tfvae evaluate --help"]),
    "empty": (["export", "x", ""], ["argument 2 of tfvae export is empty"]),
    "command": (["evalute", "x"], ["did you mean 'evaluate'?"]),
}


@pytest.mark.parametrize(("arguments", "said"), ONE_LINE.values(), ids=ONE_LINE)
def test_an_arguments_error_is_one_line_with_what_is_near(arguments, said, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tfvae: ") and error.count("\n") == 1
    assert not re.search("[-|\u2500\u2502]{3}", error)  # nothing of a box
    assert all(part in error for part in said), error


def test_a_recipe_shows_what_is_set(capsys):
    assert cli.main(["recipes", "digits-binconcrete"]) == 0
    shown = capsys.readouterr().out
    assert "latent_size              32" in shown and "None" not in shown
