"""The requests of docs/serving.md, sent to a server that plays a model server's rules.

helpers/rest.py has the rules.
"""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import re
import shlex
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from helpers.rest import Refused, answered

import tfvae
from tfvae.export.layout import ANSWERS, CARD

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
MODEL = ROOT / "saved_models" / "digits" / "2"


@pytest.fixture(scope="module")
def model():
    return tf.saved_model.load(str(MODEL))


@pytest.fixture
def server(model) -> Iterator[str]:
    """Serves on loopback; gives host and port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == "/v1/models/digits:predict"
            try:
                content, status = answered(model, body), 200 if known else 404
            except Refused as error:
                content, status = {"error": str(error)}, 400
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def curls() -> list[str]:
    """The bodies of the page's requests; those in files are named with @."""
    shell = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    lines = [line for line in shell.splitlines() if line.startswith("curl ")]
    return [shlex.split(line, comments=True)[3] for line in lines]


def bodies() -> dict[str, bytes]:
    asked = MODEL / "assets.extra" / "requests"
    found = {}
    for data in curls():
        if data.startswith("@"):
            name = data.removeprefix("@$asked/")
            found[name] = (asked / name).read_bytes()
        else:
            found[data] = data.encode()
    # Those that the page names in comments.
    found |= {path.name: path.read_bytes() for path in asked.glob("*.json")}
    return found


@pytest.mark.parametrize("name", bodies())
def test_the_readmes_requests_are_answered(name, model):
    answer = answered(model, bodies()[name])
    rows = answer["predictions"]
    assert len(rows) == 2
    values = [v for row in rows for v in (row.values() if type(row) is dict else [row])]
    assert all(np.isfinite(value).all() for value in values)


def test_the_readme_asks_every_signature():
    names = {json.loads(body)["signature_name"] for body in bodies().values()}
    assert names == set(json.loads((MODEL / CARD).read_text())["signatures"])
    assert len(curls()) == 5


def test_recorded_answers_are_those_of_a_server(model):
    """A second process, TensorFlow or machine may round otherwise."""
    for name, body in bodies().items():
        path = MODEL / ANSWERS / name
        if not name.endswith(".json"):
            continue
        recorded = json.loads(path.read_text())["predictions"]
        for row, expected in zip(
            answered(model, body)["predictions"], recorded, strict=True
        ):
            pairs = (
                [(row[key], expected[key]) for key in expected]
                if isinstance(expected, dict)
                else [(row, expected)]
            )
            for found, wanted in pairs:
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_readmes_client_gets_its_images(server):
    (client,) = re.findall(r"```python\n(import json\n.*?)```", PAGE, re.DOTALL)
    assert len(client.strip().splitlines()) <= 10
    names = {"tfvae": tfvae}
    exec(client.replace("localhost:8501", server), names)
    assert np.shape(names["means"]) == (2, 8, 8, 1)
    assert np.all((0 <= np.array(names["means"])) & (np.array(names["means"]) <= 1))


@pytest.mark.parametrize(
    "body",
    [
        {"signature_name": "score", "instances": [[0.0]]},
        {"signature_name": "score", "instances": [{"seed": [0, 1]}]},
        {"signature_name": "sample", "instances": [{"seed": [0.5, 1]}]},
        {"signature_name": "encode", "instances": [{"x": [[0.0]]}]},
        {"signature_name": "encode", "instances": []},
        {"signature_name": "decode", "inputs": {"z": [[0.0] * 32]}},
    ],
)
def test_the_rules_are_kept_by_refusing_what_a_server_refuses(body, model):
    with pytest.raises(Refused):
        answered(model, json.dumps(body).encode())


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_committed_artefacts_are_small(version):
    """That they go on being served, test_saved_before.py shows."""
    path = MODEL.parent / version
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert size < 2**20


@pytest.mark.slow
def test_ten_thousand_mixed_requests_leave_memory_flat(model):
    """After a warm-up in which every size of a batch has been seen."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 65, 10_000)

    def ask(first: int, last: int) -> None:
        for number in range(first, last):
            size = int(sizes[number])
            x = tf.constant(rng.random((size, 8, 8, 1)), tf.float32)
            seed = tf.constant(rng.integers(0, 2**31, (size, 2)), tf.int32)
            z = tf.constant(rng.normal(size=(size, 32)), tf.float32)
            asked = [
                ("encode", {"x": x}),
                ("reconstruct", {"x": x}),
                ("sample", {"seed": seed}),
                ("decode", {"z": z}),
                ("score", {"x": x, "seed": seed}),
            ]
            name, inputs = asked[number % 5]
            model.signatures[name](**inputs)

    ask(0, 2_000)
    before = resident_mib()
    ask(2_000, 10_000)
    # A leak of one row's scores, 100 samples of 64 pixels a request, would be 200 MiB.
    assert resident_mib() - before < 20


def resident_mib() -> float:
    """The memory that the process has now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
