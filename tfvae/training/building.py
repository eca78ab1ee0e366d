"""From a configuration to a compiled model."""

import dataclasses
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions import Condition, OneHot
from tfvae.config import Config
from tfvae.config.steps import steps_of_execution
from tfvae.core.types import InputError
from tfvae.core.validation import require_int
from tfvae.estimators import ESTIMATORS
from tfvae.heads import HEADS, Columns, DistributionHead
from tfvae.latents import LATENTS, Hierarchy, Latent
from tfvae.models import VAE, ConditionalDistribution, SemiSupervisedVAE
from tfvae.models.missing import SelfMasking, given_beside_x
from tfvae.models.optimizers import get_optimizer
from tfvae.models.schedules import Cyclical, Exponential, Schedule
from tfvae.networks import NETWORKS, Activation, augmented_classifier, mlp
from tfvae.objectives import OBJECTIVES
from tfvae.priors import Prior, make_prior, prior_arguments

_IWAE_STAGES = 8
_MIXTURE_COMPONENTS = 10
_VAMP_COMPONENTS = 100
_UPPER_HIDDEN_SIZES = (100, 100)

# The parts that a field names, and the fields that are arguments of such a part: field
# -> argument. The signature of a class says which of them it takes.
_TABLES: Mapping[str, Mapping[str, type]] = {
    "likelihood": HEADS,
    "latent": LATENTS,
    "objective": OBJECTIVES,
    "estimator": ESTIMATORS,
}
ARGUMENTS = {
    "likelihood": {
        "likelihood_scale": "scale",
        "likelihood_levels": "num_levels",
        "likelihood_components": "num_components",
        "grey_targets": "grey_targets",
    },
    "latent": {
        "temperature": "temperature",
        "prior_temperature": "prior_temperature",
        "num_classes": "num_classes",
        "num_flows": "num_flows",
    },
    "objective": {
        "alpha": "alpha",
        "beta": "beta",
        "num_groups": "num_groups",
        "analytic_kl": "analytic_kl",
        "free_bits": "free_bits",
        "num_partitions": "num_partitions",
        "first_beta": "first_beta",
    },
    "estimator": {
        "ovis_gamma": "gamma",
        "ovis_auxiliary": "num_auxiliary",
        "sleep": "sleep",
        "estimator_temperature": "temperature",
        "estimator_eta": "eta",
        "estimator_coefficient": "coefficient",
        "estimator_adaptive": "adaptive",
        "estimator_hidden_sizes": "hidden_sizes",
        "estimator_draws": "num_draws",
        "estimator_others": "num_others",
    },
}
_TRIAL_SHAPE = (1, 1, 1)
# Fields of a run's data and course, which no model has.
_OF_RUNS = (
    *("dataset", "data_dir", "manual_dir", "image_size", "validation_size"),
    *("batch_size", "monitored", "early_stopping", "reduce_on_plateau"),
    *("plateau_factor", "keep_best", "steps_per_execution", "device_binarization"),
    "missing_share",
)


def check_config(config: Config) -> None:
    """Refuses settings that do not go together, before any data is read.

    It builds and compiles the smallest model that has the configuration's parts, so
    that every rule is stated by the class that it is about.

    Raises:
        InputError: if a part refuses its arguments, or another part.
    """
    small = dataclasses.replace(
        config,
        latent_size=min(config.latent_size, 2),
        upper_latent_sizes=tuple(min(n, 2) for n in config.upper_latent_sizes),
        upper_hidden_sizes=() if config.upper_latent_sizes else None,
        hidden_sizes=(),
        leaky_slope=None,
        network="mlp",
    )
    if "num_components" in prior_arguments(config.prior):
        small = dataclasses.replace(small, num_components=2)
    condition = None if config.condition is None else OneHot(2)
    images = np.full([2, *_TRIAL_SHAPE], 0.5)
    vae = build_vae(small, _TRIAL_SHAPE, images[0], images, condition)
    _check_values(vae.decoder.head, config)
    compile_vae(vae, config, steps_per_epoch=1)


def _check_values(head: DistributionHead, config: Config) -> None:
    """Refuses a likelihood that has no probability for a binarisation's values."""
    if config.binarization == "none":
        if head.exact_binary:
            raise InputError(
                "binarization 'none' gives grey values, which likelihood "
                f"{config.likelihood!r} has no probability for; choose binarization "
                "'dynamic', another likelihood, or say grey_targets True to train on "
                "them all the same"
            )
    elif not head.in_support(np.array([0.0, 1.0])):
        raise InputError(
            f"likelihood {config.likelihood!r} has no probability for 0 and 1, which "
            f"binarization {config.binarization!r} gives; choose another likelihood, "
            "or binarization 'none'"
        )


