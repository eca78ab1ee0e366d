"""The configuration of a run: frozen, typed, checked once, and a JSON file.

It knows names and ranges only, so that the command line can refuse a bad argument
without importing TensorFlow.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, Union

from tfvae.config.checks import MOST, check_ranges, check_together
from tfvae.config.names import (
    ActivationName,
    Binarization,
    DtypePolicy,
    EstimatorName,
    KlSchedule,
    LatentName,
    LearningRateSchedule,
    LikelihoodName,
    Monitored,
    NetworkName,
    ObjectiveName,
    OptimizerName,
    PriorName,
    TemperatureSchedule,
)
from tfvae.core.types import InputError

__all__ = ["Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that determines a run.

    Raises:
        InputError: A value has the wrong type, is out of range, or would have no effect
            beside other settings. What the parts of a model refuse is found when they
            are built, see `tfvae.training.building.check_config`.
    """

    dataset: str = "digits"
    """A data set of the README's table, any TFDS image data set, or a kind:PATH."""
    data_dir: str | None = None
    """Where TFDS keeps prepared data; None: its default."""
    manual_dir: str | None = None
    """Where the source's original files lie, for machines without a network."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize to; None: as they are."""
    validation_size: int | None = None
    """Images held out of the training data; None: a twelfth; 0: no validation."""
    binarization: Binarization = "dynamic"
    """dynamic: fresh draws; fixed: one draw; threshold: at 1/2; none: grey values."""
    grey_targets: bool = False
    """Allow likelihood bernoulli with binarization none: another bound, see README."""

    likelihood: LikelihoodName = "bernoulli"
    """p(x|z)."""
    likelihood_scale: float | None = None
    """Of likelihood normal_fixed_scale, the start of normal_shared_scale's; None: 1."""
    likelihood_levels: int | None = None
    """Grey levels of discretized_logistic, its mixture, and categorical; None: 256."""
    likelihood_components: int | None = None
    """Of discretized_logistic_mixture; None: 5."""
    latent: LatentName = "normal"
    """The family of z."""
    latent_size: int = 50
    """The number of latent variables, D; with upper layers, of the one nearest x."""
    upper_latent_sizes: tuple[int, ...] = ()
    """Sizes of further layers of latent variables, from the second up."""
    upper_hidden_sizes: tuple[int, ...] | None = None
    """Hidden units between layers of z, on the way up; None: 100 100; (): linear."""
    num_classes: int | None = None
    """Of each variable of latent categorical or concrete; None: 10."""
    num_flows: int | None = None
    """Couplings of latent flow; None: 2."""
    prior: PriorName = "standard"
    """p(z)."""
    num_components: int | None = None
    """Of prior mixture or vamp; None: 10 or 100."""
    temperature: float | None = None
    """Of the posterior of latent bin_concrete or concrete; None: the family's."""
    prior_temperature: float | None = None
    """Of the prior of latent bin_concrete or concrete; None: the family's."""
    final_temperature: float | None = None
    """What temperature is annealed to; None: it is fixed."""
    final_prior_temperature: float | None = None
    """What prior_temperature is annealed to; None: it is fixed."""
    temperature_schedule: TemperatureSchedule = "linear"
    """How temperatures are annealed."""
    temperature_steps: int = 0
    """Training steps that the annealing takes."""
    network: NetworkName = "mlp"
    """The architecture of encoder and decoder."""
    hidden_sizes: tuple[int, ...] = (200, 200)
    """Units (mlp) or filters (conv) of the encoder; the decoder has them in reverse."""
    activation: ActivationName = "tanh"
    """Of the hidden layers."""
    output_start: Literal["mean", "zero"] = "mean"
    """What the decoder's output bias starts at: the mean training image, or zeros."""

    objective: ObjectiveName = "iwae"
    """The bound to maximise."""
    num_samples: int = 1
    """Samples of z per image, S."""
    estimator: EstimatorName = "pathwise"
    """How the gradient gets to the parameters."""
    backward_samples: int | None = None
    """Samples of z per image in the backward pass, up to num_samples; None: all."""
    sample_chunk: int | None = None
    """Samples of z per image at a time, for large num_samples; None: all at once."""
    analytic_kl: bool = False
    """Objective elbo: take the KL divergence in closed form."""
    free_bits: float = 0.0
    """Objective elbo: nats below which the rate of one latent variable is free."""
    alpha: float | None = None
    """Of objective renyi; None: 0.5."""
    beta: float | None = None
    """Of objective ciwae, the elbo's part; None: 0.5. For a beta-VAE: kl_weight."""
    num_groups: int | None = None
    """Of the samples of objective miwae or piwae; None: 2."""
    kl_weight: float = 1.0
    """The factor of the rate in the loss; only 1 makes a bound."""
    kl_warmup_steps: int = 0
    """Training steps in which the factor grows from 0 to kl_weight."""
    kl_schedule: KlSchedule = "linear"
    """How it grows; cyclical: several times (Fu et al., 2019)."""
    kl_cycles: int | None = None
    """Of kl_schedule cyclical; None: 4."""

    epochs: int = 100
    """Passes over the training data."""
    batch_size: int = 100
    """Images in a training step."""
    optimizer: OptimizerName = "adam"
    """With Keras' defaults but for the learning rate."""
    learning_rate: float = 1e-3
    """At the first step."""
    learning_rate_schedule: LearningRateSchedule = "constant"
    """cosine: to 0; exponential: to 1 %; iwae: Burda et al.'s stages of 3^i epochs."""
    clip_norm: float | None = None
    """Largest norm of the gradient, all weights together; None: any."""
    skip_nonfinite: int = 0
    """Steps with a loss or gradient that is not finite to leave out before stopping."""
    monitored: Monitored = "val_loss"
    """What early_stopping, reduce_on_plateau and keep_best look at."""
    early_stopping: int | None = None
    """Epochs without a better value, after warm-up, that end the run; None: never."""
    reduce_on_plateau: int | None = None
    """Epochs without a better value after which learning_rate falls; None: never."""
    plateau_factor: float | None = None
    """By which it then falls; None: 0.1."""
    keep_best: bool = False
    """Keep the model of the best epoch after warm-up; else the last one."""
    seed: int = 0
    """Of initial weights, order, binarisation and samples."""
    device_binarization: Literal["auto"] | bool = "auto"
    """Draw the pixels of binarization dynamic in the step; auto: on a GPU."""
    jit_compile: Literal["auto"] | bool = "auto"
    """XLA; auto: on a GPU."""
    dtype_policy: DtypePolicy = "float32"
    """Of the networks; distributions are always computed in float32."""
    steps_per_execution: int | None = None
    """Training steps in one call of TensorFlow; None: what divides an epoch, to 10."""

    def __post_init__(self) -> None:
        """Checks every value, then what they say together."""
        for name, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            if hint is float and _is_type(value, int) and abs(value) <= MOST:
                object.__setattr__(self, name, float(value))
            elif not _fits(value, hint):
                raise InputError(
                    f"{name} {value!r:.100} is not usable; give {_say(hint)}"
                )
        check_ranges(self)
        check_together(self)

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
                f"unknown configuration field {unknown[0]!r:.100}; the fields are "
                f"{', '.join(known)}"
            )
        tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**tuples)

    def differences(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Returns the fields that differ: name -> (here, there)."""
        here, there = self.to_dict(), other.to_dict()
        return {k: (here[k], there[k]) for k in here if here[k] != there[k]}


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
