"""Priors with weights, and models with them."""

from __future__ import annotations

import numpy as np

from tfvae.heads import BernoulliHead
from tfvae.latents import LATENTS, Latent
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import mlp
from tfvae.priors import (
    PRIORS,
    make_prior,
    prior_arguments,
)

SHAPE = (4, 4, 1)


# Those of a conditional model are tried with one: tests/models/test_conditional.py.
WITH_WEIGHTS = [name for name, kind in PRIORS.items() if kind and not kind.conditional]


IMAGES = np.random.default_rng(0).random([12, *SHAPE])


def family_of(name: str, dtype: str = "float64") -> Latent:
    more = {"num_classes": 3} if name == "categorical" else {}
    return LATENTS[name](2, dtype=dtype, **more)


def encoder_of(family: Latent, seed: int = 1) -> ConditionalDistribution:
    head = family.posterior_head()
    network = mlp(
        SHAPE, head.params_shape, (5,), seed=seed, dtype=family.compute_dtype, name="e"
    )
    return ConditionalDistribution(network, head)


def prior_of(name: str, family: Latent, seed: int = 0):
    components = 3 if "num_components" in prior_arguments(name) else None
    return make_prior(name, family, num_components=components, images=IMAGES, seed=seed)


def vae_with(prior_name: str, latent: str, seed: int = 0) -> VAE:
    family = family_of(latent, dtype="float32")
    decoder = mlp(family.decoder_shape, SHAPE, (5,), seed=2, name="d")
    return VAE(
        encoder_of(family),
        ConditionalDistribution(decoder, BernoulliHead(SHAPE)),
        family,
        prior=prior_of(prior_name, family, seed),
    )