def build(
    data_shape: Sequence[int],
    *,
    mean: np.ndarray | None = None,
    examples: np.ndarray | None = None,
    steps_per_epoch: int | None = None,
    condition: Condition | None = None,
    **settings: Any,
) -> VAE:
    """Builds and compiles a model from a recipe's fields, for those without networks.

    Args:
        data_shape: The shape of an example: (H, W, C) of images, (columns,) of rows.
        mean: The mean of the training examples, from which the decoder starts.
        examples: Examples from which prior "vamp" starts.
        steps_per_epoch: The steps of an epoch, for learning_rate_schedule.
        condition: One of `tfvae.conditions`, for a model of p(x|c).
        **settings: Fields of `tfvae.config.Config`, for example likelihood, latent,
            latent_size, hidden_sizes, objective, num_samples, learning_rate.

    Raises:
        InputError: if a field is unknown, or settings do not go together.
    """
    bits = settings.get("likelihood", "bernoulli") == "bernoulli"
    grey = "threshold" if bits and not settings.get("grey_targets") else "none"
    config = config_of_model(
        {"binarization": grey, **settings}, condition, steps_per_epoch
    )
    vae = build_vae(config, tuple(data_shape), mean, examples, condition)
    _check_values(vae.decoder.head, config)
    compile_vae(vae, config, steps_per_epoch or 1)
    return vae


def config_of_model(
    settings: Mapping[str, Any], condition: object, steps_per_epoch: int | None
) -> Config:
    """Returns the configuration of a model that is built outside of a run.

    Raises:
        InputError: if a setting is of runs alone or not usable, the condition is none,
            or a schedule counts epochs of unknown length.
    """
    if not (condition is None or isinstance(condition, Condition)):
        raise InputError(
            f"condition {condition!r:.60} is not usable; give one of tfvae.conditions, "
            "for example OneHot(10)"
        )
    unused = [name for name in _OF_RUNS if name in settings]
    if unused:
        raise InputError(
            f"{unused[0]} has no effect on a model alone; leave it out, give it to "
            "fit, or train a run with tfvae.training.train"
        )
    config = Config.from_dict(dict(settings))
    if config.learning_rate_schedule != "constant" and steps_per_epoch is None:
        raise InputError(
            f"learning_rate_schedule {config.learning_rate_schedule!r} counts epochs; "
            "give steps_per_epoch, and epochs"
        )
    if steps_per_epoch is not None:
        require_int("steps_per_epoch", steps_per_epoch)
    return dataclasses.replace(config, steps_per_execution=1)


def build_vae(
    config: Config,
    image_shape: tuple[int, ...],
    mean_image: np.ndarray | None = None,
    images: np.ndarray | None = None,
    condition: OneHot | None = None,
    likelihood: DistributionHead | None = None,
    missing: str | SelfMasking | None = None,
) -> VAE:
    """Builds the model that a configuration describes, not yet compiled.

    Args:
        config: The configuration.
        image_shape: (H, W, C).
        mean_image: [H, W, C] The mean of the training images, from which the decoder's
            output starts if `output_start` is "mean"; None: from zeros. `center_inputs`
            subtracts it.
        images: [n, H, W, C] The images from which prior 'vamp' starts; other priors
            need none.
        condition: c of p(x|c), which the configuration only names; None: p(x).
        likelihood: The head of p(x|z), in place of the configuration's.
        missing: As in `VAE`; the encoder then sees what is missing.

    Raises:
        InputError: if the parts do not go together.
    """
    if config.condition is not None and condition is None:
        raise InputError(
            f"condition {config.condition!r} is of a run's images and their labels, "
            "and there are none here; leave it out, or make a tfvae.VAE(..., "
            "condition=...)"
        )
    latent = _latent(config)
    posterior = latent.posterior_head()
    if likelihood is None:
        kind = HEADS[config.likelihood]
        likelihood = kind(image_shape, **_arguments(config, "likelihood"))
    bias = None
    if config.output_start == "mean" and mean_image is not None:
        bias = likelihood.params_for_mean(mean_image)
    missing = missing or config.missing
    beside = given_beside_x(image_shape, condition, missing)
    decoder = NETWORKS[config.network].decoder(
        latent.decoder_shape,
        likelihood.params_shape,
        config.hidden_sizes[::-1],
        _activation(config),
        name="decoder",
        output_bias=bias,
        **_shared(config, condition and condition.shape),
    )
    parts = (
        ConditionalDistribution(
            _encoder(config, likelihood, posterior.params_shape, beside, mean_image),
            posterior,
        ),
        ConditionalDistribution(decoder, likelihood),
    )
    prior = _prior(config, latent, images, condition)
    roles: dict[str, Any] = {"condition": condition, "missing": missing}
    if config.labels is None or condition is None:
        return VAE(*parts, latent, prior, **roles)
    weight = config.classifier_weight
    return SemiSupervisedVAE(
        *parts,
        _classifier(config, likelihood, condition.num_classes, mean_image),
        latent,
        prior,
        **roles,
        classifier_weight=1.0 if weight is None else weight,
    )


