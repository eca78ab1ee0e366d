"""From a configuration to data, a model, and a trained run in a folder."""

from __future__ import annotations

import os
import sys
import zipfile

import keras
import numpy as np

import tfvae.data
from tfvae.callbacks import Checkpoint, EpochLine, HistoryFile
from tfvae.config import Config
from tfvae.files import write_json
from tfvae.heads import HEADS, DistributionHead
from tfvae.latents import LATENTS
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import NETWORKS
from tfvae.objectives import OBJECTIVES
from tfvae.runs import (
    BINARIZATION_SEED,
    Run,
    RunFolder,
    RunRecord,
    absolute_paths,
    check_workdir,
    damaged_model,
    evaluation_batches,
    load_data,
    meaning,
    read_history,
    read_record,
    versions,
    write_record,
)
from tfvae.types import InputError

_IWAE_STAGES = 8


def build_vae(
    config: Config, image_shape: tuple[int, ...], mean_image: np.ndarray | None = None
) -> VAE:
    """Builds the model that a configuration describes, not yet compiled.

    Args:
        config: The configuration.
        image_shape: (H, W, C).
        mean_image: [H, W, C] Mean of the training images, from which the decoder's
            output starts; None: from zeros.
    """
    latent = LATENTS[config.latent](config.latent_size, **_temperatures(config))
    posterior = latent.posterior_head()
    likelihood = _likelihood_head(config, image_shape)
    network = NETWORKS[config.network]
    shared = {"seed": config.seed, "dtype": config.dtype_policy}
    bias = None if mean_image is None else likelihood.params_for_mean(mean_image)
    encoder = network.encoder(
        image_shape,
        posterior.params_shape,
        config.hidden_sizes,
        config.activation,
        name="encoder",
        **shared,
    )
    decoder = network.decoder(
        (config.latent_size,),
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
    )


def compile_vae(vae: VAE, config: Config, steps_per_epoch: int) -> None:
    """Compiles a model as a configuration says.

    Args:
        vae: The model.
        config: The configuration.
        steps_per_epoch: In which the learning-rate schedules count.
    """
    optimizer = keras.optimizers.get(
        {
            "class_name": config.optimizer,
            "config": {"learning_rate": _learning_rate(config, steps_per_epoch)},
        }
    )
    objective = OBJECTIVES[config.objective]
    vae.compile(
        optimizer,
        objective(analytic_kl=True) if config.analytic_kl else objective(),
        config.num_samples,
        config.estimator,
        kl_weight=_ramp(0.0, config.kl_weight, config.kl_warmup_steps),
        temperature=_annealed(config, "temperature"),
        prior_temperature=_annealed(config, "prior_temperature"),
        seed=config.seed,
        steps_per_execution=config.steps_per_execution,
        jit_compile=config.jit_compile,
    )


def notes(config: Config, steps: int) -> list[str]:
    """Returns what a reader of the run's numbers must know, a line each.

    Args:
        config: The configuration.
        steps: Training steps of the whole run.
    """
    lines = [f"elbo bounds {meaning(config)}"]
    if config.kl_weight != 1:
        lines.append(f"loss has kl_weight {config.kl_weight:g} and is no bound")
    elif config.kl_warmup_steps:
        lines.append("loss is no bound before kl_weight reaches 1")
    for name in ("kl_warmup_steps", "temperature_steps"):
        if getattr(config, name) > steps:
            lines.append(
                f"{name} {getattr(config, name)} is more than the run's {steps} steps"
            )
    return lines


def train(
    config: Config, workdir: str | os.PathLike, progress_bar: bool | None = None
) -> Run:
    """Trains a run in its folder, or goes on with one that was stopped.

    A run that goes on draws what the unbroken run would have drawn. Nothing is written
    before configuration and data are known to be good.

    Args:
        config: The configuration; it may ask for more epochs than the folder's run has.
        workdir: The run's folder, new, empty, or of the same configuration.
        progress_bar: Keras' bar, or one line an epoch; None: a bar in a terminal.

    Raises:
        InputError: The folder holds another run, or configuration or data are bad.
    """
    config = absolute_paths(config)
    folder = check_workdir(workdir)
    if folder.config.exists():
        _check_same_run(config, folder)
    data = load_data(config)
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    record = RunRecord(config, data.provenance, versions())
    if folder.config.exists():
        _check_same_data(record, folder)
    vae = build_vae(config, data.image_shape, data.train.mean_image())
    compile_vae(vae, config, steps_per_epoch)
    done = _restore(vae, folder, steps_per_epoch)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_record(folder, record)
    if done >= config.epochs:
        print(f"{folder.path} is finished: {done} of {config.epochs} epochs")
        return Run(folder, record, vae)
    for note in notes(config, config.epochs * steps_per_epoch):
        print(f"note: {note}")
    _fit(vae, config, data, folder, done, progress_bar)
    return Run(folder, record, vae)


