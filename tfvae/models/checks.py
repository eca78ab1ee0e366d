"""Refusals of parts and settings that `VAE` cannot use."""

import keras
import tensorflow as tf

from tfvae.conditions import Condition
from tfvae.core.types import InputError
from tfvae.core.validation import require_number
from tfvae.heads import DistributionHead
from tfvae.latents import HierarchyHead, Latent
from tfvae.models.conditional import ConditionalDistribution
from tfvae.models.missing import seen_by_encoder
from tfvae.models.schedules import Schedule
from tfvae.networks import input_shapes
from tfvae.priors import Prior, VampPrior

_ROW_BY_ROW = (
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Cropping2D,
    keras.layers.Activation,
    keras.layers.Concatenate,  # along the last axis
    keras.layers.Multiply,
    keras.layers.Add,
)


def check_setting(
    name: str, weight: keras.Variable | None, value: float | Schedule | None
) -> float | Schedule | None:
    """Refuses a value of `compile` that is out of range or would have no effect."""
    if value is None:
        return None
    if weight is None:
        raise InputError(
            f"{name} {value!r} has no effect: this model's latent variable has none; "
            f"leave {name} out, or use the latent 'bin_concrete' or 'concrete'"
        )
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value
    return require_number(name, value, zero=name == "kl_weight")


def check_replicas(
    steps_per_execution: int, jit_compile: bool | str, own_loss: bool
) -> None:
    """Refuses what a training on several replicas cannot have."""
    if own_loss:
        raise InputError(
            "a class with a compute_loss of its own is trained on one replica alone: "
            "what it adds would be counted on each"
        )
    if steps_per_execution > 1:
        raise InputError(
            f"steps_per_execution {steps_per_execution} is not usable on several "
            "replicas: Keras' loop over steps cannot take their batches; give 1"
        )
    if jit_compile is True:
        raise InputError(
            "jit_compile True (XLA) is not usable on several replicas: Keras compiles "
            "the step of all as one program, which TensorFlow keeps to one device; "
            "give False or 'auto'"
        )


def weights_of_rows(decoder: ConditionalDistribution) -> int:
    """Returns the weights of a decoder that may be given its rows in parts; else 0.

    Each row's output is then a function of the row alone, without draws. On a GPU rows
    are not divided, which gains nothing there.
    """
    if type(decoder) is not ConditionalDistribution:  # a class may do anything
        return 0
    network = decoder.network
    chain = getattr(network, "_functional", None) or network  # of a Sequential
    operations = getattr(chain, "operations", [None])  # a class has none
    if tf.config.list_physical_devices("GPU") or not all(map(_is_by_row, operations)):
        return 0
    return network.count_params()


def _is_by_row(operation: object) -> bool:
    activation = getattr(operation, "activation", None)
    known = activation is None or activation.__module__.startswith("keras.")
    if isinstance(operation, keras.layers.Concatenate) and operation.axis != -1:
        return False
    penalised = getattr(operation, "activity_regularizer", None) is not None
    return type(operation) in _ROW_BY_ROW and known and not penalised


def check_second_pass(*models: keras.Layer) -> None:
    """Refuses layers that do something else each time they are called in training.

    The second pass of `backward_samples` and `sample_chunk` must see what the first
    one saw.
    """
    for layer in (layer for model in models for layer in model._flatten_layers()):
        # Weights that the optimizer does not change are changed by the call, but for
        # settings of ours and the constants of Normalization.
        settled = type(layer).__module__.partition(".")[0] == "tfvae"
        settled = settled or isinstance(layer, keras.layers.Normalization)
        counts = bool(layer._non_trainable_variables) and not settled
        draws = bool(layer._seed_generators)
        if draws or counts or getattr(layer, "activity_regularizer", None):
            raise InputError(
                f"layer {layer.name!r} ({type(layer).__name__}) of the decoder does "
                "something else in a second pass; leave backward_samples and "
                "sample_chunk out, or take the layer out"
            )