def _shared(config: Config, condition_shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Returns what networks of a model have in common."""
    shared: dict[str, Any] = {"seed": config.seed, "dtype": config.dtype_policy}
    if condition_shape is not None:
        shared["condition_shape"] = condition_shape
    return shared


def _encoder(
    config: Config,
    likelihood: DistributionHead,
    params_shape: tuple[int, ...],
    beside: tuple[int, ...] | None,
    mean_image: np.ndarray | None,
    name: str = "encoder",
) -> keras.Model:
    """Returns a network of examples, which reads the columns of a table by features."""
    read = likelihood.inputs() if isinstance(likelihood, Columns) else None
    network = NETWORKS[config.network].encoder(
        likelihood.event_shape if read is None else (read.num_features,),
        params_shape,
        config.hidden_sizes,
        _activation(config),
        name=name,
        input_mean=_subtracted(config, mean_image),
        **_shared(config, beside),
    )
    if read is None:
        return network
    x = keras.Input(likelihood.event_shape, dtype=network.inputs[0].dtype)
    rest = [keras.Input(i.shape[1:], dtype=i.dtype) for i in network.inputs[1:]]
    given = [read(x), *rest]
    output = network(given if rest else given[0])
    return keras.Model([x, *rest] if rest else x, output, name=f"table_{name}")


def _activation(config: Config) -> Activation:
    """Returns the activation of hidden layers."""
    if config.leaky_slope is None:
        return config.activation
    return keras.layers.LeakyReLU(config.leaky_slope)


def _subtracted(config: Config, mean_image: np.ndarray | None) -> np.ndarray | None:
    """Returns what is subtracted from the encoder's inputs, or None."""
    if config.center_inputs and mean_image is None:
        raise InputError(
            "center_inputs True needs the mean of the training images, and there is "
            "none here; give the mean, or set center_inputs False"
        )
    return mean_image if config.center_inputs else None


def _classifier(
    config: Config,
    likelihood: DistributionHead,
    num_classes: int,
    mean_image: np.ndarray | None,
) -> keras.Model:
    """Returns the network of q(y|x)."""
    if config.classifier != "augmented":
        return _encoder(
            config, likelihood, (num_classes,), None, mean_image, "classifier"
        )
    return augmented_classifier(
        likelihood.event_shape,
        num_classes,
        name="classifier",
        seed=config.seed,
        dtype=config.dtype_policy,
    )


def compile_vae(vae: VAE, config: Config, steps_per_epoch: int) -> None:
    """Compiles a model as a configuration says, for epochs of so many steps."""
    optimizer = get_optimizer(
        {
            "class_name": config.optimizer,
            "config": {
                "learning_rate": _learning_rate(config, steps_per_epoch),
                "global_clipnorm": config.clip_norm,
            },
        }
    )
    vae.compile(
        optimizer,
        OBJECTIVES[config.objective](**_arguments(config, "objective")),
        config.num_samples,
        ESTIMATORS[config.estimator](**_arguments(config, "estimator")),
        backward_samples=config.backward_samples,
        sample_chunk=config.sample_chunk,
        kl_weight=_kl_weight(config),
        temperature=_annealed(config, "temperature"),
        prior_temperature=_annealed(config, "prior_temperature"),
        binarize=binarizes_on_device(config),
        seed=config.seed,
        steps_per_execution=steps_per_execution(config, steps_per_epoch),
        jit_compile=config.jit_compile,
        skip_nonfinite=config.skip_nonfinite,
    )


def binarizes_on_device(config: Config) -> bool:
    """Returns whether the training step draws the pixels, and not the pipeline."""
    if config.device_binarization == "auto":
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        return on_gpu and config.binarization == "dynamic"
    return config.device_binarization


def warmup_epochs(config: Config, steps_per_epoch: int) -> int:
    """Returns how many epochs begin before kl_weight and temperatures are final."""
    steps = max(config.kl_warmup_steps, config.temperature_steps)
    return -(-steps // steps_per_epoch)


def steps_per_execution(config: Config, steps_per_epoch: int) -> int:
    """Returns the training steps in one call of TensorFlow."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return 1  # Keras' loop over steps cannot take what several replicas are given
    return min(steps_of_execution(config), steps_per_epoch)


def _takes(part: type, argument: str) -> bool:
    # The class's own signature is, in Python 3.10, that of Keras' metaclass.
    return argument in inspect.signature(part.__init__).parameters  # type: ignore[misc]


def _arguments(config: Config, owner: str) -> dict[str, Any]:
    """Returns the arguments that a configuration gives to the part `owner` names."""
    part = _TABLES[owner][getattr(config, owner)]
    given = {}
    for field, argument in ARGUMENTS[owner].items():
        value = getattr(config, field)
        if value == getattr(Config, field):  # the default: nothing was said
            continue
        _check_taken(config, owner, part, field, argument)
        given[argument] = value
    return given


def _check_taken(
    config: Config, owner: str, part: type, field: str, argument: str
) -> None:
    if _takes(part, argument):
        return
    others = [name for name, other in _TABLES[owner].items() if _takes(other, argument)]
    raise InputError(
        f"{field} {getattr(config, field)} has no effect with {owner} "
        f"{getattr(config, owner)!r}; set {field} {getattr(Config, field)}, or {owner} "
        f"{' or '.join(map(repr, others))}"
    )


def _latent(config: Config) -> Latent:
    family, arguments = LATENTS[config.latent], _arguments(config, "latent")
    if _takes(family, "seed"):
        arguments["seed"] = config.seed
    sizes = (config.latent_size, *config.upper_latent_sizes)
    layers = [family(size, **arguments) for size in sizes]
    return layers[0] if len(layers) == 1 else _hierarchy(config, layers)


def _hierarchy(config: Config, layers: Sequence[Latent]) -> Hierarchy:
    hidden = config.upper_hidden_sizes
    hidden = _UPPER_HIDDEN_SIZES if hidden is None else hidden

    def network(name: str, source: Latent, target: Latent, sizes: tuple) -> keras.Model:
        head = target.posterior_head()
        return mlp(
            source.decoder_shape,
            head.params_shape,
            sizes,
            _activation(config),
            name=name,
            seed=config.seed,
            dtype=config.dtype_policy,
        )

    pairs = list(enumerate(itertools.pairwise(layers), start=1))
    return Hierarchy(
        layers,
        [network(f"upward_{k}", a, b, hidden) for k, (a, b) in pairs],
        [network(f"downward_{k}", b, a, hidden[::-1]) for k, (a, b) in pairs],
    )


def _prior(
    config: Config,
    latent: Latent,
    images: np.ndarray | None,
    condition: Condition | None,
) -> Prior | None:
    taken, count = prior_arguments(config.prior), config.num_components
    if count is None and "num_components" in taken:
        count = _VAMP_COMPONENTS if "images" in taken else _MIXTURE_COMPONENTS
    return make_prior(
        config.prior,
        latent,
        num_components=count,
        images=images,
        seed=config.seed,
        condition_shape=condition and condition.shape,
    )


def _kl_weight(config: Config) -> float | Schedule:
    if config.kl_schedule == "cyclical":
        cycles = {} if config.kl_cycles is None else {"cycles": config.kl_cycles}
        return Cyclical(config.kl_weight, config.kl_warmup_steps, **cycles)
    return _ramp(0.0, config.kl_weight, config.kl_warmup_steps)


def _annealed(config: Config, name: str) -> Schedule | None:
    final = getattr(config, f"final_{name}")
    if final is None:
        return None
    family, start = LATENTS[config.latent], getattr(config, name)
    _check_taken(config, "latent", family, f"final_{name}", name)
    if start is None:
        start = getattr(family(1), f"initial_{name}")
    if config.temperature_schedule == "exponential":
        return Exponential(start, final, config.temperature_steps)
    return _ramp(start, final, config.temperature_steps)


def _ramp(start: float, end: float, steps: int) -> float | Schedule:
    """Returns a linear schedule from start to end, or the end if there are no steps."""
    if steps == 0:
        return end
    return keras.optimizers.schedules.PolynomialDecay(start, steps, end, power=1.0)


def _learning_rate(config: Config, steps_per_epoch: int) -> float | Schedule:
    steps = config.epochs * steps_per_epoch
    schedules = keras.optimizers.schedules
    rate = config.learning_rate
    if config.learning_rate_schedule == "cosine":
        return schedules.CosineDecay(rate, steps)
    if config.learning_rate_schedule == "exponential":
        return schedules.ExponentialDecay(rate, steps, 0.01)
    if config.learning_rate_schedule == "iwae":
        ends = [sum(3**j for j in range(i + 1)) for i in range(_IWAE_STAGES - 1)]
        boundaries = [epochs * steps_per_epoch for epochs in ends]  # 1, 4, 13, ...
        rates = [rate * 10 ** (-i / (_IWAE_STAGES - 1)) for i in range(_IWAE_STAGES)]
        return schedules.PiecewiseConstantDecay(boundaries, rates)
    return rate
