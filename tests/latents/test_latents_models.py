"""Models with each latent family; test_contracts.py saves and loads them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.models import binary_images

from tfvae.core.types import InputError
from tfvae.heads import BernoulliHead, BinConcreteHead
from tfvae.latents import (
    LATENTS,
    BernoulliLatent,
    BinConcreteLatent,
    ConcreteLatent,
    Hierarchy,
    Latent,
)
from tfvae.models import VAE, ConditionalDistribution
from tfvae.networks import NETWORKS, mlp
from tfvae.objectives import Elbo

SHAPE = (4, 4, 1)
NEW = ("bernoulli", "categorical", "concrete", "multivariate_normal", "flow")
DISCRETE = ("bernoulli", "categorical")


def vae_with(latent: Latent, network: str = "mlp") -> VAE:
    head, likelihood = latent.posterior_head(), BernoulliHead(SHAPE, dtype=latent.dtype)
    shared = {"hidden_sizes": (8,), "seed": 1, "dtype": latent.compute_dtype}
    build = NETWORKS[network]
    encoder = build.encoder(SHAPE, head.params_shape, name="encoder", **shared)
    decoder = build.decoder(
        latent.decoder_shape, likelihood.params_shape, name="decoder", **shared
    )
    return VAE(
        ConditionalDistribution(encoder, head),
        ConditionalDistribution(decoder, likelihood),
        latent,
    )


def trained(name: str, **how) -> VAE:
    vae = vae_with(LATENTS[name](3))
    estimator = "reinforce" if name in DISCRETE else "pathwise"
    how = {"objective": "iwae", "num_samples": 3, "estimator": estimator, **how}
    vae.compile(keras.optimizers.Adam(0.03), **how)
    return vae


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", NEW)
def test_training_lowers_the_loss(name):
    x = np.tile(binary_images(2, shape=SHAPE), [15, 1, 1, 1])
    vae = trained(name)
    how = {"batch_size": 10, "shuffle": False, "verbose": 0}
    losses = vae.fit(x, epochs=9, **how).history["loss"]
    # Two images of 16 bits: it starts near 16 log 2 = 11 nats and can go to log 2.
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("name", NEW)
def test_every_family_works_with_convolutions(name):
    vae, x = vae_with(LATENTS[name](3), "conv"), binary_images(2, shape=SHAPE)
    assert vae(x).shape == x.shape
    terms = vae.log_weight_terms(x, 4, seed=0)
    assert {tuple(term.shape) for term in terms[:3]} == {(4, 2)}


@pytest.mark.quick(1)
@pytest.mark.parametrize("estimator", ["pathwise", "stl", "dreg"])
def test_every_weight_of_a_flow_is_trained(estimator):
    vae = trained("flow", estimator=estimator, run_eagerly=True)
    x = binary_images(8, shape=SHAPE)
    # Two steps: at the start the couplings' last layers are 0, and pass no gradient on.
    before = vae.encoder.head.get_weights()
    vae.fit(x, batch_size=4, verbose=0)
    after = vae.encoder.head.get_weights()
    assert len(after) == 8 == len(vae.encoder.head.trainable_variables)
    for one, other in zip(before, after, strict=True):
        assert np.any(one != other)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ["multivariate_normal", "bernoulli", "categorical"])
def test_the_closed_rate_is_the_mean_of_the_sampled_one(name, eagerly_here):
    vae, x = vae_with(LATENTS[name](3, dtype="float64")), binary_images(4, shape=SHAPE)
    terms = vae.log_weight_terms(x, 4000, seed=1)
    sampled = (terms.log_posterior - terms.log_prior).numpy()  # [S, B]
    how = {"estimator": "straight_through"} if name in DISCRETE else {}
    vae.compile("sgd", Elbo(analytic_kl=True), 2, **how)
    closed = vae.evaluate(x, verbose=0, return_dict=True)["rate"]
    error = np.abs(sampled.mean() - closed)
    # Each example's draws are independent of the others'.
    within = np.sqrt((sampled.var(axis=0, ddof=1) / 4000).sum()) / 4
    assert error < 5 * within


@pytest.mark.parametrize("name", sorted(LATENTS))
def test_reconstruction_decodes_the_centre(name):
    vae, x = vae_with(LATENTS[name](3)), binary_images(4, shape=SHAPE)
    centre = vae.latent.point_estimate(vae.encode(x))
    np.testing.assert_array_equal(vae.reconstruct(x), vae.decode(centre).mean())
    assert vae.sample(2, seed=1).mean.shape == (2, *SHAPE)


class OwnHead(BinConcreteHead):
    """A head that might do anything."""


class ReadsSigns(BinConcreteLatent):
    def decoder_input(self, z):
        return 2.0 * super().decoder_input(z) - 1.0


class WithPrior(ConcreteLatent):
    def prior(self):
        return super().prior()


class WithHeadClass(BinConcreteLatent):
    head_class = OwnHead


class Signs:
    decoder_input = ReadsSigns.decoder_input


class Mixed(Signs, BinConcreteLatent):
    """The change comes from a class that is no latent family."""


class ReadsUpper(Hierarchy):
    def decoder_input(self, z):
        return self.split(z)[1]


def layered(cls: type[Hierarchy], layer: type[Latent]) -> Hierarchy:
    up, down = (mlp((3,), (3,), (), name=name) for name in ("up", "down"))
    return cls([layer(3), layer(3)], [up], [down])


TWINLESS = {
    "decoder_input": lambda: ReadsSigns(4),
    "prior": lambda: WithPrior(4, 3),
    "head_class": lambda: WithHeadClass(4),
    "a mixin": lambda: Mixed(4),
    "of a hierarchy": lambda: layered(ReadsUpper, BinConcreteLatent),
    "of a layer": lambda: layered(Hierarchy, ReadsSigns),
}


@pytest.mark.parametrize("name", TWINLESS)
def test_a_subclass_does_not_get_the_twin_of_its_base(name):
    vae = vae_with(TWINLESS[name]())
    with pytest.raises(InputError, match=r"^[^\n]* a discrete\(\) of its own[^\n]*$"):
        vae.discrete()


def test_a_subclass_without_changes_or_with_a_twin_of_its_own_has_one():
    class Renamed(BinConcreteLatent):
        """Nothing that its twin does not know."""

    class SignedBits(BernoulliLatent):
        decoder_input = ReadsSigns.decoder_input

    class WithTwin(ReadsSigns):
        def discrete(self):
            return SignedBits(self.latent_size, dtype=self.compute_dtype)

    assert type(vae_with(Renamed(4)).discrete().latent) is BernoulliLatent
    assert type(vae_with(WithTwin(4)).discrete().latent) is SignedBits


def test_a_head_that_is_not_the_familys_has_no_twin():
    plain = vae_with(BinConcreteLatent(4))
    head = OwnHead((4,))
    vae = VAE(
        ConditionalDistribution(plain.encoder.network, head),
        plain.decoder,
        plain.latent,
    )
    with pytest.raises(InputError, match=r"^the encoder's head is of OwnHead[^\n]*$"):
        vae.discrete()
