#!/usr/bin/env python3
"""Prints validation L_100 by seconds of training, of a run as `tfvae train` makes it.

The recipe is mnist-iwae with batch 100 and a constant learning rate; 1,000 training
images are held out and scored. The last line is JSON: "curve" has (epoch, seconds,
L_100). The clock is that of `scripts/peers/common.py`, which the peers have too; what
callbacks do at an epoch's end counts, and validation does not. With --start nothing is
trained: the images and the first weights are written for the peers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from peers.common import Curve

# `import tfvae` leaves TensorFlow alone after it, whose threads are chosen first.
import tfvae_command  # noqa: F401
from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.config.steps import choose_threads
from tfvae.core.startup import import_tensorflow
from tfvae.core.types import InputError

if TYPE_CHECKING:
    import tensorflow as tf

    from tfvae.data import ImageData
    from tfvae.models import VAE

VALIDATED = 1_000
SAMPLES = 100
_MANY_EPOCHS = 1_000_000_000  # a callback ends the training


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and prints the curve; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=50, help="K; default: 50")
    parser.add_argument("--backward-samples", type=int, help="as of tfvae train")
    parser.add_argument("--minutes", type=float, default=10, help="default: 10")
    parser.add_argument("--dataset", default="mnist", help="default: mnist")
    parser.add_argument("--manual-dir", help="as of tfvae train")
    parser.add_argument("--start", type=Path, metavar="FILE.npz")
    given = parser.parse_args(arguments)
    try:
        if not 0 < given.minutes < math.inf:
            raise InputError(f"--minutes {given.minutes:g} is no time to train for")
        config = config_of(
            given.dataset, given.samples, given.backward_samples, given.manual_dir
        )
        choose_threads(config)
        import_tensorflow()
        if given.start:
            print(json.dumps(write_start(config, given.start)))
        else:
            print(json.dumps(curve_of(config, given.minutes)))
    except (InputError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def config_of(
    dataset: str,
    samples: int,
    backward_samples: int | None = None,
    manual_dir: str | None = None,
) -> Config:
    """Returns the configuration of a curve: the recipe's, but for the schedule."""
    return dataclasses.replace(
        RECIPES["mnist-iwae"].config,
        dataset=dataset,
        manual_dir=manual_dir,
        validation_size=VALIDATED,
        num_samples=samples,
        backward_samples=backward_samples,
        batch_size=100,
        learning_rate_schedule="constant",
    )


def write_start(config: Config, path: Path) -> dict[str, list[int]]:
    """Writes the images to train on and to score, and the first weights, as .npz.

    Returns their shapes.

    Images are flat: `train` uint8 [N, D], `validation` float32 zeros and ones [n, D].
    `encoder_0` is the first layer's kernel, `encoder_1` its bias, and so on.
    """
    from tfvae.training import make_model
    from tfvae.training.runs import load_data

    data = load_data(config)
    vae = make_model(config, data)
    drawn = np.concatenate(list(_scored(config, data)))
    arrays = {"validation": drawn.reshape(len(drawn), -1)}
    arrays["train"] = data.train.images.reshape(len(data.train), -1)
    for name in ("encoder", "decoder"):
        weights = getattr(vae, name).network.get_weights()
        arrays |= {f"{name}_{i}": weight for i, weight in enumerate(weights)}
    np.savez(path, **arrays)
    return {name: list(array.shape) for name, array in arrays.items()}


def curve_of(config: Config, minutes: float) -> dict:
    """Trains for so long, or up to the last level; returns the curve for JSON."""
    from tfvae.training import fit_parts, make_model
    from tfvae.training.runs import RunFolder, load_data

    data = load_data(config)
    vae = make_model(config, data)
    with tempfile.TemporaryDirectory(prefix="tfvae-curve-") as folder:
        parts = fit_parts(config, data, RunFolder(Path(folder)))
        curve = Curve(minutes, parts.steps_per_epoch, lambda: l_100(vae, config, data))
        vae.fit(
            parts.batches,
            epochs=_MANY_EPOCHS,
            steps_per_epoch=parts.steps_per_epoch,
            validation_data=parts.validation,
            verbose=0,
            callbacks=[*parts.callbacks, _clock(curve)],  # last: the others count
        )
    return curve.result(config.batch_size)


def l_100(vae: VAE, config: Config, data: ImageData) -> float:
    """Returns the mean L_100 of the validation images, in nats."""
    from tfvae.evaluation import estimate_log_likelihood

    batches = _scored(config, data)
    return float(estimate_log_likelihood(vae, batches, SAMPLES).mean())


def _scored(config: Config, data: ImageData) -> tf.data.Dataset:
    from tfvae.training.runs import run_evaluation_batches

    return run_evaluation_batches(config, data.validation, 100)


def _clock(curve: Curve):
    """Returns the callback that works a curve's clock; Keras is imported by now."""
    import keras

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if not curve.called:
                curve.compiled(int(self.model.optimizer.iterations))

        def on_test_begin(self, logs: dict | None = None) -> None:
            curve.stop()

        def on_test_end(self, logs: dict | None = None) -> None:
            curve.go_on()

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            curve.epoch()
            if curve.done:
                self.model.stop_training = True

    return Clock()


if __name__ == "__main__":
    sys.exit(main())
