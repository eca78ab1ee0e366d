"""What is exported gives the model's own numbers, without this package."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from reference import IMAGE_SHAPE, tiny_vae

from tfvae.export import export_saved_model
from tfvae.latents import LATENTS
from tfvae.types import InputError

IMAGES = (np.random.default_rng(0).random((5, *IMAGE_SHAPE)) < 0.3).astype(np.float32)

ALONE = """
import json, sys
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
x = tf.constant(np.load(sys.argv[2]))
out = {}
for name, kwargs in {
    "serving_default": {"x": x},
    "encode": {"x": x},
    "reconstruct": {"x": x},
    "sample": {"seed": tf.constant([[1, 2], [3, 4]])},
}.items():
    result = loaded.signatures[name](**kwargs)
    out[name] = {key: value.numpy().tolist() for key, value in result.items()}
z = tf.constant(out["sample"]["z"])
out["decode"] = {"mean": loaded.signatures["decode"](z=z)["mean"].numpy().tolist()}
out["modules"] = [m for m in ("tfvae", "keras", "tensorflow_probability")
                  if m in sys.modules and m != "keras"]
print(json.dumps(out))
"""


@pytest.mark.parametrize("latent", LATENTS)
def test_signatures_give_the_models_numbers_in_a_process_without_it(
    latent, tmp_path, fresh_python
):
    vae = tiny_vae(latent)
    path = export_saved_model(vae, tmp_path / "model")
    np.save(tmp_path / "x.npy", IMAGES)
    output = fresh_python(ALONE, path, tmp_path / "x.npy").stdout
    served = json.loads(output.splitlines()[-1])
    assert served.pop("modules") == []
    assert served["serving_default"] == served["encode"]
    expected = {
        "encode": vae.encoder.head.named_params(vae.encode(IMAGES)),
        "reconstruct": {"mean": vae.reconstruct(IMAGES)},
        "decode": {"mean": vae.decode(tf.constant(served["sample"]["z"])).mean()},
    }
    for name, tensors in expected.items():
        assert served[name].keys() == tensors.keys()
        for key, tensor in tensors.items():
            # float32 sums of 64 terms in another order
            np.testing.assert_allclose(served[name][key], tensor, rtol=1e-5, atol=1e-6)
    assert served["sample"]["mean"] == served["decode"]["mean"]
    one = vae.latent.prior().sample(seed=tf.constant([3, 4]))
    np.testing.assert_allclose(served["sample"]["z"][1], one, rtol=1e-5)


def test_a_sample_depends_on_its_own_seed_alone(tmp_path):
    path = export_saved_model(tiny_vae(), tmp_path / "model")
    sample = tf.saved_model.load(path).signatures["sample"]
    alone = sample(seed=tf.constant([[5, 6]]))["z"][0]
    among = sample(seed=tf.constant([[1, 2], [5, 6], [1, 2]]))["z"]
    np.testing.assert_array_equal(alone, among[1])
    np.testing.assert_array_equal(among[0], among[2])
    assert np.all(among[0] != among[1])


def test_versions_count_up_and_stay(tmp_path):
    vae = tiny_vae()
    assert export_saved_model(vae, tmp_path / "model").name == "1"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "model" / "1").rglob("*")}
    (tmp_path / "model" / "7").mkdir()
    assert export_saved_model(vae, tmp_path / "model").name == "8"
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["1", "7", "8"]
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "model" / "1").rglob("*")}
    assert before == after


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(InputError, match="No space left on device"):
        export_saved_model(tiny_vae(), tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "foreign"])
def test_other_peoples_files_are_left_alone(kind, tmp_path):
    path = tmp_path / "model"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
        export_saved_model(tiny_vae(), path)
    assert str(path) in str(caught.value)
    kept = path if kind == "file" else path / "thesis.tex"
    assert kept.read_text() == "mine"
