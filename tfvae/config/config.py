"""The configuration of a run: frozen, typed, checked once, and a JSON file.

Each field has its range beside it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from tfvae.config.checks import check_together
from tfvae.config.fields import (
    Count,
    ImageSize,
    Natural,
    Positive,
    Range,
    Seed,
    Share,
    Sizes,
    check_range,
    check_type,
)
from tfvae.config.names import (
    ActivationName,
    Binarization,
    ClassifierName,
    ConditionName,
    DtypePolicy,
    EstimatorName,
    KlSchedule,
    LatentName,
    LearningRateSchedule,
    LikelihoodName,
    MissingName,
    Monitored,
    NetworkName,
    ObjectiveName,
    OptimizerName,
    PriorName,
    TemperatureSchedule,
)
from tfvae.core.types import InputError


@dataclasses.dataclass(frozen=True)
class MainSettings:
    """The ten settings that matter first."""

    dataset: str = "digits"
    """A data set of docs/parts.md, any TFDS image data set, or a kind:PATH."""
    likelihood: LikelihoodName = "bernoulli"
    """The distribution p(x|z)."""
    latent: LatentName = "normal"
    """The family of z."""
    latent_size: Annotated[int, Range(1, 2**20)] = 50
    """The number of latent variables, D; with upper layers, of the one nearest x."""
    hidden_sizes: Sizes = (200, 200)
    """Units (mlp) or filters (conv) of the encoder; the decoder has them in reverse."""
    objective: ObjectiveName = "iwae"
    """The bound to maximise."""
    num_samples: Annotated[int, Range(1, 2**20)] = 1
    """Samples of z per image, S."""
    epochs: Count = 100
    """Passes over the training data."""
    batch_size: Annotated[int, Range(1, 2**24)] = 100
    """Images in a training step."""
    learning_rate: Positive = 1e-3
    """The learning rate of the first step."""


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The images, and what is made of them."""

    data_dir: str | None = None
    """TFDS' folder of prepared data; None: its default."""
    manual_dir: str | None = None
    """The folder of the source's original files, for machines without a network."""
    image_size: ImageSize | None = None
    """The height and width to resize to; None: as they are."""
    validation_size: Natural | None = None
    """Images held out of the training data; None: a twelfth; 0: no validation."""
    binarization: Binarization = "dynamic"
    """dynamic: fresh draws; fixed: one draw; threshold: at 1/2; none: grey values."""
    grey_targets: bool = False
    """Allow likelihood bernoulli with binarization none, which is another bound."""
    missing_share: Share | None = None
    """The share of each image's pixels to take out at random, with missing."""


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Likelihood, latent variables, prior and networks."""

    likelihood_scale: Positive | None = None
    """The scale of normal_fixed_scale, the start of normal_shared_scale's; None: 1."""
    likelihood_levels: Annotated[int, Range(2, 2**16)] | None = None
    """Grey levels of discretized_logistic, its mixture, and categorical; None: 256."""
    likelihood_components: Count | None = None
    """The components of discretized_logistic_mixture; None: 5."""
    upper_latent_sizes: Sizes = ()
    """Sizes of further layers of latent variables, from the second up."""
    upper_hidden_sizes: Sizes | None = None
    """Hidden units between layers of z, on the way up; None: 100 100; (): linear."""
    num_classes: Annotated[int, Range(2, 2**16)] | None = None
    """The classes of each variable of latent categorical or concrete; None: 10."""
    num_flows: Annotated[int, Range(1, 1000)] | None = None
    """The couplings of latent flow; None: 2."""
    condition: ConditionName | None = None
    """Model p(x|c) with c the images' label; None: p(x)."""
    missing: MissingName | None = None
    """Pixels may be missing; the encoder sees which, but not beside a condition."""
    labels: Count | None = None
    """Labels known in training, the others summed out; None: not semi-supervised."""
    classifier_weight: Annotated[float, Range(0, 1e6)] | None = None
    """The factor of log q(y|x) where a label is known, with labels; None: 1."""
    classifier: ClassifierName | None = None
    """The network of q(y|x), with labels; augmented: for few. None: as_encoder."""
    label_repeats: Count | None = None
    """How often an image with a label is in an epoch, with labels; None: once."""
    prior: PriorName = "standard"
    """The distribution p(z); conditional: p(z|c)."""
    num_components: Count | None = None
    """The components of prior mixture or vamp; None: 10 or 100."""
    temperature: Positive | None = None
    """The posterior's, of latent bin_concrete or concrete; None: the family's."""
    prior_temperature: Positive | None = None
    """The prior's, of latent bin_concrete or concrete; None: the family's."""
    final_temperature: Positive | None = None
    """The last value of temperature, annealed; None: it is fixed."""
    final_prior_temperature: Positive | None = None
    """The last value of prior_temperature, annealed; None: it is fixed."""
    temperature_schedule: TemperatureSchedule = "linear"
    """The curve along which temperatures are annealed."""
    temperature_steps: Natural = 0
    """The training steps that the annealing takes."""
    network: NetworkName = "mlp"
    """The architecture of encoder and decoder."""
    activation: ActivationName = "tanh"
    """The activation of the hidden layers."""
    leaky_slope: Annotated[float, Range(0, 1)] | None = None
    """The slope of activation leaky_relu below 0; None: Keras' 0.2."""
    center_inputs: bool = False
    """Subtract the mean training image from what the encoder sees."""
    output_start: Literal["mean", "zero"] = "mean"
    """The start of the decoder's output bias: the mean training image, or zeros."""


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings:
    """The bound, and the estimator of its gradient."""

    estimator: EstimatorName = "pathwise"
    """The estimator of the gradient."""
    backward_samples: Count | None = None
    """Samples of z per image in the backward pass, up to num_samples; None: all."""
    sample_chunk: Count | None = None
    """Samples of z per image at a time, for large num_samples; None: all at once."""
    analytic_kl: bool = False
    """Objective elbo: take the KL divergence in closed form."""
    free_bits: Annotated[float, Range(0, 1e6)] = 0.0
    """Objective elbo: nats below which the rate of one latent variable is free."""
    alpha: Annotated[float, Range(-1000, 1000)] | None = None
    """The order of objective renyi, or of vr_iwae, there from 0 to 1; None: 0.5."""
    beta: Annotated[float, Range(0, 1)] | None = None
    """The elbo's part in objective ciwae; None: 0.5. For a beta-VAE: kl_weight."""
    num_groups: Count | None = None
    """The groups of samples of objective miwae or piwae; None: 2."""
    num_partitions: Count | None = None
    """The points of beta of objective tvo; None: 5."""
    first_beta: Annotated[float, Range(0, 1)] | None = None
    """The first beta above 0 of objective tvo; None: 0.025."""
    ovis_gamma: Annotated[float, Range(0, 1)] | None = None
    """The gamma of estimator ovis, 0 without bias; None: 0."""
    ovis_auxiliary: Annotated[int, Range(1, 2**20)] | None = None
    """More samples for the baseline of estimator ovis; None: its limit, for many."""
    sleep: Annotated[float, Range(0, 1)] | None = None
    """The share of the model's own images in estimator rws; None: 0."""
    estimator_temperature: Positive | None = None
    """The first temperature of rebar and relax, that of gumbel_rao; None: 0.5."""
    estimator_eta: Annotated[float, Range(-1000, 1000)] | None = None
    """The first factor of the control variate of rebar and relax; None: 1."""
    estimator_coefficient: Annotated[float, Range(-1000, 1000)] | None = None
    """The first coefficient of estimator double_cv; None: 0."""
    estimator_adaptive: bool = True
    """Estimators rebar and double_cv: learn these numbers; else keep the first ones."""
    estimator_hidden_sizes: Sizes | None = None
    """Units of the network that relax or rodeo learns; None: 32; (): linear."""
    estimator_draws: Annotated[int, Range(1, 2**20)] | None = None
    """The conditional draws for each sample in estimator gumbel_rao; None: 10."""
    estimator_others: Annotated[int, Range(1, 2**20)] | None = None
    """The most other samples in a surrogate of estimator rodeo; None: 3."""
    kl_weight: Annotated[float, Range(0, 1e6)] = 1.0
    """The factor of the rate in the loss; only 1 makes a bound."""
    kl_warmup_steps: Natural = 0
    """Training steps in which the factor grows from 0 to kl_weight."""
    kl_schedule: KlSchedule = "linear"
    """The curve along which it grows; cyclical: several times (Fu et al., 2019)."""
    kl_cycles: Count | None = None
    """The cycles of kl_schedule cyclical; None: 4."""


