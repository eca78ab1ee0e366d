"""The pages are true: programs run, commands parse, tables are those of the code."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import runpy
import shlex

import pytest
from page_tables import TABLES, with_tables

import tfvae
from tfvae import cli
from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.networks import NETWORKS

ROOT = pathlib.Path(__file__).parents[2]
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in PATHS}
# Programs that go on where the quick start of the README ends.
STORY = ("README.md", "docs/first-vae.md", "docs/scikit-learn.md")
# Those with a program of their own; the others' need other programs or packages.
ALONE = ("docs/own-terms.md", "docs/coming-from-keras.md")
APART = ("docs/serving.md", "docs/watching.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def all_blocks(language: str) -> str:
    return "".join(text for page in PAGES for text in blocks(page, language))


# -- programs --------------------------------------------------------------------------


def test_every_page_with_a_program_is_run():
    """Those of `APART` are run with a server that plays a model server's rules."""
    having = {page for page in PAGES if blocks(page, "python")}
    assert having == {*STORY, *ALONE, *APART}


def test_the_quick_start_and_what_follows_run_as_printed(tmp_path, fresh_python):
    programs = [text for page in STORY for text in blocks(page, "python")]
    assert len([line for line in programs[0].splitlines() if line]) <= 10 + 1
    script = f"import os; os.chdir({str(tmp_path)!r})\n" + "".join(programs)
    output = fresh_python(script).stdout
    nats = float(re.search(r"relaxed model: (-\d+\.\d+) nats", output)[1])
    # Independent pixels with the training means score -27.2; an untrained model less.
    assert -27 < nats < -20
    assert (tmp_path / "vae.keras").exists()


def run(page: str) -> dict:
    namespace: dict = {"__name__": "page"}
    for program in blocks(page, "python"):
        exec(compile(program, page, "exec"), namespace)
    return namespace


def test_a_classifier_on_the_codes_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("docs/own-terms.md")
    accuracy = float(re.search(r"accuracy (\d\.\d+)", capsys.readouterr().out)[1])
    assert accuracy > 0.5  # a classifier that knows nothing has a tenth


@pytest.mark.slow
def test_keras_example_gets_its_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = run("docs/coming-from-keras.md")
    loss, rate = re.findall(r"(\d+\.\d)", capsys.readouterr().out)
    # The cross-entropy of the pixels' means is 27.1 nats, that of x itself 13.7.
    assert 13.7 < float(loss) < 26 and 0.5 < float(rate) < 10
    assert found["codes"].shape == (1797, 2)
    assert found["image"].shape == (8, 8, 1)


@pytest.mark.slow
def test_the_serving_program_runs_on_the_committed_artefact(fresh_python):
    """It is run where the repository lies."""
    (program,) = [
        text
        for text in blocks("docs/serving.md", "python")
        if "saved_model.load" in text
    ]
    fresh_python(program)


# -- commands --------------------------------------------------------------------------


def commands() -> list[str]:
    lines = all_blocks("bash").splitlines()
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


def test_every_command_is_shown():
    assert {shlex.split(c)[1] for c in commands()} == set(cli.COMMANDS)


def test_scripts_exist_and_can_be_run():
    for line in all_blocks("bash").splitlines():
        if line.startswith("scripts/"):
            assert (ROOT / line.split()[0]).stat().st_mode & 0o111


# -- tables, names and messages --------------------------------------------------------


def test_the_tables_are_those_of_the_code():
    """`scripts/tables` makes them anew."""
    page = PAGES["docs/parts.md"]
    assert with_tables(page) == page
    for name in TABLES:
        assert f"<!-- table: {name} -->" in page


@pytest.mark.parametrize("name", [*RECIPES, *NETWORKS])
def test_every_recipe_and_network_is_there(name):
    assert f"`{name}`" in PAGES["docs/parts.md"]


def test_estimators_say_of_what_they_are_unbiased():
    lines = {
        line.split("`")[1]: line for line in TABLES["estimators"]().splitlines()[2:]
    }
    assert "for every objective" in lines["dreg"]
    assert "for elbo alone" in lines["stl"]
    assert "| no |" in lines["straight_through"]


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_the_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"\b((?:tests|scripts|tfvae|docs)/[\w./*-]*\w\b/?)", text):
        name = re.sub(r"\b[A-Z]+\b", "*", name)  # which stands for others
        assert list(ROOT.glob(name)) or list(ROOT.glob(f"{name}*")), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", PAGES[page], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:", target):
            assert (ROOT / page).parent.joinpath(target.split("#")[0]).exists(), target


def test_the_readme_is_one_screen():
    assert len(PAGES["README.md"].encode()) < 8_000


def test_messages_are_those_of_the_code():
    """What a page says one sees is in the code, between its inserted values."""
    sources = [path.read_text("utf-8") for path in (ROOT / "tfvae").rglob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(sources))
    missing = []
    for line in PAGES["docs/troubleshooting.md"].splitlines():
        if not line.startswith("| `"):
            continue
        for quoted in re.findall(r"`([^`]+)`", line.split("|")[1]):
            inserted = r"\.\.\.|\bN\b|\d+ \.\w+.*|\d+|config\.json has \w+"
            parts = re.split(inserted, quoted)
            words = [part.strip(" :,") for part in parts if len(part.strip(" :,")) > 8]
            missing += [word for word in words if word not in code]
    assert not missing


# -- the site --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> dict:
    return runpy.run_path(str(ROOT / "docs" / "conf.py"))


def test_the_reference_has_every_public_name(site):
    rooms = {n for n in tfvae.__all__ if hasattr(getattr(tfvae, n), "__all__")}
    assert rooms == set(site["ROOMS"])
    for name in set(tfvae.__all__) - rooms:
        assert f":: tfvae.{name}" in "\n".join(site["_room"]("tfvae", [name]))
    for room in site["ROOMS"]:
        module = getattr(tfvae, room)
        written = site["_room"](module.__name__, module.__all__)
        for name in module.__all__:
            assert any(line.endswith(f":: tfvae.{room}.{name}") for line in written)


def test_the_reference_has_every_setting(site):
    text = "\n".join(site["_settings"]())
    for field in dataclasses.fields(Config):
        assert f"| `{field.name}` |" in text


def test_every_page_is_in_the_index():
    listed = re.findall(r"^([\w/-]+)$", PAGES["docs/index.md"], re.MULTILINE)
    made = {f"reference/{name}" for name in ("names", "commands", "settings")}
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert set(listed) == pages | made
