"""Entries of a table, found by name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from tfvae.core.types import InputError

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """Returns the entry of a table, of objectives for example, that the user named.

    Raises:
        InputError: if there is no such entry; the message lists all.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    known = ", ".join(table)
    raise InputError(
        f"unknown {kind} {name!r}; {nearest(str(name), table)}choose one of {known}"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns "did you mean ...? " with the known name that is most like another."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def resolve(
    table: Mapping[str, type[T]], given: str | T, base: type[T], kind: str
) -> T:
    """Returns an instance of `base` as it is, or makes one of a name in `table`.

    The table has classes whose arguments all have defaults.

    Raises:
        InputError: if it is neither.
    """
    if isinstance(given, base):
        return given
    if not isinstance(given, str):
        raise InputError(
            f"{kind} {given!r} is neither a name nor an instance of {base.__name__}; "
            f"choose one of {', '.join(table)}"
        )
    return lookup(table, given, kind)()
