"""A TensorBoard server shows what a training has written, with either data loader."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from tfvae.config import Config
from tfvae.config.settings import Monitoring
from tfvae.training import train
from tfvae.training.runs import load_data, read_history, run_evaluation_batches

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = Config(
    latent_size=3,
    hidden_sizes=(8,),
    num_samples=2,
    epochs=2,
    batch_size=400,  # 4 steps an epoch
    learning_rate=0.01,
)
STEPS = [4, 8]
NAMES, KINDS = ("first", "second"), ("train", "validation")
TRAIN, VALIDATION = "first/logs/train", "first/logs/validation"

Ask = Callable[..., bytes]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, the first of which was stopped and went on."""
    folder = tmp_path_factory.mktemp("runs")
    settings = Monitoring(histograms_every=1, images_every=1)
    train(dataclasses.replace(SMALL, epochs=1), folder / "first", monitoring=settings)
    train(SMALL, folder / "first", monitoring=settings)
    other = dataclasses.replace(SMALL, latent_size=2, seed=1)
    train(other, folder / "second", monitoring=settings)
    return folder


@pytest.fixture(scope="module")
def first(runs):
    return train(SMALL, runs / "first")  # it is finished, and only read


@contextlib.contextmanager
def tensorboard(logdir, *more: str) -> Iterator[str]:
    """The address of a server, which ends with the block."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0", *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        start_new_session=True,  # its data server goes with it
    )
    timer = threading.Timer(120, server.kill)
    timer.start()
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            raise AssertionError("".join(said))
        yield found.group()
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stderr.close()


@pytest.fixture(
    scope="module", params=["false", pytest.param("auto", marks=pytest.mark.slow)]
)
def ask(request, runs) -> Iterator[Ask]:
    """Asks a server that has loaded the runs with the slow or the fast loader."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    options = (f"--load_fast={request.param}", "--reload_interval=1")
    with tensorboard(runs, *options) as address:

        def ask(path: str, post: object = None, **query: object) -> bytes:
            url = f"{address}data/{path}?{urllib.parse.urlencode(query)}"
            body = None if post is None else json.dumps(post).encode()
            headers = {"Content-Type": "application/json"}
            asked = urllib.request.Request(url, body, headers)
            with direct.open(asked, timeout=60) as answer:
                return answer.read()

        waiting = threading.Event()
        for _ in range(300):  # at most a minute
            if all(_is_loaded(ask, f"{n}/logs/{k}") for n in NAMES for k in KINDS):
                break
            waiting.wait(0.2)
        yield ask


def _is_loaded(ask: Ask, run: str) -> bool:
    try:
        points = json.loads(ask("plugin/scalars/scalars", run=run, tag="loss"))
    except urllib.error.HTTPError:  # it does not know the run yet
        return False
    return [step for _, step, _ in points] == STEPS


@pytest.mark.slow
def test_all_runs_are_there(ask):
    wanted = {f"{n}/logs/{k}" for n in NAMES for k in KINDS}
    assert set(json.loads(ask("runs"))) == wanted


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", ["loss", "elbo", "rate", "distortion", "ess"])
def test_scalars_are_the_historys(name, ask, first):
    rows = read_history(first.folder.history)
    for run, prefix in ((TRAIN, ""), (VALIDATION, "val_")):
        points = json.loads(ask("plugin/scalars/scalars", run=run, tag=name))
        assert [step for _, step, _ in points] == STEPS
        for (_, _, value), row in zip(points, rows, strict=True):
            assert np.float32(value) == np.float32(row[prefix + name])


@pytest.mark.parametrize("name", ["grad_norm", "images_per_second", "learning_rate"])
def test_other_scalars_have_a_point_an_epoch(name, ask):
    points = json.loads(ask("plugin/scalars/scalars", run=TRAIN, tag=name))
    assert [step for _, step, _ in points] == STEPS
    assert all(value > 0 for _, _, value in points)


def test_histograms_are_there_at_each_step(ask):
    for tag in ("rate_per_dimension", "posterior_mean", "log_weights"):
        points = json.loads(
            ask("plugin/histograms/histograms", run=VALIDATION, tag=tag)
        )
        assert [step for _, step, _ in points] == STEPS
    counts = [sum(bucket[2] for bucket in buckets) for _, _, buckets in points]
    assert counts == [2 * 100] * 2  # of the first 100 images, with 2 samples each


