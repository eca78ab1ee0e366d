"""Every number in TensorBoard's files is what its name says, and is there once."""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import slow_but
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as Served,
)
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tfvae.config import Config
from tfvae.config.settings import Monitoring
from tfvae.core.types import InputError
from tfvae.evaluation.layers import active_units
from tfvae.training import fit_parts, make_model, train
from tfvae.training.building import build_vae
from tfvae.training.checkpoints import SaveCheckpoints
from tfvae.training.runs import RunFolder, load_data, run_evaluation_batches
from tfvae.training.tensorboard.events import EventWriter
from tfvae.training.tensorboard.numbers import with_bits
from tfvae.training.tensorboard.session import TAGS
from tfvae.training.tensorboard.timing import Cadence
from tfvae.training.tensorboard.views import Views

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = Config(
    latent="bin_concrete",
    temperature=0.9,
    final_temperature=0.5,
    temperature_steps=10,
    kl_warmup_steps=6,
    latent_size=3,
    hidden_sizes=(8,),
    num_samples=2,
    epochs=3,
    batch_size=400,  # 4 steps an epoch
    learning_rate=0.01,
    learning_rate_schedule="cosine",
    steps_per_execution=2,
)
STEPS = [4, 8, 12]
QUIET = Monitoring(histograms_every=0, images_every=0, projector=False)
BOTH = {"loss", "elbo", "bound", "rate", "distortion", "bits_per_dim", "ess"}
IN_TRAINING = {
    "kl_weight",
    "temperature",
    "prior_temperature",
    "learning_rate",
    "grad_norm",
    "images_per_second",
}


def read(folder) -> EventAccumulator:
    """A folder's events, all of them, as TensorBoard reads them."""
    everything = {name: 0 for name in ("tensors", "scalars", "images", "histograms")}
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def plugin_of(events: EventAccumulator, tag: str) -> str:
    return events.SummaryMetadata(tag).plugin_data.plugin_name


def tags(events: EventAccumulator, plugin: str) -> set[str]:
    return {tag for tag in events.Tags()["tensors"] if plugin_of(events, tag) == plugin}


