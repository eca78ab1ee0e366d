"""The pages are true: programs run, commands parse, tables are those of the code."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import runpy
import shlex
import subprocess
from collections.abc import Callable

import draw_house
import keras
import matplotlib
import pytest
import tensorflow_probability as tfp
import tf_keras
from page_tables import TABLES, with_tables

import tfvae
from tfvae import cli
from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.networks import NETWORKS

ROOT = pathlib.Path(__file__).parents[2]
# Pages that the site's build makes from the code.
MADE = [f"reference/{name}.md" for name in ("names", "commands", "settings")]
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in PATHS}
# Programs beside those of notebooks, which need other programs or packages.
APART = ("docs/serving.md", "docs/watching.md")
OTHERS = tuple(f"docs/coming-from-{name}.md" for name in ("tfp", "pythae", "pytorch"))
_NOTEBOOK = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n\n# "


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def cells(page: str) -> list[str]:
    """The programs of a notebook, which run one after the other."""
    return blocks(page, r"\{code-cell\}")


NOTEBOOKS = [page for page in PAGES if cells(page)]


def all_blocks(language: str) -> str:
    return "".join(text for page in PAGES for text in blocks(page, language))


# -- programs --------------------------------------------------------------------------


def test_every_page_with_a_program_is_run():
    """Those of `APART` are run with a server that plays a model server's rules."""
    having = {page for page in PAGES if blocks(page, "python")}
    assert having == {"README.md", *APART, *OTHERS}


def test_sphinx_takes_the_notebooks_for_notebooks():
    """It runs pages that begin so, and shows the cells of others as text."""
    assert [page for page in PAGES if PAGES[page].startswith(_NOTEBOOK)] == NOTEBOOKS
    assert len(NOTEBOOKS) > 10


def test_the_quick_start_runs_as_printed(tmp_path, fresh_python):
    (program,) = blocks("README.md", "python")
    assert len([line for line in program.splitlines() if line]) <= 10 + 1
    script = f"import os; os.chdir({str(tmp_path)!r})\n{program}"
    output = fresh_python(script).stdout
    nats = float(re.search(r"relaxed model: (-\d+\.\d+) nats", output)[1])
    # Independent pixels with the training means score -27.2; an untrained model less.
    assert -27 < nats < -20


def run(page: str, change: Callable[[str], str] = str) -> dict:
    namespace: dict = {"__name__": "page"}
    for program in cells(page):
        exec(compile(change(program), page, "exec"), namespace)
    return namespace


def shortened(program: str) -> str:
    """The same with two epochs for more, and few samples and steps of a chain."""
    program = re.sub(r"\bepochs=\d{2,}", "epochs=2", program)
    program = re.sub(r"\bnum_samples=\d{3,}", "num_samples=20", program)
    return re.sub(r"\bnum_steps=\d{2,}", "num_steps=5", program)


@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_notebook_runs_with_short_trainings(page, tmp_path, monkeypatch):
    """As they are printed, `scripts/docs` runs them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    matplotlib.use("Agg")
    run(page, shortened)


@pytest.mark.slow
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
    load = 'tf.saved_model.load("saved_models/digits/1")'
    (program,) = [c for c in cells("docs/serving.md") if load in c]
    fresh_python(program)


@pytest.mark.slow
def test_the_program_with_tfps_layers_runs(fresh_python):
    """The others' packages are not in this environment."""
    (program,) = blocks("docs/coming-from-tfp.md", "python")
    fresh_python(program.replace("epochs=30", "epochs=1, verbose=0"))


def test_keras_3_refuses_tfps_layers_with_the_messages_of_the_page():
    page = PAGES["docs/coming-from-tfp.md"]
    head = tfp.layers.IndependentBernoulli((8,))
    networks = {
        "Only instances of keras.Layer can be added": lambda: keras.Sequential([head]),
        "A KerasTensor cannot be used as input": lambda: head(keras.Input((8,))),
        "The added layer must be an instance of class Layer": lambda: (
            tf_keras.Sequential([keras.layers.Dense(8)])
        ),
    }
    for message, make in networks.items():
        assert message in page
        with pytest.raises((TypeError, ValueError)) as caught:
            make()
        assert message in str(caught.value).replace("`", "")


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


