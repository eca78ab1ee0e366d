"""Finding entries by name."""

from __future__ import annotations

import pytest

from tfvae.core.lookup import lookup
from tfvae.core.types import InputError


def test_an_entry_is_found_by_name():
    assert lookup({"a": 1, "b": None}, "a", "letter") == 1
    assert lookup({"a": 1, "b": None}, "b", "letter") is None


@pytest.mark.parametrize("name", ["c", "", "A", 3, None, ["a"]])
def test_an_unknown_name_is_answered_with_the_known_ones(name):
    with pytest.raises(InputError) as caught:
        lookup({"a": 1, "b": 2}, name, "letter")
    message = str(caught.value)
    assert message == f"unknown letter {name!r}; choose one of a, b"


def test_input_errors_are_value_errors():
    assert issubclass(InputError, ValueError)
