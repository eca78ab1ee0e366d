"""Models of data with holes as they are served, and p-values of served scores."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from helpers.kernels import XLA_GPU, graphs, without_kernel
from helpers.models import IMAGE_SHAPE, slow_but, tiny_vae
from helpers.rest import Refused, answered

from tfvae import anomaly
from tfvae.conditions import OneHot
from tfvae.core.seeds import derive_seed
from tfvae.core.types import InputError
from tfvae.evaluation.anomaly.measuring import seeds_of
from tfvae.export import export_saved_model, verify_saved_model
from tfvae.export.calibrated import p_values_of
from tfvae.export.layout import CARD, REQUESTS
from tfvae.models import VAE, Batch, SelfMasking, SemiSupervisedVAE
from tfvae.models.imputation import _keys
from tfvae.networks import mlp

RNG = np.random.default_rng(0)
BITS = (RNG.random((5, *IMAGE_SHAPE)) < 0.3).astype(np.float32)
SEEN = RNG.random(BITS.shape) < 0.6
SEEN[0] = True
HOLES = np.where(SEEN, BITS, np.nan).astype(np.float32)
SEEDS = np.stack([np.zeros(5), np.arange(5)], 1).astype(np.int32)
SAMPLES = 7
# float32 sums of 64 terms in another order
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
OF_X = ("encode", "reconstruct", "score", "impute")


def with_mask(head: str = "bernoulli", condition: OneHot | None = None) -> VAE:
    """A model whose encoder sees the mask, and a condition if there is one."""
    base = tiny_vae(head=head)
    seen = IMAGE_SHAPE
    if condition is not None:
        seen = (int(np.prod(IMAGE_SHAPE)) + condition.num_classes,)
    encoder = mlp(
        IMAGE_SHAPE, base.encoder.head.params_shape, (8,), condition_shape=seen, seed=0
    )
    return VAE(encoder, base.decoder, base.latent, condition=condition, missing="mar")


MODELS = {
    "mask": with_mask,
    "filled": lambda: tiny_vae().with_missing("mar"),
    "condition": lambda: with_mask(condition=OneHot(3)),
    "grey": lambda: with_mask("normal"),
    "self-masking": lambda: tiny_vae(head="normal").with_missing(
        SelfMasking(IMAGE_SHAPE)
    ),
}


class Served:
    """A model and its exported self."""

    def __init__(self, vae: VAE, folder, **how) -> None:
        self.vae = vae
        self.path = export_saved_model(vae, folder, num_samples=SAMPLES, **how)
        self.model = tf.saved_model.load(str(self.path))

    @property
    def given(self) -> dict[str, np.ndarray]:
        """The condition of the five images."""
        classes = np.array([0, 1, 2, 1, 0])
        return {} if self.vae.condition is None else {"condition": classes}

    def ask(self, name: str, **inputs) -> dict[str, np.ndarray]:
        asked = {k: tf.constant(v) for k, v in {**inputs, **self.given}.items()}
        found = self.model.signatures[name](**asked)
        return {key: value.numpy() for key, value in found.items()}

    def batch(self) -> Batch:
        return self.vae.as_batch({"x": HOLES, "observed": SEEN, **self.given})


@pytest.fixture(scope="module", params=slow_but(("mask", "self-masking"), MODELS))
def served(request, tmp_path_factory) -> Served:
    folder = tmp_path_factory.mktemp("served") / request.param
    return Served(MODELS[request.param](), folder)


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Served:
    return Served(with_mask(), tmp_path_factory.mktemp("masked") / "model")


def asked(name: str) -> dict[str, np.ndarray]:
    seeds = {"seed": SEEDS} if name.startswith(("score", "impute")) else {}
    return {"x": HOLES, "observed": SEEN, **seeds}


def test_whatever_takes_x_takes_the_mask(served):
    card = json.loads((served.path / CARD).read_text())
    for name, signature in card["signatures"].items():
        assert ("observed" in signature["inputs"]) == ("x" in signature["inputs"]), name
        if "x" in signature["inputs"]:
            wanted = {"dtype": "bool", "shape": [None, *IMAGE_SHAPE]}
            assert signature["inputs"]["observed"] == wanted
    assert set(card["signatures"]) >= {*OF_X, *(f"{name}_uint8" for name in OF_X)}
    assert "observed" in card["preprocessing"]


def test_encode_and_reconstruct_are_the_models_of_what_is_observed(served):
    vae, batch = served.vae, served.batch()
    found = served.ask("encode", **asked("encode"))
    for name, value in vae.encoder.head.named_params(vae.encode(batch)).items():
        np.testing.assert_allclose(found[name], value, **CLOSE)
    found = served.ask("reconstruct", **asked("reconstruct"))
    np.testing.assert_allclose(found["mean"], vae.reconstruct(batch), **CLOSE)


def test_score_has_the_models_log_weights(served):
    batch, found = served.batch(), served.ask("score", **asked("score"))
    for row in range(5):
        one = batch.rows(row, row + 1)
        terms = served.vae.log_weight_terms(one, SAMPLES, tf.constant(SEEDS[row]))
        log_weights = np.float64(terms.log_weights())[:, 0]
        # atol: sums of 64 log-probabilities
        np.testing.assert_allclose(
            found["elbo"][row], log_weights.mean(), rtol=1e-5, atol=1e-4
        )


@pytest.mark.quick(1)
def test_impute_is_the_models_own_where_the_seeds_are(served):
    """In memory an example's seed is derived from its values."""
    own = served.vae.impute(served.batch(), None, SAMPLES, 1, seed=3)
    keys = _keys(served.batch())
    seeds = np.stack([derive_seed(3, "impute", key) for key in keys])
    found = served.ask("impute", x=HOLES, observed=SEEN, seed=seeds)
    assert found.keys() == {"mean", "draw", "ess"}
    np.testing.assert_allclose(found["mean"], own.mean, **CLOSE)
    np.testing.assert_allclose(found["draw"], own.draws[0], **CLOSE)
    np.testing.assert_allclose(found["ess"], own.ess, **CLOSE)
    for name in ("mean", "draw"):
        np.testing.assert_array_equal(found[name][SEEN], BITS[SEEN])


