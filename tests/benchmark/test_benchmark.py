"""A benchmark counts what is computed, times what users call, and leaves nothing."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
import tempfile
import types
from collections.abc import Iterable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae import cli
from tfvae.benchmark import Rate, benchmark_text, run_benchmark, timing
from tfvae.benchmark.products import Runner, Work, evaluation_work, training_work
from tfvae.benchmark.timing import Blocks, Plan, WarmUp, images_in, plan_blocks
from tfvae.config import Config
from tfvae.config.settings import Benchmarking
from tfvae.core.types import InputError
from tfvae.models import VAE
from tfvae.training import fit_parts, make_model, train
from tfvae.training.building import build_vae, compile_vae
from tfvae.training.callbacks import EpochLine
from tfvae.training.runs import RunFolder, load_data

TINY = Config(latent_size=3, hidden_sizes=(8,), num_samples=4, batch_size=10)
SMALL = dataclasses.replace(TINY, batch_size=400, epochs=2)
QUICK = Benchmarking(
    blocks=2, block_seconds=0.05, evaluation_samples=4, evaluation_images=20
)
# Multiply-adds of one row of TINY: the posterior has location and scale.
ENCODER = 64 * 8 + 8 * 6
DECODER = 3 * 8 + 8 * 64
# The keys of the peers' benchmarks, in their order.
PEER_KEYS = (
    *("peer", "k", "batch", "hidden", "latent", "latents"),
    *("images_per_s", "min", "max", "gflops", "loss"),
)


def built(config: Config, image_shape: tuple[int, ...] = (8, 8, 1)) -> VAE:
    images = np.zeros((100, *image_shape))
    vae = build_vae(config, image_shape, images=images)
    compile_vae(vae, config, steps_per_epoch=1)
    return vae


def work_of(**changes) -> list[Work]:
    config = dataclasses.replace(TINY, **changes)
    return training_work(built(config), config)


def total(work: list[Work]) -> int:
    return sum(one.flops for one in work)


@pytest.mark.parametrize(
    ("changes", "decoder_passes"),
    [
        ({}, 3 * 4),
        ({"num_samples": 1}, 3),
        ({"backward_samples": 2}, 4 + 3 * 2),
        ({"sample_chunk": 2}, 4 + 3 * 4),
        ({"sample_chunk": 3}, 4 + 3 * 4),
        ({"sample_chunk": 1, "backward_samples": 2}, 4 + 3 * 2),
    ],
    ids=["all samples", "one", "survivors", "chunks", "unequal chunks", "both"],
)
def test_the_operations_of_a_step_are_those_counted_by_hand(changes, decoder_passes):
    work = work_of(**changes)
    images = 10 * 64 * 8  # the gradient to the images, which nobody needs
    multiply_adds = 3 * 10 * ENCODER + decoder_passes * 10 * DECODER
    assert sum(one.nominal_flops for one in work) == 2 * multiply_adds
    assert total(work) == 2 * (multiply_adds - images)


def test_a_score_function_sends_no_gradient_to_the_decoders_input():
    discrete = {"latent": "bernoulli", "hidden_sizes": (8,)}
    vimco = work_of(**discrete, estimator="vimco")
    through = work_of(**discrete, estimator="straight_through")
    assert total(through) - total(vimco) == 2 * 40 * 3 * 8
    # Twins go forward too.
    for name, passes in {"disarm": 1, "bitflip": 1, "ugc": 2, "arms": 0}.items():
        work = work_of(**discrete, objective="elbo", estimator=name)
        assert total(work) - total(vimco) == passes * 2 * 40 * DECODER
    # A gradient to z has a product in every layer, as a forward pass has.
    double_cv = work_of(**discrete, objective="elbo", estimator="double_cv")
    assert total(double_cv) - total(vimco) == 2 * 40 * DECODER


@pytest.mark.parametrize(
    ("changes", "evaluations"),
    [
        ({}, 4),
        ({"backward_samples": 3}, 4 + 3),
        ({"sample_chunk": 2}, 4 + 4),
        ({"latent": "bernoulli", "estimator": "vimco"}, 4),
        ({"latent": "bernoulli", "estimator": "disarm"}, 8),
        ({"latent": "bernoulli", "estimator": "bitflip"}, 8),
        ({"latent": "bernoulli", "estimator": "ugc"}, 12),
        ({"latent": "bernoulli", "estimator": "double_cv", "objective": "elbo"}, 8),
        ({"latent": "bernoulli", "estimator": "rodeo", "objective": "elbo"}, 8),
        ({"latent": "bernoulli", "estimator": "arms", "objective": "elbo"}, 4),
        ({"latent": "bernoulli", "estimator": "rebar"}, 12),
        ({"latent": "bernoulli", "estimator": "ovis", "ovis_auxiliary": 3}, 7),
        (
            {"latent": "bernoulli", "estimator": "ovis", "ovis_auxiliary": 3}
            | {"sample_chunk": 2},
            4 + 3 + 4,
        ),
    ],
)
def test_a_model_says_how_often_a_step_evaluates_the_decoder(changes, evaluations):
    assert built(dataclasses.replace(TINY, **changes)).evaluations_per_step == (
        evaluations
    )


def test_the_nominal_count_is_the_peers():
    config = dataclasses.replace(TINY, hidden_sizes=(20, 20), latent_size=5)
    work = training_work(built(config, (28, 28, 1)), config)
    h, d, k = 20, 5, 4
    encoder = 784 * h + h * h + h * d * 2
    decoder = d * h + h * h + h * 784
    per_image = sum(one.nominal_flops for one in work) / config.batch_size
    assert per_image == 2 * 3 * (encoder + k * decoder)


def test_the_operations_of_convolutions_are_those_counted_by_hand():
    (encoder, decoder), rows = work_of(network="conv", hidden_sizes=(4,)), 10
    # 3 x 3 kernels; 8 x 8 x 1 -> 4 x 4 x 4 -> 6, and 3 -> 4 x 4 x 4 -> 4 x 4 x 4.
    assert [p.flops for p in encoder.products] == [2 * 9 * 4 * 16, 2 * 64 * 6]
    assert [p.flops for p in decoder.products] == [
        2 * 3 * 64,
        2 * 9 * 4 * 4 * 16,
    ]
    first, second = (p.flops for p in encoder.products)
    assert encoder.flops == rows * (2 * first + 3 * second)


def test_an_evaluation_goes_forward_once_for_each_sample():
    work = evaluation_work(built(TINY), batch=10, samples=7, chunk=3)
    assert [(one.rows, one.times) for one in work] == [(10, 1), (30, 2), (10, 1)]
    assert total(work) == 2 * 10 * (ENCODER + 7 * DECODER)


def counted(graphs: Iterable[tf.Graph]) -> collections.Counter:
    """The networks' products in graphs and in the loops in them, by operation.

    A mixture's density is a product too, in float64 and of no network.
    """
    nodes = []
    for graph in graphs:
        definition = graph.as_graph_def()
        nodes += definition.node
        nodes += [node for f in definition.library.function for node in f.node_def]
    return collections.Counter(
        # Keras 3.12 has a batched kernel for inputs with more than two axes.
        node.op.replace("BatchMatMulV2", "MatMul")
        for node in nodes
        if node.op.startswith(("MatMul", "BatchMatMulV2", "Conv2D"))
        and node.attr["T"].type != tf.float64.as_datatype_enum
    )


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backward_samples": 2},
        {"sample_chunk": 2},
        {"sample_chunk": 1, "backward_samples": 2},
        {"latent": "bernoulli", "estimator": "vimco"},
        {"latent": "bernoulli", "estimator": "disarm"},
        {"latent": "bernoulli", "estimator": "ugc"},
        {"latent": "bernoulli", "estimator": "double_cv", "objective": "elbo"},
        {"latent": "flow"},
        {"prior": "vamp"},
        {"network": "conv", "hidden_sizes": (4, 4)},
    ],
    ids=[
        *("normal", "survivors", "chunks", "survivors of chunks"),
        *("vimco", "disarm", "ugc", "double cv", "flow", "vamp", "conv"),
    ],
)
def test_a_training_step_has_the_products_that_are_run_alone(changes):
    config = dataclasses.replace(TINY, **changes)
    vae = make_model(config, load_data(config))
    images = tf.TensorSpec([config.batch_size, 8, 8, 1])
    step = tf.function(vae.train_step, autograph=False).get_concrete_function(images)
    alone = [graph.graph for graph, _, _ in Runner(training_work(vae, config)).calls]
    assert counted(alone) == counted([step.graph])


@pytest.mark.parametrize("latent", ["normal", "flow"])
def test_scoring_has_the_products_that_are_run_alone(latent):
    vae = built(dataclasses.replace(TINY, latent=latent))
    images = tf.TensorSpec([10, 8, 8, 1])
    score = tf.function(lambda x: vae.log_weight_terms(x, 4, 0), autograph=False)
    calls = Runner(evaluation_work(vae, batch=10, samples=4, chunk=4)).calls
    graph = score.get_concrete_function(images).graph
    assert counted(part.graph for part, _, _ in calls) == counted([graph])


@pytest.mark.parametrize(
    "changes",
    [{}, {"backward_samples": 2}, {"sample_chunk": 2}, {"upper_latent_sizes": (2,)}],
    ids=["all samples", "survivors", "chunks", "two layers"],
)
def test_what_is_run_alone_has_the_operations_that_are_counted(changes):
    work = work_of(**changes)
    runner = Runner(work)
    runner.run(2)
    flops = 0
    for graph, _, times in runner.calls:
        for operation in graph.graph.get_operations():
            if operation.type == "MatMul":
                axis = 0 if operation.get_attr("transpose_a") else 1
                inner = operation.inputs[0].shape[axis]
                flops += times * 2 * inner * math.prod(operation.outputs[0].shape)
    assert flops == total(work)


def test_what_is_run_alone_follows_the_dtype_policy():
    for graph, _, _ in Runner(work_of(dtype_policy="mixed_bfloat16")).calls:
        products = [o for o in graph.graph.get_operations() if o.type == "MatMul"]
        assert {o.outputs[0].dtype for o in products} == {tf.bfloat16}


@pytest.mark.parametrize(
    ("seconds", "step_seconds", "plan"),
    [
        (1.0, 0.01, Plan(12, 8)),  # 8.3 epochs
        (1.0, 0.1, Plan(9, 1)),  # 10 steps are 3.3 executions
        (1.0, 0.09, Plan(12, 1)),  # 11.1 steps are 3.7 executions
        (1.0, 9.0, Plan(3, 1)),
        (0.1, 0.1 / 12, Plan(12, 1)),
    ],
)
def test_a_block_is_whole_epochs_or_whole_executions(seconds, step_seconds, plan):
    assert plan_blocks(seconds, step_seconds, 12, 3) == plan


def test_images_are_counted_as_the_pipeline_gives_them(tmp_path):
    data = load_data(SMALL)
    parts = fit_parts(SMALL, data, RunFolder(tmp_path))
    sizes = [len(batch) for batch in parts.batches.take(9).as_numpy_iterator()]
    assert len(set(sizes)) == 2  # the last of an epoch is smaller
    for steps, seen in enumerate(itertools.accumulate(sizes), start=1):
        assert images_in(steps, SMALL.batch_size, len(data.train)) == seen


class Clock:
    """A clock that stands still but for what `pass_by` says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "synchronised_time", clock)
    return clock


