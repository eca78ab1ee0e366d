"""A file imports from floors below its own, or from its own room."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

import tfvae

FLOORS = (
    "core",
    "config distributions",
    "conditions data heads networks objectives priors",
    "estimators latents",
    "models",
    "evaluation",
    "training",
    "export sklearn",
    "benchmark reports",
    "cli",
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
NEVER = ("tf_keras", "tensorflow.keras", "tensorflow_probability.layers")
ALIASES = {"tf": "tensorflow", "tfp": "tensorflow_probability"}
# The only places that may import a package.
RESERVED = {
    "tensorflow_datasets": "data/",
    "matplotlib": "reports/plots/",
    "tensorflow_probability": "distributions/tfd.py",
}
# The only rooms that may see TFP's own distributions.
SEE_TFD = ("distributions", "heads", "latents", "priors")
# The rooms that import inside functions: they answer before TensorFlow is there. The
# files of `export` run in a process that has TensorFlow alone, and looks for it.
LIGHT = (
    *("cli/", "config/"),
    *("export/replay.py", "export/replay_anywhere.py", "export/operations.py"),
)
ROOT = pathlib.Path(tfvae.__file__).parent
CONTRIBUTING = ROOT.parent / "CONTRIBUTING.md"


def imported(node: ast.AST) -> list[str]:
    """Full names of what an import statement, or an attribute like tf.keras, takes."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return ["." * node.level + (node.module or "")]
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return [f"{ALIASES.get(node.value.id, node.value.id)}.{node.attr}"]
    return []


def within_functions(tree: ast.Module) -> set[int]:
    """The ids of the nodes that run when a function is called."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inner = (ast.walk(n) for n in ast.walk(tree) if isinstance(n, functions))
    return {id(node) for nodes in inner for node in nodes}


def own_import_problem(room: str, name: str) -> str | None:
    other = name.split(".")[1] if "." in name else ""
    if other == room:
        return None
    if other not in FLOOR:
        return f"imports {name}, and {other!r} is no room; name the room itself"
    if FLOOR[other] >= FLOOR[room]:
        return (
            f"imports {name} of floor {FLOOR[other]}, and is itself on floor "
            f"{FLOOR[room]}; it may import only from floors below its own"
        )
    if name == "tfvae.distributions.tfd" and room not in SEE_TFD:
        return f"imports {name}; take what it needs from tfvae.distributions"
    return None


def problems(path: str, source: str) -> list[str]:
    """What is wrong with the imports of a file, whose path is within the package."""
    room = path.split("/")[0]
    if room not in FLOOR:
        return [f"{path}: is in no room; place it in FLOORS in this test"]
    tree = ast.parse(source)
    lazy, found = within_functions(tree), []
    for node in ast.walk(tree):
        is_import = isinstance(node, (ast.Import, ast.ImportFrom))
        if is_import and id(node) in lazy and not path.startswith(LIGHT):
            found.append(f"imports inside a function: {ast.unparse(node)}")
        for name in imported(node):
            top = name.split(".")[0]
            if name.startswith("."):
                found.append("imports relatively; write tfvae. in front")
            elif any(name == no or name.startswith(no + ".") for no in NEVER):
                found.append(f"uses {name}, which the house does not")
            elif is_import and not path.startswith(RESERVED.get(top, path)):
                found.append(f"imports {top}, which only {RESERVED[top]} may")
            elif is_import and top == "tfvae":
                found.append(own_import_problem(room, name))
    return [f"{path}: {problem}" for problem in found if problem]


def test_every_file_keeps_to_the_floors():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT).as_posix()
        if relative not in ("__init__.py", "__main__.py"):  # the doors
            found += problems(relative, path.read_text())
    assert not found, "\n".join(found)


def test_the_package_has_the_rooms_that_the_floors_name():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert rooms == FLOOR.keys() and len(rooms) == 19
    modules = {path.name for path in ROOT.glob("*.py")}
    assert modules == {"__init__.py", "__main__.py"}


def test_the_table_for_people_says_the_same():
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", CONTRIBUTING.read_text(), re.MULTILINE)
    table = {int(floor): re.findall(r"`(\w+)/`", rooms) for floor, rooms in rows}
    assert table == {floor: rooms.split() for floor, rooms in enumerate(FLOORS)}


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("heads/base.py", "from tfvae.latents import LATENTS", "floor 3"),
        ("heads/base.py", "from tfvae.priors import standard_normal", "floor 2"),
        ("heads/base.py", "import tfvae.models", "floor 4"),
        ("latents/base.py", "from tfvae import estimators", "floor 3"),
        ("core/seeds.py", "from tfvae.config import Config", "floor 1"),
        ("heads/base.py", "if TYPE_CHECKING:\n    import tfvae.cli", "floor 9"),
        ("cli/commands.py", "def f():\n    import tfvae.nothing", "no room"),
        ("cli/commands.py", "from tfvae import VAE", "name the room itself"),
        ("cli/commands.py", "import tfvae", "name the room itself"),
        ("heads/base.py", "from . import priors", "relatively"),
        ("heads/base.py", "from .priors import standard_normal", "relatively"),
        ("heads/base.py", "def f():\n    import numpy", "inside a function"),
        ("training/a.py", "import tensorflow_datasets as tfds", "only data/"),
        ("reports/text.py", "import matplotlib.pyplot", "only reports/plots/"),
        ("heads/base.py", "import tensorflow_probability as tfp", "only distrib"),
        ("models/vae.py", "from tfvae.distributions import tfd", "take what it needs"),
        ("heads/base.py", "from tensorflow import keras", "tensorflow.keras"),
        ("heads/base.py", "from tensorflow.keras import layers", "tensorflow.keras"),
        (
            "heads/base.py",
            "import tensorflow as tf\nx = tf.keras.Model",
            "tensorflow.keras",
        ),
        ("heads/base.py", "import tf_keras", "tf_keras"),
        ("heads/base.py", "from tf_keras.layers import Dense", "tf_keras"),
        ("heads/base.py", "x = tfp.layers.DenseFlipout", "probability.layers"),
        ("utils.py", "", "place it"),
    ],
)
def test_a_broken_rule_is_found(path, source, said):
    found = problems(path, source)
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/seeds.py", "from tfvae.core.types import Seed"),
        ("latents/base.py", "from tfvae import heads, priors"),
        ("cli/commands.py", "def f():\n    from tfvae.training import train"),
        ("data/sources/tfds.py", "import tensorflow_datasets as tfds"),
        ("data/sources/npz.py", "from tfvae.data.images import to_grey"),
        ("reports/plots/images.py", "from matplotlib.figure import Figure"),
        ("heads/base.py", "import keras\nx = keras.layers.Layer"),
        ("heads/base.py", "from tfvae.distributions import tfd"),
        ("models/vae.py", "from tfvae.distributions import Distribution"),
    ],
)
def test_what_is_allowed_is_not_found(path, source):
    assert problems(path, source) == []


def test_no_test_imports_another():
    files = sorted(pathlib.Path(__file__).parent.rglob("*.py"))
    names = {path.stem for path in files if path.stem.startswith("test_")}
    for path in files:
        taken = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in imported(node)
        }
        assert not taken & names, path
