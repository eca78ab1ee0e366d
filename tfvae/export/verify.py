"""Verifying an exported model in a process that has TensorFlow alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfvae.core.files import read_bounded
from tfvae.core.types import InputError, first_line
from tfvae.core.validation import require_path
from tfvae.export.layout import CARD, FORMAT
from tfvae.export.versions import versions_in

_REPLAY = Path(__file__).with_name("replay.py")
_DTYPES = ("float32", "int32", "uint8", "int64", "string", "bool")
_SECONDS = 600
_MOST_CARD = 32 << 20  # bytes; as for the evaluation that it has


class Verification(NamedTuple):
    """The result of replaying the recorded requests of an exported model.

    Attributes:
        path: The version's folder.
        tensorflow: The version of TensorFlow that replayed them.
        signatures: A name -> `rows`, and by loader (`TF2`, `session`) the largest
            absolute difference from the recorded answers.
    """

    path: Path
    tensorflow: str
    signatures: Mapping[str, Mapping[str, float]]


def verify_saved_model(path: str | os.PathLike) -> Verification:
    """Loads an exported model in a fresh process and replays its recorded requests.

    The process has TensorFlow alone, without tfvae, Keras or TFP, and loads the model
    as TensorFlow 2 does and with the session that model servers use.

    Args:
        path: saved_models/NAME, of which the latest version is taken, or
            saved_models/NAME/VERSION.

    Raises:
        InputError: if there is no such model, `tfvae export` did not write it, it is
            damaged, or its answers are not the recorded ones.
    """
    version = _version(require_path("path", path))
    _check_card(version)
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_REPLAY), str(version.resolve())],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{str(version)!r} does not answer within {_SECONDS} seconds; export it "
            "again, or verify it on a faster machine"
        ) from None
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        found = {"problem": f"TensorFlow stopped ({last:.150})"}
    if "problem" in found:
        raise _damaged(version, found["problem"])
    return Verification(version, found["tensorflow"], found["signatures"])


def verification_text(found: Verification) -> str:
    """Returns the result as a table."""
    lines = [
        f"{found.path}: TensorFlow {found.tensorflow} alone gives the recorded answers",
        "",
        f"{'signature':20} {'rows':>4} {'TF2 loader':>12} {'session':>12}",
    ]
    for name, row in found.signatures.items():
        rows, tf2, session = row["rows"], row["TF2"], row["session"]
        lines.append(f"{name:20} {rows:4} {tf2:12.2g} {session:12.2g}")
    return "\n".join([*lines, "", "largest differences from the recorded answers"])


def _version(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(
            f"{str(path)!r} is not a folder; give saved_models/NAME, as tfvae export "
            "writes it"
        )
    if (path / "saved_model.pb").exists():
        return path
    versions = versions_in(path)
    if not versions:
        raise InputError(
            f"{str(path)!r} holds no version of a model; make one with: tfvae export"
        )
    return path / str(versions[-1])


def _damaged(version: Path, reason: str) -> InputError:
    return InputError(f"{str(version)!r} is damaged: {reason}; export it again")


def _check_card(version: Path) -> None:
    if not (version / CARD).is_file():
        raise InputError(
            f"{str(version)!r} holds no {CARD}, so tfvae export has not written it; "
            "give a folder that it has"
        )
    try:
        card: Any = json.loads(read_bounded(version / CARD, _MOST_CARD))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{CARD} cannot be read ({first_line(error)})"
        raise _damaged(version, reason) from error
    signatures = card.get("signatures") if isinstance(card, dict) else None
    if not isinstance(signatures, dict) or not signatures:
        raise _damaged(version, f"{CARD} names no signatures")
    for name, signature in signatures.items():
        if not (name.isidentifier() and _is_signature(signature)):
            raise _damaged(version, f"{CARD} describes no signature {name!r}")
    if type(card.get("format")) is not int or card["format"] != FORMAT:
        raise InputError(
            f"{str(version)!r} has format {card.get('format')!r}, and this tfvae "
            f"verifies format {FORMAT}; use the tfvae that wrote it"
        )


def _is_signature(described: Any) -> bool:
    """Returns whether a signature's inputs and outputs have each a shape and a type."""
    if not isinstance(described, dict):
        return False
    return all(
        isinstance(group := described.get(name), dict)
        and group
        and all(
            isinstance(s, dict) and s.get("dtype") in _DTYPES for s in group.values()
        )
        for name in ("inputs", "outputs")
    )
