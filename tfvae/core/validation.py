"""Checks of single arguments, each with one message for its kind."""

import errno
import math
import numbers
import operator
import os
from pathlib import Path
from typing import Any

from tfvae.core.types import InputError

MOST = 2**31 - 1  # the largest number of TensorFlow's int32 counters
SEEDS = 2**62 - 1  # the largest seed of `tfvae.core.seeds`


def require_int(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """Returns `value` as an int; NumPy's ints are ints, True and 2.0 are not.

    Raises:
        InputError: if it is no int, below `least`, or above `most`.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InputError(f"{name} {value!r:.100} is not usable; give an int >= {least}")
    if number > most:
        raise InputError(f"{name} {value!r:.100} is not usable; give {most} at most")
    return number


def require_path(name: str, value: Any) -> Path:
    """Returns `value`, a str or path-like object, as a `Path`.

    Raises:
        InputError: if it is of another type, empty, no name for a file, or not UTF-8,
            which TensorFlow needs.
    """
    try:
        text = os.path.expanduser(os.fspath(value))
        if not isinstance(text, str) or not text or "\0" in text:
            raise TypeError
        text.encode("utf-8")
        os.lstat(text)
    except (TypeError, UnicodeEncodeError):
        raise InputError(
            f"{name} {value!r:.100} is not usable; give a path as text, in UTF-8"
        ) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{name} {value!r:.100} is not usable ({error.strerror}); give another"
            ) from None
    return Path(text)


def require_text(name: str, value: Any) -> str:
    """Returns `value`, a str.

    Raises:
        InputError: if it is of another type.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} {value!r:.100} is not usable; give text")
    return value


def require_number(name: str, value: Any, zero: bool = False) -> float:
    """Returns `value` as a float; True is no number.

    Raises:
        InputError: if it is no finite number above 0, or 0 if `zero` accepts that.
    """
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if ok and (0 < value < math.inf or (zero and value == 0)):
        return float(value)
    wanted = "of 0 or more" if zero else "above 0"
    raise InputError(f"{name} {value!r} is not usable; give a finite number {wanted}")


def require_real(name: str, value: Any) -> float:
    """Returns `value` as a float; True is no number.

    Raises:
        InputError: if it is no finite number.
    """
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if ok and math.isfinite(value):
        return float(value)
    raise InputError(f"{name} {value!r} is not usable; give a finite number")


def require_share(name: str, value: Any) -> float:
    """Returns `value` as a float; True is no number.

    Raises:
        InputError: if it is no number from 0 to 1.
    """
    if 0 <= require_real(name, value) <= 1:
        return float(value)
    raise InputError(f"{name} {value!r} is not usable; give 0 to 1")
