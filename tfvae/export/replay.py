"""Replays the recorded requests of an exported model, with TensorFlow alone.

`verify.py` runs this file as a program of its own: it imports neither this package nor
Keras nor TFP, and makes sure that nothing else does. The last line that it prints is a
JSON object: `problem`, or `tensorflow` and, for each signature, how many rows were
replayed and the largest difference from the recorded answer with each loader.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BLOCKED = ("tfvae", "keras", "tf_keras", "tensorflow_probability")
# Other processors and other versions of TensorFlow sum in another order: some 1,000
# terms of a float32 each. A damaged weight would make a much larger difference.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]


class Problem(Exception):
    """The artefact is damaged; the message is the reason in a few words."""


def main(path: Path) -> dict[str, Any]:
    """Returns the object to print for the folder of one version."""
    sys.path.insert(0, str(Path(__file__).parent))
    import layout
    import operations

    card = read(path / layout.CARD)
    described, default = card["signatures"], card.get(layout.DEFAULT)
    folders = path / layout.REQUESTS, path / layout.ANSWERS
    requests = {name: read_pair(*folders, name) for name in described}
    blocked: dict[str, Any] = dict.fromkeys(_BLOCKED)
    sys.modules.update(blocked)  # importing one fails from here on
    import tensorflow as tf

    found: dict[str, dict] = {n: {"rows": len(p[0])} for n, p in requests.items()}
    with problems("the session loader cannot read it"):
        refused = operations.refused_operation(path)
    if refused is not None:
        raise Problem(f"it has the operation {refused!r}, as no exported model")
    _check_signatures(path, described, default, layout)
    for loader, open_model in {"TF2": _tf2, "session": _session}.items():
        with problems(f"the {loader} loader cannot read it"), open_model(path) as ask:
            for name, (rows, answer) in requests.items():
                signature = described[name]
                asked = arrays(rows, signature["inputs"], layout)
                wanted = arrays(answer, signature["outputs"], layout)
                differences = []
                for called in [name, layout.DEFAULT] if name == default else [name]:
                    with problems(
                        f"signature {called!r} fails with the {loader} loader"
                    ):
                        given = ask(called, asked)
                    what = f"{called} ({loader})"
                    differences.append(difference(what, given, wanted))
                found[name][loader] = max(differences)
    _check_warmup(path / layout.WARMUP, described)
    return {"tensorflow": tf.__version__, "signatures": found}


def _check_signatures(
    path: Path, described: Mapping[str, Any], default: str, layout: Any
) -> None:
    """Compares the artefact's inputs and outputs with those of its card."""
    import tensorflow.compat.v1 as tf1

    with problems("the session loader cannot read it"):
        with tf1.Session(graph=tf1.Graph()) as session:
            model = tf1.saved_model.load(session, ["serve"], str(path))
    there = dict(model.signature_def)
    there.pop("__saved_model_init_op", None)
    if set(there) != {*described, layout.DEFAULT} or default not in described:
        raise Problem(
            f"it has the signatures {', '.join(sorted(there))}, and its card describes "
            f"{', '.join(sorted(described))} with {default!r} as default"
        )
    for name, signature in described.items():
        for group in ("inputs", "outputs"):
            found = {
                key: (
                    tf1.as_dtype(info.dtype).name,
                    tf1.TensorShape(info.tensor_shape).as_list(),
                )
                for key, info in getattr(there[name], group).items()
            }
            said = {k: (s["dtype"], s["shape"]) for k, s in signature[group].items()}
            if found != said:
                raise Problem(f"{group} of {name!r} are {found}, its card says {said}")


def _check_warmup(path: Path, described: Mapping[str, Any]) -> None:
    """Reads the records; a server refuses a version whose file is damaged."""
    import tensorflow as tf

    with problems(f"{path.name} cannot be read"):
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    for name in described:
        if not any(name.encode() in record for record in records):
            raise Problem(f"{path.name} has no request for {name!r}")


@contextmanager
def problems(said: str) -> Iterator[None]:
    """Turns any error into a `Problem` with its first line."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # a file can be wrong in any way
        # As `tfvae.core.types.first_line`, which cannot be imported here.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Problem(f"{said} ({reason:.150})") from error


@contextmanager
def _tf2(path: Path) -> Iterator[Ask]:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(path)).signatures

    def ask(name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        asked = {key: tf.constant(value) for key, value in inputs.items()}
        return {key: v.numpy() for key, v in signatures[name](**asked).items()}

    yield ask


@contextmanager
def _session(path: Path) -> Iterator[Ask]:
    """Opens a model with the loader that model servers have."""
    import tensorflow.compat.v1 as tf1

    with tf1.Session(graph=tf1.Graph()) as session:
        model = tf1.saved_model.load(session, ["serve"], str(path))

        def ask(name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
            signature = model.signature_def[name]
            return session.run(
                {key: info.name for key, info in signature.outputs.items()},
                {signature.inputs[key].name: v for key, v in inputs.items()},
            )

        yield ask


def difference(
    what: str, given: Mapping, wanted: Mapping, allowed: float = 0.0
) -> float:
    """Returns the largest absolute difference.

    `allowed` is one that is known and said, beside that of rounding.

    Raises:
        Problem: if it is more than rounding, or the tensors are others.
    """
    import numpy as np

    if given.keys() != wanted.keys():
        raise Problem(f"{what} answers {sorted(given)}, recorded {sorted(wanted)}")
    largest = 0.0
    for key, value in wanted.items():
        here = given[key]
        if here.dtype != value.dtype or here.shape != value.shape:
            raise Problem(
                f"{what}: {key} is {here.dtype} {list(here.shape)}, recorded "
                f"{value.dtype} {list(value.shape)}"
            )
        difference = float(np.max(np.abs(here - value), initial=0.0))
        if not np.allclose(here, value, rtol=_RELATIVE, atol=_ABSOLUTE + allowed):
            raise Problem(f"{what}: {key} differs by {difference:.3g} from the record")
        largest = max(largest, difference)
    return largest


def arrays(rows: list, specs: Mapping[str, Any], layout: Any) -> dict[str, Any]:
    """Returns rows as one array for each name."""
    import numpy as np

    with problems("a recorded row is not usable"):
        columns = layout.to_columns(rows, list(specs))
        return {n: np.asarray(c, _dtype(specs[n])) for n, c in columns.items()}


def _dtype(spec: Mapping[str, Any]) -> Any:
    return object if spec["dtype"] == "string" else spec["dtype"]


def read_pair(requests: Path, answers: Path, name: str) -> tuple[list, list]:
    """Returns the rows of a recorded request, and of its answer."""
    request = read(requests / f"{name}.json")
    answer = read(answers / f"{name}.json")
    try:
        asked, rows = request["signature_name"], request["instances"]
        answers = answer["predictions"]
    except (KeyError, TypeError) as error:
        raise Problem(f"the record of {name!r} lacks {error}") from error
    if asked != name or not (isinstance(rows, list) and isinstance(answers, list)):
        raise Problem(f"the record of {name!r} is one of {asked!r}, or has no rows")
    return rows, answers


def read(path: Path) -> Any:
    """Returns the content of a file of JSON."""
    if not path.is_file():
        raise Problem(f"{path.name} cannot be read (it is no file)")
    with problems(f"{path.name} cannot be read"):
        return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        result = main(Path(sys.argv[1]))
    except Problem as problem:
        result = {"problem": str(problem)}
    print(json.dumps(result))
