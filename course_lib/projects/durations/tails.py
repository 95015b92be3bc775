"""Laws without an upper end or stages: the lognormal, and any distribution of `scipy.stats`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special, stats

from course_lib.checks import positive_number
from course_lib.projects.durations.base import Duration, Floats, from_nearer_end, mean_days, positive_cv

__all__ = ["Continuous", "Lognormal"]


@dataclass(frozen=True)
class Lognormal(Duration):
    """Lognormal with mean in days and coefficient of variation (standard deviation over mean)."""

    mean: float
    cv: float

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ValueError: mean or coefficient of variation is not a positive, finite number.
        """
        object.__setattr__(self, "mean", mean_days(self.mean))
        object.__setattr__(self, "cv", positive_cv(self.cv))

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        return self.mean * self.cv

    @cached_property
    def _sigma(self) -> float:
        return math.sqrt(math.log1p(self.cv**2))

    @cached_property
    def _mu(self) -> float:
        return math.log(self.mean) - self._sigma**2 / 2

    def _normal(self, t: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (np.log(t) - self._mu) / self._sigma

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self.from_normal(from_nearer_end(below, above, special.ndtri, lambda u: -special.ndtri(u)))

    def log_density(self, t: Floats) -> Floats:
        z = self._normal(t)
        # At zero the density is zero; the second term by itself would be -(-inf).
        return np.where(z > -np.inf, -z * z / 2 - np.maximum(z, -1e300) * self._sigma, -np.inf) - (
            self._mu + math.log(self._sigma * math.sqrt(2 * math.pi))
        )

    def hazard(self, t: Floats) -> Floats:
        return -special.log_ndtr(-self._normal(t))

    def from_normal(self, z: Floats) -> Floats:
        return np.exp(self._mu + self._sigma * z)

    def from_hazard(self, h: Floats) -> Floats:
        return self.from_normal(-special.ndtri_exp(-h))

    def scaled(self, factor: float) -> Lognormal:
        return Lognormal(self.mean * factor, self.cv)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        rng.standard_normal(out=out)
        out *= self._sigma
        out += self._mu
        np.exp(out, out=out)


@dataclass(frozen=True)
class Continuous(Duration):
    """A frozen continuous distribution of `scipy.stats`, in days; those without draws of their own take long.

    ``factor`` multiplies the durations.
    """

    distribution: Any
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ValueError: it is no such distribution, durations may be negative, or their mean is not finite.
        """
        positive_number("the factor", self.factor)
        if not isinstance(getattr(self.distribution, "dist", None), stats.rv_continuous):
            raise ValueError(
                f"{self.distribution!r} is no duration; give days, a law of course_lib.projects.durations, or a frozen "
                "continuous distribution such as scipy.stats.weibull_min(2, scale=4)."
            )
        if np.ndim(self.distribution.mean()):
            raise ValueError(f"{self.distribution.dist.name} has several parameters at a time; give each task its own.")
        if not self.support[0] >= 0:
            raise ValueError(
                f"{self.distribution.dist.name} can be as short as {self.support[0]:g} days; truncate it at 0."
            )
        mean_days(self.mean)

    def __str__(self) -> str:
        return self.distribution.dist.name

    @cached_property
    def mean(self) -> float:  # type: ignore[override]
        """Mean, in days."""
        return self.factor * float(self.distribution.mean())

    @cached_property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        return self.factor * float(self.distribution.std())

    @cached_property
    def support(self) -> tuple[float, float]:
        """That of the distribution."""
        low, high = self.distribution.support()
        return self.factor * float(low), self.factor * float(high)

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self.factor * from_nearer_end(below, above, self.distribution.ppf, self.distribution.isf)

    def log_density(self, t: Floats) -> Floats:
        return self.distribution.logpdf(np.asarray(t) / self.factor) - math.log(self.factor)

    def hazard(self, t: Floats) -> Floats:
        return -self.distribution.logsf(np.asarray(t) / self.factor)

    def scaled(self, factor: float) -> Continuous:
        return Continuous(self.distribution, self.factor * factor)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        out[:] = self.distribution.rvs(out.size, random_state=rng)
        out *= self.factor
