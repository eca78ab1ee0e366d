"""The parts of a VAE from two plain networks and the names of the rest."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tfvae.conditions import Condition, Several
from tfvae.core.lookup import lookup
from tfvae.core.types import InputError
from tfvae.heads import HEADS, DistributionHead
from tfvae.latents import LATENTS, Latent
from tfvae.models.conditional import ConditionalDistribution, check_network
from tfvae.networks import input_shapes
from tfvae.priors import Prior, make_prior


class Parts(NamedTuple):
    """The parts of a VAE; whether they fit together is checked elsewhere."""

    encoder: ConditionalDistribution
    decoder: ConditionalDistribution
    latent: Latent
    prior: Prior | None
    condition: Condition | None


def assembled(
    encoder: Any,
    decoder: Any,
    latent: Any,
    prior: Any,
    likelihood: DistributionHead | str | None,
    condition: Condition | Mapping[str, Condition] | None = None,
) -> Parts:
    """Returns the parts of a VAE, of which some are given as networks or names.

    Raises:
        InputError: if a name is unknown, a network puts out another number of values
            than its distribution has parameters, or `likelihood` has no effect.
    """
    if isinstance(decoder, ConditionalDistribution) and likelihood is not None:
        raise InputError(
            f"likelihood {likelihood!r:.100} has no effect: the decoder has the head "
            f"{type(decoder.head).__name__}; leave it out"
        )
    if isinstance(latent, str):
        latent = _named_latent(latent, decoder)
    if isinstance(latent, Latent) and not isinstance(encoder, ConditionalDistribution):
        head = latent.posterior_head()
        encoder = _with_head("encoder", encoder, head, f"{type(latent).__name__}")
    if not isinstance(decoder, ConditionalDistribution):
        if not isinstance(likelihood, DistributionHead):
            name = "bernoulli" if likelihood is None else likelihood
            kind = lookup(HEADS, name, "likelihood")
            shape = decoder_data_shape(encoder)
            likelihood = kind(shape)
        kind_name = type(likelihood).__name__
        decoder = _with_head("decoder", decoder, likelihood, kind_name)
    if isinstance(condition, Mapping):
        condition = Several(condition)
    if isinstance(prior, str) and isinstance(latent, Latent):
        features = condition.shape if isinstance(condition, Condition) else None
        prior = make_prior(prior, latent, condition_shape=features)
    return Parts(encoder, decoder, latent, prior, condition)


def decoder_data_shape(encoder: Any) -> tuple[int, ...]:
    """Returns the shape of an example, which is what the encoder takes."""
    if not isinstance(encoder, ConditionalDistribution):
        raise InputError(
            f"encoder {encoder!r:.100} is not usable; give a Keras model, or a "
            "ConditionalDistribution"
        )
    return input_shapes(encoder.network)[0]


def _named_latent(name: str, decoder: Any) -> Latent:
    """Returns the family of a name with as many variables as the decoder takes."""
    kind = lookup(LATENTS, name, "latent")
    if isinstance(decoder, ConditionalDistribution):
        decoder = decoder.network
    check_network(decoder)
    shape = input_shapes(decoder)[0]
    latent = kind(shape[0]) if len(shape) == 1 else None
    if latent is None or latent.decoder_shape != shape:
        raise InputError(
            f"the decoder takes {shape}, which does not say how many variables latent "
            f"{name!r} has; give the family itself, for example "
            f"latent=tfvae.latents.{kind.__name__}(...)"
        )
    return latent


def _with_head(
    role: str, network: Any, head: DistributionHead, owner: str
) -> ConditionalDistribution:
    check_network(network)
    given, wanted = tuple(network.output_shape[1:]), head.params_shape
    if given != wanted:
        each = f": {head.num_params} for each of {head.event_shape}"
        if wanted[-1] != head.num_params * head.event_shape[-1]:
            each = ""  # other columns have other numbers
        raise InputError(
            f"the {role} puts out {given}, and {owner} needs {wanted}{each}; end it "
            f"with a layer of {wanted[-1]} units"
            + (f", reshaped to {wanted}" if len(wanted) > 1 else "")
        )
    return ConditionalDistribution(network, head, name=role)