@dataclasses.dataclass(frozen=True)
class OptimisationSettings:
    """The steps, and when they end."""

    optimizer: OptimizerName = "adam"
    """Keras' optimizer, with its defaults but for the learning rate."""
    learning_rate_schedule: LearningRateSchedule = "constant"
    """cosine: to 0; exponential: to 1 %; iwae: Burda et al.'s stages of 3^i epochs."""
    clip_norm: Positive | None = None
    """Largest norm of the gradient, all weights together; None: any."""
    skip_nonfinite: Natural = 0
    """Steps with a loss or gradient that is not finite to leave out before stopping."""
    monitored: Monitored = "val_loss"
    """The number that early_stopping, reduce_on_plateau and keep_best follow."""
    early_stopping: Count | None = None
    """Epochs without a better value, after warm-up, that end the run; None: never."""
    reduce_on_plateau: Count | None = None
    """Epochs without a better value after which learning_rate falls; None: never."""
    plateau_factor: Positive | None = None
    """The factor by which it then falls; None: 0.1."""
    keep_best: bool = False
    """Keep the model of the best epoch after warm-up; else the last one."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Seeds, and how a step is computed."""

    seed: Seed = 0
    """The seed of initial weights, order, binarisation and samples."""
    device_binarization: Literal["auto"] | bool = "auto"
    """Draw the pixels of binarization dynamic in the step; auto: on a GPU."""
    jit_compile: Literal["auto"] | bool = "auto"
    """Compile the step with XLA; auto: on a GPU."""
    dtype_policy: DtypePolicy = "float32"
    """The dtype of the networks; distributions are always computed in float32."""
    steps_per_execution: Count | None = None
    """Training steps in one call of TensorFlow; None: to 20, some seconds."""


