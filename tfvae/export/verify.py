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
from tfvae.export.layout import CARD, FORMAT, PAGE, sha256_of
from tfvae.export.versions import versions_in

_REPLAY = Path(__file__).with_name("replay.py")
_REPLAY_ANYWHERE = Path(__file__).with_name("replay_anywhere.py")
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
        runtimes: The versions of the runtimes that replayed the other formats.
        anywhere: Like `signatures`, of those whose noise is an input, by the file
            (`onnx`, `litert`, `litert_int8`, ...).
        page: The page of the format web, whose bytes are those that were written; it
            compares itself with TensorFlow's answers in a browser.
    """

    path: Path
    tensorflow: str
    signatures: Mapping[str, Mapping[str, float]]
    runtimes: Mapping[str, str] = {}
    anywhere: Mapping[str, Mapping[str, float]] = {}
    page: Path | None = None


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
    card = _checked_card(version)
    page = _checked_page(version, card["web"]) if "web" in card else None
    found: dict[str, Any] = {"tensorflow": "", "signatures": {}}
    elsewhere: dict[str, Any] = {}
    if "signatures" in card:
        found = _replayed(_REPLAY, version, "TensorFlow")
    if "anywhere" in card:
        elsewhere = _replayed(_REPLAY_ANYWHERE, version, "the runtime")
    return Verification(
        version,
        found["tensorflow"],
        found["signatures"],
        elsewhere.get("runtimes", {}),
        elsewhere.get("signatures", {}),
        page,
    )


def _replayed(script: Path, version: Path, what: str) -> dict[str, Any]:
    """Returns what a process of its own prints for a version."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(script), str(version.resolve())],
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
        found = {"problem": f"{what} stopped ({last:.150})"}
    if "problem" in found:
        raise _damaged(version, found["problem"])
    return found


def verification_text(found: Verification) -> str:
    """Returns the result as a table."""
    lines = []
    for said, table in (
        (f"TensorFlow {found.tensorflow}", found.signatures),
        (", ".join(found.runtimes.values()), found.anywhere),
    ):
        if not table:
            continue
        kinds = [kind for kind in next(iter(table.values())) if kind != "rows"]
        shown = ["TF2 loader" if kind == "TF2" else kind for kind in kinds]
        lines += [f"{found.path}: {said} alone gives the recorded answers", ""]
        lines += [f"{'signature':20} {'rows':>4}" + "".join(f" {k:>15}" for k in shown)]
        for name, row in table.items():
            numbers = "".join(f" {row[kind]:15.2g}" for kind in kinds)
            lines.append(f"{name:20} {row['rows']:4}{numbers}")
        lines.append("")
    if lines:
        lines.append("largest differences from the recorded answers")
    if found.page is not None:
        lines.append(f"{found.page}: as written; open {found.page.name}#check")
    return "\n".join(lines)


def _version(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(
            f"{str(path)!r} is not a folder; give saved_models/NAME, as tfvae export "
            "writes it"
        )
    if (path / "saved_model.pb").exists() or (path / CARD).exists():
        return path
    versions = versions_in(path)
    if not versions:
        raise InputError(
            f"{str(path)!r} holds no version of a model; make one with: tfvae export"
        )
    return path / str(versions[-1])


def _damaged(version: Path, reason: str) -> InputError:
    return InputError(f"{str(version)!r} is damaged: {reason}; export it again")


def _checked_card(version: Path) -> Mapping[str, Any]:
    """Returns the card, whose signatures have shapes and types."""
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
    groups = [
        card[key]
        for key in ("signatures", "anywhere")
        if isinstance(card, dict) and key in card
    ]
    empty = not groups and not (isinstance(card, dict) and "web" in card)
    if empty or not all(isinstance(each, dict) and each for each in groups):
        raise _damaged(version, f"{CARD} names no signatures")
    if "anywhere" in card and not (card.get("onnx") or card.get("litert")):
        raise _damaged(version, f"{CARD} names no file of onnx or litert")
    for name, signature in (pair for each in groups for pair in each.items()):
        if not (name.isidentifier() and _is_signature(signature)):
            raise _damaged(version, f"{CARD} describes no signature {name!r}")
    if type(card.get("format")) is not int or card["format"] != FORMAT:
        raise InputError(
            f"{str(version)!r} has format {card.get('format')!r}, and this tfvae "
            f"verifies format {FORMAT}; use the tfvae that wrote it"
        )
    return card


def _checked_page(version: Path, described: Any) -> Path:
    """Returns the page, whose content is the one that was written."""
    page = version / PAGE
    if not isinstance(described, dict) or described.get("file") != PAGE:
        raise _damaged(version, f"{CARD} describes no {PAGE}")
    if not page.is_file() or sha256_of(page) != described.get("sha256"):
        raise _damaged(version, f"{PAGE} is not the one that was written")
    return page


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
