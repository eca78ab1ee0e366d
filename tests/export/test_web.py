"""A page's engine computes what TensorFlow does, and the page holds nothing foreign."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import hierarchies
from helpers.conditional import Known
from helpers.models import IMAGE_SHAPE, tiny_vae, vae_of

import tfvae
from tfvae.conditions import Embedding, Numeric, OneHot, Several
from tfvae.core.types import InputError
from tfvae.export import export_web, web_graph
from tfvae.export.web import ALLOWED, DRAWS
from tfvae.heads import HEADS, BernoulliHead
from tfvae.latents import LATENTS
from tfvae.networks import NETWORKS
from tfvae.priors import LearnedPrior, MixturePrior

NODE = shutil.which("node")
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = os.environ.get("TFVAE_BROWSER") or next(
    filter(None, map(shutil.which, NAMES)), None
)
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node on the PATH")
# JavaScript sums in float64 and rounds each result to float32 as TensorFlow does; its
# exp and log differ from TensorFlow's by some units in the last place.
CLOSE = 1e-5
# Runs requests, one a line of stdin, on the page that is given.
RUN = """
const fs = require("fs"), [engine, page] = process.argv.slice(2);
const Engine = require(engine), text = fs.readFileSync(page, "utf8");
const part = (id) => text.match(new RegExp(`id="${id}">([^<]*)<`))[1];
const model = JSON.parse(part("model"));
const bytes = new Uint8Array(Buffer.from(part("bytes"), "base64"));
const opened = Engine.open(model, bytes);
const asked = JSON.parse(fs.readFileSync(0, "utf8"));
const answers = { check: opened.check() };
const decode = (z) => [...opened.decode(z, asked.conditions)];
if (asked.z) answers.means = asked.z.map(decode);
if (asked.seed !== undefined)
  answers.draws = opened.sample(asked.seed, asked.conditions).map((row) => [...row]);
