"""Packages that only some capabilities need."""

from __future__ import annotations

import importlib
from typing import Any

from tfvae.core.types import InputError


def optional_package(name: str, extra: str, use: str) -> Any:
    """Returns a package that is imported when it is asked for, and not before.

    Args:
        name: The package.
        extra: The extra of tfvae that brings it.
        use: What needs it, in words that begin a message.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{use} needs {name}, which is not installed; pip install 'tfvae[{extra}]'"
        ) from error


def is_frame(table: object) -> bool:
    """Returns whether an object is a DataFrame of pandas, which is not imported."""
    return all(hasattr(table, name) for name in ("columns", "dtypes", "iloc"))
