"""Replays the recorded requests of ONNX and LiteRT files, without TensorFlow.

`verify.py` runs this file as a program of its own: it imports NumPy and the runtime
alone, and makes sure that nothing else comes in. The last line that it prints is a JSON
object: `problem`, or `runtimes` and, for each signature, how many rows were replayed
and the largest difference from TensorFlow's recorded answer by runtime.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_BLOCKED = ("tfvae", "keras", "tf_keras", "tensorflow", "tensorflow_probability")
_PACKAGES = {"onnx": "onnxruntime", "litert": "ai-edge-litert"}

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def main(path: Path) -> dict[str, Any]:
    """Returns the object to print for the folder of one version."""
    sys.path.insert(0, str(Path(__file__).parent))
    import layout
    import replay

    blocked: dict[str, Any] = dict.fromkeys(_BLOCKED)
    sys.modules.update(blocked)  # importing one fails from here on
    card = replay.read(path / layout.CARD)
    described, quantized = card["anywhere"], card.get("quantized", {})
    found: dict[str, dict] = {}
    runtimes = {}
    for kind, package in _PACKAGES.items():
        for file in [] if kind not in card else _models(card, kind):
            try:
                runtimes[kind] = f"{package} {importlib.metadata.version(package)}"
            except importlib.metadata.PackageNotFoundError:
                raise replay.Problem(
                    f"{package} is not installed (pip install 'tfvae[{kind}]')"
                ) from None
            allowed = _allowed(quantized, file)
            with replay.problems(f"{file or kind} cannot be read"):
                ask = _onnx(path) if kind == "onnx" else _litert(path / file)
            for name, signature in described.items():
                rows, answer = replay.read_pair(
                    path / layout.NOISE_REQUESTS, path / layout.NOISE_ANSWERS, name
                )
                asked = replay.arrays(rows, signature["inputs"], layout)
                wanted = replay.arrays(answer, signature["outputs"], layout)
                what = f"{name} ({file or kind})"
                with replay.problems(f"{what} fails"):
                    given = ask(name, asked)
                largest = replay.difference(what, given, wanted, allowed.get(name, 0.0))
                row = found.setdefault(name, {"rows": len(rows)})
                row[Path(file).stem.replace("model", "litert") or kind] = largest
    return {"runtimes": runtimes, "signatures": found}


def _models(card: Mapping[str, Any], kind: str) -> list[str]:
    """Returns LiteRT's files; ONNX has one for each signature, which are one model."""
    return [""] if kind == "onnx" else card[kind]


def _allowed(quantized: Mapping[str, Any], file: str) -> Mapping[str, float]:
    """Returns the recorded differences of a quantised file."""
    for each in quantized.values():
        if each["file"] == file:
            return each["differences"]
    return {}


def _onnx(path: Path) -> Ask:
    import onnxruntime

    def ask(name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        session = onnxruntime.InferenceSession(
            str(path / "onnx" / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return ask


def _litert(file: Path) -> Ask:
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(file))
    return lambda name, inputs: model.get_signature_runner(name)(**inputs)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from replay import Problem

    try:
        result = main(Path(sys.argv[1]))
    except Problem as problem:
        result = {"problem": str(problem)}
    print(json.dumps(result))
