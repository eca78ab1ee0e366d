"""What is exported to other runtimes answers as TensorFlow does, without TensorFlow.

Their tests skip where the extras `onnx` and `litert`, or `openvino`, are not installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.models import IMAGE_SHAPE, slow_but, tiny_vae

from tfvae.conditions import (
    Condition,
    Embedding,
    Image,
    Numeric,
    OneHot,
    Several,
)
from tfvae.core import optional
from tfvae.core.types import InputError
from tfvae.distributions import draws
from tfvae.distributions.families import log_gamma_step
from tfvae.export import export_model, layout, verify_saved_model
from tfvae.export.anywhere import Arrays
from tfvae.export.formats import Exported
from tfvae.export.layout import (
    ANSWERS,
    CARD,
    NOISE_ANSWERS,
    NOISE_REQUESTS,
    PAGE,
    REQUESTS,
)
from tfvae.export.pixels import Pixels
from tfvae.export.replay import arrays, read_pair
from tfvae.heads import HEADS
from tfvae.latents import LATENTS, Hierarchy, Latent
from tfvae.models import VAE, SelfMasking, SemiSupervisedVAE
from tfvae.networks import mlp
from tfvae.priors import MixturePrior, Prior, VampPrior

RNG = np.random.default_rng(0)
GREY = np.float32(RNG.random((2, *IMAGE_SHAPE)))
# Sums of 64 terms of float32, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{missing} not installed")


ONNX, LITERT = needs("tf2onnx", "onnxruntime"), needs("ai_edge_litert")
OPENVINO = needs("openvino")


def layered() -> VAE:
    """Two layers, of which the upper one is drawn given the lower one."""
    parts = [LATENTS["normal"](3), LATENTS["logistic"](2)]
    heads = [part.posterior_head() for part in parts]
    family = Hierarchy(
        parts,
        [mlp((3,), heads[1].params_shape, (4,), seed=1)],
        [mlp((2,), heads[0].params_shape, (4,), seed=2)],
    )
    base = tiny_vae()
    encoder = mlp(IMAGE_SHAPE, heads[0].params_shape, (8,), seed=3)
    return VAE(encoder, base.decoder, family)


def with_condition(condition: Condition, prior: str | None = None) -> VAE:
    base = tiny_vae()
    size = condition.shape
    decoder = mlp((3,), IMAGE_SHAPE, (8,), condition_shape=size, seed=4)
    return VAE(base.encoder, decoder, base.latent, condition=condition, prior=prior)


def with_prior(prior: Callable[[Latent], Prior], latent: str = "normal") -> VAE:
    vae = tiny_vae(latent)
    return VAE(vae.encoder, vae.decoder, vae.latent, prior(vae.latent))


def semi_supervised(missing: str | None = None) -> VAE:
    base, condition = tiny_vae(), OneHot(3)
    encoder = mlp(
        IMAGE_SHAPE,
        base.encoder.head.params_shape,
        (8,),
        condition_shape=condition.shape,
        seed=5,
    )
    classifier = mlp(IMAGE_SHAPE, (3,), (8,), seed=6)
    return SemiSupervisedVAE(
        encoder, base.decoder, classifier, base.latent, missing=missing
    )


CONDITIONS: dict[str, Callable[[], Condition]] = {
    "class": lambda: OneHot(4),
    "name": lambda: OneHot(["red", "blue", "green"]),
    "embedding": lambda: Embedding(["red", "blue"], 2),
    "number": lambda: Numeric(2, 1.0, 3.0),
    "image": lambda: Image((2, 2)),
    "several": lambda: Several({"age": Numeric(), "digit": OneHot(["a", "b"])}),
}
MODELS: dict[str, Callable[[], VAE]] = {
    **{name: lambda name=name: tiny_vae(name) for name in LATENTS},
    "layers": layered,
    **{
        name: lambda condition=condition: with_condition(condition())
        for name, condition in CONDITIONS.items()
    },
    "prior of a class": lambda: with_condition(OneHot(4), "conditional"),
    "mixture": lambda: with_prior(lambda z: MixturePrior(z, 3)),
    "mixture of bits": lambda: with_prior(lambda z: MixturePrior(z, 3), "bernoulli"),
    "vamp": lambda: with_prior(lambda z: VampPrior(z, GREY)),
    "holes": lambda: tiny_vae().with_missing("mar"),
    "self-masking": lambda: tiny_vae(head="normal").with_missing(
        SelfMasking(IMAGE_SHAPE)
    ),
    "semi-supervised": semi_supervised,
    "semi-supervised with holes": lambda: semi_supervised("mar"),
}


def exported(vae: VAE, num_samples: int) -> Exported:
    pixels = Pixels("dynamic", None, holes=vae.missing is not None)
    return Exported(vae, pixels, num_samples, None, GREY)


@pytest.mark.parametrize(
    "name", slow_but(("normal", "student_t", "categorical", "layers"), MODELS)
)
def test_the_noise_of_a_seed_gives_the_seeds_answer(name):
    """70 samples are two blocks of draws. Noise of another row gives other answers."""
    model = exported(MODELS[name](), 70)
    served = model.anywhere
    for key, signature in served.signatures.items():
        asked = [tf.constant(served.requests[key][n]) for n in signature.inputs]
        with draws.recorded() as drawn:
            found = signature.function(*asked)
        assert not drawn
        for output, value in served.answers[key].items():
            np.testing.assert_allclose(found[output], value, **CLOSE)
        if key in ("sample", "score"):
            order = list(signature.inputs)
            first = next(i for i, n in enumerate(order) if n.startswith("noise"))
            moved = [v[::-1] if i >= first else v for i, v in enumerate(asked)]
            other = signature.function(*moved)
            output = "z" if key == "sample" else "iwae"
            assert np.abs(other[output] - served.answers[key][output]).max() > 1e-3


def test_score_is_the_mean_weight_of_the_noise_in_numpy():
    """iwae = log (1/K) sum_k w_k with z_k = mean + scale noise_k."""
    vae = tiny_vae()
    served = exported(vae, 5).anywhere
    asked = {k: tf.constant(v) for k, v in served.requests["score"].items()}
    x = np.float32(asked["noise_1"] < GREY)
    posterior = vae.encode(x).distribution
    loc, scale = posterior.loc.numpy(), posterior.scale.numpy()
    u = asked["noise_2"].numpy().transpose(1, 0, 2)  # [K, B, D]
    z = loc + scale * u
    log_q = np.sum(-0.5 * (u**2 + np.log(2 * np.pi)) - np.log(scale), -1)
    log_p = np.sum(-0.5 * (z**2 + np.log(2 * np.pi)), -1)
    log_weights = vae.decode(tf.constant(z)).log_prob(x).numpy() + log_p - log_q
    expected = np.log(np.mean(np.exp(np.float64(log_weights)), axis=0))
    found = served.signatures["score"].function(*asked.values())
    np.testing.assert_allclose(found["iwae"], expected, rtol=1e-5)


def test_the_step_of_log_gamma_is_exact():
    a = np.array([0.01, 0.3, 1.0, 3.7, 50.0, 1e4])
    exact = tf.math.lgamma(a + 0.5) - tf.math.lgamma(a)
    found = log_gamma_step(tf.constant(a))
    np.testing.assert_allclose(found, exact, atol=2e-7)


def test_noise_that_no_law_has_is_moved_into_it():
    given = tf.constant([np.nan, 0.0, 2.0, -2.0, 1e-30])
    tamed = draws.SIGNED_UNIFORM.tamed(given).numpy()
    np.testing.assert_array_equal(tamed, [2.0**-24, 2.0**-24, 1, -1, 2.0**-24])
    assert draws.NORMAL.tamed(given).numpy()[0] == 0.0


def test_a_zero_of_a_float32_generator_is_no_draw_of_the_far_tail():
    """It comes with a chance of 2^-24, so its value may be about as rare, not e^-44."""
    chance = 2.0**-24
    for standard in (draws.standard_logistic, draws.standard_exponential):
        with draws.given([lambda: tf.zeros([1])]):
            (z,) = standard([1], tf.constant([0, 0]), tf.float32).numpy()
        assert 0.1 * chance < np.exp(-abs(z)) < 10 * chance


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("onnx", marks=ONNX), pytest.param("litert", marks=LITERT)]
)
@pytest.mark.parametrize("name", MODELS)
def test_a_runtime_alone_gives_the_recorded_answers(name, kind, tmp_path):
    """In a fresh process in which TensorFlow, Keras and tfvae cannot be imported."""
    path = export_model(MODELS[name](), tmp_path / "m", [kind], num_samples=5)
    found = verify_saved_model(path)
    assert set(found.anywhere) >= {"encode", "decode", "reconstruct", "sample", "score"}
    assert not found.signatures and kind in found.runtimes


def session(path: pathlib.Path, kind: str, signature: str) -> Callable[..., Arrays]:
    """A signature of a written model in its runtime."""
    if kind == "litert":
        interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter
        return interpreter(str(path / "litert/model.tflite")).get_signature_runner(
            signature
        )
    runtime = importlib.import_module("onnxruntime")
    model = runtime.InferenceSession(path / f"onnx/{signature}.onnx")
    names = [each.name for each in model.get_outputs()]
    return lambda **asked: dict(zip(names, model.run(names, asked), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("onnx", marks=ONNX), pytest.param("litert", marks=LITERT)]
)
@pytest.mark.parametrize("name", ["normal", "logistic", "student_t", "layers", "class"])
def test_noise_that_is_none_is_answered_and_rows_must_agree(name, kind, tmp_path):
    path = export_model(MODELS[name](), tmp_path / "m", [kind], num_samples=5)
    spec = json.loads((path / CARD).read_text())["anywhere"]["score"]["inputs"]
    rows, _ = read_pair(path / NOISE_REQUESTS, path / NOISE_ANSWERS, "score")
    asked = arrays(rows, spec, layout)
    noisy = [key for key in asked if key.startswith("noise")]
    for key in noisy:  # NaN and infinite numbers are moved to those that the law has
        for value in (np.nan, np.inf, -np.inf):
            instead = {**asked, key: np.full_like(asked[key], value)}
            found = session(path, kind, "score")(**instead)
            assert all(np.isfinite(v).all() for v in found.values()), (key, value)
    for key, value in asked.items():
        with pytest.raises(Exception, match=r"(?i)reshape"):
            session(path, kind, "score")(**{**asked, key: value[:1]})


def saved(vae: VAE, folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, Arrays]]:
    """A SavedModel, and its answers to its own requests, without seeds."""
    path = export_model(vae, folder / "m", num_samples=2)
    card = json.loads((path / CARD).read_text())["signatures"]
    found = {}
    for name, spec in card.items():
        if "seed" not in spec["inputs"]:
            found[name] = {
                what: arrays(rows, spec[what], layout)
                for what, rows in zip(
                    ("inputs", "outputs"),
                    read_pair(path / REQUESTS, path / ANSWERS, name),
                    strict=True,
                )
            }
    assert {"encode", "decode", "reconstruct", "encode_uint8"} <= set(found)
    return path, found


CERTAIN_NAMES = [*LATENTS, "layers", "class", "semi-supervised"]
CERTAIN = slow_but((), CERTAIN_NAMES)


@ONNX
@pytest.mark.parametrize("name", CERTAIN)
def test_what_is_certain_in_a_savedmodel_converts_to_onnx(name, tmp_path, monkeypatch):
    """By tf2onnx' own command, which knows nothing of this package."""
    convert = importlib.import_module("tf2onnx.convert")
    runtime = importlib.import_module("onnxruntime")
    path, asked = saved(MODELS[name](), tmp_path)
    for signature, each in asked.items():
        file = tmp_path / f"{signature}.onnx"
        how = ["--saved-model", path, "--output", file, "--signature_def", signature]
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, how), "--tag", "serve"])
        convert.main()
        names = list(each["outputs"])
        found = runtime.InferenceSession(file).run(names, each["inputs"])
        for value, key in zip(found, names, strict=True):
            np.testing.assert_allclose(value, each["outputs"][key], **CLOSE)


