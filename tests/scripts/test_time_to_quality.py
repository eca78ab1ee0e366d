"""The time to quality: what is scored, what the clock counts, and what is said."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time

import numpy as np
import pytest
import quality_curve
import time_to_quality
from peers import common
from peers.common import Curve
from scipy.special import logsumexp

DIGITS = ["--dataset", "digits"]


def run(program: str, k: int, curve: list, minutes: float = 10) -> dict:
    found = {"compilation_s": 1.0, "images_per_s": 10.0, "curve": curve}
    return {"program": program, "k": k, "minutes": minutes, **found}


def network(x: np.ndarray, layers: list[np.ndarray]) -> np.ndarray:
    for kernel, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = np.tanh(x @ kernel + bias)
    return x @ layers[-2] + layers[-1]


def l_100(start: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """L_100 of the images as the peers compute it, [n]."""
    encoder, decoder = (
        [start[f"{name}_{i}"] for i in range(6)] for name in ("encoder", "decoder")
    )
    x = start["validation"]
    mean, raw = np.split(network(x, encoder), 2, axis=-1)
    scale = np.logaddexp(0, raw) + 1e-5
    eps = np.random.default_rng(seed).standard_normal((100, *mean.shape), np.float32)
    z = mean + scale * eps  # [S, n, D]
    logits = network(z, decoder)
    log_w = (x * logits - np.logaddexp(0, logits)).sum(-1)
    log_w += (-0.5 * z**2 + 0.5 * eps**2 + np.log(scale)).sum(-1)
    return logsumexp(log_w, axis=0) - np.log(100)


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> tuple[dict, dict[str, np.ndarray]]:
    """A short curve on digits, and what the peers would start from."""
    start = tmp_path_factory.mktemp("start") / "start.npz"
    config = dataclasses.replace(
        quality_curve.config_of("digits", 3), validation_size=200
    )
    quality_curve.write_start(config, start)
    with pytest.MonkeyPatch.context() as monkeypatch:
        # The levels are those of MNIST, and digits are beyond them from the start.
        monkeypatch.setattr(common, "LEVELS", (0.0,))
        found = quality_curve.curve_of(config, minutes=0.02)
    return found, dict(np.load(start))


@pytest.mark.slow
def test_the_peers_start_from_our_weights_and_images(ours):
    """L_100 of the exported weights, written anew, is our first point."""
    found, start = ours
    draws = [l_100(start, seed).mean() for seed in range(8)]
    error = np.std(draws, ddof=1) * np.sqrt(1 + 1 / 8)  # ours is one draw more
    assert found["curve"][0][2] == pytest.approx(np.mean(draws), abs=5 * error)


def test_a_curve_rises_in_the_seconds_of_its_epochs(ours):
    epochs, seconds, values = np.transpose(ours[0]["curve"])
    assert (epochs == np.arange(len(epochs)))[:10].all()
    assert values[-1] > values[0] + 1
    assert seconds[0] == 0 and (np.diff(seconds) > 0).all() and seconds[-1] >= 1.2


def test_the_clock_leaves_out_compilation_and_scores():
    """The first call has two steps, which count with the time of later ones."""

    def score() -> float:
        time.sleep(0.2)
        return -120.0

    curve = Curve(minutes=1, steps=2, score=score)
    time.sleep(0.3)
    curve.compiled(2)
    curve.epoch()
    for _ in range(2):
        time.sleep(0.1)
        curve.epoch()
    found = curve.result(batch=100)
    assert [point[0] for point in found["curve"]] == [0, 1, 2, 3]
    seconds = found["curve"][-1][1]
    assert 0.3 <= seconds < 0.45  # 0.2 in four steps, and two more of the first call
    assert found["images_per_s"] == pytest.approx(600 / seconds, rel=0.02)
    assert found["compilation_s"] == pytest.approx(0.3 - seconds / 3, abs=0.05)


@pytest.mark.parametrize(("minutes", "value", "done"), [(0, -99, 1), (9, -90, 1)])
def test_a_curve_ends_at_its_limit_or_at_the_last_level(minutes, value, done):
    values = iter([-200.0, value])
    curve = Curve(minutes, 1, lambda: next(values))
    assert curve.done == (minutes == 0)
    curve.compiled(1)
    curve.epoch()
    assert curve.done == done


def test_a_level_lies_between_the_points_around_it():
    curve = [(0, 0, -200), (1, 60, -102), (2, 120, -98), (3, 180, -96)]
    assert time_to_quality.minutes_until(-100, curve) == pytest.approx(1.5)
    assert time_to_quality.minutes_until(-95, curve) is None
    line = time_to_quality.row(run("tfvae", 5, curve))
    assert line.startswith("| 5 | tfvae | 1.50 | > 10 | > 10 | -96.00 after 3.0 min |")


def stub(monkeypatch, tmp_path, first: dict[str, float]) -> list[str]:
    """Has programs that print a curve from a first value, by name; returns options."""
    (tmp_path / "train-images-idx3-ubyte.gz").touch()
    monkeypatch.setenv("MNIST_DIR", str(tmp_path))
    monkeypatch.setattr(time_to_quality, "python_of", lambda environment: environment)
    ran = []

    def result_of(command: str) -> dict:
        words = shlex.split(command)
        if "--start" in words:
            return {}
        ran.append(words)
        name = "tfvae" if words[0] == sys.executable else words[0]
        points = [(0, 0.0, first[name]), (1, 60.0, -101.0), (2, 120.0, -99.0)]
        return {"compilation_s": 1.0, "images_per_s": 10.0, "curve": points}

    monkeypatch.setattr(time_to_quality, "result_of", result_of)
    return ran


def test_parts_are_measured_one_after_the_other_and_drawn(
    monkeypatch, tmp_path, capsys
):
    ran = stub(monkeypatch, tmp_path, {"tfvae": -213.7, "torch": -213.6, "jax": -213.8})
    out = ["--out", str(tmp_path / "curves.png")]
    assert time_to_quality.main(["--samples", "1", "50", *out]) == 0
    assert len(ran) == 7  # one sample has no survivors
    again = ["--samples", "50", "--programs", "survivors", "--minutes", "3", *out]
    assert time_to_quality.main(again) == 0
    assert shlex.join(ran[-1]).endswith("samples 8 --samples 50 --minutes 3.0")
    kept = json.loads((tmp_path / "curves.json").read_text())
    measured = sorted((each["k"], each["minutes"]) for each in kept)
    assert measured == [*[(1, 10)] * 3, (50, 3), *[(50, 10)] * 3]
    table = capsys.readouterr().out.strip().splitlines()[-7:]
    names = [line.split(" | ")[1] for line in table]
    assert names[:4] == ["torch.compile", "NumPyro", "tfvae", "torch.compile"]
    assert table[-1].startswith("| 50 | tfvae, 8 survivors | 1.50 | > 3 | > 3 |")
    assert 0 < (tmp_path / "curves.png").stat().st_size < 100_000


@pytest.mark.parametrize("content", ["[{", "{}", "1", "[1]", '[{"k": 1}]', "\xff"])
def test_a_broken_file_of_curves_is_one_line_before_anything_runs(
    content, monkeypatch, tmp_path, capsys
):
    stub(monkeypatch, tmp_path, {"tfvae": -213.7})
    monkeypatch.setattr(time_to_quality, "measure", None)  # is not come to
    (tmp_path / "curves.json").write_bytes(content.encode("latin-1"))
    out = ["--out", str(tmp_path / "curves.png")]
    assert time_to_quality.main(["--samples", "1", *out]) == 2
    error = capsys.readouterr().err
    assert "curves.json has no curves" in error and error.count("\n") == 1


def test_another_model_is_refused(monkeypatch, tmp_path, capsys):
    stub(monkeypatch, tmp_path, {"tfvae": -213.7, "torch": -213.6, "jax": -220.0})
    out = ["--out", str(tmp_path / "curves.png")]
    assert time_to_quality.main(["--samples", "1", *out]) == 2
    assert "L_100 of NumPyro" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--programs", "tensorflow"], "program 'tensorflow' is unknown"),
        (["--samples", "0"], "--samples of 1"),
        (["--minutes", "0"], "--minutes above 0"),
        (["--minutes", "nan"], "--minutes above 0"),
        (["--programs", "survivors", "--samples", "8"], "--samples above that"),
        (["--out", "/nowhere/a.png"], "no .png in a folder"),
        (["--out", "a.pdf"], "no .png in a folder"),
        ([], "MNIST_DIR is '/nowhere'"),
    ],
)
def test_arguments_that_are_not_usable_are_one_line(
    arguments, said, capsys, monkeypatch
):
    monkeypatch.setenv("MNIST_DIR", "/nowhere")
    monkeypatch.setattr(time_to_quality, "python_of", None)  # nothing is set up
    assert time_to_quality.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--samples", "0"], "num_samples"),
        (["--samples", "5", "--backward-samples", "8"], "backward_samples"),
        (["--minutes", "0"], "--minutes 0"),
    ],
)
def test_our_program_refuses_bad_arguments_in_one_line(arguments, said, capsys):
    assert quality_curve.main([*DIGITS, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
