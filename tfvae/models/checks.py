"""What `VAE` refuses, with the reason."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfvae.heads import DistributionHead
from tfvae.latents import Latent
from tfvae.models.conditional import ConditionalDistribution
from tfvae.require import require_number
from tfvae.types import InputError

Schedule = keras.optimizers.schedules.LearningRateSchedule


def check_setting(
    name: str, weight: keras.Variable | None, value: float | Schedule | None
) -> float | Schedule | None:
    """Refuses a value of `compile` that is out of range or would have no effect."""
    if value is None:
        return None
    if weight is None:
        raise InputError(
            f"{name} {value!r} has no effect: this model's latent variable has none; "
            f"leave {name} out, or use the latent 'bin_concrete'"
        )
    if isinstance(value, Schedule):
        return value
    return require_number(name, value, zero=name == "kl_weight")


def check_values(x: object, head: DistributionHead) -> None:
    """Refuses an array of values that a likelihood has no probability for."""
    if not isinstance(x, (np.ndarray, tf.Tensor)):
        return
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        return  # the step says what is wanted
    if not np.isfinite(x).all():
        raise InputError("the images hold NaN or infinite values; remove them")
    if head.exact_binary and not np.logical_or(x == 0, x == 1).all():
        raise InputError(
            f"the images hold grey values, between {x.min():g} and {x.max():g}, and "
            f"{type(head).__name__} has probabilities for 0 and 1 alone; binarise them "
            "(tfvae.data does), choose another head, or make it with grey_targets=True"
        )


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
    _check_posterior_head(encoder.head, latent)


def _check_posterior_head(head: DistributionHead, latent: Latent) -> None:
    expected = latent.posterior_head()
    if not isinstance(head, type(expected)):
        raise InputError(
            f"the encoder's head is a {type(head).__name__} and "
            f"{type(latent).__name__} needs a {type(expected).__name__}; make it with "
            "latent.posterior_head()"
        )
    given, wanted = head.get_config(), expected.get_config()
    for name in wanted.keys() - {"name", "trainable"}:
        here, there = given[name], wanted[name]
        if name == "dtype":
            here, there = head.compute_dtype, expected.compute_dtype
        if here != there:
            raise InputError(
                f"the encoder's head has {name} {here!r} and the latent family "
                f"{there!r}; make it with latent.posterior_head()"
            )
