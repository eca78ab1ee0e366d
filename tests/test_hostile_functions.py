"""Bad arguments of public functions: one line that names what was given."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from helpers.models import binary_images, tiny_vae

from tfvae import data
from tfvae.config.settings import Scoring
from tfvae.core.types import InputError
from tfvae.data.splits import ArraySplit, StreamSplit
from tfvae.evaluation import estimate_log_likelihood, posterior_summary, score_images
from tfvae.export import export_saved_model, verify_saved_model
from tfvae.models import VAE, ConditionalDistribution

MODEL, X = tiny_vae(), binary_images(3)
SPLIT = ArraySplit("train", np.zeros((10, 2, 2, 1), np.uint8))
NAN, INF = float("nan"), float("inf")


def score(batches=(X,), num_samples=2, vae=MODEL, **how):
    return score_images(vae, batches, num_samples, **how)


EVALUATION = {
    "no model": (lambda: score(vae=None), "NoneType is no VAE"),
    "a model's name": (lambda: score(vae="vae"), "str is no VAE"),
    "a network": (lambda: score(vae=MODEL.encoder.network), "Functional is no VAE"),
    "no batches": (lambda: score(None), "batches None"),
    "a number of batches": (lambda: score(5), "batches 5"),
    "text as batches": (lambda: score("images"), "batches 'images'"),
    "other images": (lambda: score([X[:, :4]]), "(3, 4, 8, 1)"),
    "uint8": (lambda: score([X.astype("u1")]), "uint8"),
    "complex": (lambda: score([X.astype(complex)]), "complex"),
    "objects": (lambda: score([np.array([None])]), "ndarray are no array"),
    "a scalar": (lambda: score([np.float32(3)]), "shape ()"),
    "texts": (lambda: score([np.array(["a"])]), "string"),
    "rows of two lengths": (lambda: score([[[1.0], [1.0, 2.0]]]), "list are no array"),
    "a batch of nothing": (lambda: score([X[:0]]), "no images"),
    "no batch": (lambda: score([]), "no images"),
    "NaN": (lambda: score([X * NAN]), "NaN"),
    "infinity": (lambda: score([X + INF]), "NaN or infinite"),
    "one NaN in the second batch": (
        lambda: score([X, np.where(np.arange(192).reshape(X.shape) == 5, NAN, X)]),
        "NaN",
    ),
    "grey values": (lambda: score([X / 2]), "other values than 0 and 1"),
    "values of 255": (lambda: score([X * 255]), "other values than 0 and 1"),
    "2^40 samples": (lambda: score(num_samples=2**40), "1099511627776"),
    "samples as text": (lambda: score(num_samples="2"), "'2'"),
    "a chunk of nothing": (lambda: score(chunk_size=0), "chunk_size 0"),
    "a chunk of 2^40": (lambda: score(chunk_size=2**40), "chunk_size"),
    "no seed": (lambda: score(seed=None), "seed None"),
    "a seed of three": (lambda: score(seed=np.arange(3)), "seed"),
    "progress": (lambda: score(progress=5), "progress 5"),
    "estimate of no model": (lambda: estimate_log_likelihood(0, [X], 2), "int is no"),
    "estimate of NaN": (lambda: estimate_log_likelihood(MODEL, [X * NAN], 2), "NaN"),
    "summary of no model": (lambda: posterior_summary(None, [X]), "NoneType"),
    "summary of no batches": (lambda: posterior_summary(MODEL, None), "None"),
    "summary of NaN": (lambda: posterior_summary(MODEL, [X * NAN]), "NaN"),
    "summary of text": (lambda: posterior_summary(MODEL, ["images"]), "string"),
    "summary of nothing": (lambda: posterior_summary(MODEL, [X[:0]]), "no images"),
    "summary of 2^40 draws": (lambda: posterior_summary(MODEL, [X], 2**40), "109951"),
    "scoring 2^40 samples": (lambda: Scoring(num_samples=2**40), "--num-samples"),
}


def batches(split=SPLIT, size=5, **how):
    return data.training_batches(
        split, size, **{"binarization": "none", "seed": 0, **how}
    )


def pixels(value=0.0, dtype=np.float32):
    return np.full((3, 2, 2, 1), value, dtype)


DATA = {
    "no split": (lambda: batches(None), "NoneType is no split"),
    "an array as split": (lambda: batches(pixels()), "ndarray is no split"),
    "a name as split": (lambda: data.steps_per_epoch("train", 5), "str is no split"),
    "an array to evaluate": (
        lambda: data.evaluation_batches(pixels(), 5, binarization="none", seed=0),
        "ndarray is no split",
    ),
    "no binarization": (lambda: batches(binarization=None), "None"),
    "a seed of the draw": (
        lambda: batches(binarization="fixed", binarization_seed=1.5),
        "seed 1.5",
    ),
    "a start beyond all counters": (lambda: batches(start_step=2**31), "2147483648"),
    "a start that is true": (lambda: batches(start_step=True), "True"),
    "no effect": (lambda: batches(on_device=True), "on_device"),
    "images as a list": (lambda: ArraySplit("train", [[1]]), "list"),
    "no images": (lambda: ArraySplit("train", None), "NoneType"),
    "an image without channels": (
        lambda: ArraySplit("train", np.zeros((3, 2, 2), "u1")),
        "(3, 2, 2)",
    ),
    "float64": (lambda: ArraySplit("train", pixels(dtype=float)), "float64"),
    "NaN": (lambda: ArraySplit("train", pixels(NAN)), "nan"),
    "infinity": (lambda: ArraySplit("train", pixels(INF)), "inf"),
    "255": (lambda: ArraySplit("train", pixels(255)), "255"),
    "below 0": (lambda: ArraySplit("train", pixels(-0.5)), "-0.5"),
    "labels as a list": (lambda: ArraySplit("train", pixels(), [1, 2, 3]), "labels"),
    "labels of a half": (
        lambda: ArraySplit("train", pixels(), np.full(3, 0.5)),
        "labels",
    ),
    "labels as text": (
        lambda: ArraySplit("train", pixels(), np.array(["a"] * 3)),
        "labels",
    ),
    "labels of two axes": (
        lambda: ArraySplit("train", pixels(), np.zeros((3, 1), int)),
        "(3, 1)",
    ),
    "an empty stream": (lambda: StreamSplit("train", 0, (2, 2, 1), None), "no images"),
    "the first none": (lambda: SPLIT.first(0), "n 0"),
    "the first half": (lambda: SPLIT.first(0.5), "n 0.5"),
    "a name as bytes": (lambda: data.load(b"digits"), "b'digits'"),
    "a name as a list": (lambda: data.load(["digits"]), "['digits']"),
    "NUL in npz": (lambda: data.load("npz:a\0b"), r"a\x00b"),
    "NUL in idx": (lambda: data.load("idx:a\0b"), r"a\x00b"),
    "NUL in folder": (lambda: data.load("folder:a\0b"), r"a\x00b"),
    "no memory limit": (lambda: data.load("digits", memory_limit=None), "None"),
    "a limit as text": (lambda: data.load("digits", memory_limit="1"), "'1'"),
    "a limit below 0": (lambda: data.load("digits", memory_limit=-1), "-1"),
    "a folder as a number": (lambda: data.load("mnist", data_dir=5), "data_dir 5"),
    "a folder as bytes": (lambda: data.load("mnist", manual_dir=b"/no"), "b'/no'"),
    "a folder with NUL": (lambda: data.load("mnist", data_dir="a\0b"), r"a\x00b"),
    "no folder": (lambda: data.load("mnist", data_dir=""), "data_dir ''"),
    "images of a terapixel": (
        lambda: data.load("digits", image_size=(10**6, 10**6)),
        "memory_limit",
    ),
    "a side of 2^40": (lambda: data.load("digits", image_size=(2**40, 1)), "memory"),
    "a seed below 0": (lambda: data.load("digits", split_seed=-1), "-1"),
    "a seed of 2^80": (lambda: data.load("digits", split_seed=2**80), "seed"),
    "2^80 images": (lambda: data.load("digits", validation_size=2**80), "at most"),
}


def exported(path="unused", vae=MODEL, **how):
    return export_saved_model(vae, path, **how)


EXPORT = {
    "no model": (lambda: exported(vae=None), "NoneType"),
    "no path": (lambda: exported(None), "path None"),
    "a number as path": (lambda: exported(5), "path 5"),
    "an empty path": (lambda: exported(""), "path ''"),
    "a path with NUL": (lambda: exported("a\0b"), r"a\x00b"),
    "a path not in UTF-8": (lambda: exported("a\udcff"), r"a\udcff"),
    "a path as bytes": (lambda: exported(b"models"), "b'models'"),
    "a long path": (lambda: exported("a" * 300), "too long"),
    "a binarization as number": (lambda: exported(binarization=5), "5"),
    "a card as a list": (lambda: exported(card=[1]), "card"),
    "a card with a number's key": (lambda: exported(card={1j: 2}), "card"),
    "a card of bytes": (lambda: exported(card={"a": b"b"}), "card"),
    "examples as text": (lambda: exported(examples="abc"), "shape ()"),
    "nine examples": (
        lambda: exported(examples=np.zeros((9, 8, 8, 1))),
        "(9, 8, 8, 1)",
    ),
    "a range as text": (lambda: exported(value_range="ab"), "'ab'"),
    "a range of NaN": (lambda: exported(value_range=(0, NAN)), "nan"),
    "no samples": (lambda: exported(num_samples=0), "0"),
    "verify no path": (lambda: verify_saved_model(None), "path None"),
    "verify a number": (lambda: verify_saved_model(5), "path 5"),
    "verify an empty path": (lambda: verify_saved_model(""), "path ''"),
    "verify a path with NUL": (lambda: verify_saved_model("a\0b"), r"a\x00b"),
    "verify no UTF-8": (lambda: verify_saved_model("a\udcff"), r"a\udcff"),
    "verify a long path": (lambda: verify_saved_model("a" * 5000), "too long"),
    "verify a file": (lambda: verify_saved_model(__file__), "not a folder"),
}


def compiled(**how):
    vae = tiny_vae()
    vae.compile(**{"optimizer": keras.optimizers.SGD(0.1), **how})
    return vae


def put_together(**parts):
    known = {"encoder": MODEL.encoder, "decoder": MODEL.decoder, "latent": MODEL.latent}
    return VAE(**{**known, **parts})


MODELS = {
    "no encoder": (lambda: put_together(encoder=None), "network None"),
    "a number as decoder": (lambda: put_together(decoder=3), "network 3"),
    "a latent's name": (lambda: put_together(latent="gauss"), "latent 'gauss'"),
    "a prior's name": (lambda: put_together(prior="mixture"), "num_components"),
    "swapped": (
        lambda: put_together(encoder=MODEL.decoder, decoder=MODEL.encoder),
        "event_shape",
    ),
    "no head": (
        lambda: ConditionalDistribution(MODEL.encoder.network, None),
        "head None",
    ),
    "a head's name": (
        lambda: ConditionalDistribution(MODEL.encoder.network, "normal"),
        "head 'normal'",
    ),
    "an optimizer's name": (lambda: compiled(optimizer="adamant"), "'adamant'"),
    "a number as optimizer": (lambda: compiled(optimizer=5), "optimizer 5"),
    "a class as optimizer": (
        lambda: compiled(optimizer=keras.optimizers.Adam),
        "Adam'> is not usable",
    ),
    "no optimizer": (lambda: compiled(optimizer=None), "optimizer None"),
    "2^40 samples": (lambda: compiled(num_samples=2**40), "1099511627776"),
    "a chunk as text": (lambda: compiled(sample_chunk="a"), "sample_chunk 'a'"),
    "XLA as text": (lambda: compiled(jit_compile="yes"), "jit_compile 'yes'"),
    "no steps": (lambda: compiled(steps_per_execution=0), "steps_per_execution 0"),
    "images as None": (lambda: MODEL.encode(None), "NoneType are no array"),
    "images as text": (lambda: MODEL.encode("abc"), "string"),
    "objects": (lambda: MODEL.encode(np.array([object()])), "ndarray are no array"),
    "complex images": (lambda: MODEL.encode(X.astype(complex)), "complex128"),
    "an empty mapping": (lambda: MODEL.encode({}), "'image'"),
    "a scalar": (lambda: MODEL.encode(0.5), "shape ()"),
    "z as text": (lambda: MODEL.decode("z"), "shape ()"),
    "2^40 draws": (lambda: MODEL.sample(2**40, 0), "1099511627776"),
    "no draws": (lambda: MODEL.sample(None, 0), "None"),
    "2^50 weights": (lambda: MODEL.log_weight_terms(X, 2**50, 0), "num_samples"),
    "half a weight": (lambda: MODEL.log_weight_terms(X, 1.5, 0), "1.5"),
    "no twin": (lambda: MODEL.discrete(), "relaxes no discrete"),
    "fit to None": (lambda: compiled().fit(None), "no images"),
    "fit to nothing": (lambda: compiled().fit(X[:0], verbose=0), "(0, 8, 8, 1)"),
    "fit to NaN": (lambda: compiled().fit(X * NAN, verbose=0), "NaN"),
    "fit to 255": (lambda: compiled().fit(X * 255, verbose=0), "0 and 1"),
    "fit with NaN held out": (
        lambda: compiled().fit(X, validation_data=(X * NAN,), verbose=0),
        "NaN",
    ),
    "evaluate rows": (lambda: compiled().evaluate(X.reshape(3, 64), verbose=0), "64"),
    "predict rows": (lambda: MODEL.predict(X.reshape(3, 64), verbose=0), "64"),
}
CASES = [
    pytest.param(*case, id=f"{table}: {name}")
    for table, cases in {
        "evaluation": EVALUATION,
        "data": DATA,
        "export": EXPORT,
        "models": MODELS,
    }.items()
    for name, case in cases.items()
]


@pytest.mark.quick(34)
@pytest.mark.parametrize(("call", "said"), CASES)
def test_bad_arguments_are_one_line_and_write_nothing(
    call, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert said in message and "\n" not in message and len(message) < 1000
    assert not list(tmp_path.iterdir())