@pytest.mark.parametrize("name", OF_X)
def test_an_answer_is_a_function_of_its_row_and_of_what_is_observed(masked, name):
    together = masked.ask(name, **asked(name))
    alone = masked.ask(name, **{k: v[2:3] for k, v in asked(name).items()})
    junk = {**asked(name), "x": np.where(SEEN, BITS, np.float32(-7e30))}
    for key, value in masked.ask(name, **junk).items():
        np.testing.assert_allclose(together[key][2:3], alone[key], **CLOSE)
        np.testing.assert_array_equal(value, together[key])
        assert np.isfinite(value).all() and value.dtype == np.float32
    levels = {**asked(name), "x": np.uint8(255 * BITS)}
    for key, value in masked.ask(f"{name}_uint8", **levels).items():
        np.testing.assert_allclose(value, together[key], **CLOSE)


def test_seeds_make_the_draws(masked):
    found = masked.ask("impute", **asked("impute"))
    again = masked.ask("impute", **asked("impute"))
    other = masked.ask("impute", **{**asked("impute"), "seed": SEEDS + 9})
    np.testing.assert_array_equal(found["draw"], again["draw"])
    assert (found["draw"][~SEEN] != other["draw"][~SEEN]).any()
    assert set(np.unique(found["draw"])) <= {0, 1}


@pytest.mark.parametrize("name", OF_X)
def test_a_nan_that_is_called_observed_is_an_error(masked, name):
    seen = SEEN.copy()
    seen[3] = True
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN where observed"):
        masked.ask(name, **{**asked(name), "observed": seen})


@pytest.mark.parametrize("observed", [False, True])
def test_all_and_nothing_may_be_observed(masked, observed):
    mask = np.full(BITS.shape, observed)
    for name in OF_X:
        asks = {**asked(name), "x": BITS, "observed": mask}
        for key, value in masked.ask(name, **asks).items():
            assert np.isfinite(value).all(), (name, key)
    found = masked.ask("impute", x=BITS, observed=mask, seed=SEEDS)
    if observed:
        np.testing.assert_array_equal(found["mean"], BITS)
    else:  # the weights are then p(z) / q(z)
        assert (found["ess"] <= SAMPLES + 1e-4).all()


@pytest.mark.slow
def test_the_records_replay_with_tensorflow_alone(masked):
    found = verify_saved_model(masked.path)
    assert {*OF_X} <= set(found.signatures)
    for row in found.signatures.values():
        assert row["rows"] == 2 and row["TF2"] < 1e-5 and row["session"] < 1e-5


def test_recorded_requests_are_bodies_of_a_rest_server(masked):
    for name in OF_X:
        body = (masked.path / REQUESTS / f"{name}.json").read_bytes()
        rows = json.loads(body)["instances"]
        assert not np.all([row["observed"] for row in rows])
        assert len(answered(masked.model, body)["predictions"]) == 2
    for row in rows:
        row["observed"] = np.asarray(row["observed"], int).tolist()
    body = json.dumps({"signature_name": "impute", "instances": rows}).encode()
    with pytest.raises(Refused, match="true and false"):
        answered(masked.model, body)
    for row in rows:
        del row["observed"]
    with pytest.raises(Refused, match="observed"):
        answered(
            masked.model,
            json.dumps({"signature_name": "impute", "instances": rows}).encode(),
        )


