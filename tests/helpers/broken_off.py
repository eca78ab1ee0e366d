"""Small runs that are broken off at a step, and what two equal runs have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfvae.config import Config
from tfvae.config.settings import Checkpointing, Monitoring
from tfvae.reports import evaluate_run
from tfvae.training.runs import load_run, read_history
from tfvae.training.tensorboard import Monitor

QUIET = Monitoring(histograms_every=0, images_every=0, projector=False)
EACH_STEP = Checkpointing(1)
# 1,258 digits to train on: 4 steps an epoch, the last of them smaller.
SMALL = Config(
    objective="elbo",
    latent_size=3,
    hidden_sizes=(8,),
    num_samples=2,
    epochs=3,
    batch_size=400,
    steps_per_execution=1,
    learning_rate=0.01,
)
KINDS = {
    "elbo": SMALL,
    "survivors": dataclasses.replace(
        SMALL, objective="iwae", num_samples=6, backward_samples=2, optimizer="rmsprop"
    ),
    "annealed": dataclasses.replace(
        SMALL,
        objective="iwae",
        latent="bin_concrete",
        temperature=0.9,
        final_temperature=0.5,
        temperature_steps=10,
        kl_warmup_steps=6,
        learning_rate_schedule="cosine",
        steps_per_execution=2,
    ),
    "conditional": dataclasses.replace(SMALL, condition="label", prior="conditional"),
    "labels": dataclasses.replace(
        SMALL,
        condition="label",
        labels=50,
        classifier_weight=20.0,
        classifier="augmented",
        label_repeats=3,
    ),
}


def numbers_of(vae: keras.Model) -> list[np.ndarray]:
    return [np.array(w) for w in (*vae.weights, *vae.optimizer.variables)]


def rows_of(folder: Path) -> list[dict[str, float]]:
    rows = read_history(folder / "history.csv")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def curves_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that TensorBoard shows, but for speeds."""
    curves = {}
    for part in ("train", "validation"):
        events = EventAccumulator(
            str(folder / "logs" / part), size_guidance={"tensors": 0}
        )
        events.Reload()
        for tag in events.Tags()["tensors"]:
            points = [
                (event.step, tf.make_ndarray(event.tensor_proto))
                for event in events.Tensors(tag)
            ]
            if tag != "images_per_second" and points[0][1].size == 1:
                curves[f"{part}/{tag}"] = [(n, value.item()) for n, value in points]
    return curves


def assert_the_same(run: Path, unbroken: Path, curves: bool = True) -> None:
    for one, other in zip(
        numbers_of(load_run(run).vae), numbers_of(load_run(unbroken).vae), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert rows_of(run) == rows_of(unbroken)
    scores = [evaluate_run(path, num_samples=2)["results"] for path in (run, unbroken)]
    assert scores[0] == scores[1]
    if curves:
        assert curves_of(run) == curves_of(unbroken)


class Killed(Exception):
    pass


def killed_before(step: int, monkeypatch, use) -> None:
    """Runs `use`, and breaks it off before a training step (counted from 0)."""
    before = Monitor.on_train_batch_begin

    def kill(self, batch: int, logs: Mapping | None = None) -> None:
        before(self, batch, logs)
        if self._first_step + batch >= step:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Monitor, "on_train_batch_begin", kill)
        use()