@pytest.mark.parametrize("page", ["docs/reliability.md", "CONTRIBUTING.md"])
def test_the_tests_that_hold_a_promise_are_there(page):
    sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")]
    names = re.findall(r"`(test_\w+)`", (ROOT / page).read_text("utf-8"))
    assert names
    for name in names:
        assert any(f"def {name}(" in source for source in sources), name


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", PAGES[page], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.split("#")[0]
        if not re.match(r"https?:", target) and path not in MADE:
            assert (ROOT / page).parent.joinpath(path).exists(), target


def test_the_readme_is_one_screen():
    assert len(PAGES["README.md"].encode()) < 8_000


def test_messages_are_those_of_the_code():
    """What a page says one sees is in the code, between its inserted values."""
    sources = [path.read_text("utf-8") for path in (ROOT / "tfvae").rglob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(sources))
    missing = []
    for line in PAGES["docs/troubleshooting.md"].splitlines():
        seen = re.match(r"\| (`.*?) \|| *\*\*You see\*\*: (`[^`]+`)", line)
        if seen is None:
            continue
        for quoted in re.findall(r"`([^`]+)`", seen[1] or seen[2]):
            inserted = r"\.\.\.|\bN\b|\d+ \.\w+.*|\d+|config\.json has \w+"
            parts = re.split(inserted, quoted)
            words = [part.strip(" :,") for part in parts if len(part.strip(" :,")) > 8]
            missing += [word for word in words if word not in code]
    assert not missing


def test_pictures_are_small_and_shown():
    pictures = [*(ROOT / "docs").glob("*.png"), *(ROOT / "docs").glob("*.svg")]
    text = "".join(PAGES.values())
    for path in pictures:
        assert path.stat().st_size < 150_000, path.name
        assert f"{path.name})" in text, path.name


def test_the_picture_of_the_house_is_that_of_its_table():
    """`scripts/draw_house.py` makes it anew."""
    assert draw_house.PICTURE.read_text("utf-8") == draw_house.draw(draw_house.floors())


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
            # anomaly is a part of evaluation
            full = f":: {module.__name__}.{name}"
            assert any(line.endswith(full) for line in written)


def test_the_reference_has_every_setting(site):
    text = "\n".join(site["_settings"]())
    for field in dataclasses.fields(Config):
        assert f"| `{field.name}` |" in text


def test_every_page_is_in_the_index():
    listed = re.findall(r"^([\w/-]+)$", PAGES["docs/index.md"], re.MULTILINE)
    made = {path.removesuffix(".md") for path in MADE}
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert set(listed) == pages | made


LOADS = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=.https?:")


@pytest.mark.slow
def test_the_site_builds_with_its_notebooks_and_loads_nothing_from_outside():
    """It takes some minutes the first time; see scripts/docs."""
    subprocess.run([ROOT / "scripts" / "docs"], check=True, timeout=1200)
    site = ROOT / "build" / "docs"
    pages = {path.relative_to(site): path for path in site.rglob("*.html")}
    assert len(pages) > len(PAGES)
    for name, path in pages.items():
        outside = LOADS.findall(path.read_text("utf-8"))
        assert not outside, name
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(.?https?:|@import", path.read_text("utf-8")), path
    text = {
        path.stem: path.read_text("utf-8") for path in (site / "text").glob("*.txt")
    }
    for link in re.findall(r"\((text/\S+)\)", (site / "llms.txt").read_text("utf-8")):
        assert (site / link).exists(), link
    # A run that was broken off ends like the unbroken one; dreg gains over the elbo.
    assert re.search(r"^ *True$", text["resuming"], re.MULTILINE)
    assert float(re.search(r"dreg, S = 20 .* gain (\S+)", text["choosing"])[1]) > 0
    for name, page in text.items():  # TensorFlow logs nothing into a page
        assert not re.search(r"0000 00:|(INFO|WARNING):tensorflow", page), name
