"""The site's settings, and the pages of its reference that are made from the code.

Notebooks are pages with `{code-cell}`s. They run when the site is built, and again only
when their programs, the package or TensorFlow have changed: the cache has a folder for
each state of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
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
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"tfvae {version}"
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
smartquotes = False  # "--option" has two hyphens
exclude_patterns = ["results/*", "ipython/*"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False
napoleon_use_ivar = True
default_role = "code"


# The notebooks' process runs this before the page, and TensorFlow logs nothing into it.
STARTUP = """
import tfvae as _tfvae
import tensorflow as _tf
_tf.get_logger().setLevel("WARNING")
"""


def _state() -> str:
    """Returns a digest of all that a notebook's outputs depend on, but its program."""
    digest = hashlib.sha256(STARTUP.encode())
    for path in sorted(Path(tfvae.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for name in ("tensorflow", "keras", "tensorflow-probability", "scikit-learn"):
        digest.update(importlib.metadata.version(name).encode())
    return digest.hexdigest()[:16]


nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks" / _state())
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds a cell; the longest takes some 60
nb_output_stderr = "remove-warn"  # a page that prints to stderr fails the build
nb_merge_streams = True
nb_ipywidgets_js: dict[str, Any] = {}  # by default from another server

_IPYTHON = HERE.parent / "build" / "ipython"
os.environ["IPYTHONDIR"] = str(_IPYTHON)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def write_startup() -> None:
    """Writes what the notebooks' process does first."""
    profile = _IPYTHON / "profile_default"
    (profile / "startup").mkdir(parents=True, exist_ok=True)
    first = profile / "startup" / "quiet.py"
    first.write_text(STARTUP, encoding="utf-8")
    # It warns of each connection, which is to this machine alone.
    settings = profile / "ipython_kernel_config.py"
    settings.write_text("c.IPKernelApp.log_level = 40\n", encoding="utf-8")


ROOMS = [name for name in tfvae.__all__ if inspect.ismodule(getattr(tfvae, name))]


def write_reference() -> None:
    """Writes the pages of names, commands and settings."""
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    lines = ["# Names in Python", ""]
    lines += _room("tfvae", [n for n in tfvae.__all__ if n not in ROOMS])
    for room in ROOMS:
        module = getattr(tfvae, room)
        lines += _room(module.__name__, module.__all__)
    pages = {"names": lines, "commands": _commands(), "settings": _settings()}
    for name, lines in pages.items():
        path, text = folder / f"{name}.md", "\n".join(lines)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, encoding="utf-8")  # else Sphinx would read it again


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


def own_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, given: str, returns: str
) -> tuple[str, str] | None:
    """Takes a class's arguments from `__init__`, where Keras' `__new__` hides them."""
    if what != "class" or given != "(*args, **kwargs)":
        return None
    _, *arguments = inspect.signature(obj.__init__).parameters.values()
    return str(inspect.Signature(arguments)), returns


def is_others(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out what a class has from TensorFlow Probability or scikit-learn."""
    module = getattr(obj, "__module__", None) or ""
    return True if module.startswith(("tensorflow", "sklearn")) else None


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
    app.connect("autodoc-process-signature", own_signature)
    app.connect("build-finished", write_llms)
    app.connect("builder-inited", lambda app: write_reference())
    app.connect("builder-inited", lambda app: write_startup())
