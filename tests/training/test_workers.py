"""Several workers: what TF_CONFIG may say, and processes on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.several import SCRIPT, SMALL, assert_alike, on_several

from tfvae.cli import launching
from tfvae.cli.launching import Launched, free_ports
from tfvae.config.cluster import Worker, this_worker
from tfvae.config.settings import Distribution
from tfvae.core.types import InputError
from tfvae.training import train
from tfvae.training.runs import load_run, read_history
from tfvae.training.workers import WorkerGroup

ROOT = SCRIPT.parents[2]
TWO = {"worker": ["a:1", "b:2"]}
# As scripts/launch_local does: TensorFlow is left to the workers.
LAUNCH = [
    sys.executable,
    "-c",
    "import sys, tfvae_command; from tfvae.cli import launching; "
    "sys.exit(launching.main())",
]
RECIPE = "digits-binconcrete"
PATIENCE = 150  # seconds for what takes some 30 on a quiet machine


def tf_config(cluster: object, kind: str = "worker", index: object = 0) -> dict:
    content = {"cluster": cluster, "task": {"type": kind, "index": index}}
    return {"TF_CONFIG": json.dumps(content)}


# -- TF_CONFIG -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "worker"),
    [
        (tf_config(TWO), Worker(0, ("a:1", "b:2"))),
        (tf_config(TWO, index=1), Worker(1, ("a:1", "b:2"))),
        (tf_config({"worker": ["a:1"]}), Worker(0, ("a:1",))),
        (
            tf_config({"chief": ["c:3"], **TWO}, index=1),
            Worker(2, ("c:3", "a:1", "b:2"), has_chief_job=True),
        ),
        (
            tf_config({"chief": ["c:3"], **TWO}, kind="chief"),
            Worker(0, ("c:3", "a:1", "b:2"), has_chief_job=True),
        ),
    ],
)
def test_the_chief_is_the_first_worker_and_the_others_follow(environment, worker):
    assert this_worker(environment) == worker


def test_a_worker_is_found_by_tensorflows_name_for_it():
    assert Worker(0, ("a:1", "b:2")).address_of("worker", "1") == "b:2"
    with_chief = Worker(0, ("c:3", "a:1"), has_chief_job=True)
    assert with_chief.address_of("chief", "0") == "c:3"
    assert with_chief.address_of("worker", "0") == "a:1"
    assert with_chief.address_of("worker", "9") is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "is not set"),
        ({"TF_CONFIG": ""}, "is not set"),
        ({"TF_CONFIG": "{"}, "is no JSON"),
        ({"TF_CONFIG": "[" * 100_000}, "is no JSON"),
        ({"TF_CONFIG": "[]"}, "has no 'cluster'"),
        ({"TF_CONFIG": "{}"}, "has no 'cluster'"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "has no 'task'"),
        (tf_config({}), "no addresses"),
        (tf_config({"worker": ["a"]}), "no addresses"),
        (tf_config({"worker": [1]}), "no addresses"),
        (tf_config({"worker": ["a:1", "a:1"]}), "one address"),
        (tf_config({"chief": ["a:1", "b:1"]}, kind="chief"), "2 chiefs"),
        (tf_config({**TWO, "ps": ["c:1"]}), "the job 'ps'"),
        (tf_config(TWO, kind="evaluator"), "'evaluator'"),
        (tf_config(TWO, kind="chief"), "'chief'"),
        (tf_config(TWO, index=2), "index 2"),
        (tf_config(TWO, index=-1), "index -1"),
        (tf_config(TWO, index="0"), "index '0'"),
        (tf_config(TWO, index=True), "index True"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(environment, said):
    with pytest.raises(InputError) as caught:
        this_worker(environment)
    assert said in str(caught.value)
    assert "TF_CONFIG" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(InputError, match=r"\(--strategy\) 'many'.*mirrored"):
        Distribution("many")


def test_fewer_images_in_a_batch_than_replicas_are_refused():
    class Strategy:
        num_replicas_in_sync = 4

    with pytest.raises(InputError, match=r"batch_size 3 is smaller than the 4 repl"):
        WorkerGroup(Strategy()).check_batch_size(3)
    WorkerGroup(Strategy()).check_batch_size(4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage"),
        (["--help"], "usage"),
        (["2", RECIPE], "--workdir is missing"),
        (["2", RECIPE, "--workdir"], "--workdir is missing"),
        (["0", RECIPE, "--workdir", "w"], "N '0'"),
        (["two", RECIPE, "--workdir", "w"], "N 'two'"),
    ],
)
def test_the_launcher_answers_without_starting_anything(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert launching.main(arguments) == (0 if said == "usage" else 2)
    output = capsys.readouterr()
    assert said in output.out + output.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        (["0", "0"], (0, 0)),
        (["75", "0"], (75, 0)),
        (["75", "3", "75"], (3, 1)),
        (["75", "os.kill(os.getpid(), 9)"], (137, 1)),
    ],
)
def test_a_worker_that_failed_comes_before_those_that_lost_it(codes, found, tmp_path):
    command = [sys.executable, "-c"]
    started = [subprocess.Popen([*command, f"import os; os._exit({c})"]) for c in codes]
    for worker in started:
        worker.wait()
    assert Launched(started, tmp_path).failed() == found


# -- one device, and all of this machine -----------------------------------------------


@pytest.mark.slow
def test_a_strategy_with_one_device_trains_as_none_does(tmp_path, capsys):
    one = train(SMALL, tmp_path / "one")
    mirrored = train(SMALL, tmp_path / "two", distribution=Distribution("mirrored"))
    assert "note: there is one device here" in capsys.readouterr().out
    for here, there in zip(one.vae.weights, mirrored.vae.weights, strict=True):
        np.testing.assert_array_equal(np.array(here), np.array(there))


OTHER_NUMBER = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)
import dataclasses
import numpy as np
from helpers.several import SMALL
from tfvae.config.settings import Distribution
from tfvae.training import train

folder = sys.argv[1]
whole = dataclasses.replace(SMALL, epochs=3, binarization="dynamic")
for epochs, strategy in ((1, "none"), (2, "mirrored"), (3, "none")):
    config = dataclasses.replace(whole, epochs=epochs)
    run = train(config, folder + "/some", distribution=Distribution(strategy))
one = train(whole, folder + "/one")
assert int(run.vae.steps) == int(one.vae.steps) == 12
for here, there in zip(run.vae.weights, one.vae.weights, strict=True):
    # Float32, 12 steps of Adam with a learning rate of 1e-3; other noise moves by 1e-2.
    np.testing.assert_allclose(here, there, atol=1e-5)
"""


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_replicas(fresh_python, tmp_path):
    said = fresh_python(OTHER_NUMBER, tmp_path, PYTHONPATH=f"{ROOT}:{ROOT}/tests")
    assert "2 replicas share each batch of 400" in said.stdout


