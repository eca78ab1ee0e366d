"""Finding an entry of a table by the name that a user gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from tfvae.core.types import InputError

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


def resolve(
    table: Mapping[str, type[T]], given: str | T, base: type[T], kind: str
) -> T:
    """Returns what was given, or what `table` makes of it if it is a name.

    Args:
        table: Classes by name, whose arguments all have defaults.
        given: A name in the table, or an instance of `base`.
        base: What an instance is known by.
        kind: What the table holds, in the singular, for the message.

    Raises:
        InputError: It is neither.
    """
    if isinstance(given, base):
        return given
    if not isinstance(given, str):
        raise InputError(
            f"{kind} {given!r} is neither a name nor an instance of {base.__name__}; "
            f"choose one of {', '.join(table)}"
        )
    return lookup(table, given, kind)()
