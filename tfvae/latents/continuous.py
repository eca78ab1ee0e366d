"""Families of real-valued latent variables."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfvae import priors
from tfvae.distributions import tfd
from tfvae.heads import LogisticHead, MultivariateNormalHead, NormalHead
from tfvae.latents.base import Latent, quantiles, raw_scale_of_one


@keras.saving.register_keras_serializable(package="tfvae")
class NormalLatent(Latent):
    """Normal posterior with learned location and scale, standard normal prior.

    Kingma and Welling (2014).
    """

    layered = True
    posterior_text = "Normal, learned location and scale"
    prior_text = "Normal(0, 1)"
    paper = "Kingma and Welling (2014)"

    def posterior_head(self) -> NormalHead:
        """Returns a new head for q(z|x)."""
        return NormalHead((self.latent_size,), dtype=self.compute_dtype)

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, 1)."""
        return priors.standard_normal(self.latent_size, self.compute_dtype)

    def prior_params(self) -> np.ndarray:
        """Location 0, scale 1."""
        return _standard(self.latent_size)


@keras.saving.register_keras_serializable(package="tfvae")
class LogisticLatent(Latent):
    """Logistic posterior with learned location and scale, standard logistic prior.

        p(z) = sigmoid(z) (1 - sigmoid(z))

    The tails are heavier than the normal's; the BinConcrete family is made of it
    (Maddison, Mnih and Teh, 2017, appendix B).
    """

    layered = True
    posterior_text = "Logistic, learned location and scale"
    prior_text = "Logistic(0, 1)"
    paper = "Maddison, Mnih and Teh (2017), appendix B"

    def posterior_head(self) -> LogisticHead:
        """Returns a new head for q(z|x)."""
        return LogisticHead((self.latent_size,), dtype=self.compute_dtype)

    def prior(self) -> tfd.Distribution:
        """Returns Logistic(0, 1)."""
        return priors.standard_logistic(self.latent_size, self.compute_dtype)

    def prior_params(self) -> np.ndarray:
        """Location 0, scale 1."""
        return _standard(self.latent_size)


@keras.saving.register_keras_serializable(package="tfvae")
class MultivariateNormalLatent(Latent):
    """Normal posterior with a full covariance, standard normal prior.

        q(z|x) = Normal(loc(x), L(x) L(x)^T),    L lower triangular

    The encoder puts out D + D (D + 1) / 2 numbers (Kingma and Welling, 2019, section
    2.5.1). The KL to the prior has a closed form.
    """

    posterior_text = "Normal, learned location and full covariance"
    prior_text = "Normal(0, I)"
    paper = "Kingma and Welling (2019), section 2.5.1"

    def posterior_head(self) -> MultivariateNormalHead:
        """Returns a new head for q(z|x)."""
        return MultivariateNormalHead((self.latent_size,), dtype=self.compute_dtype)

    def prior(self) -> tfd.Distribution:
        """Returns Normal(0, I)."""
        return priors.standard_multivariate_normal(self.latent_size, self.compute_dtype)

    def prior_params(self) -> np.ndarray:
        """Location 0, covariance I."""
        lower = np.diag(raw_scale_of_one(self.latent_size))  # [D, D]
        raw = tfd.fill_triangular_inverse(lower).numpy()
        return np.concatenate([np.zeros([self.latent_size]), raw])

    def traversal(self, levels: np.ndarray) -> tf.Tensor:
        """Returns the quantiles of Normal(0, 1), [levels, D]."""
        single = priors.standard_normal(self.latent_size, self.compute_dtype)
        return quantiles(single, levels)


def _standard(size: int) -> np.ndarray:
    return np.concatenate([np.zeros([size]), raw_scale_of_one(size)])
