"""What `VAE` refuses, with the reason."""

from __future__ import annotations

import keras

from tfvae.latents import Latent
from tfvae.models.conditional import ConditionalDistribution
from tfvae.require import require_number
from tfvae.types import InputError

Schedule = keras.optimizers.schedules.LearningRateSchedule


def check_setting(
    name: str, weight: keras.Variable | None, value: float | Schedule | None
) -> None:
    """Refuses a value of `compile` that is out of range or would have no effect."""
    if value is None:
        return
    if weight is None:
        raise InputError(
            f"{name} {value!r} has no effect: this model's latent variable has none; "
            f"leave {name} out, or use the latent 'bin_concrete'"
        )
    if not isinstance(value, Schedule):
        require_number(name, value, zero=name == "kl_weight")


def check_parts(
    encoder: ConditionalDistribution, decoder: ConditionalDistribution, latent: Latent
) -> None:
    """Refuses an encoder, a decoder and a latent family that do not fit together."""
    latent_shape = (latent.latent_size,)
    if encoder.head.event_shape != latent_shape:
        raise InputError(
            f"the encoder's head has event_shape {encoder.head.event_shape} and the "
            f"latent variable {latent_shape}; make it with latent.posterior_head()"
        )
    if tuple(decoder.network.input_shape[1:]) != latent_shape:
        raise InputError(
            f"the decoder takes {tuple(decoder.network.input_shape[1:])} and the "
            f"latent variable has {latent_shape}; change the decoder's input, or "
            "latent_size"
        )
    if tuple(encoder.network.input_shape[1:]) != decoder.head.event_shape:
        raise InputError(
            f"the encoder takes {tuple(encoder.network.input_shape[1:])} and the "
            f"decoder's head puts out {decoder.head.event_shape}; make them equal"
        )
    expected = type(latent.posterior_head())
    if not isinstance(encoder.head, expected):
        raise InputError(
            f"the encoder's head is a {type(encoder.head).__name__} and "
            f"{type(latent).__name__} needs a {expected.__name__}; make it with "
            "latent.posterior_head()"
        )
