"""Checks of single arguments, each with one message for its kind."""

from __future__ import annotations

import math
import numbers
import operator

from tfvae.types import InputError


def require_int(name: str, value: object, least: int = 1) -> int:
    """Returns `value` as an int; NumPy's ints are ints, True and 2.0 are not.

    Raises:
        InputError: It is no int, or below `least`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InputError(f"{name} {value!r} is not usable; give an int >= {least}")
    return number


def require_number(name: str, value: object, zero: bool = False) -> float:
    """Returns `value` as a float; True is no number.

    Args:
        name: The argument's name.
        value: What was given.
        zero: Whether 0 will do.

    Raises:
        InputError: It is no finite number above 0 (or 0).
    """
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if ok and (0 < value < math.inf or (zero and value == 0)):
        return float(value)
    wanted = "of 0 or more" if zero else "above 0"
    raise InputError(f"{name} {value!r} is not usable; give a finite number {wanted}")


def require_real(name: str, value: object) -> float:
    """Returns `value` as a float; True is no number.

    Raises:
        InputError: It is no finite number.
    """
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if ok and math.isfinite(value):
        return float(value)
    raise InputError(f"{name} {value!r} is not usable; give a finite number")
