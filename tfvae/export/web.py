"""A page that runs a model's decoder in a browser, in one file and without a network.

The page holds the graph of `decode`, z -> mean of p(x|z), and that of the prior's draws
as programs (`web_graph.py`), the weights, and answers that TensorFlow gave, against
which it checks itself.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.files import write_text
from tfvae.core.lookup import lookup
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_path
from tfvae.export.pixels import range_of
from tfvae.export.web_controls import conditions_of, shown_of, variables_of
from tfvae.export.web_graph import Constant, Frozen, Program, engine, text_of
from tfvae.models import VAE
from tfvae.training.runs import utc_now, versions

DRAWS = 12  # samples that a page draws at a time
# The mean may move by half a grey level of 256, relative above 1, where weights have 16
# bits; who wants less says so.
ALLOWED = 1 / 512
_CHECKED = 3  # seeds whose draws are compared for it
_RECORDED = 3  # answers in the page
_LARGE = 256  # numbers of a constant that is worth rounding
_PACKAGES = ("tfvae", "tensorflow", "keras")  # in the footer, with versions
_MARK = "<!DOCTYPE html><!-- tfvae"  # what begins a page that may be replaced
_MOST_BYTES = 256 << 20


class Rounding(NamedTuple):
    """How weights are stored.

    Attributes:
        dtype: "float32" or "float16".
        error: The most that the mean of p(x|z) moves, relative where it is above 1,
            over `draws` draws of the prior.
        draws: Their number.
    """

    dtype: str
    error: float
    draws: int


_PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "auto": ("float16", "float32"),
    "float16": ("float16",),
    "float32": ("float32",),
}


def export_web(
    vae: VAE,
    path: str | os.PathLike,
    *,
    title: str | None = None,
    precision: str = "auto",
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Writes one HTML file that runs the model's decoder in any browser.

    The page needs no network and no other file. It has a slider for each latent
    variable, those first that move the mean most, toggles for bits and choices for
    classes; buttons for the classes of a conditional model, and fields for its numbers;
    draws from the prior, which for a seed are those of `vae.sample(12, seed)`; and a
    map where there are two latent variables. Images are drawn, others are bars.

    The computation is the model's own graph in float32 (float64, if the model is), run
    by JavaScript. `page.html#check` prints its largest difference from TensorFlow's
    answers, which are in the page.

    Args:
        vae: The model.
        path: The file to write, for example digits.html; a page that this function
            wrote before is replaced.
        title: The page's title; None: the file's name.
        precision: "float32" or "float16" weights; "auto": float16 where it moves the
            mean by 1/512 at most, over draws from the prior. The page says how much.
        value_range: The values that are black and white.
        seed: The seed of the first draws.
        card: Facts in the page's footer, name -> text.

    Returns:
        The path.

    Raises:
        InputError: if `path` cannot be written to or holds something else; an argument
            is not usable; the model computes what the page's engine does not know, of
            which the layer is named; or it has a condition that has no field.
    """
    target = require_path("path", path)
    _check_target(target)
    if not isinstance(vae, VAE):
        raise InputError(f"{type(vae).__name__} is no VAE; give one of tfvae.VAE")
    tried = lookup(_PRECISIONS, precision, "precision")
    seed = require_int("seed", seed, 0, 2**31 - 1)
    low, high = range_of(value_range)
    name = target.stem if title is None else title
    facts = {"Model": str(name), **_facts(vae), **_texts(card)}
    decode, sample = _frozen(vae)
    rounding, replaced = _rounded(vae, decode, sample, tried)
    blob = _Blob()
    model = {
        "title": str(name),
        "seed": seed,
        "shown": shown_of(vae, low, high),
        "conditions": conditions_of(vae),
        "latent": variables_of(vae, decode),
        "decode": blob.program(decode.program, replaced),
        "sample": blob.program(sample.program),
        "checks": _checks(vae, decode, sample, replaced, blob),
        "facts": {**facts, "Weights": _said(rounding)},
    }
    try:
        write_text(target, _page(model, bytes(blob.content)))
    except OSError as error:
        raise InputError(
            f"{str(target)!r} cannot be written to ({error.strerror or error}); free "
            "space, change its permissions, or give another path"
        ) from error
    return target


