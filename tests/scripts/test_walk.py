"""A training step passes few files and functions of the package."""

from __future__ import annotations

from walk import step_walk


def test_a_reader_of_one_step_opens_few_files():
    walk = step_walk()
    assert any(str(name).endswith("train_step") for _, name in walk)
    assert any(path == "objectives/bounds.py" for path, _ in walk)
    files = {path for path, _ in walk}
    assert len(files) <= 18, sorted(files)
    assert len(walk) <= 60, walk