def _fit(
    vae: VAE,
    config: Config,
    data: tfvae.data.ImageData,
    folder: RunFolder,
    done: int,
    progress_bar: bool | None,
) -> None:
    steps_per_epoch = tfvae.data.steps_per_epoch(data.train, config.batch_size)
    batches = tfvae.data.training_batches(
        data.train,
        config.batch_size,
        binarization=config.binarization,
        seed=config.seed,
        binarization_seed=BINARIZATION_SEED,
        start_step=done * steps_per_epoch,
    )
    validation = data.validation and evaluation_batches(
        config, data.validation, min(config.batch_size, len(data.validation))
    )
    rows = [row for row in read_history(folder.history) if row["epoch"] <= done]
    history = HistoryFile(folder.history, rows)
    bar = sys.stdout.isatty() if progress_bar is None else progress_bar
    callbacks = [
        history,
        keras.callbacks.TensorBoard(folder.logs, write_graph=False),
        Checkpoint(folder.model),
    ]
    vae.fit(
        batches,
        epochs=config.epochs,
        initial_epoch=done,
        steps_per_epoch=steps_per_epoch,
        validation_data=validation,
        verbose=1 if bar else 0,
        callbacks=callbacks if bar else [EpochLine(config.epochs), *callbacks],
    )
    write_json(folder.metrics, history.rows[-1])


def _restore(vae: VAE, folder: RunFolder, steps_per_epoch: int) -> int:
    """Loads weights and optimizer, if there are any; returns the epochs done."""
    if not folder.model.exists():
        return 0
    vae.optimizer.build(vae.trainable_variables)
    try:
        vae.load_weights(folder.model)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise damaged_model(folder, error) from error
    done = int(vae.steps) // steps_per_epoch
    print(f"{folder.path} goes on after epoch {done}")
    return done


def _check_same_run(config: Config, folder: RunFolder) -> None:
    record = read_record(folder)
    changed = record.config.differences(config)
    epochs = changed.pop("epochs", None)
    if changed:
        name, (there, here) = next(iter(changed.items()))
        others = f" (and {', '.join(list(changed)[1:])})" if len(changed) > 1 else ""
        raise InputError(
            f"workdir {str(folder.path)!r} holds another run: {name} is {there!r} "
            f"there and {here!r} here{others}; give another workdir, or the same "
            "settings"
        )
    if epochs and epochs[1] < epochs[0] and folder.model.exists():
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run of {epochs[0]} epochs, "
            f"and {epochs[1]} are asked for; give {epochs[0]} or more, or another "
            "workdir"
        )


def _check_same_data(record: RunRecord, folder: RunFolder) -> None:
    if read_record(folder).data != record.data:
        raise InputError(
            f"workdir {str(folder.path)!r} holds a run on other data: what dataset "
            f"{record.config.dataset!r} gives has changed since; give another workdir"
        )


def _likelihood_head(config: Config, image_shape: tuple[int, ...]) -> DistributionHead:
    head = HEADS[config.likelihood]
    if config.grey_targets:
        return head(image_shape, grey_targets=True)
    if config.likelihood_scale is not None:
        return head(image_shape, scale=config.likelihood_scale)
    return head(image_shape)


def _temperatures(config: Config) -> dict[str, float]:
    names = ("temperature", "prior_temperature")
    values = {name: getattr(config, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _annealed(config: Config, name: str):
    final = getattr(config, f"final_{name}")
    if final is None:
        return None
    start = getattr(config, name)
    if start is None:
        start = getattr(LATENTS[config.latent](1), f"initial_{name}")
    return _ramp(start, final, config.temperature_steps)


def _ramp(start: float, end: float, steps: int):
    """A value that goes linearly from start to end; the end if there are no steps."""
    if steps == 0:
        return end
    return keras.optimizers.schedules.PolynomialDecay(start, steps, end, power=1.0)


def _learning_rate(config: Config, steps_per_epoch: int):
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
