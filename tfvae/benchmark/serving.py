"""The speed of an exported model, beside the Keras model that it was made of."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.benchmark.result import heading
from tfvae.config import Config
from tfvae.config.settings import EXPORTED_SAMPLES, Benchmarking
from tfvae.core.devices import device_name
from tfvae.core.types import InputError
from tfvae.export import export_saved_model
from tfvae.models import VAE
from tfvae.training import make_model
from tfvae.training.building import check_config
from tfvae.training.runs import load_data, utc_now, versions

_BATCHES = (1, 64)
_LEAST_CALLS = 20


class Answer(NamedTuple):
    """The times of a request of `batch` rows, each a median in milliseconds.

    They are those of the loaded SavedModel, of the Keras model called from Python, and
    of the same within a `tf.function`, which draws a batch from one seed, where the
    artefact has one for each row.
    """

    signature: str
    batch: int
    artefact_ms: float
    keras_ms: float
    traced_ms: float


@dataclasses.dataclass(frozen=True)
class ServingBenchmark:
    """The result of a benchmark of serving, of a model that is not trained.

    The answers have the order of the signatures and batches; the date is in UTC.
    """

    config: Config
    answers: list[Answer]
    device: str
    date: str
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything for JSON."""
        answers = [answer._asdict() for answer in self.answers]
        found = {"config": self.config.to_dict(), "answers": answers}
        return {**dataclasses.asdict(self), **found}


def run_serving_benchmark(
    config: Config, settings: Benchmarking | None = None
) -> ServingBenchmark:
    """Times an exported model and its Keras model in turn.

    The model is untrained, which changes no time, and is exported to a folder that is
    gone at the end. Each request has `blocks` blocks of together `block_seconds`.

    Raises:
        InputError: if configuration or data are bad.
    """
    settings = settings or Benchmarking()
    check_config(config)
    if config.condition is not None:
        raise InputError(
            "requests that are timed have no condition; leave condition out "
            "(--condition None)"
        )
    if config.missing is not None:
        raise InputError(
            "requests that are timed have no mask; leave missing out (--missing None)"
        )
    vae = make_model(config, load_data(config))
    with tempfile.TemporaryDirectory(prefix="tfvae-benchmark-") as folder:
        path = export_saved_model(
            vae, Path(folder) / "model", binarization=config.binarization
        )
        loaded = tf.saved_model.load(str(path))
    answers = [
        _timed(loaded.signatures, vae, name, batch, settings)
        for name in ("encode", "sample", "score")
        for batch in _BATCHES
    ]
    return ServingBenchmark(config, answers, device_name(), utc_now(), versions())


def serving_text(result: ServingBenchmark) -> str:
    """Returns the result as a table for people."""
    lines = [
        *heading(result.device, result.date, result.versions),
        "",
        f"{'signature':10} {'batch':>6}{'SavedModel':>13}{'Keras':>13}{'traced':>13}",
    ]
    for answer in result.answers:
        times = (answer.artefact_ms, answer.keras_ms, answer.traced_ms)
        cells = " ".join(f"{time:9.3f} ms" for time in times)
        lines.append(f"{answer.signature:10} {answer.batch:6} {cells}")
    lines += [
        "",
        "medians of calls in turn, in one Python process; Keras: the model's",
        "methods; traced: the same in a tf.function, one seed for the batch",
    ]
    return "\n".join(lines)


def _timed(ask: Any, vae: VAE, name: str, batch: int, settings: Benchmarking) -> Answer:
    x = tf.zeros([batch, *vae.image_shape])
    seeds = np.stack([np.zeros(batch), np.arange(batch)], axis=1)
    seed = tf.constant(seeds, tf.int32)

    def keras_call(x: tf.Tensor, seed: tf.Tensor) -> Any:
        if name == "encode":
            return vae.encoder.head.named_params(vae.encode(x))
        if name == "sample":
            return vae.decode(vae.prior().sample(batch, seed=seed)).mean()
        return vae.log_weight_terms(x, EXPORTED_SAMPLES, seed)

    asked = {"encode": {"x": x}, "sample": {"seed": seed}}
    inputs = asked.get(name, {"x": x, "seed": seed})
    traced = tf.function(keras_call, autograph=False)
    calls = (
        lambda: ask[name](**inputs),
        lambda: keras_call(x, seed[0]),
        lambda: traced(x, seed[0]),
    )
    return Answer(
        name, batch, *_medians(calls, settings.blocks, settings.block_seconds)
    )


def _medians(
    calls: Sequence[Callable[[], Any]], blocks: int, seconds: float
) -> list[float]:
    """Returns the median milliseconds of each call, in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()  # traces
    for _ in range(blocks):
        for call, found in zip(calls, times, strict=True):
            begun = now = time.perf_counter()
            count = 0
            while now - begun < seconds / blocks / len(calls) or count < _LEAST_CALLS:
                before = now
                call()
                now, count = time.perf_counter(), count + 1
                found.append(1000 * (now - before))
    return [statistics.median(found) for found in times]
