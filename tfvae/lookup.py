"""Finding an entry of a table by the name that a user gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from tfvae.types import InputError

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Returns `table[name]`.

    Args:
        table: Entries by name, for example `OBJECTIVES`.
        name: What the user asked for.
        kind: What the table holds, in the singular, for the message: "objective".

    Raises:
        InputError: There is no such entry; the message lists those there are.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise InputError(f"unknown {kind} {name!r}; choose one of {', '.join(table)}")
