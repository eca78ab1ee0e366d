"""Values in the place of those that are missing in a file, by a run's model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tfvae.data
from tfvae.config.settings import Imputing
from tfvae.core.files import atomic_write
from tfvae.core.types import InputError
from tfvae.core.validation import require_path
from tfvae.data.images import to_grey
from tfvae.data.sources.incomplete import Incomplete, read_incomplete
from tfvae.models import Imputation
from tfvae.models.batch import concatenate_batches, read_batch
from tfvae.training.runs import BINARIZATION_SEED, Run, labels_of, load_run

_BATCH = 100  # images at a time; nothing depends on it
_LEAST_ESS = 2.0  # below it what is filled in hangs on single samples


class Filled(NamedTuple):
    """What was written in the place of missing values.

    Attributes:
        data: The file that was read.
        filled: The number of values that were missing.
        size: The number of images.
        ess: [n] The effective sample sizes of the images that lacked something, or of
            all if none did.
        made_for: Whether the run's model was trained with values missing.
        how: The samples and the interval.
        path: The file that was written.
    """

    data: str
    filled: int
    size: int
    ess: np.ndarray
    made_for: bool
    how: Imputing
    path: Path


def impute_run(
    workdir: str | os.PathLike,
    data: str | os.PathLike,
    out: str | os.PathLike,
    **imputing: Any,
) -> Filled:
    """Writes what may stand in the place of a file's missing values, by a run's model.

    The file that is written, a .npz, has the arrays of `tfvae.models.Imputation`: mean
    [N, H, W, C], draws [M, N, H, W, C], lower and upper if an interval is wanted, and
    ess [N], float32. What is observed is in all of them as the file has it, uint8 over
    255. The model sees it as images of its training, binarised if those were.

    Args:
        workdir: The run's folder; a model that was not trained with values missing is
            taken as `with_missing("mar")`.
        data: A .npy or .npz file of images. NaN is missing; in a .npz an array
            `observed` beside `x` may say so instead.
        out: The file to write, whole or not at all.
        **imputing: The fields of `tfvae.config.settings.Imputing`, all optional.

    Raises:
        InputError: if there is no such run, file or folder, the images are not of the
            model's shape, or its likelihood cannot leave values out.
    """
    how, source = Imputing(**imputing), require_path("data", data)
    path = _checked_target(out, source)
    run = load_run(workdir)
    given = read_incomplete(str(source))
    shape = tuple(given.split.image_shape)
    if shape != run.vae.image_shape:
        raise InputError(
            f"the images of {str(source)!r} have shape {shape} and the model takes "
            f"{run.vae.image_shape}; give such images"
        )
    observed = given.observed[: how.limit]
    found = run.vae.impute(
        {**_roles(run, given, how.limit), "observed": observed},
        num_samples=how.num_samples,
        num_draws=how.num_draws,
        interval=how.interval,
        seed=how.seed,
    )
    _write(path, found, to_grey(given.split.images[: how.limit]).numpy(), observed)
    lacks = ~observed.all(axis=(1, 2, 3))
    return Filled(
        str(source),
        int(np.sum(~observed)),
        len(observed),
        found.ess[lacks] if lacks.any() else found.ess,
        run.vae.missing is not None,
        how,
        path,
    )


def imputation_text(found: Filled) -> str:
    """Returns the result in lines for people."""
    lines = [
        f"{found.data}: {found.filled} missing values of {found.size} images are "
        "filled in",
        f"effective sample size: least {found.ess.min():.1f}, median "
        f"{np.median(found.ess):.1f}, of {found.how.num_samples} samples",
    ]
    few = int(np.sum(found.ess < _LEAST_ESS))
    if few:
        lines.append(
            f"warning: it is below {_LEAST_ESS:g} for {few} images, whose values hang "
            "on single samples; give more --num-samples"
        )
    if not found.made_for:
        lines.append(
            "note: the model was not trained with values missing, and is taken as "
            "with_missing('mar')"
        )
    return "\n".join([*lines, str(found.path)])


def _checked_target(out: str | os.PathLike, source: Path) -> Path:
    """Returns the path of the file to write, before anything takes time."""
    path = require_path("out (--out)", out)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(
            f"out (--out) {str(path)!r} is a folder, or is in none; give the path of a "
            "file in a folder that exists"
        )
    if path.resolve() == source.expanduser().resolve():
        raise InputError(
            f"out (--out) {str(path)!r} is the file that is read; give another"
        )
    return path


def _roles(run: Run, given: Incomplete, limit: int | None) -> dict[str, Any]:
    """Returns images as they were trained on, with the condition if there is one."""
    config = run.record.config
    labels = {} if config.labels is not None else labels_of(config)
    batches = tfvae.data.evaluation_batches(
        given.split,
        _BATCH,
        binarization=config.binarization,
        seed=BINARIZATION_SEED,
        limit=limit,
        **labels,
    )
    return concatenate_batches(map(read_batch, batches)).roles()


def _write(
    path: Path, found: Imputation, images: np.ndarray, observed: np.ndarray
) -> None:
    """Writes the arrays of an imputation, with the images where they are observed."""
    arrays = {name: a for name, a in found._asdict().items() if a is not None}
    for name, values in arrays.items():
        whole = values if name == "ess" else np.where(observed, images, values)
        arrays[name] = whole.astype(np.float32)
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
