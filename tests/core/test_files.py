"""Files are whole or not there."""

from __future__ import annotations

import pytest

from tfvae.core.files import atomic_write, write_json, write_text


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
