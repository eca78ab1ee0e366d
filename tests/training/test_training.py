"""A run is what its configuration says, and goes on where it was stopped."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import json
import os
import shutil

import keras
import numpy as np
import pytest
from helpers.broken_off import QUIET
from helpers.models import slow_but

import tfvae.training
from tfvae.conditions import OneHot
from tfvae.config import Config
from tfvae.config.recipes import RECIPES
from tfvae.core.files import locked
from tfvae.core.types import InputError
from tfvae.data import steps_per_epoch
from tfvae.reports import evaluate_run
from tfvae.training import notes
from tfvae.training.building import build_vae, compile_vae
from tfvae.training.callbacks import ModelFile
from tfvae.training.runs import (
    Run,
    load_data,
    load_run,
    read_history,
    run_evaluation_batches,
)

pytestmark = pytest.mark.usefixtures("eagerly")

# What TensorBoard shows is the business of test_monitoring.py.
train = functools.partial(tfvae.training.train, monitoring=QUIET)

SMALL = Config(
    latent_size=3,
    hidden_sizes=(8,),
    num_samples=2,
    epochs=2,
    batch_size=400,
    learning_rate=0.01,
)
RELAXED = dataclasses.replace(
    SMALL,
    latent="bin_concrete",
    temperature=0.9,
    final_temperature=0.5,
    temperature_steps=10,
    kl_warmup_steps=6,
    steps_per_execution=2,
)


def weights(vae: keras.Model) -> list[np.ndarray]:
    return [np.array(w) for w in (*vae.weights, *vae.optimizer.variables)]


def assert_equal_bit_for_bit(first: keras.Model, second: keras.Model) -> None:
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> tuple[Run, str]:
    """A trained run, and what its training printed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as output:
        run = train(SMALL, folder)
    return run, output.getvalue()


@pytest.fixture(scope="module")
def trained(printed) -> Run:
    """A trained run, to be read only."""
    return printed[0]


@pytest.fixture
def finished(trained, tmp_path) -> Run:
    """A copy of the trained run, to be changed."""
    shutil.copytree(trained.folder.path, tmp_path / "run")
    return load_run(tmp_path / "run")


def test_the_folder_holds_what_is_promised(trained):
    names = {path.name for path in trained.folder.path.iterdir()} - {".lock"}
    assert names == {
        "config.json",
        "history.csv",
        "metrics.json",
        "model.keras",
        "model.json",
        "checkpoints",
        "logs",
    }
    record = json.loads(trained.folder.config.read_text())
    assert Config.from_dict(record["config"]) == SMALL
    assert record["versions"].keys() >= {"tfvae", "tensorflow", "keras", "python"}
    assert record["data"]["sizes"]["train"] == 1258
    assert {p.name for p in trained.folder.logs.iterdir()} == {"train", "validation"}


def test_history_and_metrics_are_the_epochs_numbers(trained):
    with trained.folder.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["step"] for row in rows] == ["4", "8"]
    last = {name: float(value) for name, value in rows[-1].items()}
    assert json.loads(trained.folder.metrics.read_text()) == last
    total = last["distortion"] + last["rate"]
    assert -last["elbo"] == pytest.approx(total, rel=1e-6)  # float32 means


def test_a_trained_run_is_read_back_as_it_was(trained):
    run = load_run(trained.folder.path)
    assert run.record.config == SMALL
    assert_equal_bit_for_bit(run.vae, trained.vae)


def test_the_same_seed_gives_the_same_weights_and_another_others(trained, tmp_path):
    again = train(SMALL, tmp_path / "again")
    assert_equal_bit_for_bit(again.vae, trained.vae)
    other = train(dataclasses.replace(SMALL, seed=1), tmp_path / "other")
    kernels = [run.vae.encoder.network.weights[0] for run in (other, trained)]
    assert not np.array_equal(*kernels)


@pytest.mark.slow  # test_resume.py has its kind
@pytest.mark.parametrize("config", [SMALL, RELAXED], ids=["normal", "annealed"])
def test_a_killed_run_ends_like_the_unbroken_one(config, tmp_path, monkeypatch):
    whole = dataclasses.replace(config, epochs=4)
    unbroken = train(whole, tmp_path / "unbroken")

    class Killed(Exception):
        pass

    def kill(self, epoch, logs=None):
        self.save()
        if epoch == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ModelFile, "on_epoch_end", kill)
        with pytest.raises(Killed):
            train(whole, tmp_path / "killed")
    resumed = train(whole, tmp_path / "killed")
    assert_equal_bit_for_bit(resumed.vae, unbroken.vae)
    histories = [
        without_seconds(read_history(run.folder.history)) for run in (resumed, unbroken)
    ]
    assert histories[0] == histories[1]
    files = [run.folder.history.read_text().splitlines() for run in (resumed, unbroken)]
    assert files[0][0] == files[1][0]
    assert [r.split(",")[:2] for r in files[0]] == [r.split(",")[:2] for r in files[1]]
    last = json.loads(resumed.folder.metrics.read_text())
    assert without_seconds([last]) == histories[0][-1:]