@pytest.mark.parametrize(
    ("tag", "size"),
    [
        ("reconstructions", (8 * 9 - 1, 8 * 9 - 1)),
        ("samples", (8 * 9 - 1, 8 * 9 - 1)),
        ("traversals", (11 * 9 - 1, 3 * 9 - 1)),
    ],
)
def test_images_are_pixels(tag, size, ask):
    listed = json.loads(ask("plugin/images/images", run=VALIDATION, tag=tag, sample=0))
    assert [each["step"] for each in listed] == STEPS
    query = dict(urllib.parse.parse_qsl(listed[-1]["query"]))
    image = Image.open(io.BytesIO(ask("plugin/images/individualImage", **query)))
    assert image.size == size


def test_the_configuration_is_shown(ask):
    texts = json.loads(ask("plugin/text/text", run=TRAIN, tag="configuration"))
    assert texts[-1]["step"] == 0
    for cell in ("latent_size", "<td>2</td>", "<table>"):
        assert cell in texts[-1]["text"]


# -- projector -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def projected(ask) -> dict:
    assert TRAIN in json.loads(ask("plugin/projector/runs"))
    info = json.loads(ask("plugin/projector/info", run=TRAIN))
    (embedding,) = info["embeddings"]
    return embedding


def test_the_projector_has_the_test_images_posterior_means(ask, projected, first):
    data = load_data(SMALL)
    images = next(iter(run_evaluation_batches(SMALL, data.test, 1000)))
    name = projected["tensorName"]
    content = ask("plugin/projector/tensor", run=TRAIN, name=name)
    found = np.frombuffer(content, np.float32).reshape(-1, 3)
    wanted = first.vae.encode(images).mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)  # six digits


def test_the_projector_has_labels_in_the_images_order(ask, projected):
    name = projected["tensorName"]
    content = ask("plugin/projector/metadata", run=TRAIN, name=name, num_rows=10_000)
    header, *lines = content.decode().splitlines()
    labels = load_data(SMALL).test.labels
    assert header == "label\timage"
    assert lines == [f"{label}\t{i}" for i, label in enumerate(labels)]


def test_the_projectors_sprite_has_the_images_in_order(ask, projected):
    name = projected["tensorName"]
    content = ask("plugin/projector/sprite_image", run=TRAIN, name=name)
    sprite = np.asarray(Image.open(io.BytesIO(content)))
    assert projected["sprite"]["singleImageDim"] == [8, 8]
    images = next(
        iter(run_evaluation_batches(SMALL, load_data(SMALL).test, 1000))
    ).numpy()
    side = math.ceil(math.sqrt(len(images)))
    assert sprite.shape == (8 * side, 8 * side)
    for place in (0, 1, side, len(images) - 1):
        top, left = 8 * (place // side), 8 * (place % side)
        tile = sprite[top : top + 8, left : left + 8]
        np.testing.assert_array_equal(tile, 255 * images[place, :, :, 0])


# -- hparams ---------------------------------------------------------------------------


def session_groups(ask) -> list[dict]:
    experiment = json.loads(ask("plugin/hparams/experiment", {"experimentName": ""}))
    names = [each["name"] for each in experiment["metricInfos"]]
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": name} for name in names],
        "startIndex": 0,
        "sliceSize": 100,
    }
    answer = json.loads(ask("plugin/hparams/session_groups", request))
    return answer["sessionGroups"]


def test_every_run_is_a_line_with_its_settings_and_final_metrics(ask, runs):
    groups = {group["name"].split("-")[0]: group for group in session_groups(ask)}
    assert set(groups) == {"first", "second"}
    for name, latent_size in (("first", 3), ("second", 2)):
        group = groups[name]
        assert group["hparams"]["latent_size"] == latent_size
        assert group["hparams"]["learning_rate"] == 0.01
        assert group["hparams"]["objective"] == "iwae"
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        last = read_history(runs / name / "history.csv")[-1]
        metrics = {m["name"]["tag"]: m for m in group["metricValues"]}
        for tag in ("loss", "elbo", "rate"):
            assert np.float32(metrics[tag]["value"]) == np.float32(last[f"val_{tag}"])
            assert metrics[tag]["trainingStep"] == last["step"]
