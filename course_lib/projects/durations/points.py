"""Laws between two ends, planned with an optimistic and a pessimistic duration; and durations that are certain."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from scipy import special

from course_lib.checks import real_number
from course_lib.projects.durations.base import Duration, Floats, from_nearer_end, mean_days, positive_cv

__all__ = ["Fixed", "Pert", "Triangular", "Uniform", "symmetric"]


class _Planned(Duration):
    """What laws between two ends have in common."""

    optimistic: float
    pessimistic: float

    def __post_init__(self) -> None:
        """Check the arguments, which are points in order.

        Raises:
            ValueError: they are not in order, or negative or infinite.
        """
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        for name in names:
            said = f"the {name.replace('_', ' ')} duration"
            object.__setattr__(self, name, real_number(said, getattr(self, name), "days"))
        values = [getattr(self, name) for name in names]
        if not (0 <= values[0] < values[-1] < math.inf and values == sorted(values)):
            said = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in zip(names, values, strict=True))
            raise ValueError(f"{said}: durations must be 0 or more, in this order, and the last longer than the first.")

    @property
    def support(self) -> tuple[float, float]:
        """From the optimistic to the pessimistic duration."""
        return self.optimistic, self.pessimistic

    @property
    def _range(self) -> float:
        return self.pessimistic - self.optimistic


@dataclass(frozen=True)
class Uniform(_Planned):
    """Any duration between two, all alike, in days."""

    optimistic: float
    pessimistic: float

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Mean, in days."""
        return (self.optimistic + self.pessimistic) / 2

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        return self._range / math.sqrt(12)

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return np.where(below < 0.5, self.optimistic + self._range * below, self.pessimistic - self._range * above)

    def log_density(self, t: Floats) -> Floats:
        return np.where((t >= self.optimistic) & (t <= self.pessimistic), -math.log(self._range), -np.inf)

    def hazard(self, t: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return -np.log(np.clip((self.pessimistic - np.asarray(t)) / self._range, 0, 1))

    def scaled(self, factor: float) -> Uniform:
        return Uniform(self.optimistic * factor, self.pessimistic * factor)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        rng.random(out=out)
        out *= self._range
        out += self.optimistic


@dataclass(frozen=True)
class Triangular(_Planned):
    """Three points in days; between them the density rises and falls in straight lines."""

    optimistic: float
    most_likely: float
    pessimistic: float

    @property
    def _parts(self) -> tuple[float, float, float]:
        """From the optimistic to the most likely duration, from there to the pessimistic one, and in all."""
        rise, fall = self.most_likely - self.optimistic, self.pessimistic - self.most_likely
        return rise, fall, rise + fall

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Mean, in days."""
        return (self.optimistic + self.most_likely + self.pessimistic) / 3

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        rise, fall, _ = self._parts
        return math.sqrt((rise**2 + rise * fall + fall**2) / 18)

    def quantile(self, below: Floats, above: Floats) -> Floats:
        rise, fall, width = self._parts
        return np.where(
            below * width < rise,
            self.optimistic + np.sqrt(below * rise * width),
            self.pessimistic - np.sqrt(above * fall * width),
        )

    def log_density(self, t: Floats) -> Floats:
        rise, fall, width = self._parts
        t = np.asarray(t)
        with np.errstate(divide="ignore", invalid="ignore"):
            height = np.where(t < self.most_likely, (t - self.optimistic) / rise, (self.pessimistic - t) / fall)
            # At the peak of a triangle without a falling side, 0 / 0.
            height = np.where(t == self.most_likely, 1.0, height)
            return np.log(np.clip(height, 0, 1) * 2 / width)

    def hazard(self, t: Floats) -> Floats:
        rise, fall, width = self._parts
        t = np.clip(t, self.optimistic, self.pessimistic)
        with np.errstate(divide="ignore", invalid="ignore"):
            early = -np.log1p(-((t - self.optimistic) ** 2) / (rise * width))
            late = -np.log((self.pessimistic - t) ** 2 / (fall * width))
        return np.where(t < self.most_likely, early, late) if fall else early

    def scaled(self, factor: float) -> Triangular:
        return Triangular(self.optimistic * factor, self.most_likely * factor, self.pessimistic * factor)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        out[:] = rng.triangular(self.optimistic, self.most_likely, self.pessimistic, out.size)


@dataclass(frozen=True)
class Pert(_Planned):
    """Three points in days; a beta distribution with mean (optimistic + 4 most likely + pessimistic) / 6."""

    optimistic: float
    most_likely: float
    pessimistic: float

    @cached_property
    def _a(self) -> float:
        return 1 + 4 * (self.most_likely - self.optimistic) / self._range

    @cached_property
    def _b(self) -> float:
        return 1 + 4 * (self.pessimistic - self.most_likely) / self._range

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Mean, in days."""
        return (self.optimistic + 4 * self.most_likely + self.pessimistic) / 6

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        return self._range * math.sqrt(self._a * self._b / 7) / 6

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self.optimistic + self._range * from_nearer_end(
            below,
            above,
            # Both are nan for some smaller probabilities.
            lambda u: special.betaincinv(self._a, self._b, np.maximum(u, 1e-100)),
            lambda u: special.betainccinv(self._a, self._b, np.maximum(u, 1e-100)),
        )

    def log_density(self, t: Floats) -> Floats:
        x = (np.asarray(t) - self.optimistic) / self._range
        inside = (x >= 0) & (x <= 1)
        x = np.clip(x, 0, 1)
        log_height = special.xlogy(self._a - 1, x) + special.xlog1py(self._b - 1, -x)
        return np.where(inside, log_height - special.betaln(self._a, self._b) - math.log(self._range), -np.inf)

    def hazard(self, t: Floats) -> Floats:
        x = np.clip((np.asarray(t) - self.optimistic) / self._range, 0, 1)
        with np.errstate(divide="ignore"):
            return -np.log(special.betaincc(self._a, self._b, x))

    def scaled(self, factor: float) -> Pert:
        return Pert(self.optimistic * factor, self.most_likely * factor, self.pessimistic * factor)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        out[:] = rng.beta(self._a, self._b, out.size)
        out *= self._range
        out += self.optimistic


@dataclass(frozen=True)
class Fixed(Duration):
    """Always so many days."""

    days: float

    def __post_init__(self) -> None:
        """Check the argument.

        Raises:
            ValueError: it is not a positive, finite number.
        """
        object.__setattr__(self, "days", mean_days(self.days))

    @property
    def mean(self) -> float:  # type: ignore[override]
        """The days."""
        return self.days

    @property
    def std(self) -> float:  # type: ignore[override]
        """Zero."""
        return 0.0

    @property
    def support(self) -> tuple[float, float]:
        """The days, twice."""
        return self.days, self.days

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return np.full(np.shape(below), self.days)

    def log_density(self, t: Floats) -> Floats:
        raise ValueError(f"{self} has no density.")

    def hazard(self, t: Floats) -> Floats:
        return np.where(np.asarray(t) < self.days, 0.0, np.inf)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        out[:] = self.days

    def scaled(self, factor: float) -> Fixed:
        return Fixed(self.days * factor)

    def twisted(self, factor: float) -> Fixed:
        return self

    def tilted(self, rate: float) -> Fixed:
        return self

    def statistic(self, t: Floats) -> Floats:
        return np.zeros(np.shape(t))

    def member(self, average: float) -> Fixed:
        return self


def symmetric(law: type[Uniform] | type[Triangular] | type[Pert], mean: float, cv: float) -> Duration:
    """A `Uniform`, `Triangular` or `Pert` with its mean in the middle, from mean and coefficient of variation.

    Raises:
        ValueError: the mean is not positive and finite, or the coefficient of variation so large that durations would
            be negative.
    """
    mean, cv = mean_days(mean), positive_cv(cv)
    # A uniform's half range is the square root of 3 times its standard deviation, and so on.
    half = math.sqrt({Uniform: 3, Triangular: 6, Pert: 7}[law])
    if cv * half > 1:
        raise ValueError(
            f"with a coefficient of variation of {cv:g} the shortest duration would be negative; give {1 / half:.2g} "
            "at most, or optimistic and pessimistic durations."
        )
    ends = mean * (1 - cv * half), mean * (1 + cv * half)
    return Uniform(*ends) if issubclass(law, Uniform) else law(ends[0], mean, ends[1])
