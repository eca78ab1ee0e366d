"""The arguments of each command: typed dataclasses that tyro reads."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from tfvae.config import Config
from tfvae.config.settings import (
    EXPORTED_SAMPLES,
    Annealing,
    Benchmarking,
    Checkpointing,
    Distribution,
    Monitoring,
    Scoring,
)


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """Train a run in its folder, or go on with one that was stopped."""

    workdir: Path
    """The run's folder: new, empty, or of the same settings."""
    distribution: Annotated[Distribution, tyro.conf.arg(name="")]
    monitoring: Annotated[Monitoring, tyro.conf.arg(name="")]
    checkpointing: Annotated[Checkpointing, tyro.conf.arg(name="")]
    config: Annotated[Config, tyro.conf.arg(name="")]
    allow_changed: tuple[str, ...] = ()
    """Settings that may differ from those of the run that the folder holds."""


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """Score a run's model: bounds on log p(x), and what its latent variables do."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    scoring: Annotated[Scoring, tyro.conf.arg(name="")]
    annealing: tyro.conf.FlagCreatePairsOff[
        Annotated[Annealing, tyro.conf.arg(name="")]
    ]


@dataclasses.dataclass(frozen=True)
class CompareArguments:
    """Score two runs on the same images: the difference, and its paired error."""

    first: tyro.conf.Positional[Path]
    """A run's folder."""
    second: tyro.conf.Positional[Path]
    """Another's."""
    scoring: Annotated[Scoring, tyro.conf.arg(name="")]


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """Draw a run's pictures, as PNG files in its folder."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    kind: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="KIND")] = (
        None
    )
    """One picture; None: all that are defined for the run."""
    seed: int = 0
    """The seed of all draws."""


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """Write a run's report: one HTML page with settings, numbers and pictures."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    seed: int = 0
    """The seed of all draws."""


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Write a run's model as the next version of a SavedModel."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    path: tyro.conf.Positional[Path]
    """The folder of the model's versions, for example saved_models/digits."""
    num_samples: int = EXPORTED_SAMPLES
    """K of the signature score."""


@dataclasses.dataclass(frozen=True)
class VerifyArguments:
    """Replay an exported model's recorded requests with TensorFlow alone."""

    path: tyro.conf.Positional[Path]
    """saved_models/NAME, for its latest version, or saved_models/NAME/VERSION."""


@dataclasses.dataclass(frozen=True)
class BenchmarkArguments:
    """Time training and evaluation, and the matrix products in them alone."""

    settings: Annotated[Benchmarking, tyro.conf.arg(name="")]
    config: tyro.conf.FlagConversionOff[Annotated[Config, tyro.conf.arg(name="")]]
    serving: tyro.conf.FlagCreatePairsOff[bool] = False
    """Time requests to the exported model instead, beside the Keras model's calls."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print one line of JSON, and no table."""
