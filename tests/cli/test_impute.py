"""`tfvae impute`: values in the place of missing ones, by a run's model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfvae.reports.imputing
from tfvae import cli
from tfvae.core.types import InputError
from tfvae.data.sources.incomplete import read_incomplete
from tfvae.models import SemiSupervisedVAE
from tfvae.reports import impute_run
from tfvae.training.runs import load_run

SMALL = "--epochs 2 --latent-size 3 --hidden-sizes 8 --batch-size 400".split()
QUICK = ["--num-samples", "20"]
NORMAL = "--latent normal --temperature None --prior-temperature None".split()
RNG = np.random.default_rng(0)
BITS = (RNG.random((6, 8, 8)) < 0.4).astype(np.float32)
SEEN = RNG.random((6, 8, 8)) < 0.7
SEEN[0] = True
HOLES = np.where(SEEN, BITS, np.nan).astype(np.float32)


def trained(path, recipe: str, *more: str):
    """A run's folder; few steps are sooner taken than traced."""
    tf.config.run_functions_eagerly(True)
    assert cli.main(["train", recipe, "--workdir", str(path), *SMALL, *more]) == 0
    tf.config.run_functions_eagerly(False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("impute") / "run"
    return trained(path, "digits-binconcrete", *NORMAL)


@pytest.fixture(scope="module", params=["cvae", "m2"])
def conditional(request, tmp_path_factory):
    more = {"cvae": [], "m2": ["--labels", "50"]}[request.param]
    path = tmp_path_factory.mktemp(request.param) / "run"
    return trained(path, "digits-cvae", *more)


@pytest.fixture
def holes(tmp_path):
    np.save(tmp_path / "holes.npy", HOLES)
    return tmp_path / "holes.npy"


def imputed(run, data, out, *more: str) -> dict[str, np.ndarray]:
    asked = ["impute", str(run), str(data), "--out", str(out), *QUICK, *more]
    assert cli.main(asked) == 0
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.mark.slow
def test_the_file_has_the_models_own_imputation(run, holes, tmp_path, capsys):
    found = imputed(run, holes, tmp_path / "out.npz", "--num-draws", "3")
    said = capsys.readouterr().out
    vae = load_run(run).vae
    own = vae.impute(HOLES[..., np.newaxis], None, 20, 3, 0.9)
    assert found.keys() == own._asdict().keys()
    for name, values in own._asdict().items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert found[name].dtype == np.float32
    assert f"{int(np.sum(~SEEN))} missing values of 6 images" in said
    ess = own.ess[1:]  # nothing is missing from the first image
    assert f"least {ess.min():.1f}, median {np.median(ess):.1f}, of 20" in said
    assert "taken as with_missing('mar')" in said


def test_what_is_observed_is_as_the_file_has_it(run, tmp_path):
    grey = RNG.integers(0, 256, (6, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", x=grey, observed=SEEN)
    found = imputed(run, tmp_path / "grey.npz", tmp_path / "out.npz")
    for name in ("mean", "draws", "lower", "upper"):
        whole = np.broadcast_to(SEEN[..., np.newaxis], found[name].shape)
        wanted = np.broadcast_to((grey / np.float32(255))[..., None], whole.shape)
        np.testing.assert_array_equal(found[name][whole], wanted[whole])
    assert set(np.unique(found["draws"][0][~SEEN])) <= {0, 1}


def test_a_mask_beside_x_is_nan_and_what_lies_below_it_is_not_looked_at(run, tmp_path):
    junk = np.where(SEEN, BITS, np.float32(7e8))
    np.savez(tmp_path / "mask.npz", x=junk, observed=SEEN.astype(np.uint8))
    np.save(tmp_path / "nan.npy", HOLES)
    found = [
        imputed(run, tmp_path / name, tmp_path / "out.npz")
        for name in ("mask.npz", "nan.npy")
    ]
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name], err_msg=name)


@pytest.mark.slow
def test_limit_seed_and_interval(run, holes, tmp_path):
    every = imputed(run, holes, tmp_path / "out.npz")
    first = imputed(run, holes, tmp_path / "out.npz", "--limit", "4")
    np.testing.assert_array_equal(first["mean"], every["mean"][:4])
    other = imputed(run, holes, tmp_path / "out.npz", "--seed", "1")
    assert (other["ess"] != every["ess"]).any()
    none = imputed(run, holes, tmp_path / "out.npz", "--interval", "None")
    assert none.keys() == {"mean", "draws", "ess"}


def test_nothing_missing_is_nothing_filled(run, tmp_path, capsys):
    np.save(tmp_path / "whole.npy", BITS.astype(np.uint8) * 255)
    found = imputed(run, tmp_path / "whole.npy", tmp_path / "out.npz")
    np.testing.assert_array_equal(found["mean"][..., 0], BITS)
    assert "0 missing values" in capsys.readouterr().out


def test_few_samples_are_warned_of(run, holes, tmp_path, capsys):
    asked = ["impute", str(run), str(holes), "--out", str(tmp_path / "out.npz")]
    assert cli.main([*asked, "--num-samples", "1"]) == 0
    assert "below 2 for 5 images" in capsys.readouterr().out


@pytest.mark.quick(1)
def test_a_conditional_run_takes_the_files_labels(conditional, tmp_path, capsys):
    labels = np.array([0, 1, 2, 3, 4, 5])
    np.savez(tmp_path / "data.npz", x=HOLES, y=labels)
    found = imputed(conditional, tmp_path / "data.npz", tmp_path / "out.npz")
    assert np.isfinite(found["mean"]).all()
    vae = load_run(conditional).vae
    if isinstance(vae, SemiSupervisedVAE):
        return  # it sums classes out
    roles = {"x": HOLES[..., np.newaxis], "condition": labels}
    own = vae.impute(roles, None, 20, 1, 0.9)
    np.testing.assert_array_equal(found["mean"], own.mean)
    np.savez(tmp_path / "data.npz", x=HOLES)
    asked = ["impute", str(conditional), str(tmp_path / "data.npz"), "--out", "o.npz"]
    assert cli.main(asked) == 2
    assert "no labels" in capsys.readouterr().err


BAD = {
    "no run": ("{nothing} {holes}", "is not a folder"),
    "no file": ("{run} {nothing}.npy", "is no file"),
    "no npz": ("{run} {nothing}.npz", "is no file"),
    "not NumPy's": ("{run} {text}", "cannot be read"),
    "infinite": ("{run} {infinite}", "infinite"),
    "empty": ("{run} {empty}", "empty"),
    "another shape": ("{run} {wide}", "have shape (4, 9, 1)"),
    "out of range": ("{run} {large}", "from 0 to 3"),
    "all missing": ("{run} {nan}", "missing"),
    "another mask": ("{run} {masks}", "observed has shape"),
    "no mask": ("{run} {numbers}", "other values than 0 and 1"),
    "NaN that is observed": ("{run} {called}", "NaN where observed is True"),
    "no images": ("{run} {strange}", "one named x"),
    "no samples": ("{run} {holes} --num-samples 0", "num_samples"),
    "no draws": ("{run} {holes} --num-draws -1", "num_draws"),
    "interval of 1": ("{run} {holes} --interval 1", "below 1"),
    "interval of nan": ("{run} {holes} --interval nan", "interval"),
    "no limit": ("{run} {holes} --limit 0", "limit"),
}


@pytest.fixture
def files(tmp_path, holes):
    arrays = {
        "infinite": np.full([2, 8, 8], np.inf, np.float32),
        "empty": np.zeros([0, 8, 8], np.uint8),
        "wide": np.zeros([2, 4, 9], np.uint8),
        "large": np.where(SEEN, np.float32(3) * BITS, np.nan),
        "nan": np.full([2, 8, 8], np.nan, np.float32),
        "masks": {"x": HOLES, "observed": SEEN[:3]},
        "numbers": {"x": HOLES, "observed": SEEN * 2.5},
        "called": {"x": HOLES, "observed": np.ones_like(SEEN)},
        "strange": {"what": BITS},
    }
    names = {"holes": holes, "nothing": tmp_path / "nothing"}
    names["text"] = tmp_path / "text.npy"
    names["text"].write_text("no array")
    for name, array in arrays.items():
        several = isinstance(array, dict)
        names[name] = tmp_path / f"{name}.{'npz' if several else 'npy'}"
        np.savez(names[name], **array) if several else np.save(names[name], array)
    return names


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(case, run, files, tmp_path, capsys):
    arguments, said = BAD[case]
    asked = arguments.format(run=run, **files).split()
    out = tmp_path / "out.npz"
    out.write_text("mine")
    assert cli.main(["impute", *asked, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert out.read_text() == "mine"


@pytest.mark.parametrize("out", ["", "nothing/out.npz", "holes.npy"])
def test_a_file_that_cannot_be_written_is_refused_at_once(
    run, holes, tmp_path, out, capsys
):
    asked = ["impute", str(run), str(holes), "--out", str(tmp_path / out)]
    assert cli.main(asked) == 2
    assert "out (--out)" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(holes), HOLES)


def test_a_file_is_whole_or_as_it_was(run, holes, tmp_path, monkeypatch):
    out = tmp_path / "out.npz"
    out.write_text("mine")

    def broken(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfvae.reports.imputing.np, "savez", broken)
    with pytest.raises(OSError, match="No space"):
        impute_run(run, holes, out, num_samples=2)
    assert out.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"out.npz", "holes.npy"}


def test_what_is_missing_is_asked_for(run, capsys):
    assert cli.main(["impute", str(run), "holes.npy"]) == 2
    assert "--out" in capsys.readouterr().err


def test_zeros_stand_where_a_file_has_nothing(tmp_path):
    np.savez(tmp_path / "x.npz", images=HOLES, observed=SEEN, labels=np.arange(6))
    found = read_incomplete(str(tmp_path / "x.npz"))
    np.testing.assert_array_equal(found.observed[..., 0], SEEN)
    np.testing.assert_array_equal(found.split.images[..., 0], np.where(SEEN, BITS, 0))
    assert found.split.has_labels
    with pytest.raises(InputError, match="NaN"):
        tfvae.data.sources.npz.read_examples(str(tmp_path / "x.npz"))