def check_parts(
    encoder: ConditionalDistribution,
    decoder: ConditionalDistribution,
    latent: Latent,
    prior: Prior | None,
    condition: Condition | None = None,
    missing: object = None,
) -> None:
    """Refuses an encoder, a decoder and a latent family that do not fit together."""
    _check_kinds(encoder, decoder, latent, prior, condition)
    seen = seen_by_encoder(
        encoder.condition_shape, decoder.head.event_shape, condition, missing
    )
    _check_condition(seen, decoder, prior, condition)
    if type(encoder).call is not ConditionalDistribution.call:
        raise InputError(
            f"the encoder's class {type(encoder).__name__} has a call of its own, "
            "which training does not use; override params, or the head's distribution"
        )
    if encoder.head.event_shape != latent.event_shape:
        raise InputError(
            f"the encoder's head has event_shape {encoder.head.event_shape} and the "
            f"latent variable {latent.event_shape}; make it with "
            "latent.posterior_head()"
        )
    taken = input_shapes(decoder.network)[0]
    if taken != latent.decoder_shape:
        raise InputError(
            f"the decoder takes {taken} and is given "
            f"{latent.decoder_shape} by the latent variable; change the decoder's "
            "input, or latent_size"
        )
    taken = input_shapes(encoder.network)[0]
    if taken != decoder.head.event_shape:
        raise InputError(
            f"the encoder takes {taken} and the "
            f"decoder's head puts out {decoder.head.event_shape}; make them equal"
        )
    _check_posterior_head(encoder.head, latent)


def _check_condition(
    seen: tuple[str, ...],
    decoder: ConditionalDistribution,
    prior: Prior | None,
    condition: Condition | None,
) -> None:
    """Refuses a condition that nothing takes, and parts that take another or none."""
    takers = {}
    if decoder.condition_shape is not None:
        takers["decoder"] = decoder.condition_shape
    if prior is not None and prior.conditional:
        takers["prior"] = prior.condition_shape
    if condition is None and takers:
        raise InputError(
            f"the {next(iter(takers))} takes a condition of shape "
            f"{next(iter(takers.values()))}, and the model has none; give one, for "
            "example condition=tfvae.conditions.OneHot(10)"
        )
    if condition is not None and not takers and "condition" not in seen:
        raise InputError(
            "condition has no effect: the encoder's and the decoder's networks have "
            "one input; give them a second, of shape "
            f"{condition.shape}, for example with tfvae.networks.mlp(..., "
            "condition_shape=condition.shape)"
        )
    for name, shape in takers.items():
        if condition is not None and shape != condition.shape:
            raise InputError(
                f"the {name} takes a condition of shape {shape}, and "
                f"{type(condition).__name__} makes features of {condition.shape}; "
                "make them equal"
            )
    if isinstance(prior, VampPrior) and seen:
        raise InputError(
            "prior 'vamp' is made of the encoder's posteriors without a condition, and "
            f"this encoder needs the {' and the '.join(seen)}; use prior 'conditional' "
            "or 'mixture'"
        )


def _check_kinds(
    encoder: object, decoder: object, latent: object, prior: object, condition: object
):
    wanted = {
        "encoder": (encoder, ConditionalDistribution),
        "decoder": (decoder, ConditionalDistribution),
        "latent": (latent, Latent),
        "prior": (prior, Prior),
        "condition": (condition, Condition),
    }
    optional = ("prior", "condition")
    for name, (given, kind) in wanted.items():
        if not isinstance(given, kind) and not (name in optional and given is None):
            raise InputError(
                f"{name} {given!r:.100} is not usable; give a {kind.__name__}"
            )


def _check_posterior_head(head: DistributionHead, latent: Latent) -> None:
    expected = latent.posterior_head()
    if not isinstance(head, type(expected)):
        raise InputError(
            f"the encoder's head is a {type(head).__name__} and "
            f"{type(latent).__name__} needs a {type(expected).__name__}; make it with "
            "latent.posterior_head()"
        )
    if isinstance(head, HierarchyHead):
        # Two configs cannot say whether networks are shared.
        if head.layers != expected.layers or head.upward != expected.upward:
            raise InputError(
                "the encoder's head is that of another Hierarchy; make it with "
                "latent.posterior_head()"
            )
        return
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
