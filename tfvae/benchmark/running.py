"""Timing training and evaluation, in turns with their matrix products."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

import tfvae.data
from tfvae.benchmark.products import Runner, Work, evaluation_work, training_work
from tfvae.benchmark.result import Benchmark, Rate, Speed
from tfvae.benchmark.timing import (
    Blocks,
    Plan,
    WarmUp,
    images_in,
    plan_blocks,
    synchronised_time,
)
from tfvae.config import Config
from tfvae.config.settings import Benchmarking
from tfvae.core.devices import device_name, gpu_peak_mib, peak_mib
from tfvae.core.types import InputError
from tfvae.evaluation import default_chunk_size, score_images
from tfvae.models import VAE
from tfvae.training import FitParts, fit_parts, make_model
from tfvae.training.building import check_config
from tfvae.training.runs import (
    RunFolder,
    load_data,
    run_evaluation_batches,
    utc_now,
    versions,
)

_EVALUATION_BATCH = 100  # as in `tfvae evaluate`
_EVALUATION_SECONDS = 4.0
_MANY_EPOCHS = 1_000_000_000  # a callback ends the training


def run_benchmark(
    config: Config,
    settings: Benchmarking | None = None,
    progress: Callable[[str], None] | None = None,
) -> Benchmark:
    """Times training and evaluation of a configuration, and their matrix products.

    Data, model, batches and callbacks are those of `tfvae.training.train`, which writes
    to a folder that is gone at the end.

    Args:
        config: The configuration to train; its epochs are used for schedules alone.
        settings: The settings of the timing; None: the defaults.
        progress: Called with a word on each part as it begins.

    Raises:
        InputError: if configuration or data are bad, or the training diverges.
    """
    settings = settings or Benchmarking()
    say = progress or (lambda text: None)
    check_config(config)
    if config.labels is not None:
        raise InputError(
            "the products of a semi-supervised model, of which a step has those of all "
            "classes, are not counted; leave labels out (--labels None)"
        )
    say("loading")
    data = load_data(config)
    vae = make_model(config, data)
    with tempfile.TemporaryDirectory(prefix="tfvae-benchmark-") as folder:
        parts = fit_parts(config, data, RunFolder(Path(folder)))
        say("warming up")
        seconds = settings.block_seconds / 2
        warm_up = WarmUp(parts.steps_per_epoch, vae.steps_per_execution, seconds)
        _fit(vae, parts, parts.steps_per_epoch, _MANY_EPOCHS, warm_up)
        memory, gpu_memory = peak_mib(), gpu_peak_mib()
        plan = plan_blocks(
            settings.block_seconds,
            warm_up.step_seconds,
            parts.steps_per_epoch,
            vae.steps_per_execution,
        )
        say(f"training, {settings.blocks} blocks of {plan.steps * plan.epochs} steps")
        training, loss = _training(vae, config, parts, plan, settings, len(data.train))
    say(f"evaluation, K = {settings.evaluation_samples}")
    evaluation, first_batch = _evaluation(vae, config, data.test, settings)
    return Benchmark(
        config=config,
        settings=settings,
        training=training,
        evaluation=evaluation,
        evaluations_per_step=vae.evaluations_per_step,
        steps_per_block=plan.steps * plan.epochs,
        steps_per_execution=vae.steps_per_execution,
        first_step_s=warm_up.first_step,
        first_batch_s=first_batch,
        loss=loss,
        training_peak_memory_mib=memory,
        peak_memory_mib=peak_mib(),
        gpu_peak_memory_mib=gpu_memory,
        device=device_name(),
        date=utc_now(),
        versions=versions(),
    )


def _fit(
    vae: VAE, parts: FitParts, steps: int, epochs: int, clock: keras.callbacks.Callback
) -> None:
    vae.fit(
        parts.batches,
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=parts.validation,
        verbose=0,
        callbacks=[*parts.callbacks, clock],  # last: it times what the others do
    )


def _training(
    vae: VAE,
    config: Config,
    parts: FitParts,
    plan: Plan,
    settings: Benchmarking,
    size: int,
) -> tuple[Speed, float]:
    """Times blocks of training and of its products in turn; returns the loss too."""
    work = training_work(vae, config)
    limit = _Limit(work, settings.block_seconds)
    clock = Blocks(plan, limit.time)
    _fit(vae, parts, plan.steps, 1 + plan.epochs * settings.blocks, clock)
    ends = [
        plan.steps * (1 + plan.epochs * block) for block in range(settings.blocks + 1)
    ]
    seen = [images_in(end, config.batch_size, size) for end in ends]
    images = [after - before for before, after in zip(seen, seen[1:], strict=False)]
    rate = Rate.of(images, clock.seconds)
    return limit.speed(rate, config.batch_size, sum(images)), clock.loss


def _evaluation(
    vae: VAE, config: Config, split: tfvae.data.Split, settings: Benchmarking
) -> tuple[Speed, float]:
    """Times batches of scoring and of its products in turn; the first one apart."""
    wanted, samples = settings.evaluation_images, settings.evaluation_samples
    size = min(_EVALUATION_BATCH, len(split), wanted or _EVALUATION_BATCH)
    whole = len(split) // size * size
    batches = run_evaluation_batches(config, split, size, whole).repeat()
    chunk = default_chunk_size((size, *vae.image_shape), samples)
    limit = _Limit(evaluation_work(vae, size, samples, chunk), 0.0)
    timed = _TimedBatches(batches, wanted and -(-wanted // size), limit.time)
    score_images(vae, timed, samples, chunk, progress=timed.scored)
    count = len(timed.seconds)
    rate = Rate.of([size] * count, timed.seconds)
    return limit.speed(rate, size, size * count), timed.first


class _Limit:
    """Times the products of one batch, repeated for about `seconds`."""

    def __init__(self, work: Sequence[Work], seconds: float) -> None:
        self.work, self.runner = work, Runner(work)
        self.runner.run()  # traces
        begun = synchronised_time()
        self.runner.run()
        self.steps = max(1, round(seconds / (synchronised_time() - begun)))
        self.seconds: list[float] = []

    def time(self) -> None:
        """Runs and times one block."""
        begun = synchronised_time()
        self.runner.run(self.steps)
        self.seconds.append(synchronised_time() - begun)

    def speed(self, rate: Rate, batch: int, images: int) -> Speed:
        """Returns a rate beside the limit's, for batches of `batch` images."""
        return Speed(
            rate,
            Rate.of([batch * self.steps] * len(self.seconds), self.seconds),
            flops=sum(one.flops for one in self.work) / batch,
            nominal_flops=sum(one.nominal_flops for one in self.work) / batch,
            images=images,
        )


class _TimedBatches:
    """Batches without end whose scoring is timed, with something else between them.

    `count` of them are timed after the first, which traces; None: as many as take some
    seconds, two at least. `between` is called before each, outside of the time.
    """

    def __init__(
        self, batches: tf.data.Dataset, count: int | None, between: Callable[[], None]
    ) -> None:
        self.batches, self.count, self.between = batches, count, between
        self.first = 0.0
        self.seconds: list[float] = []

    def __iter__(self) -> Iterator[tf.Tensor]:
        iterator = iter(self.batches)
        self._begun = synchronised_time()
        yield next(iterator)
        while self._more():
            self.between()
            self._begun = synchronised_time()
            yield next(iterator)

    def scored(self, seen: int) -> None:
        """Stops the clock of a batch."""
        seconds = synchronised_time() - self._begun
        if self.first:
            self.seconds.append(seconds)
        else:
            self.first = seconds

    def _more(self) -> bool:
        if self.count is not None:
            return len(self.seconds) < self.count
        return len(self.seconds) < 2 or sum(self.seconds) < _EVALUATION_SECONDS
