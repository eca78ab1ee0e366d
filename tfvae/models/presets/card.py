"""The card of a preset: what its model was trained on, and its numbers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import keras

from tfvae.config import Config
from tfvae.core.types import InputError
from tfvae.core.validation import (
    SEEDS,
    require_int,
    require_number,
    require_real,
    require_share,
    require_text,
)
from tfvae.estimators.base import estimator_name

_UNKNOWN = "not known"


@dataclasses.dataclass(frozen=True)
class PresetScore:
    """A bound on held-out data, with what is needed to find it again.

    Attributes:
        bounds: The quantity that it bounds, in words, for example "log p(x)".
        value: The mean of L_K over the examples, in nats.
        standard_error: That of the mean over the examples; None: of one example, which
            has none.
        num_samples: K.
        split: The split of the data, for example "test".
        num_examples: The number of its examples that were scored.
        binarization: How they were made binary; "none": not.
        binarization_seed: The seed of that draw.
        seed: The seed of the draws of z.
        accuracy: The share of these examples to which q(y|x) gives their class; None:
            the model has no classifier.
    """

    bounds: str
    value: float
    standard_error: float | None
    num_samples: int
    split: str
    num_examples: int
    binarization: str
    binarization_seed: int
    seed: int
    accuracy: float | None = None

    def __post_init__(self) -> None:
        """Refuses values that are none.

        Raises:
            InputError: if a field is of another type, not finite or out of its range.
        """
        for name in ("bounds", "split", "binarization"):
            require_text(name, getattr(self, name))
        require_real("value", self.value)
        if self.standard_error is not None:
            require_number("standard_error", self.standard_error, zero=True)
        for name in ("num_samples", "num_examples"):
            require_int(name, getattr(self, name))
        for name in ("binarization_seed", "seed"):
            require_int(name, getattr(self, name), 0, SEEDS)
        if self.accuracy is not None:
            require_share("accuracy", self.accuracy)

    def __str__(self) -> str:
        """Returns the score in one line."""
        known = self.standard_error is not None
        spread = f"{self.standard_error:.2f}" if known else "?"
        right = "" if self.accuracy is None else f", accuracy {self.accuracy:.1%}"
        return (
            f"L_{self.num_samples} = {self.value:.2f} +- {spread} nats, a lower bound "
            f"on {self.bounds}; {self.split}, {self.num_examples:,} examples, "
            f"binarization {self.binarization!r}{right}"
        )


@dataclasses.dataclass(frozen=True)
class PresetCard:
    """What is known of a preset's model beside its parts; None: it is not known.

    Attributes:
        description: One line for people.
        trained_on: The data.
        objective: What was maximised, for example "iwae of 10 by pathwise".
        steps: The number of training steps.
        scores: Bounds on held-out data.
        command: The command that makes the preset again.
        licence: The terms of the data and of the weights.
        settings: The configuration of the run that trained it.
    """

    description: str = ""
    trained_on: str | None = None
    objective: str | None = None
    steps: int | None = None
    scores: tuple[PresetScore, ...] = ()
    command: str | None = None
    licence: str | None = None
    settings: Config | None = None

    def __post_init__(self) -> None:
        """Refuses values that are none.

        Raises:
            InputError: if a field is of another type than it says.
        """
        require_text("description", self.description)
        for name in ("trained_on", "objective", "command", "licence"):
            if getattr(self, name) is not None:
                require_text(name, getattr(self, name))
        if self.steps is not None:
            require_int("steps", self.steps, 0, SEEDS)
        scored = isinstance(self.scores, tuple) and all(
            isinstance(score, PresetScore) for score in self.scores
        )
        if not scored:
            raise InputError(
                f"scores {self.scores!r:.100} are not usable; give a tuple of "
                "PresetScore"
            )
        if self.settings is not None and not isinstance(self.settings, Config):
            raise InputError(
                f"settings {self.settings!r:.100} are not usable; give a tfvae Config"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns every field, in the types of JSON."""
        settings = None if self.settings is None else self.settings.to_dict()
        return {**dataclasses.asdict(self), "settings": settings}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PresetCard:
        """Rebuilds a card from `to_dict`.

        Raises:
            InputError: if a field is unknown or missing, or the settings are refused.
        """
        try:
            settings = values["settings"]
            return cls(
                **{
                    **values,
                    "scores": tuple(PresetScore(**score) for score in values["scores"]),
                    "settings": settings and Config.from_dict(settings),
                }
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"the card is none of a preset ({error})") from error

    def completed(self, vae: keras.Model) -> PresetCard:
        """Returns the card with what a model itself knows of its training."""
        steps = int(vae.steps)
        objective = self.objective
        if objective is None and vae.compiled:
            objective = (
                f"{type(vae.objective).__name__.lower()} of {vae.num_samples} by "
                f"{estimator_name(vae.estimator)}"
            )
        known = self.steps if self.steps is not None else steps
        return dataclasses.replace(self, objective=objective, steps=known)


def readme(vae: keras.Model, name: str, card: PresetCard) -> str:
    """Returns the text of a preset's README.md, with the header that hubs read."""
    lines = ["---", "library_name: tfvae", "tags: [keras, variational-autoencoder]"]
    lines += ["---", "", f"# {name}", ""]
    lines += [card.description, ""] if card.description else []
    lines += ["| | |", "|---|---|"]
    lines += [f"| {row} | {text} |" for row, text in _rows(vae, card).items()]
    lines += ["", "## Scores", ""]
    lines += [f"- {score}" for score in card.scores] or ["None is known."]
    lines += ["", "Bounds are means over the examples; L_K has K samples of z.", ""]
    lines += ["## Use", "", "```python", "import tfvae", ""]
    call = f"{type(vae).__name__}.from_preset"
    lines += [f'vae = tfvae.{call}("{name}")  # or a path, or hf://...', "```", ""]
    if card.settings is not None:
        changed = Config().differences(card.settings)
        settings = {field: there for field, (_, there) in changed.items()}
        lines += ["## Settings", "", "Those that are not the defaults:", "", "```json"]
        lines += [json.dumps(settings, indent=2), "```", ""]
    return "\n".join(lines)


def _rows(vae: keras.Model, card: PresetCard) -> dict[str, str]:
    """Returns what the table of a README.md says: the row's name -> its text."""
    kind, head = type(vae).__name__, vae.decoder.head
    latent, prior = vae.latent, vae.prior_layer
    return {
        "class": f"`tfvae.{kind}`",
        "parameters": f"{vae.count_params():,}",
        "x": _cell(f"{vae.data_shape}, p(x|z) by `{type(head).__name__}` over ")
        + head.support,
        "z": _cell(f"{latent.event_shape}, q(z|x) = {latent.posterior_text}"),
        "p(z)": _cell(latent.prior_text if prior is None else prior.text),
        "condition": "none" if vae.condition is None else vae.condition.wanted,
        "trained on": card.trained_on or _UNKNOWN,
        "objective": card.objective or _UNKNOWN,
        "training steps": f"{card.steps:,}" if card.steps else _UNKNOWN,
        "made by": f"`{card.command}`" if card.command else _UNKNOWN,
        "licence": card.licence or _UNKNOWN,
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
