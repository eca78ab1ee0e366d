"""From a configuration to a compiled model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.heads import HEADS, DistributionHead
from tfvae.latents import LATENTS, Hierarchy, Latent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import NETWORKS, mlp
from tfvae.objectives import OBJECTIVES, Objective
from tfvae.optimizers import get_optimizer
from tfvae.priors import PRIORS, Prior
from tfvae.schedules import Cyclical, Exponential, Schedule

_IWAE_STAGES = 8
_STEPS_PER_EXECUTION = 10  # with one sample an image, a third faster than 1
_MIXTURE_COMPONENTS = 10
_VAMP_COMPONENTS = 100
_UPPER_HIDDEN_SIZES = (100, 100)


def build_vae(
    config: Config,
    image_shape: tuple[int, ...],
    mean_image: np.ndarray | None = None,
    images: np.ndarray | None = None,
) -> VAE:
    """Builds the model that a configuration describes, not yet compiled.

    Args:
        config: The configuration.
        image_shape: (H, W, C).
        mean_image: [H, W, C] Mean of the training images, from which the decoder's
            output starts if `output_start` is "mean"; None: from zeros.
        images: [n, H, W, C] From which prior 'vamp' starts; other priors need none.

    Raises:
        InputError: The parts do not go together.
    """
    latent = _latent(config)
    posterior = latent.posterior_head()
    likelihood = _likelihood_head(config, image_shape)
    network = NETWORKS[config.network]
    shared = {"seed": config.seed, "dtype": config.dtype_policy}
    bias = None
    if config.output_start == "mean" and mean_image is not None:
        bias = likelihood.params_for_mean(mean_image)
    encoder = network.encoder(
        image_shape,
        posterior.params_shape,
        config.hidden_sizes,
        config.activation,
        name="encoder",
        **shared,
    )
    decoder = network.decoder(
        latent.decoder_shape,
        likelihood.params_shape,
        config.hidden_sizes[::-1],
        config.activation,
        name="decoder",
        output_bias=bias,
        **shared,
    )
    return VAE(
        ConditionalDistribution(encoder, posterior),
        ConditionalDistribution(decoder, likelihood),
        latent,
        _prior(config, latent, images),
    )


def compile_vae(vae: VAE, config: Config, steps_per_epoch: int) -> None:
    """Compiles a model as a configuration says.

    Args:
        vae: The model.
        config: The configuration.
        steps_per_epoch: In which the learning-rate schedules count.
    """
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
        _objective(config),
        config.num_samples,
        config.estimator,
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
    """Whether the training step draws the pixels, and not the pipeline."""
    if config.device_binarization == "auto":
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        return on_gpu and config.binarization == "dynamic"
    return config.device_binarization


def warmup_epochs(config: Config, steps_per_epoch: int) -> int:
    """How many epochs begin before kl_weight and temperatures are what they end at."""
    steps = max(config.kl_warmup_steps, config.temperature_steps)
    return -(-steps // steps_per_epoch)


def steps_per_execution(config: Config, steps_per_epoch: int) -> int:
    """The largest number up to the wanted one that divides an epoch.

    Keras runs whole executions, so that any other would make epochs longer.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return 1  # Keras' loop over steps cannot take what several replicas are given
    wanted = min(config.steps_per_execution or _STEPS_PER_EXECUTION, steps_per_epoch)
    return next(n for n in range(wanted, 0, -1) if steps_per_epoch % n == 0)


def _given(config: Config, **fields: str) -> dict[str, object]:
    """Returns arguments by name for those fields that are not None."""
    values = {name: getattr(config, field) for name, field in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def _likelihood_head(config: Config, image_shape: tuple[int, ...]) -> DistributionHead:
    arguments = _given(
        config,
        scale="likelihood_scale",
        num_levels="likelihood_levels",
        num_components="likelihood_components",
    )
    if config.grey_targets:
        arguments["grey_targets"] = True
    return HEADS[config.likelihood](image_shape, **arguments)


def _latent(config: Config) -> Latent:
    arguments = _given(
        config,
        temperature="temperature",
        prior_temperature="prior_temperature",
        num_classes="num_classes",
        num_flows="num_flows",
    )
    if config.latent == "flow":
        arguments["seed"] = config.seed
    sizes = (config.latent_size, *config.upper_latent_sizes)
    layers = [LATENTS[config.latent](size, **arguments) for size in sizes]
    return layers[0] if len(layers) == 1 else _hierarchy(config, layers)


def _hierarchy(config: Config, layers: Sequence[Latent]) -> Hierarchy:
    hidden = config.upper_hidden_sizes
    hidden = _UPPER_HIDDEN_SIZES if hidden is None else hidden
    shared = {"seed": config.seed, "dtype": config.dtype_policy}

    def network(name: str, source: Latent, target: Latent, sizes: tuple) -> keras.Model:
        head = target.posterior_head()
        return mlp(
            source.decoder_shape,
            head.params_shape,
            sizes,
            config.activation,
            name=name,
            **shared,
        )

    pairs = list(enumerate(itertools.pairwise(layers), start=1))
    return Hierarchy(
        layers,
        [network(f"upward_{k}", a, b, hidden) for k, (a, b) in pairs],
        [network(f"downward_{k}", b, a, hidden[::-1]) for k, (a, b) in pairs],
    )


def _prior(config: Config, latent: Latent, images: np.ndarray | None) -> Prior | None:
    prior = PRIORS[config.prior]
    count = config.num_components
    if count is None and prior.needs_components:
        count = _VAMP_COMPONENTS if prior.needs_images else _MIXTURE_COMPONENTS
    return prior.make(latent, num_components=count, images=images, seed=config.seed)


def _objective(config: Config) -> Objective:
    arguments = _given(config, alpha="alpha", beta="beta", num_groups="num_groups")
    if config.objective == "elbo":
        arguments = {"analytic_kl": config.analytic_kl, "free_bits": config.free_bits}
    return OBJECTIVES[config.objective](**arguments)


def _kl_weight(config: Config) -> float | Schedule:
    if config.kl_schedule == "cyclical":
        cycles = _given(config, cycles="kl_cycles")
        return Cyclical(config.kl_weight, config.kl_warmup_steps, **cycles)
    return _ramp(0.0, config.kl_weight, config.kl_warmup_steps)


def _annealed(config: Config, name: str) -> Schedule | None:
    final = getattr(config, f"final_{name}")
    if final is None:
        return None
    start = getattr(config, name)
    if start is None:
        start = getattr(LATENTS[config.latent](1), f"initial_{name}")
    if config.temperature_schedule == "exponential":
        return Exponential(start, final, config.temperature_steps)
    return _ramp(start, final, config.temperature_steps)


def _ramp(start: float, end: float, steps: int) -> float | Schedule:
    """A value that goes linearly from start to end; the end if there are no steps."""
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
