"""A file imports only from layers below its own, never from a sibling."""

from __future__ import annotations

import ast
import pathlib

import pytest

import tfvae

LAYERS = {
    name: level
    for level, names in {
        # import nothing of the package, so layer 0 may use them
        -1: "types version lazy",
        0: "lookup seeds startup require files device",
        0.5: "distributions replicas",
        1: "objectives heads priors networks metrics data config schedules optimizers",
        2: "latents estimators",
        3: "models",
        4: "annealed building evaluation callbacks checkpoints monitoring pictures "
        "export runs",
        5: "training recipes reports sklearn studies",
        6: "benchmark html_report tables",
        7: "cli",
        8: "__main__",
    }.items()
    for name in names.split()
}
NEVER = ("tf_keras", "tensorflow.keras", "tensorflow_probability.layers")
ALIASES = {"tf": "tensorflow", "tfp": "tensorflow_probability"}
# Who alone may import it, and whether only inside functions.
RESERVED = {"tensorflow_datasets": ("data", False), "matplotlib": ("pictures", True)}
ROOT = pathlib.Path(tfvae.__file__).parent


def module_of(path: pathlib.PurePath) -> str:
    """The file's name in LAYERS; a package's files all have the package's name."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


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


def typing(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def own_import_problem(module: str, name: str) -> str | None:
    other = name.split(".")[1] if "." in name else ""
    if other == module:
        return None  # files of one package
    if other not in LAYERS:
        return f"imports {name}, and {other!r} is in no layer; name the module itself"
    if LAYERS[other] >= LAYERS[module]:
        return (
            f"imports {name} of layer {LAYERS[other]}, and is itself in layer "
            f"{LAYERS[module]}; it may import only from layers below its own"
        )
    return None


def problems(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one file."""
    if module not in LAYERS:
        return [f"{module}: is in no layer; place it in LAYERS in this test"]
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or typing(node)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        is_import = isinstance(node, (ast.Import, ast.ImportFrom))
        for name in imported(node):
            top = name.split(".")[0]
            if name.startswith("."):
                found.append("imports relatively; write tfvae. in front")
            elif any(name == no or name.startswith(no + ".") for no in NEVER):
                found.append(f"uses {name}, which the house does not")
            elif is_import and top in RESERVED:
                owner, inside = RESERVED[top]
                if module != owner:
                    found.append(f"imports {top}, which only {owner} may")
                elif inside and id(node) not in lazy:
                    found.append(f"imports {top} outside a function")
            elif is_import and top == "tfvae":
                found.append(own_import_problem(module, name))
    return [f"{module}: {problem}" for problem in found if problem]


def test_every_file_keeps_to_the_layers():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if relative != pathlib.PurePath("__init__.py"):  # the front door
            for problem in problems(module_of(relative), path.read_text()):
                found.append(f"{relative}: {problem}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("heads", "from tfvae.latents import LATENTS", "layer 2"),
        ("heads", "from tfvae.priors import standard_normal", "layer 1"),
        ("heads", "import tfvae.models", "layer 3"),
        ("latents", "from tfvae import estimators", "layer 2"),
        ("seeds", "from tfvae.lookup import lookup", "layer 0"),
        ("heads", "def f():\n    from tfvae.models import VAE", "layer 3"),
        ("heads", "if TYPE_CHECKING:\n    import tfvae.cli", "layer 7"),
        ("cli", "from tfvae import VAE", "name the module itself"),
        ("cli", "import tfvae", "name the module itself"),
        ("heads", "from . import priors", "relatively"),
        ("heads", "from .priors import standard_normal", "relatively"),
        ("training", "import tensorflow_datasets as tfds", "only data"),
        ("training", "def f():\n    import tensorflow_datasets", "only data"),
        ("callbacks", "def f():\n    import matplotlib.pyplot", "only pictures"),
        ("pictures", "import matplotlib", "outside a function"),
        ("pictures", "from matplotlib.figure import Figure", "outside a function"),
        ("heads", "from tensorflow import keras", "tensorflow.keras"),
        ("heads", "from tensorflow.keras import layers", "tensorflow.keras"),
        ("heads", "import tensorflow as tf\nx = tf.keras.Model", "tensorflow.keras"),
        ("heads", "import tf_keras", "tf_keras"),
        ("heads", "from tf_keras.layers import Dense", "tf_keras"),
        ("heads", "x = tfp.layers.DenseFlipout", "tensorflow_probability.layers"),
        ("utils", "", "place it"),
    ],
)
def test_a_broken_rule_is_found(module, source, said):
    found = problems(module, source)
    assert len(found) == 1 and said in found[0], found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("seeds", "from tfvae.types import Seed"),
        ("latents", "from tfvae import heads, priors"),
        ("cli", "def f():\n    from tfvae.training import train"),
        ("data", "import tensorflow_datasets as tfds"),
        ("data", "from tfvae.data.images import to_grey"),
        ("pictures", "def f():\n    from matplotlib.figure import Figure"),
        ("pictures", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
        ("heads", "import keras\nx = keras.layers.Layer"),
    ],
)
def test_what_is_allowed_is_not_found(module, source):
    assert problems(module, source) == []


def test_a_package_has_one_place_in_the_layers():
    assert module_of(pathlib.PurePath("models/vae.py")) == "models"
    assert module_of(pathlib.PurePath("models/__init__.py")) == "models"
    assert module_of(pathlib.PurePath("heads.py")) == "heads"