@LITERT
@pytest.mark.parametrize("name", CERTAIN)
def test_what_is_certain_in_a_savedmodel_converts_to_litert(name, tmp_path):
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    path, asked = saved(MODELS[name](), tmp_path)
    for signature, each in asked.items():  # by itself, as who wants one would
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(path), signature_keys=[signature]
        )
        model = interpreter(model_content=converter.convert())
        found = model.get_signature_runner(signature)(**each["inputs"])
        for key, value in each["outputs"].items():
            np.testing.assert_allclose(found[key], value, **CLOSE)


def by_openvino(model: Any, asked: Arrays) -> Any:
    """The answers of a file or a function, by name; without the hint in bfloat16."""
    openvino = importlib.import_module("openvino")
    if not isinstance(model, pathlib.Path):
        model = openvino.convert_model(model)
    how = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(model, "CPU", how)(asked)


@pytest.mark.slow
@OPENVINO
@pytest.mark.parametrize("name", CERTAIN_NAMES)
def test_what_is_certain_in_a_savedmodel_converts_to_openvino(name, tmp_path):
    path, asked = saved(MODELS[name](), tmp_path)
    loaded = tf.saved_model.load(str(path))  # holds the weights
    for signature, each in asked.items():
        found = by_openvino(loaded.signatures[signature], each["inputs"])
        for key, value in each["outputs"].items():
            np.testing.assert_allclose(found[key], value, **CLOSE)


