"""A report holds all there is to say of a run, and nothing of anyone else's."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import itertools
import json
import pathlib

import numpy as np
import pytest
from helpers.models import tiny_vae
from matplotlib.patches import Rectangle

from tfvae.config import Config
from tfvae.config.plots import PLOT_KINDS
from tfvae.core.types import InputError
from tfvae.evaluation import Gaps
from tfvae.reports import plot_run
from tfvae.reports.html import report_html, report_run
from tfvae.reports.html.markup import brief, with_error
from tfvae.reports.html.titles import TITLES
from tfvae.reports.plots import gap_ladder_of
from tfvae.reports.plotting import plot_inputs
from tfvae.training import train
from tfvae.training.runs import (
    Run,
    RunFolder,
    RunRecord,
    load_data,
    load_run,
    run_evaluation_batches,
)

pytestmark = pytest.mark.usefixtures("eagerly")

VOID = {"meta", "img"}
CONFIG = Config(
    latent_size=2, hidden_sizes=(8,), objective="elbo", num_samples=1, epochs=2
)


class Page(html.parser.HTMLParser):
    """What a browser would see: elements with their attributes, and texts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag  # properly nested

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return " ".join(text for tag, text in self.texts if tag != "style")


def png_of(image: dict[str, str | None]) -> bytes:
    head, encoded = image["src"].split(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(encoded, validate=True)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("report") / "run"
    train(CONFIG, path)
    return path


@pytest.fixture(scope="module")
def source(workdir) -> str:
    return report_run(workdir).read_text(encoding="utf-8")


def blank_run(name: str = "run", **provenance: object) -> Run:
    record = RunRecord(CONFIG, {"name": "digits", **provenance}, {"tfvae": "1"})
    vae = tiny_vae()
    return Run(RunFolder(pathlib.Path(name)), record, vae)


def test_pictures_are_of_the_first_test_images_as_the_encoder_sees_them(workdir):
    given = plot_inputs(load_run(workdir))
    test = load_data(CONFIG).test
    originals, labels = test.first(1000)
    np.testing.assert_array_equal(given.originals, originals)
    np.testing.assert_array_equal(given.labels, labels)
    seen = next(iter(run_evaluation_batches(CONFIG, test, len(test))))
    np.testing.assert_array_equal(given.inputs.x, seen)
    assert given.num_samples == 1 and len(given.history) == 2


def test_drawn_rates_sum_to_the_closed_form_kl(workdir):
    given = plot_inputs(load_run(workdir))
    posterior = given.vae.encode(given.inputs)
    kl = posterior.kl_divergence(given.vae.prior()).numpy()
    (layer,) = given.layer_rates()
    # float32 terms of size 1 in sums over 359 images
    np.testing.assert_allclose(layer.rates.sum(), kl.mean(), rtol=1e-5)
    active = np.var(posterior.mean(), axis=0) > 0.01
    np.testing.assert_array_equal(layer.active, active)


def test_a_report_refers_to_nothing_outside_itself(source):
    seen = Page(source)
    assert {tag for tag, _ in seen.elements}.isdisjoint(
        {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    )
    for tag, attributes in seen.elements:
        assert "href" not in attributes and "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert tag == "img" and attributes["src"].startswith("data:image/png;")
    (style,) = (text for tag, text in seen.texts if tag == "style")
    assert "url(" not in style and "@import" not in style
    assert "http:" not in source and "https:" not in source
    policy = seen.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none';") and "script" not in policy


@pytest.mark.slow
def test_a_report_shows_the_pictures_that_plot_draws(workdir, source):
    plots = plot_run(workdir)
    shown = [png_of(image) for image in Page(source).all("img")]
    assert shown == [path.read_bytes() for path in plots.paths]
    assert {path.stem for path in plots.paths} | set(plots.skipped) == set(PLOT_KINDS)


def test_every_picture_says_what_it_shows(source):
    texts = [image["alt"] for image in Page(source).all("img")]
    assert len(set(texts)) == len(texts) == len(PLOT_KINDS) - 1
    assert f"Rates: {PLOT_KINDS['rates']}" in texts


def test_a_picture_that_is_not_defined_is_said_to_be_missing(workdir, source):
    text = Page(source).text()
    assert "No importance weights: " in text and "num_samples 1" in text
    with pytest.raises(InputError, match="num_samples 1"):
        plot_run(workdir, "importance_weights")


def test_headings_are_nested_without_a_gap(source):
    levels = [
        int(tag[1]) for tag, _ in Page(source).elements if tag in ("h1", "h2", "h3")
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_every_setting_that_applies_is_there(source):
    seen = Page(source)
    names = {text for tag, text in seen.texts if tag == "dt"}
    for name, value in CONFIG.to_dict().items():
        if value is not None and value != []:
            assert name.replace("_", " ") in names


@pytest.mark.slow
def test_a_report_is_small_and_the_same_each_time(workdir, source):
    again = report_run(workdir).read_text(encoding="utf-8")
    assert again == source
    assert len(source) < 3 * 2**20


def test_a_run_that_was_not_evaluated_is_said_to_be(source):
    assert "has not been evaluated" in Page(source).text()


EVALUATION = {
    "split": "test",
    "num_images": 359,
    "results": {
        "log_likelihood": {
            "mean": -93.11329998,
            "standard_error": 0.24769,
            "bits_per_dim": 0.17134,
            "bits_per_dim_standard_error": 0.000456,
        },
        "ess": {"mean": 3.905, "standard_error": 0.0303},
    },
    "posterior": {
        "layers": [
            {
                "active_units": 7,
                "mean_variances": [0.1] * 10,
                "variable_rates": [0.5] * 9 + [2.0],
            }
        ],
        "aggregate": {"divergence": {"mean": 1.5, "standard_error": None}},
    },
    "later": {"deep": {"deeper": {"anything": {"mean": 2.0, "standard_error": 0.1}}}},
}


def test_every_estimate_is_shown_with_its_error_wherever_it_stands():
    seen = Page(report_html(blank_run(), [], [EVALUATION], []))
    cells = [text for tag, text in seen.texts if tag == "td"]
    for shown in ("−93.11 ± 0.25", "0.17134 ± 0.00046", "3.905 ± 0.030", "samples"):
        assert shown in cells
    assert "1.5 ± ?" in cells and "2.00 ± 0.10" in cells
    facts = [text for tag, text in seen.texts if tag == "dd"]
    assert {"359", "7", "0.5 to 2 (10 numbers)"} <= set(facts)
    headings = [text for tag, text in seen.texts if tag in ("h3", "h4")]
    assert "Results on the test images" in headings
    assert "later, deep, deeper" in headings and "Latent variables, layer 1" in headings


GAPS = {
    "elbos": {"encoder": {"mean": -30.0, "standard_error": 0.5}},
    "differences": {
        name: {"mean": mean, "standard_error": 0.25}
        for name, mean in zip(
            Gaps._fields,
            (3.625, 2.0, 1.625, 1.0, 0.5, 0.125),
            strict=True,
        )
    },
    "bdmc_width": {"mean": 0.0625, "standard_error": 0.25},
}


def test_gaps_are_a_ladder_whose_steps_go_on_where_the_last_one_ended():
    (axis,) = gap_ladder_of(GAPS).axes
    bars = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert [bar.get_x() for bar in bars] == [-30, -28, -27, -26.5]
    assert [bar.get_width() for bar in bars] == [2, 1, 0.5, 0.125]
    assert "amortisation\n+2.00 ± 0.25" == axis.get_yticklabels()[0].get_text()
    width = next(line for line in axis.lines if line.get_label() == "BDMC")
    assert list(width.get_xdata()) == [-26.375, -26.3125]


@pytest.mark.parametrize("gaps", [GAPS, 7, {"elbos": 7}, {**GAPS, "differences": {}}])
def test_a_report_shows_gaps_or_says_why_not(gaps):
    text = report_html(blank_run(), [], [{"split": "test", "gaps": gaps}], [])
    assert ("Where the nats go, test images" in text) == (gaps is GAPS)
    assert ("has another layout" in text) == (gaps is not GAPS)


def test_no_two_names_have_the_same_words():
    assert len(set(TITLES.values())) == len(TITLES)


@pytest.mark.parametrize("layers", ["7", 7, [7], {"a": 7}, [{"mean_variances": 7}]])
def test_an_evaluation_of_other_types_is_shown_as_it_is(layers):
    if isinstance(layers, list) and isinstance(layers[0], dict):
        layers[0]["active_units"] = 1
    text = report_html(blank_run(), [], [{"posterior": {"layers": layers}}], [])
    assert "7" in Page(text).text()


def test_a_report_begins_with_the_four_numbers_that_matter(source):
    """Of the test images' evaluation, or of the last epoch before there is one."""
    seen = Page(report_html(blank_run(), [], [EVALUATION], []))
    facts = [text for tag, text in seen.texts if tag in ("dt", "dd")][:6]
    assert facts == [
        "L_K, test images",
        "−93.11 ± 0.25 nats",
        "Bits per dimension",
        "0.17134 ± 0.00046",
        "Active units",
        "7 of 10",
    ]
    seen = Page(source)
    facts = [text for tag, text in seen.texts if tag == "dt"][:4]
    assert all(text.endswith(", validation") for text in facts)
    headings = [text for tag, text in seen.texts if tag == "h2"]
    assert headings == ["Pictures", "Evaluation", "Training", "Settings"]


@pytest.mark.parametrize(
    ("mean", "error", "shown"),
    [
        (-93.11329998, 0.24769, "−93.11 ± 0.25"),
        (0.0123456, 0.000056, "0.012346 ± 0.000056"),
        (1234.6, 56.7, "1235 ± 57"),
        (1.5, 0.0, "1.5 ± 0"),
        (1.5, None, "1.5 ± ?"),
        (float("nan"), 0.1, "nan ± 0.10"),
        ("many", None, "many ± ?"),
    ],
)
def test_a_mean_is_rounded_as_its_error_is(mean, error, shown):
    assert with_error(mean, error) == shown


def test_few_numbers_are_listed_and_many_summarised():
    assert brief([200, 200]) == "200, 200"
    assert brief([-1.5, *range(9)]) == "−1.5 to 8 (10 numbers)"
    assert brief([]) == "none"
    assert brief(True) == "True"


HOSTILE = "<script>alert('\"1\"')</script><img src=x onerror=alert(2)>&amp;"


def test_no_text_of_a_run_is_read_as_html():
    run = blank_run(f"runs/{HOSTILE.replace('/', '')}", source=HOSTILE)
    config = dataclasses.replace(CONFIG, dataset=f"folder:{HOSTILE}")
    run = run._replace(record=run.record._replace(config=config))
    estimate = {"mean": HOSTILE, "standard_error": HOSTILE}
    evaluation = {
        "split": HOSTILE,
        "list": [HOSTILE],
        HOSTILE: HOSTILE,
        "results": {HOSTILE: estimate},
        f"{HOSTILE}2": {"part": {HOSTILE: [{HOSTILE: HOSTILE}]}},
    }
    history = [{"epoch": HOSTILE, "step": HOSTILE}]
    seen = Page(report_html(run, history, [evaluation], []))
    assert not seen.all("script") and not seen.all("img")
    # Every text arrives as it was: nothing was executed, dropped or unescaped twice.
    assert seen.text().count(HOSTILE) >= 12


def test_an_evaluation_in_the_folder_is_read(workdir, tmp_path, monkeypatch):
    """And one that is damaged is refused, as is a report that cannot be written."""
    monkeypatch.setattr("tfvae.reports.html.page.figures_of", lambda inputs: [])
    for name in ("config.json", "model.keras"):
        (tmp_path / name).write_bytes((workdir / name).read_bytes())
    (tmp_path / "evaluation.json").write_text(json.dumps(EVALUATION))
    other = {**EVALUATION, "split": "validation"}
    (tmp_path / "evaluation_validation.json").write_text(json.dumps(other))
    text = Page(report_run(tmp_path).read_text(encoding="utf-8")).text()
    assert text.index("on the test images") < text.index("on the validation images")
    assert "no record of the training" in text
    for damaged in ("{", "[]"):
        (tmp_path / "evaluation.json").write_text(damaged)
        with pytest.raises(InputError, match="evaluation.json"):
            report_run(tmp_path)
    (tmp_path / "report.html").unlink()
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        report_run(tmp_path)
