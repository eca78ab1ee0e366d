"""Files are whole or not there."""

from __future__ import annotations

import pathlib
import time
import zipfile

import pytest

from tfvae.core.files import (
    atomic_write,
    dated_archives,
    locked,
    remove_partials,
    write_json,
    write_text,
)
from tfvae.core.types import InputError
from tfvae.core.validation import require_path


def test_a_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_content_until_all_is_written(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.suffix == path.suffix
    assert path.read_text() == "new"


def test_json_is_written_as_text(tmp_path):
    write_json(tmp_path / "file.json", {"a": [1, None]})
    assert (
        tmp_path / "file.json"
    ).read_text() == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'


def test_what_a_killed_process_left_is_removed_wherever_it_lies(tmp_path):
    kept = tmp_path / "logs" / "projector" / "means.tsv"
    kept.parent.mkdir(parents=True)
    kept.write_text("1")
    for path in (tmp_path, kept.parent):
        (path / ".means.0123.partial.tsv").write_text("1")
        (path / ".4567.partial").mkdir()
        (path / ".4567.partial" / ".a.89.partial").write_text("1")
    remove_partials(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert not list(tmp_path.rglob(".*"))
    remove_partials(tmp_path / "none")  # nothing is there to remove


def test_a_lock_that_is_a_folder_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(InputError, match=r"\.lock.* cannot be written"):
        with locked(tmp_path):
            pass


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert require_path("workdir", "~/runs") == tmp_path / "runs"
    assert require_path("workdir", pathlib.Path("~/runs")) == tmp_path / "runs"


def test_archives_are_dated_where_the_clock_is_before_1980(tmp_path, monkeypatch):
    early = time.gmtime(0)
    monkeypatch.setattr(time, "localtime", lambda *_: early)
    with dated_archives(), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"content")
    assert zipfile.time is time
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.getinfo("a").date_time[:3] == (1980, 1, 1)