# -- processes -------------------------------------------------------------------------


def env(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def workers_found(count: int, steps: int, *names: str) -> list[dict]:
    """What each of some workers has after training the cases together."""
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(count), str(steps), *names],
            env=env(**tf_config({"worker": addresses}, index=number)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        said = [worker.communicate(timeout=2 * PATIENCE) for worker in started]
    finally:
        for worker in started:
            worker.kill()
    for worker, (_, errors) in zip(started, said, strict=True):
        assert worker.returncode == 0, errors
    return [json.loads(output) for output, _ in said]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_workers_train_as_one_device_does(count):
    names = ("survivors", "disarm", "free_bits", "weights")
    several = on_several(1, 200, *names)
    for found in workers_found(count, 200, *names):
        for name in names:
            assert_alike(several[name][0], found[name])


@contextlib.contextmanager
def launched(workdir: pathlib.Path, *more: str, count: int = 2):
    """Starts workers as the script does, their chief's lines in a file."""
    command = [*LAUNCH, str(count), RECIPE, "--workdir", str(workdir), *more]
    with workdir.with_suffix(".out").open("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env()
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def output_of(workdir: pathlib.Path) -> str:
    return workdir.with_suffix(".out").read_text()


def wait_for(text: str, workdir: pathlib.Path) -> None:
    until = time.monotonic() + PATIENCE
    while text not in output_of(workdir):
        assert time.monotonic() < until, output_of(workdir)
        time.sleep(0.1)


def workers_of(process: subprocess.Popen) -> list[int]:
    """The launcher's workers, the chief first."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return sorted(map(int, children.read_text().split()))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "victim"), [(2, 1), (3, 2), (2, 0)])
def test_a_killed_worker_ends_the_job_and_the_restarted_one_ends_like_one_device(
    count, victim, tmp_path
):
    run = tmp_path / "run"
    more = ["--epochs", "8", "--batch-size", "50", "--checkpoint-every", "5"]
    with launched(run, *more, count=count) as process:
        wait_for("epoch 2/", run)
        os.kill(workers_of(process)[victim], signal.SIGKILL)
        # Within about a minute, the README says.
        assert process.wait(timeout=60) == 128 + signal.SIGKILL
        if victim:
            assert "ended, or cannot be reached any more" in output_of(run)
            assert "Traceback" not in output_of(run)
    with launched(run, *more, count=count) as process:
        assert process.wait(timeout=PATIENCE) == 0, output_of(run)
    assert "goes on after epoch" in output_of(run)
    record = load_run(run).record
    one = train(record.config, tmp_path / "one")
    assert [r["epoch"] for r in read_history(one.folder.history)] == list(range(1, 9))
    here = read_history(run / "history.csv")
    # Float32: sums in another order, which 100 steps of Adam make larger.
    for row, other in zip(read_history(one.folder.history), here, strict=True):
        for name in row.keys() - {"seconds"}:
            assert other[name] == pytest.approx(row[name], rel=1e-3), name
    logs = run.with_name("run-workers")
    assert sorted(p.name for p in logs.iterdir()) == [
        f"worker-{number}.log" for number in range(1, count)
    ]
    assert "epoch 1/" not in (logs / "worker-1.log").read_text()


@pytest.mark.slow
def test_a_signal_to_the_launcher_ends_all_workers(tmp_path):
    run = tmp_path / "run"
    with launched(run, "--epochs", "5000") as process:
        wait_for("epoch 1/", run)
        workers = workers_of(process)
        assert len(workers) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) != 0
    assert not any(pathlib.Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.mark.slow
def test_a_worker_with_other_settings_is_refused(tmp_path):
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    command = [sys.executable, "-m", "tfvae", "train", RECIPE, "--workdir"]
    command += [str(tmp_path / "run"), "--strategy", "multi_worker", "--seed"]
    started = [
        subprocess.Popen(
            [*command, str(number)],
            env=env(**tf_config({"worker": addresses}, index=number)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [worker.communicate(timeout=PATIENCE)[1] for worker in started]
    assert "worker 1 has other settings" in said[0] + said[1]
    assert all(worker.returncode in (2, 75) for worker in started), said
    assert not (tmp_path / "run" / "config.json").exists()
