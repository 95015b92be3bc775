"""Checks of arguments that simulations, proposals and the exact law share."""

from __future__ import annotations

import math
from numbers import Real

__all__ = ["finite_days", "whole_number"]


def whole_number(name: str, value: float, least: int) -> int:
    """``value`` as an int; 1e6 counts as one.

    Raises:
        ValueError: it is not a whole number, or less than ``least``.
    """
    if not isinstance(value, Real) or not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or larger; got {value!r}.")
    return int(value)


def finite_days(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        ValueError: it is ``nan`` or infinite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number of days; got {value}.")
    return float(value)