@pytest.mark.slow
@pytest.mark.parametrize("wanted", slow_but([3], [1, 3, 4, 99, None]))
def test_executions_never_make_an_epoch_longer_and_change_nothing(wanted, tmp_path):
    runs = [
        train(dataclasses.replace(SMALL, steps_per_execution=count), tmp_path / name)
        for name, count in {"run": wanted, "one": 1}.items()
    ]
    assert [int(run.vae.steps) for run in runs] == [2 * 4] * 2
    for weight, same in zip(*(run.vae.weights for run in runs), strict=True):
        np.testing.assert_array_equal(weight, same)
    rows = [without_seconds(read_history(run.folder.history)) for run in runs]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_the_demonstration_goes_on_where_it_was(tmp_path):
    config = dataclasses.replace(
        RECIPES["digits-binconcrete"].config,
        latent_size=3,
        hidden_sizes=(8,),
        batch_size=400,
        epochs=3,
    )
    unbroken = train(config, tmp_path / "unbroken")
    train(dataclasses.replace(config, epochs=1), tmp_path / "run")
    resumed = train(config, tmp_path / "run")
    assert_equal_bit_for_bit(resumed.vae, unbroken.vae)
    assert int(resumed.vae.steps) == 3 * 4


def test_two_processes_do_not_write_one_folder(finished):
    folder = finished.folder.path
    with locked(folder), pytest.raises(InputError, match="another process"):
        train(SMALL, folder)
    train(SMALL, folder)


def test_what_a_killed_process_left_half_written_is_removed(finished):
    folder = finished.folder.path
    (folder / ".config.1.partial.json").write_text("{")
    (folder / ".model.1.partial.keras").write_text("half")
    train(SMALL, folder)
    assert not any(".partial" in path.name for path in folder.iterdir())


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_model(tmp_path):
    config = dataclasses.replace(SMALL, optimizer="sgd", learning_rate=1e6)
    with pytest.raises(
        InputError, match="training step [0-9]+ is not finite"
    ) as caught:
        train(config, tmp_path / "run")
    assert "learning_rate" in str(caught.value)
    assert not (tmp_path / "run" / "model.keras").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
def test_data_that_changed_under_their_name_are_noticed(tmp_path):
    images = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)
    path = tmp_path / "data.npz"
    np.savez(path, x_train=images, x_test=images[:5])
    config = dataclasses.replace(SMALL, dataset=f"npz:{path}", batch_size=10, epochs=1)
    train(config, tmp_path / "run")
    one_pixel = images.copy()
    one_pixel[3, 0, 0] = 1 - one_pixel[3, 0, 0]
    for changed in (one_pixel, images[:30]):
        np.savez(path, x_train=changed, x_test=images[:5])
        for use in (
            lambda: train(config, tmp_path / "run"),
            lambda: evaluate_run(tmp_path / "run", num_samples=2),
        ):
            with pytest.raises(InputError, match="has changed"):
                use()


def test_a_finished_run_keeps_the_versions_that_computed_it(finished):
    config = finished.folder.config
    content = config.read_text().replace('"numpy": "', '"numpy": "0.')
    config.write_text(content)
    train(SMALL, finished.folder.path)
    assert config.read_text() == content