def _check_target(path: Path) -> None:
    """Refuses to replace what is no page of this module."""
    if path.is_dir():
        raise InputError(
            f"{str(path)!r} is a folder; give a file's path, for example model.html"
        )
    if not os.path.lexists(path):
        return
    try:
        with path.open(encoding="utf-8") as file:
            ours = file.read(len(_MARK)) == _MARK
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(
            f"{str(path)!r} is there and is no page that tfvae wrote; give another path"
        )


def _texts(card: Mapping[str, Any] | None) -> dict[str, str]:
    if card is not None and not isinstance(card, Mapping):
        raise InputError(f"card {card!r:.60} is not usable; give names with texts")
    return {str(key): str(value) for key, value in (card or {}).items()}


def _facts(vae: VAE) -> dict[str, str]:
    head, prior = vae.decoder.head, vae.prior_layer
    return {
        "Likelihood": type(head).__name__.removesuffix("Head"),
        "Posterior": vae.latent.posterior_text,
        "Prior": vae.latent.prior_text if prior is None else prior.text,
        "Written": f"{utc_now()}, {_versions()}",
    }


def _versions() -> str:
    found = versions()
    return ", ".join(f"{name} {found[name]}" for name in _PACKAGES)


def _said(rounding: Rounding) -> str:
    if rounding.dtype == "float32":
        return "float32, as the model computes"
    return (
        f"float16, which moves the mean by {rounding.error:.1g} at most in "
        f"{rounding.draws} draws from the prior"
    )


# -- the functions -----------------------------------------------------------------


def _frozen(vae: VAE) -> tuple[Frozen, Frozen]:
    """Returns z, c -> mean of p(x|z, c), [1, ...], and seed, c -> z, [DRAWS, ...]."""
    blank = None if vae.condition is None else vae.condition.blank(1)
    parts = [] if blank is None else tf.nest.flatten(blank)
    specs = [tf.TensorSpec(each.shape, each.dtype) for each in parts]

    def read(served: Sequence[tf.Tensor]) -> Any:
        return None if blank is None else tf.nest.pack_sequence_as(blank, list(served))

    def decode(z: tf.Tensor, *served: tf.Tensor) -> tf.Tensor:
        given = {} if blank is None else {"condition": read(served)}
        return vae.decode(z, **given).mean()

    def sample(seed: tf.Tensor, *served: tf.Tensor) -> tf.Tensor:
        c = read(served)
        if vae.condition is not None:
            one = tf.nest.map_structure(lambda part: part[0], c)
            c = vae.condition.broadcast(one, DRAWS)
        return vae.draw_prior([DRAWS], derive_seed(seed, "prior"), c)

    z = tf.TensorSpec([1, *vae.latent.event_shape], vae.compute_dtype)
    layers = [*vae.decoder.network._flatten_layers(), *vae.latent._flatten_layers()]
    try:
        decoder = Frozen(decode, [z, *specs], layers)
    except NotImplementedError as error:
        raise InputError(
            f"the distribution of {type(vae.decoder.head).__name__} has no mean in "
            "closed form, and the page shows the mean; use another likelihood"
        ) from error
    return decoder, Frozen(sample, [tf.TensorSpec([2], tf.int32), *specs], layers)


def _asked(vae: VAE, seed: int) -> list[np.ndarray]:
    """Returns some condition, another one for another seed, as programs take it."""
    if vae.condition is None:
        return []
    blank = vae.condition.blank(1)
    count = getattr(vae.condition, "num_classes", None)
    if count is not None:
        return [np.full([1], seed % count)]
    return [each.numpy() for each in tf.nest.flatten(blank)]


def _rounded(
    vae: VAE, decode: Frozen, sample: Frozen, tried: Sequence[str]
) -> tuple[Rounding, list[Constant]]:
    """Returns how weights are stored, and the constants that change by it."""
    large = [
        each
        for each in decode.program.constants
        if each.value.dtype == np.float32 and each.value.size >= _LARGE
    ]
    half = []
    with np.errstate(over="ignore"):
        for each in large:
            short = each.value.astype(np.float16).astype(np.float32)
            half.append(each._replace(value=short))
    worst, draws = 0.0, 0
    for seed in range(_CHECKED) if "float16" in tried and half else ():
        asked = _asked(vae, seed)
        for z in sample([seed, 0], *asked):
            exact = decode(z[np.newaxis], *asked)
            gap = np.abs(decode(z[np.newaxis], *asked, constants=half) - exact)
            gap = gap / np.maximum(1.0, np.abs(exact))
            worst, draws = max(worst, np.max(np.nan_to_num(gap, nan=np.inf))), draws + 1
    if half and "float16" in tried and (worst <= ALLOWED or "float32" not in tried):
        return Rounding("float16", float(worst), draws), half
    return Rounding("float32", 0.0, draws), []


