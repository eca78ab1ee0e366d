"""Checks of the model and the batches that evaluation is given."""

from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from tfvae.core.types import InputError
from tfvae.models import VAE, Batch
from tfvae.models.batch import checked_examples, split_examples

_BATCH = 100  # examples, of an array of all


def check_model(vae: VAE) -> None:
    """Raises InputError for what is no model."""
    if not isinstance(vae, VAE):
        raise InputError(f"{type(vae).__name__} is no VAE; give one of tfvae.VAE")


def counted_batches(
    vae: VAE, batches: Iterable[tf.Tensor], progress: Callable[[int], None] | None
) -> Iterator[Batch]:
    """Yields batches with their roles.

    When one has been used, it calls `progress` with the number of images so far.

    Raises:
        InputError: if they are no batches, hold no image, or hold one that the model
            has no probability for.
    """
    if progress is not None and not callable(progress):
        raise InputError(f"progress {progress!r:.100} is not usable; give a function")
    if isinstance(batches, (str, bytes)) or not isinstance(batches, Iterable):
        raise InputError(
            f"batches {batches!r:.100} is not usable; give batches of images, for "
            "example of tfvae.data.evaluation_batches"
        )
    check_model(vae)
    seen = 0
    for batch in split_examples(batches, vae.data_shape, _BATCH, vae.role_beside):
        batch = vae.as_batch(batch)
        if batch.sample_weight is not None:
            raise InputError(
                "a batch has sample_weight, which has no effect where every example "
                "is scored alone; leave it out, or use vae.evaluate"
            )
        if not batch.size:
            continue
        checked_examples(batch, vae.decoder.head, vae.missing is not None)
        yield batch
        seen += batch.size
        if progress is not None:
            progress(seen)
    if not seen:
        raise InputError("there are no images to look at; give at least one batch")