def epoch_of(callback, number, steps, step_seconds, clock):
    """What `fit` calls in one epoch, with 64 s of validation."""
    callback.on_epoch_begin(number)
    for step in range(steps):
        clock.pass_by(step_seconds)
        callback.on_train_batch_end(step)
    clock.pass_by(64.0)
    callback.on_test_end()
    clock.pass_by(0.5)  # what other callbacks do
    callback.on_epoch_end(number, {"loss": number})


def test_a_block_is_training_and_callbacks_without_what_is_not_training(clock):
    blocks = Blocks(Plan(steps=3, epochs=2), between=lambda: clock.pass_by(1000.0))
    for epoch, step_seconds in enumerate([9.0, 1.0, 2.0, 3.0, 4.0]):
        epoch_of(blocks, epoch, 3, step_seconds, clock)
    assert blocks.seconds == [3 * 1 + 3 * 2 + 2 * 0.5, 3 * 3 + 3 * 4 + 2 * 0.5]
    assert blocks.loss == 4


def test_the_first_execution_is_apart_and_the_first_epoch_no_measure(clock):
    warm_up = WarmUp(steps=4, steps_per_execution=2, seconds=5.0)
    warm_up.set_model(types.SimpleNamespace(stop_training=False))
    clock.pass_by(7.0)
    for epoch, (first, second) in enumerate([(1.0, 2.0), (1.0, 1.5), (1.5, 1.5)]):
        warm_up.on_epoch_begin(epoch)
        for batch, seconds in ((1, first), (3, second)):
            clock.pass_by(seconds)
            warm_up.on_train_batch_end(batch)
        clock.pass_by(64.0)
        warm_up.on_test_end()
        assert warm_up.model.stop_training == (epoch == 2)
        warm_up.on_epoch_end(epoch)
    assert warm_up.first_step == 7.0 + 1.0
    assert warm_up.step_seconds == (1.0 + 1.5 + 1.5 + 1.5) / 8


