"""The configuration of a run: frozen, typed, checked once, and a JSON file.

It knows names and ranges only, so that the command line can refuse a bad argument
without importing TensorFlow. A test keeps the names equal to the tables'.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal, Union

from tfvae.types import InputError

Binarization = Literal["dynamic", "fixed", "threshold", "none"]
NetworkName = Literal["mlp", "conv"]
LikelihoodName = Literal["bernoulli", "normal", "normal_fixed_scale", "logistic"]
LatentName = Literal["normal", "logistic", "bin_concrete"]
ObjectiveName = Literal["elbo", "iwae"]
EstimatorName = Literal["pathwise"]
OptimizerName = Literal["adam", "adamax", "adamw", "nadam", "rmsprop", "sgd"]
ActivationName = Literal[
    "tanh", "relu", "softplus", "elu", "selu", "gelu", "silu", "leaky_relu", "sigmoid"
]
LearningRateSchedule = Literal["constant", "cosine", "exponential", "iwae"]
DtypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines a run.

    Raises:
        InputError: A value has the wrong type, is out of range, would have no effect,
            or would make the reported value no bound.
    """

    dataset: str = "digits"
    """A name in DATASETS, any other TFDS image data set, or folder:PATH, npz:PATH,
    idx:PATH."""
    data_dir: str | None = None
    """Where TFDS keeps prepared data; None: its default."""
    manual_dir: str | None = None
    """Where the source's original files lie, for machines without a network."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize to; None: as they are."""
    validation_size: int | None = None
    """Images held out of the training data; None: a twelfth, or the source's own
    split; 0: no validation."""
    binarization: Binarization = "dynamic"
    """dynamic: a fresh draw at each use; fixed: one draw; threshold: at one half;
    none: grey values."""
    grey_targets: bool = False
    """Allow grey values with a Bernoulli likelihood (binarization none). The value is
    then a bound on the expected log-likelihood of a binarised image, for one sample."""

    likelihood: LikelihoodName = "bernoulli"
    """p(x|z)."""
    likelihood_scale: float | None = None
    """The scale of likelihood normal_fixed_scale; None: 1."""
    latent: LatentName = "normal"
    """The family of z."""
    latent_size: int = 50
    """The number of latent variables, D."""
    temperature: float | None = None
    """Of the posterior of latent bin_concrete; None: 0.5."""
    prior_temperature: float | None = None
    """Of the prior of latent bin_concrete; None: 0.5."""
    final_temperature: float | None = None
    """What temperature is annealed to, linearly; None: it is fixed."""
    final_prior_temperature: float | None = None
    """What prior_temperature is annealed to, linearly; None: it is fixed."""
    temperature_steps: int = 0
    """Training steps that the annealing takes."""
    network: NetworkName = "mlp"
    """The architecture of encoder and decoder."""
    hidden_sizes: tuple[int, ...] = (200, 200)
    """Units (mlp) or filters (conv) of the encoder's hidden layers; the decoder has
    them in reverse."""
    activation: ActivationName = "tanh"
    """Of the hidden layers."""

    objective: ObjectiveName = "iwae"
    """The bound to maximise."""
    num_samples: int = 1
    """Samples of z per image, S."""
    estimator: EstimatorName = "pathwise"
    """How the gradient gets to the parameters."""
    analytic_kl: bool = False
    """Objective elbo: take the KL divergence in closed form."""
    kl_weight: float = 1.0
    """The factor of the rate in the loss; only 1 makes a bound."""
    kl_warmup_steps: int = 0
    """Training steps in which the factor grows from 0 to kl_weight, linearly."""

    epochs: int = 100
    """Passes over the training data."""
    batch_size: int = 100
    """Images in a training step."""
    optimizer: OptimizerName = "adam"
    """With Keras' defaults but for the learning rate."""
    learning_rate: float = 1e-3
    """At the first step."""
    learning_rate_schedule: LearningRateSchedule = "constant"
    """cosine: to 0 over the run; exponential: to a hundredth over the run; iwae: as
    Burda et al. (2016), times 10^(-i/7) for 3^i epochs, i = 0..7, in 3,280 epochs."""
    seed: int = 0
    """Of initial weights, order, binarisation and samples."""
    jit_compile: Literal["auto"] | bool = "auto"
    """XLA; auto: on a GPU."""
    dtype_policy: DtypePolicy = "float32"
    """Of the networks; distributions are always computed in float32."""
    steps_per_execution: int = 1
    """Training steps in one call of TensorFlow."""

    def __post_init__(self) -> None:
        """Checks every value, then what they say together."""
        for name, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            if hint is float and _is_type(value, int):
                object.__setattr__(self, name, float(value))
            elif not _fits(value, hint):
                raise InputError(f"{name} {value!r} is not usable; give {_say(hint)}")
        _check_ranges(self)
        _check_together(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field, as JSON has it."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, values: object) -> Config:
        """Rebuilds a configuration from `to_dict`.

        Raises:
            InputError: A field is unknown, or its value is refused.
        """
        if not isinstance(values, dict):
            raise InputError(f"a configuration is a JSON object, not {values!r:.80}")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(name) for name in values if name not in known)
        if unknown:
            raise InputError(
                f"unknown configuration field {unknown[0]!r}; the fields are "
                f"{', '.join(known)}"
            )
        tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**tuples)

    def differences(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Returns the fields that differ: name -> (here, there)."""
        here, there = self.to_dict(), other.to_dict()
        return {k: (here[k], there[k]) for k in here if here[k] != there[k]}


_AT_LEAST = {
    "latent_size": 1,
    "num_samples": 1,
    "epochs": 1,
    "batch_size": 1,
    "steps_per_execution": 1,
    "kl_warmup_steps": 0,
    "temperature_steps": 0,
    "validation_size": 0,
    "kl_weight": 0,
}
_ABOVE_ZERO = (
    "likelihood_scale",
    "temperature",
    "prior_temperature",
    "final_temperature",
    "final_prior_temperature",
    "learning_rate",
)


def _check_ranges(config: Config) -> None:
    for name, least in _AT_LEAST.items():
        value = getattr(config, name)
        if value is not None and not least <= value < math.inf:
            raise InputError(f"{name} {value!r} is not usable; give {least} or more")
    for name in _ABOVE_ZERO:
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(
                f"{name} {value!r} is not usable; give a finite number above 0"
            )
    for name in ("hidden_sizes", "image_size"):
        value = getattr(config, name)
        if value and min(value) < 1:
            raise InputError(
                f"{name} {list(value)} is not usable; every size is 1 or more"
            )
    if not 0 <= config.seed < 2**62:
        raise InputError(f"seed {config.seed} is not usable; give 0 to 2^62 - 1")


def _check_together(config: Config) -> None:
    """Refuses settings that would have no effect, or make the value no bound."""
    _check_likelihood(config)
    _check_temperatures(config)
    if config.analytic_kl and config.objective != "elbo":
        raise InputError(
            f"analytic_kl True has no meaning for objective {config.objective!r}, "
            "which needs the sampled rate; set analytic_kl False, or objective 'elbo'"
        )
    if config.analytic_kl and config.latent != "normal":
        raise InputError(
            f"analytic_kl True has no closed form for latent {config.latent!r}; set "
            "analytic_kl False, or latent 'normal'"
        )
    if config.kl_warmup_steps and config.kl_weight == 0:
        raise InputError(
            f"kl_warmup_steps {config.kl_warmup_steps} has no effect with kl_weight 0; "
            "set kl_warmup_steps 0, or another kl_weight"
        )


def _check_likelihood(config: Config) -> None:
    grey = config.binarization == "none"
    if config.likelihood == "bernoulli" and grey and not config.grey_targets:
        raise InputError(
            "binarization 'none' gives grey values, which likelihood 'bernoulli' has "
            "no probability for; choose binarization 'dynamic', another likelihood, or "
            "say grey_targets True to train on them all the same"
        )
    if config.grey_targets and not (config.likelihood == "bernoulli" and grey):
        raise InputError(
            f"grey_targets True has no effect with likelihood {config.likelihood!r} "
            f"and binarization {config.binarization!r}; set grey_targets False"
        )
    if config.likelihood_scale is not None and (
        config.likelihood != "normal_fixed_scale"
    ):
        raise InputError(
            f"likelihood_scale {config.likelihood_scale} has no effect with likelihood "
            f"{config.likelihood!r}; set likelihood_scale None, or likelihood "
            "'normal_fixed_scale'"
        )


def _check_temperatures(config: Config) -> None:
    if config.latent != "bin_concrete":
        for name in ("temperature", "prior_temperature"):
            for field in (name, f"final_{name}"):
                if getattr(config, field) is not None:
                    raise InputError(
                        f"{field} {getattr(config, field)} has no effect with latent "
                        f"{config.latent!r}; set {field} None, or latent 'bin_concrete'"
                    )
    anneals = not (
        config.final_temperature is None and config.final_prior_temperature is None
    )
    if anneals != (config.temperature_steps > 0):
        raise InputError(
            f"temperature_steps {config.temperature_steps} does not go with "
            f"final_temperature {config.final_temperature} and final_prior_temperature "
            f"{config.final_prior_temperature}; annealing needs steps above 0 and a "
            "final value, a fixed temperature neither"
        )


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type, for the types that a configuration has."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if hint is float:
        return _is_type(value, float) or _is_type(value, int)
    return _is_type(value, hint)


def _is_type(value: object, kind: type) -> bool:
    return type(value) is kind  # True is no int here


def _say(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_say(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple:
        return "several ints" if arguments[-1] is Ellipsis else "two ints"
    words = {int: "an int", float: "a number", bool: "True or False", str: "a string"}
    return words.get(hint, "None")