@pytest.mark.slow
def test_a_semi_supervised_model_classifies_what_is_observed(tmp_path):
    base, condition = tiny_vae(), OneHot(3)
    parts = [
        mlp(IMAGE_SHAPE, shape, (8,), condition_shape=c, seed=0)
        for shape, c in (
            (base.encoder.head.params_shape, condition.shape),
            ((3,), None),
        )
    ]
    vae = SemiSupervisedVAE(
        parts[0],
        base.decoder,
        parts[1],
        base.latent,
        condition=condition,
        missing="mar",
    )
    path = export_saved_model(vae, tmp_path / "model", num_samples=2)
    ask = tf.saved_model.load(str(path)).signatures["classify"]
    found = ask(x=tf.constant(HOLES), observed=tf.constant(SEEN))["probability"]
    filled = vae.as_batch({"x": HOLES, "observed": SEEN}).x
    np.testing.assert_allclose(found, vae.class_probability(filled), **CLOSE)


@pytest.mark.slow
def test_a_model_without_missing_has_no_mask(tmp_path):
    path = export_saved_model(tiny_vae(), tmp_path / "model", num_samples=2)
    signatures = json.loads((path / CARD).read_text())["signatures"]
    assert not any(name.startswith("impute") for name in signatures)
    assert not any("observed" in each["inputs"] for each in signatures.values())


# -- p-values --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector() -> anomaly.Detector:
    held_out = (RNG.random((40, *IMAGE_SHAPE)) < 0.3).astype(np.float32)
    return anomaly.calibrate(tiny_vae(), held_out, num_samples=64)


@pytest.fixture(scope="module")
def judging(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judging") / "model"
    path = export_saved_model(detector.vae, folder, detector=detector)
    return tf.saved_model.load(str(path)), path


@pytest.mark.slow
def test_served_p_values_are_the_rank_of_the_served_score(judging, detector):
    model, path = judging
    found = model.signatures["score"](x=tf.constant(BITS), seed=tf.constant(SEEDS))
    scores = -np.float64(found["iwae"])
    below = (detector.calibration[:, np.newaxis] < scores).sum(axis=0)
    np.testing.assert_allclose(found["p_value"], (41 - below) / 41, rtol=1e-6)
    card = json.loads((path / CARD).read_text())["signatures"]
    assert "p_value" in card["score"]["outputs"]
    assert "L_64" in card["score"]["description"]
    assert verify_saved_model(path).signatures["score"]["rows"] == 2


def test_served_p_values_are_those_in_memory_where_the_seeds_are(judging, detector):
    """In memory the seed of an example's draws is derived from its values."""
    x = (RNG.random((200, *IMAGE_SHAPE)) < 0.3).astype(np.float32)
    own, seeds = detector.p_values(x), seeds_of({"x": x}, detector.seed)
    found = judging[0].signatures["score"](x=tf.constant(x), seed=seeds)["p_value"]
    # Of rows that were rounded in another way a tie may be none: one rank of 41.
    assert np.mean(np.abs(found - own) > 1e-6) < 0.05
    np.testing.assert_allclose(found, own, rtol=0, atol=1.01 / 41)


def test_served_p_values_are_those_in_memory_but_for_the_draws(judging, detector):
    x = (RNG.random((300, *IMAGE_SHAPE)) < 0.3).astype(np.float32)
    seed = np.stack([np.ones(300), np.arange(300)], 1).astype(np.int32)
    ask = judging[0].signatures["score"]
    served = np.float64(ask(x=tf.constant(x), seed=tf.constant(seed))["p_value"])
    differences = served - detector.p_values(x)
    # Five standard errors: the draws are independent.
    assert abs(differences.mean()) < 5 * differences.std() / np.sqrt(300)


def test_p_values_in_a_graph_are_the_detectors(detector):
    ends = [-np.inf, np.inf, detector.calibration[0], detector.calibration[-1]]
    scores = np.array([*ends, *detector.calibration[5:8], 30.0])
    found = p_values_of(detector.calibration, tf.constant(scores))
    np.testing.assert_array_equal(found, detector.p_values_of(scores))
    assert (
        p_values_of(detector.calibration, tf.constant([np.nan], tf.float64)).numpy()
        == 1 / 41
    )


def test_every_operation_has_a_kernel_of_a_gpu(judging, masked):
    asked = [judging[0].signatures["score"]]
    asked += [masked.model.signatures[name] for name in OF_X]
    for signature in asked:
        for graph in graphs(signature):
            assert without_kernel(graph, ("GPU", "DEFAULT")) == set()
            assert without_kernel(graph, (XLA_GPU,)) == set()


def test_a_detector_that_does_not_fit_is_one_line(detector, tmp_path):
    vae = detector.vae
    held_out = np.resize(BITS, (12, *IMAGE_SHAPE))
    dose = anomaly.calibrate(vae, held_out, "dose", 2)
    for how, said in (
        ({"detector": dose}, "Dose are not served"),
        ({"detector": detector, "num_samples": 5}, "5 is not that of the calibration"),
        ({"detector": detector, "num_samples": 0}, "num_samples"),
        ({"detector": 3}, "detector 3"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            export_saved_model(vae, tmp_path / "model", **how)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="another model"):
        export_saved_model(tiny_vae(seed=5), tmp_path / "model", detector=detector)
    assert not (tmp_path / "model").exists()
