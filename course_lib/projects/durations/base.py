"""What every law of a duration offers, and the family that any law has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from course_lib.checks import positive_number

__all__ = ["Duration", "Floats", "Twisted", "from_nearer_end", "hazard_of", "mean_days", "positive_cv"]

Floats = NDArray[np.float64]

_SMALLEST_CV = 1e-6


class Duration:
    """One task's law. Times are days, in arrays of any shape, and what is returned has that shape."""

    #: Mean and standard deviation, in days.
    mean: float
    std: float

    def __str__(self) -> str:
        numbers = (getattr(self, field.name) for field in fields(self) if field.init)  # type: ignore[arg-type]
        said = (f"{number:.4g}" if isinstance(number, float) else str(number) for number in numbers)
        return f"{type(self).__name__}({', '.join(said)})"

    @property
    def support(self) -> tuple[float, float]:
        """The shortest and the longest duration, in days."""
        return 0.0, math.inf

    @property
    def stages(self) -> tuple[tuple[float, float], ...]:
        """The rate of each stage, one a day, and the probability that another follows; empty if it has no stages."""
        return ()

    def quantile(self, below: Floats, above: Floats) -> Floats:
        """The duration that is shorter with probability ``below`` and longer with ``above``, which sum to 1."""
        raise NotImplementedError

    def log_density(self, t: Floats) -> Floats:
        """Log of the density, one a day; ``-inf`` outside the support."""
        raise NotImplementedError

    def hazard(self, t: Floats) -> Floats:
        """Cumulative hazard, -log P(T > t)."""
        raise NotImplementedError

    def scaled(self, factor: float) -> Duration:
        """The law of ``factor`` times the duration."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        """Fill ``out``, ``[n]``, with draws."""
        out[:] = self.from_hazard(rng.standard_exponential(out.size))

    def from_normal(self, z: Floats) -> Floats:
        """The duration with as much below it as the standard normal number ``z``."""
        return self.quantile(special.ndtr(z), special.ndtr(-z))

    def from_hazard(self, h: Floats) -> Floats:
        """The duration with cumulative hazard ``h``."""
        return self.quantile(-np.expm1(-h), np.exp(-h))

    def with_mean(self, mean: float) -> Duration:
        """The law of the duration multiplied so that its mean is this one."""
        return self.scaled(mean / self.mean)

    def twisted(self, factor: float) -> Duration:
        """The law with P(T > t)**(1 / factor) in place of P(T > t)."""
        return Twisted(self, factor)

    def tilted(self, rate: float) -> Duration:
        """The law whose density is this one's times exp(rate t), normalized.

        Raises:
            ValueError: there is none, or it is not known in closed form.
        """
        raise ValueError(f"{self} cannot be tilted; use twisted.")

    def statistic(self, t: Floats) -> Floats:
        """What the law's own family is fitted by: its average decides."""
        return self.hazard(t)

    def member(self, average: float) -> Duration:
        """The law of its own family under which `statistic` has this average."""
        return self.twisted(average)

    def log_weight(self, nominal: Duration, t: Floats) -> Floats:
        """The log-density of ``nominal`` less this law's, in nats."""
        if nominal == self:
            return np.zeros(np.shape(t))
        return nominal.log_density(t) - self.log_density(t)

    def squared_ratio(self, own: Duration) -> tuple[float, Duration] | None:
        """The square of this law's density over that of ``own``: log of its integral, and it as a law.

        None if the integral is infinite.

        Raises:
            ValueError: it is not known in closed form.
        """
        if own == self:
            return 0.0, self
        raise ValueError(f"the variance of drawing from {own} in place of {self} is not known exactly")


@dataclass(frozen=True)
class Twisted(Duration):
    """The law of ``base`` with P(T > t)**(1 / factor) in place of P(T > t); a factor above 1 makes it longer."""

    base: Duration
    factor: float

    def __post_init__(self) -> None:
        """Check the factor.

        Raises:
            ValueError: it is not a positive, finite number.
        """
        object.__setattr__(self, "factor", positive_number("the factor", self.factor))

    @cached_property
    def mean(self) -> float:  # type: ignore[override]
        """Mean, in days, by numerical integration."""
        return self._moment(1)

    @cached_property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days, by numerical integration."""
        return math.sqrt(self._moment(2) - self.mean**2)

    def _moment(self, power: int) -> float:
        # The trapezoidal rule over the normal number behind the duration, which is smooth and falls off fast.
        z = np.linspace(-12, 37, 4001)
        t = self.from_normal(z)
        # Past the smallest of floats the base's quantiles are infinite, at a chance next to nothing.
        return float(np.where(t < np.inf, t, 0.0) ** power @ stats.norm.pdf(z) * (z[1] - z[0]))

    @property
    def support(self) -> tuple[float, float]:
        """That of the base."""
        return self.base.support

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self.from_hazard(hazard_of(below, above))

    def log_density(self, t: Floats) -> Floats:
        log_p = self.base.log_density(t)
        # Beyond the longest duration the hazard is infinite, and the difference would be nan.
        with np.errstate(invalid="ignore"):
            return np.where(log_p > -np.inf, log_p - self._log_weight(t), -np.inf)

    def hazard(self, t: Floats) -> Floats:
        return self.base.hazard(t) / self.factor

    def from_hazard(self, h: Floats) -> Floats:
        return self.base.from_hazard(self.factor * h)

    def scaled(self, factor: float) -> Twisted:
        return Twisted(self.base.scaled(factor), self.factor)

    def twisted(self, factor: float) -> Twisted:
        return Twisted(self.base, self.factor * factor)

    def log_weight(self, nominal: Duration, t: Floats) -> Floats:
        return self._log_weight(t) if nominal == self.base else super().log_weight(nominal, t)

    def _log_weight(self, t: Floats) -> Floats:
        return math.log(self.factor) - self.base.hazard(t) * (1 - 1 / self.factor)


def from_nearer_end(
    below: Floats, above: Floats, from_below: Callable[[Floats], Floats], from_above: Callable[[Floats], Floats]
) -> Floats:
    """Each quantile from the smaller of its two probabilities, which keeps its digits."""
    below, above = np.asarray(below, dtype=float), np.asarray(above, dtype=float)
    found, near = np.empty(below.shape), below < 0.5
    found[near] = from_below(below[near])
    found[~near] = from_above(above[~near])
    return found


def hazard_of(below: Floats, above: Floats) -> Floats:
    """The cumulative hazard at a quantile."""
    with np.errstate(divide="ignore"):
        return np.where(below < 0.5, -np.log1p(-below), -np.log(above))


def mean_days(value: Any) -> float:
    """A mean duration as a float.

    Raises:
        ValueError: it is not a number, or not positive and finite.
    """
    try:
        mean = float(value.replace("_", " ") if isinstance(value, str) else value)
    except OverflowError:
        mean = math.inf
    except (TypeError, ValueError):
        raise ValueError(f"the mean duration {value!r} is not a number; write days such as 4 or 2.5.") from None
    if not (mean > 0 and math.isfinite(mean)):
        raise ValueError(f"the mean duration is {mean:g}; it must be a positive, finite number of days.")
    return mean


def positive_cv(value: Any) -> float:
    """A coefficient of variation as a float.

    Raises:
        ValueError: it is not a positive, finite number, or so small that a float cannot tell durations apart.
    """
    cv = positive_number("the coefficient of variation", value)
    if cv < _SMALLEST_CV:
        raise ValueError(f"a coefficient of variation of {cv:g} is as good as none; make the duration fixed.")
    return cv