SECTIONS: Mapping[str, type] = {
    "main": MainSettings,
    "data": DataSettings,
    "model": ModelSettings,
    "objective": ObjectiveSettings,
    "optimisation": OptimisationSettings,
    "run": RunSettings,
}
"""The parts of a configuration, in the order in which they are shown."""


@dataclasses.dataclass(frozen=True)
class Config(
    RunSettings,
    OptimisationSettings,
    ObjectiveSettings,
    ModelSettings,
    DataSettings,
    MainSettings,
):
    """The settings that determine a run.

    Raises:
        InputError: if a value has the wrong type, is out of range, or has no effect
            beside other settings. The parts of a model refuse more when they are
            built, see `tfvae.training.building.check_config`.
    """

    def __post_init__(self) -> None:
        """Checks every value, then all of them together."""
        ranged = typing.get_type_hints(type(self), include_extras=True)
        for name, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            check_type(name, value, hint)
            check_range(name, value, ranged[name])
            if hint is float:
                object.__setattr__(self, name, float(value))
        check_together(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field, in the types of JSON."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_dict(cls, values: Any) -> Config:
        """Rebuilds a configuration from `to_dict`.

        Raises:
            InputError: if a field is unknown, or its value is refused.
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
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**values)

    def differences(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Returns the fields that differ: name -> (here, there)."""
        here, there = self.to_dict(), other.to_dict()
        return {k: (here[k], there[k]) for k in here if here[k] != there[k]}
