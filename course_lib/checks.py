"""One way to say that an argument is wrong: what it is called, what it has to be, and what it is.

Every check returns the argument as the type that the caller goes on with, or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

__all__ = ["brief", "fraction", "one_of", "positive_number", "real_number", "whole_number"]


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """``value`` as an int. A float without a fraction, such as 1e6, counts as one; True does not.

    Raises:
        ValueError: it is not a whole number, or less than ``least``, or more than ``most``.
    """
    if not _is_number(value) or not -math.inf < value < math.inf or value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most:,}; got {int(value):,}.")
    return int(value)


def real_number(name: str, value: Any, unit: str = "") -> float:
    """``value`` as a float, which may be infinite.

    Args:
        name: what the argument is called.
        value: what was given.
        unit: what it is a number of, such as ``"days"``.

    Raises:
        ValueError: it is not a number, or ``nan``, or too large for a float.
    """
    number = _as_float(value)
    if math.isnan(number):
        raise ValueError(f"{name} must be a number{f' of {unit}' if unit else ''}; got {value!r}.")
    return number


def positive_number(name: str, value: Any) -> float:
    """``value`` as a float above zero.

    Raises:
        ValueError: it is not a number, or not above zero, or infinite.
    """
    number = _as_float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a positive, finite number; got {value!r}.")
    return number


def fraction(name: str, value: Any) -> float:
    """``value`` as a float between 0 and 1, neither included.

    Raises:
        ValueError: it is not a number, or not between them.
    """
    number = _as_float(value)
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie between 0 and 1; got {value!r}.")
    return number


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """``value``, if it is equal to one of ``allowed`` and of its type.

    Raises:
        ValueError: it is not.
    """
    choices = list(allowed)
    # The type first: an array, compared with a name, answers for each of its elements.
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}; got {value!r}.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_float(value: Any) -> float:
    """``value`` as a float; ``nan`` if it is no number, or a whole number or fraction beyond all floats."""
    try:
        return float(value) if _is_number(value) else math.nan
    except OverflowError:
        return math.nan


def brief(error: BaseException) -> str:
    """What an error says, in one line and in few words: for a sentence that goes on."""
    return " ".join(str(error).split())[:300] or type(error).__name__
