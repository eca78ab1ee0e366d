"""The site's settings, and the pages of its reference that are made from the code."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfvae
from tfvae.cli.commands import COMMANDS
from tfvae.config.config import SECTIONS
from tfvae.core.version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
project = "tfvae"
author = "the tfvae developers"
version = release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"tfvae {version}"
html_static_path: list[str] = []
smartquotes = False  # "--option" has two hyphens
exclude_patterns = ["results/*"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False
napoleon_use_ivar = True
default_role = "code"

ROOMS = [name for name in tfvae.__all__ if inspect.ismodule(getattr(tfvae, name))]


def write_reference() -> None:
    """Writes the pages of names, commands and settings."""
    folder = HERE / "reference"
    lines = ["# Names in Python", ""]
    lines += _room("tfvae", [n for n in tfvae.__all__ if n not in ROOMS])
    for room in ROOMS:
        module = getattr(tfvae, room)
        lines += _room(module.__name__, module.__all__)
    (folder / "names.md").write_text("\n".join(lines), encoding="utf-8")
    (folder / "commands.md").write_text("\n".join(_commands()), encoding="utf-8")
    (folder / "settings.md").write_text("\n".join(_settings()), encoding="utf-8")


_written: set[int] = set()  # objects that a room before has too


def _room(module: str, names: list[str]) -> list[str]:
    lines = [f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}"]
    lines += ["   :no-members:", ""]
    for name in names:
        value = getattr(sys.modules[module], name)
        ours = (getattr(value, "__module__", None) or "").startswith("tfvae")
        if callable(value) and ours and id(value) not in _written:
            kind = "class" if isinstance(value, type) else "function"
            lines += [f".. auto{kind}:: {module}.{name}", ""]
            _written.add(id(value))
        else:
            lines += [f".. py:data:: {module}.{name}", ""]
            if isinstance(value, Mapping):
                lines += [f"   Name -> part: {', '.join(map(str, value))}.", ""]
    return [*lines, "```", ""]


def _commands() -> list[str]:
    lines = ["# Commands", ""]
    for name in COMMANDS:
        more = ["digits-binconcrete"] if name == "train" else []
        command = [sys.executable, "-m", "tfvae_command", name, *more, "--help"]
        text = subprocess.run(
            command,
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "88"},
        ).stdout
        shown = " ".join(["tfvae", name, *more])
        lines += [f"## {shown}", "", "```text", text.rstrip(), "```", ""]
    return lines


def _settings() -> list[str]:
    lines = ["# Settings of a run", "", "Of `tfvae.config.Config`; options of "]
    lines[-1] += "`tfvae train` have the same names, with hyphens."
    for title, kind in SECTIONS.items():
        source = inspect.getsource(kind)
        said = dict(re.findall(r'^    (\w+): .*\n    """(.*?)"""', source, re.M))
        lines += ["", f"## {title.capitalize()}", "", str(kind.__doc__), ""]
        lines += ["| setting | default | |", "|---|---|---|"]
        for field in dataclasses.fields(kind):
            text = said[field.name].replace("|", "\\|")
            lines.append(f"| `{field.name}` | `{field.default!r}` | {text} |")
    return lines


def as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keeps the stars and bars of shapes and formulas, which mark up nothing."""
    parts = "\n".join(lines).split("`")
    parts[::2] = [re.sub(r"([*|]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    lines[:] = "`".join(parts).split("\n")


def is_others(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out what a class has from TensorFlow Probability."""
    module = getattr(obj, "__module__", None) or ""
    return True if module.startswith("tensorflow") else None


def write_llms(app: Sphinx, error: Exception | None) -> None:
    """Writes llms.txt, which lists the pages with the plain text of each."""
    if error or app.builder.name != "html":
        return
    lines = [
        f"# {project} {version}",
        "",
        "> Variational autoencoders on TensorFlow.",
        "",
    ]
    for name, title in app.env.titles.items():
        lines.append(f"- [{title.astext()}](text/{name}.txt)")
    path = Path(app.outdir) / "llms.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Makes the reference before Sphinx reads the pages."""
    app.connect("autodoc-process-docstring", as_written, priority=100)
    app.connect("autodoc-skip-member", is_others)
    app.connect("build-finished", write_llms)
    app.connect("builder-inited", lambda app: write_reference())