@pytest.mark.slow
def test_a_run_killed_between_history_and_model_repeats_the_epoch(
    tmp_path, monkeypatch
):
    unbroken = train(SMALL, tmp_path / "unbroken")

    class Killed(Exception):
        pass

    def kill(self, epoch, logs=None):
        if epoch == 1:
            raise Killed
        self.save()

    with monkeypatch.context() as patch:
        patch.setattr(ModelFile, "on_epoch_end", kill)
        with pytest.raises(Killed):
            train(SMALL, tmp_path / "killed")
    assert len(read_history(tmp_path / "killed" / "history.csv")) == 2
    resumed = train(SMALL, tmp_path / "killed")
    assert_equal_bit_for_bit(resumed.vae, unbroken.vae)
    rows = read_history(resumed.folder.history)
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.slow
def test_more_epochs_go_on_and_the_same_do_nothing(trained, tmp_path, capsys):
    short = train(dataclasses.replace(SMALL, epochs=1), tmp_path / "run")
    longer = train(SMALL, tmp_path / "run")
    assert int(short.vae.optimizer.iterations) == 4
    assert_equal_bit_for_bit(longer.vae, trained.vae)
    before = longer.folder.model.stat().st_mtime_ns
    again = train(SMALL, tmp_path / "run")
    assert "is finished: 2 of 2 epochs" in capsys.readouterr().out
    assert again.folder.model.stat().st_mtime_ns == before


def test_one_line_an_epoch_where_there_is_no_terminal(printed):
    lines = printed[1].splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1/2", "2/2"]
    assert all("loss" in line and "val_loss" in line for line in epochs)


def test_no_validation_images_no_validation_numbers(tmp_path):
    config = dataclasses.replace(SMALL, validation_size=0, epochs=1)
    run = train(config, tmp_path / "run")
    assert not any(
        name.startswith("val_") for name in read_history(run.folder.history)[0]
    )


def test_a_model_is_what_the_configuration_says():
    config = dataclasses.replace(
        RELAXED,
        likelihood="normal_fixed_scale",
        likelihood_scale=0.25,
        hidden_sizes=(9, 7),
        prior_temperature=0.4,
    )
    vae = build_vae(config, (8, 8, 1), np.full((8, 8, 1), 0.25, np.float32))
    assert [w.shape[-1] for w in vae.encoder.network.weights[1::2]] == [9, 7, 3]
    assert [w.shape[-1] for w in vae.decoder.network.weights[1::2]] == [7, 9, 64]
    likelihood = vae.decode(np.zeros([1, 3], np.float32)).distribution
    np.testing.assert_allclose(likelihood.scale, 0.25)
    bias = vae.decoder.network.weights[-1].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), 0.25, rtol=1e-6)
    np.testing.assert_allclose(vae.encoder.head.temperature.numpy(), 0.9, rtol=1e-7)
    np.testing.assert_allclose(vae.latent.prior_temperature.numpy(), 0.4, rtol=1e-7)


def test_a_slope_and_a_mean_are_those_of_the_networks():
    config = dataclasses.replace(
        SMALL,
        activation="leaky_relu",
        leaky_slope=0.3,
        center_inputs=True,
        hidden_sizes=(1,),
    )
    mean = np.full((8, 8, 1), 0.25, np.float32)
    vae = build_vae(config, (8, 8, 1), mean)
    first, *_ = weights = vae.encoder.network.get_weights()
    weights[0] = np.full_like(first, -1.0)  # below 0 where x is above its mean
    weights[1:] = [np.ones_like(w) * (w.ndim > 1) for w in weights[1:]]
    vae.encoder.network.set_weights(weights)
    for x, hidden in ((1.0, -0.3 * 48), (0.25, 0.0), (0.0, 16.0)):
        made = vae.encoder.network(np.full([1, 8, 8, 1], x, np.float32))
        np.testing.assert_allclose(made, np.full(made.shape, hidden), rtol=1e-6)
    with pytest.raises(InputError, match="center_inputs True needs the mean"):
        build_vae(config, (8, 8, 1))


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ("constant", 20, {0: 0.1, 199: 0.1}),
        ("cosine", 20, {0: 0.1, 100: 0.05, 200: 0.0}),
        ("exponential", 20, {0: 0.1, 100: 0.01, 200: 0.001}),
        # Burda et al. (2016): 3^i epochs at 10^(-i/7), i = 0..7, whatever the run's
        ("iwae", 2, {10: 0.1, 11: 0.1 * 10 ** (-1 / 7), 40: 0.1 * 10 ** (-1 / 7)}),
        ("iwae", 3280, {41: 0.1 * 10 ** (-2 / 7), 10930: 0.1 * 10 ** (-6 / 7)}),
        ("iwae", 3280, {10931: 0.01, 32799: 0.01}),
    ],
)
def test_learning_rates_follow_their_schedule(schedule, epochs, expected):
    config = dataclasses.replace(
        SMALL, epochs=epochs, learning_rate=0.1, learning_rate_schedule=schedule
    )
    vae = build_vae(config, (8, 8, 1))
    compile_vae(vae, config, steps_per_epoch=10)
    for step, rate in expected.items():
        vae.optimizer.iterations.assign(step)
        got = float(vae.optimizer.learning_rate)
        assert got == pytest.approx(rate, rel=1e-5, abs=1e-9), step  # float32


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_and_compiles(name):
    config = RECIPES[name].config
    condition = None if config.condition is None else OneHot(10)
    mean = np.full((28, 28, 1), 0.25)
    vae = build_vae(config, (28, 28, 1), mean, condition=condition)
    compile_vae(vae, config, 10)
    assert vae.num_samples == config.num_samples