console.log(JSON.stringify(answers));
"""
ENGINE = pathlib.Path(web_graph.__file__).with_name("web_engine.js")


def run(page: pathlib.Path, **asked: Any) -> dict[str, Any]:
    """What the page's own programs give in Node."""
    script = page.with_suffix(".js")
    script.write_text(RUN)
    done = subprocess.run(
        [str(NODE), script, ENGINE, page],
        input=json.dumps({"conditions": [], **asked}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def model_in(page: pathlib.Path) -> dict[str, Any]:
    return json.loads(re.findall(r'id="model">([^<]*)<', page.read_text())[0])


def spread(vae, scale: float = 0.5):
    """Moves the weights far from their start, where a fault could hide behind zeros."""
    rng = np.random.default_rng(3)
    for weight in vae.trainable_variables:
        weight.assign(weight + rng.normal(0, scale, weight.shape))
    return vae


def assert_agrees(vae, tmp_path, condition=None, served=(), seed: int = 5) -> None:
    """The page's draws and means are those of `vae.sample`, and it knows if not."""
    page = export_web(vae, tmp_path / "page.html", precision="float32")
    wanted = vae.sample(DRAWS, seed, condition)
    z = np.reshape(wanted.z, [DRAWS, -1]).astype(float)
    found = run(page, z=z.tolist(), seed=seed, conditions=list(served))
    assert found["check"] <= CLOSE
    scale = np.maximum(1, np.abs(z))
    assert np.max(np.abs(np.array(found["draws"]) - z) / scale) <= CLOSE
    mean = np.reshape(wanted.mean, [DRAWS, -1])
    gap = np.abs(np.array(found["means"]) - mean) / np.maximum(1, np.abs(mean))
    assert np.max(gap) <= CLOSE
    assert np.std(mean, axis=0).max() > 100 * CLOSE  # z has an effect that is seen


@needs_node
@pytest.mark.quick(3)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", [h for h in HEADS if h != "bin_concrete"])
def test_the_mean_of_every_likelihood_is_tensorflows(head, network, tmp_path):
    vae = tiny_vae(
        head=head, network=network, image_shape=(5, 6, 1), hidden_sizes=(6, 5)
    )
    assert_agrees(spread(vae, 0.2), tmp_path)


@needs_node
@pytest.mark.quick(3)
@pytest.mark.parametrize("latent", LATENTS)
def test_draws_of_every_family_are_those_of_sample(latent, tmp_path):
    assert_agrees(spread(tiny_vae(latent)), tmp_path, seed=2**40 + 3)


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("prior", [LearnedPrior, lambda z: MixturePrior(z, 3)])
def test_learned_priors_are_drawn_from(prior, tmp_path):
    vae = tiny_vae()
    with_prior = tfvae.VAE(vae.encoder, vae.decoder, vae.latent, prior(vae.latent))
    assert_agrees(spread(with_prior), tmp_path)


@needs_node
@pytest.mark.slow
def test_layers_of_latents_are_drawn_from_the_top(tmp_path):
    assert_agrees(hierarchies.small("normal"), tmp_path)


@needs_node
@pytest.mark.slow
def test_the_draws_of_a_conditional_prior_are_those_of_the_class(tmp_path):
    vae = Known(conditional_prior=True).vae
    assert_agrees(vae, tmp_path, tf.constant(2, tf.int64), [[2]])


def conditional(condition, network: str = "mlp"):
    latent, head = LATENTS["normal"](2), BernoulliHead((5, 6, 1))
    posterior = latent.posterior_head()
    build, how = NETWORKS[network], {"condition_shape": condition.shape}
    encoder = build.encoder((5, 6, 1), posterior.params_shape, (6, 5), **how)
    decoder = build.decoder((2,), (5, 6, 1), (5, 6), **how)
    parts = (
        tfvae.ConditionalDistribution(encoder, posterior),
        tfvae.ConditionalDistribution(decoder, head),
    )
    return spread(tfvae.VAE(*parts, latent, condition=condition))


@needs_node
@pytest.mark.quick(1)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", ["one-hot", "embedding", "several"])
def test_conditions_reach_the_decoder(kind, network, tmp_path):
    condition, value, served = {
        "one-hot": (OneHot(3), tf.constant(2, tf.int64), [[2]]),
        "embedding": (Embedding(["a", "b"], 4), "b", [[1]]),
        "several": (
            Several({"size": Numeric(2, [1.0, 2.0], [3.0, 4.0]), "kind": OneHot(3)}),
            {"size": [0.5, -2.0], "kind": 1},
            [[1], [0.5, -2.0]],
        ),
    }[kind]
    assert_agrees(conditional(condition, network), tmp_path, value, served)


@needs_node
def test_a_wrong_weight_is_seen_by_the_pages_own_check(tmp_path):
    page = export_web(spread(tiny_vae()), tmp_path / "page.html", precision="float32")
    text, model = page.read_text(), model_in(page)
    data = bytearray(base64.b64decode(re.findall(r'id="bytes">([^<]*)<', text)[0]))
    where = next(w for _, w in model["decode"]["constants"] if w["shape"] == [8, 64])
    weights = np.frombuffer(data, "<f4", where["size"] // 4, where["at"])
    data[where["at"] : where["at"] + where["size"]] = (1.05 * weights).tobytes()
    page.write_text(
        re.sub(
            r'id="bytes">[^<]*<', f'id="bytes">{base64.b64encode(data).decode()}<', text
        )
    )
    assert run(page)["check"] > 1e-3


@needs_node
def test_half_the_bytes_cost_what_the_page_says(tmp_path):
    vae = spread(tiny_vae(latent_size=8, hidden_sizes=(200,)), 0.1)
    page = export_web(vae, tmp_path / "a.html")
    said = model_in(page)["facts"]["Weights"]
    error, draws = map(float, re.findall(r"by (\S+) at most in (\d+) draws", said)[0])
    assert 0 < error <= ALLOWED and draws == 3 * DRAWS
    z = vae.draw_prior([DRAWS], tfvae.core.seeds.derive_seed(1, "prior")).numpy()
    means = vae.decode(z).mean().numpy().reshape(DRAWS, -1)
    found = run(page, z=z.astype(float).tolist())
    gap = np.max(np.abs(np.array(found["means"]) - means))
    assert found["check"] <= CLOSE < gap <= 1.1 * error  # one digit is said
    exact = export_web(vae, tmp_path / "b.html", precision="float32")
    assert page.stat().st_size < exact.stat().st_size - 20_000


def test_weights_that_sixteen_bits_cannot_hold_stay_float32(tmp_path):
    vae = tiny_vae(head="normal", hidden_sizes=(64,))
    for weight in vae.decoder.network.trainable_variables[2:3]:
        weight.assign(1e6 * tf.ones(weight.shape))
    page = export_web(vae, tmp_path / "a.html")
    assert model_in(page)["facts"]["Weights"].startswith("float32")


def test_what_a_user_names_is_text_and_nothing_is_fetched(tmp_path):
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    vae = conditional(OneHot([attack, "b&b"]))
    page = export_web(vae, tmp_path / "a.html", title=attack, card={attack: attack})
    text = page.read_text()
    assert text.count("</script>") == 3 and text.count("<script") == 3
    assert "<img" not in text and "://" not in text and "import(" not in text
    outside = r"\b(?:src|href) *=|\b(?:fetch|XMLHttpRequest|WebSocket)\b"
    assert re.findall(outside, text) == ["src="] * text.count("img src=x")
    assert model_in(page)["conditions"][0]["names"] == [attack, "b&b"]
    assert model_in(page)["title"] == attack


def test_bits_are_toggles_classes_are_choices_and_numbers_slide(tmp_path):
    def latent(name):
        return model_in(export_web(tiny_vae(name), tmp_path / "a.html"))["latent"]

    assert {each["bit"] for each in latent("bernoulli")["variables"]} == {True}
    assert latent("categorical")["kind"] == "classes"
    found = latent("normal")
    # 2.5758 is the quantile of 0.995 of Normal(0, 1).
    for each in found["variables"]:
        assert not each["bit"]
        np.testing.assert_allclose(each["ends"], [-2.5758, 0, 2.5758], atol=1e-4)


def test_variables_that_move_the_mean_most_come_first(tmp_path):
    vae = tiny_vae(latent_size=3)
    kernel = vae.decoder.network.trainable_variables[0]
    kernel.assign(kernel * np.array([[0.1], [3.0], [1.0]]))
    found = model_in(export_web(vae, tmp_path / "a.html"))["latent"]["variables"]
    assert [each["index"] for each in found] == [1, 2, 0]


class Unknown(keras.layers.Layer):
    def call(self, x):
        return tf.math.igamma(tf.ones_like(x), tf.abs(x))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_layer_that_the_engine_does_not_know_is_named(tmp_path):
    vae = tiny_vae()
    strange = keras.Sequential(
        [keras.Input((3,)), Unknown(name="odd"), vae.decoder.network]
    )
    parts = vae_of(
        vae.encoder.network, strange, vae.encoder.head, vae.decoder.head, vae.latent
    )
    with pytest.raises(InputError, match=r"layer 'odd' \(Unknown\).*Igamma"):
        export_web(parts, tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"precision": "float8"}, "precision"),
        ({"value_range": (1, 0)}, "value_range"),
        ({"seed": -1}, "seed -1"),
        ({"card": [1]}, "card"),
    ],
)
def test_bad_arguments_are_one_line_and_nothing_is_written(arguments, said, tmp_path):
    with pytest.raises(InputError, match=said) as caught:
        export_web(tiny_vae(), tmp_path / "a.html", **arguments)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_page_is_replaced_and_other_files_are_left_alone(tmp_path):
    other, page = tmp_path / "notes.html", tmp_path / "page.html"
    other.write_text("<!DOCTYPE html>mine")
    for path in (other, tmp_path):
        with pytest.raises(InputError, match="another path|is a folder"):
            export_web(tiny_vae(), path)
    assert other.read_text() == "<!DOCTYPE html>mine"
    export_web(tiny_vae(), page, title="one")
    export_web(tiny_vae(), page, title="two")
    assert model_in(page)["title"] == "two"
    assert sorted(tmp_path.iterdir()) == [other, page]


def test_a_condition_without_fields_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"Image of 64 numbers"):
        export_web(
            conditional(tfvae.conditions.Image(IMAGE_SHAPE)), tmp_path / "a.html"
        )


@pytest.mark.slow
@pytest.mark.skipif(
    BROWSER is None, reason="there is no browser; name one by TFVAE_BROWSER"
)
def test_a_browser_computes_as_tensorflow_did(tmp_path):
    page = export_web(spread(tiny_vae()), tmp_path / "page.html")
    how = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [str(BROWSER), *how, f"{page.as_uri()}#check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (found,) = re.findall(r'data-check="([^"]*)"', done.stdout)
    assert float(found) <= CLOSE
