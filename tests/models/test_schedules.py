"""Settings that follow a schedule: logged as they are, in force when logged."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, compiled, tiny_vae, train_terms

NAMES = ["loss", "elbo", "distortion", "rate", "ess"]


class Watch(keras.callbacks.Callback):
    """Keeps the logs of every call."""

    def on_train_begin(self, logs=None) -> None:
        self.seen: list[dict] = []

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self.seen.append(dict(logs))


@pytest.mark.quick(1)
@pytest.mark.parametrize("stride", [1, 4])
def test_schedules_are_logged_as_they_are_at_each_step(stride):
    ramp = keras.optimizers.schedules.PolynomialDecay
    schedules = {
        "kl_weight": ramp(0.0, 7, 1.0),
        "temperature": ramp(1.0, 7, 0.4),
        "prior_temperature": ramp(0.9, 7, 0.3),
    }
    vae = tiny_vae("bin_concrete")
    vae.compile("sgd", "iwae", 2, steps_per_execution=stride, **schedules)
    watch = Watch()
    vae.fit(binary_images(16), batch_size=2, verbose=0, callbacks=[watch])
    assert len(watch.seen) == 8 // stride
    assert set(watch.seen[0]) == {*NAMES, *schedules}
    for name, schedule in schedules.items():
        wanted = [schedule(step).numpy() for step in range(stride - 1, 8, stride)]
        # The same float32 operations, in a graph that may fuse them.
        found = [logs[name] for logs in watch.seen]
        np.testing.assert_allclose(found, wanted, rtol=2e-7, err_msg=name)
    np.testing.assert_allclose(vae.encoder.head.temperature, 0.4, rtol=1e-6)
    np.testing.assert_allclose(vae.latent.prior_temperature, 0.3, rtol=1e-6)


def test_a_schedule_is_in_force_in_the_very_step_that_logs_it():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 2, 1.0)
    vae, x = compiled(rate=0.1, kl_weight=schedule), binary_images(4)
    for step, kl_weight in enumerate((0.0, 0.5, 1.0, 1.0)):
        log_weights = train_terms(vae, x, step).loss_log_weights(kl_weight)
        vae.reset_metrics()
        logs = vae.train_on_batch(x, return_dict=True)
        assert logs["kl_weight"] == kl_weight
        wanted = -tf.reduce_mean(vae.objective.value(log_weights))
        np.testing.assert_allclose(logs["loss"], wanted, rtol=1e-6)


def test_settings_that_do_not_vary_are_not_logged():
    vae = tiny_vae("bin_concrete")
    vae = compiled(vae, kl_weight=0.5, temperature=0.7, prior_temperature=0.6)
    logs = vae.train_on_batch(binary_images(2), return_dict=True)
    assert set(logs) == {*NAMES, "kl_weight"}  # which is no bound's, and so is named
    settings = (vae.kl_weight, vae.encoder.head.temperature)
    np.testing.assert_allclose([float(s.numpy()) for s in settings], [0.5, 0.7])
