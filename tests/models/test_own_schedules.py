"""The schedules that Keras has not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, tiny_vae

from tfvae.core.types import InputError
from tfvae.models.schedules import Cyclical, Exponential


def values(schedule, steps) -> list[float]:
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_cyclical_rises_in_half_a_cycle_starts_again_and_stays():
    schedule = Cyclical(end=2.0, steps=40, cycles=2)
    found = values(schedule, [0, 5, 10, 15, 19, 20, 25, 30, 39, 40, 1000])
    np.testing.assert_allclose(found, [0, 1, 2, 2, 2, 0, 1, 2, 2, 2, 2], rtol=1e-6)


def test_exponential_goes_by_equal_factors_and_stays():
    schedule = Exponential(start=1.0, end=0.25, steps=20)
    found = values(schedule, [0, 10, 20, 21, 500])
    np.testing.assert_allclose(found, [1, 0.5, 0.25, 0.25, 0.25], rtol=1e-6)
    ratios = np.diff(np.log(values(schedule, range(21))))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)  # float32 differences


@pytest.mark.parametrize(
    "schedule", [Cyclical(2.0, 40, 2, 0.25), Exponential(1.0, 0.25, 20)]
)
def test_schedules_are_rebuilt_from_their_config(schedule):
    rebuilt = type(schedule).from_config(schedule.get_config())
    assert values(rebuilt, range(0, 50, 7)) == values(schedule, range(0, 50, 7))


def test_a_model_saves_them_and_follows_them(tmp_path):
    vae = tiny_vae("bin_concrete")
    kl_weight, temperature = Cyclical(1.0, 8, 2), Exponential(0.9, 0.5, 6)
    vae.compile("adam", kl_weight=kl_weight, temperature=temperature)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    for step in range(7):
        logs = loaded.train_on_batch(binary_images(2), return_dict=True)
        # float32, in a graph that may fuse operations
        assert logs["kl_weight"] == pytest.approx(
            values(kl_weight, [step])[0], abs=1e-6
        )
        wanted = values(temperature, [step])[0]
        assert logs["temperature"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cyclical(-1.0, 10),
        lambda: Cyclical(1.0, 0),
        lambda: Cyclical(1.0, 10, cycles=0),
        lambda: Cyclical(1.0, 10, rise=1.5),
        lambda: Exponential(0.0, 1.0, 10),
        lambda: Exponential(1.0, float("nan"), 10),
        lambda: Exponential(1.0, 0.5, 2.5),
    ],
)
def test_what_is_out_of_range_is_refused(make):
    with pytest.raises(InputError, match=r"^[^\n]*$"):
        make()