def points(events: EventAccumulator, tag: str) -> dict[int, np.ndarray]:
    """A tag's values by step; a step that is there twice fails."""
    found = [(e.step, tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
    assert len({step for step, _ in found}) == len(found), f"{tag}: {found}"
    return dict(found)


def scalars(folder) -> dict[str, dict[int, float]]:
    events = read(folder)
    return {
        tag: {step: float(v) for step, v in points(events, tag).items()}
        for tag in tags(events, "scalars")
    }


def session_status(folder) -> int:
    (_, end) = TAGS
    content = read(folder).SummaryMetadata(end).plugin_data.content
    return HParamsPluginData.FromString(content).session_end_info.status


@pytest.fixture(scope="module")
def data():
    return load_data(SMALL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    settings = Monitoring(histograms_every=1, images_every=2)
    folder = tmp_path_factory.mktemp("trained") / "run"
    return train(SMALL, folder, monitoring=settings)


@pytest.fixture(scope="module")
def held_out(data) -> tf.Tensor:
    return next(iter(run_evaluation_batches(SMALL, data.validation, 1000)))


# -- scalars ---------------------------------------------------------------------------


@pytest.mark.slow
def test_scalars_have_the_same_names_in_both_folders_at_the_training_steps(trained):
    train, validation = (
        scalars(trained.folder.logs / n) for n in ("train", "validation")
    )
    assert set(train) == BOTH | IN_TRAINING
    assert set(validation) == BOTH | {"active_units"}
    assert all(list(points) == STEPS for points in train.values())
    assert all(list(points) == STEPS for points in validation.values())


def test_scalars_are_the_historys_numbers(trained):
    with trained.folder.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for folder, prefix in (("train", ""), ("validation", "val_")):
        found = scalars(trained.folder.logs / folder)
        for name in ("loss", "elbo", "rate", "distortion", "ess"):
            wanted = {int(r["step"]): np.float32(r[prefix + name]) for r in rows}
            assert found[name] == wanted, name


def test_settings_are_those_of_the_last_step(trained):
    found = scalars(trained.folder.logs / "train")
    for step in STEPS:
        last = step - 1  # steps are counted from 0
        wanted = {
            "learning_rate": 0.01 * 0.5 * (1 + math.cos(math.pi * last / 12)),
            "kl_weight": min(last / 6, 1.0),
            "temperature": 0.9 - 0.4 * min(last / 10, 1.0),
            "prior_temperature": 0.5,
        }
        for name, value in wanted.items():
            assert found[name][step] == pytest.approx(value, rel=1e-5), name  # float32


def test_the_bound_has_a_kl_weight_of_one(trained):
    train, validation = (
        scalars(trained.folder.logs / n) for n in ("train", "validation")
    )
    # Validation has no other kl_weight; in training the warm-up makes the rate cheap.
    for step in STEPS:
        assert validation["bound"][step] == -validation["loss"][step]
    assert -train["loss"][4] > train["bound"][4] > train["elbo"][4]


def test_bits_per_dim_are_the_negative_bound_in_bits_per_pixel(trained):
    for folder in ("train", "validation"):
        found = scalars(trained.folder.logs / folder)
        for step, bits in found["bits_per_dim"].items():
            wanted = -found["bound"][step] / (64 * math.log(2))
            assert bits == pytest.approx(wanted, rel=1e-6)  # float32


@pytest.mark.parametrize(
    ("change", "discrete"),
    [
        ({}, True),
        (
            {
                "binarization": "none",
                "likelihood": "categorical",
                "likelihood_levels": 17,
            },
            True,
        ),
        ({"binarization": "none", "grey_targets": True}, False),
        ({"binarization": "none", "likelihood": "normal"}, False),
    ],
)
def test_bits_are_for_probabilities_of_discrete_data_alone(change, discrete):
    vae = build_vae(dataclasses.replace(SMALL, **change), (8, 8, 1))
    assert ("bits_per_dim" in with_bits({"bound": -3.0}, vae)) == discrete


def test_active_units_are_those_of_the_model_on_the_validation_images(
    trained, held_out
):
    found = scalars(trained.folder.logs / "validation")["active_units"]
    means = trained.vae.encode(held_out).mean()
    assert found[STEPS[-1]] == int(active_units(means))


def test_without_validation_the_training_images_are_watched(tmp_path):
    config = dataclasses.replace(SMALL, epochs=1, validation_size=0)
    run = train(config, tmp_path / "run", monitoring=QUIET)
    assert {path.name for path in run.folder.logs.iterdir()} == {"train"}
    found = scalars(run.folder.logs / "train")
    split = load_data(config).train
    images = next(iter(run_evaluation_batches(config, split, 1000, 1000)))
    assert len(images) == 1000
    units = active_units(run.vae.encode(images).mean())
    assert list(found["active_units"].values()) == [int(units)]


class Sleepy(keras.callbacks.Callback):
    """Sleeps in a step, in the validation, and between epochs."""

    def on_train_batch_begin(self, batch, logs=None):
        time.sleep(0.1 if batch == 0 else 0.0)

    def on_test_begin(self, logs=None):
        time.sleep(0.6)

    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.6)


@pytest.fixture
def in_graphs(eagerly):
    """Steps as fast as a user's."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.mark.slow
def test_images_per_second_are_those_of_the_training_steps_alone(
    tmp_path, data, in_graphs
):
    vae, folder = make_model(SMALL, data), RunFolder(tmp_path)
    parts = fit_parts(SMALL, data, folder, monitoring=QUIET)
    vae.fit(
        parts.batches,
        epochs=2,
        steps_per_epoch=4,
        validation_data=parts.validation,
        callbacks=[*parts.callbacks, Sleepy()],
        verbose=0,
    )
    speed = scalars(tmp_path / "logs" / "train")["images_per_second"][8]
    size = len(data.train)
    # At least the 0.1 s within the steps; less than the 1.2 s outside.
    assert size / 1.2 < speed < size / 0.1


@pytest.mark.slow
def test_what_is_monitored_changes_nothing_of_the_training(trained, tmp_path):
    run = train(SMALL, tmp_path / "run", monitoring=QUIET)
    for one, other in zip(run.vae.weights, trained.vae.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert read(run.folder.logs / "train").Tags()["tensors"]
    assert tags(read(run.folder.logs / "validation"), "images") == set()
    assert not (run.folder.logs / "train" / "projector_config.pbtxt").exists()


# -- histograms, images, text, graph, profile ------------------------------------------


def test_histograms_are_of_the_models_numbers_on_the_watched_images(trained, held_out):
    events = read(trained.folder.logs / "validation")
    wanted = {"rate_per_dimension", "posterior_logits", "log_weights"}
    assert tags(events, "histograms") == wanted
    assert list(points(events, "log_weights")) == STEPS
    logits = trained.vae.encode(held_out).distribution.loc * 0.5  # of temperature 0.5
    buckets = points(events, "posterior_logits")[STEPS[-1]]  # [30, (from, to, count)]
    assert buckets[:, 2].sum() == tf.size(logits)
    assert buckets[0, 0] == pytest.approx(float(tf.reduce_min(logits)), rel=1e-5)
    assert buckets[-1, 1] == pytest.approx(float(tf.reduce_max(logits)), rel=1e-5)
    assert points(events, "rate_per_dimension")[STEPS[-1]][:, 2].sum() == 3
    assert points(events, "log_weights")[STEPS[-1]][:, 2].sum() == 2 * 100


def test_images_come_when_asked_for_and_at_the_end(trained):
    events = read(trained.folder.logs / "validation")
    assert tags(events, "images") == {"reconstructions", "samples", "traversals"}
    for tag in tags(events, "images"):
        assert list(points(events, tag)) == STEPS[1:]


def test_the_same_weights_give_the_same_images(trained, held_out):
    events = read(trained.folder.logs / "validation")
    again = Views(trained.vae, trained.vae.as_batch(held_out)).images()
    for tag, image in again.items():
        *_, png = points(events, tag)[STEPS[-1]]
        np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), image)


def test_the_configuration_is_a_table(trained):
    events = read(trained.folder.logs / "train")
    (text,) = points(events, "configuration")[0].ravel().tolist() or [b""]
    lines = text.decode().splitlines()
    assert lines[:2] == ["| setting | value |", "|---|---|"]
    cells = dict(map(str.strip, line.split("|")[1:3]) for line in lines[2:])
    wanted = {
        name: " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in SMALL.to_dict().items()
    }
    assert cells == wanted


@pytest.mark.slow
def test_graph_and_profile_are_written_on_request(tmp_path):
    config = dataclasses.replace(SMALL, epochs=1)
    settings = dataclasses.replace(QUIET, graph=True, profile=(3, 4))
    run = train(config, tmp_path / "run", monitoring=settings)
    assert len(read(run.folder.logs / "train").Graph().node) > 100
    profiles = list(run.folder.logs.glob("train/plugins/profile/*/*.xplane.pb"))
    assert len(profiles) == 1


# -- going on --------------------------------------------------------------------------


class Killed(Exception):
    pass


def killed_in_epoch(number: int, saved: int, monkeypatch, config, folder) -> None:
    """Trains until an epoch's events are written; the model is that of another."""

    save = SaveCheckpoints.on_epoch_end

    def kill(self, epoch, logs=None):
        if epoch + 1 == saved:
            save(self, epoch, logs)
        if epoch + 1 == number:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SaveCheckpoints, "on_epoch_end", kill)
        with pytest.raises(Killed):
            train(config, folder, monitoring=EACH)


EACH = Monitoring(histograms_every=1, images_every=0, projector=False)


@pytest.mark.slow
@pytest.mark.parametrize("saved", slow_but([1], [0, 1]))
def test_a_resumed_run_has_each_point_once(
    saved, trained, tmp_path, monkeypatch, capsys
):
    killed_in_epoch(2, saved, monkeypatch, SMALL, tmp_path / "run")
    logs = tmp_path / "run" / "logs"
    servers = [Served(str(logs / n)).Reload() for n in ("train", "validation")]
    assert session_status(logs / "validation") == STATUS_FAILURE
    run = train(SMALL, tmp_path / "run", monitoring=EACH)
    assert session_status(logs / "validation") == STATUS_SUCCESS
    for name in ("train", "validation"):
        found, wanted = scalars(logs / name), scalars(trained.folder.logs / name)
        for each in (found, wanted):
            each.pop("images_per_second", None)
        assert found == wanted
        assert len(list((logs / name).glob("*tfevents*"))) == 2
    rates = points(read(logs / "validation"), "rate_per_dimension")
    assert list(rates) == STEPS
    for server in servers:  # which were there before
        assert [event.step for event in server.Reload().Tensors("loss")] == STEPS
    assert int(run.vae.steps) == STEPS[-1]


@pytest.mark.slow
def test_more_epochs_go_on_in_the_same_files(tmp_path):
    short = dataclasses.replace(SMALL, epochs=1, learning_rate_schedule="constant")
    train(short, tmp_path / "run", monitoring=QUIET)
    run = train(
        dataclasses.replace(short, epochs=2), tmp_path / "run", monitoring=QUIET
    )
    for name in ("train", "validation"):
        for tag, found in scalars(run.folder.logs / name).items():
            assert list(found) == STEPS[:2], tag
    text = points(read(run.folder.logs / "train"), "configuration")[0].item()
    assert b"| epochs | 2 |" in text


def write_some(folder, steps, begin=0, drop=()) -> None:
    writer = EventWriter(folder, begin, drop)
    for step in steps:
        writer.scalars({"a": step, "b": -step}, step)
    writer.close()


def test_a_copy_that_was_cut_short_leaves_no_doubles(tmp_path):
    write_some(tmp_path, [1, 2, 3])
    (old,) = tmp_path.glob("*tfevents*")
    saved = old.read_bytes()
    write_some(tmp_path, [], begin=2)
    old.write_bytes(saved)  # as if it had been killed before it could remove it
    write_some(tmp_path, [3, 4], begin=2)
    assert scalars(tmp_path)["a"] == {s: float(s) for s in (1, 2, 3, 4)}


def test_half_a_record_at_the_end_is_left_out(tmp_path):
    write_some(tmp_path, [1, 2, 3])
    (old,) = tmp_path.glob("*tfevents*")
    old.write_bytes(old.read_bytes()[:-7])
    write_some(tmp_path, [3], begin=2)
    assert scalars(tmp_path)["b"] == {1: -1.0, 2: -2.0, 3: -3.0}


def test_what_is_written_anew_is_not_kept(tmp_path):
    write_some(tmp_path, [0, 1])
    write_some(tmp_path, [2], begin=1, drop=["b"])
    assert set(scalars(tmp_path)["a"]) == {2}  # one record has the values of both


# -- how often -------------------------------------------------------------------------


def epochs_of(every: int | None, cost: float, monkeypatch) -> list[int]:
    """In which of 1000 epochs of a second something is done that takes `cost`."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    cadence, found = Cadence(every), []
    for epoch in range(1, 1001):
        now[0] += 1
        if cadence.due(epoch):
            with cadence.timed(epoch):
                now[0] += cost
            found.append(epoch)
    if cadence.missing(1000):
        found.append(1000)
    return found


def test_every_so_many_epochs_and_at_the_end(monkeypatch):
    assert epochs_of(300, 5.0, monkeypatch) == [300, 600, 900, 1000]
    assert epochs_of(0, 5.0, monkeypatch) == []


@pytest.mark.parametrize("cost", [0.01, 0.1, 2.0])
def test_by_default_it_takes_a_hundredth_of_the_time(cost, monkeypatch):
    found = epochs_of(None, cost, monkeypatch)
    assert found[0] == 1 and found[-1] == 1000
    # Once more than what a hundredth buys, since the first is not saved for.
    assert 3 <= len(found) <= 10 / cost + 2
    assert len(found) <= math.log(1000) / math.log(1.05) + 21  # the first 21 are free


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"histograms_every": -1}, "histograms_every (--histograms-every) -1"),
        ({"images_every": 1.5}, "images_every (--images-every) 1.5"),
        ({"projector": "yes"}, "projector (--projector) 'yes'"),
        ({"profile": (4, 2)}, "profile (--profile) 4 2"),
        ({"profile": (0, 2)}, "profile (--profile) 0"),
        ({"profile": 7}, "profile (--profile) 7"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(wrong, said):
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        Monitoring(**wrong)
    assert said in str(caught.value)


def test_the_command_line_knows_the_settings_without_tensorflow(fresh_python):
    script = """
import sys
import tfvae_command  # without it, `import tfvae` imports TensorFlow
from tfvae.cli import main
bad = ["--profile", "3", "2"]
assert main(["train", "digits-binconcrete", "--workdir", "x", *bad]) == 2
assert not {"tensorflow", "tensorboard"} & set(sys.modules)
"""
    assert "profile (--profile) 3 2" in fresh_python(script).stderr


# -- what goes wrong -------------------------------------------------------------------


PROJECTED = Monitoring(histograms_every=0, images_every=0)


@pytest.mark.slow
def test_a_full_disk_at_the_end_costs_no_epoch(tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfvae.training.tensorboard.monitor.write_projection", full)
    with pytest.raises(InputError, match="No space left.*same command again") as caught:
        train(SMALL, tmp_path / "run", monitoring=PROJECTED)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    capsys.readouterr()
    train(SMALL, tmp_path / "run", monitoring=PROJECTED)
    assert "is finished: 3 of 3 epochs" in capsys.readouterr().out


@pytest.mark.slow
def test_logs_that_cannot_be_written_are_one_line(tmp_path):
    run = tmp_path / "run"
    train(dataclasses.replace(SMALL, epochs=1), run, monitoring=QUIET)
    shutil.rmtree(run / "logs")
    (run / "logs").write_text("mine")
    with pytest.raises(InputError, match="logs.* cannot be written to") as caught:
        train(SMALL, run, monitoring=QUIET)
    assert "\n" not in str(caught.value)
    assert (run / "logs").read_text() == "mine"


@pytest.mark.parametrize(
    ("profile", "said"),
    slow_but([((99, 100), True)], [((99, 100), True), ((1, 99), False)]),
)
def test_a_profile_of_no_step_is_named(profile, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "tfvae.training.tensorboard.timing.Profiler.before", lambda *args: None
    )
    settings = dataclasses.replace(QUIET, profile=profile)
    train(dataclasses.replace(SMALL, epochs=1), tmp_path, monitoring=settings)
    assert ("profile 99 100 is not made" in capsys.readouterr().out) == said
