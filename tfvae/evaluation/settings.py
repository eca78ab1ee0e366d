"""How images are scored; imports nothing heavy."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from tfvae.config.names import Binarization
from tfvae.require import SEEDS, require_int
from tfvae.types import InputError

SplitName = Literal["test", "validation", "train"]
Initial = Literal["prior", "posterior"]


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Which images are scored, and how.

    Raises:
        InputError: A value is out of range.
    """

    num_samples: int = 1000
    """K, the samples of z per image."""
    split: SplitName = "test"
    """Which images."""
    limit: int | None = None
    """Only the first so many images."""
    seed: int = 0
    """Of the samples."""
    binarization: Binarization | None = None
    """Of the images; None: as in the run. dynamic and fixed are one draw here."""
    batch_size: int = 100
    """Images at a time."""
    chunk_size: int | None = None
    """Samples at a time; None: what fits into about 64 MiB a tensor."""

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("num_samples", "limit", "batch_size", "chunk_size"):
            if getattr(self, name) is not None or name in ("num_samples", "batch_size"):
                _require(self, name)
        require_int(_both("seed"), self.seed, 0, SEEDS)
        _require_name(self, "split", SplitName)
        if self.binarization is not None:
            _require_name(self, "binarization", Binarization)


@dataclasses.dataclass(frozen=True)
class Annealing:
    """Annealed importance sampling beside L_K; see `tfvae.annealed`.

    Raises:
        InputError: A value is out of range, or has no effect.
    """

    ais: bool = False
    """Bound log p(x) by annealed importance sampling too, for continuous z."""
    ais_chains: int = 16
    """Chains an image."""
    ais_steps: int = 500
    """Steps of the path from the initial distribution to p(z|x)."""
    ais_leapfrogs: int = 10
    """Leapfrog steps of each move."""
    ais_initial: Initial = "prior"
    """Where chains start: prior, or posterior for q(z|x)."""
    bdmc_images: int = 100
    """Images that the model makes, bounded from both sides (BDMC); 0: none."""

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("ais_chains", "ais_steps", "ais_leapfrogs"):
            _require(self, name)
        _require(self, "bdmc_images", least=0)
        _require_name(self, "ais_initial", Initial)
        if self.ais:
            return
        for field in dataclasses.fields(self):
            if getattr(self, field.name) != field.default:
                raise InputError(
                    f"{_both(field.name)} {getattr(self, field.name)!r} has no effect "
                    "without ais; set ais (--ais), or leave it out"
                )


def _require(settings: object, name: str, least: int = 1) -> int:
    return require_int(_both(name), getattr(settings, name), least)


def _require_name(settings: object, name: str, names: object) -> None:
    value = getattr(settings, name)
    if value not in get_args(names):
        known = ", ".join(get_args(names))
        raise InputError(f"unknown {_both(name)} {value!r}; choose one of {known}")


def _both(name: str) -> str:
    """The name in Python and on the command line."""
    return f"{name} (--{name.replace('_', '-')})"
