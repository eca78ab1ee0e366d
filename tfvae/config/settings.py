"""Settings of commands beside the run's configuration, without TensorFlow.

Nothing that is trained depends on them.
"""

import dataclasses
import typing
from typing import Literal

from tfvae.config.fields import Count, Natural, Seed
from tfvae.config.names import AnomalyScore, Binarization
from tfvae.core.lookup import lookup
from tfvae.core.types import InputError
from tfvae.core.validation import require_int, require_number

Strategy = Literal["none", "mirrored", "multi_worker"]
SplitName = Literal["test", "validation", "train"]
Initial = Literal["prior", "posterior"]
EXPORTED_SAMPLES = 100  # K of the signature score, unless told


class Settings:
    """The base of settings, whose fields are checked against their types.

    Raises:
        InputError: if a field is no int in its range, or none of its names.
    """

    def __post_init__(self) -> None:
        """Checks every field that is an int or a name."""
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field, hint in hints.items():
            value, parts = getattr(self, field), (hint, *typing.get_args(hint))
            name = _both(field)
            if value is None and type(None) in parts:
                continue
            for part in parts:
                for limits in getattr(part, "__metadata__", ()):
                    require_int(name, value, limits.least, limits.most)
                if typing.get_origin(part) is Literal:
                    lookup(dict.fromkeys(typing.get_args(part)), value, name)
                if part is bool and not isinstance(value, bool):
                    raise InputError(
                        f"{name} {value!r} is not usable; give True or False"
                    )


@dataclasses.dataclass(frozen=True)
class Distribution(Settings):
    """The devices of a training.

    They are no part of a run's configuration: its numbers are the same, to rounding,
    and a run may go on with another number of replicas.
    """

    strategy: Strategy = "none"
    """One device; all of this machine; or all of the workers that TF_CONFIG names."""


@dataclasses.dataclass(frozen=True)
class Monitoring(Settings):
    """The records of a training for TensorBoard beside its scalars.

    They are no part of a run's configuration: no number depends on them.
    """

    histograms_every: Natural | None = None
    """Epochs between histograms; None: as a 100th of the time lets; 0: none."""
    images_every: Natural | None = None
    """Epochs between images; None: as a 100th of the time lets; 0: none."""
    projector: bool = True
    """Write the test images' codes for TensorBoard's projector at the end."""
    graph: bool = False
    """Write the graph of a training step."""
    profile: tuple[int, int] | None = None
    """The first and the last training step to profile; None: none."""

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        if self.profile is not None:
            _check_steps(self.profile)


@dataclasses.dataclass(frozen=True)
class Checkpointing(Settings):
    """The times of checkpoints, which change nothing that is trained."""

    checkpoint_every: Count | None = None
    """Training steps from one checkpoint to the next; None: at ends of epochs alone."""


@dataclasses.dataclass(frozen=True)
class Scoring(Settings):
    """The images to score, and the samples of each."""

    num_samples: Count = 1000
    """K, the samples of z per image."""
    split: SplitName = "test"
    """The split of the images."""
    limit: Count | None = None
    """The number of images, the first ones; None: all."""
    seed: Seed = 0
    """The seed of the samples."""
    binarization: Binarization | None = None
    """The images' binarization; None: the run's. dynamic and fixed: one draw here."""
    batch_size: Count = 100
    """Images at a time."""
    chunk_size: Count | None = None
    """Samples at a time; None: as many as fit into about 64 MiB a tensor."""


@dataclasses.dataclass(frozen=True)
class Detection(Settings):
    """The score of strangeness, and the images that are looked at."""

    score: AnomalyScore = "likelihood"
    """What makes an image strange; see tfvae.anomaly."""
    num_samples: Count = 100
    """K, the samples of z per image."""
    split: SplitName = "test"
    """The split of a data set; a file of examples has none."""
    limit: Count | None = None
    """The number of images to look at, the first ones; None: all."""
    seed: Seed = 0
    """The seed of the samples."""


@dataclasses.dataclass(frozen=True)
class Imputing(Settings):
    """The samples from which missing values are filled in, and the images."""

    num_samples: Count = 1000
    """K, the samples of z per image."""
    num_draws: Natural = 1
    """M, the draws of each image's missing values (multiple imputation)."""
    interval: float | None = 0.9
    """The probability of an interval for each value, below 1; None: no interval."""
    limit: Count | None = None
    """The number of images to fill in, the first ones; None: all."""
    seed: Seed = 0
    """The seed of the samples and draws."""

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        if self.interval is not None:
            name = _both("interval")
            if require_number(name, self.interval) >= 1:
                raise InputError(
                    f"{name} {self.interval!r} is not usable; give a share below 1"
                )


@dataclasses.dataclass(frozen=True)
class Annealing(Settings):
    """Annealed importance sampling beside L_K, and what stands on it.

    See `tfvae.evaluation.ais` and `tfvae.evaluation.gaps`.

    Raises:
        InputError: if a value is out of range, or has no effect.
    """

    ais: bool = False
    """Bound log p(x) by annealed importance sampling too, for continuous z."""
    ais_chains: Count = 16
    """Chains an image."""
    ais_steps: Count = 500
    """Steps of the path from the initial distribution to p(z|x)."""
    ais_leapfrogs: Count = 10
    """Leapfrog steps of each move."""
    ais_initial: Initial = "prior"
    """The start of chains: prior, or posterior for q(z|x)."""
    bdmc_images: Natural = 100
    """Images that the model makes, bounded from both sides (BDMC); 0: none."""
    gaps: bool = False
    """Say where the nats between elbo and AIS go: amortisation, approximation."""
    gap_steps: Count = 300
    """Steps of the posterior of each image alone, for each family."""

    @property
    def wanted(self) -> bool:
        """Whether images are bounded by annealed importance sampling."""
        return self.ais or self.gaps

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        for field in dataclasses.fields(self):
            needed = "gaps" if field.name == "gap_steps" else "ais"
            on = self.gaps if needed == "gaps" else self.wanted
            if not on and getattr(self, field.name) != field.default:
                raise InputError(
                    f"{_both(field.name)} {getattr(self, field.name)!r} has no effect "
                    f"without {needed}; set {needed} (--{needed}), or leave it out"
                )


@dataclasses.dataclass(frozen=True)
class Benchmarking(Settings):
    """The size of a benchmark."""

    blocks: Count = 5
    """Timed blocks of training; the median is reported, with the least and the most."""
    block_seconds: float = 1.5
    """The seconds of a block, about."""
    evaluation_samples: Count = 5000
    """K, samples of z per image in the evaluation."""
    evaluation_images: Count | None = None
    """Images scored, up to a whole batch; None: as many as take a few seconds."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        require_number(_both("block_seconds"), self.block_seconds)

    def check_serving(self) -> None:
        """Refuses settings that have no effect on a benchmark of serving."""
        default = Benchmarking()
        for name in ("evaluation_samples", "evaluation_images"):
            if getattr(self, name) != getattr(default, name):
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option} {getattr(self, name)} has no effect with --serving; "
                    "leave one of them out"
                )


def _check_steps(profile: object) -> None:
    if not isinstance(profile, (tuple, list)) or len(profile) != 2:
        raise InputError(
            f"profile (--profile) {profile!r} is not usable; give two steps, the first "
            "and the last"
        )
    first, last = (require_int(_both("profile"), step) for step in profile)
    if first > last:
        raise InputError(
            f"profile (--profile) {first} {last} ends before it begins; give the first "
            "step, then the last"
        )


def _both(name: str) -> str:
    """Returns the name in Python and on the command line."""
    return f"{name} (--{name.replace('_', '-')})"
