"""Packages that import a part when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def imported_when_asked(
    package: str, names: Mapping[str, str]
) -> Callable[[str], object]:
    """Returns the `__getattr__` of a package whose light parts come without the rest.

    Args:
        package: The package's own name.
        names: A public name -> the module of the package that has it.
    """

    def get(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{names[name]}"), name)

    return get
