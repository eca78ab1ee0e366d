"""Early stopping, plateaus and the best model, also in runs that were broken off."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers.broken_off import (
    EACH_STEP,
    QUIET,
    SMALL,
    assert_the_same,
    killed_before,
    rows_of,
)

from tfvae.training import train
from tfvae.training.checkpoints import CheckpointStore
from tfvae.training.runs import Run, load_run

pytestmark = pytest.mark.usefixtures("eagerly")

WATCHED = dataclasses.replace(
    SMALL,
    epochs=12,
    batch_size=1258,
    learning_rate=1.0,  # so large that the bound does not get better for long
    early_stopping=3,
    reduce_on_plateau=2,
    plateau_factor=0.9,
    keep_best=True,
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    train(WATCHED, folder, monitoring=QUIET)
    return folder


def best_epoch(rows: list[dict[str, float]]) -> int:
    return min(range(len(rows)), key=lambda i: rows[i]["val_loss"]) + 1


def test_early_stopping_ends_a_run_that_gets_no_better(watched):
    rows = rows_of(watched)
    assert len(rows) < WATCHED.epochs
    assert len(rows) == best_epoch(rows) + WATCHED.early_stopping


def test_the_best_model_is_kept(watched):
    steps = int(load_run(watched).vae.steps)
    assert steps == best_epoch(rows_of(watched))  # an epoch is one step


def test_a_run_that_was_stopped_early_says_so(watched, capsys):
    train(WATCHED, watched, monitoring=QUIET)
    assert "is finished: early stopping ended it after" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_what_watches_a_run_remembers(step, watched, tmp_path, monkeypatch):
    def go() -> Run:
        return train(
            WATCHED, tmp_path / "run", monitoring=QUIET, checkpointing=EACH_STEP
        )

    killed_before(step, monkeypatch, go)
    go()
    assert_the_same(tmp_path / "run", watched)


@pytest.mark.slow
def test_early_stopping_waits_for_the_end_of_warm_up(tmp_path):
    config = dataclasses.replace(
        WATCHED,
        kl_warmup_steps=6,
        early_stopping=1,
        reduce_on_plateau=None,
        plateau_factor=None,
        keep_best=False,
    )
    train(config, tmp_path / "run", monitoring=QUIET)
    rows = rows_of(tmp_path / "run")
    # One of the first six epochs was worse than the one before, and it went on.
    worse = [
        b["val_loss"] > a["val_loss"] for a, b in zip(rows, rows[1:], strict=False)
    ]
    assert any(worse[:5])
    assert len(rows) > 7


def test_the_learning_rate_falls_on_a_plateau(watched):
    found, _ = CheckpointStore(watched / "checkpoints").newest()
    assert found.arrays["learning_rate"] < np.float32(1)
    assert found.position.stopped_early