def _checks(
    vae: VAE,
    decode: Frozen,
    sample: Frozen,
    replaced: Sequence[Constant],
    blob: _Blob,
) -> dict[str, Any]:
    """Returns requests with TensorFlow's answers, by the weights of the page."""
    found: dict[str, list[Any]] = {"decoded": [], "drawn": []}
    for seed in range(_RECORDED):
        asked = _asked(vae, seed)
        stored = [blob.put(each) for each in asked]
        drawn = sample([seed, 0], *asked)
        z = drawn[:1]
        mean = decode(z, *asked, constants=replaced)
        if not np.isfinite(mean).all():
            raise InputError(
                "the mean of p(x|z) is not finite for a draw from the prior; look at "
                "the model's weights, or train it on"
            )
        found["decoded"].append(
            {"z": blob.put(z), "conditions": stored, "mean": blob.put(mean)}
        )
        found["drawn"].append(
            {"seed": seed, "conditions": stored, "z": blob.put(drawn)}
        )
    return found


# -- the file ----------------------------------------------------------------------


class _Blob:
    """Arrays one after another in bytes, each of which once."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._known: dict[tuple[str, bytes], int] = {}

    def put(self, value: np.ndarray, half: bool = False) -> dict[str, Any]:
        """Returns where an array is, in float16 if it may be rounded."""
        value = np.asarray(value)
        kind = "float16" if half else value.dtype.name
        data = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        raw = data.astype("<f2").tobytes() if half else data.tobytes()
        at = self._known.setdefault((kind, raw), len(self.content))
        if at == len(self.content):
            self.content += raw
        if len(self.content) > _MOST_BYTES:
            raise InputError(
                f"the model has more than {_MOST_BYTES >> 20} MiB of weights, too many "
                "for a page; write a SavedModel with tfvae.export.export_saved_model"
            )
        return {
            "at": at,
            "size": len(raw),
            "kind": kind,
            "dtype": value.dtype.name,
            "shape": list(value.shape),
        }

    def program(
        self, program: Program, replaced: Sequence[Constant] = ()
    ) -> dict[str, Any]:
        """Returns a program as JSON, whose constants are in the bytes."""
        rounded = {each.id for each in replaced}
        return {
            **program._asdict(),
            "constants": [
                [each.id, self.put(each.value, each.id in rounded)]
                for each in program.constants
            ],
            "steps": [
                {
                    **step._asdict(),
                    "attributes": {
                        name: self.program(each) if isinstance(each, Program) else each
                        for name, each in step.attributes.items()
                    },
                }
                for step in program.steps
            ],
        }


def _page(model: Mapping[str, Any], content: bytes) -> str:
    """Returns the page; nothing in it is fetched, and no other script can run."""
    script = engine() + text_of("web_page.js")
    style = text_of("web_page.css")
    sources = (f"'sha256-{_digest(text)}'" for text in (script, style))
    policy = "default-src 'none'; script-src {}; style-src {}".format(*sources)
    # Within a script element, `<` alone could begin its end.
    packed = json.dumps(model, allow_nan=False, separators=(",", ":"))
    parts = {
        "MARK": _MARK,
        "TITLE": html.escape(model["title"]),
        "POLICY": policy,
        "STYLE": style,
        "MODEL": packed.replace("<", "\\u003c"),
        "BYTES": base64.b64encode(content).decode(),
        "SCRIPT": script,
    }
    return "".join(_filled(text_of("web_page.html"), parts))


def _filled(template: str, parts: Mapping[str, str]) -> Iterator[str]:
    """Yields a template's text with its `@NAME@` filled, once: parts are not read."""
    for number, text in enumerate(template.split("@")):
        yield parts[text] if number % 2 else text


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
