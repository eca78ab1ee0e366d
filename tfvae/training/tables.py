"""From a table of columns to a compiled model, and from a model to a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfvae.conditions import Condition
from tfvae.core.optional import is_frame
from tfvae.core.types import InputError, Seed
from tfvae.heads import Columns, DistributionHead
from tfvae.models import VAE
from tfvae.models.missing import SelfMasking
from tfvae.training.building import ARGUMENTS, build_vae, compile_vae, config_of_model

# Fields that say what the table says here, or that only images have.
_OF_IMAGES = (
    *("likelihood", *ARGUMENTS["likelihood"]),
    *("binarization", "network", "output_start", "center_inputs"),
)


def build_table(
    table: Any,
    latent_size: int = 10,
    hidden_sizes: Sequence[int] = (128, 128),
    activation: str = "relu",
    missing: str | SelfMasking | None = "auto",
    condition: Condition | None = None,
    *,
    steps_per_epoch: int | None = None,
    **settings: Any,
) -> VAE:
    """Builds and compiles the VAE of a table of mixed columns.

        vae = tfvae.build_table(frame, objective="iwae", num_samples=20)
        x = vae.decoder.head.encode(frame)  # [N, D]
        vae.fit(x, epochs=200)
        tfvae.sample_frame(vae, 5)

    The likelihood is `tfvae.heads.Columns`, with a law for each column, and
    the encoder begins with its `inputs()`, which standardise: log-likelihoods are those
    of the data as they are given (Nazabal et al., "Handling incomplete heterogeneous
    data using VAEs", 2020).

    Args:
        table: A pandas DataFrame, of which `Columns.from_frame` makes the columns; or
            `Columns`; or another head over rows of shape (D,).
        latent_size: The number of latent variables.
        hidden_sizes: Units of the encoder; the decoder has them in reverse.
        activation: The activation of the hidden layers.
        missing: As in `tfvae.VAE`; the encoder then sees which values are there.
            "auto": "mar" if a column is nullable, that is if the frame has missing
            values in it, else None.
        condition: One of `tfvae.conditions`, for a model of p(x|c).
        steps_per_epoch: The steps of an epoch, for learning_rate_schedule.
        **settings: Other fields of `tfvae.config.Config`, for example latent, prior,
            objective, num_samples, estimator, learning_rate, seed.

    Raises:
        InputError: if the table has no columns, or columns without a kind; or a setting
            is unknown, has no effect, or does not go with another.
    """
    head = _head(table)
    for name in _OF_IMAGES:
        if name in settings:
            raise InputError(
                f"{name} {settings[name]!r:.60} has no effect on a table: columns have "
                "laws of their own (kinds of Columns.from_frame), and networks are "
                "dense; leave it out"
            )
    check_prior(settings.get("prior", "standard"))
    if isinstance(missing, str) and missing == "auto":
        missing = missing_of(head)
    fields = {
        "latent_size": latent_size,
        "hidden_sizes": hidden_sizes,
        "activation": activation,
        "likelihood": "normal",
        "binarization": "none",
        **settings,
    }
    config = config_of_model(fields, condition, steps_per_epoch)
    vae = build_vae(
        config,
        head.event_shape,
        condition=condition,
        likelihood=head,
        missing=missing,
    )
    compile_vae(vae, config, steps_per_epoch or 1)
    return vae


def sample_frame(
    vae: VAE, num_samples: int, seed: Seed | None = None, condition: Any = None
) -> Any:
    """Draws rows of a table, with the dtypes and categories of the model's columns.

    Args:
        vae: A model whose likelihood is `Columns`.
        num_samples: The number of rows.
        seed: As in `VAE.sample`, the same rows for the same seed; None: others in each
            call.
        condition: c of p(x|c), one for all rows or one for each.

    Returns:
        A pandas DataFrame.

    Raises:
        InputError: if the likelihood has no columns, or pandas is not installed.
    """
    head = vae.decoder.head
    if not isinstance(head, Columns):
        raise InputError(
            f"the likelihood is {type(head).__name__}, which knows no frame; use "
            "vae.sample, or make the model with tfvae.build_table"
        )
    return head.decode(vae.sample(num_samples, seed, condition).draw)


def missing_of(head: DistributionHead) -> str | None:
    """Returns `missing` of a model of these columns: "mar" if one is nullable."""
    columns = head.columns if isinstance(head, Columns) else ()
    return "mar" if any(column.nullable for column in columns) else None


def check_prior(name: object) -> None:
    """Refuses the prior that starts from images.

    Raises:
        InputError: if it is that.
    """
    if name == "vamp":
        raise InputError(
            "prior 'vamp' starts from images with values in [0, 1], and columns have "
            "other values; choose another, for example 'mixture'"
        )


def _head(table: Any) -> DistributionHead:
    """Returns the head of a table.

    Raises:
        InputError: if it is none.
    """
    if is_frame(table):
        return Columns.from_frame(table)
    if isinstance(table, DistributionHead) and len(table.event_shape) == 1:
        return table
    raise InputError(
        f"a {type(table).__name__} is no table; give a pandas DataFrame, "
        "tfvae.heads.Columns, or another head over rows"
    )
