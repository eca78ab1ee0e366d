"""Named configurations, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tfvae.config import Config


class Recipe(NamedTuple):
    """A configuration to start from.

    Attributes:
        summary: One line.
        source: Where the settings come from.
        config: Every field can be overridden.
    """

    summary: str
    source: str
    config: Config


RECIPES: Mapping[str, Recipe] = {
    "digits-binconcrete": Recipe(
        "relaxed Bernoulli latents on scikit-learn's digits; needs no download",
        "this project's demonstration; temperatures as Maddison et al. (2017) advise",
        Config(
            dataset="digits",
            latent="bin_concrete",
            latent_size=32,
            temperature=2 / 3,
            prior_temperature=0.5,
            hidden_sizes=(128, 128),
            activation="tanh",
            objective="iwae",
            num_samples=10,
            epochs=400,
            batch_size=100,
            learning_rate=3e-3,
            steps_per_execution=13,
        ),
    ),
    "mnist-iwae": Recipe(
        "the one-layer importance-weighted autoencoder, k = 50, on MNIST",
        "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016",
        Config(
            dataset="mnist",
            validation_size=400,
            latent="normal",
            latent_size=50,
            hidden_sizes=(200, 200),
            activation="tanh",
            objective="iwae",
            num_samples=50,
            epochs=3280,
            batch_size=20,
            learning_rate=1e-3,
            learning_rate_schedule="iwae",
        ),
    ),
    "mnist-iwae-2l": Recipe(
        "the two-layer importance-weighted autoencoder, k = 50, on MNIST",
        "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016",
        Config(
            dataset="mnist",
            validation_size=400,
            latent="normal",
            latent_size=100,
            upper_latent_sizes=(50,),
            upper_hidden_sizes=(100, 100),
            hidden_sizes=(200, 200),
            activation="tanh",
            objective="iwae",
            num_samples=50,
            epochs=3280,
            batch_size=20,
            learning_rate=1e-3,
            learning_rate_schedule="iwae",
        ),
    ),
    "mnist-binconcrete": Recipe(
        "relaxed Bernoulli latents in logit space, multi-sample bound, on MNIST",
        "Maddison, Mnih and Teh, The Concrete Distribution, ICLR 2017, appendix C",
        Config(
            dataset="mnist",
            latent="bin_concrete",
            latent_size=128,
            temperature=0.5,
            prior_temperature=0.5,
            hidden_sizes=(512, 256),
            activation="relu",
            objective="iwae",
            num_samples=5,
            epochs=50,
            batch_size=100,
        ),
    ),
}
