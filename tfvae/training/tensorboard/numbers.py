"""The scalars of an epoch, each what its name says."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfvae.evaluation.statistics import bits_per_dim
from tfvae.models import VAE

_REPORTED = ("loss", "elbo", "rate", "distortion", "ess")


def with_bits(values: dict[str, float], vae: VAE) -> dict[str, float]:
    """Returns the numbers, with bits_per_dim from `bound` where it has a meaning."""
    known = vae.decoder.head.is_probability and vae.missing is None
    if not known or "bound" not in values:
        return values
    return {**values, "bits_per_dim": bits_per_dim(-values["bound"], vae.image_shape)}


def reported(logs: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    """Returns the numbers of an epoch's training, or with "val_" its validation."""
    names = {name: f"{prefix}{name}" for name in _REPORTED}
    return {name: float(logs[key]) for name, key in names.items() if key in logs}


def settings_now(vae: VAE) -> dict[str, float]:
    """Returns the scheduled settings that the last training step had."""
    weights = {
        "kl_weight": vae.kl_weight,
        "temperature": getattr(vae.encoder.head, "temperature", None),
        "prior_temperature": vae.latent.prior_temperature,
    }
    values = {name: _number(w) for name, w in weights.items() if w is not None}
    return {**values, "learning_rate": last_learning_rate(vae.optimizer)}


def last_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Returns the learning rate of the optimizer's last step.

    `optimizer.learning_rate` is that of its next one.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate(max(int(_number(optimizer._iterations)) - 1, 0)))
    return _number(rate)


def _number(weight: keras.Variable) -> float:
    """Returns a weight's value, on one device and on several."""
    return float(tf.convert_to_tensor(weight))
