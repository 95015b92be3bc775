"""Laws made of exponential stages: plans of these have an exact law of the completion time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import optimize, special

from course_lib.checks import fraction, real_number, whole_number
from course_lib.projects.durations.base import Duration, Floats, from_nearer_end, hazard_of, mean_days, positive_cv

__all__ = ["Exponential", "Gamma", "Hyperexponential", "erlang"]

# A chain of one task with so many stages is already too large to be built.
_MOST_STAGES = 50_000


@dataclass(frozen=True)
class Gamma(Duration):
    """Gamma with mean in days and coefficient of variation (standard deviation over mean)."""

    mean: float
    cv: float

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ValueError: mean or coefficient of variation is not a positive, finite number.
        """
        object.__setattr__(self, "mean", mean_days(self.mean))
        object.__setattr__(self, "cv", positive_cv(self.cv))

    @cached_property
    def shape(self) -> float:
        """One over the squared coefficient of variation; whole for an Erlang."""
        shape = self.cv**-2
        return float(round(shape)) if math.isclose(shape, round(shape), rel_tol=1e-9) else shape

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        return self.mean * self.cv

    @property
    def _scale(self) -> float:
        return self.mean / self.shape

    @property
    def stages(self) -> tuple[tuple[float, float], ...]:
        """Of equal rates, each followed by the next; none unless their number, the shape, is whole."""
        if self.shape != round(self.shape) or self.shape > _MOST_STAGES:
            return ()
        n = round(self.shape)
        return tuple((1 / self._scale, float(i < n - 1)) for i in range(n))

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self._scale * from_nearer_end(
            below, above, lambda u: special.gammaincinv(self.shape, u), lambda u: special.gammainccinv(self.shape, u)
        )

    def log_density(self, t: Floats) -> Floats:
        x = np.maximum(t, 0.0) / self._scale
        log_p = special.xlogy(self.shape - 1, x) - x - special.gammaln(self.shape) - math.log(self._scale)
        return np.where(np.asarray(t) >= 0, log_p, -np.inf)

    def hazard(self, t: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            return -np.log(special.gammaincc(self.shape, np.asarray(t) / self._scale))

    def scaled(self, factor: float) -> Gamma:
        return Gamma(self.mean * factor, self.cv)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        rng.standard_gamma(self.shape, out=out)
        out *= self._scale

    def tilted(self, rate: float) -> Gamma:
        return Gamma(self.shape / (1 / self._scale - _below(rate, 1 / self._scale)), self.cv)

    def statistic(self, t: Floats) -> Floats:
        return t

    def member(self, average: float) -> Gamma:
        return Gamma(average, self.cv)

    def log_weight(self, nominal: Duration, t: Floats) -> Floats:
        if not isinstance(nominal, Gamma) or nominal.shape != self.shape:
            return super().log_weight(nominal, t)
        log_c = self.shape * math.log(self._scale / nominal._scale)
        return log_c + np.asarray(t) * (1 / self._scale - 1 / nominal._scale)

    def squared_ratio(self, own: Duration) -> tuple[float, Duration] | None:
        if not isinstance(own, Gamma) or own.shape != self.shape:
            return super().squared_ratio(own)
        rate = 2 / self._scale - 1 / own._scale
        if not rate > 0:
            return None
        log_c = math.log(own._scale) - 2 * math.log(self._scale) - math.log(rate)
        return self.shape * log_c, self.with_mean(self.shape / rate)

    def with_mean(self, mean: float) -> Gamma:
        return self.member(mean)


@dataclass(frozen=True)
class Exponential(Gamma):
    """Exponential with mean in days: after three days as far from its end as at its start."""

    cv: float = field(default=1.0, init=False)

    @property
    def _scale(self) -> float:
        return self.mean

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self.mean * hazard_of(below, above)

    def hazard(self, t: Floats) -> Floats:
        return np.asarray(t) / self.mean

    def from_hazard(self, h: Floats) -> Floats:
        return self.mean * h

    def from_normal(self, z: Floats) -> Floats:
        return -self.mean * np.log(special.ndtr(-z))

    def scaled(self, factor: float) -> Exponential:
        return Exponential(self.mean * factor)

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        rng.standard_exponential(out=out)
        out *= self.mean

    def twisted(self, factor: float) -> Exponential:
        return self.scaled(factor)

    def tilted(self, rate: float) -> Exponential:
        return Exponential(1 / (1 / self.mean - _below(rate, 1 / self.mean)))

    def member(self, average: float) -> Exponential:
        return Exponential(average)


def erlang(mean: float, n_stages: int) -> Gamma:
    """So many exponential stages, one after the other: a gamma whose shape is whole.

    Raises:
        ValueError: the mean is not positive and finite, or ``n_stages`` no whole number of at least 1.
    """
    return Gamma(mean, whole_number("the number of stages", n_stages) ** -0.5)


@dataclass(frozen=True)
class Hyperexponential(Duration):
    """One of several exponentials, chosen at random: with such probabilities, of such means in days."""

    probabilities: tuple[float, ...]
    means: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            ValueError: they are not as many, or probabilities are not positive or do not sum to 1, or a mean is not
                positive and finite.
        """
        chances = tuple(fraction("a probability", p) for p in self.probabilities)
        means = tuple(mean_days(mean) for mean in self.means)
        if len(chances) != len(means) or not math.isclose(sum(chances), 1):
            raise ValueError(f"each mean needs a probability, and they must sum to 1; got {chances} for {means}.")
        # What sums to 1 but for rounding stays as it is, so that a law made of another's probabilities equals it.
        total = 1.0 if math.isclose(sum(chances), 1, rel_tol=1e-14) else sum(chances)
        object.__setattr__(self, "probabilities", tuple(p / total for p in chances))
        object.__setattr__(self, "means", means)

    @classmethod
    def from_cv(cls, mean: float, cv: float) -> Hyperexponential:
        """Two exponentials, each of which contributes half of the mean.

        Raises:
            ValueError: the mean is not positive and finite, or the coefficient of variation not above 1.
        """
        mean, cv = mean_days(mean), positive_cv(cv)
        if not cv > 1:
            raise ValueError(f"a hyperexponential has a coefficient of variation above 1; got {cv:g}, so use gamma.")
        p = (1 + math.sqrt((cv**2 - 1) / (cv**2 + 1))) / 2
        return cls((p, 1 - p), (mean / (2 * p), mean / (2 * (1 - p))))

    @property
    def _p(self) -> Floats:
        return np.array(self.probabilities)

    @property
    def _rates(self) -> Floats:
        return 1 / np.array(self.means)

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Mean, in days."""
        return float(self._p @ self.means)

    @property
    def std(self) -> float:  # type: ignore[override]
        """Standard deviation, in days."""
        return math.sqrt(2 * float(self._p @ np.square(self.means)) - self.mean**2)

    @property
    def stages(self) -> tuple[tuple[float, float], ...]:
        """The shortest exponential first: a longer one is a shorter one and, with some probability, a rest."""
        order = np.argsort(self.means)
        p, rates = self._p[order], self._rates[order]
        stages = []
        for i, rate in enumerate(rates):
            p[i:] *= 1 - rates[i:] / rate
            stages.append((float(rate), float(p[i:].sum())))
            p[i + 1 :] /= p[i + 1 :].sum() or 1.0
        return tuple(stages)

    def quantile(self, below: Floats, above: Floats) -> Floats:
        return self.from_hazard(hazard_of(below, above))

    def log_density(self, t: Floats) -> Floats:
        return np.where(np.asarray(t) >= 0, self._log_sum(self._p * self._rates, t), -np.inf)

    def hazard(self, t: Floats) -> Floats:
        return -self._log_sum(self._p, t)

    def _log_sum(self, factors: Floats, t: Floats) -> Floats:
        return special.logsumexp(-np.asarray(t)[..., None] * self._rates, b=factors, axis=-1)

    def from_hazard(self, h: Floats) -> Floats:
        # The hazard is concave, so that Newton's steps from below stay below.
        h = np.asarray(h, dtype=float)
        t = np.zeros_like(h)
        for _ in range(100):
            step = (h - self.hazard(t)) / np.exp(self.log_density(t) + self.hazard(t))
            t = t + np.maximum(step, 0.0)
            if not (step > 1e-14 * t).any():
                break
        return t

    def scaled(self, factor: float) -> Hyperexponential:
        return Hyperexponential(self.probabilities, tuple(factor * mean for mean in self.means))

    def draw(self, rng: np.random.Generator, out: Floats) -> None:
        rng.standard_exponential(out=out)
        u: Floats = rng.random(out.size)
        chosen: Floats | float = self.means[-1]
        for below, mean in reversed(list(zip(np.cumsum(self._p)[:-1], self.means[:-1], strict=True))):
            chosen = np.where(u < below, mean, chosen)
        out *= chosen

    def tilted(self, rate: float) -> Hyperexponential:
        rates = self._rates - _below(rate, float(self._rates.min()))
        p = self._p * self._rates / rates
        return Hyperexponential(tuple(p / p.sum()), tuple(1 / rates))

    def statistic(self, t: Floats) -> Floats:
        return t

    def member(self, average: float) -> Hyperexponential:
        lowest = float(self._rates.min())
        # Between these distances of the rate from the longest exponential's the mean passes the average.
        far, near = 1 / average, 1 / average
        while self.tilted(lowest - near).mean < average:
            near /= 2
        distance = far if near == far else optimize.brentq(lambda d: self.tilted(lowest - d).mean - average, near, far)
        return self.tilted(lowest - distance)

    def squared_ratio(self, own: Duration) -> tuple[float, Duration] | None:
        if not isinstance(own, Hyperexponential):
            return super().squared_ratio(own)
        rate = float(1 / self.means[0] - 1 / own.means[0])
        alike = self.tilted(rate) if rate < self._rates.min() and len(own.means) == len(self.means) else None
        if not alike or not np.allclose([alike.means, alike.probabilities], [own.means, own.probabilities], 1e-9):
            return super().squared_ratio(own)
        if not -rate < self._rates.min():
            return None
        growth = [float((self._p * self._rates / (self._rates - sign * rate)).sum()) for sign in (1, -1)]
        return math.log(growth[0]) + math.log(growth[1]), self.tilted(-rate)


def _below(rate: float, limit: float) -> float:
    rate = real_number("the rate", rate, "events a day")
    if not -math.inf < rate < limit:
        raise ValueError(f"the rate of tilting must be below {limit:g} a day, where the tail ends it; got {rate:g}.")
    return rate
