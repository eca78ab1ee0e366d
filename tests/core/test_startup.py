"""What a plain `import tfvae` does and does not do, in a process of its own."""

from __future__ import annotations

import sys

import pytest

import tfvae
from tfvae.core import startup


@pytest.mark.parametrize(
    "level",
    [None, *(pytest.param(level, marks=pytest.mark.slow) for level in "23")],
    ids="level {}".format,
)
def test_import_is_quiet_registers_the_classes_and_has_every_name(fresh_python, level):
    script = """
import tfvae
import keras
names = ["VAE", "ConditionalDistribution", "BinConcreteHead", "NormalLatent",
         "Iwae", "Elbo", "Pathwise"]
missing = [n for n in names if not keras.saving.get_registered_object("tfvae>" + n)]
assert not missing, missing
import sys
print("after", file=sys.stderr)  # standard error is itself again
for name in tfvae.__all__:
    getattr(tfvae, name)
assert set(dir(tfvae)) == set(tfvae.__all__)
"""
    done = fresh_python(script, TF_CPP_MIN_LOG_LEVEL=level, KERAS_BACKEND=None)
    assert (done.stdout, done.stderr) == ("", "after\n")


@pytest.mark.slow
def test_tensorflows_own_lines_are_there_for_who_asks(fresh_python):
    done = fresh_python("import tfvae", TF_CPP_MIN_LOG_LEVEL="0")
    assert "cpu_feature_guard" in done.stderr and done.stdout == ""


def test_a_level_shows_the_lines_that_it_asks_for(capfd, monkeypatch, tmp_path):
    lines = [f"{kind}0000 00:00:0.1 1 file.cc:1] said\n" for kind in "IWEF"]
    lines.append("WARNING: All log messages before a call are written here\n")
    text = "".join(lines)
    (tmp_path / "noisy.py").write_text(f"import os\nos.write(2, {text.encode()!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    for level, kinds in (("1", "WEF"), ("2", "EF"), ("3", "F")):
        sys.modules.pop("noisy", None)
        startup._import_with_stderr_aside("noisy", startup._SHOWN[level])
        assert [line[0] for line in capfd.readouterr().err.splitlines()] == list(kinds)


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy"])
def test_another_keras_backend_is_refused_by_name_of_the_variable(
    fresh_python, backend
):
    done = fresh_python("import tfvae", check=False, KERAS_BACKEND=backend)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ImportError")
    assert "KERAS_BACKEND=tensorflow" in last and repr(backend) in last


def test_the_reason_is_shown_when_tensorflow_cannot_be_imported(fresh_python, tmp_path):
    broken = tmp_path / "tensorflow.py"
    broken.write_text(
        "import os\nos.write(2, b'library lines\\n')\nraise ImportError('no kernels')\n"
    )
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tfvae"
    done = fresh_python(script, check=False, TF_CPP_MIN_LOG_LEVEL=None)
    assert done.returncode == 1
    assert "library lines" in done.stderr and "no kernels" in done.stderr


@pytest.mark.slow
def test_it_can_be_imported_without_a_standard_error(fresh_python):
    fresh_python("import os; os.close(2); import tfvae", TF_CPP_MIN_LOG_LEVEL=None)


def test_python_without_docstrings_is_refused_in_one_line(fresh_python):
    script = """
import sys, tfvae_command
sys.argv = ["tfvae", "evaluate", "."]
sys.exit(tfvae_command.main())
"""
    done = fresh_python(script, check=False, PYTHONOPTIMIZE="2")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("tfvae: ImportError: Python runs without docstrings")


def test_a_name_that_the_package_has_not_is_named():
    with pytest.raises(AttributeError, match="'nonsense'"):
        tfvae.nonsense  # noqa: B018
