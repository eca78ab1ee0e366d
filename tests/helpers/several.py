"""Trainings on several replicas, in a process of their own."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from helpers import replicas
from tfvae.config import Config

SCRIPT = pathlib.Path(replicas.__file__)
SMALL = Config(
    latent_size=3, hidden_sizes=(8,), num_samples=2, epochs=2, batch_size=400
)


# Float64 sums of up to 25 images in another order, of numbers up to some hundreds:
# 1e-13, and Adam divides by gradients that may be small.
ROUNDING = 1e-10


def on_several(replicas: int, steps: int, *names: str) -> dict[str, list[dict]]:
    """What one device has found, and what several have, for each case."""
    done = subprocess.run(
        [sys.executable, SCRIPT, str(replicas), str(steps), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_alike(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if name == "weights":
            for here, there in zip(value, other[name], strict=True):
                np.testing.assert_allclose(here, there, rtol=0, atol=ROUNDING)
        else:
            # Means of numbers up to some hundreds, in float64.
            assert other[name] == pytest.approx(value, rel=ROUNDING), name
