"""The pages of docs/ are true: programs run, and messages are those of the code."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = {path.name: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
PROGRAMS = [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("coming") else [])
    for name, text in PAGES.items()
    if "```python" in text
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_programs_of_a_page_run_as_printed(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "page"}
    for program in re.findall(r"```python\n(.*?)```", PAGES[name], re.DOTALL):
        exec(compile(program, name, "exec"), namespace)
    if name == "coming-from-keras.md":
        loss, rate = re.findall(r"(\d+\.\d)", capsys.readouterr().out)
        # The cross-entropy of the pixels' means is 27.1 nats, that of x itself 13.7.
        assert 13.7 < float(loss) < 26 and 0.5 < float(rate) < 10
        assert namespace["codes"].shape == (1797, 2)
        assert namespace["image"].shape == (8, 8, 1)
    if name == "own-terms.md":
        accuracy = float(re.search(r"accuracy (\d\.\d+)", capsys.readouterr().out)[1])
        assert accuracy > 0.5  # a classifier that knows nothing has a tenth


def test_messages_are_those_of_the_code():
    """What a page says one sees is in the code, between its inserted values."""
    sources = [path.read_text("utf-8") for path in (ROOT / "tfvae").rglob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(sources))
    missing = []
    for line in PAGES["troubleshooting.md"].splitlines():
        if not line.startswith("| `"):
            continue
        for quoted in re.findall(r"`([^`]+)`", line.split("|")[1]):
            inserted = r"\.\.\.|\bN\b|\d+ \.\w+.*|\d+|config\.json has \w+"
            parts = re.split(inserted, quoted)
            words = [part.strip(" :,") for part in parts if len(part.strip(" :,")) > 8]
            missing += [word for word in words if word not in code]
    assert not missing
