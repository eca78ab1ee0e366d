#!/usr/bin/env python3
"""Times a training step of each estimator for Bernoulli latents, and prints a table.

The recipe is mnist-discrete with two samples. Beside the step, through `fit`, stand its
matrix products alone, which take turns with it, and alone the uniform numbers that it
draws: those of its bits, of what else the estimator draws, and of its pixels.

    .venv/bin/python scripts/estimator_costs.py [--manual-dir PATH/TO/mnist]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.benchmark import run_benchmark
from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.config.settings import Benchmarking
from tfvae.core.types import InputError
from tfvae.distributions import draws
from tfvae.estimators import ESTIMATORS
from tfvae.training.building import build_vae, check_config, compile_vae

SAMPLES = 2
_SHAPE = (28, 28, 1)
_REPEATS = 200


class Cost(NamedTuple):
    """The cost of a training step.

    Attributes:
        estimator: Its name.
        objective: The objective's.
        evaluations: The decoder's evaluations for each image.
        step: Milliseconds, the median of blocks.
        products: Milliseconds of its matrix products alone.
        noise: Milliseconds of its uniform numbers alone.
    """

    estimator: str
    objective: str
    evaluations: int
    step: float
    products: float
    noise: float

    @property
    def ratio(self) -> float:
        """How often the step costs what it cannot do without."""
        return self.step / (self.products + self.noise)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data-dir", help="as of tfvae train")
    parser.add_argument("--manual-dir", help="as of tfvae train")
    parser.add_argument("--dataset", default="mnist", help="as of tfvae train")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a block")
    given = parser.parse_args(arguments)
    base = dataclasses.replace(
        RECIPES["mnist-discrete"].config,
        dataset=given.dataset,
        data_dir=given.data_dir,
        manual_dir=given.manual_dir,
        num_samples=SAMPLES,
        validation_size=None,
    )
    try:
        settings = Benchmarking(
            block_seconds=given.seconds, evaluation_samples=1, evaluation_images=100
        )
        costs = [measure(config, settings) for config in usable(base)]
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(table(costs))
    return 0


def usable(base: Config) -> Iterator[Config]:
    """Yields the configuration with each estimator that takes it, or its iwae."""
    for estimator in ESTIMATORS:
        for objective in (base.objective, "iwae"):
            config = dataclasses.replace(base, estimator=estimator, objective=objective)
            try:
                check_config(config)
            except InputError:
                continue
            yield config
            break


def measure(config: Config, settings: Benchmarking) -> Cost:
    """Times one estimator."""
    found = run_benchmark(config, settings)
    milliseconds = 1e3 * config.batch_size
    return Cost(
        config.estimator,
        config.objective,
        found.evaluations_per_step,
        milliseconds / found.training.rate.images_per_s,
        milliseconds / found.training.limit.images_per_s,
        noise_milliseconds(config),
    )


def noise_shapes(config: Config) -> list[tuple[int, ...]]:
    """Returns the shapes of a step's draws of uniform numbers, its pixels' first."""
    image = np.full(_SHAPE, 0.5, np.float32)
    vae = build_vae(config, _SHAPE, image)
    compile_vae(vae, config, steps_per_epoch=1)
    x = tf.zeros([config.batch_size, *_SHAPE])
    seed = tf.constant([0, 0])
    given = {"objective": vae.objective}
    batch = vae.variational_batch(x, config.num_samples, seed, **given)
    with draws.recorded() as drawn:
        vae.estimator.estimate(batch)
    if any(each.law != draws.SIGNED_UNIFORM for each in drawn):
        raise AssertionError(
            f"{config.estimator} draws other numbers than uniform ones"
        )
    return [tuple(x.shape), *(tuple(each.values.shape) for each in drawn)]


def noise_milliseconds(config: Config) -> float:
    """Times the uniform numbers of a step, in the shapes in which it draws them."""
    shapes = noise_shapes(config)

    @tf.function
    def numbers(seed: tf.Tensor) -> tf.Tensor:
        made = [draws.signed_uniform(shape, seed, tf.float32) for shape in shapes]
        return tf.add_n([tf.reduce_max(each) for each in made])

    seconds = []
    for step in range(_REPEATS):
        began = time.perf_counter()
        numbers(tf.constant([1, step])).numpy()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


def table(costs: Sequence[Cost]) -> str:
    """Returns the table as Markdown, the cheapest first."""
    columns = "| estimator | objective | evaluations | step, ms | products | noise | |"
    lines = [columns, "|---|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| `{cost.estimator}` | {cost.objective} | {cost.evaluations} | "
        f"{cost.step:.2f} | {cost.products:.2f} | {cost.noise:.2f} | {cost.ratio:.2f} |"
        for cost in sorted(costs, key=lambda cost: cost.step)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
