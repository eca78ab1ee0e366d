"""A long process: memory, traces and open files do not grow."""

from __future__ import annotations

import gc
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, tiny_vae
from tensorflow.python.framework.func_graph import FuncGraph

from tfvae.evaluation import score_images

BATCH = 20


def measured() -> dict[str, float]:
    """What the process has now: MiB, living traces, open files."""
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return {
        "MiB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "traces": sum(isinstance(thing, FuncGraph) for thing in gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")),
    }


def soak(rounds: int, steps: int, evaluations: int, scorings: int) -> list[dict]:
    """Trains and evaluates in turns; returns what was measured after each round."""
    vae = tiny_vae("bin_concrete")
    vae.compile(keras.optimizers.Adam(1e-3), "iwae", num_samples=5)
    images = binary_images(8 * BATCH)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(BATCH).repeat()
    held_out = tf.data.Dataset.from_tensors(images[:BATCH])
    found = []
    for number in range(rounds):
        vae.fit(batches, steps_per_epoch=steps, verbose=0)
        for _ in range(evaluations - scorings):
            assert np.isfinite(
                vae.evaluate(held_out, verbose=0, return_dict=True)["loss"]
            )
        for seed in range(scorings):
            # TensorFlow keeps every trace that has a gradient of its own.
            score_images(vae, [images[:BATCH]], 10, seed=number * scorings + seed)
        found.append(measured())
    assert int(vae.steps) == rounds * steps
    return found


@pytest.mark.slow
def test_a_few_rounds_leave_no_trace_and_no_open_file():
    first, *_, last = soak(rounds=3, steps=20, evaluations=5, scorings=2)
    assert last["traces"] == first["traces"]
    assert last["files"] <= first["files"]


@pytest.mark.slow
def test_two_thousand_steps_and_five_thousand_evaluations_leave_memory_flat(capsys):
    found = soak(rounds=20, steps=100, evaluations=250, scorings=5)
    with capsys.disabled():
        for number in (0, 4, 9, 14, 19):
            print("soak", number + 1, found[number])
    warm, last = found[4], found[-1]  # allocators grow in the first rounds
    assert last["traces"] == warm["traces"]
    assert last["files"] <= warm["files"]
    # 5,250 steps and evaluations later. One batch of images left behind by each is 25
    # MiB, and one trace left by each of the 75 scorings some 40.
    assert last["MiB"] - warm["MiB"] < 20