@pytest.mark.slow
@ONNX
@OPENVINO
@pytest.mark.parametrize("name", MODELS)
def test_openvino_runs_the_onnx_files_in_float32(name, tmp_path):
    path = export_model(MODELS[name](), tmp_path / "m", ["onnx"], num_samples=5)
    card = json.loads((path / CARD).read_text())["anywhere"]
    for signature, spec in card.items():
        rows, told = read_pair(path / NOISE_REQUESTS, path / NOISE_ANSWERS, signature)
        asked = arrays(rows, spec["inputs"], layout)
        wanted = arrays(told, spec["outputs"], layout)
        found = by_openvino(path / "onnx" / f"{signature}.onnx", asked)
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, **CLOSE)


@pytest.mark.slow
@LITERT
def test_quantised_weights_cost_what_the_card_says(tmp_path):
    path = export_model(
        tiny_vae(hidden_sizes=(64,)),
        tmp_path / "m",
        ["litert"],
        quantize=["float16", "int8"],
        num_samples=5,
    )
    costs = json.loads((path / CARD).read_text())["quantized"]
    whole = (path / "litert/model.tflite").stat().st_size
    for kind in ("float16", "int8"):
        assert costs[kind]["bytes"] < whole
        assert 0 < costs[kind]["differences"]["score"] < 0.5
        loss = measured_loss(path, costs[kind]["file"])
        assert abs(loss) > 2e-5  # five steps of float32
        assert costs[kind]["loss"] == pytest.approx(loss, rel=0.01)
    verify_saved_model(path)


