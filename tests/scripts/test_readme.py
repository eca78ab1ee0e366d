"""The README is true: its programs run, its commands parse, its tables are whole."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest
from readme_tables import TABLES, with_tables

from tfvae import cli
from tfvae.config.recipes import RECIPES
from tfvae.networks import NETWORKS

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def apart(program: str) -> bool:
    """Whether it needs a served model (tests/test_rest.py), or others' packages."""
    needs = ("saved_models/", "localhost", "import mlflow", "import wandb")
    return any(need in program for need in needs)


def test_the_python_of_the_quick_start_runs_as_printed(
    tmp_path, fresh_python, monkeypatch
):
    quick_start, *others = [text for text in blocks("python") if not apart(text)]
    assert len([line for line in quick_start.splitlines() if line]) <= 11
    script = f"import os; os.chdir({str(tmp_path)!r})\n" + quick_start + "".join(others)
    output = fresh_python(script).stdout
    nats = float(re.search(r"relaxed model: (-\d+\.\d+) nats", output)[1])
    # Independent pixels with the training means score -27.2; an untrained model less.
    assert -27 < nats < -20
    assert (tmp_path / "vae.keras").exists()


@pytest.mark.slow
def test_the_serving_program_runs_on_the_committed_artefact(fresh_python):
    """It is run where the repository lies."""
    (program,) = [text for text in blocks("python") if "saved_model.load" in text]
    fresh_python(program)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).splitlines()
    lines = [line.split("#")[0].strip() for line in lines if line.startswith("tfvae ")]
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command, monkeypatch):
    """Each goes as far as importing TensorFlow or to its work: arguments are good."""

    class Understood(Exception):
        pass

    def stop(*args):
        raise Understood

    monkeypatch.setattr(cli.commands, "import_tensorflow", stop)
    monkeypatch.setattr("tfvae.export.verify.verify_saved_model", stop)
    try:
        assert cli.main(shlex.split(command)[1:]) == 0
    except Understood:
        pass


def test_there_are_commands():
    assert {shlex.split(c)[1] for c in commands()} == set(cli.COMMANDS)


def test_the_tables_are_those_of_the_code():
    """`scripts/tables` makes them anew."""
    assert with_tables(README) == README
    for name in TABLES:
        assert f"<!-- table: {name} -->" in README


@pytest.mark.parametrize("name", [*RECIPES, *NETWORKS])
def test_every_recipe_and_network_is_in_the_readme(name):
    assert f"`{name}`" in README


def test_estimators_say_of_what_they_are_unbiased():
    lines = {
        line.split("`")[1]: line for line in TABLES["estimators"]().splitlines()[2:]
    }
    assert "for every objective" in lines["dreg"]
    assert "for elbo alone" in lines["stl"]
    assert "| no |" in lines["straight_through"]


def test_scripts_exist_and_can_be_run():
    for line in "".join(blocks("bash")).splitlines():
        if line.startswith("scripts/"):
            assert (ROOT / line.split()[0]).stat().st_mode & 0o111


PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
)


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"\b((?:tests|scripts|tfvae|docs)/[\w./*-]*\w\b/?)", text):
        name = re.sub(r"\b[A-Z]+\b", "*", name)  # which stands for others
        assert list(ROOT.glob(name)) or list(ROOT.glob(f"{name}*")), name