def test_notes_name_what_the_numbers_are():
    grey = dataclasses.replace(SMALL, binarization="none", grey_targets=True)
    assert any("grey" in note for note in notes(grey, 100))
    assert any("relaxed" in note for note in notes(RELAXED, 100))
    assert any("kl_warmup_steps 6 is more" in note for note in notes(RELAXED, 5))
    assert any("no bound" in n for n in notes(Config(kl_weight=4.0), 100))
    assert notes(SMALL, 100) == ["elbo bounds log p(x)"]


CHANGED = {"latent_size": 4, "seed": 1, "binarization": "fixed", "num_samples": 3}


@pytest.mark.parametrize("field", CHANGED)
def test_a_folder_with_another_configuration_is_refused(field, trained):
    before = trained.folder.config.read_bytes()
    changed = dataclasses.replace(SMALL, **{field: CHANGED[field]})
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        train(changed, trained.folder.path)
    assert field in str(caught.value) and str(CHANGED[field]) in str(caught.value)
    assert trained.folder.config.read_bytes() == before


def test_a_run_is_read_from_any_working_folder(tmp_path, monkeypatch):
    images = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=images, x_test=images[:5])
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(SMALL, dataset="npz:data.npz", batch_size=10, epochs=1)
    train(config, "run")
    monkeypatch.chdir("/")
    evaluation = evaluate_run(tmp_path / "run", num_samples=2)
    assert evaluation["num_images"] == 5


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda p: p.write_text("mine"), "is a file"),
        (lambda p: (p.mkdir(), (p / "a").write_text("mine")), "no run"),
        (lambda p: (p.mkdir(), (p / "config.json").write_text("{")), "cannot be read"),
        (lambda p: (p.mkdir(), (p / "config.json").write_text("{}")), "lacks 'config'"),
        (
            lambda p: (
                p.mkdir(),
                (p / "config.json").write_text('{"config": {"x": 1}, "data": {}}'),
            ),
            "'x'",
        ),
        (
            lambda p: (p.mkdir(), (p / "config.json").write_bytes(b"\xff\xfe")),
            "cannot be read",
        ),
    ],
)
def test_other_peoples_folders_are_left_alone(prepare, said, tmp_path):
    path = tmp_path / "work"
    prepare(path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        train(SMALL, path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "nonsense_data"},
        {"dataset": "npz:/nowhere.npz"},
        {"batch_size": 5000},
        {"validation_size": 5000},
        {"image_size": (4, 4), "network": "conv", "dataset": "folder:/nowhere"},
    ],
)
def test_bad_data_writes_nothing(change, tmp_path):
    with pytest.raises(InputError, match=r"^[^\n]*$"):
        train(dataclasses.replace(SMALL, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_model_is_named_and_kept(finished):
    model = finished.folder.model
    damaged = model.read_bytes()[:1000]
    model.write_bytes(damaged)
    with pytest.raises(InputError, match=r"^[^\n]*model.keras[^\n]*$"):
        load_run(finished.folder.path)
    assert model.read_bytes() == damaged


def test_a_finished_run_writes_a_model_anew_that_was_removed(finished, trained):
    os.remove(finished.folder.model)
    train(SMALL, finished.folder.path)
    assert_equal_bit_for_bit(load_run(finished.folder.path).vae, trained.vae)


def test_a_run_without_a_model_says_so(finished, tmp_path):
    os.remove(finished.folder.model)
    with pytest.raises(InputError, match="no model yet"):
        load_run(finished.folder.path)
    with pytest.raises(InputError, match="not a folder"):
        load_run(tmp_path / "nowhere")


def test_validation_is_the_same_draw_for_runs_of_any_seed():
    data = load_data(SMALL)
    first, second = (
        next(
            iter(
                run_evaluation_batches(
                    dataclasses.replace(SMALL, seed=seed), data.validation, 50
                )
            )
        )
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert steps_per_epoch(data.train, 400) == 4
