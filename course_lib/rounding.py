"""Numbers as a reader wants them: no more digits than their error leaves."""

from __future__ import annotations

import math

__all__ = ["value_with_error"]


def value_with_error(value: float, std_error: float) -> str:
    """``value`` rounded to two digits of its error: ``(3.212 ± 0.023)e-05``, ``18.2101 ± 0.0072``."""
    if not (1e-300 < std_error < math.inf and math.isfinite(value)):
        return f"{value:.6g} ± {std_error:.2g}"
    exponent = math.floor(math.log10(max(abs(value), std_error)))
    if -3 <= exponent < 6 and std_error < 100:
        exponent = 0
    decimals = max(0, 1 - math.floor(math.log10(std_error / 10.0**exponent)))
    number = f"{value / 10.0**exponent:.{decimals}f} ± {std_error / 10.0**exponent:.{decimals}f}"
    return f"({number})e{exponent:+03d}" if exponent else number
