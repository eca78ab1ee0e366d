"""Times epochs with and without what is written for TensorBoard, in turn.

Usage: compare_monitoring.py [--manual-dir PATH/TO/mnist] [--data-dir DIR] [--rounds 4]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras

from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.data import ImageData
from tfvae.training import fit_parts, make_model
from tfvae.training.runs import RunFolder, load_data
from tfvae.training.tensorboard import Monitor

EPOCHS = 9


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the medians of the epochs after the second, and of the whole trainings.

    Args:
        arguments: The program's; None: those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manual-dir")
    parser.add_argument("--data-dir")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args(arguments)
    config = dataclasses.replace(
        RECIPES["mnist-iwae"].config,
        num_samples=1,
        batch_size=100,
        epochs=EPOCHS,
        learning_rate_schedule="constant",
        manual_dir=given.manual_dir,
        data_dir=given.data_dir,
    )
    data = load_data(config)
    epochs, totals = {True: [], False: []}, {True: [], False: []}
    for number in range(given.rounds):
        for monitored in (True, False) if number % 2 else (False, True):
            seconds = train(config, data, monitored)
            epochs[monitored] += seconds[2:]
            totals[monitored].append(sum(seconds))
    for monitored, name in ((True, "with"), (False, "without")):
        print(
            f"{name:8} {statistics.median(epochs[monitored]):.3f} s an epoch, "
            f"{statistics.median(totals[monitored]):.2f} s for {EPOCHS}"
        )
    return 0


def train(config: Config, data: ImageData, monitored: bool) -> list[float]:
    """Returns the seconds of each epoch, the last with what ends a training."""
    vae, times = make_model(config, data), []
    with tempfile.TemporaryDirectory() as folder:
        parts = fit_parts(config, data, RunFolder(Path(folder)))
        callbacks = [c for c in parts.callbacks if not isinstance(c, Monitor)][:-1]
        if monitored:
            callbacks = parts.callbacks
        clock = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: times.append(time.perf_counter())
        )
        begun = time.perf_counter()
        vae.fit(
            parts.batches,
            epochs=config.epochs,
            steps_per_epoch=parts.steps_per_epoch,
            validation_data=parts.validation,
            verbose=0,
            callbacks=[*callbacks, clock],
        )
        times[-1] = time.perf_counter()
    return [b - a for a, b in zip([begun, *times], times, strict=False)]


if __name__ == "__main__":
    sys.exit(main())
