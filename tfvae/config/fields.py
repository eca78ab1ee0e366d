"""Types of settings with the range beside each, and the check of a single value."""

import types
import typing
from typing import Annotated, Any, Literal, NamedTuple, Union

from tfvae.core.types import InputError
from tfvae.core.validation import MOST, SEEDS

_MOST_LAYERS = 1000
_MOST_UNITS = 2**16


class Range(NamedTuple):
    """The values of a number, with the range in words; None: "LEAST to MOST"."""

    least: float
    most: float = MOST
    text: str | None = None

    def check(self, name: str, value: float) -> None:
        """Refuses a value out of range; NaN is out of every range."""
        if not self.least <= value <= self.most:
            wanted = self.text or f"{self.least} to {self.most}"
            raise InputError(f"{name} {value!r} is not usable; give {wanted}")


class SizeRange(NamedTuple):
    """The values of a tuple of sizes, which may be empty."""

    def check(self, name: str, value: tuple[int, ...]) -> None:
        """Refuses sizes out of range, and too many."""
        if value and not 1 <= min(value) <= max(value) <= _MOST_UNITS:
            raise InputError(
                f"{name} {str(list(value)):.100} is not usable; every size is 1 to "
                f"{_MOST_UNITS}"
            )
        if len(value) > _MOST_LAYERS:
            raise InputError(
                f"{name} has {len(value)} sizes; give {_MOST_LAYERS} at most"
            )


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
# Float32 divides by these, and multiplies.
Positive = Annotated[float, Range(1e-6, 1e6, "a number between 1e-06 and 1e+06")]
Share = Annotated[float, Range(1e-6, 1 - 1e-6, "a number between 0 and 1")]
Seed = Annotated[int, Range(0, SEEDS, "0 to 2^62 - 1")]
Sizes = Annotated[tuple[int, ...], SizeRange()]
ImageSize = Annotated[tuple[int, int], SizeRange()]


def check_type(name: str, value: object, hint: Any) -> None:
    """Refuses a value that is not of a type."""
    if not _fits(value, hint):
        raise InputError(f"{name} {value!r:.100} is not usable; give {_say(hint)}")


def check_range(name: str, value: Any, hint: Any) -> None:
    """Refuses a value out of the range that an `Annotated` type has; None is in all."""
    for part in (hint, *typing.get_args(hint)):
        for limits in getattr(part, "__metadata__", ()):
            if value is not None:
                limits.check(name, value)


def _fits(value: object, hint: Any) -> bool:
    """Returns whether a value is of a type, for the types that settings have."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return type(value) is hint or (hint is float and type(value) is int)  # not True


def _say(hint: Any) -> str:
    """Returns a type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_say(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple:
        return "several ints" if arguments[-1] is Ellipsis else "two ints"
    words = {int: "an int", float: "a number", bool: "True or False", str: "a string"}
    return words.get(hint, "None")
