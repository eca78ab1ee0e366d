"""The result of a benchmark: numbers, JSON and a table."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfvae.benchmark.products import COUNTED
from tfvae.config import Config
from tfvae.config.settings import Benchmarking


class Rate(NamedTuple):
    """Images per second of timed blocks: the median, the slowest and the fastest."""

    images_per_s: float
    min: float
    max: float

    @classmethod
    def of(cls, images: Sequence[float], seconds: Sequence[float]) -> Rate:
        """Returns the rates of blocks of so many images and seconds."""
        rates = [n / t for n, t in zip(images, seconds, strict=True)]
        return cls(statistics.median(rates), min(rates), max(rates))


class Speed(NamedTuple):
    """The speed of training or evaluation, beside that of its matrix products alone.

    Attributes:
        rate: The rate of all of it.
        limit: The rate of its matrix products alone, in blocks that took turns with it.
        flops: The operations of these products for an image.
        nominal_flops: The peers' count of them: with the gradient to the images, which
            is not computed.
        images: The number of images in all timed blocks.
    """

    rate: Rate
    limit: Rate
    flops: float
    nominal_flops: float
    images: int

    @property
    def ratio(self) -> float:
        """The part of the limit that is reached."""
        return self.rate.images_per_s / self.limit.images_per_s

    @property
    def gflops(self) -> float:
        """The rate in the peers' GFLOP/s."""
        return self.rate.images_per_s * self.nominal_flops / 1e9

    @property
    def limit_gflops(self) -> float:
        """GFLOP/s of the products alone."""
        return self.limit.images_per_s * self.flops / 1e9


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """The result of a benchmark.

    Attributes:
        training: The speed of `fit`, with pipeline, metrics and callbacks, without
            validation.
        evaluation: The speed of `score_images`.
        first_step_s: Seconds from calling `fit` to the end of the first execution.
        first_batch_s: Seconds of the first batch of the evaluation.
        loss: The loss of the last training epoch.
        training_peak_memory_mib: The process's largest resident set at the end of the
            warm-up, before anything but training.
        peak_memory_mib: The same at the end, with evaluation and products.
        evaluations_per_step: The decoder's evaluations of a step, for each image.
        gpu_peak_memory_mib: TensorFlow's peak in training on the first GPU, or None.
        date: The date in UTC.
    """

    config: Config
    settings: Benchmarking
    training: Speed
    evaluation: Speed
    evaluations_per_step: int
    steps_per_block: int
    steps_per_execution: int
    first_step_s: float
    first_batch_s: float
    loss: float
    training_peak_memory_mib: float
    peak_memory_mib: float
    gpu_peak_memory_mib: float | None
    device: str
    date: str
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything for JSON; the keys that peers have too come first."""
        config = self.config
        numbers = {
            "peer": "tfvae",
            "k": config.num_samples,
            "batch": config.batch_size,
            "hidden": config.hidden_sizes[0] if config.hidden_sizes else None,
            "latent": config.latent_size,
            "latents": config.latent,
            **_numbers("", self.training),
            "loss": self.loss,
            **_limit_numbers("", self.training),
            "blocks": self.settings.blocks,
            "steps_per_block": self.steps_per_block,
            "steps_per_execution": self.steps_per_execution,
            "evaluations_per_step": self.evaluations_per_step,
            "first_step_s": self.first_step_s,
            "evaluation_samples": self.settings.evaluation_samples,
            "evaluation_images": self.evaluation.images,
            **_numbers("evaluation_", self.evaluation),
            **_limit_numbers("evaluation_", self.evaluation),
            "evaluation_first_batch_s": self.first_batch_s,
            "training_peak_memory_mib": self.training_peak_memory_mib,
            "peak_memory_mib": self.peak_memory_mib,
            "gpu_peak_memory_mib": self.gpu_peak_memory_mib,
        }
        texts = {"device": self.device, "date": self.date, "versions": self.versions}
        for name, value in numbers.items():
            if isinstance(value, float) and math.isfinite(value):
                numbers[name] = float(f"{value:.6g}")  # more than a machine repeats
        return {**numbers, **texts, "config": config.to_dict()}


def heading(device: str, date: str, versions: Mapping[str, str]) -> list[str]:
    """Returns the lines that begin a table of a benchmark."""
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [packages, f"{device}; {date}"]


def benchmark_text(result: Benchmark) -> str:
    """Returns the result as a table for people."""
    config, training, evaluation = result.config, result.training, result.evaluation
    count = result.settings.evaluation_samples
    network = " ".join(map(str, (config.network, *config.hidden_sizes)))
    memory = f"{result.training_peak_memory_mib:,.0f} MiB in training"
    if result.gpu_peak_memory_mib is not None:
        memory += f" ({result.gpu_peak_memory_mib:,.0f} MiB on the GPU)"
    memory += f"; {result.peak_memory_mib:,.0f} MiB with what else is measured here"
    lines = [
        *heading(result.device, result.date, result.versions),
        f"{config.dataset}: latent {config.latent} {config.latent_size}, network "
        f"{network}, {config.objective} with S = {config.num_samples}, batch "
        f"{config.batch_size}",
        "",
        f"{'':26} {'images/s':>10} {'least':>10} {'most':>10} {'GFLOP/s':>10}",
        _row("training", training.rate, training.gflops),
        _row("  its products alone", training.limit, training.limit_gflops),
        _row(f"evaluation, K = {count}", evaluation.rate, evaluation.gflops),
        _row("  its products alone", evaluation.limit, evaluation.limit_gflops),
        "",
        f"{'part of the limit':26} {training.ratio:.3f} in training, "
        f"{evaluation.ratio:.3f} in evaluation",
        f"{'timed':26} {result.settings.blocks} blocks of {result.steps_per_block} "
        f"steps; {evaluation.images} images scored",
        f"{'decoder evaluations':26} {result.evaluations_per_step} of a step, for each "
        "image",
        f"{'first execution':26} {result.first_step_s:.2f} s in training (steps: "
        f"{result.steps_per_execution}), {result.first_batch_s:.2f} s in evaluation",
        f"{'peak memory':26} {memory}",
        f"{'loss at the end':26} {result.loss:.3f} nats",
        "",
        "images/s: median, least and most of the blocks; training as users call it, "
        "without validation",
        f"GFLOP/s and the limit: matrix products of {COUNTED}",
        "a wide spread, or a part above 1, is other work on the machine",
    ]
    return "\n".join(lines)


def _row(name: str, rate: Rate, gflops: float) -> str:
    cells = [f"{v:,.0f}" if v >= 1000 else f"{v:.4g}" for v in (*rate, gflops)]
    return f"{name:26} {' '.join(f'{cell:>10}' for cell in cells)}"


def _numbers(prefix: str, speed: Speed) -> dict[str, float]:
    named = {**speed.rate._asdict(), "gflops": speed.gflops}
    return {f"{prefix}{name}": value for name, value in named.items()}


def _limit_numbers(prefix: str, speed: Speed) -> dict[str, float]:
    named = {f"limit_{name}": value for name, value in speed.limit._asdict().items()}
    named |= {"limit_gflops": speed.limit_gflops, "ratio": speed.ratio}
    named |= {"product_flops_per_image": speed.flops}
    return {f"{prefix}{name}": value for name, value in named.items()}
