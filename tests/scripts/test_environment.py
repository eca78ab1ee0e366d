"""scripts/environment: .venv is made once, whoever asks for it."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PATH = "/usr/bin:/bin"
# In place of Python: it says what it is asked for, and is slow to make .venv.
PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
"-VV ") echo "Python 3.11.7" ;;
"-m venv") echo venv >>asked; sleep 0.3; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
"-c import"*) echo "$0" ;;
"-m pip") echo pip >>asked; sleep 0.3; [ ! -e no-network ] ;;
esac
"""


@pytest.fixture
def clone(tmp_path) -> pathlib.Path:
    """A folder with the script and what it is made from."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "environment", tmp_path / "scripts")
    for name in ("setup.cfg", "pyproject.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "scripts" / "ask").write_text(
        'set -euo pipefail\nsource "$(dirname "${BASH_SOURCE[0]}")/environment"\n'
    )
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def started(clone: pathlib.Path) -> subprocess.Popen:
    environment = {"PATH": PATH, "PYTHON": str(clone / "python")}
    return subprocess.Popen(
        ["bash", "scripts/ask"],
        cwd=clone,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def asked(clone: pathlib.Path) -> list[str]:
    return (clone / "asked").read_text().split()


def test_two_scripts_that_are_started_at_once_make_one_environment(clone):
    if shutil.which("flock", path=PATH) is None:
        pytest.skip("there is no flock here")
    both = [started(clone) for _ in range(2)]
    said = [one.communicate() for one in both]
    assert [err for _, err in said] == ["", ""]
    assert [one.returncode for one in both] == [0, 0]
    # Else the second was too late to show anything.
    assert sum("waiting for another script" in out for out, _ in said) == 1
    assert asked(clone) == ["venv", "pip", "pip"]


def test_a_lock_that_cannot_be_written_is_no_matter_once_it_is_made(clone):
    lock = clone / ".venv.lock"
    lock.mkdir()  # what root cannot write either
    out, err = (refused := started(clone)).communicate()
    assert refused.returncode == 2 and err.count("\n") == 1 and ".venv.lock" in err
    lock.rmdir()
    assert (made := started(clone)).communicate()[1] == "" and not made.returncode
    lock.unlink()
    lock.mkdir()
    assert (again := started(clone)).communicate()[1] == "" and not again.returncode
    assert asked(clone).count("venv") == 1


@pytest.mark.parametrize("program", ["false", "ls", "no-such-program"])
def test_what_is_no_python_is_one_line_and_status_2(clone, program):
    done = subprocess.run(
        ["bash", "scripts/ask"],
        cwd=clone,
        env={"PATH": PATH, "PYTHON": program},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and program in done.stderr


def test_it_is_made_anew_when_what_it_was_made_from_changes_or_it_failed(clone):
    (clone / "no-network").touch()
    out, err = (failed := started(clone)).communicate()
    assert failed.returncode == 2 and "could not be installed" in err
    (clone / "no-network").unlink()
    for change, times in [("", 2), ("", 2), ("[options]", 3)]:
        (clone / "setup.cfg").write_text(change)
        assert (again := started(clone)).communicate()[1] == "" and not again.returncode
        assert asked(clone).count("venv") == times