def test_a_rate_is_the_median_of_the_blocks_with_its_extremes():
    assert Rate.of([10, 10, 30], [1.0, 4.0, 2.0]) == Rate(10.0, 2.5, 15.0)


@pytest.fixture(scope="module")
def calls():
    """What `fit` was given, call by call."""
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory, calls):
    folder = tmp_path_factory.mktemp("temporary")
    fit = VAE.fit

    class Stopped(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stopped

    def recorded(self, x=None, **kwargs):
        calls.append({"x": x, **kwargs})
        return fit(self, x, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setattr(VAE, "fit", recorded)
        found = run_benchmark(SMALL, QUICK)
        left = [path.name for path in folder.iterdir()]
        # TensorFlow's own go when Python ends.
        assert [n for n in left if not n.startswith("__autograph_generated")] == []
        fit = stop
        with pytest.raises(Stopped):
            train(SMALL, folder / "run")
    return found


@pytest.mark.slow
def test_fit_is_called_as_in_a_run(result, calls):
    *timed, trained = calls
    assert len(timed) == 2  # warm-up and blocks
    shown = (EpochLine, keras.callbacks.History)
    callbacks = trained["callbacks"].callbacks
    kinds = [type(c) for c in callbacks if not isinstance(c, shown)]
    first = next(iter(trained["x"]))
    held_out = next(iter(trained["validation_data"]))
    for call in timed:
        assert [type(c) for c in call["callbacks"][:-1]] == kinds
        np.testing.assert_array_equal(next(iter(call["x"])), first)
        np.testing.assert_array_equal(next(iter(call["validation_data"])), held_out)
    assert timed[0]["steps_per_epoch"] == trained["steps_per_epoch"]


def test_the_json_has_the_peers_keys_and_agrees_with_itself(result):
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert tuple(found)[: len(PEER_KEYS)] == PEER_KEYS
    setting = ("tfvae", 4, 400, 8, 3, "normal")
    assert tuple(found[name] for name in PEER_KEYS[:6]) == setting
    six_digits = {"rel": 1e-5}  # as which the numbers are written
    per_image = 2 * 3 * (ENCODER + 4 * DECODER)
    gflops = found["images_per_s"] * per_image / 1e9
    assert found["gflops"] == pytest.approx(gflops, **six_digits)
    for prefix in ("", "evaluation_"):
        rate = found[f"{prefix}images_per_s"]
        assert 0 < found[f"{prefix}min"] <= rate <= found[f"{prefix}max"]
        limit = found[f"{prefix}limit_images_per_s"]
        assert found[f"{prefix}ratio"] == pytest.approx(rate / limit, **six_digits)
        limit_gflops = limit * found[f"{prefix}product_flops_per_image"] / 1e9
        assert found[f"{prefix}limit_gflops"] == pytest.approx(
            limit_gflops, **six_digits
        )
    assert found["evaluation_images"] == 20
    assert found["evaluation_product_flops_per_image"] == 2 * (ENCODER + 4 * DECODER)
    assert 0 < found["training_peak_memory_mib"] <= found["peak_memory_mib"]
    assert found["device"].startswith(("CPU: ", "GPU: "))
    assert found["versions"].keys() >= {"tfvae", "tensorflow", "keras"}
    assert Config.from_dict(found["config"]) == SMALL


def test_the_first_execution_takes_longer_than_a_later_one(result):
    step_seconds = SMALL.batch_size / result.training.rate.images_per_s
    assert result.first_step_s > step_seconds > 0


def test_every_number_of_the_table_has_its_unit(result):
    text = benchmark_text(result)
    for words in ("images/s", "GFLOP/s", "MiB", "nats", "steps", " s in training"):
        assert words in text
    assert "K = 4" in text and "S = 4, batch 400" in text and result.device in text
    assert f"{result.training.ratio:.3f} in training" in text


def test_nothing_is_left_behind_when_the_training_fails(tmp_path, monkeypatch):
    class Broken(Exception):
        pass

    def broken(self, *args, **kwargs):
        assert len(list(tmp_path.iterdir())) == 1
        raise Broken

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(VAE, "fit", broken)
    with pytest.raises(Broken):
        run_benchmark(SMALL, QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(("blocks", "evaluation_samples"), (0, -1, 2.5, True, None)),
        *itertools.product(("block_seconds",), (0, -1.0, math.inf, math.nan, "x")),
        *itertools.product(("evaluation_images",), (0, -1, 2.5, "x")),
    ],
)
def test_bad_settings_name_the_field_the_option_and_the_value(name, value):
    with pytest.raises(InputError) as caught:
        Benchmarking(**{name: value})
    message = str(caught.value)
    option = f"--{name.replace('_', '-')}"
    assert "\n" not in message
    assert all(words in message for words in (name, option, repr(value)))


@pytest.mark.slow
def test_the_command_prints_one_line_of_json(capsys):
    arguments = (
        "benchmark --json --blocks 1 --block-seconds 0.01 --evaluation-samples 3 "
        "--evaluation-images 5 --latent-size 2 --hidden-sizes 4 --batch-size 600"
    )
    assert cli.main(arguments.split()) == 0
    output = capsys.readouterr()
    assert output.err == ""
    found = json.loads(output.out)
    assert output.out.count("\n") == 1
    assert found["latents"] == "bin_concrete" and found["evaluation_samples"] == 3
    assert found["hidden"] == 4 and found["evaluation_images"] == 5


# -- serving ---------------------------------------------------------------------------


@pytest.mark.slow
def test_serving_is_timed_beside_the_keras_model(capsys):
    """At least as fast, and most often ten times: one graph in place of Python."""
    arguments = ["benchmark", "--serving", "--blocks", "2", "--block-seconds", "0.2"]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = {(row["signature"], row["batch"]): row for row in found["answers"]}
    assert set(rows) == set(itertools.product(("encode", "sample", "score"), (1, 64)))
    for (signature, _), row in rows.items():
        assert row["artefact_ms"] > 0 and row["traced_ms"] > 0
        # At a batch of 64 the score is arithmetic, and the machine noisy.
        if signature != "score":
            assert row["artefact_ms"] < row["keras_ms"]