def measured_loss(path: pathlib.Path, file: str) -> float:
    """The mean L_K of the recorded answers, less that of a file, in nats."""
    runtime = importlib.import_module("ai_edge_litert.interpreter")
    card = json.loads((path / CARD).read_text())["anywhere"]["score"]
    rows, told = read_pair(path / NOISE_REQUESTS, path / NOISE_ANSWERS, "score")
    score = runtime.Interpreter(str(path / file)).get_signature_runner("score")
    here = score(**arrays(rows, card["inputs"], layout))["iwae"]
    return float(np.mean([row["iwae"] for row in told] - here))


@pytest.mark.slow
@LITERT
def test_int8_that_changes_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="int8 changes nothing"):
        export_model(tiny_vae(), tmp_path / "m", ["litert"], quantize=["int8"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("onnx", marks=ONNX), pytest.param("litert", marks=LITERT)]
)
@pytest.mark.parametrize(
    "head", [n for n in HEADS if not HEADS[n]((1,)).support.startswith("counts")]
)
def test_every_likelihood_that_is_served_is_answered(head, kind, tmp_path):
    path = export_model(tiny_vae(head=head), tmp_path / "m", [kind], num_samples=5)
    assert "score" in verify_saved_model(path).anywhere


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("onnx", marks=ONNX), pytest.param("litert", marks=LITERT)]
)
def test_an_operation_that_a_format_lacks_leaves_nothing(kind, tmp_path):
    vae = tiny_vae()
    network = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Lambda(tf.math.bessel_i0e)]
    )
    decoder = keras.Sequential([network, vae.decoder.network])
    odd = VAE(vae.encoder, decoder, vae.latent)
    with pytest.raises(InputError, match="BesselI0e"):
        export_model(odd, tmp_path / "m", [kind], num_samples=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_page_is_in_the_version_and_is_the_one_that_was_written(tmp_path):
    card = {"name": "digits", "summary": {"Trained on": "few images"}}
    path = export_model(tiny_vae(), tmp_path / "m", ["web"], card=card)
    text = (path / PAGE).read_text()
    assert "<title>digits" in text and "few images" in text
    found = verify_saved_model(path)
    assert found.page == path / PAGE and not found.signatures and not found.anywhere
    (path / PAGE).write_text(text.replace("digits", "digit"))
    with pytest.raises(InputError, match="page.html is not the one"):
        verify_saved_model(path)


@pytest.mark.slow
@ONNX
def test_a_class_that_is_none_is_answered_with_nan(tmp_path):
    """A runtime has no assertion; no number is made of class 7 of 4."""
    runtime = importlib.import_module("onnxruntime")
    path = export_model(MODELS["class"](), tmp_path / "m", ["onnx"], num_samples=2)
    decode = runtime.InferenceSession(path / "onnx/decode.onnx")
    z, classes = np.zeros([2, 3], np.float32), np.array([1, 7])
    (mean,) = decode.run(None, {"z": z, "condition": classes})
    assert np.isfinite(mean[0]).all() and np.isnan(mean[1]).all()


@pytest.mark.slow
@ONNX
def test_a_wrong_answer_is_found(tmp_path):
    path = export_model(tiny_vae(), tmp_path / "m", ["onnx"], num_samples=5)
    file = path / NOISE_ANSWERS / "score.json"
    answer = json.loads(file.read_text())
    answer["predictions"][1]["iwae"] *= 1.05
    file.write_text(json.dumps(answer))
    with pytest.raises(InputError, match="score .onnx.: iwae differs"):
        verify_saved_model(path)


@pytest.mark.parametrize(
    ("formats", "quantize", "said"),
    [
        (["onix"], (), "onnx"),
        ([], (), "one or more"),
        (["onnx", "onnx"], (), "each once"),
        ("onnx", (), "one or more"),
        (["savedmodel"], ["int8"], "add litert"),
        (["litert"], ["int4"], "int4"),
        (["litert"], ["int8", "int8"], "each once"),
        (["litert"], "int8", "each once"),
    ],
)
def test_bad_formats_are_refused_before_anything_is_written(
    formats, quantize, said, tmp_path
):
    with pytest.raises(InputError, match=said):
        export_model(tiny_vae(), tmp_path / "m", formats, quantize=quantize)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("card", [{"signatures": {}}, {"onnx": 5}, {"format": 7}])
def test_what_every_card_has_is_not_given(card, tmp_path):
    with pytest.raises(InputError, match="is written into every card"):
        export_model(tiny_vae(), tmp_path / "m", ["web"], card=card)


@pytest.mark.parametrize("given", ["num_samples", "detector"])
def test_what_a_page_has_not_is_refused(given, tmp_path):
    with pytest.raises(InputError, match=rf"{given} .*has no effect in the format web"):
        export_model(tiny_vae(), tmp_path / "m", ["web"], **{given: 3})


@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_a_missing_extra_is_named_before_anything_is_written(
    kind, tmp_path, monkeypatch
):
    def no_module(name):
        raise ImportError(name)

    monkeypatch.setattr(optional.importlib, "import_module", no_module)
    with pytest.raises(InputError, match=rf"tfvae\[{kind}\]"):
        export_model(tiny_vae(), tmp_path / "m", ["savedmodel", kind])
    assert not list(tmp_path.iterdir())
